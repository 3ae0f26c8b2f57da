"""Set a computer up from a workshop kit, without a network: ``python kit/install.py [TARGET]``.

A kit carries a copy of this file. It needs nothing but Python, because nothing else is there yet; so all that
reads and verifies a kit stands here, and `kit` fills one.
"""

import sys

# Python looks for modules beside a script first: nothing of an unverified folder may run.
if __name__ == "__main__" and not sys.flags.safe_path:
    del sys.path[0]

import argparse
import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

# An older Python would fail below, with a message about something else.
if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit(f"Python 3.11 or newer is needed, this is {platform.python_version()}.")

__all__: list[str] = []

MANIFEST = "manifest.json"
REPOSITORY = "eeglab_models.zip"
WHEELS = "wheels"
# Weights and recordings: these folders grow while they are used, and nothing in them is run.
DATA = ("huggingface", "mne_data")
# What the wheels were chosen by.
PINS = ("pyproject.toml", "constraints.txt")
SETTINGS = {
    "HF_HOME": "{kit}/huggingface",
    "HF_HUB_OFFLINE": "1",
    "MNE_DATA": "{kit}/mne_data",
    "MOABB_DOWNLOAD_PROVIDER": "upstream",
}


@dataclass
class Item:
    """One thing that was asked for: commit or hash of its source, size and SHA-256 of its files by path."""

    name: str
    commit: str = ""
    files: dict[str, dict[str, int | str]] = field(default_factory=dict)
    problem: str = ""
    status: str = "present"

    @property
    def n_bytes(self) -> int:
        """Size of all files together."""
        return sum(file["size"] for file in self.files.values())


def settings(folder: str | Path) -> dict[str, str]:
    """Name the variables that make libraries use a folder offline; they must be set before Python starts."""
    folder = Path(folder).resolve()
    return {name: value.format(kit=folder) for name, value in SETTINGS.items()}


def check(folder: str | Path) -> list[str]:
    """Compare a folder with its manifest: a sentence for all that is missing or altered."""
    folder = Path(folder).resolve()
    items = read_manifest(folder)
    failed = [f"{item.name} was not fetched: {item.problem}" for item in items if item.problem]
    return failed + name_damage(folder, items)


def install(folder: str | Path, target: str | Path) -> int:
    """Unpack the repository, install its packages from the wheels, and return what its doctor ends with."""
    # What is there already is kept: a second call goes on after an interruption.
    folder, target = Path(folder).resolve(), Path(target).absolute()
    items = read_manifest(folder)
    print(f"Verifying {sum(len(item.files) for item in items)} files in {folder}", flush=True)
    damaged = name_damage(folder, items)
    if damaged:
        raise ValueError("\n".join([*damaged, "Copy the kit again, or prefetch again into its folder."]))
    refuse_other_computers(folder)
    unpack(folder, target)
    print(f"Installing packages into {target / '.venv'}, which takes some minutes", flush=True)
    python = make_environment(folder, target)
    doctor = [python, "-m", "eeglab_models", "doctor"]
    code = subprocess.run(doctor, cwd=target, env=os.environ | settings(folder), check=False).returncode
    print(explain_start(folder, target))
    return code


def refuse_other_computers(folder: Path) -> None:
    """Make sure that compiled wheels fit this Python and this system: pip would only name a package."""
    tags = [path.stem.split("-")[-3:] for path in sorted((folder / WHEELS).glob("*.whl"))]
    compiled = {(version, system) for version, abi, system in tags if version == abi}
    own = f"cp{sys.version_info.major}{sys.version_info.minor}"
    name = {"win32": "win", "darwin": "macosx"}.get(sys.platform, sys.platform)
    machine = platform.machine().lower()
    if compiled and not any(
        version == own and name in system and system.endswith((machine, "universal2"))
        for version, system in compiled
    ):
        versions = ", ".join(sorted({f"{version} on {system}" for version, system in compiled})[:6])
        raise ValueError(
            f"The wheels in {folder / WHEELS} are for {versions}; this is {own} on {name} {machine}. Start "
            "install.py with that version of Python, or ask for a kit made with --platform for this computer."
        )


def unpack(folder: Path, target: Path) -> None:
    """Unpack the repository, whole or not at all; one that is there may hold a participant's work."""
    archive = folder / REPOSITORY
    if not archive.is_file():
        raise FileNotFoundError(
            f"{folder} holds no {REPOSITORY}. Fill it: eeglab-models prefetch --workshop --folder {folder}."
        )
    with zipfile.ZipFile(archive) as file:
        if (target / "pyproject.toml").is_file():
            if any((target / name).read_bytes() != file.read(name) for name in PINS):
                raise FileExistsError(f"{target} holds another version. Name a new folder.")
            print(f"{target} is there already and stays as it is", flush=True)
            return
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise FileExistsError(f"{target} holds something else. Name a new folder.")
        print(f"Unpacking the repository into {target}", flush=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as part:
            for member in file.infolist():
                path = Path(file.extract(member, Path(part) / "repository"))
                # Python leaves permissions behind, and scripts need theirs.
                path.chmod(path.stat().st_mode | (member.external_attr >> 16 & 0o111))
            if target.exists():
                target.rmdir()
            shutil.move(Path(part) / "repository", target)


def make_environment(folder: Path, target: Path) -> Path:
    """Make ``.venv`` as ``make`` would, from the wheels only; return its Python."""
    import tomllib

    # Only the wheels of the kit count, whatever pip is told elsewhere on this computer.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    made = subprocess.run([sys.executable, "-m", "venv", ".venv"], cwd=target, env=environment, check=False)
    if made.returncode:
        raise RuntimeError(
            "Python could not make an environment. On Debian and Ubuntu: sudo apt install python3-venv. "
            f"Then delete {target / '.venv'} and start install.py again."
        )
    python = target / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    project = tomllib.loads((target / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = ",".join(project.get("optional-dependencies", {}))
    # The wheels were held against the manifest. With --require-hashes pip installs no folder that stays
    # editable; uv is not there yet.
    pip = [python, "-m", "pip", "install", "--quiet", "--no-index", "--find-links", folder / WHEELS]
    pip += ["--constraint", "constraints.txt", "--editable", f".[{extras}]"]
    if subprocess.run(pip, cwd=target, env=environment, check=False).returncode:
        raise RuntimeError(
            f"pip could not install the wheels of {folder / WHEELS}; it says above which is missing. "
            "Prefetch again, with --platform for this computer, and start install.py again."
        )
    # Newer than the files of PINS, so that make has nothing left to do.
    (target / ".venv" / ".ready").touch()
    return python


def explain_start(folder: Path, target: Path) -> str:
    """Say what to type in a new terminal."""
    if os.name == "nt":
        steps = f'call "{folder}\\activate.bat"', f'cd /d "{target}"', r".venv\Scripts\jupyter lab notebooks"
    else:
        steps = f"source {shlex.quote(f'{folder}/activate.sh')}", f"cd {shlex.quote(str(target))}", "make lab"
    first = f"Ready. Keep {folder}: weights and recordings stay there. In every new terminal:"
    return "\n  ".join([first, *steps])


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


def unlisted(folder: Path, items: Iterable[Item]) -> list[Path]:
    """Find files beside the data that no item names: nobody has verified them."""
    listed = {MANIFEST, *(file for item in items for file in item.files)}
    # A Mac leaves hidden files on every stick; nothing here takes one for a wheel or a script.
    names = {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if not path.is_dir()}
    return [
        path
        for name, path in names.items()
        if name.as_posix() not in listed
        and name.parts[0] not in DATA
        and not any(part.startswith(".") for part in name.parts)
    ]


def name_damage(folder: Path, items: Sequence[Item]) -> list[str]:
    """Say in one sentence each which files are missing, altered or foreign."""
    damaged = [
        f"{item.name}: {file} {state}." for item in items for file, state in damage(folder, item).items()
    ]
    foreign = unlisted(folder, items)
    return damaged + [f"{path.relative_to(folder).as_posix()} is not in the manifest." for path in foreign]


def read_manifest(folder: Path) -> list[Item]:
    """Read the list of items; names of files that lead out of the folder are refused."""
    path = folder / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} holds no {MANIFEST}. Fill it: eeglab-models prefetch --folder {folder}."
        )
    try:
        items = [read_item(item) for item in json.loads(path.read_text(encoding="utf-8"))["items"]]
        outside = [file for item in items for file in item.files if not is_inside(folder, file)]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is no manifest ({error}). Delete it and prefetch again.") from error
    if outside:
        raise ValueError(
            f"{path} names files outside its folder: {outside[0]}. Delete it and prefetch again."
        )
    return items


def read_item(stated: dict[str, Any]) -> Item:
    """Read one item, and check the types of all that it states."""
    item = Item(**stated)
    for file, facts in item.files.items():
        if {name: type(value) for name, value in facts.items()} != {"size": int, "sha256": str}:
            raise ValueError(f"{file!r} should have a size and a sha256")
    if not all(isinstance(text, str) for text in (item.name, item.commit, item.problem)):
        raise ValueError("name, commit and problem should be text")
    return item


def is_inside(folder: Path, file: str) -> bool:
    """Tell whether a path, and what it links to, lies in the folder."""
    parts = PurePosixPath(file)
    plain = not parts.is_absolute() and ".." not in parts.parts
    return plain and (folder / file).resolve().is_relative_to(folder)


def main() -> int:
    """Install from the kit that this file lies in; say in one sentence what is in the way."""
    parser = argparse.ArgumentParser(
        description="Set this computer up from the kit that this file lies in, without a network."
    )
    parser.add_argument("target", nargs="?", default="eeglab_models", help="new folder for the repository")
    try:
        return install(Path(__file__).parent, parser.parse_args().target)
    except (OSError, ValueError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
