"""Filter banks without parameters: choosing bands, designing their filters and applying them.

Every filter here is a pair of coefficients, numerator and denominator, as in the difference equation
``a[0] y[t] = b[0] x[t] + b[1] x[t-1] + ... - a[1] y[t-1] - ...``. A finite (FIR) filter has the denominator
1, 0, 0, ... Shapes use these names throughout:

    batch      windows in a batch
    n_bands    frequency bands, one filter each
    n_chans    EEG channels
    n_times    samples of a window
    n_taps     coefficients of a filter, or samples of its response
    n_freqs    frequencies of a Fourier transform
    n_filters  spatial filters, each a weighted sum over bands and channels
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Complex, Float
from torch import Tensor

from eeglab_models.models.fourier import at_least_single, fast_length, irfft, rfft

__all__ = ["choose_bands"]

# Hz. The range that an integer number of bands divides.
LOWEST_EDGE, HIGHEST_EDGE = 4.0, 40.0
# Both mean filters that are applied once, forward in time.
CAUSAL_PHASES = ("forward", "causal")


def choose_bands(n_bands: int | Sequence[Any] | None, sfreq: float) -> list[tuple[float, float]]:
    """Turn the number of bands into the edges of the bands.

    Parameters
    ----------
    n_bands : int, None or list of tuple of float
        Number of equally wide bands between 4 and 40 Hz; None means 9 bands of 4 Hz. Or the bands
        themselves, as (lower edge, upper edge) in Hz; bands may overlap.
    sfreq : float
        Sampling frequency in Hz.

    Returns
    -------
    bands : list of tuple of float
        Lower and upper edge of every band in Hz.

    Raises
    ------
    ValueError
        If there is no band, or if a band is not a pair of increasing edges between 0 Hz and half the
        sampling frequency.
    """
    bands = 9 if n_bands is None else n_bands
    if isinstance(bands, int):
        width = (HIGHEST_EDGE - LOWEST_EDGE) / max(bands, 1)
        bands = [(LOWEST_EDGE + i * width, LOWEST_EDGE + (i + 1) * width) for i in range(bands)]
    if not isinstance(bands, Sequence) or len(bands) == 0:
        raise ValueError(
            "n_bands must be a positive number of bands, a list of at least one (low, high) in Hz, or None "
            f"for 9 bands, got {n_bands!r}."
        )
    for band in bands:
        if np.shape(band) != (2,) or not 0 < band[0] < band[1] < sfreq / 2:
            raise ValueError(
                f"Every band must be a pair (low, high) with 0 < low < high < {sfreq / 2:g} Hz, half the "
                f"sampling frequency, got {band}. Pass other bands as n_bands=[(low, high), ...]."
            )
    return [(float(low), float(high)) for low, high in bands]


def design_filters(
    bands: Sequence[tuple[float, float]],
    sfreq: float,
    filter_parameters: Mapping[str, Any] | None = None,
    verbose: bool = False,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Design numerator and denominator of one band-pass filter per band with `mne.filter.create_filter`."""
    # Importing mne takes a moment, and a model that is only imported designs no filter.
    from mne.filter import create_filter

    parameters = dict(filter_parameters or {})
    recursive = parameters.get("method") == "iir"
    if recursive:
        parameters["iir_params"] = (parameters.get("iir_params") or {}) | {"output": "ba"}
    if parameters.get("phase") in CAUSAL_PHASES:
        # A causal FIR filter has the symmetric taps of the zero-phase one and is applied without
        # compensating their delay.
        parameters["phase"] = "forward" if recursive else "zero"
    filters = []
    for low, high in bands:
        try:
            design = create_filter(None, sfreq, low, high, verbose=verbose, **parameters)
        except (RuntimeError, TypeError, ValueError) as error:
            raise ValueError(
                f"The filter of the band {low:g} to {high:g} Hz at {sfreq:g} Hz cannot be designed from "
                f"filter_parameters={filter_parameters}: {error}"
            ) from error
        if recursive:
            filters.append((np.asarray(design["b"], dtype=float), np.asarray(design["a"], dtype=float)))
        else:
            filters.append((design, np.eye(1, len(design))[0]))
    return filters


def stack_taps(
    taps: Sequence[Float[Tensor, " _"]], starts: Sequence[int]
) -> tuple[Float[Tensor, "n_bands n_taps_padded"], int]:
    """Pad filters with zeros, so that the taps that meet the present sample, at `starts`, share one index."""
    start = max(starts)
    length = max(start - s + len(t) for t, s in zip(taps, starts, strict=True))
    rows = [F.pad(t, (start - s, length - len(t) - start + s)) for t, s in zip(taps, starts, strict=True)]
    return torch.stack(rows), start


def impulse_responses(
    filters: Sequence[tuple[np.ndarray, np.ndarray]], n_times: int
) -> Float[Tensor, "n_bands {n_times}"]:
    """Compute, in float64, what recursive filters answer to a single 1 in `n_times` samples.

    Convolving a window with it is exactly the recursion that starts from rest.
    """
    # As heavy as mne, and as rarely needed.
    from scipy.signal import lfilter

    impulse = np.eye(1, n_times)[0]
    return torch.tensor(np.array([lfilter(b, a, impulse) for b, a in filters]))  # (n_bands, n_times)


def convolve(
    x: Float[Tensor, "*#batch n_times"], responses: Float[Tensor, "*#batch n_taps"], start: int
) -> Float[Tensor, "... n_times"]:
    """Convolve along time, from sample `start` on; beyond its ends, a window counts as zero."""
    x, responses = match_precision(x, responses)
    n_times = x.shape[-1]
    n_fft = fft_length(n_times, responses.shape[-1], start)
    spectrum = rfft(x, n_fft) * rfft(responses, n_fft)  # (..., n_freqs)
    return irfft(spectrum, n_fft)[..., start : start + n_times]  # (..., n_times)


def convolve_and_mix(
    x: Float[Tensor, "batch n_chans n_times"],
    responses: Float[Tensor, "n_bands n_taps"],
    start: int,
    weights: Float[Tensor, "n_filters n_bands n_chans"],
) -> Float[Tensor, "batch n_filters n_times"]:
    """Convolve every channel with every band's response, then sum over bands and channels.

    Both steps are linear, so at each frequency they are one matrix. That takes `n_chans` transforms
    forward and `n_filters` back, where `convolve` takes another ``n_bands * n_chans``.
    """
    x, responses = match_precision(x, responses)
    batch, _, n_times = x.shape
    n_fft = fft_length(n_times, responses.shape[-1], start)
    # Autocast would round the filters.
    with torch.autocast(x.device.type, enabled=False):
        matrices = mixing_matrices(rfft(responses, n_fft), weights.to(x.dtype))
        # matrices: (n_freqs, 2 * n_chans, 2 * n_filters)
        # Both changes of layout are copies of plain matrices: strided products and transforms are slow.
        x = rfft(x.flatten(0, 1), n_fft).T.contiguous()  # (n_freqs, batch * n_chans)
        x = torch.view_as_real(x).flatten(1).unflatten(1, (batch, -1))  # (n_freqs, batch, 2 * n_chans)
        maps = (x @ matrices).unflatten(-1, (-1, 2))  # (n_freqs, batch, n_filters, 2)
    maps = torch.view_as_complex(maps).flatten(1).T.contiguous()  # (batch * n_filters, n_freqs)
    maps = irfft(maps, n_fft)[:, start : start + n_times]  # (batch * n_filters, n_times)
    return maps.unflatten(0, (batch, -1))  # (batch, n_filters, n_times)


def mixing_matrices(
    spectra: Complex[Tensor, "n_bands n_freqs"], weights: Float[Tensor, "n_filters n_bands n_chans"]
) -> Float[Tensor, "n_freqs two_n_chans two_n_filters"]:
    """Write the sum over bands, at every frequency, as one real matrix.

    Real and imaginary parts of a channel are neighbours in its rows, those of a filter in its columns.
    Complex matrices would say the same, but torch computes their gradients one frequency after another.
    """
    n_chans = weights.shape[2]
    parts = torch.view_as_real(spectra).permute(1, 2, 0)  # (n_freqs, 2, n_bands)
    mixed = parts @ weights.permute(1, 2, 0).flatten(1)  # (n_freqs, 2, n_chans * n_filters)
    real, imaginary = mixed.unflatten(-1, (n_chans, -1)).unbind(1)  # each (n_freqs, n_chans, n_filters)
    rows = torch.stack([real, imaginary], -1), torch.stack([-imaginary, real], -1)
    matrices = torch.stack(rows, 2)  # (n_freqs, n_chans, 2, n_filters, 2)
    return matrices.flatten(3).flatten(1, 2)  # (n_freqs, 2 * n_chans, 2 * n_filters)


def match_precision(x: Tensor, responses: Tensor) -> tuple[Tensor, Tensor]:
    """Bring both to the precision of `x`, at least float32."""
    x = at_least_single(x)
    return x, responses.to(x.dtype)


def fft_length(n_times: int, n_taps: int, start: int) -> int:
    """Choose a fast length at which what wraps around stays outside the output."""
    return fast_length(n_times + max(start, n_taps - 1 - start))
