"""Shards: files in the Arrow format that hold windows as bytes, and the list of what they hold."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from annotated_types import Ge
from jaxtyping import Float

from eeglab_models.configs import (
    Count,
    NotNegative,
    Positive,
    about,
    check_arguments,
    check_value,
    read_record,
)
from eeglab_models.files import UNFINISHED, flush, hash_file, write_record
from eeglab_models.signals.windows import Stamp

MANIFEST = "corpus.json"
# Bytes of a batch of rows: offsets in Arrow's binary columns end at 2 GiB.
BATCH_BYTES = 2**26


@dataclass(frozen=True)
class ShardFacts:
    """What the manifest says of a file of windows."""

    file: str
    n_windows: Count
    size: Count
    sha256: str


@dataclass(frozen=True)
class RecordingFacts:
    """What the manifest has to say of a recording; more is kept as it is."""

    recording: str
    n_windows: Annotated[int, Ge(0)]
    n_rejected: Annotated[int, Ge(0)]
    seconds: NotNegative


KINDS = {
    "settings": dict[str, Any],
    "shards": list[ShardFacts],
    "recordings": list[RecordingFacts],
    "skipped": dict[str, str],
    "preparation": list[tuple[str, str]],
}
STAMP = {"sfreq": Positive, "n_times": Count}


class ShardWriter:
    """Write windows into one shard; under its own name it appears only when it is whole."""

    def __init__(self, path: Path, facts: Mapping[str, Any]) -> None:
        self.path = path
        # A reader of this file alone finds in its schema what the windows are.
        self.schema = pa.schema(
            [("eeg", pa.binary()), ("recording", pa.string()), ("subject", pa.string())],
            metadata={"eeglab_models": json.dumps(dict(facts))},
        )
        self.file = path.with_name(UNFINISHED + path.name).open("wb")
        self.stream = pa.ipc.new_stream(self.file, self.schema)
        self.n_windows = self.n_bytes = 0

    def add(
        self, data: Float[np.ndarray, "n_windows n_chans n_times"], recording: str, subject: str | None
    ) -> None:
        """Append the windows of a recording; a shard in which that failed is discarded."""
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
        """Part the windows of a recording into batches of rows, without copying them."""
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
        """Close the shard, give it its name, and describe it: file, windows, bytes and SHA-256."""
        self.stream.close()
        self.file.close()
        unfinished = Path(self.file.name)
        flush(unfinished)
        os.replace(unfinished, self.path)
        flush(self.path.parent)
        description = {"file": self.path.name, "n_windows": self.n_windows}
        return description | {"size": self.path.stat().st_size, "sha256": hash_file(self.path)}

    def discard(self) -> None:
        """Close the shard and forget what it holds."""
        self.file.close()
        Path(self.file.name).unlink(missing_ok=True)


def map_shard(
    path: Path, dtype: str, stamp: Stamp
) -> Iterator[Float[np.ndarray, "n_windows n_chans n_times"]]:
    """Open the windows of a shard, batch by batch, where they lie on disk, without reading them."""
    said = {"sfreq": stamp.sfreq, "unit": stamp.unit, "reference": stamp.reference, "dtype": dtype}
    said |= {"ch_names": list(stamp.ch_names), "n_times": stamp.n_times}
    shape = (len(stamp.ch_names), stamp.n_times)
    with about(path), pa.memory_map(str(path)) as file:
        table = pa.ipc.open_stream(file).read_all()
        facts = json.loads((table.schema.metadata or {}).get(b"eeglab_models", b"{}"))
        if wrong := [name for name, value in said.items() if facts.get(name) != value]:
            raise ValueError(
                f"its {wrong[0]} is not that of {MANIFEST}. Restore it, or build the corpus again."
            )
        blocks = [
            np.frombuffer(chunk.buffers()[2], dtype).reshape(len(chunk), *shape)
            for chunk in table["eeg"].chunks
        ]
    yield from blocks


def describe_damage(folder: Path, shard: Mapping[str, Any], content: bool) -> str | None:
    """Compare a shard with its description, by its hash only if `content`; None if nothing is wrong."""
    path = folder / Path(shard["file"]).name
    if not path.is_file():
        return f"{path.name} is missing"
    if path.stat().st_size != shard["size"]:
        return f"{path.name} has {path.stat().st_size} bytes instead of {shard['size']}"
    if content and hash_file(path) != shard["sha256"]:
        return f"{path.name} was altered: its SHA-256 differs"
    return None


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Read settings, shards, recordings and what was skipped; None if the folder holds no corpus."""
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        manifest = read_record(path, KINDS)
        check_value("settings", manifest["settings"]["dtype"], Literal["float32", "float16"])
        check_arguments(Stamp, manifest["settings"]["stamp"], "stamp", kinds=STAMP)
        n_listed, n_held = (
            sum(item["n_windows"] for item in manifest[name]) for name in ("recordings", "shards")
        )
        if n_listed != n_held:
            raise ValueError(f"its recordings have {n_listed} windows, its files {n_held}")
    except (ValueError, KeyError) as error:
        raise ValueError(
            f"{path} is no manifest of a corpus ({error}). Restore it, or delete it and build the corpus "
            "again."
        ) from error
    return manifest


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Replace the manifest of a corpus at once, so that a crash leaves the old one or the new one."""
    write_record(folder / MANIFEST, manifest)


def recordings_by_shard(manifest: Mapping[str, Any]) -> list[list[dict[str, Any]]]:
    """Part the list of recordings by the shards that hold them, of which each recording is in one."""
    waiting, parts = iter(manifest["recordings"]), []
    for shard in manifest["shards"]:
        part: list[dict[str, Any]] = []
        while sum(item["n_windows"] for item in part) < shard["n_windows"]:
            part.append(next(waiting))
        parts.append(part)
    # Recordings without any window may stand at the end.
    return parts[:-1] + [parts[-1] + list(waiting)] if parts else []
