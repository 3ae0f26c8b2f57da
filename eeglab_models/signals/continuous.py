"""Continuous recordings: judged, filtered, and cut with the signal around."""

from collections.abc import Mapping, Sequence
from typing import Any

import mne
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Shaped

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
    told = pd.DataFrame({"onset": starts / raw.info["sfreq"]})
    return Windows(data, raw.info, labels, told, "µV", report, None, band, notch, bad, wide)


def take(raw: mne.io.BaseRaw, ch_names: Sequence[str]) -> mne.io.RawArray:
    """Read some channels into a recording of their own; a copy of the whole would take twice the memory."""
    info = mne.pick_info(raw.info, [raw.ch_names.index(name) for name in ch_names])
    taken, own = mne.io.RawArray(raw.get_data(ch_names), info), raw.annotations
    # Told from the beginning of what is left of the recording, whether it was cropped or not.
    return taken.set_annotations(mne.Annotations(own.onset - raw.first_time, own.duration, own.description))


def has_events(raw: mne.io.BaseRaw, plan: Plan) -> bool:
    """Tell whether an annotation is an event."""
    return any(
        name in plan._called or meaning_of(name, plan.annotations) == "event"
        for name in map(str, raw.annotations.description)
    )


def annotate_triggers(raw: mne.io.BaseRaw, origin: mne.io.BaseRaw) -> tuple[mne.io.BaseRaw, str]:
    """Add the events of a trigger channel, named by their numbers, where a recording has no others."""
    channel, events = trigger_events(origin)
    if not channel:
        return raw, ""
    names, counts = np.unique(events[:, 2], return_counts=True)
    onsets = (events[:, 0] - origin.first_samp) / raw.info["sfreq"]
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
            raise ValueError(f"{name}={value:g} Hz is not below half the rate of {sfreq:g} Hz. Leave it out.")
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
    notes = []
    length = None if plan.tmax is None else plan.tmax - tmin
    if length is None:
        length, left_out = measure_length(onsets, durations, raw)
        for why, short in left_out.items():
            if short.any():
                notes.append(f"{short.sum()} left out: {why} ({durations[short].min():g} s).")
        whole = ~np.any(list(left_out.values()), axis=0)
        onsets, labels = onsets[whole], labels[whole]
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
    check_onsets(starts, labels, raw)
    kept = np.ones(len(starts), bool)
    for why, hit in find_lost(starts, n_times, raw, plan).items():
        if (hit & kept).any():
            notes.append(f"{(hit & kept).sum()} left out: {why}.")
            kept &= ~hit
    if not kept.any():
        raise NoWindowError(
            "No window is left. Check events, tmin and tmax, and which annotations are marked bad. "
            + " ".join(notes)
        )
    return starts[kept], labels[kept], n_times, " ".join(notes)


def measure_length(
    onsets: Int[np.ndarray, " n_events"], durations: Float[np.ndarray, " n_events"], raw: mne.io.BaseRaw
) -> tuple[float, dict[str, Bool[np.ndarray, " n_events"]]]:
    """Take the least duration in seconds of events as the length of windows, but for those cut short."""
    told = durations > 2 / raw.info["sfreq"]
    if not told.any():
        raise ValueError("The length of a window is unknown: no annotation has a duration. Pass tmax=.")
    # mne lets annotations end with the last sample, not after it; cropping cuts off the first as well.
    last = onsets / raw.info["sfreq"] + durations > raw.times[-1] - 0.5 / raw.info["sfreq"]
    ends = told & (last | (onsets <= 0))
    measures = told & ~ends if (told & ~ends).any() else told
    short = told & (durations < np.median(durations[measures]) / 2)
    length = durations[measures & ~short].min()
    cut_off = ends & ~short & (durations < length - 1.5 / raw.info["sfreq"])
    return float(length), {
        "much shorter than the others": short,
        "cut off by an end of the recording": cut_off,
    }


def check_onsets(
    starts: Int[np.ndarray, " n_windows"], labels: Shaped[np.ndarray, " n_windows"], raw: mne.io.BaseRaw
) -> None:
    """Refuse two events at one sample."""
    order = np.argsort(starts, kind="stable")
    (same,) = np.nonzero(np.diff(starts[order]) == 0)
    if len(same):
        one, other = order[same[0]], order[same[0] + 1]
        raise ValueError(
            f"Two events begin at the same sample, {labels[one]} and {labels[other]} at "
            f"{starts[one] / raw.info['sfreq']:g} s. Choose among them with events=."
        )


def find_lost(
    starts: Int[np.ndarray, " n_windows"], n_times: int, raw: mne.io.BaseRaw, plan: Plan
) -> dict[str, Bool[np.ndarray, " n_windows"]]:
    """Find windows that leave the recording, touch what is marked bad, or lie across a break."""
    stops = starts + n_times
    lost = {"beyond the end": (starts < 0) | (stops > raw.n_times)}
    bad, breaks = (np.array(spans(raw, [kind], plan.annotations)).reshape(-1, 2) for kind in ("bad", "break"))
    lost["marked bad"] = ((starts[:, None] < bad[:, 1]) & (stops[:, None] > bad[:, 0])).any(axis=1)
    lost["across a break"] = ((starts[:, None] < breaks[:, 0]) & (stops[:, None] > breaks[:, 0])).any(axis=1)
    return lost


def find_events(raw: mne.io.BaseRaw, plan: Plan, recording: Recording) -> tuple[Any, Any, Any]:
    """List samples, durations in seconds and labels of events, from a table or from annotations."""
    if recording.rows is not None:
        rows = recording.rows
        onsets = raw.time_as_index(rows["onset"].to_numpy(float), use_rounding=True)
        durations = rows["duration"].fillna(0).to_numpy(float) if "duration" in rows else np.zeros(len(rows))
        found = onsets, durations, rows["label"].to_numpy()
    else:
        own = raw.annotations
        names = np.array([str(name) for name in own.description], dtype=str)
        # What is asked for by its name is an event, whatever such names mean elsewhere.
        chosen = [
            name in plan._called or meaning_of(name, plan.annotations) == "event" for name in names.tolist()
        ]
        onsets = raw.time_as_index(own.onset, use_rounding=True, origin=own.orig_time)
        found = onsets[chosen], own.duration[chosen], names[chosen]
    if plan.events is None:
        return found
    names = found[2].astype(str)
    asked = np.isin(names, list(plan._called))
    if not asked.any():
        others = [name for name in map(str, np.unique(raw.annotations.description)) if name not in names]
        hint = f" Not taken for events, unless named: {shorten(others)}." if others else ""
        raise NoWindowError(events_error(plan._called, set(names), "the recording") + hint)
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
