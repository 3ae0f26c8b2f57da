"""What annotations mean: which are events, which mark bad data, and which are neither."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import mne
import numpy as np

__all__ = ["MEANINGS"]

MEANINGS = (
    ("bad", r"bad"),
    # Where pieces were joined, the signal jumps: no window may lie across.
    ("break", r"boundary|edge|new segment"),
    ("neither", r"comment|sync ?status|recording (starts|ends)|(start|stop|end|begin)\w* (of )?recording"),
    ("neither", r"impedance|montage|calibration|cal(start|stop)?$|photic|lights? o(n|ff)"),
)
"""What descriptions mean by how they begin, whatever their case; all others are events."""


def meaning_of(description: str, own: Mapping[str, str]) -> str:
    """Say what an annotation is: event, bad, break or neither; the caller's word comes first."""
    if description in own:
        return own[description]
    return next((kind for kind, text in MEANINGS if re.match(text, description.strip(), re.I)), "event")


def check_meanings(own: Mapping[str, str]) -> None:
    """Refuse meanings that there are not."""
    for description, kind in own.items():
        if kind not in ("event", "bad", "break", "neither"):
            raise ValueError(
                f"annotations={{{description!r}: {kind!r}}} must be event, bad, break or neither."
            )


def spans(raw: mne.io.BaseRaw, kinds: Sequence[str], own: Mapping[str, str]) -> list[tuple[int, int]]:
    """List first and last samples of all annotations of some kinds."""
    found = raw.annotations
    starts = raw.time_as_index(found.onset, use_rounding=True, origin=found.orig_time)
    stops = starts + np.maximum(1, np.ceil(np.asarray(found.duration) * raw.info["sfreq"]).astype(int))
    return [
        (int(start), int(stop))
        for start, stop, description in zip(starts, stops, found.description, strict=True)
        if meaning_of(description, own) in kinds
    ]


def trigger_events(raw: mne.io.BaseRaw) -> tuple[str, np.ndarray]:
    """Find the trigger channel that holds events, and these as mne gives them; an empty name if none does."""
    found = {}
    for name, kind in zip(raw.ch_names, raw.get_channel_types(), strict=True):
        if kind == "stim":
            # The upper bits of BioSemi's channel tell of its battery and range, not of events.
            options = {"mask": 0xFFFF, "mask_type": "and", "shortest_event": 1, "verbose": "warning"}
            events = mne.find_events(raw, name, **options)
            if len(events):
                found[name] = events
    if len(found) > 1:
        raise ValueError(
            f"The recording has no annotations, and {len(found)} trigger channels hold events, "
            f"{', '.join(found)}. Drop all but one with raw.drop_channels."
        )
    return next(iter(found.items()), ("", np.empty((0, 3), int)))


def describe(raw: mne.io.BaseRaw, own: Mapping[str, str]) -> str:
    """Say how many annotations of each description there are, by what they mean."""
    counts = Counter(map(str, raw.annotations.description))
    parts = []
    for kind, words in (
        ("event", "Events"),
        ("bad", "Bad"),
        ("break", "Breaks"),
        ("neither", "Neither events nor bad"),
    ):
        named = [f"{name} ({n})" for name, n in sorted(counts.items()) if meaning_of(name, own) == kind]
        if named:
            parts.append(f"{words}: {', '.join(named)}.")
    return " ".join(parts) or "None."
