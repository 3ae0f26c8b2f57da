"""Features on disk: one file per model, data and settings, so that nothing stale is ever read."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from eeglab_models.models.base import EEGModel
from eeglab_models.models.report import fingerprint, hash_tensors, keys_of

__all__ = ["describe_data", "describe_model", "feature_file", "keep_features"]

# Bytes that are hashed at once: data on disk need not fit into memory.
CHUNK = 2**24


def describe_model(model: EEGModel, readers: bool = False) -> dict[str, Any]:
    """Describe everything of a model that its features depend on.

    Parameters
    ----------
    model : EEGModel
        A model of this package.
    readers : bool
        Count the head, on which the encoder's features do not depend.

    Returns
    -------
    description : dict
        Its class, its arguments in words, the fingerprint of its encoder, and a hash of the tensors that
        the fingerprint leaves out, such as a projection of channels.
    """
    state = model.state_dict()
    outside = keys_of(state, (*model.layout.task_modules, *model.layout.derived_modules))
    if not readers:
        outside -= keys_of(state, model.layout.head)
    # Names of channels matter by what they select, which tensors hold.
    ignored = {"n_outputs", "final_layer", "chs_info"}
    return {
        "model": type(model).__name__,
        "arguments": {name: repr(value) for name, value in model.arguments.items() if name not in ignored},
        "fingerprint": fingerprint(model),
        "other_tensors": hash_tensors({name: state[name] for name in outside}),
    }


def describe_data(data: Float[np.ndarray, "n_windows n_chans n_times"]) -> dict[str, Any]:
    """Describe windows by their shape, their type and a hash of their bytes, read piece by piece.

    Parameters
    ----------
    data : numpy.ndarray, shape (n_windows, n_chans, n_times)
        Windows in any unit, also a memory map.

    Returns
    -------
    description : dict
        Shape, type and hash.
    """
    digest = hashlib.blake2b(digest_size=32)
    step = max(1, CHUNK // max(1, data[:1].nbytes))
    for start in range(0, len(data), step):
        digest.update(np.ascontiguousarray(data[start : start + step]))
    return {"shape": list(data.shape), "dtype": str(data.dtype), "blake2b": digest.hexdigest()}


def feature_file(folder: str | Path, description: Mapping[str, Any]) -> Path:
    """Name the file of the features that fit a description, whether it is there or not.

    Parameters
    ----------
    folder : str or pathlib.Path
        Where features are kept.
    description : dict
        Everything that the features depend on, in plain values.

    Returns
    -------
    path : pathlib.Path
        Named after a hash of the description.
    """
    return Path(folder) / f"{hashlib.sha256(to_json(description).encode()).hexdigest()}.npy"


def keep_features(
    path: Path,
    description: Mapping[str, Any],
    batches: Iterable[Float[np.ndarray, "batch n_features"]],
    n_rows: int,
) -> Float[np.ndarray, "n_windows n_features"]:
    """Write features batch by batch, and open them once they are complete.

    Parameters
    ----------
    path : pathlib.Path
        As `feature_file` names it; its folder is made if it is not there.
    description : dict
        Written beside the features as JSON.
    batches : iterable of numpy.ndarray, each of shape (batch, n_features)
        The rows; only one batch is in memory.
    n_rows : int
        Number of all rows.

    Returns
    -------
    features : numpy.memmap, shape (n_windows, n_features)
        Read-only and on disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, because only a rename within one disk is atomic.
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="unfinished-") as unfinished:
        rows, settings = Path(unfinished) / "rows.npy", Path(unfinished) / "settings.json"
        fill_rows(
            batches,
            lambda n_features, dtype: np.lib.format.open_memmap(
                rows, mode="w+", dtype=dtype, shape=(n_rows, n_features)
            ),
        ).flush()
        settings.write_text(to_json(description))
        # Readers look for the features, so these come last.
        os.replace(settings, path.with_suffix(".json"))
        os.replace(rows, path)
    return np.load(path, mmap_mode="r")


def to_json(description: Mapping[str, Any]) -> str:
    """Write a description, and the version of the package that computes by it."""
    return json.dumps({**description, "version": version("eeglab_models")}, sort_keys=True, indent=1)


def fill_rows(
    batches: Iterable[Float[np.ndarray, "batch n_features"]],
    allocate: Callable[[int, np.dtype], Float[np.ndarray, "n_windows n_features"]],
) -> Float[np.ndarray, "n_windows n_features"]:
    """Join batches without a second copy of them, in what is allocated once their width is known."""
    start = 0
    for batch in batches:
        if start == 0:
            rows = allocate(batch.shape[1], batch.dtype)
        rows[start : start + len(batch)] = batch
        start += len(batch)
    return rows
