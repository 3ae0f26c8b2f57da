"""pyproject.toml, constraints.txt and environment.yml name the same packages in the same versions."""

import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
CONDA_NAMES = {"pytorch": "torch"}


def requirements():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = project["dependencies"] + sum(project["optional-dependencies"].values(), [])
    return {canonicalize_name(Requirement(line).name): Requirement(line) for line in lines}


def pins():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return {
        canonicalize_name(name): version
        for name, version in (line.split("==") for line in lines if not line.startswith("#"))
    }


def conda_pins():
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (from_pip,) = (entry["pip"] for entry in dependencies if isinstance(entry, dict))
    entries = [entry for entry in dependencies + from_pip if isinstance(entry, str) and "=" in entry]
    named = (re.fullmatch(r"([\w.-]+)={1,2}([\w.]+)", entry).groups() for entry in entries)
    return {canonicalize_name(CONDA_NAMES.get(name, name)): version for name, version in named}


def test_constraints_pin_every_direct_dependency_inside_its_range():
    outside = {
        name: pins().get(name)
        for name, requirement in requirements().items()
        if pins().get(name) not in requirement.specifier
    }

    assert outside == {}


def test_conda_names_the_direct_dependencies_in_the_pinned_versions():
    expected = {name: pins()[name] for name in requirements()}

    conda = conda_pins()

    assert conda.pop("python") == "3.11"
    assert conda == expected


def test_torch_is_held_below_the_release_without_a_small_build():
    assert str(requirements()["torch"].specifier) == "<2.14,>=2.6"
