"""People at rest and calculating: PhysioNet's mental arithmetic recordings."""

from dataclasses import replace
from pathlib import Path

import mne
import numpy as np
import pandas as pd

from eeglab_models.signals.recordings import concatenate, load_windows
from eeglab_models.signals.windows import Windows

__all__ = ["load_arithmetic"]


def load_arithmetic(folder: str | Path, seconds: float = 5.0) -> Windows:
    """Load the last minute of rest and the minute of arithmetic of every person.

    Rest always comes first, so whatever drifts with time tells the two apart as well.

    Parameters
    ----------
    folder : str or pathlib.Path
        Holds ``Subject00_1.edf``, rest, ``Subject00_2.edf``, arithmetic, and so on.
    seconds : float
        Length of a window in seconds.

    Returns
    -------
    windows : Windows
        EEG in microvolts, labelled ``"rest"`` and ``"task"``, with the `subject` of each window.

    Raises
    ------
    FileNotFoundError
        If the folder holds no such recordings.

    References
    ----------
    Zyma et al. (2019), Electroencephalograms during mental arithmetic task performance, Data 4:14.
    """
    recordings = []
    for path in sorted(Path(folder).glob("*_[12].edf")):
        own = load_windows(mne.io.read_raw_edf(path, verbose="error"), events=[], tmax=seconds)
        own = own[np.arange(len(own))[-int(60 / seconds) :]]
        kind = "rest" if path.stem.endswith("_1") else "task"
        metadata = pd.DataFrame({"subject": [path.stem[:-2]] * len(own)})
        recordings.append(replace(own, labels=np.full(len(own), kind), metadata=metadata))
    if not recordings:
        raise FileNotFoundError(
            f"{folder} holds no recordings named like Subject00_1.edf. Pass the folder of PhysioNet's eegmat."
        )
    return concatenate(recordings)
