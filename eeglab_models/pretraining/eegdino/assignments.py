"""Assigning EEG to learned prototypes: heads that score, the centre, the loss, and what to watch.

Source: Caron et al. (2021), Emerging properties in self-supervised vision transformers, ICCV, section 3.1 and
appendix C; Sablayrolles et al. (2019), Spreading vectors for similarity search, ICLR, equation 2: KoLeo.
Shapes use these names throughout:

    n_targets     views of the same items that the teacher has
    n_guesses     views of them that the student has
    n_items       windows, or patches
    n_prototypes  K, the kinds of items that a head tells apart
"""

import copy
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from eeglab_models.models.eegdino import EEGDINO
from eeglab_models.pretraining.eegdino.views import View
from eeglab_models.training.processes import gather_rows, mean_over_processes, sum_over_processes

# For every item in every view of the teacher, or of the student: a number for each prototype.
Targets = Float[Tensor, "n_targets n_items n_prototypes"]
Guesses = Float[Tensor, "n_guesses n_items n_prototypes"]


class ProjectionHead(nn.Module):
    """Say how well tokens fit each prototype: a network of three layers, then cosines."""

    def __init__(self, embed_dim: int, hidden_dim: int, bottleneck_dim: int, n_prototypes: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(embed_dim, hidden_dim),
            nn.GELU(),
            nn.Linear(hidden_dim, hidden_dim),
            nn.GELU(),
            nn.Linear(hidden_dim, bottleneck_dim),
        )
        # An offset that all tokens share would hide at first how they differ.
        for layer in self.mlp[::2]:
            nn.init.zeros_(layer.bias)
        self.prototypes = nn.Parameter(torch.randn(n_prototypes, bottleneck_dim) * bottleneck_dim**-0.5)

    def forward(self, tokens: Float[Tensor, "... embed_dim"]) -> Float[Tensor, "... n_prototypes"]:
        """Score tokens against the prototypes, between -1 and 1."""
        directions = self.mlp(tokens)  # (..., bottleneck_dim)
        # Low temperatures would magnify the rounding of half precision.
        with torch.autocast(tokens.device.type, enabled=False):
            directions = F.normalize(directions.to(self.prototypes.dtype), dim=-1)
            return directions @ F.normalize(self.prototypes, dim=-1).T  # (..., n_prototypes)


class Branch(nn.Module):
    """Student or teacher: an encoder, a head for windows and one for patches."""

    def __init__(self, encoder: EEGDINO, hidden_dim: int, bottleneck_dim: int, n_prototypes: int) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder)
        # The classifier takes no part, and several processes wait for gradients of all that could have some.
        self.encoder.final_layer.requires_grad_(False)
        self.signal_head = ProjectionHead(encoder.emb_dim, hidden_dim, bottleneck_dim, n_prototypes)
        self.patch_head = ProjectionHead(encoder.emb_dim, hidden_dim, bottleneck_dim, n_prototypes)

    def forward(
        self, views: Sequence[View]
    ) -> tuple[
        Float[Tensor, "n_views batch embed_dim"],
        Float[Tensor, "n_views batch n_view_chans n_patches embed_dim"],
    ]:
        """Describe views of one kind: a summary token each, and all patch tokens."""
        features = [self.encoder(x, return_features=True, channel_ids=slots) for x, slots in views]
        summaries = torch.stack([feature["cls_token"] for feature in features])
        tokens = torch.stack([feature["features"] for feature in features])
        n_view_chans = views[0][0].shape[1]
        return summaries, tokens.unflatten(2, (n_view_chans, -1))


class Centre(nn.Module):
    """The running mean of scores, over all processes and all parts of a step."""

    def __init__(self, n_prototypes: int, momentum: float, moves: bool = True) -> None:
        super().__init__()
        self.momentum = momentum
        self.moves = moves
        self.register_buffer("mean", torch.zeros(n_prototypes))
        # No buffer: processes would copy it from each other in the middle of a step.
        self.total: Tensor | None = None

    def train(self, mode: bool = True) -> "Centre":
        """Switch between training and evaluation, and forget what a step that was not finished has seen."""
        self.total = None
        return super().train(mode)

    def forward(self, scores: Targets) -> Targets:
        """Subtract the mean from scores; in training, take note of them."""
        if self.training and self.moves:
            self.see(scores)
        return scores - self.mean

    @torch.no_grad()
    def see(self, scores: Targets) -> None:
        """Add scores of the teacher to those seen since the mean moved."""
        n_rows = scores.new_tensor([scores.shape[0] * scores.shape[1]])
        total = torch.cat([scores.sum(dim=(0, 1)), n_rows])  # (n_prototypes + 1,)
        self.total = total if self.total is None else self.total + total

    @torch.no_grad()
    def move(self) -> None:
        """Move the mean towards that of the scores seen; without any, it stays."""
        if self.total is not None:
            total = sum_over_processes(self.total)
            self.mean.lerp_(total[:-1] / total[-1].clamp(min=1), 1.0 - self.momentum)
            self.total = None


def guess(scores: Guesses, temperature: float) -> Guesses:
    """Turn the student's scores into log-probabilities."""
    return (scores / temperature).log_softmax(dim=-1)


def cross_entropies(targets: Targets, guesses: Guesses) -> Float[Tensor, "n_targets n_guesses"]:
    """Compare probabilities of every view of the teacher with the log-probabilities of every guess."""
    # Processes with more items than others count for more.
    n_items = mean_over_processes(targets.new_tensor(float(targets.shape[1])))
    # Autocast would multiply in half precision.
    with torch.autocast(targets.device.type, enabled=False):
        return -torch.einsum("tik,gik->tg", targets, guesses) / n_items.clamp(min=1e-6)


def measure_crowding(summaries: Float[Tensor, "n_views batch embed_dim"]) -> Float[Tensor, ""]:
    """Measure how close summaries are to the nearest other one of the same view, on the unit sphere."""
    crowding = []
    for view in F.normalize(summaries.float(), dim=-1):
        rows = gather_rows(view)  # (n_windows, embed_dim)
        with torch.no_grad():
            nearest = torch.cdist(rows, rows).fill_diagonal_(math.inf).argmin(dim=-1)  # (n_windows,)
        crowding.append(-F.pairwise_distance(rows, rows[nearest], eps=1e-8).log().mean())
    return torch.stack(crowding).mean()


@torch.no_grad()
def watch(targets: Targets, scores: Guesses) -> dict[str, Float[Tensor, ""]]:
    """Describe how far teacher and student tell the items of a view apart, over all processes.

    Means over views: entropies of one assignment and of the mean one, as shares of ln K; the share of the
    most frequent prototype; the standard deviation of a score of the student over the items.
    """
    n_prototypes = targets.shape[-1]
    parts = [
        targets.sum(dim=1),
        torch.special.entr(targets).sum(dim=1),
        torch.stack([view.bincount(minlength=n_prototypes) for view in targets.argmax(dim=-1)]),
        scores.sum(dim=1),
        scores.square().sum(dim=1),
        targets.new_full((1, n_prototypes), targets.shape[1]),
    ]  # each (n_targets or n_guesses or 1, n_prototypes)
    # One message between processes, in double precision because a variance is a small difference.
    total = sum_over_processes(torch.cat([part.double() for part in parts]))
    *totals, n_items = total.split([len(part) for part in parts])
    mean, entropy, frequency, first, second = (part / n_items.clamp(min=1) for part in totals)
    monitors = {
        "entropy": entropy.sum(dim=-1).mean() / math.log(n_prototypes),
        "mean_entropy": torch.special.entr(mean).sum(dim=-1).mean() / math.log(n_prototypes),
        "top_share": frequency.max(dim=-1).values.mean(),
        "spread": (second - first.square()).clamp(min=0).sqrt().mean(),
    }
    return {name: value.float() for name, value in monitors.items()}
