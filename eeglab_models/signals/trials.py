"""Windows that are cut already: epochs, averages, arrays, and what a paradigm of moabb returned."""

from dataclasses import replace
from typing import Any

import mne
import numpy as np
import pandas as pd
from jaxtyping import Shaped

from eeglab_models.signals.plan import (
    NoWindowError,
    Plan,
    check_events,
    choose_channels,
    describe_band,
    events_error,
    refuse,
)
from eeglab_models.signals.quality import describe_bad, judge
from eeglab_models.signals.sources import Recording, reading
from eeglab_models.signals.windows import Windows, concatenate

# Factors to microvolts.
UNITS = {"V": 1e6, "mV": 1e3, "µV": 1.0, "uV": 1.0}


def cut_epochs(epochs: mne.BaseEpochs, plan: Plan, recording: Recording | None = None) -> Windows:
    """Take the EEG channels of epochs, in microvolts and without the sample at the end of the interval."""
    refuse(
        "cannot be applied to what is cut already; filter the continuous recording",
        **{
            name: None if getattr(plan, name) == "auto" else getattr(plan, name)
            for name in ("fmin", "fmax", "notch")
        },
    )
    with reading("epochs" if recording is None else recording.name):
        epochs = epochs.copy().load_data()
    if plan.events:
        known = [name for name in plan._called if name in epochs.event_id]
        if not known:
            raise NoWindowError(events_error(plan._called, set(epochs.event_id), "the epochs"))
        epochs = epochs[known]
    if not len(epochs):
        raise NoWindowError("No window is left. Check events, and which epochs were dropped.")
    kept, report = choose_channels(epochs, plan)
    epochs = epochs.pick(kept)
    sfreq, n_times = epochs.info["sfreq"], len(epochs.times)
    tmin = epochs.tmin if plan.tmax is None and plan.tmin == 0 < epochs.tmin else plan.tmin
    start = int(np.searchsorted(epochs.times, tmin - 0.5 / sfreq))
    # Epochs of mne hold both ends of their interval.
    both_ends = is_round((n_times - 1) / sfreq) and not is_round(n_times / sfreq)
    stop = n_times - both_ends if plan.tmax is None else start + round((plan.tmax - tmin) * sfreq)
    if not start < stop <= n_times:
        raise ValueError(
            f"The epochs reach from {epochs.tmin:g} s to {epochs.tmax:g} s, which does not hold the window "
            f"from {tmin:g} s to {epochs.tmax if plan.tmax is None else plan.tmax:g} s. Change tmin and tmax."
        )
    names = {code: name for name, code in epochs.event_id.items()}
    labels = np.array([plan._called.get(names[code], names[code]) for code in epochs.events[:, 2]], dtype=str)
    low, high = epochs.info["highpass"], epochs.info["lowpass"]
    band = (low or None, high if high < sfreq / 2 else None)
    finding = "None: windows that are cut already are too short for it."
    if band != (None, None):
        finding += f" They were filtered before: {describe_band(*band)}."
    report = report.add("filter", finding).add("windows", f"{(stop - start) / sfreq:g} s from {tmin:g} s on.")
    if both_ends and plan.tmax is None:
        report = report.add("windows", "The sample at the end of the interval left out.")
    data = (epochs.get_data()[..., start:stop] * 1e6).astype(np.float32)
    metadata = None if epochs.metadata is None else epochs.metadata.reset_index(drop=True)
    bad = judge(data, plan.ceiling)
    if bad.any():
        report = report.add("bad windows", describe_bad(bad, kept))
    band = None if band == (None, None) else band
    return Windows(data, epochs.info, labels, metadata, report=report, band=band, bad=bad)


def is_round(seconds: float) -> bool:
    """Tell whether a duration is a whole number of twentieths of a second."""
    return abs(seconds * 20 - round(seconds * 20)) < 1e-6


def is_cut(source: Any) -> bool:
    """Tell arrays, averages and what a paradigm of moabb returned."""
    averages = isinstance(source, list) and source and all(isinstance(item, mne.Evoked) for item in source)
    result = (
        isinstance(source, tuple) and len(source) == 3 and isinstance(source[0], np.ndarray | mne.BaseEpochs)
    )
    return bool(isinstance(source, np.ndarray | mne.Evoked) or averages or result)


def windows_from_arrays(source: Any, plan: Plan, info: mne.Info | None, unit: str | None) -> Windows:
    """Take windows that have no continuous recording behind them."""
    if isinstance(source, mne.Evoked):
        source = [source]
    if isinstance(source, list):
        return concatenate([windows_from_evoked(evoked, plan) for evoked in source])
    if isinstance(source, tuple):
        return windows_from_result(*source, plan, info, unit)
    return cut_epochs(epochs_from_array(source, info, unit), replace(plan, tmin=0.0, tmax=None))


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
    return mne.EpochsArray(data * (UNITS[unit] * 1e-6), info)


def windows_from_result(
    data: np.ndarray | mne.BaseEpochs,
    labels: Any,
    metadata: pd.DataFrame | None,
    plan: Plan,
    info: mne.Info | None,
    unit: str | None,
) -> Windows:
    """Take what a paradigm of moabb returned."""
    if isinstance(data, mne.BaseEpochs):
        windows = cut_epochs(data, replace(plan, events=None))
    else:
        windows = cut_epochs(
            epochs_from_array(data, info, unit), replace(plan, events=None, tmin=0.0, tmax=None)
        )
    metadata = None if metadata is None else metadata.reset_index(drop=True)
    windows = replace(windows, labels=read_labels(labels, len(windows)), metadata=metadata)
    if plan.events is None:
        return windows
    names = windows.labels.astype(str)
    check_events(plan.events, set(names), "the result")
    return windows[np.isin(names, list(plan.events))]


def windows_from_evoked(evoked: mne.Evoked, plan: Plan) -> Windows:
    """Take an average over trials as one window."""
    epochs = mne.EpochsArray(evoked.data[None], evoked.info, tmin=evoked.times[0])
    windows = cut_epochs(epochs, plan)
    metadata = pd.DataFrame({"n_trials": [evoked.nave]})
    return replace(windows, labels=np.array([evoked.comment or "evoked"]), metadata=metadata)


def read_labels(labels: Any, n_windows: int) -> Shaped[np.ndarray, " n_windows"]:
    """Take labels of any honest kind: text, numbers, truth values, categories; one for each window."""
    values = np.asarray(labels)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise ValueError(
            f"Labels are one value a window, got an array of shape {values.shape}. Of one-hot rows take "
            "labels.argmax(axis=1)."
        )
    if len(values) != n_windows:
        raise ValueError(f"Every window needs one label, got {len(values)} for {n_windows} windows.")
    missing = pd.isna(values)
    if missing.any():
        raise ValueError(
            f"{missing.sum()} windows have no label, the first is {missing.argmax()}. Leave them out."
        )
    return values if values.dtype.kind in "biuf" else values.astype(str)
