"""Everything a workshop needs offline, in one folder: wheels, weights, recordings, and a manifest of all.

The folder holds ``huggingface`` (a cache of the Hub), ``mne_data`` (recordings, as moabb lays them out),
``manifest.json`` (every file with its size and SHA-256), and ``activate.sh`` and ``activate.bat`` (the
settings that use them). For a workshop there are also ``wheels``, ``eeglab_models.zip`` (the repository) and
``install.py``, which sets a laptop up.
"""

import os
import re
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

import mne

from eeglab_models.files import replacing, write_json
from eeglab_models.models.download import CONFIG_FILE, WEIGHTS_FILE, fetch
from eeglab_models.signals.sources import find_dataset, is_path
from eeglab_models.workshop import install
from eeglab_models.workshop.install import (
    MANIFEST,
    PINS,
    REPOSITORY,
    SETTINGS,
    WHEELS,
    Item,
    damage,
    describe,
    read_manifest,
    unlisted,
)
from eeglab_models.workshop.wheels import HERE, UNFINISHED, Project, fetch_wheels, own_version, read_project

__all__ = ["prefetch"]

ROOT = Path(__file__).parents[2]
ACTIVATE = "activate"
HUB_CACHE = "huggingface/hub"
RECORDINGS = "mne_data"
# In CDPATH, cd would look elsewhere first and print where it went. Bash and zsh name the file that they read;
# dash only has it open.
ACTIVATE_SH = """\
# Use this folder without a network: source activate.sh
here="${{BASH_SOURCE:-$0}}"
for file in /proc/$$/fd/*; do
    case "$here" in */activate.sh | activate.sh) break ;; esac
    case "$(readlink "$file" 2>/dev/null)" in */activate.sh) here="$(readlink "$file")" ;; esac
done
kit="$(CDPATH= cd -- "$(dirname -- "$here")" && pwd -P)"
unset here file
if [ ! -f "$kit/manifest.json" ]; then
    unset kit
    echo "This shell does not tell where activate.sh lies. Source it in bash or zsh." >&2
    return 1
fi
{exports}
unset kit
"""


def prefetch(
    folder: str | Path,
    weights: Sequence[str] = (),
    datasets: Sequence[str] = (),
    *,
    workshop: bool = False,
    platforms: Sequence[str] = (HERE,),
    python_version: str | None = None,
) -> list[Item]:
    """Fill a folder with all that is needed offline; what is there already is kept.

    What fails does not stop the rest; the manifest remembers it until the next run. Recordings are fetched
    by loading them, so what is fetched is what loading needs, and is known to load.

    Parameters
    ----------
    folder : str or pathlib.Path
        Folder to fill; nothing is written outside it, but for what pip keeps in its cache.
    weights : sequence of str
        Hub repositories, each ``"user/model"`` or ``"user/model@revision"``.
    datasets : sequence of str
        Names of moabb data sets, each with or without subjects: ``"PhysionetMI:1,2"``.
    workshop : bool
        Whether to add what sets a laptop up: the last commit of this repository, wheels, and ``install.py``.
    platforms : sequence of str
        Computers to fetch wheels for, as pip names them: ``"win_amd64"``, ``"macosx_14_0_arm64"``.
    python_version : str or None
        Version of Python on other computers, as ``"3.12"``; None for the version that runs now.

    Returns
    -------
    items : list of Item
        What came of each repository, of each subject and of each platform.

    Raises
    ------
    ValueError
        If the folder holds a manifest that cannot be read.
    """
    folder = Path(folder).resolve()
    known = read_manifest(folder) if (folder / MANIFEST).exists() else []
    manifest = {item.name: item for item in known if not item.problem}
    for abandoned in folder.glob(f"{UNFINISHED}*"):
        shutil.rmtree(abandoned, ignore_errors=True)
    (folder / RECORDINGS).mkdir(parents=True, exist_ok=True)
    manifest[ACTIVATE] = run(folder, ACTIVATE, partial(write_activate, folder), set())
    jobs = [*jobs_for_weights(folder, weights), *jobs_for_recordings(folder, datasets)]
    if workshop:
        jobs += jobs_for_workshop(folder, manifest, platforms, python_version or own_version())
    names = []
    with settings_of(folder):
        for name, source, job in jobs:
            names.append(name)
            problems = damage(folder, manifest[name]) if name in manifest else {}
            if name in manifest and not problems and source in ("", manifest[name].commit):
                continue
            for file in problems:
                (folder / file).resolve().unlink(missing_ok=True)
            others = {file for item in manifest.values() if item.name != name for file in item.files}
            manifest[name] = run(folder, name, job, others)
            write_manifest(folder, manifest.values())
    for path in unlisted(folder, manifest.values()):
        # Of other pins. What else somebody put here is theirs, and named by the check.
        if path.parent.name == WHEELS:
            path.unlink()
    write_manifest(folder, manifest.values())
    return [manifest[name] for name in names]


def write_activate(folder: Path) -> tuple[str, list[Path]]:
    """Write scripts for shells that set the variables; they ask for their own place, so a kit may move."""
    exports = "\n".join(f'export {name}="{value.format(kit="$kit")}"' for name, value in SETTINGS.items())
    with replacing(folder / "activate.sh") as script:
        script.write_text(ACTIVATE_SH.format(exports=exports), encoding="utf-8", newline="\n")
    lines = [
        "@echo off",
        "rem Use this folder without a network: call activate.bat",
        # %~dp0 is the folder of the script, and ends in a backslash.
        *(f'set "{name}={value.format(kit="%~dp0.")}"' for name, value in SETTINGS.items()),
    ]
    with replacing(folder / "activate.bat") as script:
        script.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\r\n")
    return "", [folder / "activate.sh", folder / "activate.bat"]


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


# Returns a commit, or another hash of the source, and files.
Job = Callable[[], tuple[str, list[Path]]]
# Name of the item, what it must have been made from ("" if anything will do), and what makes it.
NamedJob = tuple[str, str, Job]


def jobs_for_weights(folder: Path, weights: Iterable[str]) -> Iterator[NamedJob]:
    """List what is to be done for each repository."""
    for name in weights:
        source, _, revision = name.partition("@")
        job = partial(fetch_weights, folder, source, revision or "main")
        yield f"{source}@{revision or 'main'}", "", job


def jobs_for_recordings(folder: Path, datasets: Iterable[str]) -> Iterator[NamedJob]:
    """List what is to be done for each subject of each data set."""
    for entry in datasets:
        name, _, listed = entry.partition(":")
        try:
            if is_path(entry):
                raise ValueError(
                    f"{entry} are recordings of your own, which need no download. Copy them beside the kit, "
                    "and name them by their path."
                )
            dataset = find_dataset(name)
            subjects = [int(number) for number in listed.split(",")] if listed else dataset.subject_list
        except ValueError as error:
            yield entry, "", partial(refuse, error)
            continue
        for subject in subjects:
            yield f"{name}:{subject}", "", partial(fetch_recordings, folder, name, subject)


def jobs_for_workshop(
    folder: Path, manifest: dict[str, Item], platforms: Sequence[str], python_version: str
) -> Iterator[NamedJob]:
    """List what is to be done for setting laptops up; wheels for other pins are no longer wanted."""
    try:
        commit = git("rev-parse", "HEAD").strip()
        project = read_project(*(git("show", f"{commit}:{file}") for file in PINS))
    except (OSError, ValueError) as error:
        yield "workshop", "", partial(refuse, error)
        return
    for name, item in list(manifest.items()):
        if name.startswith("wheels:") and item.commit != project.fingerprint:
            problem = "Its wheels are those of other pins. Prefetch them again."
            manifest[name] = Item(name, problem=problem, status="failed")
    yield "repository", commit, partial(archive_repository, folder, commit)
    installer = Path(install.__file__)
    yield "install.py", describe(installer)["sha256"], partial(copy_installer, folder, installer)
    for platform in platforms:
        job = partial(fetch_platform, folder, project, platform, python_version)
        yield f"wheels:{platform}:{python_version}", project.fingerprint, job


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


def git(*arguments: str | Path) -> str:
    """Ask git about the repository that this package lies in."""
    remedy = "Prefetch for a workshop from a clone of the repository, with git installed"
    # Without this, git would find the repository around an environment.
    if not (ROOT / ".git").exists():
        raise FileNotFoundError(f"{ROOT} is no clone. {remedy}.")
    # Line ends as in the repository, whatever this computer prefers.
    command = ["git", "-C", str(ROOT), "-c", "core.autocrlf=false", *map(str, arguments)]
    try:
        return subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout
    except FileNotFoundError as error:
        raise FileNotFoundError(f"There is no git. {remedy}.") from error
    except subprocess.CalledProcessError as error:
        raise ValueError(f"git failed ({' '.join(error.stderr.split())}). {remedy}.") from error


def archive_repository(folder: Path, commit: str) -> tuple[str, list[Path]]:
    """Pack all files of a commit."""
    with replacing(folder / REPOSITORY) as archive:
        git("archive", "--format=zip", "--output", archive, commit)
    return commit, [folder / REPOSITORY]


def copy_installer(folder: Path, installer: Path) -> tuple[str, list[Path]]:
    """Copy what sets a laptop up."""
    with replacing(folder / installer.name) as copy:
        shutil.copyfile(installer, copy)
    return describe(folder / installer.name)["sha256"], [folder / installer.name]


def fetch_platform(
    folder: Path, project: Project, platform: str, python_version: str
) -> tuple[str, list[Path]]:
    """Download the wheels for one platform; return what they were chosen by, and the files."""
    return project.fingerprint, fetch_wheels(project, folder / WHEELS, platform, python_version)


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


def write_manifest(folder: Path, items: Iterable[Item]) -> None:
    """Write the list of items in one step, so that an interruption leaves the old one or the new one."""
    items = [{key: value for key, value in asdict(item).items() if key != "status"} for item in items]
    write_json(folder / MANIFEST, {"items": items})
