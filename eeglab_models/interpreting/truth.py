"""Maps held against the truth of the simulated data set: electrodes, band and time that carry the class.

Maps are labelled arrays with some of the dimensions `window` (EEG windows), `channel` (names), `time` (s
after the cue), `frequency` (Hz), `band` (with edges `low` and `high` in Hz) and others, such as `filter`.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import roc_auc_score

from eeglab_models.scores.intervals import mean_interval
from eeglab_models.signals.simulation import GroundTruth

__all__ = [
    "relevant_channels",
    "score_against_truth",
    "score_map",
    "score_topography",
    "source_topographies",
]

# What each measure gives for a map that knows nothing.
CHANCE = {"topography": 0.0, "window": 1.0, "band": 1.0, "auc": 0.5}


def source_topographies(truth: GroundTruth, sources: Sequence[str] | None = None) -> xr.DataArray:
    """Label the true topographies of sources.

    Parameters
    ----------
    truth : GroundTruth
        Of one subject in one session.
    sources : sequence of str or None
        Names of sources; None means those that react to imagery.

    Returns
    -------
    topographies : xarray.DataArray, dims (source, channel)
        Potentials in microvolts.

    Raises
    ------
    ValueError
        If there is no such source.
    """
    sources = list(next(iter(truth.reactions.values()))) if sources is None else list(sources)
    if unknown := sorted(set(sources) - set(truth.topographies)):
        raise ValueError(
            f"Sources are {', '.join(truth.topographies)}; got {', '.join(unknown)}. Choose among them."
        )
    values = np.stack([truth.topographies[source] for source in sources])
    coordinates = {"source": sources, "channel": list(truth.ch_names)}
    return xr.DataArray(values, coordinates, ("source", "channel"), name="topography", attrs={"units": "µV"})


def relevant_channels(truth: GroundTruth, classes: Sequence[str] | None = None) -> xr.DataArray:
    """Say how much the class changes the amplitude of the rhythms at every channel.

    The changes of all sources are added as powers, because sources are independent.

    Parameters
    ----------
    truth : GroundTruth
        Of one subject in one session.
    classes : sequence of str or None
        Two or more classes that are told apart; None means all.

    Returns
    -------
    relevance : xarray.DataArray, dims (channel,)
        Standard deviation over classes, in microvolts.

    Raises
    ------
    ValueError
        If there is no such class, or only one.
    """
    classes = list(truth.reactions) if classes is None else list(classes)
    if len(classes) < 2 or not set(classes) <= set(truth.reactions):
        raise ValueError(
            f"Channels are relevant to two or more classes of {', '.join(truth.reactions)}, got "
            f"{', '.join(classes) or 'none'}."
        )
    topographies = source_topographies(truth)
    reactions = np.array(
        [[truth.reactions[label][source] for label in classes] for source in topographies["source"].values]
    )  # (n_sources, n_classes)
    spread = xr.DataArray(reactions.std(axis=1), dims="source")
    return np.sqrt(((spread * topographies) ** 2).sum("source")).rename("relevance").assign_attrs(units="µV")


def score_topography(
    maps: xr.DataArray, topographies: xr.DataArray, compare: str = "pattern"
) -> pd.DataFrame:
    """Correlate spatial maps with true topographies, each with the one that fits it best.

    Every topography is matched with one map at most, and every map with one topography, so that the sum of
    the correlations is largest. A constant in a map, such as another reference, changes nothing.

    Parameters
    ----------
    maps : xarray.DataArray, dims (channel,) or (anything, channel)
        Spatial maps.
    topographies : xarray.DataArray, dims (source, channel) or (channel,)
        From `source_topographies` or `relevant_channels`. Channels are matched by name, whatever their case;
        all channels of the maps must be there.
    compare : {"pattern", "signed", "size"}
        ``"pattern"`` takes the absolute correlation, because the sign of a filter's pattern is arbitrary;
        ``"signed"`` the correlation; ``"size"`` the correlation of absolute values, for maps that say how
        much and not in which direction, after the average reference of the topography.

    Returns
    -------
    scores : pandas.DataFrame
        One row per match: `source`, `map` and `correlation`.

    Raises
    ------
    ValueError
        If a channel has no true value, if a map is constant, or if `compare` is none of those above.

    References
    ----------
    Haufe et al. (2014), NeuroImage 87, section 2: why patterns, and not filters, are compared.
    """
    if compare not in ("pattern", "signed", "size"):
        raise ValueError(f"compare must be pattern, signed or size, got {compare!r}.")
    topographies = topographies if topographies.ndim == 2 else topographies.expand_dims(source=["all"])
    maps = maps if maps.ndim == 2 else maps.expand_dims(map=[0])
    (dimension,) = set(maps.dims) - {"channel"}
    rows = {name.upper(): row for row, name in enumerate(topographies["channel"].values)}
    if unknown := [name for name in maps["channel"].values if name.upper() not in rows]:
        raise ValueError(
            f"The truth is known at {', '.join(topographies['channel'].values)}; got {', '.join(unknown)}. "
            "Leave these channels out."
        )
    chosen = [rows[name.upper()] for name in maps["channel"].values]
    true = topographies.transpose("source", "channel").to_numpy()[:, chosen]  # (n_sources, n_chans)
    found = maps.transpose(dimension, "channel").to_numpy()  # (n_maps, n_chans)
    if compare == "size":
        true, found = np.abs(true - true.mean(axis=1, keepdims=True)), np.abs(found)
    correlations = standardise(true) @ standardise(found).T / len(chosen)  # (n_sources, n_maps)
    if compare == "pattern":
        correlations = np.abs(correlations)
    labels = maps[dimension].values if dimension in maps.coords else np.arange(len(found))
    return pd.DataFrame(
        [
            {
                "source": str(topographies["source"].values[source]),
                "map": labels[number],
                "correlation": float(correlations[source, number]),
            }
            for source, number in zip(*linear_sum_assignment(-correlations), strict=True)
        ]
    )


def standardise(maps: Float[np.ndarray, "n_maps n_chans"]) -> Float[np.ndarray, "n_maps n_chans"]:
    """Give every map mean 0 and standard deviation 1 over channels."""
    deviations = maps.std(axis=1, keepdims=True)
    if not (deviations > 0).all():
        raise ValueError("A constant map has no correlation with a topography, got one. Leave it out.")
    return (maps - maps.mean(axis=1, keepdims=True)) / deviations


def share_inside(
    values: xr.DataArray,
    *,
    window: tuple[float, float] | None = None,
    bands: Collection[tuple[float, float]] | None = None,
    channels: Collection[str] | None = None,
) -> xr.Dataset:
    """Measure which share of the sizes of a map lies inside, beside that of a constant map, and their ratio.

    Bands must not overlap; what occlusion says about a band that is partly true counts by the part.
    """
    sizes = np.abs(values)
    inside, width = mark_inside(values, window, bands, channels)
    dims = [dimension for dimension in values.dims if dimension != "window"]
    total = sizes.sum(dims)
    if not bool((total > 0).all()):
        raise ValueError("A map that is zero everywhere has no share inside, got one. Leave it out.")
    share = (sizes * inside).sum(dims) / total
    chance = float((inside * width).sum() / (xr.ones_like(inside) * width).sum())
    return xr.Dataset({"share": share, "chance": chance, "ratio": share / chance})


def auc_inside(
    values: xr.DataArray,
    *,
    window: tuple[float, float] | None = None,
    bands: Collection[tuple[float, float]] | None = None,
    channels: Collection[str] | None = None,
) -> xr.DataArray:
    """Measure how well sizes tell inside from outside: the area under the ROC curve, 0.5 by chance."""
    inside, _ = mark_inside(values, window, bands, channels)
    dims = [dimension for dimension in values.dims if dimension != "window"]
    inside = (inside >= 0.5).broadcast_like(values.isel(window=0) if "window" in values.dims else values)
    truth = inside.transpose(*dims).to_numpy().ravel()
    if truth.all() or not truth.any():
        raise ValueError("Inside and outside need a value each, got none in one of them. Widen the map.")
    rows = np.abs(values).transpose(..., *dims).to_numpy().reshape(-1, truth.size)
    auc = np.array([roc_auc_score(truth, row) for row in rows])
    if "window" not in values.dims:
        return xr.DataArray(auc[0], name="auc")
    return xr.DataArray(auc, {"window": values["window"]}, ("window",), name="auc")


def mark_inside(
    values: xr.DataArray,
    window: tuple[float, float] | None,
    bands: Collection[tuple[float, float]] | None,
    channels: Collection[str] | None,
) -> tuple[xr.DataArray, xr.DataArray]:
    """Say which part of every cell of a map lies inside, from 0 to 1, and how wide the cells are."""
    inside, width = xr.DataArray(1.0), xr.DataArray(1.0)
    if window is not None:
        time = take_axis(values, "time")
        inside = inside * ((time >= window[0]) & (time < window[1]))
    if channels is not None:
        names = [name.upper() for name in take_axis(values, "channel").values]
        known = {name.upper() for name in channels}
        inside = inside * xr.DataArray([name in known for name in names], dims="channel")
    if bands is not None and "band" in values.dims:
        low, high = values["low"], values["high"]
        width = high - low
        overlaps = [(np.minimum(high, top) - np.maximum(low, bottom)).clip(0) for bottom, top in bands]
        inside = inside * (sum(overlaps) / width)
    elif bands is not None:
        frequency = take_axis(values, "frequency")
        inside = inside * sum((frequency >= bottom) & (frequency < top) for bottom, top in bands)
    inside = inside.reset_coords(drop=True)
    if not 0 < float(inside.mean()) < 1:
        raise ValueError(
            f"The truth must lie partly inside and partly outside of the map of dimensions {values.dims}, "
            f"got {float(inside.mean()):.0%} inside. Check the units, and name what counts as true."
        )
    return inside, width.reset_coords(drop=True)


def take_axis(values: xr.DataArray, name: str) -> xr.DataArray:
    """Return the coordinates of a dimension of a map, or say that there are none."""
    if name not in values.dims or name not in values.coords:
        raise ValueError(f"This needs a map with the dimension {name!r} and its values, got {values.dims}.")
    return values[name]


def score_map(
    values: xr.DataArray, truth: GroundTruth, classes: Sequence[str] | None = None
) -> dict[str, float]:
    """Score a map by all that its dimensions allow.

    Parameters
    ----------
    values : xarray.DataArray
        A map of one subject in one session. Its sizes count; windows and other dimensions are averaged.
    truth : GroundTruth
        Of the same subject in the same session.
    classes : sequence of str or None
        Classes that are told apart; None means all.

    Returns
    -------
    scores : dict of float
        `topography`: correlation of sizes with `relevant_channels`, 0 by chance. `window` and `band`: share
        inside the true window or bands over the share by chance, 1 by chance. `auc`: how well sizes tell the
        true window, 0.5 by chance.

    Raises
    ------
    ValueError
        If the map has none of the dimensions `channel`, `time`, `frequency` and `band`.
    """
    scores = {}
    if "channel" in values.dims:
        others = [dimension for dimension in values.dims if dimension != "channel"]
        relevance = relevant_channels(truth, classes)
        table = score_topography(np.abs(values).mean(others), relevance, compare="signed")
        scores["topography"] = float(table["correlation"].iloc[0])
    if "time" in values.dims:
        scores["window"] = float(share_inside(values, window=truth.window)["ratio"].mean())
        scores["auc"] = float(auc_inside(values, window=truth.window).mean())
    if "band" in values.dims or "frequency" in values.dims:
        scores["band"] = float(share_inside(values, bands=truth.bands.values())["ratio"].mean())
    if not scores:
        raise ValueError(
            f"The truth knows channels, times, frequencies and bands; got a map of dimensions {values.dims}. "
            "Name them channel, time, frequency or band."
        )
    return scores


def score_against_truth(
    maps: Mapping[tuple[str, str], Sequence[xr.DataArray]],
    truths: Sequence[GroundTruth],
    controls: Mapping[str, Mapping[tuple[str, str], Sequence[xr.DataArray]]],
    *,
    score: Callable[[xr.DataArray, GroundTruth], dict[str, float]] = score_map,
    interval: str = "t",
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Tabulate how well maps find the truth, beside the same maps of models that cannot know it.

    Parameters
    ----------
    maps : dict of sequences of xarray.DataArray
        Maps of trained models by (model, method), one for each subject or seed.
    truths : sequence of GroundTruth
        The truth of each of them, in the same order.
    controls : dict of dict
        By name, such as ``"shuffled labels"`` and ``"random weights"``, maps as in `maps`.
    score : callable
        Turns a map and its truth into scores by name.
    interval, confidence, seed : {"t", "bootstrap"}, float and int
        Interval of the mean over subjects or seeds, as in `mean_interval`.

    Returns
    -------
    table : pandas.DataFrame
        One row per model, method, weights and measure: `model`, `method`, `weights` (``"trained"`` or the
        name of the control), `measure`, the mean `score` with `low` and `high`, `n` maps, and what measure
        gives by `chance`. In rows of controls, `lead` with `lead_low` and `lead_high` is how far the trained
        model is ahead, subject by subject. Bounds are missing where there is one map only.

    Raises
    ------
    ValueError
        If there is not one map for each truth, if a control has maps of which no trained ones exist, or if
        `interval` is neither.
    """
    if interval not in ("t", "bootstrap"):
        raise ValueError(f"interval must be t or bootstrap, got {interval!r}.")
    rows: list[dict[str, Any]] = []
    trained = {key: score_all(key, own, truths, score) for key, own in maps.items()}
    for weights, group in {"trained": maps, **controls}.items():
        for key, own in group.items():
            if key not in trained:
                raise ValueError(
                    f"The control {weights!r} has maps of {key}, but there are trained ones of "
                    f"{', '.join(map(str, trained))} only. Use the same keys."
                )
            scores = trained[key] if weights == "trained" else score_all(key, own, truths, score)
            for measure, values in scores.items():
                low, high = bound_mean(values, interval, confidence, seed)
                row = {"model": key[0], "method": key[1], "weights": weights, "measure": measure}
                row |= {"score": float(values.mean()), "low": low, "high": high, "n": len(values)}
                row["chance"] = CHANCE.get(measure, np.nan)
                if weights != "trained":
                    leads = trained[key][measure] - values
                    low, high = bound_mean(leads, interval, confidence, seed)
                    row |= {"lead": float(leads.mean()), "lead_low": low, "lead_high": high}
                rows.append(row)
    return pd.DataFrame(rows)


def score_all(
    key: tuple[str, str],
    maps: Sequence[xr.DataArray],
    truths: Sequence[GroundTruth],
    score: Callable[[xr.DataArray, GroundTruth], dict[str, float]],
) -> dict[str, Float[np.ndarray, " n_maps"]]:
    """Score the maps of one model and method, each against its own truth, by measure."""
    if len(maps) != len(truths):
        raise ValueError(f"Every map needs its truth: {key} has {len(maps)} maps, got {len(truths)} truths.")
    scores = [score(values, truth) for values, truth in zip(maps, truths, strict=True)]
    return {measure: np.array([one[measure] for one in scores]) for measure in scores[0]}


def bound_mean(
    values: Float[np.ndarray, " n_maps"], interval: str, confidence: float, seed: int
) -> tuple[float, float]:
    """Bound the mean over subjects or seeds; of one value nothing is known."""
    return mean_interval(values, confidence, interval, seed) if len(values) > 1 else (np.nan, np.nan)
