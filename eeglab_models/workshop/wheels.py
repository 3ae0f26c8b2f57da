"""Wheels of a project and of all that it needs, for this computer or for another one."""

import hashlib
import platform
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name, parse_wheel_filename

__all__: list[str] = []

HERE = "this computer"
PLATFORM = re.compile(r"(win|macosx|manylinux)(?:_?(\d+)(?:_(\d+))?)?_([a-z]\w+)")
# What markers of requirements ask for, by the first word of a platform.
SYSTEMS = {
    "win": {"sys_platform": "win32", "platform_system": "Windows", "os_name": "nt"},
    "macosx": {"sys_platform": "darwin", "platform_system": "Darwin", "os_name": "posix"},
    "manylinux": {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"},
}
# Folder of a download that goes on, or that was killed.
UNFINISHED = ".wheels-"
LEGACY = {"2014": 17, "2010": 12, "1": 5}


@dataclass(frozen=True)
class Project:
    """What a project needs to be built and to run with all of its extras, and the text of its constraints."""

    requirements: tuple[str, ...]
    constraints: str

    @property
    def fingerprint(self) -> str:
        """Hash that changes whenever other wheels are needed."""
        text = "\n".join([*self.requirements, self.constraints])
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def pins(self) -> dict[str, SpecifierSet]:
        """Versions of the constraints, by name."""
        lines = [line for line in self.constraints.splitlines() if line and not line.startswith("#")]
        return {canonicalize_name(pin.name): pin.specifier for pin in map(Requirement, lines)}


def read_project(pyproject: str, constraints: str) -> Project:
    """Gather what a project needs."""
    read = tomllib.loads(pyproject)
    extras = read["project"].get("optional-dependencies", {}).values()
    lines = [*read["build-system"]["requires"], *read["project"].get("dependencies", []), *sum(extras, [])]
    own = canonicalize_name(read["project"]["name"])
    return Project(
        tuple(line for line in lines if canonicalize_name(Requirement(line).name) != own), constraints
    )


def fetch_wheels(project: Project, folder: Path, target: str, python_version: str) -> list[Path]:
    """Download the wheels of a project; those that the folder holds are not downloaded again."""
    if target == HERE and python_version != own_version():
        raise ValueError(
            f"Wheels for {HERE} are those of Python {own_version()}, got {python_version}. Name a platform."
        )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=UNFINISHED) as part:
        if target == HERE:
            fetch_here(project, folder, Path(part))
        else:
            fetch_for(project, folder, Path(part), target, python_version)
        return [path.replace(folder / path.name) for path in sorted(Path(part).glob("*.whl"))]


def fetch_here(project: Project, folder: Path, part: Path) -> None:
    """Let pip choose for this computer, and build what is published as source only."""
    constraints, requirements = part / "constraints.txt", part / "requirements.txt"
    constraints.write_text(project.constraints, encoding="utf-8")
    requirements.write_text("\n".join(project.requirements), encoding="utf-8")
    wanted = ["--constraint", constraints, "--requirement", requirements]
    run_pip("wheel", "--wheel-dir", part, "--find-links", folder, *wanted)


def fetch_for(project: Project, folder: Path, part: Path, target: str, python_version: str) -> None:
    """Follow the requirements of every wheel ourselves: pip reads their markers as if for this computer."""
    # uv resolves for other platforms, but reads none of pip's settings (mirrors, indexes of torch's builds),
    # knows a fixed list of platforms, and names only the first of the packages without a wheel.
    environment = describe_platform(target, python_version)
    options = ["--no-deps", "--only-binary=:all:", "--implementation", "cp"]
    options += [
        "--python-version",
        environment["python_full_version"],
        "--find-links",
        folder,
        "--dest",
        part,
    ]
    for tag in compatible_tags(target):
        options += ["--platform", tag]
    pins, wheels, lacking, followed = project.pins, {}, [], set()
    queue = [Requirement(line) for line in project.requirements]
    queue = [requirement for requirement in queue if applies(requirement, environment)]
    while queue:
        wanted: dict[str, SpecifierSet] = {}
        for requirement in queue:
            name = canonicalize_name(requirement.name)
            wanted[name] = pins.get(name) or wanted.get(name, SpecifierSet()) & requirement.specifier
        new = [f"{name}{wanted[name]}" for name in sorted(wanted.keys() - wheels.keys() - set(lacking))]
        lacking += download(new, options)
        wheels = {parse_wheel_filename(path.name)[0]: path for path in part.glob("*.whl")}
        asked = {(canonicalize_name(needed.name), *sorted(needed.extras)) for needed in queue} - followed
        followed |= asked
        queue = [
            needed
            for name, *extras in sorted(asked)
            if name in wheels
            for needed in requirements_of(wheels[name], extras, environment)
        ]
    if lacking:
        raise FileNotFoundError(
            f"There is no wheel for {target} and Python {python_version} of {', '.join(lacking)}. "
            "Name another platform or another --python-version."
        )


def download(requirements: list[str], options: list[str | Path]) -> list[str]:
    """Download what there is; name the packages that have no wheel."""
    lacking = []
    while requirements:
        try:
            run_pip("download", *options, *requirements)
            break
        except ValueError as error:
            found = re.search(r"No matching distribution found for ([\w.-]+)", str(error))
            if not found:
                raise
            name = canonicalize_name(found[1])
            lacking.append(name)
            requirements = [line for line in requirements if Requirement(line).name != name]
    return lacking


def requirements_of(wheel: Path, extras: Iterable[str], environment: dict[str, str]) -> Iterator[Requirement]:
    """Read what a wheel needs in an environment."""
    (distribution,) = distributions(path=[str(wheel)])
    for line in distribution.requires or []:
        requirement = Requirement(line)
        if applies(requirement, environment, extras):
            yield requirement


def applies(requirement: Requirement, environment: dict[str, str], extras: Iterable[str] = ()) -> bool:
    """Tell whether an environment needs a requirement, with extras or without."""
    marker = requirement.marker
    return marker is None or any(marker.evaluate(environment | {"extra": extra}) for extra in ("", *extras))


def describe_platform(target: str, python_version: str) -> dict[str, str]:
    """Say what markers would find on a platform."""
    found = PLATFORM.fullmatch(target)
    if not found:
        raise ValueError(
            f"pip knows no platform {target!r}. Name one as win_amd64, macosx_14_0_arm64 or "
            f"manylinux_2_28_x86_64, or {HERE!r}."
        )
    system, *_, machine = found.groups()
    # Some packages ask for more than the first release of a version.
    latest = f"{python_version}.99"
    full = {"python_full_version": latest, "implementation_version": latest}
    machine = machine.upper() if system == "win" else machine
    facts = {"platform_machine": machine, "python_version": python_version}
    return {**default_environment(), **SYSTEMS[system], **facts, **full}


def compatible_tags(target: str) -> list[str]:
    """List older platforms whose wheels run on this one; for macOS and Windows, pip knows them itself."""
    system, major, minor, machine = PLATFORM.fullmatch(target).groups()
    if system != "manylinux" or not minor:
        return [target]
    older = [f"manylinux_{major}_{number}_{machine}" for number in range(int(minor), 4, -1)]
    # The names from before versions of the C library were part of them.
    return older + [f"manylinux{name}_{machine}" for name, since in LEGACY.items() if since <= int(minor)]


def run_pip(*arguments: str | Path) -> None:
    """Run pip; say in its own words what went wrong. Its progress goes to the terminal."""
    command = [sys.executable, "-m", "pip", *map(str, arguments)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"pip ended with {done.returncode}"]
        errors = [line for line in lines if line.startswith("ERROR: ")] or lines
        # Without a network pip finds no distribution of anything, and says why in its warnings.
        if "WARNING: Retrying" in done.stderr:
            raise ConnectionError(f"pip could not reach its index ({errors[-1]}). Check the network.")
        raise ValueError(errors[-1].removeprefix("ERROR: "))


def own_version() -> str:
    """Give the version of Python that runs now."""
    return ".".join(platform.python_version_tuple()[:2])
