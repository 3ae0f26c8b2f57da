"""Attention maps: whom every token looks at, read from the forward pass itself.

Shapes use these names throughout:

    n_maps     items that attention treats alone: windows, or EEGPT's moments of all windows
    n_heads    attention heads
    n_queries  tokens that look
    n_keys     tokens that are looked at
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor, nn

from eeglab_models.interpreting.tokens import Signals
from eeglab_models.models.attention import Attend, AttendNearby
from eeglab_models.models.base import EEGModel, evaluating
from eeglab_models.models.channels import ChannelIds
from eeglab_models.models.tokens import Tokens
from eeglab_models.signals.windows import Windows

__all__ = ["attention_maps"]

Reduction = str | Sequence[str] | Callable[[xr.DataArray], xr.DataArray]
Weights = Float[Tensor, "n_maps n_heads n_queries n_keys"]

# Axes over which maps may be averaged; over keys, every average is the same number.
AVERAGED = ("window", "moment", "head", "query")


def attention_maps(
    model: EEGModel,
    windows: Windows | Float[Tensor, "n_windows n_chans n_times"],
    layers: Sequence[int] | None = None,
    *,
    reduce: Reduction | None = None,
    channel_ids: ChannelIds | None = None,
    batch_size: int = 16,
) -> dict[int, xr.DataArray]:
    """Show whom every token of every window attends to, layer by layer.

    The weights are those of an ordinary forward pass in evaluation mode. Afterwards, also after an error,
    the model is as it was. Layers differ in their tokens, so each has a map of its own; where they agree,
    ``xr.concat(maps.values(), "layer")`` makes the layer an axis.

    Parameters
    ----------
    model : EEGModel
        Any model of this package.
    windows : Windows or torch.Tensor, shape (n_windows, n_chans, n_times)
        EEG prepared for the model, or a tensor in the unit of its contract.
    layers : sequence of int or None
        Layers to keep, counted from 0, or from -1 backwards; None means all.
    reduce : str, sequence of str, callable or None
        What to keep of a map as soon as a layer has computed it, so that whole maps never pile up: axes to
        average over, of ``"window"``, ``"moment"``, ``"head"`` and ``"query"``, or a function of a map, such
        as `entropy` or ``partial(marginal, to="channels")``. Where the axis ``window`` goes, the batches are
        averaged, so the function should average windows too.
    channel_ids : torch.Tensor, shape (n_chans,), or sequence of int, or None
        Channels of the published weights that the data stand for, for models that take them.
    batch_size : int
        Windows per forward pass.

    Returns
    -------
    maps : dict of xarray.DataArray
        Weights by layer, with the axes ``window``, ``head``, ``query`` and ``key``; EEGPT's moments follow
        ``window`` as ``moment``, in seconds from the start of the window to the middle of a patch. Over
        ``key``, weights sum to one. Tokens are named by channel and seconds, ``"C3 1.5 s"``, or, within a
        moment, by channel; summary tokens are ``"summary 0"`` and so on. ``query_channel``, ``key_channel``,
        ``query_time`` and ``key_time`` hold channel (empty for summary tokens) and seconds.

    Raises
    ------
    ValueError
        If the windows were not prepared for this model, if there is no such layer, or if `reduce` names no
        axis of a map.

    Notes
    -----
    EEGPT relates the channels of one moment at a time, and in its last layer only summary tokens look; with
    a projection its channels are the 19 that it makes. EEGDINO's summary tokens join after the first layers.
    CodeBrain attends within a window of neighbours, which in published weights is the token itself: what
    relates its tokens are the global convolutions (`global_kernels`). FBLightConvNet has one map, of
    ``head`` and ``key``: learned weights of its patches, the same for every window, which sum to one if
    ``attrs["softmax"]`` is true; spatial filter i uses head ``i % n_heads``.
    """
    signals = Signals(model, windows, channel_ids)
    reduce = read_reduction(reduce)
    if hasattr(model, "temporal_attention"):
        choose_layers(layers, 1, model)
        return {0: reduce(temporal_weights(signals))}
    tokens = model._attention_tokens(signals.ch_names, signals.n_times, signals.sfreq, channel_ids)
    parts: dict[int, list[xr.DataArray]] = {}

    def keep(first: int, n_windows: int, layer: int, weights: Weights) -> xr.DataArray:
        return reduce(label_map(signals, tokens, first, n_windows, layer, weights))

    with evaluating(model), torch.inference_mode():
        for first, x in signals.batches(batch_size):
            with record_attention(model, layers, partial(keep, first, len(x))) as maps:
                model.encode(x, **signals.ids)
            for layer in list(maps):
                add_part(parts.setdefault(layer, []), maps.pop(layer), first, len(x))
    # Layer by layer, so that parts and wholes of one layer only exist together.
    return {layer: join_parts(parts.pop(layer)) for layer in list(parts)}


@contextmanager
def record_attention(
    model: nn.Module,
    layers: Sequence[int] | None = None,
    keep: Callable[[int, Weights], Any] | None = None,
) -> Iterator[dict[int, Any]]:
    """Record the weights of every forward pass in evaluation mode by layer, or what `keep` makes of them.

    Attention layers tell their weights themselves, without hooks; gradients flow through what they tell.
    """
    attends = [module for module in model.modules() if isinstance(module, Attend)]
    if not attends:
        raise ValueError(f"{type(model).__name__} has no attention layers to record. Choose another model.")
    if any(attend.training for attend in attends):
        raise ValueError(
            f"Attention is recorded in evaluation mode, and this {type(model).__name__} is in training mode. "
            "Call model.eval() first."
        )
    chosen = choose_layers(layers, len(attends), model)
    before = {layer: attends[layer].recorder for layer in chosen}
    kept: dict[int, Any] = {}

    def record(layer: int, weights: Weights) -> None:
        kept[layer] = weights if keep is None else keep(layer, weights)

    try:
        for layer in chosen:
            attends[layer].recorder = partial(record, layer)
        yield kept
    finally:
        for layer, recorder in before.items():
            attends[layer].recorder = recorder


def choose_layers(layers: Sequence[int] | None, n_layers: int, model: nn.Module) -> list[int]:
    """Count layers from 0, and refuse those that do not exist."""
    chosen = range(n_layers) if layers is None else layers
    unknown = [layer for layer in chosen if not -n_layers <= layer < n_layers]
    if unknown:
        raise ValueError(
            f"{type(model).__name__} has the attention layers 0 to {n_layers - 1}, got {unknown[0]}. "
            "Choose among them, or leave layers out for all."
        )
    return sorted({int(layer) % n_layers for layer in chosen})


def read_reduction(reduce: Reduction | None) -> Callable[[xr.DataArray], xr.DataArray]:
    """Turn names of axes into the function that averages over them."""
    if callable(reduce):
        return reduce
    axes = [reduce] if isinstance(reduce, str) else list(reduce or ())
    for axis in axes:
        if axis not in AVERAGED:
            raise ValueError(
                f"reduce must name axes among {', '.join(AVERAGED)}, or be a function of a map, got {axis!r}."
            )

    def average(weights: xr.DataArray) -> xr.DataArray:
        # Not every model has every axis.
        present = [axis for axis in axes if axis in weights.dims]
        return weights.mean(present, keep_attrs=True) if present else weights

    return average


def label_map(
    signals: Signals, tokens: Tokens, first: int, n_windows: int, layer: int, weights: Weights
) -> xr.DataArray:
    """Give the weights of one layer their axes and names."""
    values = weights.detach().float().cpu().numpy()
    labels = signals.window_coordinates(first, n_windows) | {"layer": layer}
    axes = ["window", "head", "query", "key"]
    if signals.model.layout.moments_apart:
        axes.insert(1, "moment")
        labels["moment"] = signals.model.patch_times(signals.n_times, signals.sfreq)
        values = values.reshape(n_windows, -1, *values.shape[1:])  # (batch, n_moments, n_heads, ...)
    labels |= tokens.choose(slice(-values.shape[-2], None)).coordinates("query")
    labels |= tokens.choose(slice(-values.shape[-1], None)).coordinates("key")
    attributes: dict[str, Any] = {"model": type(signals.model).__name__}
    nearby = [module for module in signals.model.modules() if isinstance(module, AttendNearby)]
    if nearby:
        attributes["window_size"] = nearby[0].window_size
    return xr.DataArray(values, labels, axes, "attention", attributes)


def add_part(parts: list[xr.DataArray], part: xr.DataArray, n_before: int, n_windows: int) -> None:
    """Add what another batch gave: windows queue up, averages over windows are averaged."""
    if "window" in part.dims or not parts:
        parts.append(part)
    else:
        parts[0] = parts[0] + (part - parts[0]) * (n_windows / (n_before + n_windows))


def join_parts(parts: list[xr.DataArray]) -> xr.DataArray:
    """Put the windows of all batches one after the other."""
    if len(parts) == 1:
        return parts[0]
    return xr.concat(parts, "window", coords="minimal", compat="override", join="override")


def temporal_weights(signals: Signals) -> xr.DataArray:
    """Weights by which a model averages the patches of a window."""
    model = signals.model
    attention = model.temporal_attention
    weights = attention.kernels().detach().float().cpu().numpy()  # (n_heads, n_patches)
    times = model.patch_times(signals.n_times, signals.sfreq)
    labels = {"layer": 0, "key": [f"{time:g} s" for time in times], "key_time": ("key", times)}
    attributes = {"model": type(model).__name__, "softmax": attention.weight_softmax}
    return xr.DataArray(weights, labels, ["head", "key"], "attention", attributes)
