"""Sanity checks: whether a map depends on the weights of its model, and the score on what the map marks."""

import copy
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from scipy.stats import spearmanr
from torch import nn

from eeglab_models.interpreting.attribution import attribute, number_patches
from eeglab_models.interpreting.scores import Score, Target
from eeglab_models.models.base import evaluating
from eeglab_models.signals.windows import Windows

__all__ = [
    "area_under",
    "deletion_curve",
    "insertion_curve",
    "randomise",
    "similarity_to_randomised",
]


def list_layers(model: nn.Module) -> list[str]:
    """Name the layers of a model from the output back to the input, stacks of blocks block by block."""
    return [name for name in reversed(collect_layers(model, "")) if name]


def collect_layers(module: nn.Module, name: str) -> list[str]:
    """Name the layers within a module in their order; one without a stack of blocks is a layer itself."""
    if not any(True for _ in module.parameters()):
        return []
    prefix = f"{name}." if name else ""
    if name and not any(isinstance(part, nn.ModuleList) for part in module.modules()):
        return [name]
    if isinstance(module, nn.ModuleList):
        return [prefix + number for number, _ in module.named_children()]
    own = [prefix + parameter for parameter, _ in module.named_parameters(recurse=False)]
    return own + [
        layer for part, child in module.named_children() for layer in collect_layers(child, prefix + part)
    ]


def randomise(model: nn.Module, seed: int, layers: Collection[str] | None = None) -> nn.Module:
    """Copy a model and destroy what its weights know.

    The values of every weight tensor are shuffled, which keeps their distribution: activations stay about
    as large as they were, and nothing that was learned is left in their order. Buffers stay.

    Parameters
    ----------
    model : torch.nn.Module
        The model, which stays as it is.
    seed : int
        Seed of the shuffling.
    layers : collection of str or None
        Dotted names of the modules or parameters to randomise, as `list_layers` gives them; None for all.

    Returns
    -------
    randomised : torch.nn.Module
        A copy with shuffled weights.

    Raises
    ------
    ValueError
        If a layer has no parameters in this model.

    References
    ----------
    Adebayo et al. (2018), NeurIPS, section 3: model parameter randomisation test. There, weights are drawn
    anew; shuffling does the same to any module, whatever it was initialised by.
    """
    randomised = copy.deepcopy(model)
    names = [name for name, _ in randomised.named_parameters()]
    wanted = names if layers is None else list(layers)
    for layer in wanted:
        if not any(belongs(name, layer) for name in names):
            raise ValueError(
                f"{type(model).__name__} has no parameters in {layer!r}. Take names from list_layers(model)."
            )
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weights in randomised.named_parameters():
            # Drawn for every tensor, so that a layer gets the same order whatever else is shuffled.
            order = torch.randperm(weights.numel(), generator=generator).to(weights.device)
            if any(belongs(name, layer) for layer in wanted):
                weights.copy_(weights.flatten()[order].view_as(weights))
    return randomised


def belongs(parameter: str, layer: str) -> bool:
    """Tell whether a parameter is a layer, or lies within it."""
    return parameter == layer or parameter.startswith(f"{layer}.")


def similarity_to_randomised(
    model: nn.Module,
    windows: Windows,
    target: Target,
    method: str = "gradient",
    *,
    seed: int = 0,
    layers: Sequence[str] | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Compare a model's maps with those of copies that are randomised ever further down from the output.

    A map that stays the same does not show what the model learned. Signs are informative for all methods;
    sizes are not where a method multiplies with the input, which alone makes them similar.

    Parameters
    ----------
    model : torch.nn.Module
        As in `attribute`.
    windows : Windows
        Prepared for this model by `prepare`.
    target : int, str, sequence of them, or callable
        The score, as in `attribute`.
    method : {"gradient", "integrated gradients", "occlusion"}
        How maps are made, as `attribute` explains.
    seed : int
        Seed of `randomise`.
    layers : sequence of str or None
        Layers in the order in which they are randomised, each on top of those before; None means all, from
        the output back to the input.
    **options
        Other arguments of `attribute`.

    Returns
    -------
    similarities : pandas.DataFrame
        One row per stage and window: `layer`, the last one randomised, `n_layers` randomised so far,
        `window`, and the rank correlation of the maps, `similarity`, and of their absolute values,
        `similarity_of_sizes`. A constant map is similar to nothing: 0.

    Raises
    ------
    ValueError
        As in `attribute` and `randomise`.

    References
    ----------
    Adebayo et al. (2018), NeurIPS, section 3.1: cascading randomisation, with both rank correlations.
    """
    layers = list_layers(model) if layers is None else list(layers)
    original = attribute(model, windows, target, method, **options).to_numpy()
    rows = []
    for n_layers, layer in enumerate(layers, start=1):
        copied = randomise(model, seed, layers[:n_layers])
        changed = attribute(copied, windows, target, method, **options).to_numpy()
        for window, (before, after) in enumerate(zip(original, changed, strict=True)):
            rows.append(
                {
                    "layer": layer,
                    "n_layers": n_layers,
                    "window": window,
                    "similarity": correlate_ranks(before, after),
                    "similarity_of_sizes": correlate_ranks(np.abs(before), np.abs(after)),
                }
            )
    return pd.DataFrame(rows)


def correlate_ranks(a: np.ndarray, b: np.ndarray) -> float:
    """Correlate the ranks of two maps; with a constant one there is no correlation."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(spearmanr(a.ravel(), b.ravel()).statistic)


def deletion_curve(
    model: nn.Module,
    windows: Windows,
    attribution: xr.DataArray,
    target: Target,
    *,
    n_steps: int = 20,
    patch_length: float = 0.25,
    seed: int = 0,
    **options: Any,
) -> pd.DataFrame:
    """Flatten the patches of a window in the order of their attribution, and watch the score fall.

    A map that is right makes the score fall early, so that the area under the curve is small. Flat patches
    are something no model has seen, so that only the comparison with a random order tells.

    Parameters
    ----------
    model : torch.nn.Module
        As in `attribute`.
    windows : Windows
        Prepared for this model by `prepare`.
    attribution : xarray.DataArray, dims (window, channel, time)
        Of these windows, from `attribute`.
    target : int, str, sequence of them, or callable
        The score, as in `attribute`.
    n_steps : int
        Steps from the whole window to a flat signal.
    patch_length : float
        Length of what is removed at once, of one channel, in seconds.
    seed : int
        Seed of the random order.
    **options
        `classes`, `channel_ids` and `batch_size`, as in `attribute`.

    Returns
    -------
    curve : pandas.DataFrame
        One row per order, window and step: `order`, ``"attribution"`` or ``"random"``, `window`, the
        `share` of the window that is gone, and the `score`.

    Raises
    ------
    ValueError
        As in `attribute`, if the attribution is not that of these windows, or if `n_steps` is not positive.

    References
    ----------
    Petsiuk et al. (2018), BMVC, section 4.1: deletion and insertion.
    """
    score = Score(model, windows, target, **options)
    return follow_order(score, attribution, n_steps, patch_length, seed, insert=False)


def insertion_curve(
    model: nn.Module,
    windows: Windows,
    attribution: xr.DataArray,
    target: Target,
    *,
    n_steps: int = 20,
    patch_length: float = 0.25,
    seed: int = 0,
    **options: Any,
) -> pd.DataFrame:
    """Fill a flat signal with the patches of a window in the order of their attribution.

    A map that is right makes the score rise early, so that the area under the curve is large.

    Parameters
    ----------
    model : torch.nn.Module
        As in `attribute`.
    windows : Windows
        Prepared for this model by `prepare`.
    attribution : xarray.DataArray, dims (window, channel, time)
        Of these windows, from `attribute`.
    target : int, str, sequence of them, or callable
        The score, as in `attribute`.
    n_steps, patch_length, seed : int, float (in seconds) and int
        As in `deletion_curve`.
    **options
        `classes`, `channel_ids` and `batch_size`, as in `attribute`.

    Returns
    -------
    curve : pandas.DataFrame
        As from `deletion_curve`; `share` is the share of the window that is there.

    Raises
    ------
    ValueError
        As in `deletion_curve`.

    References
    ----------
    Petsiuk et al. (2018), BMVC, section 4.1: deletion and insertion.
    """
    score = Score(model, windows, target, **options)
    return follow_order(score, attribution, n_steps, patch_length, seed, insert=True)


def follow_order(
    score: Score, attribution: xr.DataArray, n_steps: int, patch_length: float, seed: int, insert: bool
) -> pd.DataFrame:
    """Score windows of which ever more patches are removed, or inserted, by attribution and at random."""
    data = score.windows.data
    if attribution.dims != ("window", "channel", "time") or attribution.shape != data.shape:
        raise ValueError(
            f"Expected an attribution of dims (window, channel, time) and shape {data.shape}, got "
            f"{attribution.dims} and {attribution.shape}. Take it from attribute() of the same windows."
        )
    if n_steps < 1:
        raise ValueError(f"n_steps must be positive, got {n_steps}.")
    patches = number_patches(score.windows, patch_length)  # (n_chans, n_times)
    n_samples = np.bincount(patches.ravel())  # (n_patches,)
    means = np.stack([np.bincount(patches.ravel(), values.ravel()) for values in attribution.to_numpy()])
    means = means / n_samples  # (n_windows, n_patches)
    orders = {"attribution": means, "random": np.random.default_rng(seed).random(means.shape)}
    tables = []
    with evaluating(score.model):
        for order, importance in orders.items():
            ranks = np.argsort(np.argsort(-importance, axis=1, kind="stable"), axis=1)
            for n_taken in np.unique(np.linspace(0, len(n_samples), n_steps + 1).round().astype(int)):
                taken = ranks < n_taken  # (n_windows, n_patches)
                kept = taken if insert else ~taken
                tables.append(
                    pd.DataFrame(
                        {
                            "order": order,
                            "window": np.arange(len(data)),
                            "share": taken @ n_samples / n_samples.sum(),
                            "score": score.measure(data * kept[:, patches]),
                        }
                    )
                )
    return pd.concat(tables, ignore_index=True)


def area_under(curve: pd.DataFrame) -> pd.DataFrame:
    """Average the score of every window over the shares of a curve.

    Parameters
    ----------
    curve : pandas.DataFrame
        From `deletion_curve` or `insertion_curve`.

    Returns
    -------
    areas : pandas.DataFrame
        One row per order and window: `order`, `window` and `area`, in the unit of the score.
    """
    rows = [
        {"order": order, "window": window, "area": float(np.trapezoid(own["score"], own["share"]))}
        for (order, window), own in curve.groupby(["order", "window"], sort=False)
    ]
    return pd.DataFrame(rows)
