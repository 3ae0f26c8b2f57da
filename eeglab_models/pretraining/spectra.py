"""Masked spectra: an encoder tells the log spectra of patches, of which it sees some.

A variation of this package, for any of the encoders. Shapes use these names throughout:

    batch      windows in a batch
    n_chans    EEG channels
    n_times    samples of a window
    n_patches  patches of one channel
    n_values   log powers that describe a patch: bands of the patch itself, and finer ones of its window
"""

from typing import Annotated

import torch
from annotated_types import Gt
from jaxtyping import Bool, Float
from torch import Tensor, nn

from eeglab_models.configs import Share
from eeglab_models.models.base import EEGModel
from eeglab_models.models.fourier import at_least_single, rfft
from eeglab_models.models.patching import CBraModStem, PatchEmbed, cut_patches
from eeglab_models.pretraining.objective import PatchMasking
from eeglab_models.training.processes import mean_over_processes

__all__ = ["MaskedSpectra"]

# Below 4 Hz are the eyes, and above 45 Hz the mains.
BAND = (4.0, 45.0)
N_PATCH_BANDS, N_WINDOW_BANDS = 11, 20

Windows = Float[Tensor, "batch n_chans n_times"]
Spectra = Float[Tensor, "batch n_chans n_patches n_values"]


class MaskedSpectra(PatchMasking):
    """Objective that tells the log spectra of hidden patches, and of visible ones with less weight.

    Every patch of every channel is hidden, replaced by zeros, with the same probability. A linear head tells
    from the token of a patch the log power in 11 bands of the patch and in 20 bands of its window, from 4 to
    45 Hz, each standardised by the first batch. EEGPT's summary tokens of a moment tell those of all
    channels together.

    Parameters
    ----------
    encoder : EEGModel
        CodeBrain, EEGPT or EEGDINO. Its classification head takes no part.
    mask_prob : float
        Probability of hiding a patch.
    visible_weight : float
        Weight of the loss on visible patches; that on hidden ones has the weight 1.
    embedding_scale : float
        Factor on the initial weights that embed a patch: in CodeBrain and EEGDINO those of its spectrum,
        which begin so small that tokens hardly speak of it, in EEGPT those of its samples.

    Attributes
    ----------
    encoder : EEGModel
        The model that was given, rescaled.

    Raises
    ------
    ValueError
        If `mask_prob` is not between 0 and 1.
    """

    def __init__(
        self,
        encoder: EEGModel,
        mask_prob: Share = 0.5,
        visible_weight: float = 0.5,
        embedding_scale: Annotated[float, Gt(0)] = 1.0,
    ) -> None:
        super().__init__()
        if not 0.0 < mask_prob < 1.0:
            raise ValueError(f"mask_prob must lie between 0 and 1, got {mask_prob}. Pass 0.5, for example.")
        self.arguments = {
            "mask_prob": mask_prob,
            "visible_weight": visible_weight,
            "embedding_scale": embedding_scale,
        }
        self.mask_prob, self.visible_weight = mask_prob, visible_weight
        self.encoder = encoder
        if "pretrain_mode" in encoder.arguments:
            # CodeBrain is given back as a plain classifier.
            encoder.pretrain_mode = encoder.arguments["pretrain_mode"] = False
        rescale_embedding(encoder, embedding_scale)
        with torch.no_grad():
            silence = torch.zeros(1, *encoder.input_shape[1:])
            n_places, _, n_features = encoder.encode(silence).shape[1:]
            n_values = self._describe(silence).shape[-1]
        # Tokens that stand for no channel tell all channels together.
        self.is_mixed = n_places != silence.shape[1]
        n_inputs, n_outputs = (n_features * n_places, n_values * silence.shape[1])
        self.head = nn.Linear(n_inputs, n_outputs) if self.is_mixed else nn.Linear(n_features, n_values)
        self.register_buffer("mean", torch.zeros(n_values))
        self.register_buffer("deviation", torch.ones(n_values))

    def start(self, windows: Windows) -> None:
        """Learn the mean and the spread of every band from the first batch.

        Parameters
        ----------
        windows : torch.Tensor, shape (n_windows, n_chans, n_times)
            All windows of the first step, in the unit and at the rate of the encoder's contract.
        """
        values = self._describe(windows).flatten(0, 2)  # (n_windows * n_chans * n_patches, n_values)
        self.mean.copy_(values.mean(dim=0))
        self.deviation.copy_(values.std(dim=0))

    def forward(self, windows: Windows, drawn: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Compute the losses of some windows.

        Parameters
        ----------
        windows : torch.Tensor, shape (batch, n_chans, n_times)
            Prepared windows, in the unit and at the rate of the encoder's contract.
        drawn : dict of torch.Tensor or None
            What `draw` returned for these windows; None draws now.

        Returns
        -------
        losses : dict of torch.Tensor
            ``"loss"``, the weighted sum of the squared errors of ``"hidden"`` and ``"visible"`` patches, in
            squared standard deviations: 1 is the error of knowing only the mean.
        """
        drawn = self.draw(windows) if drawn is None else drawn
        hidden = drawn["hidden"].to(windows.device)  # (batch, n_chans, n_patches)
        right = (self._describe(windows) - self.mean) / self.deviation
        size = self.encoder.patch_size
        shown = cut_patches(windows, size) * ~hidden[..., None]  # (batch, n_chans, n_patches, patch_size)
        tokens = self.encoder.encode(shown.flatten(2))  # (batch, n_places, n_patches, n_features)
        errors = (at_least_single(self._tell(tokens)) - right).square().mean(dim=-1)
        # errors: (batch, n_chans, n_patches)
        terms = {"hidden": average_where(hidden, errors), "visible": average_where(~hidden, errors)}
        loss = terms["hidden"] + self.visible_weight * terms["visible"]
        return {"loss": loss} | {name: term.detach() for name, term in terms.items()}

    def _tell(self, tokens: Float[Tensor, "batch n_places n_patches n_features"]) -> Spectra:
        """Tell the spectra of all patches from tokens."""
        if not self.is_mixed:
            return self.head(tokens)
        moments = tokens.transpose(1, 2).flatten(2)  # (batch, n_patches, n_places * n_features)
        told = self.head(moments).unflatten(-1, (-1, len(self.mean)))
        return told.transpose(1, 2)  # (batch, n_chans, n_patches, n_values)

    def _describe(self, windows: Windows) -> Spectra:
        """Describe patches by log power in bands of their own and of their window."""
        patches = cut_patches(windows, self.encoder.patch_size)
        own = log_power(patches, self.encoder.sfreq, N_PATCH_BANDS)
        around = log_power(windows, self.encoder.sfreq, N_WINDOW_BANDS).unsqueeze(2)
        return torch.cat([own, around.expand(-1, -1, patches.shape[2], -1)], dim=-1)


def log_power(signal: Float[Tensor, "*dims n_samples"], sfreq: float, n_bands: int) -> Tensor:
    """Take the logarithm of the power in bands of equal width; a band without a frequency is left out."""
    n_samples = signal.shape[-1]
    frequencies = torch.fft.rfftfreq(n_samples, 1 / sfreq, device=signal.device)
    taper = torch.hann_window(n_samples, device=signal.device)
    power = rfft(at_least_single(signal) * taper, norm="forward").abs().square()
    edges = torch.linspace(*BAND, n_bands + 1, device=signal.device)
    bands = [(frequencies >= low) & (frequencies < high) for low, high in zip(edges, edges[1:], strict=False)]
    means = [power[..., band].mean(dim=-1) for band in bands if band.any()]
    # Channels without a signal stay finite: a ten-thousandth of a microvolt, in the smallest unit there is.
    return torch.stack(means, dim=-1).clamp_min(1e-14).log()


def average_where(chosen: Bool[Tensor, "*dims"], values: Float[Tensor, "*dims"]) -> Float[Tensor, ""]:
    """Average the chosen values, over the processes too."""
    n_chosen = mean_over_processes(chosen.sum().float()).clamp_min(1.0)
    return (values * chosen).sum() / n_chosen


@torch.no_grad()
def rescale_embedding(encoder: EEGModel, factor: float) -> None:
    """Multiply the weights that embed the spectrum of a patch, or its samples where there are no others."""
    for module in encoder.modules():
        if isinstance(module, CBraModStem):
            module.spectral_proj[0].weight.mul_(factor)
        elif isinstance(module, PatchEmbed):
            module.proj.weight.mul_(factor)
