"""Filter banks: which bands, which filters, and what they do to a signal."""

import numpy as np
import pytest
import scipy.signal
import torch
from hypothesis import given
from hypothesis import strategies as st

from eeglab_models.models.filterbank import (
    choose_bands,
    convolve,
    convolve_and_mix,
    design_filters,
    impulse_responses,
    stack_taps,
)

BANDS = [(6.0, 12.0), (10.0, 20.0)]


def test_the_default_is_nine_bands_of_four_hertz():
    bands = choose_bands(None, 250)

    assert bands == [(low, low + 4) for low in range(4, 40, 4)]


def test_a_number_divides_4_to_40_hertz_into_bands():
    assert choose_bands(3, 250) == [(4, 16), (16, 28), (28, 40)]


def test_given_bands_stay_as_they_are_and_may_overlap():
    assert choose_bands([[4, 9], (8.5, 14)], 250) == [(4, 9), (8.5, 14)]


@pytest.mark.parametrize(
    "band", [(8, 4), (8, 8), (0, 4), (-1, 4), (30, 50), (60, 70), (4,), (4, 8, 12)], ids=str
)
def test_bands_that_are_no_band_are_refused_with_the_limits(band):
    with pytest.raises(ValueError, match=r"0 < low < high < 50 Hz.*got \("):
        choose_bands([(10, 20), band], 100)


def test_bands_by_number_that_do_not_fit_the_sampling_frequency_are_refused():
    with pytest.raises(ValueError, match=r"high < 32 Hz.*got \(28\.0, 32\.0\)"):
        choose_bands(9, 64)


@pytest.mark.parametrize("n_bands", [0, -2, []])
def test_a_bank_without_bands_is_refused(n_bands):
    with pytest.raises(ValueError, match="at least one"):
        choose_bands(n_bands, 250)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"window": "hann"}, "'window'"),
        ({"h_freq": 9}, "'h_freq'"),
        ({"method": "spline"}, "'method' .* got 'spline'"),
        ({"phase": "backward"}, "'phase' .* got 'backward'"),
        ({"method": "iir", "phase": "minimum"}, "'phase' .* got 'minimum'"),
        ({"filter_length": None}, "filter_length must be"),
    ],
)
def test_unknown_filter_parameters_are_refused_in_the_words_of_mne(parameters, message):
    with pytest.raises(ValueError, match=f"cannot be designed.*{message}"):
        design_filters(BANDS, 100, parameters)


@pytest.mark.parametrize(
    "parameters",
    [
        {"filter_length": 11},
        {"method": "iir", "iir_params": {"ftype": "no such filter", "order": 2}},
        {"method": "iir", "iir_params": {"b": [1.0], "a": [1.0, -1.1]}},
    ],
    ids=["too short", "unknown type", "unstable"],
)
def test_filters_that_cannot_be_designed_are_refused_with_their_band(parameters):
    with pytest.raises(ValueError, match="band 6 to 12 Hz at 100 Hz cannot be designed"):
        design_filters(BANDS, 100, parameters)


def test_designing_leaves_the_parameters_of_the_caller_alone():
    parameters = {"method": "iir", "phase": "causal", "iir_params": {"ftype": "butter", "order": 2}}
    design_filters(BANDS, 100, parameters)

    assert parameters == {"method": "iir", "phase": "causal", "iir_params": {"ftype": "butter", "order": 2}}


def test_recursive_filters_are_butterworth_filters_of_order_4_by_default():
    ((b, a),) = design_filters([(10.0, 20.0)], 100, {"method": "iir"})

    expected = scipy.signal.butter(4, (10, 20), "bandpass", fs=100)
    np.testing.assert_allclose((b, a), expected)


def test_recursive_filters_are_numerators_and_denominators_whatever_is_asked():
    asked = {"method": "iir", "iir_params": {"ftype": "butter", "order": 3, "output": "sos"}}
    ((b, a),) = design_filters([(10.0, 20.0)], 100, asked)

    assert b.shape == a.shape == (7,)


def test_causal_fir_filters_have_the_taps_of_the_zero_phase_ones():
    ((causal, _),) = design_filters([(10.0, 20.0)], 100, {"phase": "causal"})
    ((zero_phase, denominator),) = design_filters([(10.0, 20.0)], 100)

    np.testing.assert_array_equal(causal, zero_phase)
    assert denominator.tolist() == [1] + [0] * (len(zero_phase) - 1)


@pytest.mark.parametrize("verbose", [False, True])
def test_only_a_verbose_design_is_described(verbose, capsys):
    design_filters(BANDS, 100, verbose=verbose)

    assert ("FIR filter parameters" in capsys.readouterr().out) == verbose


def test_a_causal_recursive_filter_is_described_as_one(capsys):
    design_filters(BANDS, 100, {"method": "iir", "phase": "causal"}, verbose=True)

    assert "one-pass forward" in capsys.readouterr().out


def test_stacked_filters_meet_the_present_sample_at_one_index():
    table, start = stack_taps([torch.tensor([1.0, 2.0, 3.0]), torch.tensor([4.0])], [1, 0])

    assert table.tolist() == [[1, 2, 3], [0, 4, 0]]
    assert start == 1


def test_the_impulse_response_is_divided_by_the_first_denominator():
    responses = impulse_responses([(np.array([4.0, 0.0]), np.array([2.0, -1.0]))], 4)

    assert responses.tolist() == [[2, 1, 0.5, 0.25]]


@given(st.data(), st.integers(1, 60), st.integers(1, 60))
def test_convolving_is_exact_up_to_the_ends_of_the_window(data, n_times, n_taps):
    start = data.draw(st.integers(0, n_taps - 1))
    rng = np.random.default_rng(n_times * 100 + n_taps)
    x, response = rng.normal(size=(2, n_times)), rng.normal(size=n_taps)
    expected = np.stack([np.convolve(row, response)[start : start + n_times] for row in x])

    filtered = convolve(torch.tensor(x), torch.tensor(response), start)

    torch.testing.assert_close(filtered, torch.tensor(expected))


@pytest.mark.parametrize("n_taps", [1, 12, 37, 101])
@pytest.mark.parametrize("start", [0, "middle", "last"])
def test_mixing_in_the_frequency_domain_is_filtering_and_then_mixing(n_taps, start):
    start = {0: 0, "middle": (n_taps - 1) // 2, "last": n_taps - 1}[start]
    x = torch.randn(2, 4, 53, dtype=torch.float64, requires_grad=True)
    responses = torch.randn(3, n_taps, dtype=torch.float64)
    weights = torch.randn(5, 3, 4, dtype=torch.float64, requires_grad=True)
    bands = convolve(x.unsqueeze(1), responses.unsqueeze(1), start)
    expected = torch.einsum("fbc,nbct->nft", weights, bands)

    maps = convolve_and_mix(x, responses, start, weights)

    torch.testing.assert_close(maps, expected)
    loss_weights = torch.randn_like(maps)
    gradients = torch.autograd.grad((maps * loss_weights).sum(), (x, weights))
    expected_gradients = torch.autograd.grad((expected * loss_weights).sum(), (x, weights))
    torch.testing.assert_close(gradients, expected_gradients)


def test_filters_are_not_rounded_by_autocast():
    x, responses, weights = torch.randn(2, 4, 53), torch.randn(3, 12), torch.randn(5, 3, 4)
    expected = convolve_and_mix(x, responses, 0, weights)

    with torch.autocast("cpu", torch.bfloat16):
        maps = convolve_and_mix(x, responses, 0, weights)

    assert torch.equal(maps, expected)
