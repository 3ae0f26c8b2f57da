"""Real recordings, prepared for every model: PhysioNet's motor imagery and mental arithmetic."""

import os
from pathlib import Path

import mne
import numpy as np
import pytest
import torch

from eeglab_models import EEGDINO, EEGPT, CodeBrain, FBLightConvNet, load_windows, prepare
from eeglab_models.signals.mental_arithmetic import load_arithmetic

SHARED = Path(os.environ.get("MNE_DATA", "nowhere")).parent
MOTOR_IMAGERY = SHARED / "mne_data/MNE-eegbci-data/files/eegmmidb/1.0.0/S001/S001R04.edf"
ARITHMETIC = SHARED / "eegmat/Subject00_2.edf"
pytestmark = pytest.mark.skipif(
    not (MOTOR_IMAGERY.is_file() and ARITHMETIC.is_file()),
    reason="MNE_DATA names no folder of PhysioNet recordings beside a folder eegmat",
)
SECONDS = 4.0


def build(name, ch_names):
    """Build a small model for these channels."""
    signal = {
        "n_outputs": 2,
        "input_window_seconds": SECONDS,
        "chs_info": [{"ch_name": channel} for channel in ch_names],
    }
    if name == "CodeBrain":
        return CodeBrain(sfreq=200, num_res_layers=1, **signal).eval()
    if name == "EEGDINO":
        return EEGDINO(sfreq=200, n_layer=2, **signal).eval()
    if name == "EEGPT":
        known = [channel for channel in ch_names if channel.upper() in EEGPT.contract.ch_names]
        signal["chs_info"] = [{"ch_name": channel} for channel in known]
        return EEGPT(sfreq=256, depth=1, patch_stride=64, chan_proj_type="none", **signal).eval()
    return FBLightConvNet(sfreq=250, **signal).eval()


@pytest.fixture(scope="module")
def motor_imagery():
    return mne.io.read_raw_edf(MOTOR_IMAGERY, verbose="error")


@pytest.fixture(scope="module")
def arithmetic():
    return mne.io.read_raw_edf(ARITHMETIC, verbose="error")


NAMES = ["CodeBrain", "EEGDINO", "EEGPT", "FBLightConvNet"]
REPORTED = {
    "CodeBrain": {"filter": "0.3 to 75 Hz", "rate": "to 200 Hz", "unit": "µV/100: microvolts times 0.01."},
    "EEGDINO": {"filter": "0.3 to 75 Hz", "rate": "to 200 Hz", "unit": "µV/100: microvolts times 0.01."},
    "EEGPT": {"filter": "In pretraining: none", "rate": "to 256 Hz", "unit": "mV: microvolts times 0.001."},
    "FBLightConvNet": {
        "filter": "In pretraining: none",
        "rate": "to 250 Hz",
        "unit": "µV: microvolts times 1.",
    },
}


@pytest.mark.parametrize("name", NAMES)
def test_64_channels_at_160_hz_reach_every_model(motor_imagery, name):
    model = build(name, CodeBrain.contract.ch_names)

    prepared = prepare(motor_imagery, model, events=["T1", "T2"])

    assert prepared.data.shape == (15, model.n_chans, model.n_times)
    for subject, finding in REPORTED[name].items():
        assert finding in prepared.report[subject]
    assert prepared.report["rate"].startswith("160")
    assert "19 of 64 picked by name; 45 left out: FC5, FC3" in prepared.report["channels"]
    # Scalp EEG of this subject varies by about 50 µV.
    assert 20 < np.median(prepared.data.std(axis=-1)) / model.contract.scale < 100
    assert torch.isfinite(model(torch.from_numpy(prepared.data))).all()


@pytest.mark.parametrize("name", NAMES)
def test_19_channels_at_500_hz_with_old_names_and_an_ecg_reach_every_model(arithmetic, name):
    model = build(name, CodeBrain.contract.ch_names)

    prepared = prepare(arithmetic, model, events=[])

    assert prepared.data.shape[1:] == (19, model.n_times)
    assert len(prepared) == 15
    for subject, finding in REPORTED[name].items():
        assert finding in prepared.report[subject]
    assert "Left out: EEG A2-A1 (a reference), ECG ECG" in prepared.report["channels"]
    assert "EEG T3 is T7, EEG T4 is T8, EEG T5 is P7, EEG T6 is P8." in prepared.report["channels"]
    assert torch.isfinite(model(torch.from_numpy(prepared.data))).all()


def test_channels_that_19_electrodes_do_not_have_are_interpolated(arithmetic):
    model = build("EEGPT", [name for name in EEGPT.contract.ch_names if name not in ("PO5", "PO6")])

    with pytest.raises(ValueError, match="does not have: Fpz, AF7, AF3"):
        prepare(arithmetic, model, events=[])
    prepared = prepare(arithmetic, model, events=[], missing="interpolate")
    assert prepared.data.shape[1] == 60
    assert "41 filled by spherical splines" in prepared.report["channels"]
    between = prepared.ch_names.index("CPz")
    neighbours = [prepared.ch_names.index("Cz"), prepared.ch_names.index("Pz")]
    average = prepared.data[:, neighbours].mean(axis=1)
    assert np.corrcoef(prepared.data[:, between].ravel(), average.ravel())[0, 1] > 0.9


def test_a_data_set_of_moabb_reaches_a_model_by_its_name():
    model = build("FBLightConvNet", ["C3", "Cz", "C4"])

    prepared = prepare("PhysionetMI", model, subjects=[1], events=["hands", "feet"], tmax=4.0)

    assert prepared.data.shape == (45, 3, 1000)
    assert set(prepared.labels) == {"hands", "feet"}


def damage(source, target, change):
    """Write a copy of a file with other bytes."""
    target.write_bytes(change(source.read_bytes()))
    return target


def as_text(content):
    return content.replace(b"\n", b"\r\n")


def as_utf8(content):
    return content.decode("latin1").encode("utf-8")


@pytest.mark.parametrize("change", [as_text, as_utf8])
def test_a_file_that_a_text_transfer_damaged_is_refused(tmp_path, change):
    path = damage(MOTOR_IMAGERY, tmp_path / "damaged.edf", change)
    model = build("EEGDINO", ["C3", "Cz", "C4"])

    raw = mne.io.read_raw_edf(path, encoding="latin1", verbose="error")
    with pytest.raises(ValueError, match="the file is damaged, as by a transfer that changed line ends"):
        prepare(raw, model, events=[])


@pytest.mark.parametrize(
    ("factor", "mistake"),
    [(1e6, "microvolts were stored as volts"), (1e-6, "volts were taken for microvolts")],
)
def test_a_wrong_unit_is_refused(arithmetic, factor, mistake):
    raw = arithmetic.copy().load_data(verbose="error")
    raw._data *= factor

    with pytest.raises(ValueError, match=mistake):
        prepare(raw, build("EEGPT", ["C3", "C4"]), events=[])


def test_rest_and_arithmetic_are_a_minute_each_of_every_person():
    windows = load_arithmetic(ARITHMETIC.parent, seconds=5.0)

    counts = windows.metadata.assign(label=windows.labels).groupby(["subject", "label"]).size()
    assert set(counts) == {12}
    assert {"rest", "task"} == set(windows.labels)
    assert windows.data.shape[2] == 5 * windows.sfreq
    rest = load_windows(mne.io.read_raw_edf(ARITHMETIC.parent / "Subject00_1.edf"), events=[], tmax=5.0)
    np.testing.assert_array_equal(windows.data[:12], rest.data[-12:])
