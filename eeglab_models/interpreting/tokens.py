"""Windows as a model is about to read them, with what is known about their channels and labels."""

from collections.abc import Iterator
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from eeglab_models.models.base import EEGModel, cut_batches
from eeglab_models.models.channels import ChannelIds
from eeglab_models.signals.preparation import check_prepared
from eeglab_models.signals.windows import Windows


@dataclass(frozen=True)
class Signals:
    """Windows, or a tensor in the unit of the model's contract, as a model is about to read them."""

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

    def window_coordinates(self, first: int, n_windows: int) -> dict[str, Any]:
        """Label the axis of windows by their numbers and, where there are any, their labels."""
        numbers = np.arange(first, first + n_windows)
        labels = self.windows.labels if isinstance(self.windows, Windows) else None
        return {"window": numbers} | ({} if labels is None else {"label": ("window", labels[numbers])})

    def batches(self, batch_size: int) -> Iterator[tuple[int, Float[Tensor, "batch n_chans n_times"]]]:
        """Move windows to the model, batch by batch, each with the number of its first window."""
        data = self.windows.data if isinstance(self.windows, Windows) else self.windows
        for part, x in cut_batches(data, batch_size, self.model):
            yield part.start, x

    @property
    def ids(self) -> dict[str, ChannelIds]:
        """Arguments that the model takes beside windows."""
        return {} if self.channel_ids is None else {"channel_ids": self.channel_ids}
