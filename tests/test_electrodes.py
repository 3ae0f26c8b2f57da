"""Names of electrodes in all their spellings."""

import mne
import pytest

from eeglab_models.signals.electrodes import electrode_name, sort_channels


@pytest.mark.parametrize(
    ("name", "electrode"),
    [
        ("EEG Fp1-REF", "Fp1"),
        ("EEG FP1-LE", "Fp1"),
        ("eeg_o1", "O1"),
        ("Fc5.", "FC5"),
        ("C5..", "C5"),
        ("T3", "T7"),
        ("EEG T6", "P8"),
        ("t7", "T7"),
        ("cz", "Cz"),
        ("Fp1-A2", "Fp1"),
        ("C3-M2", "C3"),
        (" POO9h ", "POO9h"),
    ],
)
def test_an_electrode_is_known_by_any_of_its_names(name, electrode):
    assert electrode_name(name) == electrode


@pytest.mark.parametrize("name", ["Fp1-F7", "E12", "EEG 001", "EEG A2-A1", "", "REF"])
def test_what_is_no_single_electrode_has_no_name(name):
    assert electrode_name(name) is None


def sort(names, kinds="eeg"):
    return sort_channels(mne.create_info(names, 100.0, kinds))


def test_other_signals_that_are_called_eeg_are_known_by_their_names():
    names = """ECG ECG|EEG EKG1-REF|EOG-left|VEOG|HEO|VEO|EMG1|STI 014|Status|PHOTIC-REF|acc1|EXG1|SaO2|GYROX
    targetPosX|Plet|COUNTER|mastoid_l|AUX3|TIMESTAMP""".replace("\n    ", "|").split("|")

    scalp, others, unknown = sort(["C3", *names])

    assert (scalp, unknown) == (["C3"], [])
    assert set(others.values()) == {"not EEG by its name"}


def test_references_are_no_electrodes_of_the_scalp_except_where_a_cap_counts_by_letters():
    assert sort(["A1", "EEG A2", "M1", "EEG A2-A1", "Cz"])[0] == ["Cz"]
    assert sort(["A1", "A2", "A3", "A4"])[2] == ["A1", "A2", "A3", "A4"]


def test_names_that_nobody_knows_are_asked_about_unless_they_have_a_position():
    names = ["EEG 001", "Fp1-F7", "E12", "Cz"]
    info = mne.create_info(names, 100.0, "eeg")

    assert sort_channels(info)[2] == names[:3]
    info["chs"][0]["loc"][:3] = [0.01, 0.02, 0.09]
    assert sort_channels(info)[0] == ["EEG 001", "Cz"]
