"""Recordings to build a corpus from: where they lie, whose they are, and how to open them."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mne

from eeglab_models.signals.windows import Windows

__all__ = ["Recording", "find_recordings"]

# EDF, BDF, FIF, BrainVision, EEGLAB and GDF.
EXTENSIONS = (".edf", ".bdf", ".fif", ".fif.gz", ".vhdr", ".set", ".gdf")
# mne reads the further parts of a long FIF recording with the first one.
FURTHER_PART = re.compile(r"(-[1-9]\d*|_split-(?!0*1_)\d+_\w+)\.fif(\.gz)?$")
ORIGIN = ("subject", "session", "task", "run")


@dataclass(frozen=True)
class Recording:
    """One recording that is not opened yet.

    Attributes
    ----------
    name : str
        What tells it from all others.
    source : pathlib.Path, mne.io.BaseRaw or Windows
        The file, or what is in memory already.
    subject, session, task, run : str or None
        Where it comes from, as far as that is known.
    in_bids : bool
        Its file belongs to a BIDS data set, whose other files tell about channels and mains frequency.
    """

    name: str
    source: Any
    subject: str | None = None
    session: str | None = None
    task: str | None = None
    run: str | None = None
    in_bids: bool = False

    @property
    def origin(self) -> dict[str, str | None]:
        """Subject, session, task and run."""
        return {fact: getattr(self, fact) for fact in ORIGIN}

    def open(self) -> mne.io.BaseRaw | Windows:
        """Open the recording; a file's samples are read when they are used.

        Returns
        -------
        recording : mne.io.BaseRaw or Windows
            What is in memory already is returned as it is.
        """
        if not isinstance(self.source, Path):
            return self.source
        if not self.in_bids:
            return mne.io.read_raw(self.source, preload=False, verbose="error")
        from mne_bids import get_bids_path_from_fname, read_raw_bids

        return read_raw_bids(get_bids_path_from_fname(self.source, verbose="error"), verbose="error")


def find_recordings(source: Any, subject: str | None = None) -> list[Recording]:
    """List the recordings of a folder, of a BIDS data set or of a collection, in a fixed order.

    Parameters
    ----------
    source : str, pathlib.Path, mne.io.BaseRaw, Windows, or a list of these
        A folder is searched with all that lies in it for EDF, BDF, FIF, BrainVision, EEGLAB and GDF files;
        one with a ``dataset_description.json`` is read as BIDS.
    subject : str or None
        Regular expression whose first group is the subject in a recording's name.

    Returns
    -------
    recordings : list of Recording
        Sorted by name if they come from a folder.

    Raises
    ------
    ValueError
        If there is no recording, if two have the same name, or if `subject` matches nothing in a name.
    TypeError
        If `source` is none of the above.
    """
    if isinstance(source, str | Path) and Path(source).is_dir():
        folder = Path(source)
        in_bids = (folder / "dataset_description.json").is_file()
        recordings = list(recordings_of_bids(folder) if in_bids else recordings_of_folder(folder))
    else:
        alone = isinstance(source, str | Path | mne.io.BaseRaw | Windows)
        recordings = list(recordings_of_items([source] if alone else source))
    if not recordings:
        raise ValueError(f"{source} holds no recording. Name a folder of {', '.join(EXTENSIONS)} files.")
    counts = Counter(recording.name for recording in recordings)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise ValueError(f"Two recordings have the same name, {', '.join(twice[:3])}. Leave one of them out.")
    return recordings if subject is None else [name_subject(item, subject) for item in recordings]


def recordings_of_folder(folder: Path) -> Iterator[Recording]:
    """Find the recordings of a folder and of those in it."""
    for path in sorted(folder.rglob("*")):
        known = path.name.lower().endswith(EXTENSIONS) and not path.name.startswith(".")
        if known and path.is_file() and not FURTHER_PART.search(path.name):
            yield Recording(path.relative_to(folder).as_posix(), path)


def recordings_of_bids(root: Path) -> Iterator[Recording]:
    """Find the EEG recordings of a BIDS data set."""
    from mne_bids import find_matching_paths

    paths = find_matching_paths(
        root, datatypes="eeg", suffixes="eeg", extensions=[".edf", ".bdf", ".vhdr", ".set"]
    )
    for path in sorted(paths, key=lambda path: path.fpath):
        origin = {fact: getattr(path, fact) for fact in ORIGIN}
        yield Recording(path.fpath.relative_to(root).as_posix(), path.fpath, **origin, in_bids=True)


def recordings_of_items(items: Iterable[Any]) -> Iterator[Recording]:
    """Take files, raw recordings and windows one by one."""
    for number, item in enumerate(items):
        if isinstance(item, str | Path):
            yield Recording(Path(item).as_posix(), Path(item))
        elif isinstance(item, mne.io.BaseRaw):
            file = item.filenames[0] if item.filenames else None
            yield Recording(f"recording {number}" if file is None else Path(file).as_posix(), item)
        elif isinstance(item, Windows):
            yield from recordings_of_windows(item, f"windows {number}")
        else:
            raise TypeError(
                f"A corpus is built from files, mne Raw and Windows, got {type(item).__name__}. Name a "
                "folder, or pass a list of these."
            )


def recordings_of_windows(windows: Windows, name: str) -> Iterator[Recording]:
    """Part windows by subject, session and run, where these are known."""
    known = [] if windows.metadata is None else [fact for fact in ORIGIN if fact in windows.metadata]
    if not known:
        yield Recording(name, windows)
        return
    for values, rows in windows.metadata.groupby(known, sort=False).indices.items():
        values = values if isinstance(values, tuple) else (values,)
        origin = dict(zip(known, map(str, values), strict=True))
        label = ", ".join(f"{fact} {value}" for fact, value in origin.items())
        yield Recording(f"{name}: {label}", windows[rows], **origin)


def name_subject(recording: Recording, pattern: str) -> Recording:
    """Read the subject from the name of a recording."""
    found = re.search(pattern, recording.name)
    if found is None or not found.groups():
        raise ValueError(
            f"subject={pattern!r} finds no subject in {recording.name!r}. Pass a regular expression whose "
            r"first group is the subject, such as '(S\d+)R\d+'."
        )
    return replace(recording, subject=found[1])
