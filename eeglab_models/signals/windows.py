"""Windows of EEG, and what was done to them on the way.

Shapes use these names throughout:

    n_windows  windows, one per trial
    n_chans    EEG channels
    n_times    samples of a window
"""

import html
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import mne
import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped

from eeglab_models.models.base import EEGModel
from eeglab_models.signals.electrodes import spell_channel

__all__ = ["Report", "Stamp", "Windows"]


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
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(subject)}</th>"
            f"<td style='text-align:left'>{html.escape(finding)}</td></tr>"
            for subject, finding in self.steps
        )
        return f"<table>{rows}</table>"


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
    """

    sfreq: float
    unit: str
    reference: str
    ch_names: tuple[str, ...]
    n_times: int


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
    report : Report
        What was done to the recording.
    stamp : Stamp or None
        What `prepare` made of the windows; None before.
    """

    data: Float[np.ndarray, "n_windows n_chans n_times"]
    info: mne.Info
    labels: Shaped[np.ndarray, " n_windows"] | None = None
    metadata: pd.DataFrame | None = None
    unit: str = "µV"
    report: Report = Report()
    stamp: Stamp | None = None

    def __len__(self) -> int:
        """Count the windows."""
        return len(self.data)

    def __getitem__(self, index: slice | Sequence[int] | Shaped[np.ndarray, " n_chosen"]) -> "Windows":
        """Choose windows by a slice, by their numbers or by a mask, with all that belongs to them."""
        numbers = np.arange(len(self))[index]
        return replace(
            self,
            data=self.data[numbers],
            labels=None if self.labels is None else self.labels[numbers],
            metadata=None if self.metadata is None else self.metadata.iloc[numbers].reset_index(drop=True),
        )

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
