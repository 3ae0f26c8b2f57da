"""From samples to patches, and from patches to what their samples and their spectrum say.

Shapes use these names throughout:

    batch       windows in a batch
    n_chans     EEG channels
    n_times     samples of a window
    n_patches   patches of one channel
    patch_size  samples of one patch
    n_freqs     patch_size // 2 + 1 frequencies, from 0 Hz to half the sampling rate
    n_maps      outputs of the last convolution
    n_steps     samples of a map
    embed_dim   width of a token: n_maps * n_steps
"""

import warnings
from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from eeglab_models.models.fourier import at_least_single, rfft

__all__ = ["amplitude_spectrum", "cut_patches"]

# EEGPT's patches, moment by moment.
Moments = Float[Tensor, "batch n_patches n_chans patch_size"]
MomentTokens = Float[Tensor, "batch n_patches n_chans embed_dim"]
# One convolution: (out_channels, kernel_size, stride, padding, (n_groups, n_normalised_channels)).
ConvConfig = Sequence[int | Sequence[int]]


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


class CBraModStem(nn.Module):
    """Describe every patch by its samples and its spectrum: what CodeBrain and EEG-DINO took from CBraMod.

    Both embeddings of Wang et al. (2025), CBraMod, ICLR, section 2.2, inherit its parameters under the same
    published names.
    """

    def __init__(
        self, patch_size: int, convs: Sequence[ConvConfig], activation: type[nn.Module], drop_prob: float
    ) -> None:
        super().__init__()
        n_maps, n_steps = 1, patch_size
        layers: list[nn.Module] = []
        for out_channels, kernel_size, stride, padding, norm in convs:
            conv = nn.Conv2d(n_maps, out_channels, (1, kernel_size), (1, stride), (0, padding))
            layers += [conv, nn.GroupNorm(*norm), activation()]
            n_maps, n_steps = out_channels, (n_steps + 2 * padding - kernel_size) // stride + 1
        if n_steps < 1:
            raise ValueError(
                f"The convolutions leave nothing of a patch of {patch_size} samples. "
                "Use longer patches, smaller kernels or more padding."
            )
        self.embed_dim = n_maps * n_steps
        self.proj_in = nn.Sequential(*layers)
        self.spectral_proj = nn.Sequential(
            nn.Linear(patch_size // 2 + 1, self.embed_dim), nn.Dropout(drop_prob)
        )

    def describe(
        self, patches: Float[Tensor, "batch n_chans n_patches patch_size"]
    ) -> Float[Tensor, "batch n_chans n_patches embed_dim"]:
        """Add what the samples of every patch say to what its spectrum says."""
        rows = patches.flatten(1, 2).unsqueeze(1)  # (batch, 1, n_chans * n_patches, patch_size)
        maps = self.proj_in(rows)  # (batch, n_maps, n_chans * n_patches, n_steps)
        maps = maps.unflatten(2, patches.shape[1:3])  # (batch, n_maps, n_chans, n_patches, n_steps)
        time = maps.permute(0, 2, 3, 1, 4).flatten(3)  # (batch, n_chans, n_patches, embed_dim)
        spectrum = amplitude_spectrum(patches).to(time.dtype)  # (batch, n_chans, n_patches, n_freqs)
        return time + self.spectral_proj(spectrum)  # (batch, n_chans, n_patches, embed_dim)


class PatchEmbed(nn.Module):
    """Turn every patch into a token by one linear map.

    Parameters
    ----------
    patch_size, embed_dim : int
        Samples of one patch, and width of a token.
    proj : torch.nn.Module or None
        The map itself; None means a convolution as long as a patch, as published weights have it.
    """

    def __init__(self, patch_size: int, embed_dim: int, proj: nn.Module | None = None) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, embed_dim, (1, patch_size)) if proj is None else proj

    def forward(self, patches: Moments) -> MomentTokens:
        """Embed the patches.

        Parameters
        ----------
        patches : torch.Tensor, shape (batch, n_patches, n_chans, patch_size)
            Samples of the patches in millivolts.

        Returns
        -------
        tokens : torch.Tensor, shape (batch, n_patches, n_chans, embed_dim)
            One per patch.
        """
        return self._embed(patches)

    def _embed(self, patches: Moments) -> MomentTokens:
        # Every patch is an image of its own here: torch runs this as one matrix product.
        images = patches.reshape(-1, 1, 1, patches.shape[-1])  # (n_images, 1, 1, patch_size)
        tokens = self.proj(images)  # (n_images, embed_dim, 1, 1)
        return tokens.view(*patches.shape[:-1], tokens.shape[1])  # (batch, n_patches, n_chans, embed_dim)


class PatchNormEmbed(PatchEmbed):
    """Turn every patch into a token by its shape alone: its mean and its amplitude are normalised away.

    Parameters
    ----------
    patch_size, embed_dim : int
        Samples of one patch, and width of a token.
    """

    def __init__(self, patch_size: int, embed_dim: int) -> None:
        super().__init__(patch_size, embed_dim, nn.Linear(patch_size, embed_dim))

    def _embed(self, patches: Moments) -> MomentTokens:
        return self.proj(F.layer_norm(patches, patches.shape[-1:]))


def warn_about_tail(n_times: int, patch_size: int, fate: str) -> None:
    """Warn, once and at construction, that the last samples of a window fill no patch, and of their fate."""
    n_tail = n_times % patch_size
    if n_tail:
        warnings.warn(
            f"Windows of {n_times} samples do not fill the last patch of {patch_size}: {n_tail} samples are "
            f"left over, so every window is {fate}.",
            stacklevel=3,
        )
