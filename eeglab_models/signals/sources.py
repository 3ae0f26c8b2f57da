"""Where recordings lie, whose they are, and how to open them: files, folders, BIDS, data sets, lists."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mne
import numpy as np
import pandas as pd

from eeglab_models.configs import nearest
from eeglab_models.signals.annotations import meaning_of
from eeglab_models.signals.whole_files import check_gaps, check_size
from eeglab_models.signals.windows import Windows

if TYPE_CHECKING:
    from moabb.datasets.base import BaseDataset

EXTENSIONS = (".edf", ".bdf", ".fif", ".fif.gz", ".vhdr", ".set", ".gdf", ".cnt", ".nxe", ".lay")
EPOCHS = re.compile(r"[-_]epo\.fif(\.gz)?$")
# mne reads the further parts of a long FIF recording with the first one.
FURTHER_PART = re.compile(r"(-[1-9]\d*|_split-(?!0*1_)\d+_\w+)\.fif(\.gz)?$")
ORIGIN = ("subject", "session", "task", "run")
Signal = mne.io.BaseRaw | mne.BaseEpochs | Windows


@dataclass(frozen=True)
class Recording:
    """A recording that is not opened yet, told from all others by its name."""

    name: str
    source: Path | Signal | Callable[[], Signal]
    subject: Any = None
    session: Any = None
    task: Any = None
    run: Any = None
    # Other files of a BIDS data set tell about channels and mains frequency.
    in_bids: bool = False
    # What a table says of the whole recording, and its rows with an onset.
    facts: Mapping[str, Any] = field(default_factory=dict)
    rows: pd.DataFrame | None = None

    @property
    def described(self) -> bool:
        """Tell whether a table says what happens in the recording."""
        return "label" in self.facts or self.rows is not None

    @property
    def origin(self) -> dict[str, Any]:
        """Subject, session, task and run."""
        return {fact: getattr(self, fact) for fact in ORIGIN}

    def open(self) -> Signal:
        """Open the recording; a file's samples are read when they are used."""
        if callable(self.source):
            return self.source()
        if not isinstance(self.source, Path):
            return self.source
        check_size(self.source)
        check_gaps(self.source)
        if not self.in_bids:
            return read_file(self.source)
        from mne_bids import get_bids_path_from_fname, read_raw_bids

        return read_raw_bids(get_bids_path_from_fname(self.source, verbose="error"), verbose="error")


def read_file(path: Path) -> mne.io.BaseRaw | mne.BaseEpochs:
    """Read a continuous recording or epochs, whichever the file holds."""
    if not path.name.lower().endswith(EXTENSIONS):
        raise ValueError(f"{path} is no recording that mne reads; those end in {', '.join(EXTENSIONS)}.")
    with reading(path):
        if EPOCHS.search(path.name):
            return mne.read_epochs(path, verbose="warning")
        try:
            return mne.io.read_raw(path, preload=False, verbose="warning")
        except (TypeError, ValueError):
            # EEGLAB's files hold either.
            if path.suffix != ".set":
                raise
            return mne.read_epochs_eeglab(path, verbose="warning")


@contextmanager
def reading(name: str | Path) -> Iterator[None]:
    """Tell which recording could not be read, whatever its reader says."""
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"{name} cannot be read: {type(error).__name__}: {error}. Check that the file is whole."
        ) from error


def is_path(source: Any) -> bool:
    """Tell a path from the name of a data set; a folder that bears such a name is written ./NAME."""
    if isinstance(source, Path):
        return True
    if not isinstance(source, str):
        return False
    looks = source.lower().endswith(EXTENSIONS) or "/" in source or "\\" in source
    return looks or (Path(source).exists() and source not in datasets_by_name())


def find_recordings(
    source: Any, subject: str | None = None, table: str | Path | pd.DataFrame | None = None
) -> list[Recording]:
    """List the recordings of a file, a folder, a BIDS data set or a collection, in a fixed order."""
    alone = isinstance(source, str | Path | Signal)
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
    if subject is not None:
        recordings = [name_subject(item, subject) for item in recordings]
    return recordings if table is None else read_table(table, recordings)


def recordings_of_items(items: Any) -> Iterator[Recording]:
    """Take folders, files, raw recordings and windows one by one."""
    if isinstance(items, Mapping):
        yield from recordings_of_mapping(items)
        return
    for number, item in enumerate(items if isinstance(items, Iterable) else [items]):
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
        elif isinstance(item, mne.BaseEpochs):
            yield Recording(f"epochs {number}", item)
        elif isinstance(item, Windows):
            yield from recordings_of_windows(item, f"windows {number}")
        else:
            raise TypeError(
                "Recordings are files, folders, mne Raw, Epochs and Windows, lists and dictionaries of them, "
                f"arrays with info= and unit=, and moabb data sets, got {type(item).__name__}. Pass one of "
                "these."
            )


def recordings_of_mapping(items: Mapping[Any, Any], keys: tuple[Any, ...] = ()) -> Iterator[Recording]:
    """Take recordings by subject, by subject and session, or by these and run, as moabb gives them."""
    for key, item in items.items():
        own = (*keys, key)
        if isinstance(item, Mapping):
            yield from recordings_of_mapping(item, own)
        else:
            origin = dict(zip(("subject", "session", "run"), own, strict=False))
            for recording in recordings_of_items([item]):
                yield replace(recording, name=", ".join(map(str, own)), **origin)


def recordings_of_path(path: Path) -> Iterator[Recording]:
    """Take a file, the data set whose root a folder is, or all recordings of a folder and of those in it."""
    if not path.exists():
        near = nearest(path.name, [other.name for other in path.parent.glob("*")])
        hint = f"Did you mean {path.with_name(near)}?" if near else "Check its name."
        raise FileNotFoundError(f"There is no file {path}. {hint}")
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


def recordings_of_dataset(dataset: "BaseDataset", subjects: Sequence[Any]) -> Iterator[Recording]:
    """Open a moabb data set subject by subject."""
    for subject in subjects:
        yield from recordings_of_mapping(dataset.get_data([subject]))


def name_subject(recording: Recording, pattern: str) -> Recording:
    """Read the subject from the name of a recording."""
    found = re.search(pattern, recording.name)
    if found is None or not found.groups():
        raise ValueError(
            f"subject={pattern!r} finds no subject in {recording.name!r}. Pass a regular expression whose "
            r"first group is the subject, such as '(S\d+)R\d+'."
        )
    return replace(recording, subject=found[1])


def read_table(table: str | Path | pd.DataFrame, recordings: Sequence[Recording]) -> list[Recording]:
    """Give recordings what a table says of them: one label a file, or events with onset and label."""
    if not isinstance(table, pd.DataFrame):
        if not Path(table).is_file():
            raise FileNotFoundError(f"There is no table {table}. Check its name.")
        names = dict.fromkeys(("file", *ORIGIN), str)  # 01 is no number
        table = pd.read_csv(table, sep="\t" if str(table).endswith(".tsv") else ",", dtype=names)
    # Whose a recording is can be all that it does not tell itself.
    if not {"label", "subject"} & set(table) or ("file" not in table and len(recordings) > 1):
        raise ValueError(
            "A table needs the columns label, or subject where recordings hold events, and, for several "
            "recordings, file; onset and duration in seconds where labels are events. Got "
            f"{', '.join(map(str, table))}."
        )
    if "label" in table and table["label"].isna().any():
        raise ValueError(f"Row {int(table['label'].isna().argmax()) + 1} of the table has no label. Fill it.")
    files = table["file"].map(str) if "file" in table else pd.Series(recordings[0].name, table.index)
    names = {}
    for recording in recordings:
        path = Path(recording.name)
        names |= {spelling: recording.name for spelling in (path.name, path.stem, recording.name)}
    unknown = sorted(set(files) - set(names))
    if unknown:
        raise ValueError(
            f"The table names {unknown[0]!r}, which is none of the recordings. Did you mean "
            f"{nearest(unknown[0], names)!r}?"
        )
    owners, described = files.map(names), []
    for recording in recordings:
        rows = table[owners == recording.name]
        if not len(rows):
            # What the table leaves out is not asked for.
            continue
        facts = rows.drop(columns=["file", "onset", "duration"], errors="ignore").iloc[0].to_dict()
        origin = {fact: facts.pop(fact) for fact in ORIGIN if fact in facts}
        origin = {fact: str(value) for fact, value in origin.items() if pd.notna(value)}
        if "onset" in rows:
            facts.pop("label")
            described.append(replace(recording, rows=rows.reset_index(drop=True), facts=facts, **origin))
        elif len(rows) == 1:
            described.append(replace(recording, facts=facts, **origin))
        else:
            raise ValueError(
                f"The table has {len(rows)} rows for {recording.name} and no onset. Give one label a file, "
                "or onset and duration in seconds."
            )
    return described


def datasets_by_name() -> dict[str, type["BaseDataset"]]:
    """List moabb's data sets and ours."""
    from moabb.datasets.utils import dataset_list

    from eeglab_models.signals.shipped import RealArithmetic, RealEyes, RealMotorImagery
    from eeglab_models.signals.simulation import SimulatedMotorImagery

    own = (SimulatedMotorImagery, RealMotorImagery, RealEyes, RealArithmetic)
    return {dataset.__name__: dataset for dataset in [*dataset_list, *own]}


def find_dataset(name: str) -> "BaseDataset":
    """Build moabb's data set of this name, or one of ours; nothing is downloaded yet."""
    known = datasets_by_name()
    if name not in known:
        raise ValueError(f"There is no data set named {name!r}. Did you mean {nearest(name, known)!r}?")
    return known[name]()


def describe_source(name: str, table: str | None = None) -> tuple[list[Any], list[str]]:
    """List the subjects and the labels that a data set, or files and their table, hold."""
    if not is_path(name):
        dataset = find_dataset(name)
        return list(dataset.subject_list), list(dataset.event_id)
    recordings = find_recordings(name, table=table)
    subjects = list(dict.fromkeys(item.subject for item in recordings))
    if None in subjects and len(recordings) > 1:
        raise ValueError(
            f"{name} does not tell whose its {len(recordings)} recordings are. Name a table with the columns "
            "file, label and subject, or the root of a BIDS data set."
        )
    return [item for item in subjects if item is not None], sorted(set().union(*map(labels_of, recordings)))


def labels_of(recording: Recording) -> set[str]:
    """Tell the labels of a recording by its table or else by its header, without reading samples."""
    if "label" in recording.facts:
        return {str(recording.facts["label"])}
    if recording.rows is not None:
        return set(recording.rows["label"].map(str))
    signal = recording.open()
    if isinstance(signal, mne.BaseEpochs):
        return set(signal.event_id)
    return {name for name in map(str, signal.annotations.description) if meaning_of(name, {}) == "event"}


def spell_subject(subject: Any) -> str:
    """Spell a subject alike, whether it is called 1, "1" or "01"."""
    return str(subject).lstrip("0") or "0"


def choose_subjects(subjects: Any, known: Sequence[Any], where: str) -> list[Any]:
    """Read subjects given as one, as several or not at all, and name those that there are."""
    if subjects is None:
        return list(known)
    alone = isinstance(subjects, str | int | np.integer)
    chosen = [
        item.item() if isinstance(item, np.generic) else item for item in ([subjects] if alone else subjects)
    ]
    # YAML, tables and BIDS spell the same subject 1, "1" and "01".
    spelt = {spell_subject(item): item for item in known}
    if len(spelt) == len(known):
        chosen = [item if item in known else spelt.get(spell_subject(item), item) for item in chosen]
    unknown = [item for item in chosen if item not in known]
    if unknown or not chosen:
        whole = all(isinstance(item, int) for item in known) and list(known) == list(
            range(known[0], known[-1] + 1)
        )
        has = f"{known[0]} to {known[-1]}" if whole else ", ".join(map(str, known))
        raise ValueError(f"{where} has no subject {unknown}; it has {has}.")
    return chosen
