"""The channels that a model reads, out of those of a recording: chosen, mended, referenced, in its order."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import mne
import numpy as np

from eeglab_models.configs import nearest, shorten
from eeglab_models.models.base import EEGModel
from eeglab_models.signals.electrodes import montage, positions, sort_channels, spell_channel
from eeglab_models.signals.quality import (
    OTHER_SCALE,
    find_bad_channels,
    find_other_scale,
    interpolate,
    names_of,
)
from eeglab_models.signals.windows import Windows

__all__ = ["average_reference"]


def own_channels(model: EEGModel) -> list[str] | None:
    """Names of the channels that a model was built for, None if it knows only their number."""
    if model.arguments["chs_info"] is None:
        return None
    names = [channel["ch_name"] for channel in model.chs_info]
    return [spell_channel(name) for name in names]


def name_channels(
    windows: Windows, model: EEGModel, ch_names: Sequence[str] | None, missing: str
) -> list[str] | None:
    """Name the channels to pass; None means those of the recording, as they are."""
    name = type(model).__name__
    if missing == "project":
        if model.arguments.get("chan_proj_type", "none") == "none":
            raise ValueError(
                f"missing='project' needs a model with a learned projection of channels, got {name} without "
                "one. Build EEGPT with chan_proj_type='conv1d_constraint', or choose another way."
            )
        if len(windows.ch_names) != model.n_chans:
            raise ValueError(
                f"The projection of this {name} mixes {model.n_chans} channels, the recording has "
                f"{len(windows.ch_names)}. Build the model with chs_info of the recording."
            )
        return None
    wanted = list(ch_names) if ch_names is not None else own_channels(model)
    own_order = model.contract.ch_names
    if wanted is None and own_order is not None and len(own_order) == model.n_chans:
        wanted = list(own_order)
    if wanted is not None:
        wanted = [spell_channel(channel) for channel in wanted]
    n_chans = len(windows.ch_names) if wanted is None else len(wanted)
    if n_chans != model.n_chans:
        raise ValueError(
            f"{name} was built for {model.n_chans} channels without names, got {n_chans}. Build it with "
            "chs_info, so that channels can be picked by name, or name as many with ch_names=."
        )
    return wanted


def note(windows: Windows, subject: str, finding: str) -> Windows:
    """Add a step to the report."""
    return replace(windows, report=windows.report.add(subject, finding))


def widened(windows: Windows, data: np.ndarray, n_around: int, **changes: Any) -> Windows:
    """Replace the samples of windows, and those around them."""
    if not n_around:
        return replace(windows, data=data, wide=None, **changes)
    return replace(windows, data=data[..., n_around:-n_around], wide=data, **changes)


def handle_bad(
    windows: Windows, model: EEGModel, wanted: list[str] | None, bad_windows: str, ceiling: float | None
) -> Windows:
    """Handle windows in which a channel that matters is flat, no number or beyond the ceiling."""
    bad = find_bad_channels(windows.data, ceiling)  # (n_windows, n_chans)
    other = find_other_scale(windows.data) & (ceiling is not None)
    bad = bad | other if windows.bad is None else bad | other | windows.bad
    if wanted is not None and model.contract.reference != "average":
        bad = bad & np.isin([spell_channel(name) for name in windows.ch_names], wanted)
    if not bad.any():
        return note(windows, "bad windows", "None: no channel is flat, every sample is a number.")
    n_bad = int(bad.any(axis=1).sum())
    names = names_of(bad, windows.ch_names)
    beyond = "" if ceiling is None else f", beyond {ceiling:g} µV"
    finding = f"{n_bad} of {len(windows)} hold channels that are flat{beyond} or no number ({shorten(names)})"
    strange = names_of(other & bad, windows.ch_names)
    if strange:
        finding += f"; {shorten(strange)} vary over {OTHER_SCALE:g} times more or less than the others"
    if bad_windows == "raise":
        raise ValueError(
            f"{finding}. Pass bad_windows='drop' or 'interpolate', or mark the channels bad in the recording."
        )
    if bad_windows == "drop":
        if n_bad == len(windows):
            raise ValueError(f"{finding}, so none would be left. Mark these channels bad in the recording.")
        return note(windows[~bad.any(axis=1)], "bad windows", finding + ": left out.")
    n_around = windows.n_around
    data = (windows.wide if n_around else windows.data).copy()
    for pattern in np.unique(bad[bad.any(axis=1)], axis=0):
        rows = (bad == pattern).all(axis=1)
        names = [windows.ch_names[i] for i in np.flatnonzero(pattern)]
        data[rows] = interpolate(data[rows], windows.ch_names, names, positions(windows.info))
    return note(widened(windows, data, n_around), "bad windows", finding + ": filled by spherical splines.")


def take_reference(windows: Windows, model: EEGModel) -> Windows:
    """Remove the mean over the electrodes of the scalp if the model asks for it."""
    if model.contract.reference != "average":
        return note(windows, "reference", "That of the recording.")
    return average_reference(windows)


def average_reference(windows: Windows) -> Windows:
    """Remove the mean over the electrodes of the scalp.

    Parameters
    ----------
    windows : Windows
        In any unit.

    Returns
    -------
    referenced : Windows
        The same windows; their report says of how many channels the mean is.

    Raises
    ------
    ValueError
        If there are fewer than two electrodes, or if nobody can tell which channels are some.
    """
    scalp, others, unknown = sort_channels(windows.info)
    if scalp and unknown:
        raise ValueError(
            "An average reference is of electrodes of the scalp, and nobody can tell whether these are some: "
            f"{shorten(unknown)}. Rename them, or leave them out with channels=."
        )
    rows = [windows.ch_names.index(name) for name in scalp or windows.ch_names]
    if len(rows) < 2:
        raise ValueError(
            "An average reference over one electrode leaves nothing of it. Pass more electrodes."
        )
    n_around = windows.n_around
    data = windows.wide if n_around else windows.data
    data = data - data[:, rows].mean(axis=1, keepdims=True)
    finding = f"Average of {len(rows)} channels."
    if len(rows) == 2:
        windows = note(windows, "reference", "Of two channels one mirrors the other: half their difference.")
    if others:
        finding = finding[:-1] + f", without {', '.join(others)}."
    return note(widened(windows, data, n_around), "reference", finding)


def pick_channels(
    windows: Windows, model: EEGModel, wanted: list[str] | None, missing: str, least_share: float
) -> Windows:
    """Bring the channels into the order of the model, by name."""
    if wanted is None:
        means = "mixed by the learned projection" if missing == "project" else "in the order of the recording"
        return note(windows, "channels", f"All {len(windows.ch_names)}, {means}.")
    own = [spell_channel(name) for name in windows.ch_names]
    if len(set(own)) < len(own):
        twice = sorted({name for name in own if own.count(name) > 1})
        raise ValueError(
            f"Two channels of the recording mean the same electrode, {', '.join(twice)}. Drop one of them."
        )
    absent = [name for name in wanted if name not in own]
    if absent and missing == "raise":
        raise ValueError(
            f"{type(model).__name__} expects channels that the recording does not have: {', '.join(absent)}. "
            "Pass missing='interpolate' or 'zero', or build the model with chs_info of channels that are "
            "there."
        )
    if len(absent) > (1 - least_share) * len(wanted):
        near = [f"{name} for {nearest(name, own)}" for name in absent[:3]]
        raise ValueError(
            f"The recording has {len(wanted) - len(absent)} of the {len(wanted)} channels of "
            f"{type(model).__name__}; its own are {shorten(windows.ch_names)}. Rename them, perhaps "
            f"{', '.join(near)}, or lower least_share={least_share:g}."
        )
    renamings = list(zip(windows.ch_names, own, strict=True))
    names, n_around = [*own, *absent], windows.n_around
    data = windows.wide if n_around else windows.data
    if absent:
        zeros = np.zeros((len(windows), len(absent), data.shape[-1]), dtype=np.float32)
        data = np.concatenate([data, zeros], axis=1)
    if absent and missing == "interpolate":
        places = {spell_channel(name): place for name, place in positions(windows.info).items()}
        data = interpolate(data, names, absent, places)
    data = data[:, [names.index(name) for name in wanted]]
    info = mne.create_info(wanted, windows.sfreq, "eeg")
    info.set_montage(montage(), on_missing="ignore", verbose="error")
    windows = widened(windows, data, n_around, info=info, bad=None)
    renamed = [
        f"{old} is {new}" for old, new in renamings if new in wanted and new.upper() not in old.upper()
    ]
    if renamed:
        windows = note(windows, "channels", f"{', '.join(renamed)}.")
    return note(windows, "channels", describe_choice(own, wanted, absent, missing, model))


def describe_choice(
    own: Sequence[str], wanted: Sequence[str], absent: Sequence[str], missing: str, model: EEGModel
) -> str:
    """Say which channels were taken, filled, left out, and whether the model knows which they are."""
    left_out = [name for name in own if name not in wanted]
    finding = f"{len(wanted) - len(absent)} of {len(own)} picked by name"
    if absent:
        way = "filled by spherical splines" if missing == "interpolate" else "filled with zeros"
        finding += f"; {len(absent)} {way}: {shorten(absent)}"
    if left_out:
        finding += f"; {len(left_out)} left out: {shorten(left_out)}"
    contract = model.contract
    if contract.channels_known_by not in ("slot", "position") or contract.ch_names is None:
        return finding + "."
    strangers = sorted(set(wanted).difference(contract.ch_names))
    if strangers:
        return (
            f"{finding}. {contract.model} knows channels by {contract.channels_known_by}: these are not "
            f"among those of its weights and take the place of others: {shorten(strangers)}."
        )
    ids = contract.channel_ids(wanted)
    if ids == tuple(range(len(ids))):
        return finding + f"; in the order of {contract.model}'s weights."
    return (
        f"{finding}. {contract.model} knows channels by {contract.channels_known_by}: pass channel_ids={ids} "
        "to give each its own."
    )
