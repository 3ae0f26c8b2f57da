"""Frozen features: what a model knows about a window, as one row of numbers.

Shapes use these names throughout:

    n_windows   windows of a recording
    batch       windows in a forward pass
    n_moments   tokens that follow each other in time
    n_places    tokens of one moment: channels, or EEGPT's summary tokens
    n_features  numbers that describe a token, or, at the end, a window
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache as once
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from rich.progress import track
from torch import Tensor, nn

from eeglab_models.configs import nearest
from eeglab_models.features.cache import (
    describe_data,
    describe_model,
    feature_file,
    fill_rows,
    find_features,
    keep_features,
)
from eeglab_models.models.base import EEGModel, cut_batches, evaluating
from eeglab_models.models.tokens import pool_tokens
from eeglab_models.signals.preparation import check_prepared
from eeglab_models.signals.windows import Windows

__all__ = ["extract_features", "extract_layers", "layer_names"]

Layer = str | int
Tokens = Float[Tensor, "batch n_places n_patches n_features"]

POOLS = ("time", "mean", "none")
# These put features on axis 1; all other modules put them last.
FEATURES_FIRST = (nn.Conv1d, nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm)
# Activations of the four models stay below this many times the input; together they may fill a gibibyte.
ACTIVATIONS_PER_INPUT, ACTIVATION_BYTES = 200, 2**30
LARGEST_BATCH = 256
# Casting has costs that a bare matrix product does not show.
WORTHWHILE = 1.5


def extract_features(
    model: EEGModel,
    windows: Windows,
    *,
    layer: str | int = "encoder",
    pool: str = "time",
    batch_size: int | str = "auto",
    precision: str = "auto",
    device: str = "auto",
    cache: str | Path | None = None,
    channel_ids: Sequence[int] | None = None,
    progress: bool = False,
) -> Float[np.ndarray, "n_windows n_features"]:
    """Describe every window by what a layer of the frozen model says about it.

    The model computes in evaluation mode and without gradients. Afterwards, also after an error, every
    module is in the mode it was in, the model is on the device it was on, and nothing is attached to it.

    Parameters
    ----------
    model : EEGModel
        Any model of this package.
    windows : Windows
        Prepared for this model by `prepare`. The data may be a memory map larger than the memory.
    layer : str or int
        ``"encoder"`` for the features that the head reads; a number for the output of that transformer or
        residual block, from 0 on, or from -1 backwards; or the dotted name of any submodule.
    pool : {"time", "mean", "none"}
        How tokens become one row. ``"time"`` averages over time and keeps channels, or EEGPT's summary
        tokens, apart: where on the head something happens is what tells classes apart. ``"mean"`` averages
        over all tokens. ``"none"`` puts them side by side, moment by moment. Of named modules, ``"time"``
        and ``"mean"`` average over all axes but those of the batch and the features.
    batch_size : int or "auto"
        Windows per forward pass. ``"auto"`` assumes that activations need 200 times the memory of the input
        and fills one gibibyte, with 256 windows at most.
    precision : {"auto", "float32", "bfloat16"}
        Of matrix products. ``"auto"`` takes bfloat16 where one, measured once per process with its
        conversions, is at least 1.5 times as fast so.
    device : str
        Device to compute on. ``"auto"`` means an accelerator if there is one.
    cache : str, pathlib.Path or None
        Folder to keep features in, in files named after all that decides them: model, data, settings and
        version of the package, but not batch size and device, which only change the rounding.
    channel_ids : sequence of int or None
        Channels of the published weights that the data stand for, if the model takes them.
    progress : bool
        Show a progress bar.

    Returns
    -------
    features : numpy.ndarray, shape (n_windows, n_features)
        One row per window, float32; with `cache` a read-only memory map.

    Raises
    ------
    ValueError
        If the windows were not prepared for this model, if there is no such layer or it is not run, or if
        an option is none of those above.
    """
    check_request(model, windows, [layer], pool)
    device = choose_device(device)
    precision = choose_precision(precision, device)
    if cache is not None:
        description = {
            **describe_model(model, readers=str(layer).startswith(model.layout.head)),
            "data": describe_data(windows.data),
            "layer": layer,
            "pool": pool,
            "precision": precision,
            "channel_ids": None if channel_ids is None else [int(index) for index in channel_ids],
        }
        path = feature_file(cache, description)
        found = find_features(path)
        if found is not None:
            return found
    with frozen(model, device), recorded(model, [layer]) as outputs:
        batches = (
            describe(model, x, outputs, [layer], pool, precision, channel_ids)[0]
            for x in show_batches(model, windows, batch_size, progress)
        )
        if cache is None:
            return fill_rows(batches, lambda width, dtype: np.empty((len(windows), width), dtype))
        return keep_features(path, description, batches, len(windows))


def extract_layers(
    model: EEGModel,
    windows: Windows,
    layers: Sequence[str | int] | None = None,
    *,
    pool: str = "time",
    batch_size: int | str = "auto",
    precision: str = "auto",
    device: str = "auto",
    channel_ids: Sequence[int] | None = None,
    progress: bool = False,
) -> dict[str | int, Float[np.ndarray, "n_windows _"]]:
    """Describe every window by what several layers say about it, from one forward pass.

    Parameters
    ----------
    model, windows : EEGModel and Windows
        The frozen model, and windows prepared for it.
    layers : sequence of str or int, or None
        Layers as in `extract_features`; None means those of `layer_names`.
    pool, batch_size, precision, device, channel_ids, progress : as `extract_features` has them, also None
        How the model computes, and how tokens become one row.

    Returns
    -------
    features : dict of numpy.ndarray, each of shape (n_windows, n_features)
        One row per window, by layer.

    Raises
    ------
    ValueError
        As in `extract_features`.
    """
    layers = layer_names(model) if layers is None else list(layers)
    check_request(model, windows, layers, pool)
    device = choose_device(device)
    precision = choose_precision(precision, device)
    with frozen(model, device), recorded(model, layers) as outputs:
        batches = [
            describe(model, x, outputs, layers, pool, precision, channel_ids)
            for x in show_batches(model, windows, batch_size, progress)
        ]
    rows = [np.concatenate(parts) for parts in zip(*batches, strict=True)]
    return dict(zip(layers, rows, strict=True))


def layer_names(model: EEGModel) -> list[str | int]:
    """List the layers from the input to the output: the numbers of the blocks, then ``"encoder"``.

    Parameters
    ----------
    model : EEGModel
        Any model of this package.

    Returns
    -------
    layers : list of str or int
        What `extract_features` accepts as `layer`; names of submodules come on top.
    """
    return [*range(len(model.find_blocks())), "encoder"]


def show_batches(
    model: EEGModel, windows: Windows, batch_size: int | str, progress: bool
) -> Iterator[Float[Tensor, "batch n_chans n_times"]]:
    """Move windows to the model, batch by batch, with a progress bar."""
    size = choose_batch_size(windows) if batch_size == "auto" else int(batch_size)
    batches = cut_batches(windows.data, size, model)
    total = -(-len(windows) // size)
    for _, x in track(batches, type(model).__name__, total=total, disable=not progress):
        yield x


@torch.inference_mode()
def describe(
    model: EEGModel,
    x: Float[Tensor, "batch n_chans n_times"],
    outputs: dict[Layer, Tensor],
    layers: Sequence[Layer],
    pool: str,
    precision: str,
    channel_ids: Sequence[int] | None,
) -> list[Float[np.ndarray, "batch _"]]:
    """Run the model on one batch and give the rows of every layer."""
    ids: dict[str, Any] = {} if channel_ids is None else {"channel_ids": list(channel_ids)}
    low = torch.autocast(x.device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()
    with low:
        # The head is only run for those who want to read it.
        if any(str(layer).startswith(model.layout.head) for layer in layers):
            model(x, **ids)
        else:
            outputs["encoder"] = model.encode(x, **ids)
    tokens = [read_tokens(model, layer, outputs, x) for layer in layers]
    return [pool_tokens(part, pool).cpu().numpy() for part in tokens]


@contextmanager
def frozen(model: EEGModel, device: str) -> Iterator[None]:
    """Put a model in evaluation mode on a device; afterwards it is as it was, module by module."""
    home = next(model.parameters()).device
    with evaluating(model):
        try:
            model.to(device)
            yield
        finally:
            model.to(home)


@contextmanager
def recorded(model: EEGModel, layers: Sequence[Layer]) -> Iterator[dict[Layer, Tensor]]:
    """Keep what layers put out in the latest forward pass, by layer."""
    outputs: dict[Layer, Tensor] = {}
    hooks = []
    try:
        for layer in layers:
            if layer != "encoder":

                def keep(module: nn.Module, inputs: Any, output: Any, layer: Layer = layer) -> None:
                    outputs[layer] = first_tensor(output)

                hooks.append(find_layer(model, layer).register_forward_hook(keep))
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def read_tokens(model: EEGModel, layer: Layer, outputs: dict[Layer, Tensor], x: Tensor) -> Tokens:
    """Bring the output of a layer to one form, whatever the model."""
    if layer not in outputs:
        parent = str(layer).rpartition(".")[0]
        raise ValueError(
            f"{type(model).__name__} reads the weights of {layer!r} without running it, or does not use it "
            f"for these windows. Choose the module around it{f', {parent!r}' if parent else ''}."
        )
    output = outputs[layer].float()
    if isinstance(layer, str) and layer != "encoder":
        return read_named(find_layer(model, layer), output, len(x))
    return output if layer == "encoder" else model._read_block(output, x)


def read_named(module: nn.Module, output: Tensor, batch: int) -> Tokens:
    """Take the output of any module as tokens: batch first, features last or, of convolutions, second."""
    if output.ndim > 2 and isinstance(module, FEATURES_FIRST):
        output = output.movedim(1, -1)  # (batch or more, ..., n_features)
    return output.reshape(batch, 1, -1, output.shape[-1])  # (batch, 1, n_patches, n_features)


def first_tensor(output: Any) -> Tensor:
    """Take what a module puts out, or the first part of it."""
    if isinstance(output, dict):
        output = tuple(output.values())
    return first_tensor(output[0]) if isinstance(output, tuple | list) else output


def find_layer(model: EEGModel, layer: Layer) -> nn.Module:
    """Find a block by its number or a submodule by its dotted name, or say what there is."""
    name = type(model).__name__
    modules = dict(model.named_modules())
    if isinstance(layer, str):
        if layer not in modules:
            near = nearest(layer, [*modules, "encoder"])
            raise ValueError(f"{name} has no layer {layer!r}. Did you mean {near!r}?")
        return modules[layer]
    blocks = model.find_blocks()
    if not -len(blocks) <= layer < len(blocks):
        has = f"has the blocks 0 to {len(blocks) - 1}" if len(blocks) else "has no blocks to count"
        raise ValueError(f"{name} {has}, got layer={layer}. Pass 'encoder' or the name of a submodule.")
    return blocks[layer]


def check_request(model: EEGModel, windows: Windows, layers: Sequence[Layer], pool: str) -> None:
    """Refuse windows, layers and ways of pooling that cannot be, before anything is computed."""
    check_prepared(windows, model)
    if not len(windows):
        raise ValueError("Features need at least one window, got none. Check how they were chosen.")
    if pool not in POOLS:
        raise ValueError(f"pool must be one of {', '.join(POOLS)}, got {pool!r}.")
    for layer in layers:
        if layer != "encoder":
            find_layer(model, layer)
    head = [layer for layer in layers if str(layer).startswith(model.layout.head)]
    if head and "encoder" in layers:
        raise ValueError(
            f"The encoder's features and {head[0]!r} need two forward passes. Ask for them one by one."
        )


def choose_device(device: str) -> str:
    """Choose an accelerator if there is one."""
    if device != "auto":
        return device
    return torch.accelerator.current_accelerator().type if torch.accelerator.is_available() else "cpu"


def choose_batch_size(windows: Windows) -> int:
    """Choose as many windows as may fill the memory set aside for activations."""
    n_bytes = ACTIVATIONS_PER_INPUT * 4 * windows.data.shape[1] * windows.data.shape[2]
    return min(max(1, ACTIVATION_BYTES // n_bytes), LARGEST_BATCH)


def choose_precision(precision: str, device: str) -> str:
    """Choose the precision of matrix products: the lower one where it was seen to be faster."""
    if precision not in ("auto", "float32", "bfloat16"):
        raise ValueError(f"precision must be one of auto, float32, bfloat16, got {precision!r}.")
    if precision != "auto":
        return precision
    return "bfloat16" if gain_of_bfloat16(device) >= WORTHWHILE else "float32"


@once
def gain_of_bfloat16(device: str) -> float:
    """Measure how many times as fast a matrix product is in bfloat16, conversions included."""
    if device.split(":")[0] not in ("cpu", "cuda"):
        return 0.0
    tokens = torch.ones(512, 512, device=device)
    weights = torch.ones(512, 2048, device=device)
    products = (lambda: tokens @ weights, lambda: tokens.bfloat16() @ weights.bfloat16())
    seconds = [min(measure(product, device) for _ in range(5)) for product in products]
    return seconds[0] / seconds[1]


def measure(product: Any, device: str) -> float:
    """Measure one call in seconds, until the device is done."""
    started = time.perf_counter()
    product()
    if device != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter() - started
