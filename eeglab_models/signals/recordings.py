"""From recordings to windows: moabb data sets and results, mne objects, arrays."""

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import mne
import numpy as np
import pandas as pd
from jaxtyping import Shaped

from eeglab_models.configs import nearest
from eeglab_models.signals.electrodes import is_eeg
from eeglab_models.signals.windows import Report, Windows

if TYPE_CHECKING:
    from moabb.datasets.base import BaseDataset

__all__ = ["find_dataset", "load_windows"]

# Factors to microvolts.
UNITS = {"V": 1e6, "mV": 1e3, "µV": 1.0, "uV": 1.0}


def load_windows(
    source: Any,
    subjects: Sequence[int] | None = None,
    *,
    events: Sequence[str] | None = None,
    tmin: float = 0.0,
    tmax: float | None = None,
    fmin: float | None = 0.3,
    fmax: float | None = 75.0,
    notch: float | None = None,
    info: mne.Info | None = None,
    unit: str | None = None,
) -> Windows:
    """Load windows of EEG with their labels, in microvolts.

    Channels that are not EEG by type or by name, and those marked bad, are left out and reported.

    Parameters
    ----------
    source : recording
        One of

        - a moabb data set or its name (``"BNCI2014_001"``, ``"PhysionetMI"``, or the simulated
          ``"SimulatedMotorImagery"``);
        - what moabb returns: ``(X, labels, metadata)`` of a paradigm, X being mne Epochs or an array, or the
          raw recordings of a data set, ``{subject: {session: {run: raw}}}``;
        - mne Raw, Epochs, Evoked or a list of Evoked;
        - an array, shape (n_windows, n_chans, n_times) or, for one window, (n_chans, n_times).
    subjects : sequence of int or None
        Subjects of a data set; None means all of them.
    events : sequence of str or None
        Names of the events to keep; None means all, of a data set all but rest. An empty list cuts a raw
        recording into consecutive windows, whatever its annotations.
    tmin, tmax : float
        Window in seconds after the event. `tmax` None means the interval of the data set, the duration of
        the annotations of a raw recording, or the end of the epochs. The sample at `tmax` is left out, so
        a window of 4 s at 250 Hz has 1000 samples. A raw recording without annotations is cut into
        consecutive windows of this length. Arrays are taken whole.
    fmin, fmax : float or None
        Pass band in Hz, applied to the continuous recording; None leaves that side open. What is cut
        already, epochs and arrays, is not filtered.
    notch : float or None
        Mains frequency in Hz to remove from raw recordings.
    info : mne.Info or None
        Channels and sampling frequency of an array.
    unit : {"V", "mV", "µV"} or None
        Unit of an array. The arrays that moabb returns are in microvolts for most of its data sets.

    Returns
    -------
    windows : Windows
        EEG channels only, float32, in microvolts, with a report.

    Raises
    ------
    ValueError
        If the name, a subject or an event is unknown, if an array comes without `info` or `unit`, or if no
        window is left.
    TypeError
        If `source` is none of the above.
    """
    band = (fmin, fmax, notch)
    if subjects is not None and not is_dataset(source):
        raise ValueError(f"subjects belong to a data set, got {type(source).__name__}. Leave subjects out.")
    if isinstance(source, np.ndarray):
        return windows_from_epochs(epochs_from_array(source, info, unit), events, None, None)
    if isinstance(source, tuple) and len(source) == 3:
        return windows_from_result(*source, events, tmin, tmax, info, unit)
    if isinstance(source, mne.io.BaseRaw):
        epochs, report = cut_raw(source, events, tmin, tmax, *band)
        return windows_from_epochs(epochs, None, 0.0, None, report)
    if isinstance(source, mne.BaseEpochs):
        return windows_from_epochs(source, events, tmin, tmax)
    if isinstance(source, mne.Evoked):
        source = [source]
    if isinstance(source, list) and source and all(isinstance(item, mne.Evoked) for item in source):
        return concatenate([windows_from_evoked(evoked, tmin, tmax) for evoked in source])
    if isinstance(source, Mapping):
        return windows_from_runs(source, events, tmin, tmax, band)
    dataset = find_dataset(source) if isinstance(source, str) else source
    return windows_from_moabb(dataset, subjects, events, tmin, tmax, fmin, fmax)


def is_dataset(source: Any) -> bool:
    """Tell a moabb data set, or its name, from a recording."""
    return isinstance(source, str) or hasattr(source, "subject_list")


def find_dataset(name: str) -> "BaseDataset":
    """Build the moabb data set of this name, or name the nearest one.

    Parameters
    ----------
    name : str
        Name of a class in `moabb.datasets`, or ``"SimulatedMotorImagery"``.

    Returns
    -------
    dataset : moabb.datasets.base.BaseDataset
        The data set with its default arguments; nothing is downloaded yet.

    Raises
    ------
    ValueError
        If there is no such data set.
    """
    from moabb.datasets.utils import dataset_list

    from eeglab_models.signals.simulation import SimulatedMotorImagery

    known = {dataset.__name__: dataset for dataset in [*dataset_list, SimulatedMotorImagery]}
    if name not in known:
        raise ValueError(f"There is no data set named {name!r}. Did you mean {nearest(name, known)!r}?")
    return known[name]()


def windows_from_moabb(
    dataset: "BaseDataset",
    subjects: Sequence[int] | None,
    events: Sequence[str] | None,
    tmin: float,
    tmax: float | None,
    fmin: float | None,
    fmax: float | None,
) -> Windows:
    """Cut the windows of a moabb data set by the paradigm that it is made for."""
    from moabb import paradigms
    from moabb.datasets.base import BaseDataset

    if not isinstance(dataset, BaseDataset):
        raise TypeError(
            f"Windows come from a moabb data set, its name, mne Raw or Epochs, got {type(dataset).__name__}."
        )
    if dataset.paradigm not in ("imagery", "p300", "ssvep"):
        raise ValueError(
            f"{dataset.code} is a data set of the paradigm {dataset.paradigm!r}; imagery, p300 and ssvep are "
            "understood. Load it with moabb and pass the mne Epochs."
        )
    unknown = sorted(set(subjects or []) - set(dataset.subject_list))
    if unknown:
        raise ValueError(f"{dataset.code} has no subject {unknown}; it has {describe(dataset.subject_list)}.")
    if events is None:
        events = [event for event in dataset.event_id if event != "rest"]
    check_events(events, dataset.event_id, dataset.code)
    options = {"tmin": tmin, "tmax": tmax, "fmin": fmin, "fmax": fmax}
    if dataset.paradigm == "p300":
        paradigm = paradigms.P300(**options)
    else:
        kind = paradigms.MotorImagery if dataset.paradigm == "imagery" else paradigms.SSVEP
        paradigm = kind(n_classes=len(events), events=list(events), **options)
    with warnings.catch_warnings(), mne.use_log_level("error"):
        # moabb sets montages by a name that mne is about to retire; the positions are the same.
        warnings.filterwarnings("ignore", message=".*standard_1005.*")
        epochs, labels, metadata = paradigm.get_data(dataset, subjects=subjects, return_epochs=True)
    # Some paradigms of moabb give every event, whichever are asked for.
    kept = np.flatnonzero(np.isin(labels, events))
    report = Report().add("filter", describe_band(fmin, fmax) + ", on the continuous recordings.")
    windows = windows_from_epochs(epochs[kept], None, epochs.tmin, epochs.tmax, report)
    metadata = metadata.iloc[kept].reset_index(drop=True)
    return replace(windows, labels=np.asarray(labels, dtype=str)[kept], metadata=metadata)


def cut_raw(
    raw: mne.io.BaseRaw,
    events: Sequence[str] | None,
    tmin: float,
    tmax: float | None,
    fmin: float | None,
    fmax: float | None,
    notch: float | None,
) -> tuple[mne.Epochs, Report]:
    """Filter a continuous recording and cut it at its annotations, or into consecutive windows."""
    names = sorted({name for name in raw.annotations.description if not name.upper().startswith("BAD")})
    if events is not None:
        check_events(events, names, "the recording")
        names = [name for name in names if name in events]
    if tmax is None:
        durations = [
            a["duration"] for a in raw.annotations if a["description"] in names and a["duration"] > 0
        ]
        if not durations:
            raise ValueError("The length of a window is unknown: no annotation has a duration. Pass tmax=.")
        tmax = tmin + min(durations)
    sfreq = raw.info["sfreq"]
    # There is nothing above half the sampling frequency that could be removed.
    fmax = None if fmax is not None and fmax >= sfreq / 2 else fmax
    raw, report = pick_eeg(raw.copy(), Report())
    raw = raw.load_data(verbose="error").filter(fmin, fmax, verbose="error")
    report = report.add("filter", describe_band(fmin, fmax) + ", on the continuous recording.")
    if notch is not None:
        raw.notch_filter(np.arange(notch, sfreq / 2, notch), verbose="error")
        report = report.add("filter", f"Notch at {notch:g} Hz and its multiples.")
    if names:
        found, event_id = mne.events_from_annotations(
            raw, {name: code for code, name in enumerate(names, start=1)}, verbose="error"
        )
        report = report.add("windows", f"{tmax - tmin:g} s from {tmin:g} s after {', '.join(names)}.")
    else:
        found = mne.make_fixed_length_events(raw, start=tmin, duration=tmax - tmin)
        report = report.add("windows", f"Consecutive, {tmax - tmin:g} s, from {tmin:g} s on.")
        event_id, tmin, tmax = {"window": 1}, 0.0, tmax - tmin
    end = tmax - 1 / sfreq
    epochs = mne.Epochs(raw, found, event_id, tmin, end, baseline=None, preload=True, verbose="error")
    lost = len(epochs.drop_log) - len(epochs)
    if lost:
        report = report.add("windows", f"{lost} left out: marked bad, or beyond the end.")
    return epochs, report


def describe_band(fmin: float | None, fmax: float | None) -> str:
    """Say which band a filter passed."""
    if fmin is None and fmax is None:
        return "None"
    return f"{fmin or 0:g} to {fmax:g} Hz" if fmax else f"From {fmin:g} Hz on"


def windows_from_epochs(
    epochs: mne.BaseEpochs,
    events: Sequence[str] | None,
    tmin: float | None,
    tmax: float | None,
    report: Report | None = None,
) -> Windows:
    """Take the EEG channels of epochs, in microvolts and without the sample at the end of the interval."""
    if events is not None:
        check_events(events, epochs.event_id, "the epochs")
        epochs = epochs[list(events)]
    if not len(epochs):
        raise ValueError(
            "No window is left. Check events, tmin and tmax, and which annotations are marked bad."
        )
    report = report or Report().add("filter", "None: windows that are cut already are too short for it.")
    epochs, report = pick_eeg(epochs.copy().load_data(), report)
    sfreq = epochs.info["sfreq"]
    start = 0 if tmin is None else int(np.searchsorted(epochs.times, tmin - 0.5 / sfreq))
    stop = len(epochs.times) if tmax is None else start + round((tmax - tmin) * sfreq)
    if not start < stop <= len(epochs.times):
        raise ValueError(
            f"The epochs reach from {epochs.tmin:g} s to {epochs.tmax:g} s, which does not hold the window "
            f"from {tmin:g} s to {epochs.tmax if tmax is None else tmax:g} s. Change tmin and tmax."
        )
    data = epochs.get_data(units={"eeg": "uV"}, verbose="error")[..., start:stop]
    names = {code: name for name, code in epochs.event_id.items()}
    labels = np.array([names[code] for code in epochs.events[:, 2]], dtype=str)
    metadata = None if epochs.metadata is None else epochs.metadata.reset_index(drop=True)
    return Windows(data.astype(np.float32), epochs.info, labels, metadata, report=report)


def pick_eeg(
    recording: mne.io.BaseRaw | mne.BaseEpochs, report: Report
) -> tuple[mne.io.BaseRaw | mne.BaseEpochs, Report]:
    """Keep good channels that are EEG by type and by name; report the others, once."""
    kinds = dict(zip(recording.ch_names, recording.get_channel_types(), strict=True))
    left_out = {name: kind for name, kind in kinds.items() if kind != "eeg"}
    left_out |= {name: "not EEG by its name" for name in kinds if kinds[name] == "eeg" and not is_eeg(name)}
    left_out |= {name: "marked bad" for name in recording.info["bads"] if name not in left_out}
    kept = [name for name in kinds if name not in left_out]
    if not kept:
        raise ValueError(
            f"The recording has no EEG channel; it has {', '.join(kinds)}. Set the types of its channels "
            "with raw.set_channel_types."
        )
    finding = f"{len(kept)} of EEG."
    if left_out:
        finding += " Left out: " + ", ".join(f"{name} ({why})" for name, why in left_out.items()) + "."
    recording = recording.pick(kept, verbose="error")
    return recording, report if report["channels"] else report.add("channels", finding)


def epochs_from_array(data: np.ndarray, info: mne.Info | None, unit: str | None) -> mne.EpochsArray:
    """Make mne's epochs of an array in a stated unit."""
    if info is None or unit not in UNITS:
        raise ValueError(
            f"An array needs its channels and its unit, got info={type(info).__name__} and unit={unit!r}. "
            "Pass an mne.Info as info= and one of V, mV and µV as unit=."
        )
    if data.ndim not in (2, 3) or data.shape[-2] != len(info["ch_names"]):
        raise ValueError(
            f"An array with these {len(info['ch_names'])} channels has the shape (n_windows, "
            f"{len(info['ch_names'])}, n_times), got {data.shape}. Reorder its axes or correct info."
        )
    data = np.asarray(data, dtype=np.float64).reshape(-1, *data.shape[-2:])
    return mne.EpochsArray(data * (UNITS[unit] * 1e-6), info, verbose="error")


def windows_from_result(
    data: np.ndarray | mne.BaseEpochs,
    labels: Shaped[np.ndarray, " n_windows"],
    metadata: pd.DataFrame | None,
    events: Sequence[str] | None,
    tmin: float,
    tmax: float | None,
    info: mne.Info | None,
    unit: str | None,
) -> Windows:
    """Take what a paradigm of moabb returned."""
    if isinstance(data, mne.BaseEpochs):
        windows = windows_from_epochs(data, None, tmin, tmax)
    else:
        windows = windows_from_epochs(epochs_from_array(data, info, unit), None, None, None)
    if len(labels) != len(windows):
        raise ValueError(f"Every window needs one label, got {len(labels)} for {len(windows)} windows.")
    metadata = None if metadata is None else metadata.reset_index(drop=True)
    windows = replace(windows, labels=np.asarray(labels, dtype=str), metadata=metadata)
    if events is None:
        return windows
    check_events(events, set(windows.labels), "the result")
    return windows[np.isin(windows.labels, events)]


def windows_from_evoked(evoked: mne.Evoked, tmin: float, tmax: float | None) -> Windows:
    """Take an average over trials as one window."""
    epochs = mne.EpochsArray(evoked.data[None], evoked.info, tmin=evoked.times[0], verbose="error")
    windows = windows_from_epochs(epochs, None, tmin, tmax)
    metadata = pd.DataFrame({"n_trials": [evoked.nave]})
    return replace(windows, labels=np.array([evoked.comment or "evoked"]), metadata=metadata)


def windows_from_runs(
    runs: Mapping[Any, Any],
    events: Sequence[str] | None,
    tmin: float,
    tmax: float | None,
    band: tuple[float | None, float | None, float | None],
) -> Windows:
    """Cut the raw recordings of a data set, by subject, session and run."""
    parts = []
    for subject, sessions in runs.items():
        for session, recordings in sessions.items():
            for run, raw in recordings.items():
                epochs, report = cut_raw(raw, events, tmin, tmax, *band)
                part = windows_from_epochs(epochs, None, 0.0, None, report)
                origin = {"subject": subject, "session": session, "run": run}
                parts.append(replace(part, metadata=pd.DataFrame([origin] * len(part))))
    return concatenate(parts)


def concatenate(parts: Sequence[Windows]) -> Windows:
    """Join windows of the same channels, rate and length."""
    if not parts:
        raise ValueError("There is no recording to take windows from, got an empty collection.")
    first = parts[0]
    shape = (first.ch_names, first.sfreq, first.data.shape[1:])
    for part in parts[1:]:
        if (part.ch_names, part.sfreq, part.data.shape[1:]) != shape:
            raise ValueError(
                "Recordings of one call need the same channels, rate and length, got "
                f"{first.data.shape[1:]} at {first.sfreq:g} Hz and {part.data.shape[1:]} at "
                f"{part.sfreq:g} Hz. Load them one by one."
            )
    metadata = [part.metadata for part in parts]
    return replace(
        first,
        data=np.concatenate([part.data for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        metadata=None if first.metadata is None else pd.concat(metadata, ignore_index=True),
    )


def check_events(events: Sequence[str], known: Collection[str], where: str) -> None:
    """Refuse events that do not occur, and name those that do."""
    unknown = sorted(set(events) - set(known))
    if unknown:
        raise ValueError(f"{where} has no event {', '.join(unknown)}; it has {', '.join(sorted(known))}.")


def describe(numbers: Sequence[int]) -> str:
    """Write a list of subjects shortly."""
    whole = list(numbers) == list(range(numbers[0], numbers[-1] + 1))
    return f"{numbers[0]} to {numbers[-1]}" if whole else ", ".join(map(str, numbers))
