"""Windows of EEG, and what was done to them on the way.

Shapes use these names throughout:

    n_windows  windows, one per trial
    n_chans    EEG channels
    n_times    samples of a window
"""

import sys
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import Any

import mne
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Shaped

from eeglab_models.models.base import EEGModel
from eeglab_models.signals.electrodes import spell_channel
from eeglab_models.text import to_html

__all__ = ["Report", "Stamp", "Windows"]

# Pass band in Hz, None on an open side.
Band = tuple[float | None, float | None]


@dataclass(frozen=True)
class Report:
    """What was done to a recording, step by step; prints as a table and renders as one in a notebook.

    Attributes
    ----------
    steps : tuple of (str, str)
        What a step is about, and what was done or found.
    """

    steps: tuple[tuple[str, str], ...] = ()

    def add(self, subject: str, finding: str) -> "Report":
        """Return the report with one more step.

        Parameters
        ----------
        subject : str
            What the step is about.
        finding : str
            What was found or done.

        Returns
        -------
        report : Report
            A new one; this one stays as it is.
        """
        return Report((*self.steps, (subject, finding)))

    def __getitem__(self, subject: str) -> str:
        """Return what the steps about a subject say, an empty string if there are none."""
        return " ".join(finding for about, finding in self.steps if about == subject)

    def __str__(self) -> str:
        """Print one step after the other, in 100 columns."""
        lines = (
            textwrap.fill(finding, 100, initial_indent=f"{subject:<13}", subsequent_indent=13 * " ")
            for subject, finding in self.steps
        )
        text = "\n".join(lines)
        try:
            text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
        except UnicodeEncodeError:
            # Consoles of other code pages know no micro sign.
            text = text.replace("µ", "u").encode("ascii", "replace").decode()
        return text

    def _repr_html_(self) -> str:
        return to_html(self.steps)


@dataclass(frozen=True)
class Stamp:
    """What windows were prepared to be: facts that a tensor cannot tell.

    Attributes
    ----------
    sfreq : float
        Sampling frequency in Hz.
    unit : str
        Name of the unit.
    reference : str
        ``"average"`` or ``"any"``.
    ch_names : tuple of str
        Channels in their order.
    n_times : int
        Samples of a window.
    band : tuple of (float or None, float or None), or None
        Pass band in Hz, None on an open side; None if nobody knows.
    notch : float or None
        Mains frequency in Hz that was removed; None if none was.
    """

    sfreq: float
    unit: str
    reference: str
    ch_names: tuple[str, ...]
    n_times: int
    # Models read windows of any band; it is told, not compared.
    band: Band | None = field(default=None, compare=False)
    notch: float | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Windows:
    """EEG windows and everything needed to use them rightly.

    The samples are float32 in the unit that a model reads, because mne's epochs, float64 in volts, take
    twice the memory and hide factors of a million; `epochs` gives them to all that mne can do.

    Attributes
    ----------
    data : numpy.ndarray, shape (n_windows, n_chans, n_times)
        EEG in `unit`, float32.
    info : mne.Info
        Channels with names and positions, and the sampling frequency in Hz.
    labels : numpy.ndarray, shape (n_windows,), or None
        What each window belongs to: text for classes, numbers where the labels were numbers.
    metadata : pandas.DataFrame or None
        One row per window: subject, session and run, where known.
    unit : str
        Unit of `data`.
    report : Report
        What was done to the recording.
    stamp : Stamp or None
        What `prepare` made of the windows; None before.
    band : tuple of (float or None, float or None), or None
        Pass band in Hz, None on an open side; None if nobody knows.
    notch : float or None
        Mains frequency in Hz that was removed.
    bad : numpy.ndarray of bool, shape (n_windows, n_chans), or None
        True where the raw signal of a channel was flat, stuck, no number or beyond the ceiling within the
        window; None if it was not looked at.
    wide : numpy.ndarray, shape (n_windows, n_chans, n_wide), or None
        The windows with the signal around them, as many samples on both sides, of which `data` is the
        middle: resampling needs it at the edges.

    Raises
    ------
    ValueError
        If labels, metadata or `bad` are not one for each window.
    """

    data: Float[np.ndarray, "n_windows n_chans n_times"]
    info: mne.Info
    labels: Shaped[np.ndarray, " n_windows"] | None = None
    metadata: pd.DataFrame | None = None
    unit: str = "µV"
    report: Report = Report()
    stamp: Stamp | None = None
    band: Band | None = None
    notch: float | None = None
    bad: Bool[np.ndarray, "n_windows n_chans"] | None = None
    wide: Float[np.ndarray, "n_windows n_chans n_wide"] | None = None

    def __post_init__(self) -> None:
        """Refuse parts that do not belong together."""
        for name in ("labels", "metadata", "bad"):
            part = getattr(self, name)
            if part is not None and len(part) != len(self.data):
                raise ValueError(f"{len(self.data)} windows need as many {name}, got {len(part)}.")

    def __len__(self) -> int:
        """Count the windows."""
        return len(self.data)

    def __getitem__(self, index: Any) -> "Windows":
        """Choose windows by number, slice, numbers or a mask, with all that belongs to them."""
        if isinstance(index, Integral):
            # Beyond the last window a loop has to end.
            index = [range(len(self))[index]]
        numbers = np.arange(len(self))[index]
        if numbers.ndim != 1:
            raise IndexError("Windows are chosen by a number, a slice, a list of numbers, or a mask.")
        n_around = self.n_around
        wide = self.wide[numbers] if n_around else None
        return replace(
            self,
            data=wide[..., n_around:-n_around] if n_around else self.data[numbers],
            wide=wide,
            labels=None if self.labels is None else self.labels[numbers],
            bad=None if self.bad is None else self.bad[numbers],
            metadata=None if self.metadata is None else self.metadata.iloc[numbers].reset_index(drop=True),
        )

    @property
    def n_around(self) -> int:
        """Samples of the signal around each window that are known, on either side."""
        # Samples that somebody replaced have other surroundings.
        known = self.wide is not None and np.may_share_memory(self.data, self.wide)
        return (self.wide.shape[-1] - self.data.shape[-1]) // 2 if known else 0

    @property
    def epochs(self) -> mne.EpochsArray:
        """The windows as mne's epochs in volts, with labels as events and metadata: to plot, drop and save.

        Raises
        ------
        ValueError
            If the unit is not microvolts, as after `prepare`.
        """
        if self.unit != "µV":
            raise ValueError(f"mne's epochs come from windows in microvolts, got {self.unit}.")
        names, codes = [np.array(["window"]), np.zeros(len(self), int)]
        if self.labels is not None:
            names, codes = np.unique(self.labels, return_inverse=True)
        events = np.column_stack([np.arange(len(self)), np.zeros(len(self), int), codes + 1])
        event_id = {str(name): code for code, name in enumerate(names, start=1)}
        epochs = mne.EpochsArray(self.data * 1e-6, self.info, events, 0.0, event_id, verbose="warning")
        epochs.metadata = self.metadata
        return epochs

    @property
    def sfreq(self) -> float:
        """Sampling frequency in Hz."""
        return self.info["sfreq"]

    @property
    def ch_names(self) -> list[str]:
        """Names of the channels, in the order of the data."""
        return self.info["ch_names"]

    def signal_for(self, model_class: type[EEGModel]) -> dict[str, Any]:
        """State what a model's constructor has to know of these windows.

        Parameters
        ----------
        model_class : type of EEGModel
            The model to build, or to load with `from_pretrained`.

        Returns
        -------
        signal : dict
            `chs_info`, with names of the 10-10 system; of them only those that a model knows which tells
            channels apart by name. `input_window_seconds`, and `sfreq` in Hz: the rate of the model's
            contract, or that of the windows for a model that learns its own filters of one montage.
        """
        contract = model_class.contract
        names = [spell_channel(name) for name in self.ch_names]
        by_name = contract.channels_known_by == "name"
        return {
            "chs_info": [
                {**channel, "ch_name": name}
                for channel, name in zip(self.info["chs"], names, strict=True)
                if not by_name or name.upper() in contract.ch_names
            ],
            "input_window_seconds": self.data.shape[-1] / self.sfreq,
            "sfreq": self.sfreq if contract.channels_known_by == "projection" else contract.sfreq,
        }


def concatenate(parts: Sequence[Windows]) -> Windows:
    """Join windows of the same channels, rate, length, unit and history; what differs is named."""
    if not parts:
        raise ValueError("There is no recording to take windows from, got an empty collection.")
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    parts = [reorder(part, first.ch_names) for part in parts]
    for number, part in enumerate(parts[1:], start=2):
        facts = {
            "unit": lambda w: w.unit,
            "channels": lambda w: sorted(w.ch_names),
            "rate in Hz": lambda w: w.sfreq,
            "samples": lambda w: w.data.shape[2],
            "stamp": lambda w: w.stamp,
            "band in Hz": lambda w: w.band,
            "notch in Hz": lambda w: w.notch,
            "labels": lambda w: (
                "none" if w.labels is None else "numbers" if w.labels.dtype.kind in "iuf" else "text"
            ),
            "metadata": lambda w: w.metadata is not None,
        }
        for name, fact in facts.items():
            one, other = fact(first), fact(part)
            if one != other:
                if name == "channels":
                    one, other = [sorted(set(a) - set(b)) for a, b in ((one, other), (other, one))]
                raise ValueError(
                    f"Recordings of one call need the same {name}, got {one} in the first, {other} in number "
                    f"{number}. prepare(source, model) brings them to one form; or load them one by one."
                )
    n_around = min(part.n_around for part in parts)
    wide, data = None, None
    if n_around:
        cuts = [
            part.wide[..., part.n_around - n_around : part.wide.shape[-1] - part.n_around + n_around]
            for part in parts
        ]
        wide = np.concatenate(cuts)
        data = wide[..., n_around:-n_around]
    known = all(part.bad is not None for part in parts)
    return replace(
        first,
        data=np.concatenate([part.data for part in parts]) if data is None else data,
        wide=wide,
        labels=None if first.labels is None else np.concatenate([part.labels for part in parts]),
        metadata=None
        if first.metadata is None
        else pd.concat([part.metadata for part in parts], ignore_index=True),
        bad=np.concatenate([part.bad for part in parts]) if known else None,
        report=join_reports([part.report for part in parts]),
    )


def reorder(windows: Windows, ch_names: Sequence[str]) -> Windows:
    """Bring the same channels into another order."""
    if list(windows.ch_names) == list(ch_names) or sorted(windows.ch_names) != sorted(ch_names):
        return windows
    return take_channels(windows, ch_names)


def take_channels(windows: Windows, ch_names: Sequence[str]) -> Windows:
    """Take some channels, in this order."""
    order, n_around = [windows.ch_names.index(name) for name in ch_names], windows.n_around
    wide = windows.wide[:, order] if n_around else None
    return replace(
        windows,
        data=wide[..., n_around:-n_around] if n_around else windows.data[:, order],
        wide=wide,
        bad=None if windows.bad is None else windows.bad[:, order],
        info=mne.pick_info(windows.info, order),
    )


def join_reports(reports: Sequence[Report]) -> Report:
    """Tell what was done to all recordings once, and what was done to some with their number."""
    joined, n_all = Report(), len(reports)
    for subject in dict.fromkeys(subject for report in reports for subject, _ in report.steps):
        counts = Counter(report[subject] for report in reports if report[subject])
        for finding, n in counts.most_common(5):
            joined = joined.add(subject, finding if n == n_all else f"{n} of {n_all} recordings: {finding}")
        if len(counts) > 5:
            joined = joined.add(
                subject, f"{len(counts) - 5} further findings, each in one or a few recordings."
            )
    return joined
