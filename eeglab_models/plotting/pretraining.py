"""Figures of pretraining: what is hidden, how a training goes, what it was good for.

Shapes use these names throughout:

    n_chans   EEG channels
    n_moments patches of one channel, or moments of a window
    n_codes   codes of a codebook
    n_times   samples of a stretch of EEG
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from jaxtyping import Float, Int
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from eeglab_models.plotting.style import BASELINE_COLOR, color_of, open_axes, open_panels

__all__ = ["plot_codes", "plot_courses", "plot_gains", "plot_masks", "plot_neighbours"]

# From light to dark, so that they differ in print too; none of them is a model's colour.
SHADES = ("#F2F2F2", "#88CCEE", "#332288")
LINES = (("#332288", "-"), ("#CC6677", "--"), ("#117733", "-."), ("#DDCC77", (0, (5, 1))), ("#88CCEE", ":"))


def plot_masks(
    masks: Mapping[str, Int[np.ndarray, "_ _"]],
    meanings: Sequence[str],
    ch_names: Sequence[str],
    seconds: float,
    title: str,
    *,
    n_columns: int = 6,
) -> Figure:
    """Draw what a training shows of a window and what it hides: channels above each other, over time.

    Parameters
    ----------
    masks : mapping of str to numpy.ndarray, each of shape (n_chans, n_moments)
        Number of the meaning of every patch, by the title of the panel; as many moments as one likes.
    meanings : sequence of str
        At most three, from the lightest shade to the darkest.
    ch_names : sequence of str
        Names of the channels.
    seconds : float
        Length of the window in seconds.
    title : str
        Title of the figure.
    n_columns : int
        Panels beside each other, at most.

    Returns
    -------
    figure : matplotlib.figure.Figure
        One panel per mask.

    Raises
    ------
    ValueError
        If there are more meanings than shades.
    """
    if len(meanings) > len(SHADES):
        raise ValueError(
            f"There are shades for {len(SHADES)} meanings, got {len(meanings)}. Join some of them."
        )
    n_columns = min(n_columns, len(masks))
    n_rows = -(-len(masks) // n_columns)
    size = 1 + max(1.3, 3.2 - 0.4 * n_columns) * n_columns, 1 + 2.4 * n_rows
    figure, axes = open_panels(n_rows, n_columns, size, sharex=True, sharey=True)
    for ax in axes.flat[len(masks) :]:
        ax.remove()
    shades = ListedColormap(SHADES[: len(meanings)])
    rows = np.arange(len(ch_names) + 1)
    for ax, (name, mask) in zip(axes.flat, masks.items(), strict=False):
        edges = np.linspace(0, seconds, mask.shape[1] + 1)
        style = {"cmap": shades, "vmin": -0.5, "vmax": len(meanings) - 0.5, "edgecolor": "white"}
        ax.pcolormesh(edges, rows, mask, linewidth=0.3, **style)
        ax.set_title(name, fontsize=9)
    for ax in axes[:, 0]:
        ax.set_yticks(rows[:-1] + 0.5, ch_names, fontsize=5)
        ax.set_ylabel("channel")
    # The axes are shared: one turn is for all.
    axes[0, 0].invert_yaxis()
    for ax in axes[-1]:
        ax.set_xlabel("time (s)")
    handles = [Patch(facecolor=shade, edgecolor="0.6") for shade in SHADES]
    figure.legend(
        handles[: len(meanings)], meanings, loc="outside lower center", ncols=len(meanings), frameon=False
    )
    figure.suptitle(title)
    return figure


def plot_courses(
    courses: Mapping[str, pd.DataFrame],
    label: str,
    title: str,
    *,
    bars: Mapping[str, pd.DataFrame] | None = None,
    level: float | None = None,
    level_name: str = "knows nothing",
    log: bool = False,
) -> Figure:
    """Draw numbers over the steps of trainings.

    Parameters
    ----------
    courses : mapping of str to pandas.DataFrame
        One column per line, at most five, and the step as the index; by the title of the panel.
    label, title : str
        What the numbers are, with their unit; title of the figure.
    bars : mapping of str to pandas.DataFrame or None
        By the title of the panel, a thin line for columns of the same names: what there is to beat.
    level : float or None
        A number to compare with, a grey line in all panels.
    level_name : str
        What that number is.
    log : bool
        Logarithmic scale, for positive numbers.

    Returns
    -------
    figure : matplotlib.figure.Figure
        One panel per training, with the same numbers upwards.
    """
    figure, axes = open_panels(1, len(courses), (0.9 + 2.5 * len(courses), 3.5), sharey=True)
    for ax, (name, table) in zip(axes[0], courses.items(), strict=True):
        if level is not None:
            ax.axhline(level, color="0.6", linewidth=3, alpha=0.5, label=level_name)
        for column, (color, style) in zip(table, LINES, strict=False):
            ax.plot(table.index, table[column], color=color, linestyle=style, label=column)
            own = None if bars is None or name not in bars else bars[name].get(column)
            if own is not None:
                ax.plot(own.index, own, color=color, linewidth=0.8, marker=".", markersize=3)
        ax.set_title(name, fontsize=9)
        ax.set_xlabel("step")
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        # Below the panel: lines may be anywhere in it.
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), fontsize=7, frameon=False)
    axes[0, 0].set_ylabel(label)
    if log:
        axes[0, 0].set_yscale("log")
    figure.suptitle(title)
    sns.despine(figure)
    return figure


def plot_codes(counts: Mapping[str, Int[np.ndarray, " n_codes"]], title: str) -> Figure:
    """Draw how often every code of some codebooks is used, the most frequent first.

    Parameters
    ----------
    counts : mapping of str to numpy.ndarray, each of shape (n_codes,)
        Patches by code, by the name of the codebook; two at most.
    title : str
        Title of the figure.

    Returns
    -------
    figure : matplotlib.figure.Figure
        One line per codebook. A flat line uses all codes alike; one that falls has codes without a use.
    """
    figure, ax = open_axes((6, 3.2))
    for (name, own), (color, style) in zip(counts.items(), LINES, strict=False):
        shares = 100 * np.sort(own)[::-1] / own.sum()
        ax.plot(np.arange(1, len(own) + 1), shares, color=color, linestyle=style, label=name)
    ax.axhline(100 / len(own), color="0.6", linewidth=3, alpha=0.5, zorder=0, label="all alike")
    ax.set(xlabel="code, by frequency", ylabel="share of the patches (%)", ylim=(0, None))
    ax.set_title(title)
    ax.legend(frameon=False)
    sns.despine(figure)
    return figure


def plot_neighbours(
    query: Float[np.ndarray, " n_times"],
    found: Mapping[str, Sequence[tuple[str, Float[np.ndarray, " n_times"]]]],
    sfreq: float,
    label: str,
    title: str,
) -> Figure:
    """Draw a stretch of EEG beside those that some features take for its nearest neighbours.

    Parameters
    ----------
    query : numpy.ndarray, shape (n_times,)
        The stretch, in microvolts.
    found : mapping of str to sequence of (str, numpy.ndarray)
        By the name of the features, notes and stretches of its neighbours, the nearest first; the same number
        everywhere.
    sfreq : float
        Sampling frequency in Hz.
    label, title : str
        Note on the stretch itself; title of the figure.

    Returns
    -------
    figure : matplotlib.figure.Figure
        One row per kind of features; the stretch comes first, in black.
    """
    n_columns = 1 + max(map(len, found.values()))
    size = 0.8 + 1.9 * n_columns, 0.7 + 1.25 * len(found)
    figure, axes = open_panels(len(found), n_columns, size, sharex=True, sharey=True)
    seconds = np.arange(len(query)) / sfreq
    for row, (name, neighbours) in zip(axes, found.items(), strict=True):
        for ax, (note, trace) in zip(row, [(label, query), *neighbours], strict=True):
            color = "black" if ax is row[0] else color_of(name)
            ax.plot(seconds, trace, color=color, linewidth=0.6)
            ax.set_title(note, fontsize=8)
        row[0].set_ylabel(f"{name}\n(µV)", fontsize=8)
    for ax in axes[-1]:
        ax.set_xlabel("time (s)", fontsize=8)
    figure.suptitle(title)
    sns.despine(figure)
    return figure


def plot_gains(table: pd.DataFrame, chance: Mapping[str, float], title: str) -> Figure:
    """Draw the accuracies of probes on random and on pretrained encoders, one dot per seed.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns `name`, which begins with that of a model, `kind` ("random" or "pretrained"), `seed`, `task`
        and `accuracy`; further columns, as the subject, are averaged over.
    chance : mapping of str to float
        Accuracy of guessing, by task; tasks are drawn in this order.
    title : str
        Title of the figure.

    Returns
    -------
    figure : matplotlib.figure.Figure
        One panel per task. Bars are means over seeds; random encoders are grey circles, pretrained ones dots
        in the colour of their model.
    """
    seeds = table.groupby(["task", "name", "kind", "seed"])["accuracy"].mean()
    names = list(dict.fromkeys(table["name"]))[::-1]
    figure, axes = open_panels(
        1, len(chance), (1.3 + 2.0 * len(chance), 1.2 + 0.55 * len(names)), sharey=True
    )
    for ax, (task, level) in zip(axes[0], chance.items(), strict=True):
        ax.axvline(level, color="0.6", linestyle=":", linewidth=1)
        for row, name in enumerate(names):
            for kind, shift in (("random", 0.17), ("pretrained", -0.17)):
                own = seeds.get((task, name, kind))
                if own is None:
                    continue
                color = BASELINE_COLOR if kind == "random" else color_of(name)
                fill = "none" if kind == "random" else color
                height = np.full(len(own), row + shift)
                ax.plot(own, height, "o", color=color, markerfacecolor=fill, markersize=4)
                ax.plot([own.mean()] * 2, [row + shift - 0.14, row + shift + 0.14], color=color, linewidth=2)
        ax.set_title(task, fontsize=9)
        ax.set_xlabel("accuracy")
    axes[0, 0].set_yticks(range(len(names)), names)
    handles = [
        plt.Line2D([], [], marker="o", linestyle="", color=BASELINE_COLOR, markerfacecolor="none"),
        plt.Line2D([], [], marker="o", linestyle="", color="black"),
        plt.Line2D([], [], linestyle=":", color="0.6"),
    ]
    names = ["random weights", "pretrained", "guessing"]
    figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(title)
    sns.despine(figure)
    return figure
