"""Recordings of people that come with the repository, as data sets of moabb; nothing is downloaded."""

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import mne
from moabb.datasets.base import BaseDataset

from eeglab_models.configs import read_text
from eeglab_models.files import hash_file
from eeglab_models.models.checkpoints import VARIABLE
from eeglab_models.signals.electrodes import montage

__all__ = ["RealArithmetic", "RealEyes", "RealMotorImagery"]

# List of the files' hashes, as sha256sum writes it.
SUMS = "SHA256SUMS"


class ShippedRecordings(BaseDataset):
    """Files of `data/recordings`, each held against its hash when it is read."""

    people: ClassVar[tuple[int, ...]]
    # File of every run, for a subject.
    runs: ClassVar[Mapping[str, str]]
    labels: ClassVar[tuple[str, ...]]
    mains: ClassVar[float]
    paradigm_name: ClassVar[str]

    def __init__(self) -> None:
        super().__init__(
            subjects=list(self.people),
            sessions_per_subject=1,
            events={name: number for number, name in enumerate(self.labels, start=1)},
            code=type(self).__name__,
            interval=[0, 4],
            paradigm=self.paradigm_name,
        )

    def _get_single_subject_data(self, subject: int) -> dict[str, dict[str, mne.io.BaseRaw]]:
        """Return the runs of one person, as moabb asks for them."""
        paths = zip(self.runs, self.data_path(subject), strict=True)
        return {"0": {run: read_recording(Path(path), self.mains) for run, path in paths}}

    def data_path(
        self,
        subject: int,
        path: str | None = None,
        force_update: bool = False,
        update_path: bool | None = None,
        verbose: bool | str | int | None = None,
    ) -> list[str]:
        """Return the files of one person.

        Parameters
        ----------
        subject : int
            Person, by the number that the original data set gives.
        path, force_update, update_path, verbose : str, int, bool or None
            Have no effect.

        Returns
        -------
        paths : list of str
            One file a run.

        Raises
        ------
        ValueError
            If there is no such person.
        """
        if subject not in self.people:
            raise ValueError(f"{self.code} has the subjects {self.people}, got {subject}. Choose among them.")
        return [str(recordings_folder() / name.format(subject)) for name in self.runs.values()]


class RealMotorImagery(ShippedRecordings):
    """Seven people who imagine to open and close the left or the right fist, 45 trials each.

    36 channels at 160 Hz. The eyes follow the cue: below 4 Hz, left and right can be told from F8 - F7
    alone. Windows after the cue, a high-pass at 4 Hz and `regress_eyes` guard against that; `eye_control`
    measures what is left.

    References
    ----------
    Schalk et al. (2004), IEEE Transactions on Biomedical Engineering 51. Goldberger et al. (2000),
    Circulation 101. PhysioNet's EEG Motor Movement/Imagery Dataset, runs 4, 8 and 12, ODC-BY 1.0.
    """

    people = (1, 2, 3, 7, 9, 13, 15)
    runs: ClassVar = {str(run): f"S{{:03d}}R{number:02d}.edf" for run, number in enumerate((4, 8, 12))}
    labels = ("left_hand", "right_hand", "rest")
    mains = 60.0
    paradigm_name = "imagery"


class RealEyes(ShippedRecordings):
    """Two people for a minute with open and a minute with closed eyes, in events of four seconds.

    36 channels at 160 Hz; the same people as 1 and 15 of `RealMotorImagery`.

    References
    ----------
    As `RealMotorImagery`, runs 1 and 2.
    """

    people = (1, 15)
    runs: ClassVar = {"0": "S{:03d}R01.edf", "1": "S{:03d}R02.edf"}
    labels = ("eyes_open", "eyes_closed")
    mains = 60.0
    paradigm_name = "rstate"


class RealArithmetic(ShippedRecordings):
    """Six people for a minute at rest, then for a minute subtracting, in events of four seconds.

    19 channels of the 10-20 system at 200 Hz. Rest always comes first, in a file of its own, so whatever
    differs between two files tells the two apart within a person: test on other people.

    References
    ----------
    Zyma et al. (2019), Data 4:14. Goldberger et al. (2000), Circulation 101. PhysioNet's EEG During Mental
    Arithmetic Tasks, ODC-BY 1.0.
    """

    people = (18, 19, 20, 21, 22, 23)
    runs: ClassVar = {"0": "Subject{:02d}_1.edf", "1": "Subject{:02d}_2.edf"}
    labels = ("resting", "arithmetic")
    mains = 50.0
    paradigm_name = "rstate"


def recordings_folder() -> Path:
    """Find the recordings of the repository, or say where they are to be had."""
    data = Path(os.environ.get(VARIABLE) or Path(__file__).parents[2] / "data")
    folder = data / "recordings"
    if not (folder / SUMS).is_file():
        raise FileNotFoundError(
            f"There are no recordings in {folder}. A clone of the repository has them in data/recordings; "
            f"elsewhere set {VARIABLE} to its data folder."
        )
    return folder


@cache
def read_sums(folder: Path) -> dict[str, str]:
    """Read the hash of each file."""
    lines = [line.split() for line in read_text(folder / SUMS).splitlines()]
    if any(len(line) != 2 for line in lines):
        raise ValueError(f"{folder / SUMS} should hold a hash and a file in each line. Restore it from git.")
    return {name: digest for digest, name in lines}


def read_recording(path: Path, mains: float) -> mne.io.BaseRaw:
    """Read a file that is what it was, with positions of its electrodes and the mains frequency."""
    expected = read_sums(path.parent).get(path.name)
    if not path.is_file() or hash_file(path) != expected:
        raise ValueError(
            f"{path} is not the recording that came with the repository: its SHA-256 should be {expected}. "
            f"Restore it with git checkout -- {path.name}."
        )
    raw: Any = mne.io.read_raw_edf(path, preload=True, verbose="error")
    raw.info["line_freq"] = mains
    return raw.set_montage(montage())
