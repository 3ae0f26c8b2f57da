"""Files and folders that are written whole or not at all, known by their hash, held by one writer."""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

__all__ = ["flush", "hash_file", "locked", "replacing", "write_json", "write_record", "write_text"]

UNFINISHED = ".unfinished-"
# Beside the values of a record: their hash.
DIGEST = "digest"


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a name to write a file or a folder under, which takes the place of `path` once it is whole.

    After an error, or when the process is killed, what was at `path` before is still there.

    Parameters
    ----------
    path : str or pathlib.Path
        File or folder to write or replace; folders above it are made.

    Yields
    ------
    unfinished : pathlib.Path
        A name in the same folder, because only a rename within one disk is atomic. Nothing is there yet.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{UNFINISHED}{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        yield unfinished
        for part in [*unfinished.rglob("*"), unfinished]:
            flush(part)
        if path.is_dir():
            # A folder cannot be renamed over another one.
            old = unfinished.with_name(f"{unfinished.name}-old")
            path.rename(old)
            unfinished.rename(path)
            shutil.rmtree(old)
        else:
            os.replace(unfinished, path)
        flush(path.parent)
    finally:
        if unfinished.is_dir():
            shutil.rmtree(unfinished, ignore_errors=True)
        else:
            unfinished.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file, in UTF-8, whole or not at all.

    Parameters
    ----------
    path : str or pathlib.Path
        File to write or replace.
    text : str
        Its content.
    """
    with replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write plain values as JSON, whole or not at all.

    Parameters
    ----------
    path : str or pathlib.Path
        File to write or replace.
    value : object
        Dictionaries, lists, text, numbers, booleans and None.
    """
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False))


def write_record(path: str | Path, values: Mapping[str, Any]) -> None:
    """Write plain values as JSON with their hash, by which `read_record` knows that none was altered.

    Parameters
    ----------
    path : str or pathlib.Path
        File to write or replace.
    values : dict
        By name, as `write_json` takes them.
    """
    write_json(path, {**values, DIGEST: hash_values(values)})


def hash_values(values: Mapping[str, Any]) -> str:
    """Hash plain values as JSON has them, whatever their order."""
    # Names of JSON are text, by which they are ordered.
    plain = json.loads(json.dumps(values))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def flush(path: Path) -> None:
    """Wait until a file, or the list of files of a folder, is on the disk.

    Parameters
    ----------
    path : pathlib.Path
        File or folder.
    """
    # Windows opens no folders; there the files themselves have to do.
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def hash_file(path: str | Path) -> str:
    """Compute the SHA-256 of a file, read piece by piece.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.

    Returns
    -------
    digest : str
        In hexadecimal.
    """
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(folder: str | Path, work: str) -> Iterator[None]:
    """Hold a folder for one writer; others are told at once.

    Parameters
    ----------
    folder : str or pathlib.Path
        Made if it is not there.
    work : str
        What is done in it, for the message: "build the corpus".

    Raises
    ------
    BlockingIOError
        If another process holds it.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "lock", timeout=0):
            yield
    except Timeout as error:
        raise BlockingIOError(
            f"Another process holds {folder} to {work}. Wait until it ends, or use another folder."
        ) from error
