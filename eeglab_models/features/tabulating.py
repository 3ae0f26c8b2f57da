"""Recordings become a table of features, one row a window: resumable, one recording in memory at a time."""

import hashlib
import json
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from rich.progress import track

from eeglab_models.configs import check_name
from eeglab_models.features.cache import describe_data, describe_model
from eeglab_models.features.embeddings import extract_features
from eeglab_models.files import locked, replacing
from eeglab_models.models.base import EEGModel, known_models
from eeglab_models.models.checkpoints import find_checkpoint
from eeglab_models.models.download import read_config
from eeglab_models.signals.plan import NoWindowError, Plan
from eeglab_models.signals.preparation import prepare
from eeglab_models.signals.recordings import list_recordings, load_recording
from eeglab_models.signals.sources import Recording, is_path
from eeglab_models.signals.windows import Windows

__all__ = ["Embedded", "embed"]

TOLD = ("subject", "session", "run", "onset")


@dataclass(frozen=True)
class Embedded:
    """What `embed` wrote.

    Attributes
    ----------
    path : pathlib.Path
        The table.
    n_windows, n_recordings : int
        Its rows, and the recordings that they come from.
    n_before : int
        Recordings that an earlier call had finished.
    skipped : dict of str
        Why recordings gave no row, by their names.
    """

    path: Path
    n_windows: int
    n_recordings: int
    n_before: int
    skipped: dict[str, str]


def embed(
    source: Any,
    model: EEGModel | str,
    out: str | Path,
    *,
    weights: str = "",
    revision: str | None = None,
    subjects: Any = None,
    table: Any = None,
    layer: str | int = "encoder",
    pool: str = "time",
    batch_size: int | str = "auto",
    device: str = "auto",
    progress: bool = True,
    **loading: Any,
) -> Embedded:
    """Describe every window of recordings by a frozen model, and write the features as a table.

    Called again, a call that was interrupted goes on after its last recording. Recordings that cannot be read
    or prepared are left out and named. The table is written whole or not at all.

    Parameters
    ----------
    source : str, pathlib.Path or recording
        A file, a folder, the root of a BIDS data set, a moabb data set, or anything else that `load_windows`
        reads but arrays.
    model : EEGModel or str
        The model, or the name of its class, which is built for the first recording: later ones need its
        channels.
    out : str or pathlib.Path
        A file that ends in ``.parquet`` or ``.npz``.
    weights : str
        Weights for a model that is named: a checkpoint of the repository, a folder, or USER/MODEL on the Hub;
        ``""`` are random ones.
    revision : str or None
        Commit of the Hub's repository.
    subjects, table : as in `load_windows`
        Whose recordings, and what they are labelled with.
    layer, pool, batch_size, device : as in `extract_features`
        What is read, and how.
    progress : bool
        Show a progress bar.
    **loading
        What `Plan` takes, such as ``events``, ``tmax`` in seconds, ``fmin`` in Hz. Without ``events`` files
        are cut into consecutive windows, without ``tmax`` of the length of the model, of its weights' or its
        contract's.

    Returns
    -------
    embedded : Embedded
        The table's path, and what was left out. Its columns are `recording`, `window` (number in the
        recording), `subject`, `session`, `run` and `onset` in seconds where they are known, `label`,
        `features` (float32), `weights` and `data` (hashes of the model and of the prepared windows), and
        `report`, what was done to the recording. In an npz file these are arrays, `features` of shape
        (n_windows, n_features).

    Raises
    ------
    ValueError
        If the ending is neither, if the model's name is unknown, or if no recording gave a window.
    BlockingIOError
        If another process writes the same table.
    """
    out = Path(out)
    if out.suffix not in (".parquet", ".npz"):
        raise ValueError(f"The table's name ends in .parquet or .npz, got {out.name}. Change it.")
    if isinstance(model, str):
        check_name(model, known_models(), "There is no model")
    if is_path(source) and "events" not in loading:
        loading = {"events": [], "tmax": loading.get("tmin", 0.0) + window_of(model, weights)} | loading
    recordings, plan = list_recordings(source, subjects, Plan(**loading), table)
    if isinstance(model, str):
        recordings, model = build_for(recordings, plan, model, weights, revision)
    reading = {"layer": layer, "pool": pool}
    described = describe_model(model)
    settings = json.dumps([described, str(plan), reading], sort_keys=True, default=str)
    n_known = len(recordings) if isinstance(recordings, Sequence) else None
    parts, skipped, n_before = [], {}, 0
    folder = out.with_name(out.name + ".parts")
    with locked(folder, "write the table"):
        for recording in track(recordings, "Recordings", total=n_known, disable=not progress):
            part = folder / f"{name_part(recording, settings)}.parquet"
            if part.exists():
                n_before += 1
            else:
                try:
                    windows = prepare(load_recording(recording, plan, timed=True), model, bad_windows="drop")
                except (OSError, ValueError) as error:
                    skipped[recording.name] = str(error)
                    continue
                features = extract_features(model, windows, batch_size=batch_size, device=device, **reading)
                with replacing(part) as unfinished:
                    pq.write_table(
                        to_rows(recording.name, windows, features, described["fingerprint"]), unfinished
                    )
            parts.append(part)
        if not parts:
            name, reason = next(iter(skipped.items()), ("It", "there is no recording"))
            raise ValueError(f"No recording of {source} gave a window. {name}: {reason}")
        with replacing(out) as unfinished:
            n_windows = (join if out.suffix == ".parquet" else join_arrays)(parts, unfinished)
    shutil.rmtree(folder)
    return Embedded(out, n_windows, len(parts), n_before, skipped)


def window_of(model: EEGModel | str, weights: str) -> float:
    """Get the length in seconds of the windows that a model, or what its weights were, reads."""
    if not isinstance(model, str):
        return model.n_times / model.sfreq
    file = Path(find_checkpoint(weights)) / "config.json" if weights else Path()
    told = read_config(file) if file.is_file() else {}
    if told.get("n_times") and told.get("sfreq"):
        return told["n_times"] / told["sfreq"]
    return told.get("input_window_seconds") or known_models()[model].contract.window


def build_for(
    recordings: Any, plan: Plan, name: str, weights: str, revision: str | None
) -> tuple[list[Recording], EEGModel]:
    """Build a model by its name for the first recording that gives windows."""
    recordings, Model = list(recordings), known_models()[name]
    for recording in recordings:
        try:
            windows = load_recording(recording, plan)
        except (OSError, ValueError) as error:
            problem = error
            continue
        signal = {"n_outputs": 2, **windows.signal_for(Model)}
        if weights:
            own = {} if Model.contract.channels_known_by == "projection" else signal
            return recordings, Model.from_pretrained(find_checkpoint(weights), revision=revision, **own)
        sizes = Model.sizes_for(len(windows.ch_names), windows.sfreq)
        return recordings, Model(**signal, **sizes)
    raise problem if recordings else NoWindowError("There is no recording to take windows from.")


def name_part(recording: Recording, settings: str) -> str:
    """Name what was read from a recording after all that decides it; a file is known by size and time."""
    where = recording.source
    facts = [recording.name, settings]
    if isinstance(where, Path):
        facts += [where.stat().st_size, where.stat().st_mtime_ns]
    return hashlib.sha256(json.dumps([*facts, dict(recording.facts)], default=str).encode()).hexdigest()[:24]


def to_rows(name: str, windows: Windows, features: np.ndarray, weights: str) -> pa.Table:
    """Put what is known of each window beside its features."""
    told = pd.DataFrame(index=range(len(windows))) if windows.metadata is None else windows.metadata
    labels = windows.labels if windows.labels is not None else np.full(len(windows), "")
    rows = pd.DataFrame({"recording": name, "window": np.arange(len(windows)), "label": labels.astype(str)})
    for fact in TOLD:
        if fact in told:
            values = told[fact].to_numpy()
            rows[fact] = values.astype(float) if fact == "onset" else values.astype(str)
    rows["weights"], rows["data"] = weights, describe_data(windows.data)["blake2b"]
    rows["report"] = str(windows.report)
    width = features.shape[1]
    flat = pa.array(np.ascontiguousarray(features, np.float32).ravel())
    column = pa.FixedSizeListArray.from_arrays(flat, width)
    return pa.Table.from_pandas(rows, preserve_index=False).append_column("features", column)


def each(parts: Sequence[Path]) -> Iterator[pa.Table]:
    """Read parts one by one, with the columns that any of them has."""
    schema = pa.unify_schemas([pq.read_schema(part).remove_metadata() for part in parts])
    for part in parts:
        rows = pq.read_table(part)
        lacking = [field for field in schema if field.name not in rows.column_names]
        for field in lacking:
            rows = rows.append_column(field.name, pa.nulls(len(rows), field.type))
        yield rows.select(schema.names).cast(schema)


def join(parts: Sequence[Path], path: Path) -> int:
    """Write parts behind each other."""
    n_rows, writer = 0, None
    for rows in each(parts):
        writer = writer or pq.ParquetWriter(path, rows.schema)
        writer.write_table(rows)
        n_rows += len(rows)
    writer.close()
    return n_rows


def join_arrays(parts: Sequence[Path], path: Path) -> int:
    """Write parts behind each other as arrays, the features piece by piece."""
    told = pd.concat([rows.drop_columns("features").to_pandas() for rows in each(parts)], ignore_index=True)
    width = pq.read_schema(parts[0]).field("features").type.list_size
    with zipfile.ZipFile(path, "w") as archive:
        for name, values in told.items():
            values = values.to_numpy()
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, values if values.dtype != object else values.astype(str))
        with archive.open("features.npy", "w", force_zip64=True) as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": (len(told), width)}
            np.lib.format.write_array_header_1_0(file, header)
            for rows in each(parts):
                for chunk in rows.column("features").chunks:
                    file.write(chunk.flatten().to_numpy().astype("<f4").tobytes())
    return len(told)
