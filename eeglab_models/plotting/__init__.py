"""One function per figure: it takes data and returns the figure."""

from eeglab_models.plotting.recordings import plot_band_power, plot_spectrum, plot_window
from eeglab_models.plotting.scores import (
    plot_calibration,
    plot_differences,
    plot_forest,
    plot_heatmap,
    plot_ratios,
    plot_run_scores,
    plot_scores,
)
from eeglab_models.plotting.style import MODEL_COLORS
from eeglab_models.plotting.training import plot_history

__all__ = [
    "MODEL_COLORS",
    "plot_band_power",
    "plot_calibration",
    "plot_differences",
    "plot_forest",
    "plot_heatmap",
    "plot_history",
    "plot_ratios",
    "plot_run_scores",
    "plot_scores",
    "plot_spectrum",
    "plot_window",
]
