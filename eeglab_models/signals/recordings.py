"""One way in for every recording: each becomes windows by one plan, in the order of an EEG laboratory.

Ways of a sample::

    file, folder, BIDS, data set, Raw    channels > raw signal judged > filter, notch > cut with surroundings
    Epochs, Evoked, array, (X, y, meta)  channels > the window taken
    both                                 Windows in microvolts
    prepare                              bad windows > reference > pick > resample > scale > result judged

Resampling comes last because it then serves every source, and loses nothing: a window carries the signal
around it, so it is resampled as if the recording had been, on a grid that starts at the event.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd

from eeglab_models.signals.continuous import cut_raw
from eeglab_models.signals.plan import Edge, Events, NoWindowError, Plan, check_events, refuse
from eeglab_models.signals.quality import describe_amplitude
from eeglab_models.signals.sources import (
    Recording,
    choose_subjects,
    find_dataset,
    find_recordings,
    is_path,
    recordings_of_dataset,
)
from eeglab_models.signals.trials import cut_epochs, is_cut, windows_from_arrays
from eeglab_models.signals.windows import Windows, concatenate

__all__ = ["load_windows"]


def load_windows(
    source: Any,
    subjects: Any = None,
    *,
    events: Events = None,
    tmin: float = 0.0,
    tmax: float | None = None,
    fmin: Edge = "auto",
    fmax: Edge = "auto",
    notch: Edge = "auto",
    channels: Sequence[str] | None = None,
    annotations: Mapping[str, str] | None = None,
    table: str | Path | pd.DataFrame | None = None,
    ceiling: float | None = 5000.0,
    info: mne.Info | None = None,
    unit: str | None = None,
) -> Windows:
    """Load windows of EEG with their labels, in microvolts.

    Channels that are not electrodes of the scalp, by type, name and position, and those marked bad, are left
    out and reported. What mne says meanwhile is in the report.

    Parameters
    ----------
    source : recording
        One of

        - a file that mne reads (EDF, BDF, GDF, BrainVision, EEGLAB, FIF, CNT), continuous or epochs; a
          folder of such files; the root of a BIDS data set;
        - a moabb data set or its name (``"BNCI2014_001"``, ``"PhysionetMI"``; with the repository come
          ``"RealMotorImagery"``, ``"RealEyes"``, ``"RealArithmetic"`` and ``"SimulatedMotorImagery"``);
        - what moabb returns: ``(X, labels, metadata)`` of a paradigm, X being mne Epochs or an array, or the
          raw recordings of a data set, ``{subject: {session: {run: raw}}}``;
        - mne Raw, Epochs, Evoked or a list of Evoked;
        - a list of files, folders and recordings, or a dictionary of them by subject;
        - an array, shape (n_windows, n_chans, n_times) or, for one window, (n_chans, n_times).
    subjects : subject, sequence of subjects or None
        Subjects of a data set, or of a folder or dictionary that tells them; None means all.
    events : str, int, sequence of these, mapping or None
        Names of the events to keep, or numbers of a trigger channel; ``{"left": 769}`` names those found as
        769. None means all, of a data set all but rest. An empty list cuts a continuous recording into
        consecutive windows, whatever its annotations.
    tmin, tmax : float
        Window in seconds after the event. `tmax` None means the interval of the data set, the duration of
        the annotations of a continuous recording, or the end of the epochs. The sample at `tmax` is left
        out, so a window of 4 s at 250 Hz has 1000 samples. A recording without events is cut into
        consecutive windows of this length. Arrays are taken whole.
    fmin, fmax : float, None or "auto"
        Pass band in Hz, applied to the continuous recording; None leaves that side open. ``"auto"`` means
        0.3 and 75 Hz, and nothing for what is cut already: epochs and arrays cannot be filtered.
    notch : float, None or "auto"
        Mains frequency in Hz to remove, with its multiples below `fmax`. ``"auto"`` means that which a
        continuous recording states.
    channels : sequence of str or None
        Channels to take, by the recording's names, whatever they are; None means electrodes of the scalp.
    annotations : mapping of str to str or None
        What annotations mean, by description, where `signals.annotations.MEANINGS` guesses wrong:
        ``"event"``, ``"bad"``, ``"break"`` or ``"neither"``.
    table : str, pathlib.Path, pandas.DataFrame or None
        What recordings are labelled with (CSV or TSV): the columns ``file`` and ``label``, and where labels
        are events ``onset`` and ``duration`` in seconds. ``subject`` and ``session`` tell whose they are;
        further columns go to the metadata.
    ceiling : float or None
        Microvolts from a channel's median beyond which a sample of the raw signal is no EEG; None for
        recordings in another unit.
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
    FileNotFoundError
        If there is no such file.
    ValueError
        If the name, a subject, an event or a channel is unknown, if something is asked for that cannot be
        done to this source, if an array comes without `info` or `unit`, or if no window is left.
    TypeError
        If `source` is none of the above.
    """
    plan = Plan(channels, ceiling, fmin, fmax, notch, events, annotations, tmin, tmax)
    if is_cut(source):
        refuse("belong to recordings in files", subjects=subjects, table=table)
        with listening() as said:
            windows = windows_from_arrays(source, plan, info, unit)
        return tell_origin(windows, Recording("array", windows), said)
    refuse("belong to arrays", info=info, unit=unit)
    return concatenate(list(load_parts(source, subjects, plan, table)))


def load_parts(source: Any, subjects: Any, plan: Plan, table: Any = None) -> Iterator[Windows]:
    """Bring recordings to windows one by one, so that only one of them is in memory."""
    recordings, plan = list_recordings(source, subjects, plan, table)
    recordings, met, problems = iter(recordings), set(), []
    while True:
        with listening() as said:
            recording = next(recordings, None)
        if recording is None:
            break
        label = recording.facts.get("label")
        if label is not None and plan.events and str(label) not in plan._called:
            continue
        try:
            parts = [load_recording(recording, plan, said)]
        except NoWindowError as error:
            # Another recording may have what this one lacks.
            problems.append(error)
            continue
        met |= set(map(str, parts[0].labels))
        # Nothing here may hold on to the windows while others use them.
        yield parts.pop()
    if not met:
        raise problems[0] if problems else ValueError("There is no recording to take windows from.")
    check_events(plan._called.values(), met, "no recording holds what was asked for:")


def load_recording(
    recording: Recording, plan: Plan, said: Sequence[str] = (), timed: bool = False
) -> Windows:
    """Bring one recording to windows, perhaps with their onsets; what was said before joins the report."""
    with listening() as own:
        signal = recording.open()
        cut = cut_raw if isinstance(signal, mne.io.BaseRaw) else cut_epochs
        part = cut(signal, plan, recording)
    if cut is cut_raw and not timed:
        part = replace(part, metadata=None)
    return tell_origin(part, recording, [*said, *own])


def list_recordings(source: Any, subjects: Any, plan: Plan, table: Any) -> tuple[Iterable[Recording], Plan]:
    """Find the recordings of a source, of all subjects or of some."""
    if isinstance(source, str) and not is_path(source):
        source = find_dataset(source)
    if hasattr(source, "subject_list"):
        refuse("belongs to files", table=table)
        if plan.events is None:
            plan = replace(plan, events=[event for event in source.event_id if event != "rest"])
        check_events(plan._called, source.event_id, source.code)
        subjects = choose_subjects(subjects, source.subject_list, source.code)
        return recordings_of_dataset(source, subjects), plan
    recordings = find_recordings(source, table=table)
    if subjects is None:
        return recordings, plan
    known = list(dict.fromkeys(item.subject for item in recordings if item.subject is not None))
    if not known:
        raise ValueError(
            f"subjects belong to sources that tell them, got {type(source).__name__}. Leave subjects out."
        )
    chosen = choose_subjects(subjects, known, "The source")
    return [item for item in recordings if item.subject in chosen], plan


def tell_origin(windows: Windows, recording: Recording, said: Sequence[str]) -> Windows:
    """Add whose the recording is, what a table says of it, and what mne said meanwhile."""
    facts = {name: value for name, value in recording.origin.items() if value is not None}
    facts |= recording.facts
    label = facts.pop("label", None)
    if label is not None:
        windows = replace(windows, labels=np.array([label] * len(windows)))
    if facts:
        own = pd.DataFrame([facts] * len(windows))
        known = [] if windows.metadata is None else [windows.metadata.drop(columns=own, errors="ignore")]
        windows = replace(windows, metadata=pd.concat([own, *known], axis=1))
    report = windows.report.add("amplitude", describe_amplitude(windows))
    for sentence in dict.fromkeys(said):
        report = report.add("mne", sentence)
    return replace(windows, report=report)


@contextmanager
def listening() -> Iterator[list[str]]:
    """Collect what mne and moabb warn of, instead of printing or losing it."""
    said: list[str] = []
    with warnings.catch_warnings(record=True) as caught, mne.use_log_level("warning"):
        warnings.simplefilter("always")
        try:
            yield said
        finally:
            # What developers tell each other about coming releases is no news of the recording.
            news = [
                item for item in caught if not issubclass(item.category, DeprecationWarning | FutureWarning)
            ]
            said += [" ".join(str(item.message).split()) for item in news]
