"""Figures of training."""

from collections.abc import Mapping

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from eeglab_models.plotting.style import BASELINE_COLOR, open_panels

__all__ = ["plot_history"]


def plot_history(histories: Mapping[str, pd.DataFrame], monitor: str = "loss") -> Figure:
    """Draw the losses of trainings over epochs.

    Parameters
    ----------
    histories : mapping of str to pandas.DataFrame
        By name, `history_` of a fitted `FineTuner`.
    monitor : {"loss", "accuracy"}
        What decided on held-out windows which epoch was best; of equally accurate ones the latest.

    Returns
    -------
    figure : matplotlib.figure.Figure
        One panel per training. The vertical line marks the best epoch, grey the epochs of a second phase
        on all windows.
    """
    n_panels = len(histories)
    figure, axes = open_panels(1, n_panels, (0.6 + 2.9 * n_panels, 3), sharey=True)
    for ax, (name, rows) in zip(axes[0], histories.items(), strict=True):
        ax.plot(rows["epoch"], rows["train_loss"], color="black", label="learned from")
        if rows["valid_loss"].notna().any():
            ax.plot(rows["epoch"], rows["valid_loss"], color=BASELINE_COLOR, label="held out")
            score = -rows["valid_loss"] if monitor == "loss" else rows["valid_accuracy"][::-1]
            ax.axvline(rows["epoch"][score.idxmax()], color=BASELINE_COLOR, linestyle=":", linewidth=1)
        second = rows["epoch"][rows["phase"] == 2]
        if len(second):
            ax.axvspan(second.min() - 0.5, second.max() + 0.5, color="0.93", zorder=0)
        ax.set_xlabel("epoch")
        ax.set_title(name, fontsize=10)
        ax.legend(frameon=False, fontsize=8)
    # Only now: the panels share an axis, and a limit would hold for what is drawn so far.
    axes[0, 0].set_ylim(bottom=0)
    axes[0, 0].set_ylabel("loss (cross-entropy)")
    sns.despine(figure)
    return figure
