"""The channels of published weights, and which of them a channel of a recording is. No parameters."""

import warnings
from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

# Order of the channels of the Temple corpus in the preprocessing that CodeBrain and EEG-DINO follow.
TEMPLE_CHANNELS = (
    *("Fp1", "Fp2", "F3", "F4", "C3", "C4", "P3", "P4", "O1", "O2"),
    *("F7", "F8", "T7", "T8", "P7", "P8", "Fz", "Cz", "Pz"),
)
# Rows of EEGPT's published channel embedding: order and spelling belong to the weights.
EEGPT_CHANNELS = tuple(
    """
    FP1 FPZ FP2 AF7 AF3 AF4 AF8 F7 F5 F3 F1 FZ F2 F4 F6 F8
    FT7 FC5 FC3 FC1 FCZ FC2 FC4 FC6 FT8 T7 C5 C3 C1 CZ C2 C4 C6 T8
    TP7 CP5 CP3 CP1 CPZ CP2 CP4 CP6 TP8 P7 P5 P3 P1 PZ P2 P4 P6 P8
    PO7 PO5 PO3 POZ PO4 PO6 PO8 O1 OZ O2
    """.split()
)
# Those of them that were part of the pre-training.
EEGPT_TRAINED_CHANNELS = tuple(name for name in EEGPT_CHANNELS if name not in {"AF7", "AF8", "PO5", "PO6"})
# What EEGPT projects recordings onto.
EEGPT_19_CHANNELS = tuple("FP1 FP2 F7 F3 FZ F4 F8 T7 C3 CZ C4 T8 P7 P3 PZ P4 P8 O1 O2".split())
# One slot of the weights' montage per channel of a window.
ChannelIds = Int[Tensor, " n_chans"] | Sequence[int]


def read_channel_ids(channel_ids: ChannelIds, x: Tensor, n_slots: int) -> Int[Tensor, " n_chans"]:
    """Read the slot of every channel, counted from 0, and refuse slots that the weights do not have."""
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


def look_up_channels(names: Sequence[str] | None, n_chans: int) -> Int[Tensor, "*one n_chans"]:
    """Find the row of every channel in the channel embedding: by name, else by position.

    Names may be in either case, with dots around them. The shape tells published weights with names,
    (1, n_chans), from those without, (n_chans,).
    """
    if names is None:
        return torch.arange(n_chans)
    rows = {name: row for row, name in enumerate(EEGPT_CHANNELS)}
    standard = [name.upper().strip(".") for name in names]
    unknown = [name for name, upper in zip(names, standard, strict=True) if upper not in rows]
    if unknown:
        warnings.warn(
            f"EEGPT has no embedding for the channels {', '.join(unknown)}: each takes the one of its "
            "position, which published weights learned for another channel. Rename them to names of "
            "EEGPT_CHANNELS, leave them out, or project all channels with chan_proj_type.",
            stacklevel=3,
        )
    return torch.tensor([[rows.get(upper, position) for position, upper in enumerate(standard)]])
