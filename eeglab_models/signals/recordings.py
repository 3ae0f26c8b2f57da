"""From recordings to windows: moabb data sets by name, mne objects in memory.

Shapes use these names throughout:

    n_windows  windows, one per trial
    n_chans    EEG channels
    n_times    samples of a window
"""

import difflib
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import mne
import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped

if TYPE_CHECKING:
    from moabb.datasets.base import BaseDataset

__all__ = ["Windows", "load_windows"]


@dataclass(frozen=True)
class Windows:
    """EEG windows and everything needed to use them rightly.

    Attributes
    ----------
    data : numpy.ndarray, shape (n_windows, n_chans, n_times)
        EEG in `unit`, float32.
    info : mne.Info
        Channels with names and positions, and the sampling frequency in Hz.
    labels : numpy.ndarray of str, shape (n_windows,), or None
        What each window belongs to.
    metadata : pandas.DataFrame or None
        One row per window: subject, session and run, where known.
    unit : str
        Unit of `data`.
    """

    data: Float[np.ndarray, "n_windows n_chans n_times"]
    info: mne.Info
    labels: Shaped[np.ndarray, " n_windows"] | None = None
    metadata: pd.DataFrame | None = None
    unit: str = "µV"

    def __len__(self) -> int:
        """Count the windows."""
        return len(self.data)

    @property
    def sfreq(self) -> float:
        """Sampling frequency in Hz."""
        return self.info["sfreq"]

    @property
    def ch_names(self) -> list[str]:
        """Names of the channels, in the order of the data."""
        return self.info["ch_names"]

    @property
    def signal(self) -> dict[str, Any]:
        """Signal arguments that build a model for these windows: chs_info, n_times and sfreq."""
        return {"chs_info": self.info["chs"], "n_times": self.data.shape[-1], "sfreq": self.sfreq}


def load_windows(
    source: "str | BaseDataset | mne.io.BaseRaw | mne.BaseEpochs",
    subjects: Sequence[int] | None = None,
    *,
    events: Sequence[str] | None = None,
    tmin: float = 0.0,
    tmax: float | None = None,
    fmin: float | None = 0.3,
    fmax: float | None = 75.0,
) -> Windows:
    """Load windows of EEG with their labels, in microvolts.

    Parameters
    ----------
    source : str, moabb data set, mne.io.Raw or mne.Epochs
        A moabb data set or its name (``"BNCI2014_001"``, ``"PhysionetMI"``, or the simulated
        ``"SimulatedMotorImagery"``), or a recording in memory.
    subjects : sequence of int or None
        Subjects of a data set; None means all of them.
    events : sequence of str or None
        Names of the events to keep; None means all but rest.
    tmin, tmax : float
        Window in seconds after the event. `tmax` None means the interval of the data set, the duration of
        the annotations of a raw recording, or the end of the epochs. The sample at `tmax` is left out, so
        a window of 4 s at 250 Hz has 1000 samples. A raw recording without annotations is cut into
        consecutive windows of this length.
    fmin, fmax : float or None
        Pass band in Hz, applied to the continuous recording; None leaves that side open. Epochs are not
        filtered.

    Returns
    -------
    windows : Windows
        EEG channels only, float32, in microvolts.

    Raises
    ------
    ValueError
        If the name, a subject or an event is unknown, or no window is left.
    TypeError
        If `source` is none of the above.
    """
    if isinstance(source, mne.io.BaseRaw | mne.BaseEpochs):
        if subjects is not None:
            raise ValueError("subjects belong to a data set, got an mne recording. Leave subjects out.")
        if isinstance(source, mne.io.BaseRaw):
            source = cut_raw(source, events, tmin, tmax, fmin, fmax)
            tmin, tmax = 0.0, None
        return windows_from_epochs(source, events, tmin, tmax)
    dataset = find_dataset(source) if isinstance(source, str) else source
    return windows_from_moabb(dataset, subjects, events, tmin, tmax, fmin, fmax)


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
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
        raise ValueError(f"There is no data set named {name!r}. Did you mean {near!r}?")
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
    windows = windows_from_epochs(epochs[kept], None, epochs.tmin, epochs.tmax)
    metadata = metadata.iloc[kept].reset_index(drop=True)
    return replace(windows, labels=np.asarray(labels, dtype=str)[kept], metadata=metadata)


def cut_raw(
    raw: mne.io.BaseRaw,
    events: Sequence[str] | None,
    tmin: float,
    tmax: float | None,
    fmin: float | None,
    fmax: float | None,
) -> mne.Epochs:
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
    raw = raw.copy().load_data(verbose="error").filter(fmin, fmax, picks="eeg", verbose="error")
    if names:
        found, event_id = mne.events_from_annotations(
            raw, {name: code for code, name in enumerate(names, start=1)}, verbose="error"
        )
    else:
        found = mne.make_fixed_length_events(raw, start=tmin, duration=tmax - tmin)
        event_id, tmin, tmax = {"window": 1}, 0.0, tmax - tmin
    end = tmax - 1 / raw.info["sfreq"]
    return mne.Epochs(
        raw, found, event_id, tmin, end, picks="eeg", baseline=None, preload=True, verbose="error"
    )


def windows_from_epochs(
    epochs: mne.BaseEpochs, events: Sequence[str] | None, tmin: float, tmax: float | None
) -> Windows:
    """Take the EEG channels of epochs, in microvolts and without the sample at the end of the interval."""
    if events is not None:
        check_events(events, epochs.event_id, "the epochs")
        epochs = epochs[list(events)]
    epochs = epochs.copy().load_data().pick("eeg")
    if not len(epochs):
        raise ValueError(
            "No window is left. Check events, tmin and tmax, and which annotations are marked bad."
        )
    sfreq = epochs.info["sfreq"]
    start = int(np.searchsorted(epochs.times, tmin - 0.5 / sfreq))
    stop = len(epochs.times) if tmax is None else start + round((tmax - tmin) * sfreq)
    if not start < stop <= len(epochs.times):
        raise ValueError(
            f"The epochs reach from {epochs.tmin:g} s to {epochs.tmax:g} s, which does not hold the window "
            f"from {tmin:g} s to {epochs.tmax if tmax is None else tmax:g} s. Change tmin and tmax."
        )
    data = epochs.get_data(units={"eeg": "uV"}, verbose="error")[..., start:stop]
    names = {code: name for name, code in epochs.event_id.items()}
    labels = np.array([names[code] for code in epochs.events[:, 2]], dtype=str)
    return Windows(data.astype(np.float32), epochs.info, labels, epochs.metadata)


def check_events(events: Sequence[str], known: Collection[str], where: str) -> None:
    """Refuse events that do not occur, and name those that do."""
    unknown = sorted(set(events) - set(known))
    if unknown:
        raise ValueError(f"{where} has no event {', '.join(unknown)}; it has {', '.join(sorted(known))}.")


def describe(numbers: Sequence[int]) -> str:
    """Write a list of subjects shortly."""
    whole = list(numbers) == list(range(numbers[0], numbers[-1] + 1))
    return f"{numbers[0]} to {numbers[-1]}" if whole else ", ".join(map(str, numbers))
