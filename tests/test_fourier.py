"""Precision and length of Fourier transforms."""

import pytest

from eeglab_models.models.fourier import fast_length


@pytest.mark.parametrize("n", [1, 2, 38, 1140, 4560, 100_003])
def test_fourier_transforms_have_small_factors_and_little_padding(n):
    length = fast_length(n)

    rest = length
    for prime in (2, 3, 5):
        while rest % prime == 0:
            rest //= prime
    assert rest == 1
    assert n <= length <= 1.25 * n
