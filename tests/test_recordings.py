"""From recordings to windows."""

import mne
import numpy as np
import pytest
from moabb.datasets.fake import FakeDataset

from eeglab_models import FBLightConvNet
from eeglab_models.signals.mental_arithmetic import load_arithmetic
from eeglab_models.signals.recordings import load_windows
from eeglab_models.signals.simulation import SimulatedMotorImagery


@pytest.fixture(scope="module")
def dataset():
    return SimulatedMotorImagery(n_subjects=2, n_sessions=1, n_runs=1, n_trials_per_run=8)


@pytest.fixture
def raw():
    """Two EEG channels of 20 and 30 µV, an EOG channel, and three annotated events of 2 s."""
    info = mne.create_info(["C3", "C4", "EOG"], 100.0, ["eeg", "eeg", "eog"])
    time = np.arange(3000) / 100
    sine = np.sin(2 * np.pi * 10 * time)
    raw = mne.io.RawArray(np.stack([20e-6 * sine, 30e-6 * sine, 1e-3 * sine]), info, verbose="error")
    return raw.set_annotations(mne.Annotations([5, 10, 15], 2.0, ["rest", "left", "left"]))


def test_windows_of_a_data_set_come_with_all_that_belongs_to_them(dataset):
    windows = load_windows(dataset, [2], events=["left_hand", "right_hand"])

    assert windows.data.shape == (4, 22, 1000)
    assert windows.data.dtype == np.float32
    assert (windows.sfreq, windows.unit) == (250.0, "µV")
    assert set(windows.labels) == {"left_hand", "right_hand"}
    assert windows.metadata["subject"].tolist() == [2] * 4
    assert windows.signal_for(FBLightConvNet)["input_window_seconds"] == 4.0


def test_windows_of_a_data_set_are_those_of_moabb_but_for_the_kind_of_filter(dataset):
    from moabb.paradigms import MotorImagery

    windows = load_windows(dataset, [1], events=["left_hand", "feet"], fmin=8, fmax=32, tmax=3.0)
    with mne.use_log_level("error"):
        paradigm = MotorImagery(n_classes=2, events=["left_hand", "feet"], fmin=8, fmax=32, tmax=3.0)
        expected, labels, _ = paradigm.get_data(dataset, subjects=[1])

    assert np.corrcoef(windows.data.ravel(), expected[..., :750].ravel())[0, 1] > 0.95
    assert windows.labels.tolist() == list(labels)


@pytest.mark.parametrize(
    ("paradigm", "events"),
    [("p300", ("Target", "NonTarget")), ("ssvep", ("13.0", "15.0")), ("imagery", ("left_hand", "feet"))],
)
def test_every_paradigm_gives_the_events_that_are_asked_for(paradigm, events):
    fake = FakeDataset(
        event_list=events, paradigm=paradigm, n_sessions=1, n_runs=1, n_subjects=1, sfreq=200, seed=1
    )

    assert set(load_windows(fake, [1]).labels) == set(events)
    assert set(load_windows(fake, [1], events=events[:1]).labels) == {events[0]}


def test_raw_recordings_are_cut_at_their_annotations(raw):
    windows = load_windows(raw, events=["left"], fmin=None, fmax=None)

    assert windows.data.shape == (2, 2, 200)
    assert windows.ch_names == ["C3", "C4"]
    np.testing.assert_allclose(windows.data[0], raw.get_data("eeg")[:, 1000:1200] * 1e6, atol=1e-4)


def test_raw_recordings_without_annotations_are_cut_into_consecutive_windows(raw):
    windows = load_windows(raw.set_annotations(None), tmax=7.0, fmin=None, fmax=None)

    assert windows.data.shape == (4, 2, 700)
    np.testing.assert_allclose(windows.data[1], raw.get_data("eeg")[:, 700:1400] * 1e6, atol=1e-4)


def test_raw_recordings_are_filtered(raw):
    filtered = load_windows(raw, fmin=20, fmax=40)

    assert filtered.data.std() < 1


def test_recordings_of_the_caller_stay_as_they_are(raw):
    before = raw.get_data()

    load_windows(raw, fmin=20, fmax=40)

    np.testing.assert_array_equal(raw.get_data(), before)


def test_epochs_start_at_tmin_and_leave_out_the_sample_at_tmax(raw):
    events, event_id = mne.events_from_annotations(raw, verbose="error")
    epochs = mne.Epochs(raw, events, event_id, -1.0, 2.0, baseline=None, preload=True, verbose="error")

    windows = load_windows(epochs, tmin=0.5, tmax=1.5)

    assert windows.data.shape == (3, 2, 100)
    assert windows.labels.tolist() == ["rest", "left", "left"]
    np.testing.assert_allclose(windows.data[0], raw.get_data("eeg")[:, 550:650] * 1e6, atol=1e-4)


def test_windows_beyond_the_epochs_are_refused(raw):
    events, event_id = mne.events_from_annotations(raw, verbose="error")
    epochs = mne.Epochs(raw, events, event_id, 0, 2.0, baseline=None, preload=True, verbose="error")

    with pytest.raises(ValueError, match="reach from 0 s to 2 s"):
        load_windows(epochs, tmax=3.0)


def test_a_misspelt_data_set_is_answered_with_the_nearest_name():
    with pytest.raises(ValueError, match="Did you mean 'BNCI2014_001'"):
        load_windows("BNCI2014-01")


def test_unknown_subjects_and_events_are_named(dataset, raw):
    with pytest.raises(ValueError, match=r"no subject \[3\]; it has 1 to 2"):
        load_windows(dataset, [1, 3])
    with pytest.raises(ValueError, match="no event fete; it has feet, left_hand"):
        load_windows(dataset, events=["fete"])
    with pytest.raises(ValueError, match="the recording has no event right; it has left, rest"):
        load_windows(raw, events=["right"])


def test_a_window_of_unknown_length_is_refused(raw):
    with pytest.raises(ValueError, match="Pass tmax="):
        load_windows(raw.set_annotations(None))


def test_what_is_no_recording_is_refused():
    with pytest.raises(TypeError, match="got float"):
        load_windows(1.0)


def test_an_array_needs_its_channels_and_its_unit(raw):
    info, data = mne.pick_info(raw.info, [0, 1]), np.ones((3, 2, 50))

    for arguments in ({}, {"info": info}, {"unit": "V"}, {"info": info, "unit": "T"}):
        with pytest.raises(ValueError, match="An array needs its channels and its unit"):
            load_windows(data, **arguments)
    with pytest.raises(ValueError, match=r"these 2 channels .* got \(3, 1, 50\)"):
        load_windows(data[:, :1], info=info, unit="V")


@pytest.mark.parametrize(("unit", "factor"), [("V", 1e6), ("mV", 1e3), ("µV", 1.0), ("uV", 1.0)])
def test_an_array_becomes_microvolts(raw, unit, factor):
    windows = load_windows(np.full((2, 50), 3.0), info=mne.pick_info(raw.info, [0, 1]), unit=unit)

    assert windows.data.shape == (1, 2, 50)
    np.testing.assert_allclose(windows.data, 3.0 * factor, rtol=1e-6)


def test_averages_are_windows_that_know_their_number_of_trials(raw):
    events, event_id = mne.events_from_annotations(raw, verbose="error")
    epochs = mne.Epochs(raw, events, event_id, 0, 2.0, baseline=None, preload=True, verbose="error")
    evokeds = [epochs["left"].average(), epochs["rest"].average()]

    windows = load_windows(evokeds, tmax=1.0)

    assert windows.data.shape == (2, 2, 100)
    assert windows.labels.tolist() == ["left", "rest"]
    assert windows.metadata["n_trials"].tolist() == [2, 1]
    np.testing.assert_array_equal(windows.data[:1], load_windows(evokeds[0], tmax=1.0).data)


def test_what_a_paradigm_of_moabb_returned_is_understood(dataset):
    from moabb.paradigms import LeftRightImagery

    expected = load_windows(dataset, [1], events=["left_hand", "right_hand"], fmin=8, fmax=32)
    with mne.use_log_level("error"):
        epochs = LeftRightImagery(tmax=4 - 1 / 250).get_data(dataset, [1], return_epochs=True)
        result = LeftRightImagery(tmax=4 - 1 / 250).get_data(dataset, [1])

    from_epochs = load_windows(epochs)
    from_array = load_windows(result, info=epochs[0].info, unit="µV", events=["left_hand"])
    left = expected.labels == "left_hand"
    assert np.corrcoef(from_epochs.data.ravel(), expected.data.ravel())[0, 1] > 0.95
    np.testing.assert_allclose(from_array.data, from_epochs[left].data, atol=1e-3)
    assert from_array.labels.tolist() == ["left_hand"] * left.sum()
    assert from_array.metadata["subject"].tolist() == [1] * left.sum()


def test_raw_recordings_of_a_data_set_are_understood(dataset):
    windows = load_windows(dataset.get_data([1]), events=["feet"], tmax=2.0, fmin=None, fmax=None)

    assert set(windows.labels) == {"feet"}
    assert windows.metadata.columns.tolist() == ["subject", "session", "run"]
    assert len(windows.metadata) == len(windows)


def test_recordings_that_do_not_match_are_not_joined(raw):
    with pytest.raises(ValueError, match=r"the same channels, got \['C3'\] in the first, \[\] in number 2"):
        load_windows({1: {"0": {"0": raw, "1": raw.copy().drop_channels("C3")}}})


def test_channels_that_are_not_eeg_or_bad_are_left_out_and_reported(raw):
    info = mne.create_info(["C3", "C4", "Pz", "ECG ECG", "EEG A2-A1", "STI 014"], 100.0, "eeg")
    raw = mne.io.RawArray(np.random.default_rng(0).normal(size=(6, 300)), info, verbose="error")
    raw.info["bads"] = ["Pz"]

    windows = load_windows(raw.set_channel_types({"STI 014": "stim"}), tmax=1.0)

    assert windows.ch_names == ["C3", "C4"]
    assert windows.report["channels"] == (
        "2 of EEG. Left out: Pz (marked bad), ECG ECG (not EEG by its name), EEG A2-A1 (a reference), "
        "STI 014 (stim)."
    )


def test_a_recording_without_eeg_is_refused(raw):
    with pytest.raises(ValueError, match="no EEG channel; it has EOG"):
        load_windows(raw.copy().pick("eog"))


def test_what_was_done_is_reported(raw):
    report = load_windows(raw, events=["left"], fmin=1, fmax=75, notch=20).report

    assert report["filter"] == "From 1 Hz on, on the continuous recording. Notch at 20 Hz and its multiples."
    assert report["windows"] == "2 s from 0 s after left."


def test_windows_beyond_the_end_are_counted(raw):
    windows = load_windows(raw, tmax=18.0)

    assert len(windows) == 2
    assert "1 left out: beyond the end." in windows.report["windows"]


def test_a_folder_without_arithmetic_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no recordings named like Subject00_1.edf"):
        load_arithmetic(tmp_path)
