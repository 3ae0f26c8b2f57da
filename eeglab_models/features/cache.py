"""Features on disk: one file per model, data and settings, so that nothing stale is ever read."""

import errno
import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from jaxtyping import Float

from eeglab_models.configs import read_record
from eeglab_models.files import UNFINISHED, hash_file, replacing, write_text
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
    """Write features batch by batch, with their description as JSON, and open them once they are complete.

    Others that want the same ones wait meanwhile, and find them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        with warnings.catch_warnings(action="ignore"):
            found = find_features(path)
        if found is not None:
            return found
        for abandoned in path.parent.glob(f"{UNFINISHED}*-{path.stem}.*"):
            abandoned.unlink()
        # Readers look for the features, so these take their place last.
        with replacing(path) as unfinished:
            fill_rows(batches, partial(map_new, unfinished, n_rows)).flush()
            write_text(path.with_suffix(".json"), to_json({**description, "sha256": hash_file(unfinished)}))
        return np.load(path, mmap_mode="r")


def find_features(path: Path) -> Float[np.ndarray, "n_windows n_features"] | None:
    """Open features that are there and as they were written; None where they have to be computed."""
    if not path.exists():
        return None
    try:
        facts = path.with_suffix(".json")
        if read_record(facts, {"sha256": str})["sha256"] != hash_file(path):
            raise ValueError("its content is not what was written")
        return np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        warnings.warn(f"The features in {path} are computed anew: {error}.", stacklevel=3)
        return None


def map_new(path: Path, n_rows: int, n_features: int, dtype: np.dtype) -> np.memmap:
    """Make a file of zeros and map it, once the disk has room for all of it: a map fails by a signal."""
    shape = (n_rows, n_features)
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    n_bytes = int(np.prod(shape, dtype=object)) * dtype.itemsize
    try:
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            file.flush()
            fill_disk(file.fileno(), file.tell() + n_bytes)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise OSError(
            error.errno,
            f"The disk of {path.parent} has no room for the {n_bytes / 1e6:.1f} MB of features. Free some, "
            "pass another folder as cache, or none",
        ) from error
    return np.lib.format.open_memmap(path, mode="r+")


def fill_disk(descriptor: int, n_bytes: int) -> None:
    """Set aside all bytes of a file; where the system cannot, zeros are written."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, n_bytes)
        return
    while (missing := n_bytes - os.lseek(descriptor, 0, os.SEEK_END)) > 0:
        os.write(descriptor, bytes(min(missing, CHUNK)))


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
