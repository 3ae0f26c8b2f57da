"""Amplitudes that give a mistake away, and channels that say nothing."""

import mne
import numpy as np
import pandas as pd
import pytest

from eeglab_models.signals.electrodes import montage
from eeglab_models.signals.quality import find_bad_channels, interpolate, measure_amplitude
from eeglab_models.signals.windows import Windows


def noise(scale=20.0):
    data = scale * np.random.default_rng(0).normal(size=(3, 4, 200))
    return Windows(data.astype(np.float32), mne.create_info(4, 100.0, "eeg"))


def test_the_amplitude_of_eeg_is_measured():
    assert measure_amplitude(noise(20.0)) == pytest.approx(20, rel=0.05)


@pytest.mark.parametrize(
    ("scale", "mistake"),
    [
        (20e-6, "volts were taken for microvolts"),
        (0.02, "millivolts, or microvolts already divided by 100"),
        (0.2, "microvolts already divided by 100"),
        (1.0, "standardised"),
        (8717.0, "file is damaged, as by a transfer that changed line ends"),
        (1e6, "z-scored.* stored as volts"),
        (2e7, "microvolts were stored as volts"),
    ],
)
def test_implausible_amplitudes_name_the_likely_mistake(scale, mistake):
    with pytest.raises(ValueError, match=mistake):
        measure_amplitude(noise(scale))


def test_averages_over_many_trials_may_be_small():
    windows = noise(0.5)
    metadata = pd.DataFrame({"n_trials": [100, 100, 100]})

    assert measure_amplitude(Windows(windows.data, windows.info, metadata=metadata)) < 1


def test_what_is_no_number_does_not_hide_the_amplitude():
    windows = noise(20.0)
    windows.data[0, 0, 7] = np.nan
    windows.data[1, 1] = np.nan

    assert measure_amplitude(windows) == pytest.approx(20, rel=0.05)
    windows.data[:] = np.nan
    with pytest.raises(ValueError, match="No channel of any window holds a number"):
        measure_amplitude(windows)


def test_flat_channels_and_samples_that_are_no_number_are_found():
    data = noise().data
    data[0, 1] = 5.0
    data[1, 2, 100] = np.inf
    data[2, 3, 0] = np.nan

    assert np.argwhere(find_bad_channels(data)).tolist() == [[0, 1], [1, 2], [2, 3]]


def test_a_channel_is_filled_from_its_neighbours():
    names = ["F3", "Fz", "F4", "C3", "Cz", "C4", "P3", "Pz", "P4"]
    positions = montage().get_positions()["ch_pos"]
    field = np.array([positions[name][0] for name in names]) * 500  # from left to right, in µV
    data = np.repeat(field[None, :, None], 2, axis=2).astype(np.float32)
    damaged = data.copy()
    damaged[:, 5] = np.nan

    filled = interpolate(damaged, names, ["C4"])

    assert filled[0, 5, 0] == pytest.approx(field[5], rel=0.2)
    np.testing.assert_allclose(np.delete(filled, 5, axis=1), np.delete(data, 5, axis=1), rtol=1e-5)


def test_channels_without_a_place_cannot_be_filled():
    data = noise().data

    with pytest.raises(ValueError, match="E1 have none"):
        interpolate(data, ["C3", "C4", "Pz", "E1"], ["E1"])
    with pytest.raises(ValueError, match="3 others have one"):
        interpolate(data, ["C3", "C4", "Pz", "Cz"], ["Cz"])
