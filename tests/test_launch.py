"""What starts the course elsewhere agrees with the pins, and the instructor's page with the course."""

import json
import re
import tomllib
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from eeglab_models.workshop.doctor import CHECKS, PORT

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REPOSITORY = PROJECT["urls"]["Documentation"]
CONTAINER = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
LAUNCH = (ROOT / "docs" / "launch.md").read_text()
INSTRUCTOR = (ROOT / "docs" / "instructor.md").read_text()
LESSONS = sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"))


def test_container_and_conda_have_the_oldest_python_that_is_supported():
    (_, container) = CONTAINER["image"].split(":")
    (conda,) = [
        line.removeprefix("python=")
        for line in yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
        if str(line).startswith("python=")
    ]

    assert f">={container}" == f">={conda}" == PROJECT["requires-python"]


def test_the_container_is_set_up_by_the_makefile():
    make, target = CONTAINER["postCreateCommand"].split()

    assert make == "make"
    assert f"READY := {target}\n" in (ROOT / "Makefile").read_text()


def test_the_container_forwards_the_port_of_jupyterlab():
    assert CONTAINER["forwardPorts"] == [PORT]


def test_colab_installs_the_pinned_versions_from_the_repository():
    (cell,) = re.findall(r"```text\n(.*?)```", LAUNCH, flags=re.DOTALL)
    (extra,) = re.findall(r'-e "\.\[(\w+)\]"', cell)

    assert f"git clone --depth 1 {REPOSITORY}\n" in cell
    assert " -c constraints.txt " in cell
    assert extra in PROJECT["optional-dependencies"]


def test_binder_opens_a_lesson_of_the_repository():
    (address,) = re.findall(r"\((https://mybinder\.org/[^)]+)\)", LAUNCH)
    parts = urlsplit(address)
    (lesson,) = parse_qs(parts.query)["labpath"]

    assert parts.path == f"/v2/gh{urlsplit(REPOSITORY).path}/HEAD"
    assert (ROOT / lesson).is_file()
    assert (ROOT / "environment.yml").is_file()


@pytest.mark.parametrize("lesson", LESSONS)
def test_the_instructor_has_points_and_answers_for_every_lesson(lesson):
    link = f"[{lesson}](notebooks/{lesson}.ipynb)"

    assert f"### {link}\n" in INSTRUCTOR
    section = INSTRUCTOR.split(f"### {link}\n")[1].split("\n##")[0]
    for part in ("**Say**", "**Answer"):
        assert part in section, f"{lesson} has no {part}"


@pytest.mark.parametrize("check", CHECKS)
def test_the_instructor_knows_a_cure_for_every_finding(check):
    assert f"`{check}`" in INSTRUCTOR


@pytest.mark.parametrize("page", ["instructor.md", "launch.md"])
def test_pages_link_to_what_is_there(page):
    for link in re.findall(r"\]\((?!http)([^)#]+)", (ROOT / "docs" / page).read_text()):
        assert (ROOT / link).exists() or (ROOT / "docs" / link).exists(), link
