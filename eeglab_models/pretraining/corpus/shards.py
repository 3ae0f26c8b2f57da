"""Shards: files in the Arrow format that hold windows as bytes, and the list of what they hold."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float

__all__ = ["ShardWriter", "describe_damage", "map_shard", "read_manifest", "write_manifest"]

MANIFEST = "corpus.json"
UNFINISHED = ".unfinished"
# Bytes of a batch of rows: offsets in Arrow's binary columns end at 2 GiB.
BATCH_BYTES = 2**26


class ShardWriter:
    """Write windows into one shard; under its own name it appears only when it is whole.

    Parameters
    ----------
    path : pathlib.Path
        Name of the finished shard.
    facts : mapping
        What a reader of this file alone has to know; stored in its schema as JSON.

    Attributes
    ----------
    n_windows, n_bytes : int
        What has been written so far.
    """

    def __init__(self, path: Path, facts: Mapping[str, Any]) -> None:
        self.path = path
        self.schema = pa.schema(
            [("eeg", pa.binary()), ("recording", pa.string()), ("subject", pa.string())],
            metadata={"eeglab_models": json.dumps(dict(facts))},
        )
        self.file = path.with_name(path.name + UNFINISHED).open("wb")
        self.stream = pa.ipc.new_stream(self.file, self.schema)
        self.n_windows = self.n_bytes = 0

    def add(
        self, data: Float[np.ndarray, "n_windows n_chans n_times"], recording: str, subject: str | None
    ) -> None:
        """Append the windows of a recording; a shard in which that failed is discarded.

        Parameters
        ----------
        data : numpy.ndarray, shape (n_windows, n_chans, n_times)
            Windows of the type and in the unit in which they are to be stored.
        recording : str
            Name of the recording.
        subject : str or None
            Whose recording it is, if that is known.
        """
        try:
            for batch in self.batches(data, recording, subject):
                self.stream.write_batch(batch)
        # A batch that is written in part, as on a full disk, would spoil the file.
        except BaseException:
            self.discard()
            raise
        self.n_windows += len(data)
        self.n_bytes += data.nbytes

    def batches(
        self, data: Float[np.ndarray, "n_windows n_chans n_times"], recording: str, subject: str | None
    ) -> Iterator[pa.RecordBatch]:
        """Part the windows of a recording into batches of rows, without copying them.

        Parameters
        ----------
        data : numpy.ndarray, shape (n_windows, n_chans, n_times)
            Windows of the type and in the unit in which they are to be stored.
        recording : str
            Name of the recording.
        subject : str or None
            Whose recording it is, if that is known.

        Yields
        ------
        batch : pyarrow.RecordBatch
            Rows of windows as bytes, with the recording and the subject.
        """
        step = max(1, BATCH_BYTES // max(1, data[:1].nbytes))
        for start in range(0, len(data), step):
            part = np.ascontiguousarray(data[start : start + step])
            offsets = np.arange(len(part) + 1, dtype=np.int32) * part[0].nbytes
            buffers = [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(part)]
            columns = [
                pa.BinaryArray.from_buffers(pa.binary(), len(part), buffers),
                pa.array([recording] * len(part), pa.string()),
                pa.array([subject] * len(part), pa.string()),
            ]
            yield pa.record_batch(columns, schema=self.schema)

    def finish(self) -> dict[str, Any]:
        """Close the shard, give it its name, and describe it.

        Returns
        -------
        description : dict
            File, number of windows, size in bytes and SHA-256.
        """
        self.stream.close()
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        os.replace(self.file.name, self.path)
        description = {"file": self.path.name, "n_windows": self.n_windows}
        return description | {"size": self.path.stat().st_size, "sha256": digest(self.path)}

    def discard(self) -> None:
        """Close the shard and forget what it holds."""
        self.file.close()
        Path(self.file.name).unlink(missing_ok=True)


def map_shard(
    path: Path, dtype: str, n_chans: int, n_times: int
) -> Iterator[Float[np.ndarray, "n_windows n_chans n_times"]]:
    """Open the windows of a shard where they lie on disk, without reading them.

    Parameters
    ----------
    path : pathlib.Path
        A finished shard.
    dtype : str
        Type in which the windows are stored.
    n_chans, n_times : int
        Size of a window.

    Yields
    ------
    data : numpy.ndarray, shape (n_windows, n_chans, n_times)
        One batch of rows, in the unit in which they were stored, read-only; its pages are read when they are
        used.
    """
    with pa.memory_map(str(path)) as file:
        table = pa.ipc.open_stream(file).read_all()
    for chunk in table["eeg"].chunks:
        yield np.frombuffer(chunk.buffers()[2], dtype).reshape(len(chunk), n_chans, n_times)


def digest(path: Path) -> str:
    """Compute the SHA-256 of a file, read piece by piece."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe_damage(folder: Path, shard: Mapping[str, Any], content: bool) -> str | None:
    """Compare a shard with what the manifest states of it.

    Parameters
    ----------
    folder : pathlib.Path
        Where the shard lies.
    shard : mapping
        As `ShardWriter.finish` described it.
    content : bool
        Read all of it and compare the hash, not only the size.

    Returns
    -------
    damage : str or None
        What is wrong, None if nothing is.
    """
    path = folder / Path(shard["file"]).name
    if not path.is_file():
        return f"{path.name} is missing"
    if path.stat().st_size != shard["size"]:
        return f"{path.name} has {path.stat().st_size} bytes instead of {shard['size']}"
    if content and digest(path) != shard["sha256"]:
        return f"{path.name} was altered: its SHA-256 differs"
    return None


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Read what a corpus holds, None if the folder holds no corpus.

    Parameters
    ----------
    folder : pathlib.Path
        Folder of a corpus.

    Returns
    -------
    manifest : dict or None
        Settings, shards, recordings and what was skipped.

    Raises
    ------
    ValueError
        If the manifest cannot be read.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        manifest["settings"]["stamp"], manifest["shards"], manifest["recordings"], manifest["skipped"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is no manifest of a corpus ({error!r}). Restore it, or build the corpus again."
        ) from error
    return manifest


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Replace the manifest of a corpus at once, so that a crash leaves the old one or the new one.

    Parameters
    ----------
    folder : pathlib.Path
        Folder of the corpus.
    manifest : mapping
        In plain values.
    """
    unfinished = folder / (MANIFEST + UNFINISHED)
    unfinished.write_text(json.dumps(manifest, indent=1, ensure_ascii=False), encoding="utf-8")
    os.replace(unfinished, folder / MANIFEST)
