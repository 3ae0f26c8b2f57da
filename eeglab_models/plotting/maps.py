"""Figures of maps: whom tokens look at, what counts where and when, and how well maps fit a truth."""

from collections.abc import Mapping, Sequence
from typing import Any

import mne
import numpy as np
import pandas as pd
import seaborn as sns
import xarray as xr
from jaxtyping import Float, Shaped
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from eeglab_models.plotting.style import color_of, open_panels
from eeglab_models.signals.electrodes import electrode_name, montage

__all__ = ["plot_attention", "plot_channels_by_time", "plot_head_maps", "plot_truth_scores"]

Maps = xr.DataArray | Mapping[str, xr.DataArray]

# Colours and markers of what weights a map comes from; the first has the colour of its model.
CONTROLS = (("o", None), ("s", "0.45"), ("D", "0.75"))


def plot_attention(
    attention: Maps, title: str, *, label: str = "attention weight", center: float | None = None
) -> Figure:
    """Draw whom every token looks at.

    Parameters
    ----------
    attention : xarray.DataArray, dims (query, key), or dict of them
        Weights as `attention_maps` returns them, averaged over all other axes; several, by title, side by
        side.
    title : str
        Title of the figure.
    label : str
        What the numbers are.
    center : float or None
        Number that is white between two colours. None shades from zero.

    Returns
    -------
    figure : matplotlib.figure.Figure
        Who looks downwards, who is looked at to the right; tokens of one channel share a label.

    Raises
    ------
    ValueError
        If a map has other dimensions than (query, key).
    """
    panels = as_panels(attention, "query", "key")
    norm, extend = choose_shades(panels, center)
    n_rows = min(max(panel.sizes["query"] for panel in panels.values()), 30)
    figure, axes = open_panels(1, len(panels), (4.2 * len(panels) + 0.8, 0.12 * n_rows + 1.6))
    for ax, (name, panel) in zip(axes[0], panels.items(), strict=True):
        image = ax.imshow(panel, aspect="auto", cmap=colors_for(center), norm=norm, interpolation="nearest")
        for axis, tokens in ((ax.xaxis, "key"), (ax.yaxis, "query")):
            axis.set_ticks(*label_groups(panel, tokens), fontsize=6)
        ax.tick_params(axis="x", rotation=90)
        ax.set(xlabel="looked at", title=name)
    axes[0, 0].set_ylabel("looking")
    figure.colorbar(image, ax=axes, label=label, extend=extend)
    figure.suptitle(title)
    return figure


def plot_channels_by_time(
    maps: Maps,
    *,
    label: str,
    title: str,
    window: tuple[float, float] | None = None,
    center: float | None = None,
) -> Figure:
    """Draw maps of channels by time.

    Parameters
    ----------
    maps : xarray.DataArray, dims (channel, time), or dict of them
        Times in seconds, evenly spaced; several, by title, side by side.
    label, title : str
        What the numbers are, with their unit; title of the figure.
    window : tuple of (float, float) or None
        Time in seconds to mark, such as the true window.
    center : float or None
        Number that is white between two colours. None shades from zero.

    Returns
    -------
    figure : matplotlib.figure.Figure
        Channels from top to bottom, dashed lines at the edges of the window.

    Raises
    ------
    ValueError
        If a map has other dimensions than (channel, time).
    """
    panels = as_panels(maps, "channel", "time")
    norm, extend = choose_shades(panels, center)
    channels = next(iter(panels.values()))["channel"].values.astype(str).tolist()
    shades = {"cmap": colors_for(center), "norm": norm}
    grids = {}
    for name, panel in panels.items():
        time = panel["time"].values
        step = float(time[1] - time[0]) if len(time) > 1 else 1.0
        edges = np.append(time - step / 2, time[-1] + step / 2)
        grids[name] = (edges, panel.values, shades, window or ())
    size = 2.6 * len(panels) + 1.6, 0.13 * len(channels) + 1.5
    return draw_grids(grids, channels, size, label, title, extend=extend)


def draw_grids(
    grids: Mapping[str, tuple[np.ndarray, np.ndarray, dict[str, Any], Sequence[float]]],
    ch_names: Sequence[str],
    size: tuple[float, float],
    label: str,
    title: str,
    *,
    extend: str = "neither",
    fontsize: float | str = "large",
) -> Figure:
    """Draw channels by time side by side: edges in seconds, numbers, shades and moments to mark, by title."""
    figure, axes = open_panels(1, len(grids), size, sharey=True)
    rows = np.arange(len(ch_names) + 1) - 0.5
    for ax, (name, (edges, values, shades, marked)) in zip(axes[0], grids.items(), strict=True):
        image = ax.pcolormesh(edges, rows, values, **shades)
        for moment in marked:
            ax.axvline(moment, color="black", linestyle="--", linewidth=1)
        ax.set(xlabel="time (s)", xlim=edges[[0, -1]])
        ax.set_title(name, fontsize=fontsize)
    axes[0, 0].set_yticks(rows[:-1] + 0.5, ch_names, fontsize=6)
    axes[0, 0].set(ylabel="channel", ylim=(rows[-1], rows[0]))
    figure.colorbar(image, ax=axes, label=label, extend=extend)
    figure.suptitle(title)
    return figure


def plot_head_maps(
    maps: Maps, *, label: str, title: str, center: float | None = None, n_columns: int = 6
) -> Figure:
    """Draw maps on the head, seen from above, on one scale.

    Parameters
    ----------
    maps : xarray.DataArray, dims (channel,), or dict of them
        Channels are named as in the 10-05 system; several maps, by title, side by side.
    label, title : str
        What the numbers are, with their unit; title of the figure.
    center : float or None
        Number that is white between two colours. None shades from zero.
    n_columns : int
        Heads in a row.

    Returns
    -------
    figure : matplotlib.figure.Figure
        One head per panel, the nose upwards.

    Raises
    ------
    ValueError
        If a channel has no place on the head.
    """
    panels = as_panels(maps, "channel")
    norm, extend = choose_shades(panels, center)
    n_columns = min(n_columns, len(panels))
    placed = {
        name: (panel.values, place_electrodes(panel["channel"].values.tolist()))
        for name, panel in panels.items()
    }
    size, shades = (1.8 * n_columns + 1.2, 2.2, 0.4), {"cmap": colors_for(center), "cnorm": norm}
    return draw_heads(placed, n_columns, size, label, title, extend=extend, **shades)


def draw_heads(
    maps: Mapping[str, tuple[Float[np.ndarray, " n_chans"], mne.Info]],
    n_columns: int,
    size: tuple[float, float, float],
    label: str,
    title: str,
    *,
    extend: str = "neither",
    **style: Any,
) -> Figure:
    """Draw maps of the head; the size is a width, the height of a row and what is above, in inches."""
    n_rows = -(-len(maps) // n_columns)
    width, row, above = size
    figure, axes = open_panels(n_rows, n_columns, (width, above + row * n_rows))
    for ax in axes.flat[len(maps) :]:
        ax.remove()
    style |= {"show": False, "extrapolate": "local", "contours": 0}
    for ax, (name, (values, info)) in zip(axes.flat, maps.items(), strict=False):
        ax.set_title(name, fontsize=9)
        image, _ = mne.viz.plot_topomap(values, info, axes=ax, **style)
    figure.colorbar(image, ax=figure.axes, label=label, shrink=0.8, extend=extend)
    figure.suptitle(title)
    return figure


def plot_truth_scores(table: pd.DataFrame, title: str) -> Figure:
    """Draw how well maps fit the truth, beside maps of models that cannot know it.

    Parameters
    ----------
    table : pandas.DataFrame
        As `score_against_truth` of `eeglab_models.interpreting.truth` returns it.
    title : str
        Title of the figure.

    Returns
    -------
    figure : matplotlib.figure.Figure
        One panel per measure and one row per model and method: means and intervals over subjects; the
        dashed line is what a map gives that knows nothing.
    """
    measures, kinds = table["measure"].unique(), list(table["weights"].unique())
    rows = list(table[["model", "method"]].drop_duplicates().itertuples(index=False, name=None))[::-1]
    figure, axes = open_panels(
        1, len(measures), (2.2 + 2.3 * len(measures), 0.42 * len(rows) + 1.5), sharey=True
    )
    for ax, measure in zip(axes[0], measures, strict=True):
        own = table[table["measure"] == measure]
        ax.axvline(own["chance"].iloc[0], color="0.5", linestyle="--", linewidth=1)
        for place, kind in enumerate(kinds):
            draw_scores(ax, own[own["weights"] == kind], rows, 0.25 * (1 - place), CONTROLS[place % 3])
        ax.set(xlabel=f"{measure} (dashed: chance)")
    axes[0, 0].set_yticks(range(len(rows)), [", ".join(row) for row in rows], fontsize=8)
    for place, kind in enumerate(kinds):
        marker, color = CONTROLS[place % 3]
        axes[0, 0].plot([], [], marker, color=color or "black", label=kind)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(title)
    sns.despine(figure, left=True)
    return figure


def draw_scores(
    ax: Axes, scores: pd.DataFrame, rows: list[tuple[str, str]], shift: float, look: tuple[str, str | None]
) -> None:
    """Draw the means and intervals of one kind of weights."""
    marker, color = look
    for score in scores.itertuples():
        height = rows.index((score.model, score.method)) + shift
        shade = color or color_of(score.model)
        ax.hlines(height, score.low, score.high, color=shade, linewidth=1.5)
        ax.plot(score.score, height, marker, color=shade, markersize=5)


def as_panels(maps: Maps, *axes: str) -> dict[str, xr.DataArray]:
    """Name the maps of a figure; a single one needs no name."""
    panels = dict(maps) if isinstance(maps, Mapping) else {"": maps}
    for panel in panels.values():
        if set(panel.dims) != set(axes):
            raise ValueError(
                f"A figure needs maps of dims ({', '.join(axes)}), got {panel.dims}. Average over others, "
                "or pass several maps by title."
            )
    return {name: panel.transpose(*axes) for name, panel in panels.items()}


def place_electrodes(channels: list[str]) -> mne.Info:
    """Look up where channels are."""
    names = [electrode_name(name) for name in channels]
    if None in names:
        unknown = channels[names.index(None)]
        raise ValueError(f"Head maps need electrodes of the 10-05 system, got {unknown}. Leave it out.")
    return mne.create_info(names, 1.0, "eeg").set_montage(montage())


def label_groups(
    panel: xr.DataArray, axis: str
) -> tuple[Float[np.ndarray, " n_groups"], Shaped[np.ndarray, " n_groups"]]:
    """Label neighbouring tokens of one channel once, in their middle."""
    channels = panel.coords.get(f"{axis}_channel", panel[axis]).values
    channels = np.where(channels == "", "summary", channels)
    starts = np.flatnonzero(np.append(True, channels[1:] != channels[:-1]))
    ends = np.append(starts[1:], len(channels))
    return (starts + ends - 1) / 2, channels[starts]


def choose_shades(panels: Mapping[str, xr.DataArray], center: float | None) -> tuple[Normalize, str]:
    """Scale colours, and say at which ends there is more; single large values do not darken all others."""
    values = np.concatenate([panel.values.ravel() for panel in panels.values()])
    if center is None:
        norm = Normalize(0.0, float(np.quantile(values, 0.995)) or 1.0)
    else:
        reach = float(np.quantile(np.abs(values - center), 0.995)) or 1.0
        if center > 0 and values.min() >= 0:
            reach = min(reach, center)  # shares and ratios end at zero
        norm = Normalize(center - reach, center + reach)
    below, above = values.min() < norm.vmin, values.max() > norm.vmax
    ends = {(True, True): "both", (True, False): "min", (False, True): "max"}
    return norm, ends.get((below, above), "neither")


def colors_for(center: float | None) -> str:
    """Choose two colours around a centre, one without."""
    return "Reds" if center is None else "RdBu_r"
