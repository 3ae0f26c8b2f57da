"""Features on disk: one file per model, data and settings, so that nothing stale is ever read."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from eeglab_models.files import replacing, write_text
from eeglab_models.models.base import EEGModel
from eeglab_models.models.report import fingerprint, hash_tensors, keys_of

__all__ = ["describe_data"]

# Bytes that are hashed at once: data on disk need not fit into memory.
CHUNK = 2**24


def describe_model(model: EEGModel, readers: bool = False) -> dict[str, Any]:
    """Describe all of a model that its features depend on; with `readers` its head too.

    The fingerprint leaves out tensors such as a projection of channels, so they have a hash of their own.
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
    """Name the file of the features that fit a description after its hash, whether it is there or not."""
    return Path(folder) / f"{hashlib.sha256(to_json(description).encode()).hexdigest()}.npy"


def keep_features(
    path: Path,
    description: Mapping[str, Any],
    batches: Iterable[Float[np.ndarray, "batch n_features"]],
    n_rows: int,
) -> Float[np.ndarray, "n_windows n_features"]:
    """Write features batch by batch, with their description as JSON, and open them once they are complete."""
    # Readers look for the features, so these take their place last.
    with replacing(path) as unfinished:
        fill_rows(
            batches,
            lambda n_features, dtype: np.lib.format.open_memmap(
                unfinished, mode="w+", dtype=dtype, shape=(n_rows, n_features)
            ),
        ).flush()
        write_text(path.with_suffix(".json"), to_json(description))
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
