"""From samples to patches: cutting windows and taking a patch's spectrum. Nothing here has parameters.

Shapes use these names throughout:

    batch       windows in a batch
    n_chans     EEG channels
    n_times     samples of a window
    n_patches   patches of one channel
    patch_size  samples of one patch
    n_freqs     patch_size // 2 + 1 frequencies, from 0 Hz to half the sampling rate
"""

import warnings

from jaxtyping import Float
from torch import Tensor

from eeglab_models.models.fourier import at_least_single, rfft

__all__ = ["amplitude_spectrum", "cut_patches"]


def cut_patches(
    x: Float[Tensor, "batch n_chans n_times"], patch_size: int
) -> Float[Tensor, "batch n_chans n_patches {patch_size}"]:
    """Cut windows into consecutive patches; samples that fill no last patch are left out.

    Parameters
    ----------
    x : torch.Tensor, shape (batch, n_chans, n_times)
        EEG windows, in any unit.
    patch_size : int
        Samples of one patch.

    Returns
    -------
    patches : torch.Tensor, shape (batch, n_chans, n_patches, patch_size)
        The patches, in the order of time.

    Raises
    ------
    ValueError
        If a window is shorter than one patch.
    """
    n_times = x.shape[-1]
    if n_times < patch_size:
        raise ValueError(
            f"A window needs at least one patch of {patch_size} samples, got {n_times} samples. "
            "Pass longer windows."
        )
    n_patches = n_times // patch_size
    kept = x[..., : n_patches * patch_size]  # (batch, n_chans, n_patches * patch_size)
    return kept.unflatten(-1, (n_patches, patch_size))  # (batch, n_chans, n_patches, patch_size)


def amplitude_spectrum(patches: Float[Tensor, "*dims patch_size"]) -> Float[Tensor, "*dims n_freqs"]:
    """Amplitude of every frequency of a patch.

    Parameters
    ----------
    patches : torch.Tensor, shape (..., patch_size)
        Patches, in any unit.

    Returns
    -------
    amplitudes : torch.Tensor, shape (..., n_freqs)
        Absolute value of the discrete Fourier transform divided by `patch_size`, in the unit of the
        patches. Float32 where the patches are of lower precision.
    """
    return rfft(at_least_single(patches), norm="forward").abs()  # (..., n_freqs)


def warn_about_tail(n_times: int, patch_size: int, fate: str) -> None:
    """Warn, once and at construction, that the last samples of a window fill no patch, and of their fate."""
    n_tail = n_times % patch_size
    if n_tail:
        warnings.warn(
            f"Windows of {n_times} samples do not fill the last patch of {patch_size}: {n_tail} samples are "
            f"left over, so every window is {fate}.",
            stacklevel=3,
        )
