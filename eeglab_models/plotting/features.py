"""Figures of features: what tokens respond to, and what windows that look alike have in common.

Shapes use these names throughout:

    n_windows  EEG windows
    n_chans    EEG channels
    n_freqs    frequencies of tones
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import mne
import numpy as np
import pandas as pd
import seaborn as sns
import xarray as xr
from jaxtyping import Float, Shaped
from matplotlib.figure import Figure

from eeglab_models.plotting.maps import draw_grids, draw_heads
from eeglab_models.plotting.style import color_of, open_axes, open_panels

__all__ = [
    "plot_grids",
    "plot_projections",
    "plot_similarities",
    "plot_tones",
    "plot_topographies",
    "plot_variance_shares",
]

# Colour-blind safe, none of them a model's colour; shapes repeat in print what colours say.
GROUPS = [("#332288", "o"), ("#CC6677", "^"), ("#DDCC77", "s"), ("#117733", "D"), ("#88CCEE", "v")]
FACTORS = {
    "subject": ("#332288", "white"),
    "session": ("#88CCEE", "black"),
    "class": ("#CC6677", "white"),
    "class by subject": ("#DDCC77", "black"),
    "window": ("0.92", "black"),
}


def plot_topographies(
    values: Mapping[str, Float[np.ndarray, " n_chans"]],
    info: mne.Info,
    label: str,
    title: str,
    *,
    signed: bool = False,
    marked: str | None = None,
    n_columns: int = 4,
) -> Figure:
    """Draw numbers of channels as maps of the head, all with the same shades.

    Parameters
    ----------
    values : mapping of str to numpy.ndarray, each of shape (n_chans,)
        One number per channel, by the title of its map.
    info : mne.Info
        Channels with positions, in the order of the numbers.
    label, title : str
        What the numbers are, with their unit; title of the figure.
    signed : bool
        Shades from negative to positive numbers, instead of from zero up.
    marked : str or None
        Name of a channel to mark with a cross.
    n_columns : int
        Maps beside each other.

    Returns
    -------
    figure : matplotlib.figure.Figure
        One map per entry.
    """
    limit = max(float(np.abs(numbers).max()) for numbers in values.values())
    shades = {"cmap": "RdBu_r" if signed else "Reds", "vlim": (-limit if signed else 0, limit)}
    mask = np.array([name == marked for name in info["ch_names"]])
    cross = {"marker": "x", "markersize": 6, "markeredgecolor": "black", "markeredgewidth": 2}
    maps = {name: (numbers, info) for name, numbers in values.items()}
    size = 1.2 + 2.0 * n_columns, 2.2, 0.5
    return draw_heads(maps, n_columns, size, label, title, mask=mask, mask_params=cross, **shades)


def plot_tones(
    frequencies: Float[np.ndarray, " n_freqs"],
    responses: Mapping[str, Mapping[str, Float[np.ndarray, " n_freqs"]]],
    label: str,
    title: str,
) -> Figure:
    """Draw how strongly parts of models respond to tones.

    Parameters
    ----------
    frequencies : numpy.ndarray, shape (n_freqs,)
        Frequencies of the tones in Hz.
    responses : mapping of str to mapping of str to numpy.ndarray, each of shape (n_freqs,)
        Positive responses, by the name of the panel, which begins with that of a model, and of the part.
        The same parts in every panel, four at most.
    label, title : str
        What the responses are, with their unit; title of the figure.

    Returns
    -------
    figure : matplotlib.figure.Figure
        One panel per model on a logarithmic scale; the first part in its colour, the others in grey.
    """
    figure, axes = open_panels(1, len(responses), (1 + 2.2 * len(responses), 3.4), sharey=True)
    for ax, (name, parts) in zip(axes[0], responses.items(), strict=True):
        shades = [color_of(name), "black", "0.45", "0.7"]
        for (part, response), color, style in zip(
            parts.items(), shades, ("-", "--", ":", "-."), strict=False
        ):
            ax.plot(frequencies, response, linestyle=style, color=color, label=part)
        ax.set(xlabel="tone (Hz)", yscale="log")
        ax.set_title(name, fontsize=9)
    axes[0, 0].set_ylabel(label)
    lines = [plt.Line2D([], [], linestyle=line.get_linestyle(), color="black") for line in axes[0, 0].lines]
    figure.legend(lines, list(parts), loc="outside lower center", ncols=len(lines), frameon=False)
    figure.suptitle(title)
    sns.despine(figure)
    return figure


def plot_grids(
    grids: Mapping[str, Float[np.ndarray, "_ _"]],
    rows: Sequence[str],
    label: str,
    title: str,
    *,
    seconds: float = 1.0,
    shared: bool = False,
) -> Figure:
    """Draw numbers of all patches of a window, channels above each other.

    Parameters
    ----------
    grids : mapping of str to numpy.ndarray, each of shape (n_chans, n_patches)
        Numbers that are not negative, by the title of their panel; all with the same channels.
    rows : sequence of str
        Names of the channels.
    label, title : str
        What the numbers are, with their unit; title of the figure.
    seconds : float
        Length of a patch in seconds.
    shared : bool
        The darkest shade is the largest number of all panels, not of each panel.

    Returns
    -------
    figure : matplotlib.figure.Figure
        One panel per entry, over time in seconds; dark is large.
    """
    largest = max(float(grid.max()) for grid in grids.values())
    panels = {}
    for name, grid in grids.items():
        # Numbers that are all zero have no shades.
        limit = (largest if shared else float(grid.max())) or 1.0
        values, end = (grid, limit) if shared else (grid / limit, 1)
        shades = {"cmap": "Reds", "vmin": 0, "vmax": end}
        panels[name] = (np.arange(grid.shape[1] + 1) * seconds, values, shades, ())
    size = 1.2 + 1.75 * len(grids), 1.3 + 0.125 * len(rows)
    return draw_grids(panels, rows, size, label, title, fontsize=9)


def plot_projections(
    points: Mapping[str, Float[np.ndarray, "n_windows 2"]],
    groups: Mapping[str, Shaped[np.ndarray, " n_windows"]],
    title: str,
) -> Figure:
    """Draw windows as points of a plane, once for every way to group them.

    Parameters
    ----------
    points : mapping of str to numpy.ndarray, each of shape (n_windows, 2)
        Places of the same windows, by the name of the projection.
    groups : mapping of str to numpy.ndarray, each of shape (n_windows,)
        Group of every window, by what groups them: at most five groups each.
    title : str
        Title of the figure.

    Returns
    -------
    figure : matplotlib.figure.Figure
        One row per projection, one column per way to group. Axes have no unit.

    Raises
    ------
    ValueError
        If there are more groups than colours.
    """
    members = {name: np.unique(own) for name, own in groups.items()}
    for name, own in members.items():
        if len(own) > len(GROUPS):
            raise ValueError(
                f"There are colours for {len(GROUPS)} groups, got {len(own)} of {name}. Draw some of them."
            )
    figure, axes = open_panels(len(points), len(groups), (0.6 + 2.6 * len(groups), 0.9 + 2.2 * len(points)))
    for row, (projection, places) in zip(axes, points.items(), strict=True):
        for ax, (name, own) in zip(row, groups.items(), strict=True):
            for member, (color, marker) in zip(members[name], GROUPS, strict=False):
                chosen = own == member
                style = {"s": 9, "color": color, "marker": marker, "alpha": 0.7, "linewidths": 0}
                ax.scatter(*places[chosen].T, label=member, **style)
            ax.set(xticks=[], yticks=[])
        row[0].set_ylabel(projection, fontsize=9)
    for ax, name in zip(axes[0], groups, strict=True):
        ax.set_title(f"by {name}", fontsize=10)
    for ax in axes[-1]:
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "ncols": 5, "fontsize": 7}
        ax.legend(**below, frameon=False, handletextpad=0, markerscale=2)
    figure.suptitle(title)
    sns.despine(figure)
    return figure


def plot_variance_shares(shares: Mapping[str, pd.DataFrame], title: str) -> Figure:
    """Draw how much of the variance of features is subject, session and class.

    Parameters
    ----------
    shares : mapping of str to pandas.DataFrame
        By the name of the features, what `variance_shares` of `eeglab_models.interpreting.similarity`
        returns: the columns `factor` and `adjusted` are drawn, and what is negative counts as nothing.
    title : str
        Title of the figure.

    Returns
    -------
    figure : matplotlib.figure.Figure
        One bar per entry, the first on top, with the shares of at least 3 % written on it.
    """
    names = list(shares)[::-1]
    figure, ax = open_axes((8, 0.34 * len(names) + 1.5))
    start = np.zeros(len(names))
    for factor, (color, ink) in FACTORS.items():
        widths = np.array(
            [shares[name].set_index("factor")["adjusted"].get(factor, 0.0) for name in names]
        ).clip(0)
        ax.barh(names, 100 * widths, left=100 * start, color=color, edgecolor="white", label=factor)
        for row, width in enumerate(widths):
            if width >= 0.03:
                place = 100 * (start[row] + width / 2), row
                ax.annotate(f"{width:.0%}", place, color=ink, fontsize=7, ha="center", va="center")
        start = start + widths
    ax.set(xlim=(0, 100), xlabel="share of the variance (%)")
    ax.margins(y=0.01)
    figure.legend(loc="outside lower center", ncols=len(FACTORS), frameon=False, fontsize=8)
    figure.suptitle(title)
    sns.despine(figure, left=True)
    return figure


def plot_similarities(matrices: Mapping[str, xr.DataArray], label: str, title: str) -> Figure:
    """Draw how alike all pairs of some things are.

    Parameters
    ----------
    matrices : mapping of str to xarray.DataArray, each with two axes of names
        Similarities of at most 1, by the title of their panel.
    label, title : str
        What the similarities are; title of the figure.

    Returns
    -------
    figure : matplotlib.figure.Figure
        One panel per entry with its numbers; dark is alike.
    """
    sizes = [matrix.shape for matrix in matrices.values()]
    longest = max(len(str(name)) for matrix in matrices.values() for name in matrix[matrix.dims[0]].values)
    width = 0.42 * sum(columns for _, columns in sizes) + len(sizes) * (0.3 + 0.06 * longest) + 1
    height = 0.36 * max(rows for rows, _ in sizes) + 1.0 + 0.06 * longest
    ratios = [columns for _, columns in sizes]
    figure, axes = open_panels(1, len(matrices), (width, height), width_ratios=ratios)
    for ax, (name, matrix) in zip(axes[0], matrices.items(), strict=True):
        down, across = matrix.dims
        table = pd.DataFrame(matrix.values, matrix[down].values, matrix[across].values)
        # Adding zero leaves no minus sign where nothing is left of a number.
        numbers = {"annot": table.round(1) + 0.0, "fmt": ".1f", "annot_kws": {"fontsize": 7}}
        sns.heatmap(table, cmap="Reds", vmin=0, vmax=1, linewidths=0.5, cbar=False, ax=ax, **numbers)
        ax.tick_params(labelsize=8)
        ax.set_xticks(ax.get_xticks(), ax.get_xticklabels(), rotation=90)
        ax.set_yticks(ax.get_yticks(), ax.get_yticklabels(), rotation=0)
        ax.set_title(name, fontsize=9)
    figure.colorbar(axes[0, -1].collections[0], ax=axes, label=label, shrink=0.8)
    figure.suptitle(title)
    return figure
