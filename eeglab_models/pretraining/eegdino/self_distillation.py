"""EEG-DINO's pretraining: a student learns to say of parts of a window what its teacher says of the whole.

Source: Wang et al. (2025), EEG-DINO: learning EEG foundation models via hierarchical self-distillation,
MICCAI, section 2. Shapes use these names throughout:

    batch         windows in a batch
    n_views       views of one kind: n_global, n_local or n_masked
    n_view_chans  channels of a view
    n_patches     patches of one channel of a view
    n_items       what is assigned to prototypes: windows, or patches
    n_prototypes  K, the kinds of windows (or of patches) that are told apart
    embed_dim     width of a token
"""

import copy
import math
from collections.abc import Sequence
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Le, Len
from jaxtyping import Float
from torch import Tensor

from eeglab_models.configs import BelowOne, Count, Positive, Share, check_arguments, check_name
from eeglab_models.models.channels import ChannelIds, read_channel_ids
from eeglab_models.models.eegdino import EEGDINO
from eeglab_models.pretraining.eegdino.assignments import (
    Branch,
    Centre,
    Guesses,
    Targets,
    cross_entropies,
    guess,
    measure_crowding,
    watch,
)
from eeglab_models.pretraining.eegdino.views import (
    View,
    cut_crop,
    draw_crops,
    draw_hidden,
    hide_patches,
    pair_patches,
)
from eeglab_models.pretraining.objective import Objective, follow

__all__ = ["SelfDistillation"]

ALIGNMENTS = ("same crop", "position")
PositiveShare = Annotated[float, Gt(0), Le(1)]


class SelfDistillation(Objective):
    """Train EEG-DINO by self-distillation, on whole windows and on single patches.

    Every window is looked at in twelve views: channels and moments drawn at random, large (global), small
    (local), or large with parts set to zero (masked). The teacher sees the global views and assigns each to
    one of K learned prototypes; the student has to find the same assignment from every other view, and for
    every masked patch what the teacher says of it. The teacher is a slow average of the student. Centring
    and a low temperature of the teacher keep both from giving one answer to everything.

    Parameters
    ----------
    encoder : EEGDINO
        Model to start from. It stays as it is: student and teacher are copies of it.
    n_global, n_local, n_masked : int
        Views per window of each kind.
    global_channels, global_time : float
        Share of the channels (rounded up) and of the patches (rounded) in a global or masked view.
    local_channels, local_time : float
        Share of the channels (rounded down) and of the patches (rounded) in a local view.
    masked_channels, masked_time : float
        Share of whole channels and of whole moments set to zero in a masked view, on average; at least one
        channel and one moment stay.
    hidden_dim, bottleneck_dim : int
        Hidden and output width of the three-layer networks before the prototypes.
    n_prototypes : int
        Number of prototypes of either head.
    student_temperature : float
        Temperature of the student's assignments.
    teacher_temperature : tuple of (float, float)
        Temperature of the teacher's assignments at the start and after `teacher_warmup`; it grows linearly.
    teacher_warmup : float
        Share of the training in which the teacher's temperature grows.
    centring : bool
        Subtract the teacher's running mean from its scores.
    centre_momentum : float
        Share of the running mean that stays at every step.
    momentum : tuple of (float, float)
        Share of the teacher that stays at every step, at the start and at the end; a half cosine between.
    patch_alignment : {"same crop", "position"}
        ``"same crop"``: a masked view is one of the global views with parts set to zero, and each of its
        masked patches is compared with the same patch of that view. ``"position"``: masked views have crops
        of their own, and all their patches are compared with those of every global view in the order in
        which they stand, whatever channel and moment they come from.
    signal_weight, patch_weight : float
        Weights of the losses on windows and on patches.
    koleo_weight : float
        Weight of a term that keeps the student's summary tokens apart; 0 leaves it out.
    channel_ids : torch.Tensor, shape (n_chans,), or sequence of int, or None
        Slot of every channel of the windows in the encoder's channel embedding; None means the first ones
        in order.

    Raises
    ------
    ValueError
        If a count, share, temperature or momentum is out of its range, if `patch_alignment` is unknown, or
        if `channel_ids` are not distinct slots of the encoder.

    Notes
    -----
    The paper is known to name the three kinds of views, channel-aware sampling, the two levels and the
    teacher. Shares, counts, temperatures and ``"position"`` are those of a re-implementation, the three-layer
    heads and KoLeo those of DINOv2, and ``"same crop"`` is iBOT's, which we prefer. Sizes of the heads fit
    narrow encoders; at the published width take ``hidden_dim=2048, bottleneck_dim=256`` and 4096 to 16384
    prototypes. Crops begin and end between two patches.

    References
    ----------
    Wang et al. (2025), EEG-DINO, MICCAI, section 2.2 and equation 2.
    Caron et al. (2021), Emerging properties in self-supervised vision transformers, ICCV, section 3.1.
    Zhou et al. (2022), iBOT: image BERT pre-training with online tokenizer, ICLR, equation 2.
    Sablayrolles et al. (2019), Spreading vectors for similarity search, ICLR, equation 2 (KoLeo).
    """

    AT_REST = "teacher"

    def __init__(
        self,
        encoder: EEGDINO,
        n_global: Annotated[int, Ge(2)] = 2,
        n_local: Count = 8,
        n_masked: Count = 2,
        global_channels: PositiveShare = 0.7,
        global_time: PositiveShare = 0.8,
        local_channels: PositiveShare = 0.3,
        local_time: PositiveShare = 0.5,
        masked_channels: BelowOne = 0.5,
        masked_time: BelowOne = 0.15,
        hidden_dim: Count = 256,
        bottleneck_dim: Count = 64,
        n_prototypes: Annotated[int, Ge(2)] = 512,
        student_temperature: Positive = 0.1,
        teacher_temperature: Annotated[Sequence[Positive], Len(2, 2)] = (0.04, 0.07),
        teacher_warmup: PositiveShare = 0.3,
        centring: bool = True,
        centre_momentum: Share = 0.9,
        momentum: Annotated[Sequence[Share], Len(2, 2)] = (0.996, 1.0),
        patch_alignment: str = "same crop",
        signal_weight: float = 1.0,
        patch_weight: float = 1.0,
        koleo_weight: float = 0.0,
        channel_ids: ChannelIds | None = None,
    ) -> None:
        arguments = {
            name: value for name, value in locals().items() if name not in ("self", "encoder", "__class__")
        }
        super().__init__()
        checked = {name: value for name, value in arguments.items() if name != "channel_ids"}
        check_arguments(SelfDistillation, checked, "SelfDistillation", ("encoder", "channel_ids"))
        check_name(patch_alignment, ALIGNMENTS, "There is no patch_alignment")
        self.arguments = arguments
        self.n_views = {"global": n_global, "local": n_local, "masked": n_masked}
        self.global_share = (global_channels, global_time)
        self.local_share = (local_channels, local_time)
        self.masked_share = (masked_channels, masked_time)
        self.student_temperature = student_temperature
        self.teacher_temperature = tuple(teacher_temperature)
        self.teacher_warmup = teacher_warmup
        self.momentum = tuple(momentum)
        self.patch_alignment = patch_alignment
        self.signal_weight = signal_weight
        self.patch_weight = patch_weight
        self.koleo_weight = koleo_weight
        self.patch_size = encoder.patch_size
        slots = range(encoder.n_chans) if channel_ids is None else channel_ids
        n_slots = encoder.patch_embedding.channel_embedding.in_features
        # On the CPU, where reading them keeps no accelerator waiting.
        self.slots = read_channel_ids(slots, torch.empty(0, len(slots), 0), n_slots)

        self.student = Branch(encoder, hidden_dim, bottleneck_dim, n_prototypes)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False).eval()
        self.signal_centre = Centre(n_prototypes, centre_momentum, centring)
        self.patch_centre = Centre(n_prototypes, centre_momentum, centring)
        self.register_buffer("temperature", torch.tensor(float(self.teacher_temperature[0])))

    @property
    def encoder(self) -> EEGDINO:
        """A copy of the teacher's encoder, ready to be probed, fine-tuned or saved."""
        return copy.deepcopy(self.teacher.encoder).requires_grad_(True).eval()

    @property
    def student_encoder(self) -> EEGDINO:
        """A copy of the student's encoder, ready to be probed, fine-tuned or saved."""
        return copy.deepcopy(self.student.encoder).requires_grad_(True).eval()

    def trivial_loss(self) -> dict[str, float]:
        """Losses of a student that gives every prototype the same probability.

        The bar is lower where the teacher prefers some prototypes: a student that always answers with the
        teacher's mean assignment pays the entropy of that mean, ``"signal_mean_entropy"`` times ln K. Only
        a loss below that shows that the student tells windows apart, and after a collapse it is near zero.

        Returns
        -------
        losses : dict of float
            ln K for every term, and their weighted sum as ``"loss"``, KoLeo left out.
        """
        term = math.log(len(self.signal_centre.mean))
        terms = {f"{kind}_loss": term for kind in (*self.n_views, "patch")}
        return {"loss": (3 * self.signal_weight + self.patch_weight) * term, **terms}

    def draw(
        self, windows: Float[Tensor, "batch n_chans n_times"], generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Draw what the views of one step show.

        Parameters
        ----------
        windows : torch.Tensor, shape (batch, n_chans, n_times)
            EEG in any unit; only its shape counts.
        generator : torch.Generator or None
            Source of randomness on the CPU; None means torch's own.

        Returns
        -------
        drawn : dict of torch.Tensor
            For each kind of view ``"{kind}_channels"``, shape (1, n_views, n_view_chans), rows of the
            windows, and ``"{kind}_starts"``, shape (1, n_views), first patch; both are shared by the batch.
            ``"mask"``, shape (batch, n_masked, n_view_chans, n_patches), is True where a patch of a masked
            view is set to zero.

        Raises
        ------
        ValueError
            If the channels are not those of `channel_ids`, or if a window is shorter than a patch.
        """
        n_chans, n_patches = count_rows(self, windows)
        drawn = {}
        for kind, n_views in self.n_views.items():
            rows, moments = self.size_view(kind, n_chans, n_patches)
            channels, starts = draw_crops(n_views, n_chans, rows, n_patches, moments, generator)
            drawn |= {f"{kind}_channels": channels, f"{kind}_starts": starts}
        n_masked = self.n_views["masked"]
        if self.patch_alignment == "same crop":
            twins = torch.arange(n_masked) % self.n_views["global"]
            drawn |= {f"masked_{part}": drawn[f"global_{part}"][:, twins] for part in ("channels", "starts")}
        # The masked views were drawn last, so these are their sizes.
        channels, moments = (
            draw_hidden((len(windows), n_masked), n_items, share, generator)
            for n_items, share in zip((rows, moments), self.masked_share, strict=True)
        )  # (batch, n_masked, n_view_chans) and (batch, n_masked, n_patches)
        drawn["mask"] = channels.unsqueeze(-1) | moments.unsqueeze(-2)
        return drawn

    def forward(
        self, windows: Float[Tensor, "batch n_chans n_times"], drawn: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Compute the losses of one step.

        Parameters
        ----------
        windows : torch.Tensor, shape (batch, n_chans, n_times)
            EEG in microvolts divided by 100, at the rate of the encoder. Samples that fill no patch are
            left out.
        drawn : dict of torch.Tensor or None
            What the views show, as `draw` returns it; None draws it.

        Returns
        -------
        losses : dict of torch.Tensor
            ``"loss"``, the weighted sum, in nats: the means over all pairs of views for global, local and
            masked views, added up, and the patches. Each term follows as ``"{term}_loss"``. For windows
            and patches, ``"signal_"`` and ``"patch_"``, five monitors: ``"entropy"`` of a single
            assignment of the teacher and ``"mean_entropy"`` of the mean assignment of a view, as shares
            of ln K; ``"top_share"`` of the most frequent prototype; ``"spread"``, the standard deviation
            of the student's cosines over the items of a view; ``"centre_norm"``. If the two entropies
            agree, every item gets the same answer: the training has collapsed.

        Raises
        ------
        ValueError
            If the channels are not those of `channel_ids`, or if a window is shorter than a patch.
        """
        drawn = self.draw(windows) if drawn is None else drawn
        views = {kind: cut_views(self, windows, drawn, kind) for kind in self.n_views}
        with torch.no_grad():
            summaries, teacher_tokens = self.teacher(views["global"])
            teacher_scores = self.teacher.signal_head(summaries)  # (n_global, batch, n_prototypes)
            targets = (self.signal_centre(teacher_scores) / self.temperature).softmax(dim=-1)

        losses = {}
        for kind in self.n_views:
            summaries, tokens = self.student(views[kind])  # tokens of the masked views come last
            scores = self.student.signal_head(summaries)  # (n_views, batch, n_prototypes)
            pairs = cross_entropies(targets, guess(scores, self.student_temperature))  # (n_global, n_views)
            if kind == "global":
                monitors = monitor("signal", targets, scores, self.signal_centre)
                # A view learns nothing from what the teacher says of the same view.
                pairs = pairs[~torch.eye(len(pairs), dtype=torch.bool, device=pairs.device)]
                if self.koleo_weight:
                    losses["koleo_loss"] = measure_crowding(summaries)
            losses[f"{kind}_loss"] = pairs.mean()
        mask = drawn["mask"].to(windows.device).transpose(0, 1)  # (n_masked, batch, n_view_chans, n_patches)
        teacher_tokens, tokens = pair_patches(teacher_tokens, tokens, mask, self.patch_alignment)
        with torch.no_grad():
            teacher_scores = self.teacher.patch_head(teacher_tokens)  # (..., n_items, n_prototypes)
            targets = (self.patch_centre(teacher_scores) / self.temperature).softmax(dim=-1)
        scores = self.student.patch_head(tokens)  # (..., n_items, n_prototypes)
        losses["patch_loss"] = cross_entropies(targets, guess(scores, self.student_temperature)).mean()
        monitors |= monitor("patch", targets, scores, self.patch_centre)

        signal_loss = losses["global_loss"] + losses["local_loss"] + losses["masked_loss"]
        loss = self.signal_weight * signal_loss + self.patch_weight * losses["patch_loss"]
        if self.koleo_weight:
            loss = loss + self.koleo_weight * losses["koleo_loss"]
        return {"loss": loss, **{name: term.detach() for name, term in losses.items()}, **monitors}

    @torch.no_grad()
    def update(self, progress: float) -> None:
        """Let the teacher follow after a step of the optimiser, and move centres and temperature.

        Parameters
        ----------
        progress : float
            Share of the training that is done, above 0 and up to 1.
        """
        first, last = self.momentum
        follow(self.teacher, self.student, last + (first - last) * (1 + math.cos(math.pi * progress)) / 2)
        first, last = self.teacher_temperature
        self.temperature.fill_(first + (last - first) * min(1.0, progress / self.teacher_warmup))
        self.signal_centre.move()
        self.patch_centre.move()

    def size_view(self, kind: str, n_chans: int, n_patches: int) -> tuple[int, int]:
        """Count channels and patches of one kind of view; at least one of each.

        Parameters
        ----------
        kind : {"global", "local", "masked"}
            Kind of view.
        n_chans : int
            Channels of the windows.
        n_patches : int
            Patches of one channel of the windows.

        Returns
        -------
        n_view_chans : int
            Channels of a view.
        n_view_patches : int
            Patches of one channel of a view.
        """
        channels, time = self.local_share if kind == "local" else self.global_share
        # Rounding first, because 0.55 * 100 is a little more than 55.
        rows = round(channels * n_chans, 6)
        rows = math.floor(rows) if kind == "local" else math.ceil(rows)
        return max(1, rows), max(1, round(time * n_patches))


def count_rows(objective: SelfDistillation, windows: Tensor) -> tuple[int, int]:
    """Count channels and whole patches of windows, and refuse what cannot be cut into views."""
    n_chans, n_times = windows.shape[1:]
    if n_chans != len(objective.slots):
        raise ValueError(
            f"This objective was built for {len(objective.slots)} channels, got {n_chans}. "
            "Pass channel_ids with one slot per channel of the windows."
        )
    if n_times < objective.patch_size:
        raise ValueError(
            f"Windows need at least one patch of {objective.patch_size} samples, got {n_times} samples. "
            "Pass longer windows."
        )
    return n_chans, n_times // objective.patch_size


def cut_views(
    objective: SelfDistillation, windows: Tensor, drawn: dict[str, Tensor], kind: str
) -> list[View]:
    """Cut the views of one kind out of the windows, and hide the patches of masked ones."""
    _, n_patches = objective.size_view(kind, *count_rows(objective, windows))
    size, views = objective.patch_size, []
    for number, start in enumerate(drawn[f"{kind}_starts"][0].tolist()):
        channels = drawn[f"{kind}_channels"][0, number].cpu()
        x = cut_crop(windows, channels, start * size, n_patches * size)
        if kind == "masked":
            x = hide_patches(x, drawn["mask"][:, number].to(x.device))
        views.append((x, objective.slots[channels]))
    return views


def monitor(level: str, targets: Targets, scores: Guesses, centre: Centre) -> dict[str, Tensor]:
    """Collect the monitors of windows or of patches, under names that begin with their level."""
    monitors = watch(targets, scores) | {"centre_norm": centre.mean.norm()}
    return {f"{level}_{name}": value for name, value in monitors.items()}
