"""Variants of windows."""

from functools import partial

import pytest
import torch

from eeglab_models.finetuning.augmentation import channel_dropout, frequency_shift, sign_flip, time_shift

SFREQ, N_TIMES = 100.0, 200
CHANGES = [channel_dropout, frequency_shift, sign_flip, time_shift]


def seeded(seed=3):
    return torch.Generator().manual_seed(seed)


def tone(frequency, n_windows=6):
    times = torch.arange(N_TIMES) / SFREQ
    return torch.sin(2 * torch.pi * frequency * times).expand(n_windows, 2, N_TIMES).clone()


@pytest.mark.parametrize("change", CHANGES)
def test_the_same_generator_gives_the_same_variants(change):
    x = torch.randn(6, 4, N_TIMES)
    first = change(x, SFREQ, generator=seeded())

    assert torch.equal(first, change(x, SFREQ, generator=seeded()))
    assert not torch.equal(first, change(x, SFREQ, generator=seeded(4)))


@pytest.mark.parametrize("change", CHANGES)
def test_variants_leave_the_windows_as_they_were(change):
    x = torch.randn(6, 4, N_TIMES)
    before = x.clone()

    variants = change(x, SFREQ, generator=seeded())

    assert torch.equal(x, before)
    assert (variants.shape, variants.dtype) == (x.shape, x.dtype)


def test_channel_dropout_silences_the_given_share_of_channels():
    variants = channel_dropout(torch.ones(50, 40, 5), SFREQ, drop_prob=0.3, generator=seeded())
    silent = (variants == 0).all(dim=-1)

    assert silent.float().mean() == pytest.approx(0.3, abs=0.03)
    assert (variants[~silent] == 1).all()


def test_time_shift_turns_every_window_by_at_most_the_given_seconds():
    x = torch.zeros(60, 2, N_TIMES)
    x[:, :, 100] = 1

    where = time_shift(x, SFREQ, max_shift=0.05, generator=seeded()).argmax(dim=-1)

    assert set((where[:, 0] - 100).tolist()) == set(range(-5, 6))
    assert torch.equal(where[:, 0], where[:, 1])


def test_what_leaves_at_the_end_enters_at_the_beginning():
    x = torch.randn(3, 2, N_TIMES)
    variants = time_shift(x, SFREQ, max_shift=1.0, generator=seeded())

    torch.testing.assert_close(variants.sort(dim=-1).values, x.sort(dim=-1).values)


def test_sign_flip_turns_about_half_of_the_windows():
    x = torch.randn(400, 2, 5)
    signs = (sign_flip(x, SFREQ, generator=seeded()) / x).round()

    assert (signs == signs[:, :1, :1]).all()
    assert (signs[:, 0, 0] < 0).float().mean() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("n_times", [N_TIMES, N_TIMES - 1])
def test_frequency_shift_moves_a_rhythm_and_keeps_its_power(n_times):
    x = tone(20.0)[..., :n_times]
    variants = frequency_shift(x, SFREQ, max_shift=5.0, generator=seeded())
    peaks = torch.fft.rfft(variants, n=4000).abs().argmax(dim=-1) * SFREQ / 4000
    expected = 20 + 5 * (2 * torch.rand((6, 1), generator=seeded()) - 1)

    torch.testing.assert_close(peaks, expected.expand(6, 2), atol=0.1, rtol=0)
    torch.testing.assert_close(variants.square().mean(dim=-1), x.square().mean(dim=-1), atol=0.03, rtol=0)


def test_no_shift_changes_nothing():
    x = torch.randn(3, 2, N_TIMES)

    torch.testing.assert_close(partial(frequency_shift, max_shift=0.0)(x, SFREQ), x, atol=1e-5, rtol=0)
    assert torch.equal(partial(time_shift, max_shift=0.0)(x, SFREQ), x)
