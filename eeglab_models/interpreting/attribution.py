"""Attribution: how much every sample of a window, or every frequency band, adds to a model's score."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int
from scipy.fft import dct, idct
from torch import Tensor, nn

from eeglab_models.interpreting.scores import Score, Target
from eeglab_models.models.base import evaluating
from eeglab_models.signals.windows import Windows

__all__ = ["METHODS", "attribute", "occlude_bands"]

METHODS = ("gradient", "integrated gradients", "occlusion")
"""Names of the methods that `attribute` knows."""
# Normalisation and logarithms bend scores most near silence, so that the steps of the path lie dense there.
PATH = (0.0, 0.001, 0.01, 0.1, 1.0)


def attribute(
    model: nn.Module,
    windows: Windows,
    target: Target,
    method: str = "gradient",
    *,
    classes: Sequence[str] | None = None,
    channel_ids: Sequence[int] | None = None,
    batch_size: int = 32,
    n_steps: int = 64,
    tolerance: float = 0.1,
    patch_length: float = 0.5,
    start: float = 0.0,
) -> xr.DataArray:
    """Say how much every sample of every channel adds to a score of the model.

    All methods compare the window with a flat signal, which is zero in the unit of every contract, and all
    answer in the unit of the score, so that values may be added over samples and channels. A positive value
    raises the score. The model computes in evaluation mode; afterwards every module is in the mode it was in.

    Parameters
    ----------
    model : torch.nn.Module
        Any model of this package, a `ProbeScore`, or a module that turns windows, shape (batch, n_chans,
        n_times), into outputs, shape (batch, n_outputs).
    windows : Windows
        Prepared for this model by `prepare`.
    target : int, str, sequence of them, or callable
        The score: the output of a class, by number or by name, before any softmax; a class for every window,
        such as ``windows.labels``; or a function that turns the outputs of a batch into scores of shape
        (batch,), such as ``lambda outputs: outputs[:, 0] - outputs[:, 1]``.
    method : {"gradient", "integrated gradients", "occlusion"}
        ``"gradient"`` multiplies gradient and input: what samples add if the score were linear.
        ``"integrated gradients"`` averages the gradient on the way from the flat signal to the window; its
        values add up to the change of the score. ``"occlusion"`` flattens one patch of one channel at a time
        and spreads the loss evenly over the patch.
    classes : sequence of str or None
        Names of the outputs in their order. None means those of the model if it knows them, else the labels
        of the windows, sorted, which is how classifiers of this package order them.
    channel_ids : sequence of int or None
        Channels of the published weights that the data stand for, if the model takes them.
    batch_size : int
        Windows per pass through the model, which bounds the memory.
    n_steps : int
        Points on the way of the integrated gradients, 4 or more.
    tolerance : float
        Largest share of the change of the score, over all windows, that integrated gradients may miss.
    patch_length : float
        Length of an occluded patch in seconds.
    start : float
        Time of a window's first sample in seconds, for instance relative to the cue.

    Returns
    -------
    attribution : xarray.DataArray, dims (window, channel, time)
        In the unit of the score, with the time of each sample in seconds and, where known, labels. Of
        integrated gradients, the coordinate `gap` says what the sum of a window's values misses.

    Raises
    ------
    ValueError
        If the windows were not prepared for this model, if an option is none of those above, or if
        integrated gradients miss more than `tolerance`.

    References
    ----------
    Shrikumar et al. (2016), arXiv:1605.01713, section 2: gradient times input. Sundararajan et al. (2017),
    ICML, section 3: integrated gradients and their completeness. Zeiler and Fergus (2014), ECCV, section
    4.2: occlusion.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}.")
    times = start + np.arange(windows.data.shape[2]) / windows.sfreq
    coordinates: dict[str, Any] = {"channel": list(windows.ch_names), "time": times}
    score = Score(model, windows, target, classes, channel_ids, batch_size)
    with evaluating(model):
        if method == "gradient":
            values = multiply_gradient(score)
        elif method == "occlusion":
            values = occlude(score, number_patches(windows, patch_length))
        else:
            values = integrate_gradients(score, n_steps)
            coordinates["gap"] = ("window", find_gap(score, values, n_steps, tolerance))
    return label_values(values, windows, ("window", "channel", "time"), coordinates, method)


def occlude_bands(
    model: nn.Module,
    windows: Windows,
    target: Target,
    bands: Sequence[tuple[float, float]],
    **options: Any,
) -> xr.DataArray:
    """Say how much the score falls when a frequency band is taken out of all channels.

    Windows are continued by their mirror image, so that their ends do not jump, and lose the band without
    a transition. Bands that touch share nothing: what they take out adds up.

    Parameters
    ----------
    model : torch.nn.Module
        As in `attribute`.
    windows : Windows
        Prepared for this model by `prepare`.
    target : int, str, sequence of them, or callable
        The score, as in `attribute`.
    bands : sequence of (float, float)
        Lower and upper edge of every band in Hz.
    **options
        `classes`, `channel_ids` and `batch_size`, as in `attribute`.

    Returns
    -------
    losses : xarray.DataArray, dims (window, band)
        Score of the window minus its score without the band; the coordinates `low` and `high` are in Hz.

    Raises
    ------
    ValueError
        As in `attribute`, or if a band lies outside the spectrum or is finer than a window can tell.
    """
    frequencies = np.arange(windows.data.shape[2]) * windows.sfreq / (2 * windows.data.shape[2])
    insides = [(frequencies >= low) & (frequencies < high) for low, high in bands]
    for (low, high), inside in zip(bands, insides, strict=True):
        if not inside.any():
            raise ValueError(
                f"Windows at {windows.sfreq:g} Hz tell frequencies from 0 to {frequencies[-1]:g} Hz in steps "
                f"of {frequencies[1]:g} Hz, got the band {low:g} to {high:g} Hz. Choose a wider band within."
            )
    spectrum = dct(windows.data, norm="ortho")  # (n_windows, n_chans, n_times)
    score = Score(model, windows, target, **options)
    with evaluating(model):
        whole = score.measure(windows.data)
        losses = [whole - score.measure(idct(spectrum * ~inside, norm="ortho")) for inside in insides]
    low, high = np.array(bands, dtype=float).T
    names = [f"{low:g}-{high:g} Hz" for low, high in bands]
    coordinates = {"band": names, "low": ("band", low), "high": ("band", high)}
    return label_values(np.stack(losses, axis=1), windows, ("window", "band"), coordinates, "occlusion")


def label_values(
    values: np.ndarray, windows: Windows, dims: tuple[str, ...], coordinates: dict[str, Any], method: str
) -> xr.DataArray:
    """Name the axes of what adds to a score, and the windows by their numbers and labels."""
    coordinates = {"window": np.arange(len(windows)), **coordinates}
    if windows.labels is not None:
        coordinates["label"] = ("window", windows.labels)
    attributes = {"method": method, "units": "score", "long_name": "contribution to the score"}
    return xr.DataArray(values, coordinates, dims, "attribution", attributes)


def number_patches(windows: Windows, patch_length: float) -> Int[np.ndarray, "n_chans n_times"]:
    """Cut the plane of channels and time into patches of one channel each, and number them."""
    patch_size = round(patch_length * windows.sfreq)
    if patch_size < 1:
        raise ValueError(
            f"A patch must hold a sample of {1 / windows.sfreq:g} s, got patch_length={patch_length}."
        )
    n_chans, n_times = windows.data.shape[1:]
    moments = np.arange(n_times) // patch_size
    return np.arange(n_chans)[:, None] * (moments[-1] + 1) + moments  # (n_chans, n_times)


def multiply_gradient(score: Score) -> Float[np.ndarray, "n_windows n_chans n_times"]:
    """Multiply every sample with the gradient of the score, batch by batch."""
    from captum.attr import InputXGradient

    explain = InputXGradient(score).attribute
    return join(
        explain(x.requires_grad_(), additional_forward_args=(outputs,))
        for x, outputs in score.cut_batches(score.windows.data, score.batch_size)
    )


def integrate_gradients(score: Score, n_steps: int) -> Float[np.ndarray, "n_windows n_chans n_times"]:
    """Average gradients on the straight path from silence to the window, part by part of `PATH`."""
    from captum.attr import IntegratedGradients

    if n_steps < len(PATH) - 1:
        raise ValueError(f"n_steps must be {len(PATH) - 1} or more, got {n_steps}.")
    explain = IntegratedGradients(score).attribute
    return join(
        # Each part starts where the last one ends, so that their changes of the score add up.
        sum(
            explain(
                after * x,
                baselines=before * x,
                additional_forward_args=(outputs,),
                n_steps=n_steps // (len(PATH) - 1),
                internal_batch_size=max(score.batch_size, len(x)),
            )
            for before, after in pairwise(PATH)
        )
        for x, outputs in score.cut_batches(score.windows.data, score.batch_size)
    )


def find_gap(
    score: Score, values: Float[np.ndarray, "n_windows n_chans n_times"], n_steps: int, tolerance: float
) -> Float[np.ndarray, " n_windows"]:
    """Compare the sum of a window's values with the change of its score, and refuse a wide gap."""
    data = score.windows.data
    change = score.measure(data) - score.measure(np.zeros_like(data))
    gap = change - values.sum(axis=(1, 2), dtype=np.float64)
    if np.abs(gap).sum() > tolerance * np.abs(change).sum():
        missed = np.abs(gap).sum() / np.abs(change).sum()
        raise ValueError(
            f"Integrated gradients may miss {tolerance:.1%} of the change of the score, got {missed:.1%} "
            f"with {n_steps} steps. Raise n_steps, or tolerance if the score has jumps."
        )
    return gap


def occlude(
    score: Score, patches: Int[np.ndarray, "n_chans n_times"]
) -> Float[np.ndarray, "n_windows n_chans n_times"]:
    """Flatten one patch at a time, and spread the loss of the score evenly over it."""
    from captum.attr import FeatureAblation

    explain = FeatureAblation(score).attribute
    # The batch is filled with windows first, then with variants of them.
    size = min(score.batch_size, len(score.windows))
    losses = join(
        explain(
            x,
            additional_forward_args=(outputs,),
            feature_mask=torch.from_numpy(patches)[None].to(x.device),
            perturbations_per_eval=max(1, score.batch_size // len(x)),
        )
        for x, outputs in score.cut_batches(score.windows.data, size)
    )
    return losses / np.bincount(patches.ravel())[patches].astype(np.float32)


def join(batches: Iterable[Tensor]) -> Float[np.ndarray, "n_windows n_chans n_times"]:
    """Bring maps of all batches together."""
    return torch.cat([batch.detach().cpu() for batch in batches]).numpy()
