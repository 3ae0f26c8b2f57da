"""The doctor finds what is broken and says what to do."""

import importlib.metadata
import socket
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from eeglab_models.__main__ import app
from eeglab_models.workshop import doctor, install, kit
from eeglab_models.workshop.doctor import Finding


@pytest.fixture
def command(monkeypatch):
    """Run the command with checks of the test's own."""

    def run(*findings):
        checks = {finding.name: lambda finding=finding: finding for finding in findings}
        monkeypatch.setattr(doctor, "CHECKS", checks)
        return CliRunner().invoke(app, ["doctor"])

    return run


def test_every_quick_check_passes_or_says_what_to_do():
    slow = {"kernel"}
    findings = [check() for name, check in doctor.CHECKS.items() if name not in slow]

    assert all(finding.found for finding in findings)
    assert all(finding.remedy for finding in findings if finding.status != "ok")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_the_kernel_of_notebooks_is_this_python():
    assert doctor.check_kernel().status == "ok"


def test_another_pythons_kernel_is_found(monkeypatch):
    monkeypatch.setattr(sys, "prefix", "/elsewhere")

    finding = doctor.check_kernel()

    assert finding.status == "broken"
    assert "ipykernel install" in finding.remedy


def test_a_warning_ends_well_and_something_broken_does_not(command):
    warned = command(Finding("disk", "warning", "3 GB free", "Free some space."))
    broken = command(Finding("disk", "broken", "0 GB free", "Free some space."))

    assert warned.exit_code == 0
    assert broken.exit_code == 1
    assert "disk: Free some space." in broken.output


def test_all_well_is_said(command):
    answer = command(Finding("disk", "ok", "9 GB free"))

    assert answer.exit_code == 0
    assert "Nothing to mend." in answer.output


def test_a_check_that_breaks_is_a_finding_itself(monkeypatch):
    def breaks():
        raise ImportError("no module named torch")

    monkeypatch.setattr(doctor, "CHECKS", {"torch": breaks})

    (finding,) = doctor.diagnose()

    assert finding.status == "broken"
    assert "no module named torch" in finding.found


def test_a_full_disk_is_broken_and_a_nearly_full_one_a_warning(monkeypatch):
    for free, status in ((1e8, "broken"), (1e9, "warning"), (1e11, "ok")):
        monkeypatch.setattr(
            doctor.shutil, "disk_usage", lambda path, free=free: type("Usage", (), {"free": free})
        )

        assert doctor.check_disk().status == status


def test_a_data_folder_that_is_not_there_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("MNE_DATA", str(tmp_path / "lost"))

    finding = doctor.check_recordings()

    assert finding.status == "warning"
    assert "mkdir -p" in finding.remedy


def test_recordings_are_listed(monkeypatch, tmp_path):
    (tmp_path / "MNE-eegbci-data").mkdir()
    monkeypatch.setenv("MNE_DATA", str(tmp_path))

    assert "MNE-eegbci-data" in doctor.check_recordings().found


def test_offline_without_weights_is_a_warning(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for name in ("MNE_DATA", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)

    finding = doctor.check_weights()

    assert finding.status == "warning"
    assert "prefetch" in finding.remedy


def test_versions_other_than_the_pinned_ones_are_listed(monkeypatch, tmp_path):
    installed = {"one": "1.0+cpu", "two": "2.0", **{f"more{number}": "1.0" for number in range(7)}}

    def version(name):
        if name not in installed:
            raise importlib.metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(doctor, "CONSTRAINTS", tmp_path / "constraints.txt")
    doctor.CONSTRAINTS.write_text("# Pins\none==1.0\ntwo==2.0\nthree==3.0\n")
    same = doctor.check_versions()
    doctor.CONSTRAINTS.write_text("one==1.0\ntwo==2.1\n" + "".join(f"more{i}==2\n" for i in range(7)))
    other = doctor.check_versions()

    assert (same.status, same.found) == ("ok", "2 packages as in constraints.txt")
    assert other.status == "warning"
    assert other.found.startswith("two 2.0 instead of 2.1, more0 1.0 instead of 2, ")
    assert other.found.endswith(" and 2 more")


def test_without_constraints_versions_are_not_compared(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "CONSTRAINTS", tmp_path / "constraints.txt")

    assert doctor.check_versions().found.startswith("not compared")


@pytest.mark.parametrize(
    ("total", "free", "status", "remedy"),
    [
        (8e9, 6e9, "ok", ""),
        (8e9, 1e9, "warning", "Close other"),
        (3.9e9, 3e9, "warning", "Open one notebook"),
    ],
)
def test_a_small_memory_is_another_warning_than_a_full_one(monkeypatch, total, free, status, remedy):
    import psutil

    memory = type("Memory", (), {"total": total, "available": free})
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)

    finding = doctor.check_memory()

    assert finding.status == status
    assert finding.remedy.startswith(remedy)


def test_a_folder_that_cannot_be_written_to_is_broken(tmp_path):
    fine = doctor.check_working_folder(tmp_path)
    closed = doctor.check_working_folder(tmp_path / "gone")

    assert (fine.status, fine.found) == ("ok", str(tmp_path))
    assert closed.status == "broken"
    assert closed.found == f"{tmp_path / 'gone'} cannot be written to (No such file or directory)"
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def activated(monkeypatch, tmp_path):
    """A kit in use, by another spelling of its name."""
    kit.prefetch(tmp_path / "kit")
    (tmp_path / "link").symlink_to(tmp_path / "kit")
    for name, value in install.settings(tmp_path / "kit").items():
        monkeypatch.setenv(name, value.replace("/kit/", "/link/"))
    return tmp_path / "kit"


def test_a_kit_in_use_is_whole(activated):
    finding = doctor.check_kit()

    assert (finding.status, finding.found) == ("ok", f"{activated} is complete")


def test_a_kit_without_weights_is_meant_so(activated, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(activated / "huggingface" / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    finding = doctor.check_weights()

    assert finding.status == "ok"
    assert finding.found.endswith("the kit brings none")


def test_a_kit_that_lacks_a_file_is_a_warning(activated):
    files = {"mne_data/lost.edf": {"size": 1, "sha256": ""}}
    kit.write_manifest(activated, [*kit.read_manifest(activated), kit.Item("Own:1", files=files)])

    finding = doctor.check_kit()

    assert finding.status == "warning"
    assert finding.found == f"{activated}: Own:1: mne_data/lost.edf is missing."
    assert f"prefetch --check {activated}" in finding.remedy


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, '{"items": [{"name": 1}]}'])
def test_a_kit_whose_manifest_is_broken_is_a_warning_about_the_kit(activated, text):
    (activated / "manifest.json").write_text(text)

    finding = doctor.CHECKS["kit"]()

    assert finding.status == "warning"
    assert finding.found.startswith(f"{activated / 'manifest.json'} is no manifest")
    assert finding.remedy == "Copy the kit again, or prefetch again into its folder."


def test_a_kit_that_is_used_in_part_is_a_warning(activated, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.delenv("MNE_DATA")

    finding = doctor.check_kit()

    assert finding.status == "warning"
    assert finding.found == f"{activated}, but HF_HUB_OFFLINE, MNE_DATA not set to it"
    assert "activate.sh" in finding.remedy


def test_no_kit_is_fine(monkeypatch, tmp_path):
    monkeypatch.setenv("MNE_DATA", str(tmp_path))
    monkeypatch.delenv("HF_HOME", raising=False)

    assert doctor.check_kit().found == "none in use"


def test_a_taken_port_is_a_warning():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        taken = doctor.check_port(port)
    free = doctor.check_port(port)

    assert (taken.status, free.status) == ("warning", "ok")


def test_a_missing_browser_is_a_warning():
    there = doctor.check_browser(["no-such-browser", "sh"])
    missing = doctor.check_browser(["no-such-browser"])

    assert (there.status, Path(there.found).name) == ("ok", "sh")
    assert missing.status == "warning"
