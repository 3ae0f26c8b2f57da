"""Variants of training windows that mean the same, so that a model sees more than was recorded.

`FineTuner` takes them as ``augment``. Every function takes a batch in any unit and its sampling frequency in
Hz, and returns a new batch; `functools.partial` sets its strength. The same generator, on the processor,
gives the same variants on every device; without one, they follow torch's own random numbers.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

Windows = Float[Tensor, "batch n_chans n_times"]


def channel_dropout(
    x: Windows, sfreq: float, *, drop_prob: float = 0.2, generator: torch.Generator | None = None
) -> Windows:
    """Set each channel of a window to zero with `drop_prob`; the others keep their amplitude."""
    keep = torch.rand((*x.shape[:2], 1), generator=generator) >= drop_prob  # (batch, n_chans, 1)
    return x * keep.to(x.device)


def time_shift(
    x: Windows, sfreq: float, *, max_shift: float = 0.1, generator: torch.Generator | None = None
) -> Windows:
    """Move windows by up to `max_shift` seconds; what leaves at one end enters at the other."""
    n_most = int(max_shift * sfreq)
    shifts = torch.randint(-n_most, n_most + 1, (len(x), 1, 1), generator=generator)  # (batch, 1, 1)
    samples = (torch.arange(x.shape[-1]) - shifts) % x.shape[-1]  # (batch, 1, n_times)
    return x.gather(-1, samples.to(x.device).expand_as(x))


def sign_flip(x: Windows, sfreq: float, *, generator: torch.Generator | None = None) -> Windows:
    """Turn half of the windows upside down: rhythms keep their power, evoked potentials do not."""
    signs = 2 * torch.randint(0, 2, (len(x), 1, 1), generator=generator) - 1  # (batch, 1, 1)
    return x * signs.to(x.device)


def frequency_shift(
    x: Windows, sfreq: float, *, max_shift: float = 1.0, generator: torch.Generator | None = None
) -> Windows:
    """Move spectra by up to `max_shift` Hz, up or down, as rhythms differ from head to head.

    What is pushed below 0 Hz comes back mirrored.
    """
    n_times = x.shape[-1]
    shifts = (2 * torch.rand((len(x), 1, 1), generator=generator) - 1) * max_shift  # (batch, 1, 1)
    # The analytic signal: positive frequencies twice, negative ones not at all.
    spectrum = torch.fft.fft(x)  # (batch, n_chans, n_times)
    weights = torch.zeros(n_times, device=x.device)
    weights[0] = 1
    weights[1 : (n_times + 1) // 2] = 2
    if n_times % 2 == 0:
        weights[n_times // 2] = 1
    analytic = torch.fft.ifft(spectrum * weights)  # (batch, n_chans, n_times)
    phase = 2 * math.pi * shifts * torch.arange(n_times) / sfreq  # (batch, 1, n_times)
    return (analytic * torch.polar(torch.ones_like(phase), phase).to(x.device)).real.to(x.dtype)
