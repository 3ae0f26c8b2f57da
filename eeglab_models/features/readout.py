"""Features of an encoder as its card recommends: prepared, levelled, read and centred in one call."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from annotated_types import Gt, Le
from jaxtyping import Float

from eeglab_models.configs import about, check_name, read_record
from eeglab_models.features.embeddings import extract_features
from eeglab_models.models.base import known_models
from eeglab_models.models.checkpoints import find_checkpoint
from eeglab_models.signals.preparation import level_recordings, prepare
from eeglab_models.signals.windows import Windows

__all__ = ["centre", "features_of"]

FILE = "readout.json"
# Microvolts.
Amplitude = Annotated[float, Gt(0), Le(1000)]
KINDS = {"model": str, "band": dict[str, float], "level": Amplitude, "layer": int | str, "pool": str}
RECORDING = ("subject", "session", "run")


def features_of(
    name: str | Path, recording: Any, **loading: Any
) -> tuple[Float[np.ndarray, "n_windows n_features"], Windows]:
    """Describe recordings by an encoder that comes with the repository, as its card recommends.

    The encoder's ``readout.json`` says which model it is, which band its people were filtered to, to what
    amplitude recordings are brought, which layer is read and how its tokens are pooled. Where the metadata
    tell subjects, the average features of each are taken away: that reads no label, but all windows of a
    subject.

    Parameters
    ----------
    name : str or pathlib.Path
        Checkpoint of the repository, such as ``"eegdino-real"``, or a folder with a ``readout.json``.
    recording : Windows, or anything that `load_windows` reads
        With the channels of the encoder, in windows of its length. A recording is filtered to the encoder's
        band; windows should have been.
    **loading
        Further arguments of `prepare`, such as ``events=[]``.

    Returns
    -------
    features : numpy.ndarray, shape (n_windows, n_features)
        One row per window, float32.
    windows : Windows
        The prepared windows, with labels and metadata.

    Raises
    ------
    FileNotFoundError
        If there is no such checkpoint, or if it recommends no readout.
    ValueError
        If the recording does not fit the encoder, or if its ``readout.json`` holds something else.
    """
    folder = Path(find_checkpoint(str(name)))
    if not (folder / FILE).is_file():
        raise FileNotFoundError(
            f"{folder} has no {FILE}, got a checkpoint without a recommended readout. Choose a layer, and "
            "pass it to extract_features."
        )
    readout = read_record(folder / FILE, KINDS)
    check_name(readout["model"], known_models(), f"{folder / FILE} names the unknown model")
    model = known_models()[readout["model"]].from_pretrained(folder)
    if not isinstance(recording, Windows):
        loading = readout["band"] | loading
    windows = prepare(recording, model, **loading)
    known = [] if windows.metadata is None else list(windows.metadata)
    by = [column for column in RECORDING if column in known]
    with about(folder / FILE):
        windows = level_recordings(windows, readout["level"], by=by)
        features = extract_features(model, windows, layer=readout["layer"], pool=readout["pool"])
    return (centre(features, windows.metadata["subject"]) if "subject" in known else features), windows


def centre(
    features: Float[np.ndarray, "n_windows n_features"], groups: Any
) -> Float[np.ndarray, "n_windows n_features"]:
    """Take the average features of every group, such as a person, away from its windows; no label is read.

    Parameters
    ----------
    features : numpy.ndarray, shape (n_windows, n_features)
        One row per window.
    groups : array-like, shape (n_windows,)
        Whose window each is, such as ``windows.metadata["subject"]``; what is unknown is a group as well.

    Returns
    -------
    centred : numpy.ndarray, shape (n_windows, n_features)
        A new array; the average of every group is 0.

    Raises
    ------
    ValueError
        If there is not one group for each window.
    """
    if len(groups) != len(features):
        raise ValueError(
            f"Centring needs a group for every window, got {len(groups)} for {len(features)}. Pass a column "
            "of the metadata of the same windows."
        )
    found = pd.DataFrame(features).groupby(np.asarray(groups), dropna=False)
    return features - found.transform("mean").to_numpy()
