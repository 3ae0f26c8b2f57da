"""One colour per model, wherever it appears, and one form of figures with several panels."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from eeglab_models.models.base import known_models

MODEL_COLORS = {
    "CodeBrain": "#0072B2",
    "EEGPT": "#D55E00",
    "EEGDINO": "#009E73",
    "FBLightConvNet": "#CC79A7",
}
"""Colour of every model wherever it appears, safe for colour-blind eyes; baselines are grey."""
BASELINE_COLOR, OTHER_COLOR = "#6E6E6E", "#E69F00"


class PlainFigure(Figure):
    """A figure in which a dollar is a dollar: names of channels, classes and pipelines are no formulas."""

    def draw(self, renderer: Any) -> None:
        """Draw all text as it is written, also that of ticks, which is made only now."""
        with plt.rc_context({"text.parse_math": False}):
            for text in self.findobj(Text):
                text.set_parse_math(False)
            super().draw(renderer)


def open_panels(
    n_rows: int, n_columns: int, size: tuple[float, float], **options: Any
) -> tuple[Figure, np.ndarray]:
    """Open a figure of a size in inches, with its axes by row and column."""
    options |= {"figsize": size, "layout": "constrained", "FigureClass": PlainFigure}
    return plt.subplots(n_rows, n_columns, squeeze=False, **options)


def open_axes(size: tuple[float, float]) -> tuple[Figure, Axes]:
    """Open a figure of a size in inches with one panel."""
    figure, axes = open_panels(1, 1, size)
    return figure, axes[0, 0]


def color_of(pipeline: str) -> str:
    """Choose the colour of the model that a pipeline begins with: one's own is orange, baselines are grey.

    Parameters
    ----------
    pipeline : str
        Name of a model or of a pipeline.

    Returns
    -------
    color : str
        For matplotlib.
    """
    own = {model: OTHER_COLOR for model in known_models()}
    colors = (own | MODEL_COLORS).items()
    return next((color for model, color in colors if pipeline.startswith(model)), BASELINE_COLOR)
