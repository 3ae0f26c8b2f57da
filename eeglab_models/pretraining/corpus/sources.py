"""Recordings to build a corpus from: where they lie, whose they are, and how to open them."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mne

from eeglab_models.signals.windows import Windows

# EDF, BDF, FIF, BrainVision, EEGLAB and GDF.
EXTENSIONS = (".edf", ".bdf", ".fif", ".fif.gz", ".vhdr", ".set", ".gdf")
# mne reads the further parts of a long FIF recording with the first one.
FURTHER_PART = re.compile(r"(-[1-9]\d*|_split-(?!0*1_)\d+_\w+)\.fif(\.gz)?$")
ORIGIN = ("subject", "session", "task", "run")


@dataclass(frozen=True)
class Recording:
    """A recording that is not opened yet, told from all others by its name."""

    name: str
    source: Any
    subject: str | None = None
    session: str | None = None
    task: str | None = None
    run: str | None = None
    # Other files of a BIDS data set tell about channels and mains frequency.
    in_bids: bool = False

    @property
    def origin(self) -> dict[str, str | None]:
        """Subject, session, task and run."""
        return {fact: getattr(self, fact) for fact in ORIGIN}

    def open(self) -> mne.io.BaseRaw | Windows:
        """Open the recording; a file's samples are read when they are used."""
        if not isinstance(self.source, Path):
            return self.source
        if not self.in_bids:
            return mne.io.read_raw(self.source, preload=False, verbose="error")
        from mne_bids import get_bids_path_from_fname, read_raw_bids

        return read_raw_bids(get_bids_path_from_fname(self.source, verbose="error"), verbose="error")


def find_recordings(source: Any, subject: str | None = None) -> list[Recording]:
    """List the recordings of a folder, of a BIDS data set or of a collection, in a fixed order."""
    alone = isinstance(source, str | Path | mne.io.BaseRaw | Windows)
    recordings = list(recordings_of_items([source] if alone else source))
    if not recordings:
        raise ValueError(f"{source} holds no recording. Name files, or a folder of them.")
    if isinstance(source, str | Path) and Path(source).is_dir():
        # A folder on its own may move, and its recordings keep their names.
        own = [item.source.relative_to(source).as_posix() for item in recordings]
        recordings = [replace(item, name=name) for item, name in zip(recordings, own, strict=True)]
    counts = Counter(recording.name for recording in recordings)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise ValueError(f"Two recordings have the same name, {', '.join(twice[:3])}. Leave one of them out.")
    return recordings if subject is None else [name_subject(item, subject) for item in recordings]


def recordings_of_items(items: Iterable[Any]) -> Iterator[Recording]:
    """Take folders, files, raw recordings and windows one by one."""
    for number, item in enumerate(items):
        if isinstance(item, str | Path):
            found = list(recordings_of_path(Path(item)))
            if not found:
                raise ValueError(
                    f"{item} holds no recording. Name a folder of {', '.join(EXTENSIONS)} files."
                )
            yield from found
        elif isinstance(item, mne.io.BaseRaw):
            file = item.filenames[0] if item.filenames else None
            yield Recording(f"recording {number}" if file is None else Path(file).as_posix(), item)
        elif isinstance(item, Windows):
            yield from recordings_of_windows(item, f"windows {number}")
        else:
            raise TypeError(
                f"A corpus is built from folders, files, mne Raw and Windows, got {type(item).__name__}. "
                "Name a folder, or pass a list of these."
            )


def recordings_of_path(path: Path) -> Iterator[Recording]:
    """Take a file, the data set whose root a folder is, or all recordings of a folder and of those in it."""
    if not path.is_dir():
        yield Recording(path.as_posix(), path)
    elif (path / "dataset_description.json").is_file():
        yield from recordings_of_bids(path)
    else:
        for file in sorted(path.rglob("*")):
            known = file.name.lower().endswith(EXTENSIONS) and not file.name.startswith(".")
            if known and file.is_file() and not FURTHER_PART.search(file.name):
                yield Recording(file.as_posix(), file)


def recordings_of_bids(root: Path) -> Iterator[Recording]:
    """Find the EEG recordings of a BIDS data set."""
    from mne_bids import find_matching_paths

    paths = find_matching_paths(
        root, datatypes="eeg", suffixes="eeg", extensions=[".edf", ".bdf", ".vhdr", ".set"]
    )
    for path in sorted(paths, key=lambda path: path.fpath):
        origin = {fact: getattr(path, fact) for fact in ORIGIN}
        yield Recording(path.fpath.as_posix(), path.fpath, **origin, in_bids=True)


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
