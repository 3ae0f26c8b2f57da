"""Pretraining of EEGPT: align with a slow copy of the encoder, and reconstruct what was hidden from it.

Source: Wang et al. (2024), EEGPT: pretrained transformer for universal and reliable representation of EEG
signals, NeurIPS, section 2.2. Shapes use these names throughout:

    batch             windows in a batch
    n_chans           EEG channels
    n_times           samples of a window
    n_patches         moments of a window, and so the patches of one channel
    n_visible         moments that the student sees
    n_kept            channels that it sees in each of them
    n_targets         patches of a window to reconstruct
    patch_size        samples of one patch
    n_values          values that describe a patch to reconstruct
    n_summary_tokens  learned tokens that summarise a moment
    embed_dim         width of a token
"""

from copy import deepcopy
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from annotated_types import Gt, Le
from jaxtyping import Float
from torch import Tensor, nn

from eeglab_models.configs import BelowOne, Count, Share, check_arguments
from eeglab_models.models.eegpt import EEGPT, cut_moments
from eeglab_models.models.fourier import at_least_single
from eeglab_models.pretraining.eegpt.rotary import Predictor, Reconstructor
from eeglab_models.pretraining.objective import Objective, follow
from eeglab_models.training.processes import mean_over_processes

__all__ = ["MaskedAlignment"]

# Of 58 channels, a visible moment keeps 12.
PUBLISHED_SHARE = 12 / 58

Windows = Float[Tensor, "batch n_chans n_times"]
Patches = Float[Tensor, "batch n_patches n_chans patch_size"]
Described = Float[Tensor, "batch n_patches n_chans n_values"]
Summary = Float[Tensor, "batch n_patches n_summary_tokens embed_dim"]


class MaskedAlignment(Objective):
    """Two tasks that teach EEGPT without labels: align, and reconstruct.

    A student encodes a few channels of some moments. A predictor completes the other moments, and all of
    them shall align with the target encoder: the student's moving average, which sees everything. A
    reconstructor turns the completed sequence back into patches that the student did not see. After
    training, `encoder` holds the target encoder, and the rest is left behind.

    Parameters
    ----------
    encoder : EEGPT
        The model to train, with ``chan_proj_type="none"`` and patches that do not overlap. Its target
        encoder becomes the moving average. Its own parameters get no gradient here, its head's included.
    n_predictor_layers, n_reconstructor_layers : int or None
        Number of transformer layers; None means as many as the encoder has.
    n_visible_channels : int or None
        Channels that the student sees in a visible moment. None means the published share, 12 of 58, and
        at least one.
    hidden_prob : float
        Probability of hiding a moment completely, below 1.
    reconstruct_prob : float
        Probability of reconstructing a patch that the student did not see in a moment it saw, above 0.
        Patches of hidden moments are always reconstructed.
    momentum : (float, float)
        Share of the target encoder that stays at every step, at the start and at the end of training; it
        changes linearly in between.
    alignment_weight, reconstruction_weight : float
        Weights of the two terms in the loss. 0 switches a term off.
    normalise_targets : bool
        Normalise the features of every token to align with.
    normalise_patches : bool
        Normalise the values of every patch to reconstruct.
    skip : bool
        Give the reconstructor what the student said about visible moments; otherwise what the predictor
        says.
    target : {"samples", "log-spectrum"}
        What describes a patch to reconstruct: its samples as published, or, as a variation, the logarithm of
        the spectrum of its channel in the whole window, which takes windows of a second at least.

    Attributes
    ----------
    encoder : EEGPT
        The model that was given, ready for probing.
    student : torch.nn.Module
        The encoder that gradients change.

    Raises
    ------
    TypeError
        If `encoder` has no target encoder, as an `EEGPT` has.
    ValueError
        If the encoder projects channels or its patches overlap, or if an option is none of those above.

    Notes
    -----
    Predictor and reconstructor have the width, the heads and the `init_std` of the encoder. Begun at the
    published 0.02, narrow encoders say very little about their input: ``"alignment_spread"`` shows it.

    References
    ----------
    Wang et al. (2024), EEGPT, NeurIPS, section 2.2, equations 6, 8 and 9: `forward`. The minus signs printed
    there are left out, since both terms are minimised. Table 5: `alignment_weight`, `normalise_patches` and
    `skip`. The paper does not tell how the mask fits other montages than its own of 58 channels, nor whether
    its batches of 64 windows are those of one device or of all; they are taken as those of one.
    """

    AT_REST = "encoder"

    def __init__(
        self,
        encoder: EEGPT,
        n_predictor_layers: Count | None = None,
        n_reconstructor_layers: Count | None = None,
        n_visible_channels: Count | None = None,
        hidden_prob: BelowOne = 0.5,
        reconstruct_prob: Annotated[float, Gt(0), Le(1)] = 0.2,
        momentum: tuple[Share, Share] = (0.996, 1.0),
        alignment_weight: float = 1.0,
        reconstruction_weight: float = 1.0,
        normalise_targets: bool = True,
        normalise_patches: bool = True,
        skip: bool = True,
        target: Literal["samples", "log-spectrum"] = "samples",
    ) -> None:
        arguments = {
            name: value for name, value in locals().items() if name not in ("self", "encoder", "__class__")
        }
        super().__init__()
        self.arguments = arguments
        check_arguments(MaskedAlignment, arguments, "MaskedAlignment", ("encoder",))
        check_encoder(encoder)
        n_chans = encoder.chans_id.numel()
        if n_visible_channels is None:
            n_visible_channels = max(1, round(PUBLISHED_SHARE * n_chans))
        elif n_visible_channels >= n_chans:
            raise ValueError(
                f"n_visible_channels must lie between 1 and n_chans - 1 = {n_chans - 1}, got "
                f"{n_visible_channels}. Published training shows 12 of 58."
            )
        self.n_visible_channels = n_visible_channels
        self.hidden_prob = hidden_prob
        self.reconstruct_prob = reconstruct_prob
        self.momentum = momentum
        self.alignment_weight = alignment_weight
        self.reconstruction_weight = reconstruction_weight
        self.normalise_targets = normalise_targets
        self.normalise_patches = normalise_patches
        self.skip = skip
        self.target = target

        layers = encoder.target_encoder.blocks
        widths = (encoder.embed_dim, layers[0].attn.n_heads, layers[0].mlp.fc1.out_features)
        self.encoder = encoder.requires_grad_(False).eval()
        self.student = deepcopy(encoder.target_encoder).requires_grad_(True).train()
        silence = torch.zeros(encoder.input_shape)
        patches = cut_moments(silence, encoder.patch_size, encoder.patch_size)
        self.predictor = Predictor(
            *widths,
            n_layers=len(layers) if n_predictor_layers is None else n_predictor_layers,
            n_summary_tokens=encoder.n_summary_tokens,
            init_std=encoder.arguments["init_std"],
        )
        self.reconstructor = Reconstructor(
            *widths,
            n_layers=len(layers) if n_reconstructor_layers is None else n_reconstructor_layers,
            n_channel_names=self.student.chan_embed.num_embeddings,
            n_values=describe(self, silence, patches).shape[-1],
            init_std=encoder.arguments["init_std"],
        )

    def draw(self, windows: Windows, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Draw one mask for all windows.

        Parameters
        ----------
        windows : torch.Tensor, shape (batch, n_chans, n_times)
            EEG in any unit; only its shape counts.
        generator : torch.Generator or None
            Source of randomness, on the CPU. None means torch's own.

        Returns
        -------
        drawn : dict of torch.Tensor
            ``"visible"``, shape (1, n_patches): moments that the student sees. ``"kept"``, shape
            (1, n_patches, n_visible_channels): the channels that it sees then; of no effect where it sees
            nothing. ``"targets"``, shape (1, n_patches, n_chans): patches to reconstruct.

        Raises
        ------
        ValueError
            If the windows do not fit the encoder.
        """
        shape = (count_moments(self.encoder, windows), windows.shape[1])
        while True:
            chances, order, luck = (
                torch.rand(size, generator=generator, device="cpu") for size in (shape[0], shape, shape)
            )
            visible = chances >= self.hidden_prob
            kept = order.argsort(dim=1)[:, : self.n_visible_channels]
            unseen = torch.ones(shape, dtype=torch.bool, device="cpu").scatter(1, kept, False)
            extra = visible[:, None] & unseen & (luck < self.reconstruct_prob)
            if extra.any():
                targets = extra | ~visible[:, None]
                return {"visible": visible[None], "kept": kept[None], "targets": targets[None]}

    def forward(self, windows: Windows, drawn: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Compute the losses of a batch.

        Parameters
        ----------
        windows : torch.Tensor, shape (batch, n_chans, n_times)
            EEG in millivolts, average-referenced; `n_times` a multiple of the patch size.
        drawn : dict of torch.Tensor or None
            A mask from `draw`. None means to draw one.

        Returns
        -------
        losses : dict of torch.Tensor
            Scalars. ``"loss"`` has a gradient: the weighted sum of the terms ``"alignment"`` and
            ``"reconstruction"``. ``"alignment_spread"`` and ``"reconstruction_spread"`` are the variances of
            what is predicted, and so the losses of knowing its mean only; alignment whose spread goes to zero
            has collapsed.

        Raises
        ------
        ValueError
            If the windows do not fit the encoder.
        """
        n_patches, size = count_moments(self.encoder, windows), self.encoder.patch_size
        drawn = self.draw(windows) if drawn is None else drawn
        seen_steps, seen_chans, target_steps, target_chans = locate(drawn, windows.device)
        names = self.encoder.chans_id.flatten()  # (n_chans,)
        patches = cut_moments(windows, size, size)  # (batch, n_patches, n_chans, patch_size)

        seen = patches[:, seen_steps[:, None], seen_chans]  # (batch, n_visible, n_kept, patch_size)
        summary = self.student(seen, names[seen_chans])  # (batch, n_visible, n_summary_tokens, embed_dim)
        predicted = self.predictor(summary, seen_steps, n_patches)
        # predicted: (batch, n_patches, n_summary_tokens, embed_dim)
        mixed = predicted.index_copy(1, seen_steps, summary.to(predicted.dtype)) if self.skip else predicted
        rebuilt = self.reconstructor(mixed, target_steps, names[target_chans])
        # rebuilt: (batch, n_targets, n_values)

        with torch.no_grad():
            anchor = at_least_single(self.encoder.target_encoder(patches, self.encoder.chans_id))
            # anchor: (batch, n_patches, n_summary_tokens, embed_dim)
        if self.normalise_targets:
            anchor = F.layer_norm(anchor, anchor.shape[-1:])
        described = describe(self, windows, patches)
        # described: (batch, n_patches, n_chans, n_values)
        hidden = at_least_single(described[:, target_steps, target_chans])  # (batch, n_targets, n_values)
        if self.normalise_patches:
            hidden = F.layer_norm(hidden, hidden.shape[-1:])  # (batch, n_targets, n_values)
        alignment = F.mse_loss(at_least_single(predicted), anchor)
        reconstruction = F.mse_loss(at_least_single(rebuilt), hidden)
        return {
            "loss": self.alignment_weight * alignment + self.reconstruction_weight * reconstruction,
            "alignment": alignment.detach(),
            "reconstruction": reconstruction.detach(),
            "alignment_spread": spread(anchor),
            "reconstruction_spread": spread(hidden),
        }

    def update(self, progress: float) -> None:
        """Let the target encoder follow the student, after a step of the optimiser.

        Parameters
        ----------
        progress : float
            Share of the training that is done, above 0 and up to 1.
        """
        start, end = self.momentum
        follow(self.encoder.target_encoder, self.student, start + progress * (end - start))

    def trivial_loss(self) -> dict[str, float]:
        """Give the value of each term for a predictor that always says zero.

        Returns
        -------
        values : dict of float
            1 for each normalised term. The true value is lower where patches are quiet, since their
            normalisation adds 1e-5 square millivolts to a variance, as published; and a predictor that knows
            the mean gets further. The spreads that `forward` returns are the stricter measure. A term without
            normalisation is left out, since its value depends on the data.
        """
        normalised = {"alignment": self.normalise_targets, "reconstruction": self.normalise_patches}
        return {term: 1.0 for term, known in normalised.items() if known}


def count_moments(encoder: EEGPT, windows: Windows) -> int:
    """Count the moments of windows; refuse windows that do not fit the encoder, or with incomplete ones."""
    size = encoder.patch_size
    encoder.check_input(windows, n_times_least=size)
    if windows.shape[2] % size:
        raise ValueError(
            f"Windows must hold whole patches of {size} samples, got {windows.shape[2]} samples. "
            f"Cut them to {windows.shape[2] // size * size}."
        )
    return windows.shape[2] // size


def locate(drawn: dict[str, Tensor], device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """List which moments a mask shows, their channels, and moments and channels of what it asks for."""
    # Found where the mask was drawn: a processor need not wait for its accelerator to count.
    seen_steps = drawn["visible"][0].nonzero().flatten()  # (n_visible,)
    seen_chans = drawn["kept"][0, seen_steps]  # (n_visible, n_kept)
    target_steps, target_chans = drawn["targets"][0].nonzero(as_tuple=True)  # each (n_targets,)
    seen_steps, seen_chans, target_steps, target_chans = (
        numbers.to(device) for numbers in (seen_steps, seen_chans, target_steps, target_chans)
    )
    return seen_steps, seen_chans, target_steps, target_chans


def describe(objective: MaskedAlignment, windows: Windows, patches: Patches) -> Described:
    """Describe every patch by its samples, or by the spectrum of its channel, the same in all moments."""
    if objective.target == "samples":
        return patches
    spectra = log_spectrum(windows, objective.encoder.sfreq).unsqueeze(1)  # (batch, 1, n_chans, n_values)
    return spectra.expand(-1, patches.shape[1], -1, -1)  # (batch, n_patches, n_chans, n_values)


def log_spectrum(windows: Windows, sfreq: float) -> Float[Tensor, "batch n_chans n_values"]:
    """Take logarithms of amplitudes from 1 to 40 Hz, by Welch's method with segments of a second."""
    size = round(sfreq)
    if windows.shape[2] < size:
        raise ValueError(
            f"Spectra with steps of 1 Hz need windows of {size} samples, got {windows.shape[2]}. Pass longer "
            "windows, or target='samples'."
        )
    taper = torch.hann_window(size, device=windows.device)
    segments = at_least_single(windows).unfold(-1, size, max(1, size // 2)) * taper
    # segments: (batch, n_chans, n_segments, size)
    power = torch.fft.rfft(segments)[..., 1:41].abs().square().mean(dim=2)  # (batch, n_chans, n_values)
    # Far below the noise of an amplifier: silent channels stay finite.
    return power.clamp(min=1e-12).log() / 2


def spread(targets: Float[Tensor, "batch n_positions *dims"]) -> Float[Tensor, ""]:
    """Mean squared distance of targets from their mean over positions and the windows of all processes."""
    centre = mean_over_processes(targets.mean(dim=(0, 1)))  # (*dims)
    return (targets - centre).square().mean()


def check_encoder(encoder: Any) -> None:
    """Refuse encoders that cannot be trained so."""
    if not hasattr(encoder, "target_encoder"):
        raise TypeError(
            "The student starts from a target_encoder, as an EEGPT has it, got "
            f"{type(encoder).__name__}. Build one with EEGPT(...)."
        )
    if not isinstance(encoder.chan_proj, nn.Identity):
        raise ValueError(
            "The mask hides channels, so the encoder must read them as they are, got "
            f'chan_proj_type={encoder.arguments["chan_proj_type"]!r}. Build it with chan_proj_type="none".'
        )
    if encoder.patch_stride != encoder.patch_size:
        raise ValueError(
            f"Hidden patches of {encoder.patch_size} samples must not overlap with visible ones, got "
            f"patch_stride={encoder.patch_stride}. Build the encoder with patch_stride=None."
        )
