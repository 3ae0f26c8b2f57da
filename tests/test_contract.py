"""From any windows to those that a model expects."""

from dataclasses import replace

import mne
import numpy as np
import pytest
import torch

from eeglab_models import EEGDINO, EEGPT, CodeBrain, FBLightConvNet, prepare
from eeglab_models.signals.recordings import Windows

SECONDS = 2.0


@pytest.fixture
def windows():
    """A 6 Hz rhythm of another amplitude on every channel, in microvolts, at 100 Hz."""
    names = ["Fz", "C3", "CZ", "T8", "Pz"]
    time = np.arange(200) / 100
    amplitudes = np.array([10.0, 20.0, 30.0, 40.0, 50.0])
    data = (amplitudes[:, None] * np.sin(2 * np.pi * 6 * time))[None].repeat(3, axis=0)
    return Windows(data.astype(np.float32), mne.create_info(names, 100.0, "eeg"), np.array(["a", "b", "a"]))


def channels(*names):
    return [{"ch_name": name} for name in names]


@pytest.mark.parametrize(
    ("model_class", "sfreq", "scale"),
    [(CodeBrain, 200, 0.01), (EEGDINO, 200, 0.01), (EEGPT, 256, 0.001), (FBLightConvNet, 250, 1.0)],
)
def test_windows_reach_each_model_in_its_rate_and_unit(windows, model_class, sfreq, scale):
    options = {"win_len": sfreq} if model_class is FBLightConvNet else {}
    signal = {"n_chans": 5, "sfreq": float(sfreq), "input_window_seconds": SECONDS}
    model = model_class(n_outputs=2, **signal, **options)

    prepared = prepare(windows, model)

    assert (prepared.sfreq, prepared.unit) == (sfreq, model.contract.unit)
    assert prepared.data.shape == (3, 5, SECONDS * sfreq)
    difference = prepared.data[:, 4] - prepared.data[:, 0]
    amplitude = np.abs(difference[:, sfreq // 4 : -sfreq // 4]).max()
    assert amplitude == pytest.approx(40 * scale, rel=0.02)
    assert model(torch.from_numpy(prepared.data)).shape == (3, 2)


def test_a_model_built_for_another_rate_gets_it(windows):
    model = EEGDINO(n_outputs=2, n_chans=5, sfreq=100, input_window_seconds=SECONDS)

    np.testing.assert_allclose(prepare(windows, model).data, windows.data * 0.01, rtol=1e-6)


def test_average_reference_is_taken_where_the_model_asks_for_it(windows):
    model = EEGPT(n_outputs=2, n_chans=5, sfreq=256, input_window_seconds=SECONDS)

    prepared = prepare(windows, model)

    np.testing.assert_allclose(prepared.data.mean(axis=1), 0, atol=1e-6)


def test_channels_are_picked_by_name_in_the_order_of_the_model(windows):
    model = EEGDINO(
        n_outputs=2, chs_info=channels("t4", "Cz.", "C3"), sfreq=100, input_window_seconds=SECONDS
    )

    prepared = prepare(windows, model)

    assert prepared.ch_names == ["T8", "CZ", "C3"]
    np.testing.assert_allclose(prepared.data, windows.data[:, [3, 2, 1]] * 0.01, rtol=1e-6)


def test_missing_channels_are_named(windows):
    model = EEGDINO(n_outputs=2, chs_info=channels("C3", "O1"), sfreq=100, input_window_seconds=SECONDS)

    with pytest.raises(ValueError, match="do not have: O1"):
        prepare(windows, model)


def test_another_number_of_channels_without_names_is_refused(windows):
    model = EEGDINO(n_outputs=2, n_chans=4, sfreq=100, input_window_seconds=SECONDS)

    with pytest.raises(ValueError, match="4 channels without names, got 5"):
        prepare(windows, model)


def test_another_length_is_refused_with_the_remedy(windows):
    model = EEGDINO(n_outputs=2, n_chans=5, sfreq=200, input_window_seconds=3)

    with pytest.raises(ValueError, match="600 samples at 200 Hz, got 400. .* load windows of 3 s"):
        prepare(windows, model)


def test_windows_are_prepared_only_once(windows):
    model = EEGDINO(n_outputs=2, n_chans=5, sfreq=100, input_window_seconds=SECONDS)

    with pytest.raises(ValueError, match="starts from microvolts, got µV/100"):
        prepare(prepare(windows, model), model)
    with pytest.raises(ValueError, match="got V"):
        prepare(replace(windows, unit="V"), model)
