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
