"""Continuous recordings: judged, filtered, and cut with the signal around."""

from collections.abc import Mapping, Sequence
from typing import Any

import mne
import numpy as np
from jaxtyping import Float, Int, Shaped

from eeglab_models.configs import shorten
from eeglab_models.signals.annotations import describe, meaning_of, spans, trigger_events
from eeglab_models.signals.plan import NoWindowError, Plan, choose_channels, describe_band, events_error
from eeglab_models.signals.quality import Hole, describe_bad, fill_holes, find_holes, find_offsets
from eeglab_models.signals.sources import Recording, reading
from eeglab_models.signals.windows import Windows

# Seconds of the signal that a window carries on either side.
AROUND = 0.5


def cut_raw(raw: mne.io.BaseRaw, plan: Plan, recording: Recording) -> Windows:
    """Judge and filter a continuous recording, and cut it at its events or into consecutive windows."""
    origin, (kept, report) = raw, choose_channels(raw, plan)
    with reading(recording.name):
        raw = take(raw, kept)
    holes = find_holes(raw, plan.ceiling)
    report = report.add("raw signal", describe_holes(holes, raw))
    fill_holes(raw, holes)
    band, notch, finding = filter_raw(raw, plan)
    report = report.add("filter", finding).add("annotations", describe(raw, plan.annotations))
    if not (recording.described or plan.events == [] or has_events(raw, plan)):
        raw, finding = annotate_triggers(raw, origin)
        report = report.add("annotations", finding) if finding else report
    starts, labels, n_times, finding = find_windows(raw, plan, recording)
    wide = cut(raw, starts, n_times)
    n_around = (wide.shape[-1] - n_times) // 2
    bad = np.zeros(wide.shape[:2], bool)
    for hole in holes:
        bad[(starts < hole.stop) & (starts + n_times > hole.start), hole.channel] = True
    report = report.add("windows", finding)
    if bad.any():
        report = report.add("bad windows", describe_bad(bad, raw.ch_names))
    data = wide[..., n_around : n_around + n_times]
    return Windows(data, raw.info, labels, None, "µV", report, None, band, notch, bad, wide)


def take(raw: mne.io.BaseRaw, ch_names: Sequence[str]) -> mne.io.RawArray:
    """Read some channels into a recording of their own; a copy of the whole would take twice the memory."""
    info = mne.pick_info(raw.info, [raw.ch_names.index(name) for name in ch_names])
    taken = mne.io.RawArray(raw.get_data(ch_names), info, first_samp=raw.first_samp)
    return taken.set_annotations(raw.annotations)


def has_events(raw: mne.io.BaseRaw, plan: Plan) -> bool:
    """Tell whether an annotation is an event."""
    return any(meaning_of(str(name), plan.annotations) == "event" for name in raw.annotations.description)


def annotate_triggers(raw: mne.io.BaseRaw, origin: mne.io.BaseRaw) -> tuple[mne.io.BaseRaw, str]:
    """Add the events of a trigger channel, named by their numbers, where a recording has no others."""
    channel, events = trigger_events(origin)
    if not channel:
        return raw, ""
    names, counts = np.unique(events[:, 2], return_counts=True)
    onsets = (events[:, 0] - origin.first_samp) / raw.info["sfreq"]
    if origin.annotations.orig_time is not None:
        onsets = onsets + origin.first_time
    raw.annotations.append(onsets, np.zeros(len(events)), events[:, 2].astype(str))
    told = ", ".join(f"{name} ({count})" for name, count in zip(names, counts, strict=True))
    return raw, f"Events of the trigger channel {channel}: {told}."


def describe_holes(holes: Sequence[Hole], raw: mne.io.BaseRaw) -> str:
    """Say in which channels, for how long and why the raw signal is no EEG."""
    seconds: dict[tuple[str, str], float] = {}
    for hole in holes:
        key = (raw.ch_names[hole.channel], hole.why)
        seconds[key] = seconds.get(key, 0.0) + (hole.stop - hole.start) / raw.info["sfreq"]
    parts = [f"{name} {why} for {length:.3g} s" for (name, why), length in seconds.items()]
    return (
        shorten(parts) + "; bridged by lines before the filter, so slow waves around may differ."
        if parts
        else "Every channel varies, in numbers."
    )


def filter_raw(raw: mne.io.BaseRaw, plan: Plan) -> tuple[Any, float | None, str]:
    """Filter a recording in place; tell band, notch and what was done."""
    sfreq, low, high = raw.info["sfreq"], raw.info["highpass"], raw.info["lowpass"]
    fmin, fmax = plan._band()
    # There is nothing above half the sampling frequency that could be removed.
    fmax = None if fmax is not None and fmax >= sfreq / 2 else fmax
    notch = raw.info["line_freq"] if plan.notch == "auto" else plan.notch
    for name, value in (("fmin", fmin), ("notch", None if plan.notch == "auto" else notch)):
        if value is not None and value >= sfreq / 2:
            raise ValueError(f"{name}={value:g} Hz lies above half the rate of {sfreq:g} Hz. Leave it out.")
    done = [describe_band(fmin, fmax) + ", on the continuous recording."]
    if low > 0 or high < sfreq / 2:
        done.append(f"The file was filtered before: {describe_band(low or None, min(high, sfreq / 2))}.")
    offset = find_offsets(raw)
    if offset > 1000:
        done.append(f"Offsets of up to {offset:,.0f} µV, {'removed' if fmin else 'kept: no high-pass'}.")
    if (fmin, fmax) != (None, None):
        # One process filters in place, where several would hold a copy.
        raw.filter(fmin, fmax, n_jobs=1)
    mains = [] if notch is None else np.arange(notch, fmax or sfreq / 2, notch)
    if len(mains):
        raw.notch_filter(mains, n_jobs=1)
        done.append(f"Notch at {notch:g} Hz and its multiples.")
    elif notch is not None:
        done.append(f"No notch: {notch:g} Hz lies outside the band.")
    elif plan.notch == "auto":
        done.append(
            "No notch: the recording states no mains frequency; pass notch=50 or notch=60 to remove it."
        )
    return plan._band(), notch if len(mains) else None, " ".join(done)


def find_windows(
    raw: mne.io.BaseRaw, plan: Plan, recording: Recording
) -> tuple[Int[np.ndarray, " n_windows"], Shaped[np.ndarray, " n_windows"], int, str]:
    """Find first samples, labels and length of the windows, and say where they lie."""
    sfreq, n_samples, tmin = raw.info["sfreq"], raw.n_times, plan.tmin
    whole = plan.events is not None and not len(plan.events) or "label" in recording.facts
    onsets, durations, labels = ([], [], []) if whole else find_events(raw, plan, recording)
    onsets, durations, labels = np.asarray(onsets, int), np.asarray(durations, float), np.asarray(labels)
    told, length = durations > 2 / sfreq, None if plan.tmax is None else plan.tmax - tmin
    short = told & (durations < np.median(durations[told]) / 2) if told.any() else told
    notes = []
    if length is None:
        if not told.any():
            raise ValueError("The length of a window is unknown: no annotation has a duration. Pass tmax=.")
        length = durations[told & ~short].min()
        if short.any():
            notes.append(
                f"{short.sum()} left out: much shorter than the others ({durations[short].min():g} s)."
            )
            onsets, labels = onsets[~short], labels[~short]
    n_times = round(length * sfreq)
    if n_times > n_samples:
        raise NoWindowError(
            f"The recording lasts {n_samples / sfreq:.3g} s, a window {length:g} s. Pass a shorter tmax."
        )
    if len(onsets):
        starts = onsets + round(tmin * sfreq)
        notes.insert(0, f"{length:g} s from {tmin:g} s after {', '.join(map(str, np.unique(labels)))}.")
    else:
        starts = np.arange(round(tmin * sfreq), n_samples - n_times + 1, n_times)
        labels = np.full(len(starts), "window")
        notes.insert(0, f"Consecutive, {length:g} s, from {tmin:g} s on.")
    if len(np.unique(starts)) < len(starts):
        (twice,) = np.flatnonzero(starts == starts[np.flatnonzero(np.diff(np.sort(starts)) == 0)[0]])[:2][
            None
        ]
        raise ValueError(
            f"Two events begin at the same sample, {labels[twice[0]]} and {labels[twice[1]]} at "
            f"{onsets[twice[0]] / sfreq:g} s. Choose among them with events=."
        )
    stops, kept = starts + n_times, np.ones(len(starts), bool)
    lost = {"beyond the end": (starts < 0) | (stops > n_samples)}
    for why, kinds in (("marked bad", ["bad"]), ("across a break", ["break"])):
        hit = np.zeros(len(starts), bool)
        for first, last in spans(raw, kinds, plan.annotations):
            hit |= (
                (starts < last) & (stops > first) if kinds == ["bad"] else (starts < first) & (stops > first)
            )
        lost[why] = hit
    for why, hit in lost.items():
        if (hit & kept).any():
            notes.append(f"{(hit & kept).sum()} left out: {why}.")
            kept &= ~hit
    if not kept.any():
        raise NoWindowError(
            "No window is left. Check events, tmin and tmax, and which annotations are marked bad. "
            + " ".join(notes)
        )
    return starts[kept], labels[kept], n_times, " ".join(notes)


def find_events(raw: mne.io.BaseRaw, plan: Plan, recording: Recording) -> tuple[Any, Any, Any]:
    """List samples, durations in seconds and labels of events, from a table or from annotations."""
    if recording.rows is not None:
        rows = recording.rows
        onsets = raw.time_as_index(rows["onset"].to_numpy(float), use_rounding=True)
        durations = rows["duration"].fillna(0) if "duration" in rows else np.zeros(len(rows))
        found = (
            onsets,
            durations.to_numpy(float) if "duration" in rows else durations,
            rows["label"].to_numpy(),
        )
    else:
        own = raw.annotations
        chosen = [meaning_of(name, plan.annotations) == "event" for name in own.description]
        onsets = raw.time_as_index(own.onset, use_rounding=True, origin=own.orig_time)
        names = np.array([str(name) for name in own.description], dtype=str)
        found = onsets[chosen], own.duration[chosen], names[chosen]
    if plan.events is None:
        return found
    names = found[2].astype(str)
    asked = np.isin(names, list(plan._called))
    if not asked.any():
        raise NoWindowError(events_error(plan._called, set(names), "the recording"))
    onsets, durations, labels = (part[asked] for part in found)
    if isinstance(plan.events, Mapping):
        labels = np.array([plan._called[name] for name in names[asked]])
    return onsets, durations, labels


def cut(
    raw: mne.io.BaseRaw, starts: Int[np.ndarray, " n_windows"], n_times: int
) -> Float[np.ndarray, "n_windows n_chans n_wide"]:
    """Cut windows in microvolts with the signal around them, mirrored at the ends of the recording."""
    n_around = round(AROUND * raw.info["sfreq"])
    wide = np.empty((len(starts), len(raw.ch_names), n_times + 2 * n_around), np.float32)
    for window, start in zip(wide, starts, strict=True):
        first, last = start - n_around, start + n_times + n_around
        x = raw[:, max(0, first) : min(last, raw.n_times)][0] * 1e6
        missing = (0, 0), (max(0, -first), max(0, last - raw.n_times))
        window[:] = np.pad(x, missing, mode="reflect") if any(missing[1]) else x
    return wide
