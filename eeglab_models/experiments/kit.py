"""Everything a workshop needs offline, in one folder: weights, recordings, and a manifest of both.

The folder holds ``huggingface`` (a cache of the Hub), ``mne_data`` (recordings, as moabb lays them out),
``manifest.json`` (every file with its size and SHA-256) and ``activate.sh`` (the settings that use them).
"""

import hashlib
import json
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

import mne

from eeglab_models.experiments.runs import write_json
from eeglab_models.models.download import CONFIG_FILE, WEIGHTS_FILE, fetch
from eeglab_models.signals.recordings import find_dataset

__all__ = ["Item", "check", "prefetch", "settings"]

MANIFEST = "manifest.json"
HUB_CACHE = "huggingface/hub"
RECORDINGS = "mne_data"
SETTINGS = {
    "HF_HOME": "{kit}/huggingface",
    "HF_HUB_OFFLINE": "1",
    "MNE_DATA": "{kit}/mne_data",
    "MOABB_DOWNLOAD_PROVIDER": "upstream",
}


@dataclass
class Item:
    """One thing that was asked for, and what came of it.

    Attributes
    ----------
    name : str
        A repository (``"user/model@revision"``) or a subject of a data set (``"PhysionetMI:1"``).
    commit : str
        Commit of the repository; empty for recordings.
    files : dict
        Size in bytes and SHA-256 of each file, by its path inside the folder.
    problem : str
        Why it could not be fetched; empty if it was.
    status : str
        ``"fetched"``, ``"present"`` or ``"failed"``.
    """

    name: str
    commit: str = ""
    files: dict[str, dict[str, int | str]] = field(default_factory=dict)
    problem: str = ""
    status: str = "present"

    @property
    def n_bytes(self) -> int:
        """Size of all files together."""
        return sum(file["size"] for file in self.files.values())


def prefetch(folder: str | Path, weights: Sequence[str] = (), datasets: Sequence[str] = ()) -> list[Item]:
    """Fill a folder with all that is needed offline; what is there already is kept.

    What fails does not stop the rest; the manifest remembers it until the next run. Recordings are fetched
    by loading them, so what is fetched is what loading needs, and is known to load.

    Parameters
    ----------
    folder : str or pathlib.Path
        Folder to fill; nothing is written outside it.
    weights : sequence of str
        Hub repositories, each ``"user/model"`` or ``"user/model@revision"``.
    datasets : sequence of str
        Names of moabb data sets, each with or without subjects: ``"PhysionetMI:1,2"``.

    Returns
    -------
    items : list of Item
        What came of each repository and of each subject.

    Raises
    ------
    ValueError
        If the folder holds a manifest that cannot be read.
    """
    folder = Path(folder).resolve()
    known = read_manifest(folder) if (folder / MANIFEST).exists() else []
    manifest = {item.name: item for item in known if not item.problem}
    (folder / RECORDINGS).mkdir(parents=True, exist_ok=True)
    write_activate(folder)
    names = []
    with settings_of(folder):
        for name, job in [*jobs_for_weights(folder, weights), *jobs_for_recordings(folder, datasets)]:
            names.append(name)
            problems = damage(folder, manifest[name]) if name in manifest else {}
            if name in manifest and not problems:
                continue
            for file in problems:
                (folder / file).resolve().unlink(missing_ok=True)
            others = {file for item in manifest.values() if item.name != name for file in item.files}
            manifest[name] = run(folder, name, job, others)
            write_manifest(folder, manifest.values())
    write_manifest(folder, manifest.values())
    return [manifest[name] for name in names]


def check(folder: str | Path) -> list[str]:
    """Compare a folder with its manifest.

    Parameters
    ----------
    folder : str or pathlib.Path
        A folder that `prefetch` filled.

    Returns
    -------
    problems : list of str
        What is missing or altered, one sentence each; empty if all is well.

    Raises
    ------
    FileNotFoundError
        If the folder has no manifest.
    ValueError
        If the manifest cannot be read.
    """
    folder = Path(folder).resolve()
    problems = []
    for item in read_manifest(folder):
        if item.problem:
            problems.append(f"{item.name} was not fetched: {item.problem}")
        problems += [f"{item.name}: {file} {state}." for file, state in damage(folder, item).items()]
    return problems


def settings(folder: str | Path) -> dict[str, str]:
    """Name the variables of the environment that make the libraries use a folder, without a network.

    Parameters
    ----------
    folder : str or pathlib.Path
        A folder that `prefetch` filled.

    Returns
    -------
    variables : dict of str
        Values by name. They must be set before Python starts.
    """
    folder = Path(folder).resolve()
    return {name: value.format(kit=folder) for name, value in SETTINGS.items()}


def write_activate(folder: Path) -> None:
    """Write a script for shells that sets the variables; it asks for its own place, so a kit may move."""
    lines = [
        "# Use this folder without a network: source activate.sh",
        'kit="$(cd "$(dirname "${BASH_SOURCE:-$0}")" && pwd)"',
        *(f'export {name}="{value.format(kit="$kit")}"' for name, value in SETTINGS.items()),
        "unset kit",
    ]
    (folder / "activate.sh").write_text("\n".join(lines) + "\n", encoding="utf-8")


@contextmanager
def settings_of(folder: Path) -> Iterator[None]:
    """Point the libraries at the folder while it is filled, so that none writes elsewhere."""
    before = dict(os.environ)
    for name in [name for name in os.environ if re.fullmatch(r"MNE_DATASETS_\w+_PATH", name)]:
        del os.environ[name]
    os.environ.update(
        MNE_DATA=str(folder / RECORDINGS),
        MOABB_DOWNLOAD_PROVIDER="upstream",
        HF_XET_CACHE=str(folder / "huggingface/xet"),
        # Where mne keeps its configuration, which could name another folder for a data set.
        _MNE_FAKE_HOME_DIR=str(folder / RECORDINGS),
    )
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


Job = Callable[[], tuple[str, list[Path]]]


def jobs_for_weights(folder: Path, weights: Iterable[str]) -> Iterator[tuple[str, Job]]:
    """List what is to be done for each repository."""
    for name in weights:
        source, _, revision = name.partition("@")
        yield f"{source}@{revision or 'main'}", partial(fetch_weights, folder, source, revision or "main")


def jobs_for_recordings(folder: Path, datasets: Iterable[str]) -> Iterator[tuple[str, Job]]:
    """List what is to be done for each subject of each data set."""
    for entry in datasets:
        name, _, listed = entry.partition(":")
        try:
            dataset = find_dataset(name)
            subjects = [int(number) for number in listed.split(",")] if listed else dataset.subject_list
        except ValueError as error:
            yield entry, partial(refuse, error)
            continue
        for subject in subjects:
            yield f"{name}:{subject}", partial(fetch_recordings, folder, name, subject)


def refuse(error: Exception) -> tuple[str, list[Path]]:
    """Do nothing but fail, in its turn."""
    raise error


def fetch_weights(folder: Path, source: str, revision: str) -> tuple[str, list[Path]]:
    """Download configuration and weights of one commit; return it and the files."""
    if Path(source).is_dir():
        raise ValueError(f"{source} is a folder, which needs no download. Name a repository of the Hub.")
    cache = folder / HUB_CACHE
    config = fetch(source, CONFIG_FILE, {"revision": revision, "cache_dir": cache})
    # From the same commit, even if the branch moves on meanwhile.
    commit = config.parent.name
    weights = fetch(source, WEIGHTS_FILE, {"revision": commit, "cache_dir": cache})
    reference = config.parents[2] / "refs" / revision
    return commit, [config, weights] + [reference] * (revision != commit)


def fetch_recordings(folder: Path, name: str, subject: int) -> tuple[str, list[Path]]:
    """Load one subject, which downloads it; return the files of all data sets."""
    from eeglab_models.signals.simulation import SimulatedMotorImagery

    dataset = find_dataset(name)
    recordings = folder / RECORDINGS
    if subject not in dataset.subject_list:
        first, *_, last = dataset.subject_list
        raise ValueError(f"{name} has no subject {subject}, only {first} to {last}. Name one of them.")
    if not isinstance(dataset, SimulatedMotorImagery):
        try:
            with warnings.catch_warnings(), mne.use_log_level("error"):
                warnings.simplefilter("ignore")
                dataset.get_data(subjects=[subject])
        # Each data set has a loader of its own, and they fail in every way there is.
        except Exception as error:
            raise ConnectionError(
                f"Subject {subject} of {name} could not be downloaded and loaded "
                f"({type(error).__name__}: {str(error)[:200]}). "
                f"Check the network, or put its files into {recordings}."
            ) from error
    paths = [path for path in sorted(recordings.rglob("*")) if path.is_file()]
    return "", [p for p in paths if not any(part.startswith(".") for part in p.relative_to(folder).parts)]


def run(folder: Path, name: str, job: Job, others: set[str]) -> Item:
    """Do one job and describe the files that no other item has, or say why it failed."""
    try:
        commit, paths = job()
    # Whatever it was, the other items are still wanted.
    except Exception as error:
        return Item(name, problem=" ".join(f"{error}".split()), status="failed")
    files = {path.relative_to(folder).as_posix(): path for path in paths}
    files = {file: describe(path) for file, path in files.items() if file not in others}
    return Item(name, commit, files, status="fetched")


def describe(path: Path) -> dict[str, int | str]:
    """Give a file's size and SHA-256."""
    with path.open("rb") as file:
        return {"size": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def damage(folder: Path, item: Item) -> dict[str, str]:
    """Name the files of an item that are missing or altered."""
    found = {}
    for file, stated in item.files.items():
        path = folder / file
        if not path.is_file():
            found[file] = "is missing"
        elif path.stat().st_size != stated["size"]:
            found[file] = f"was altered: expected {stated['size']} bytes, got {path.stat().st_size}"
        elif describe(path) != stated:
            found[file] = "was altered: its SHA-256 differs"
    return found


def read_manifest(folder: Path) -> list[Item]:
    """Read the list of items; names of files that lead out of the folder are refused."""
    path = folder / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} holds no {MANIFEST}. Fill it: eeglab-models prefetch --folder {folder}."
        )
    try:
        items = [Item(**item) for item in json.loads(path.read_text(encoding="utf-8"))["items"]]
        outside = [file for item in items for file in item.files if not is_inside(folder, file)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no manifest ({error}). Delete it and prefetch again.") from error
    if outside:
        raise ValueError(
            f"{path} names files outside its folder: {outside[0]}. Delete it and prefetch again."
        )
    return items


def is_inside(folder: Path, file: str) -> bool:
    """Tell whether a path, and what it links to, lies in the folder."""
    parts = PurePosixPath(file)
    plain = not parts.is_absolute() and ".." not in parts.parts
    return plain and (folder / file).resolve().is_relative_to(folder)


def write_manifest(folder: Path, items: Iterable[Item]) -> None:
    """Write the list of items in one step, so that an interruption leaves the old one or the new one."""
    items = [{key: value for key, value in asdict(item).items() if key != "status"} for item in items]
    write_json(folder / MANIFEST, {"items": items})
