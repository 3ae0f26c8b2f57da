"""Which tokens a model makes of a window: what each is called, where it is on the head, and when.

Shapes use these names throughout:

    n_windows  windows of a recording
    batch      windows in a forward pass
    n_chans    EEG channels
    n_times    samples of a window
    n_tokens   tokens of a window or, for EEGPT, of a moment
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from eeglab_models.models.base import EEGModel
from eeglab_models.models.channels import ChannelIds
from eeglab_models.models.eegdino import EEGDINO
from eeglab_models.models.eegpt import EEGPT, EEGPT_19_CHANNELS, count_patches
from eeglab_models.signals.electrodes import electrode_name
from eeglab_models.signals.preparation import check_prepared
from eeglab_models.signals.windows import Windows

__all__ = ["Signals", "Tokens"]


@dataclass(frozen=True)
class Tokens:
    """Names and places of tokens, in the order in which a layer meets them.

    Attributes
    ----------
    names : numpy.ndarray of str, shape (n_tokens,)
        What each token is called; no two share a name.
    channels : numpy.ndarray of str, shape (n_tokens,)
        Channel that each token comes from, empty for summary tokens.
    times : numpy.ndarray, shape (n_tokens,)
        Middle of each token's patch in seconds from the start of the window, not-a-number for tokens
        without a time of their own.
    """

    names: Shaped[np.ndarray, " n_tokens"]
    channels: Shaped[np.ndarray, " n_tokens"]
    times: Float[np.ndarray, " n_tokens"]

    def choose(self, index: slice | Sequence[int]) -> "Tokens":
        """Keep some of the tokens.

        Parameters
        ----------
        index : slice or sequence of int
            Which.

        Returns
        -------
        chosen : Tokens
            These, in the order of `index`.
        """
        return Tokens(self.names[index], self.channels[index], self.times[index])

    def coordinates(self, axis: str) -> dict[str, Any]:
        """Label an axis of a DataArray: names, then channels and times as far as there are any.

        Parameters
        ----------
        axis : str
            Name of the axis.

        Returns
        -------
        labels : dict
            Under the axis' name the names; under ``"{axis}_channel"`` the channels; under ``"{axis}_time"``
            the times, in seconds from the start of the window, unless no token has one.
        """
        labels = {axis: self.names, f"{axis}_channel": (axis, self.channels)}
        if not np.isnan(self.times).all():
            labels[f"{axis}_time"] = (axis, self.times)
        return labels


@dataclass(frozen=True)
class Signals:
    """Windows as a model is about to read them, with what is known about them.

    Attributes
    ----------
    model : EEGModel
        The model.
    windows : Windows or torch.Tensor, shape (n_windows, n_chans, n_times)
        EEG in the unit of the model's contract.
    channel_ids : torch.Tensor, shape (n_chans,), or sequence of int, or None
        Channels of the published weights that the channels stand for.

    Raises
    ------
    ValueError
        If there is no window, if the windows were not prepared for this model, or if it takes no channel
        ids.
    """

    model: EEGModel
    windows: Windows | Float[Tensor, "n_windows n_chans n_times"]
    channel_ids: ChannelIds | None = None

    def __post_init__(self) -> None:
        """Refuse windows that the model cannot read, before anything is computed."""
        if isinstance(self.windows, Windows):
            check_prepared(self.windows, self.model)
        if not len(self.windows):
            raise ValueError("At least one window is needed, got none. Check how they were chosen.")
        if self.channel_ids is not None and "channel_ids" not in signature(self.model.forward).parameters:
            raise ValueError(
                f"{type(self.model).__name__} takes no channel_ids, got {list(self.channel_ids)}. "
                "Leave them out."
            )

    @property
    def n_times(self) -> int:
        """Number of samples of a window."""
        return (self.windows.data if isinstance(self.windows, Windows) else self.windows).shape[-1]

    @property
    def sfreq(self) -> float:
        """Sampling frequency in Hz."""
        return self.windows.sfreq if isinstance(self.windows, Windows) else self.model.sfreq

    @property
    def ch_names(self) -> list[str]:
        """Names of the channels as the model reads them: from the windows, their ids, or the model."""
        if isinstance(self.windows, Windows):
            return list(self.windows.ch_names)
        if self.channel_ids is not None:
            return [self.model.contract.ch_names[int(index)] for index in self.channel_ids]
        chs_info = self.model.arguments["chs_info"]
        if chs_info is not None:
            return [channel["ch_name"] for channel in chs_info]
        return [f"channel {index}" for index in range(self.windows.shape[1])]

    @property
    def token_channels(self) -> list[str]:
        """Names of the channels of which the model makes tokens: EEGPT may mix them into its own before."""
        if isinstance(self.model, EEGPT) and not isinstance(self.model.chan_proj, nn.Identity):
            return [electrode_name(name) or name for name in EEGPT_19_CHANNELS]
        return self.ch_names

    def window_coordinates(self, first: int, n_windows: int) -> dict[str, Any]:
        """Label the axis of windows by their numbers and, where known, by what they belong to.

        Parameters
        ----------
        first : int
            Number of the first of these windows.
        n_windows : int
            How many they are.

        Returns
        -------
        labels : dict
            ``"window"``, the numbers, and ``"label"`` where windows have labels.
        """
        numbers = np.arange(first, first + n_windows)
        labels = self.windows.labels if isinstance(self.windows, Windows) else None
        return {"window": numbers} | ({} if labels is None else {"label": ("window", labels[numbers])})

    def patch_tokens(self, channels: Sequence[str]) -> Tokens:
        """Name the patches of all channels, channel by channel, as EEGDINO and CodeBrain read them.

        Parameters
        ----------
        channels : sequence of str
            Names of the channels in their order.

        Returns
        -------
        tokens : Tokens
            One for every patch, named after its channel and the seconds of its middle.
        """
        patch_size = self.model.patch_size
        n_patches = self.n_times // patch_size
        if isinstance(self.model, EEGDINO):
            # It completes the last patch, where CodeBrain leaves it out.
            n_patches = -(-self.n_times // patch_size)
        times = np.tile((np.arange(n_patches) + 0.5) * patch_size / self.sfreq, len(channels))
        places = np.repeat(np.array(channels), n_patches)
        names = np.array([f"{channel} {time:g} s" for channel, time in zip(places, times, strict=True)])
        return Tokens(names, places, times)

    def moments(self) -> Float[np.ndarray, " n_moments"]:
        """Middle of each of EEGPT's moments, in seconds from the start of the window.

        Returns
        -------
        times : numpy.ndarray, shape (n_moments,)
            Seconds.
        """
        model = self.model
        n_moments = count_patches(self.n_times, model.patch_size, model.patch_stride)
        return (np.arange(n_moments) * model.patch_stride + model.patch_size / 2) / self.sfreq

    def batches(self, batch_size: int) -> Iterator[tuple[int, Float[Tensor, "batch n_chans n_times"]]]:
        """Move windows to the model, batch by batch, each with the number of its first window.

        Parameters
        ----------
        batch_size : int
            Windows of a batch.

        Yields
        ------
        first : int
            Number of the batch's first window.
        x : torch.Tensor, shape (batch, n_chans, n_times)
            Windows in the unit of the model's contract, of the type and on the device of the model's first
            parameter.
        """
        parameter = next(self.model.parameters())
        data = self.windows.data if isinstance(self.windows, Windows) else self.windows
        for first in range(0, len(data), batch_size):
            x = data[first : first + batch_size]
            # A copy, because what is mapped from disk may be read-only.
            x = torch.from_numpy(np.array(x)) if isinstance(x, np.ndarray) else x
            yield first, x.to(parameter.device, parameter.dtype)

    def describe(self, x: Float[Tensor, "batch n_chans n_times"]) -> dict[str, Tensor | None]:
        """Run the model on a batch, up to its features.

        Parameters
        ----------
        x : torch.Tensor, shape (batch, n_chans, n_times)
            EEG in the unit of the model's contract.

        Returns
        -------
        output : dict
            ``"features"`` and ``"cls_token"``, as the model returns them.
        """
        arguments = {} if self.channel_ids is None else {"channel_ids": self.channel_ids}
        return self.model(x, return_features=True, **arguments)


def summary_names(n_tokens: int) -> list[str]:
    """Name summary tokens."""
    return [f"summary {index}" for index in range(n_tokens)]


def join_summary(patches: Tokens, n_summary_tokens: int, first: bool) -> Tokens:
    """Put summary tokens before or behind those of patches."""
    names = np.array(summary_names(n_summary_tokens))
    parts = [Tokens(names, np.full(len(names), ""), np.full(len(names), np.nan)), patches]
    parts = parts if first else parts[::-1]
    return Tokens(
        np.concatenate([part.names for part in parts]),
        np.concatenate([part.channels for part in parts]),
        np.concatenate([part.times for part in parts]),
    )
