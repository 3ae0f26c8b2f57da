"""The course of a training: a table that survives a kill, a bar and a figure that is drawn while it runs."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from eeglab_models.files import replacing

__all__: list[str] = []

TABLE, PICTURE = "metrics.csv", "progress.png"
# Columns about the training itself; all others are losses and monitors of the objective.
COSTS = ("step", "lr", "weight_decay", "grad_norm", "windows_per_second", "memory_mb", "seconds")
VALID = "valid_"
# More points than a panel can show only cost time.
N_POINTS = 1000
WIDTH, HEIGHT = 3.0, 2.2
LEARN_COLOR, VALID_COLOR, TRIVIAL_COLOR = "#0072B2", "#D55E00", "#7F7F7F"


class Curves:
    """Rows of numbers, one per step, in memory and in a file, from which later steps are dropped."""

    def __init__(self, folder: Path | None, last_step: int, trivial: Mapping[str, float]) -> None:
        self.folder = folder
        self.trivial = dict(trivial)
        self.rows: list[dict[str, float]] = []
        self.columns: list[str] = []
        self.handle: Any = None
        if folder is not None and (folder / TABLE).is_file():
            self.rows = [row for row in read_rows(folder / TABLE) if row["step"] <= last_step]
            self.write()

    def add(self, row: Mapping[str, float]) -> None:
        """Write a row to the end of the file; a new column is added to all of it."""
        self.rows.append(dict(row))
        if self.folder is None:
            return
        if not set(row) <= set(self.columns):
            self.write()
            return
        with (self.folder / TABLE).open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self.columns).writerow(row)

    def write(self) -> None:
        """Replace the file by all rows, at once."""
        self.columns = list(dict.fromkeys(name for row in self.rows for name in row))
        with (
            replacing(self.folder / TABLE) as unfinished,
            unfinished.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(self.rows)

    def history(self) -> pd.DataFrame:
        """Return all rows as a table."""
        return pd.DataFrame(self.rows or {"step": []}).astype({"step": int})

    def last(self, name: str) -> float:
        """Return the latest number of a column, 0 before the first row."""
        return self.rows[-1][name] if self.rows else 0.0

    def draw(self, show: bool) -> None:
        """Replace the figure; in a notebook, show it below the cell if asked to."""
        if self.folder is None:
            return
        with replacing(self.folder / PICTURE) as unfinished:
            draw_curves(self.rows, self.trivial).savefig(unfinished, format="png", dpi=100)
        if show:
            self.show()

    def show(self) -> None:
        """Show the figure in a notebook, always in the same place."""
        try:
            from IPython import get_ipython
            from IPython.display import Image, display
        except ImportError:
            return
        # Only notebooks have a kernel; a terminal cannot show pictures.
        if not hasattr(get_ipython(), "kernel"):
            return
        image = Image(data=(self.folder / PICTURE).read_bytes(), format="png")
        if self.handle is None:
            self.handle = display(image, display_id=True)
        else:
            self.handle.update(image)


def read_rows(path: Path) -> list[dict[str, float]]:
    """Read the rows of a table, without a last line that was cut off."""
    try:
        text = path.read_text(encoding="utf-8")
        lines = text[: text.rfind("\n") + 1].splitlines()
        rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(lines)]
        return [row | {"step": int(row["step"])} for row in rows if "step" in row]
    except (ValueError, TypeError, OverflowError, csv.Error) as error:
        raise ValueError(
            f"{path} is no table of numbers ({error}). Restore it, or delete it: training goes on without "
            "earlier curves."
        ) from error


def draw_curves(rows: Sequence[Mapping[str, float]], trivial: Mapping[str, float]) -> Figure:
    """Draw every loss and every monitor over the steps, and what a predictor that knows nothing reaches."""
    table = pd.DataFrame(rows)
    names = [name for name in table.columns if name not in COSTS and not name.startswith(VALID)]
    names = [*names, *(name for name in ("lr",) if name in table)]
    n_columns = min(4, max(len(names), 1))
    n_rows = max(1, math.ceil(len(names) / n_columns))
    figure = Figure(figsize=(WIDTH * n_columns, HEIGHT * n_rows))
    FigureCanvasAgg(figure)
    # Set by hand: a layout that matplotlib finds itself takes three times as long.
    width, height = figure.get_size_inches()
    figure.subplots_adjust(0.5 / width, 0.45 / height, 1 - 0.1 / width, 1 - 0.3 / height, 0.25, 0.4)
    for name, axis in zip(names, figure.subplots(n_rows, n_columns, squeeze=False).flat, strict=False):
        for column, color, label in (
            (name, LEARN_COLOR, "training"),
            (VALID + name, VALID_COLOR, "held out"),
        ):
            if column in table:
                own = table[["step", column]].dropna()
                own = own.iloc[:: max(1, len(own) // N_POINTS)]
                axis.plot(own["step"], own[column], color=color, label=label, linewidth=1.2)
        if name in trivial:
            axis.axhline(
                trivial[name], color=TRIVIAL_COLOR, linestyle="--", linewidth=1, label="knows nothing"
            )
        axis.locator_params(nbins=4)
        axis.set_title(name.replace("_", " "), fontsize=9)
        axis.tick_params(labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
        if axis is figure.axes[0]:
            axis.legend(fontsize=7, frameon=False)
    for axis in figure.axes[len(names) :]:
        axis.set_visible(False)
    for axis in figure.axes[max(0, len(names) - n_columns) : len(names)]:
        axis.set_xlabel("step", fontsize=8)
    return figure
