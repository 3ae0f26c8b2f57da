"""Which channel of the published weights a channel of a recording is. No parameters."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

# One slot of the weights' montage per channel of a window.
ChannelIds = Int[Tensor, " n_chans"] | Sequence[int]


def read_channel_ids(channel_ids: ChannelIds, x: Tensor, n_slots: int) -> Int[Tensor, " n_chans"]:
    """Read the slot of every channel, and refuse slots that the weights do not have.

    Parameters
    ----------
    channel_ids : torch.Tensor, shape (n_chans,), or sequence of int
        Slot of every channel of `x`, counted from 0.
    x : torch.Tensor, shape (batch, n_chans, n_times)
        EEG windows.
    n_slots : int
        Number of slots of the weights.

    Returns
    -------
    slots : torch.Tensor, shape (n_chans,)
        The slots, on the device of `x`.

    Raises
    ------
    ValueError
        If there is not one slot per channel, if two channels share one, or if one is not a number from 0
        to `n_slots` - 1.
    """
    slots = channel_ids.tolist() if isinstance(channel_ids, Tensor) else list(channel_ids)
    if x.ndim != 3 or len(slots) != x.shape[1]:
        raise ValueError(
            f"channel_ids needs one number per channel of windows of shape (batch, n_chans, n_times), "
            f"got {len(slots)} numbers for windows of shape {tuple(x.shape)}."
        )
    if len(set(slots)) != len(slots):
        raise ValueError(f"Every channel needs a slot of its own, got channel_ids={slots}.")
    if not set(slots) <= set(range(n_slots)):
        raise ValueError(
            f"channel_ids must be numbers from 0 to {n_slots - 1}, the channel slots of the weights, "
            f"got {slots}."
        )
    return torch.tensor([int(slot) for slot in slots], device=x.device)
