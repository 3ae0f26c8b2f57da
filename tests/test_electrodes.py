"""Names of electrodes in all their spellings."""

import pytest

from eeglab_models.signals.electrodes import electrode_name, is_eeg


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


@pytest.mark.parametrize(
    "name",
    ["ECG ECG", "EEG EKG1-REF", "EOG-left", "VEOG", "EMG1", "STI 014", "Status", "PHOTIC-REF", "EEG A2-A1"],
)
def test_other_signals_are_known_by_their_names(name):
    assert not is_eeg(name)


@pytest.mark.parametrize("name", ["EEG Fp1", "C3", "T3", "E12", "EEG 26-REF", "Fp1-F7", "A1"])
def test_eeg_is_not_mistaken_for_another_signal(name):
    assert is_eeg(name)
