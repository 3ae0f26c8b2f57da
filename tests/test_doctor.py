"""The doctor finds what is broken and says what to do."""

import sys

import pytest
from typer.testing import CliRunner

from eeglab_models.__main__ import app
from eeglab_models.experiments import doctor
from eeglab_models.experiments.doctor import Finding


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

    finding = doctor.check_weights()

    assert finding.status == "warning"
    assert "prefetch" in finding.remedy
