"""How far a token hears: CodeBrain's global kernels, and receptive fields measured by gradients.

Shapes use these names throughout:

    batch     windows in a forward pass
    n_chans   EEG channels
    n_times   samples of a window
    n_tokens  tokens that the features of a window describe
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from eeglab_models.interpreting.tokens import Signals
from eeglab_models.models.base import EEGModel, evaluating
from eeglab_models.models.channels import ChannelIds
from eeglab_models.models.global_convolution import GlobalConv
from eeglab_models.signals.windows import Windows

__all__ = ["global_kernels", "receptive_field"]


@torch.no_grad()
def global_kernels(
    model: EEGModel, layers: Sequence[int] | None = None, n_tokens: int | None = None
) -> xr.DataArray:
    """Lay out the filters of CodeBrain's structured global convolutions, tap by tap.

    Parameters
    ----------
    model : CodeBrain
        The only model that has such filters.
    layers : sequence of int or None
        Residual blocks, counted from 0, or from -1 backwards; None means all.
    n_tokens : int or None
        Length of the sequence that is filtered; None means that of the model's windows.

    Returns
    -------
    kernels : xarray.DataArray
        Weights with the axes ``layer``, ``filter``, ``feature`` and ``lag``, in tokens: at a positive lag,
        a token reads one that comes before it. At lag 0 stands the skip too. Tokens follow each other
        channel by channel, so ``seconds``, the lag in seconds, is true for tokens of one channel; a lag of
        as many tokens as a channel has patches reaches the channel before at the same time.

    Raises
    ------
    TypeError
        If the model has none, as all but CodeBrain.
    ValueError
        If it has no such block.

    References
    ----------
    Li et al. (2023), What makes convolutional models great on long sequence modeling?, ICLR, section 3.
    """
    convs = [module for module in model.modules() if isinstance(module, GlobalConv)]
    if not convs:
        raise TypeError(f"Only CodeBrain has global convolutions, got {type(model).__name__}.")
    n_blocks = len(convs)
    chosen = list(range(n_blocks) if layers is None else layers)
    for layer in chosen:
        if not -n_blocks <= layer < n_blocks:
            raise ValueError(f"{type(model).__name__} has the blocks 0 to {n_blocks - 1}, got {layer}.")
    length = model.n_chans * model.n_patches if n_tokens is None else n_tokens
    lags = np.arange(1 - length, length)
    # each (n_filters, n_features, n_lags)
    kernels = [convs[layer].filters(length).cpu().numpy() for layer in chosen]
    labels = {
        "layer": [layer % n_blocks for layer in chosen],
        "lag": lags,
        "seconds": ("lag", lags * model.patch_size / model.sfreq),
    }
    return xr.DataArray(np.stack(kernels), labels, ["layer", "filter", "feature", "lag"], "kernel")


def receptive_field(
    model: EEGModel,
    windows: Windows | Float[Tensor, "n_windows n_chans n_times"],
    tokens: Sequence[str] | None = None,
    *,
    channel_ids: ChannelIds | None = None,
    n_draws: int = 4,
    seed: int = 0,
    batch_size: int = 16,
) -> xr.DataArray:
    """Measure which parts of the input move each token of the features.

    The squared gradients of a token's features by the samples of a patch are summed up, estimated without
    bias from random sums of features. The model is run in evaluation mode; afterwards it is as it was.

    Parameters
    ----------
    model : EEGModel
        Any model of this package.
    windows : Windows or torch.Tensor, shape (n_windows, n_chans, n_times)
        EEG prepared for the model, or a tensor in the unit of its contract. Fields are averaged over
        windows; a handful is enough.
    tokens : sequence of str or None
        Names of the tokens to measure; None means all. Each costs a pass per window and draw.
    channel_ids : torch.Tensor, shape (n_chans,), or sequence of int, or None
        Channels of the published weights that the data stand for, for models that take them.
    n_draws, seed : int
        Random sums of features per window and token, and the seed of their signs.
    batch_size : int
        Tokens measured in one pass.

    Returns
    -------
    field : xarray.DataArray
        Share of the squared gradient with the axes ``token``, ``channel`` and ``time``, the middle of a
        piece of input in seconds; the shares of a token sum to one. Tokens are those of the features, such
        as ``"C3 1.5 s"``, ``"summary 0 1.5 s"`` or ``"filter 0"``. ``token_channel`` and ``token_time`` say
        where they are, as far as they are somewhere.

    Raises
    ------
    ValueError
        If the windows were not prepared for this model, or if it has no such token.

    References
    ----------
    Luo et al. (2016), Understanding the effective receptive field in deep convolutional neural networks,
    NeurIPS, section 2.
    """
    signals = Signals(model, windows, channel_ids)
    listed = model._feature_tokens(signals.ch_names, signals.n_times, signals.sfreq)
    names = list(listed.names)
    unknown = [] if tokens is None else [name for name in tokens if name not in names]
    if unknown:
        raise ValueError(
            f"The features of {type(model).__name__} are the tokens {names[0]} to {names[-1]}, "
            f"got {unknown[0]}."
        )
    chosen = list(range(len(names))) if tokens is None else [names.index(name) for name in tokens]
    piece = model.patch_stride
    generator = torch.Generator().manual_seed(seed)
    total: np.ndarray | float = 0.0
    with evaluating(model), torch.enable_grad():
        for _, x in signals.batches(1):
            for _ in range(n_draws):
                total = total + np.concatenate(
                    [
                        squared_gradients(signals, x, chosen[first : first + batch_size], piece, generator)
                        for first in range(0, len(chosen), batch_size)
                    ]
                )
    # What nothing moves has no field.
    sums = np.maximum(total.sum(axis=(1, 2), keepdims=True), np.finfo(float).tiny)  # (n_tokens, 1, 1)
    shares = total / sums  # (n_tokens, n_chans, n_pieces)
    times = (np.arange(shares.shape[2]) + 0.5) * piece / signals.sfreq
    coordinates = listed.choose(chosen).coordinates("token") | {"channel": signals.ch_names, "time": times}
    axes = ["token", "channel", "time"]
    return xr.DataArray(shares, coordinates, axes, "receptive field", {"model": type(model).__name__})


def squared_gradients(
    signals: Signals,
    x: Float[Tensor, "1 n_chans n_times"],
    chosen: list[int],
    piece: int,
    generator: torch.Generator,
) -> Float[np.ndarray, "n_chosen n_chans n_pieces"]:
    """Sum the squared gradients of one random sum of features per token over pieces of the input."""
    # Every token has a copy of the window, so one backward pass serves all.
    x = x.expand(len(chosen), -1, -1).clone().requires_grad_()  # (n_chosen, n_chans, n_times)
    features = signals.model._line_up(signals.model.encode(x, **signals.ids))
    features = features[torch.arange(len(chosen)), chosen]  # (n_chosen, n_features)
    signs = torch.randint(0, 2, features.shape, generator=generator) * 2 - 1
    (gradient,) = torch.autograd.grad((features * signs.to(features)).sum(), x)
    gradient = F.pad(gradient, (0, -x.shape[-1] % piece)).double()
    energy = gradient.unflatten(2, (-1, piece)).square().sum(dim=-1)  # (n_chosen, n_chans, n_pieces)
    return energy.cpu().numpy()
