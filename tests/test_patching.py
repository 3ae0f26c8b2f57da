"""From samples to patches."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eeglab_models.models.patching import amplitude_spectrum, cut_patches, warn_about_tail


@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 40), st.integers(1, 40))
def test_cutting_moves_no_sample_and_drops_less_than_a_patch(batch, n_chans, n_times, patch_size):
    if n_times < patch_size:
        return
    x = torch.arange(batch * n_chans * n_times, dtype=torch.float32).view(batch, n_chans, n_times)

    patches = cut_patches(x, patch_size)

    joined = patches.flatten(2)
    assert torch.equal(joined, x[..., : joined.shape[-1]])
    assert 0 <= n_times - joined.shape[-1] < patch_size


def test_a_window_shorter_than_a_patch_is_refused():
    with pytest.raises(ValueError, match="one patch of 8 samples, got 7"):
        cut_patches(torch.zeros(1, 2, 7), 8)


def test_a_sine_stands_in_its_frequency_with_half_its_amplitude():
    time = torch.arange(50) / 50
    patch = 3 * torch.sin(2 * math.pi * 7 * time)

    amplitudes = amplitude_spectrum(patch[None])

    expected = torch.zeros(1, 26)
    expected[0, 7] = 1.5
    torch.testing.assert_close(amplitudes, expected, atol=1e-6, rtol=0)


def test_spectra_of_half_precision_are_taken_in_single():
    patch = torch.randn(2, 20)

    assert amplitude_spectrum(patch.bfloat16()).dtype == torch.float32
    assert amplitude_spectrum(patch.double()).dtype == torch.float64


def test_samples_that_fill_no_patch_are_announced():
    with pytest.warns(UserWarning, match="3 samples are left over, so every window is trimmed"):
        warn_about_tail(23, 10, "trimmed")
