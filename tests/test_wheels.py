"""The wheels of a project, for this computer and for others."""

import pytest
from small_wheels import OWN, PYPROJECT, make_index, make_wheel, use_index

from eeglab_models.workshop.wheels import (
    HERE,
    compatible_tags,
    describe_platform,
    fetch_wheels,
    own_version,
    read_project,
)


@pytest.fixture
def index(tmp_path, monkeypatch):
    use_index(monkeypatch, tmp_path / "index")
    return make_index(tmp_path / "index")


def project(*dependencies, constraints=""):
    lines = ", ".join(f"'{line}'" for line in dependencies)
    pyproject = f'[build-system]\nrequires = []\n[project]\nname = "x"\ndependencies = [{lines}]\n'
    return read_project(pyproject, constraints)


def fetch(wanted, folder, platform):
    wheels = fetch_wheels(wanted, folder / "wheels", platform, own_version())
    assert all(path.is_file() for path in wheels)
    return sorted(path.name.split("-py3")[0].split(f"-{OWN}")[0] for path in wheels)


def test_a_project_needs_what_builds_it_and_all_of_its_extras_but_not_itself():
    pyproject = PYPROJECT.replace('["bigger"]', '["bigger", "eeglab_models[less]"]')

    assert read_project(pyproject, "").requirements == ("tiny_backend", "small>=1", "bigger")


def test_the_fingerprint_of_a_project_follows_its_pins():
    assert project("small").fingerprint == project("small").fingerprint
    assert project("small").fingerprint != project("bigger").fingerprint
    assert project("small").fingerprint != project("small", constraints="small==1.0").fingerprint


def test_wheels_for_this_computer_are_those_of_the_constraints(index, tmp_path):
    pinned = read_project(PYPROJECT, "small==1.0")

    assert {"bigger-1.0", "small-1.0", "tiny_backend-1.0"} <= set(fetch(pinned, tmp_path, HERE))


def test_wheels_that_are_there_are_not_downloaded_again(index, tmp_path):
    fetch(project("small"), tmp_path, HERE)
    for wheel in index.iterdir():
        wheel.unlink()

    assert fetch(project("small"), tmp_path, HERE) == ["small-1.1"]
    assert fetch(project("small"), tmp_path, "win_amd64") == ["small-1.1"]


def test_markers_are_read_as_on_the_other_computer(index, tmp_path):
    needs = [
        'mac; sys_platform == "darwin"',
        'glass; platform_machine == "AMD64"',
        'old; python_version < "3"',
    ]
    make_wheel(index, "core", requires=["small<1.1", *needs], tag=f"{OWN}-{OWN}-win_amd64")
    make_wheel(index, "glass")
    wanted = project("core", "bigger", 'penguin; sys_platform == "linux"')

    assert fetch(wanted, tmp_path, "win_amd64") == ["bigger-1.0", "core-1.0", "glass-1.0", "small-1.0"]


def test_requirements_of_extras_are_followed(index, tmp_path):
    make_wheel(
        index, "core", requires=['small; extra == "fast"', 'penguin; extra == "cold"'], extras=["fast"]
    )

    assert fetch(project("core"), tmp_path, "win_amd64") == ["core-1.0"]
    assert fetch(project("core", "core[fast]"), tmp_path, "win_amd64") == ["core-1.0", "small-1.1"]


def test_pins_hold_on_other_computers_too(index, tmp_path):
    wanted = project("small", constraints="# Pins\nsmall==1.0\nbigger==1.0\n")

    assert fetch(wanted, tmp_path, "win_amd64") == ["small-1.0"]


def test_packages_without_a_wheel_are_all_named(index, tmp_path):
    for name in ("core", "shell"):
        make_wheel(index, name, tag=f"{OWN}-{OWN}-win_amd64")

    with pytest.raises(FileNotFoundError, match="no wheel for macosx_14_0_arm64 .* of core, shell\\."):
        fetch(project("core", "small", "shell"), tmp_path, "macosx_14_0_arm64")


def test_wheels_for_older_systems_count(index, tmp_path):
    make_wheel(index, "core", tag=f"{OWN}-{OWN}-manylinux_2_17_x86_64")

    assert fetch(project("core"), tmp_path, "manylinux_2_28_x86_64") == ["core-1.0"]


def test_linux_has_names_from_before_versions_were_part_of_them():
    assert compatible_tags("manylinux_2_17_x86_64")[-3:] == [
        "manylinux2014_x86_64",
        "manylinux2010_x86_64",
        "manylinux1_x86_64",
    ]
    assert "manylinux2014_x86_64" not in compatible_tags("manylinux_2_12_x86_64")
    assert compatible_tags("macosx_14_0_arm64") == ["macosx_14_0_arm64"]


@pytest.mark.parametrize(
    ("platform", "facts"),
    [
        ("win_amd64", ("win32", "Windows", "nt", "AMD64")),
        ("macosx_14_0_arm64", ("darwin", "Darwin", "posix", "arm64")),
        ("manylinux_2_28_aarch64", ("linux", "Linux", "posix", "aarch64")),
        ("manylinux2014_x86_64", ("linux", "Linux", "posix", "x86_64")),
    ],
)
def test_a_platform_is_described_as_python_does_there(platform, facts):
    environment = describe_platform(platform, "3.12")

    names = ("sys_platform", "platform_system", "os_name", "platform_machine", "python_version")
    assert tuple(environment[name] for name in names) == (*facts, "3.12")


def test_the_latest_release_of_a_version_is_meant(index, tmp_path):
    make_wheel(index, "core", python=f">={own_version()}.7")

    assert fetch(project("core"), tmp_path, "win_amd64") == ["core-1.0"]


def test_an_unknown_platform_is_refused(index, tmp_path):
    with pytest.raises(ValueError, match="pip knows no platform 'Windows'. Name one as win_amd64"):
        fetch(project("small"), tmp_path, "Windows")


def test_this_computer_has_one_python(index, tmp_path):
    with pytest.raises(ValueError, match=r"are those of Python .*, got 2\.7\."):
        fetch_wheels(project("small"), tmp_path / "wheels", HERE, "2.7")


def test_what_pip_says_is_passed_on(index, tmp_path):
    with pytest.raises(ValueError, match="No matching distribution found for nothing"):
        fetch(project("nothing"), tmp_path, HERE)


@pytest.mark.parametrize("platform", [HERE, "win_amd64"])
def test_a_missing_network_is_not_taken_for_a_missing_wheel(tmp_path, monkeypatch, platform):
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")

    with pytest.raises(ConnectionError, match="pip could not reach its index"):
        fetch(project("nothing-of-this-name"), tmp_path, platform)
