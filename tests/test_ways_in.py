"""One recording gives the same windows by every way in, to the precision of the file; a notch is told."""

import os
from pathlib import Path

import mne
import numpy as np
import pytest

from eeglab_models import load_windows
from eeglab_models.signals.simulation import SimulatedMotorImagery

SAID = ["left_hand", "right_hand"]


@pytest.fixture(scope="module")
def raw():
    nested = SimulatedMotorImagery().get_data([1])[1]
    run = next(iter(next(iter(nested.values())).values()))
    return run.load_data()


def save(raw, folder, way):
    folder.mkdir()
    if way == "FIF":
        raw.save(folder / "rec_raw.fif", fmt="double", verbose="error")
    elif way == "BIDS":
        from mne_bids import BIDSPath, write_raw_bids

        path = BIDSPath(root=folder, subject="01", session="0", task="imagery", run="0", datatype="eeg")
        write_raw_bids(raw, path, allow_preload=True, format="BrainVision", verbose="error")
    else:
        raw.export(folder / f"rec.{way.lower()}", verbose="error")
    return folder


def test_one_recording_by_every_way_in(raw, tmp_path):
    eeg = raw.copy().pick("eeg")
    asked = {"events": SAID, "notch": None}
    expected = load_windows(raw, **asked)
    n = len(expected)
    epochs = eeg.copy().filter(0.3, 75.0, verbose="error")
    events, codes = mne.events_from_annotations(epochs, verbose="error")
    seconds = (expected.data.shape[-1] - 1) / expected.sfreq
    epochs = mne.Epochs(epochs, events, codes, 0, seconds, baseline=None, preload=True, verbose="error")

    # Microvolts. EDF holds 16 bits of the largest amplitude, BrainVision single precision.
    ways = {
        "data set": (load_windows("SimulatedMotorImagery", 1, **asked)[:n], 1e-6),
        "data set of moabb": (load_windows(SimulatedMotorImagery(), [1], **asked)[:n], 1e-6),
        "moabb's raw dictionary": (load_windows({1: {"0": {"0": raw}}}, **asked), 1e-6),
        "list": (load_windows([raw], **asked), 1e-6),
        "FIF": (load_windows(save(eeg, tmp_path / "fif", "FIF") / "rec_raw.fif", **asked), 1e-6),
        "folder": (load_windows(tmp_path / "fif", **asked), 1e-6),
        "EDF": (load_windows(save(eeg, tmp_path / "edf", "EDF"), **asked), 0.05),
        "BIDS": (load_windows(save(eeg, tmp_path / "bids", "BIDS"), **asked), 1e-3),
        "epochs": (load_windows(epochs, events=SAID), 1e-3),
    }
    for way, (windows, limit) in ways.items():
        np.testing.assert_array_equal(windows.labels, expected.labels, err_msg=way)
        np.testing.assert_allclose(windows.data, expected.data, atol=limit, rtol=0, err_msg=way)


def test_a_data_set_of_moabb_is_its_files(monkeypatch):
    folder = Path(os.environ.get("MNE_DATA", "")) / "MNE-eegbci-data/files/eegmmidb/1.0.0/S001"
    if not os.environ.get("MNE_DATA") or not folder.is_dir():
        pytest.skip("MNE_DATA does not hold PhysioNet's motor imagery")
    monkeypatch.setenv("MOABB_DOWNLOAD_PROVIDER", "upstream")
    from moabb.datasets import PhysionetMI

    dataset = PhysionetMI(imagined=True)
    dataset.feet_runs = []
    files = [folder / f"S001R{run}.edf" for run in ("04", "08", "12")]
    names = {"left_hand": "T1", "right_hand": "T2"}

    theirs = load_windows(dataset, 1, events=SAID)
    ours = load_windows(files, events=names, tmax=3.0, notch=60)

    np.testing.assert_array_equal(ours.labels, theirs.labels)
    np.testing.assert_allclose(ours.data, theirs.data, atol=1e-6)
    # Only moabb states the mains frequency, which the report names.
    assert "Notch at 60 Hz" in theirs.report["filter"]
    assert "No notch" in load_windows(files, events=names, tmax=3.0).report["filter"]
