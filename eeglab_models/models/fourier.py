"""What every Fourier transform here needs: enough precision, and a length that is fast. No parameters."""

import math

import torch
from torch import Tensor


def at_least_single(x: Tensor) -> Tensor:
    """Bring a tensor to at least float32: the FFT has no half-precision form on most processors."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def fast_length(n: int) -> int:
    """Find a length from `n` on that an FFT is fast for: a small factor times a power of two."""
    return min(odd << (math.ceil(n / odd) - 1).bit_length() for odd in (1, 3, 5, 9, 15, 25, 27))


def rfft(x: Tensor, n: int | None = None, norm: str = "backward") -> Tensor:
    """Transform real signals along the last axis, of which there may be none: torch refuses those."""
    if x.numel() == 0:
        n_freqs = (x.shape[-1] if n is None else n) // 2 + 1
        return x.new_empty((*x.shape[:-1], n_freqs), dtype=x.dtype.to_complex())
    return torch.fft.rfft(x, n=n, norm=norm)


def irfft(spectra: Tensor, n: int) -> Tensor:
    """Transform back into `n` real samples each, of which there may be none."""
    if spectra.numel() == 0:
        return spectra.new_empty((*spectra.shape[:-1], n), dtype=spectra.dtype.to_real())
    return torch.fft.irfft(spectra, n=n)
