"""Codebooks: unit vectors that stand for tokens and follow the tokens they stand for.

Source: van den Oord et al. (2017), Neural discrete representation learning, section 3 and appendix A.1; Peng
et al. (2022), BEiT v2, section 2: unit vectors; Dhariwal et al. (2020), Jukebox, section 3: dead codes;
Dhillon and Modha (2001), Concept decompositions for large sparse text data using clustering, section 3:
k-means; Ma et al. (2026), CodeBrain, ICLR, section 3.2: streams.
Shapes use these names throughout:

    batch       windows in a batch
    n_chans     EEG channels
    n_patches   patches of one channel
    patch_size  numbers that are predicted of one patch
    embed_dim   width of a token
    n_vectors   vectors that are replaced by codes
    n_codes     codes of a codebook
    code_dim    width of a code
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from eeglab_models.models.fourier import at_least_single
from eeglab_models.training.processes import gather_rows, sum_over_processes

__all__ = ["describe_codes"]

Patches = Float[Tensor, "batch n_chans n_patches patch_size"]
PatchTokens = Float[Tensor, "batch n_chans n_patches embed_dim"]
PatchCodes = Int[Tensor, "batch n_chans n_patches"]

# Vectors that are compared with all codes at a time: more would only take memory.
N_TOGETHER = 2**14


class Codebook(nn.Module):
    """Replace every vector by the code with the most similar direction.

    Codes learn without gradients, in `update`. Vectors learn through the codes as if nothing were replaced.
    """

    def __init__(
        self,
        n_codes: int,
        code_dim: int,
        decay: float = 0.99,
        dead_after: int = 100,
        restart_dead: bool = False,
    ) -> None:
        super().__init__()
        if n_codes < 2 or code_dim < 2:
            raise ValueError(
                f"A codebook needs at least 2 codes of at least 2 numbers, got n_codes={n_codes} and "
                f"code_dim={code_dim}. Published are 4096 codes of 32 numbers."
            )
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"decay must be at least 0 and below 1, got {decay}. Published is 0.99.")
        if dead_after < 1:
            raise ValueError(f"dead_after must be at least 1 step, got {dead_after}.")
        self.decay = decay
        self.dead_after = dead_after
        self.restart_dead = restart_dead
        self.register_buffer("codes", F.normalize(torch.randn(n_codes, code_dim), dim=-1))
        # Steps since a vector last chose the code.
        self.register_buffer("n_idle_steps", torch.zeros(n_codes, dtype=torch.int64))
        # Unit vectors and their codes, of each part of a step. No buffers: processes would copy them.
        self.seen: list[tuple[Tensor, Tensor]] = []

    def train(self, mode: bool = True) -> "Codebook":
        """Switch between training and evaluation, and forget what a step that was not finished has seen."""
        self.seen = []
        return super().train(mode)

    def forward(
        self, vectors: Float[Tensor, "*tokens code_dim"]
    ) -> tuple[Float[Tensor, "*tokens code_dim"], Int[Tensor, "*tokens"], Float[Tensor, ""]]:
        """Return the codes of vectors, their numbers, and the mean squared difference of units and codes."""
        with torch.autocast(vectors.device.type, enabled=False):
            units = F.normalize(at_least_single(vectors), dim=-1)
            ids = self.look_up(units)  # (...)
            chosen = self.codes[ids]  # (..., code_dim)
            commitment = F.mse_loss(units, chosen)
            quantised = units + (chosen - units).detach()
            if self.training:
                self.seen.append((units.detach().flatten(0, -2), ids.flatten()))
        return quantised, ids, commitment

    def look_up(self, vectors: Float[Tensor, "*tokens code_dim"]) -> Int[Tensor, "*tokens"]:
        """Find the code of every vector, of any length; the codebook stays as it is."""
        with torch.no_grad(), torch.autocast(vectors.device.type, enabled=False):
            ids = nearest(at_least_single(vectors).flatten(0, -2), self.codes)  # (n_vectors,)
        return ids.unflatten(0, vectors.shape[:-1])  # (...)

    @torch.no_grad()
    def update(self, chances: Float[Tensor, " n_codes"] | None = None) -> None:
        """Move the codes, once a step, towards the vectors that chose them in all its parts and processes.

        With `chances`, numbers from 0 to 1 that are the same in all processes, dead codes may restart.
        """
        if not self.seen:
            return
        units, ids = (torch.cat(part) for part in zip(*self.seen, strict=True))
        self.seen = []
        counts, sums = (sum_over_processes(part) for part in collect(units, ids, len(self.codes)))
        # A code without vectors only becomes shorter, and gets its length back.
        self.codes.lerp_(F.normalize(sums, dim=-1), 1.0 - self.decay)
        self.codes.copy_(F.normalize(self.codes, dim=-1))
        self.n_idle_steps.add_(1).masked_fill_(counts > 0, 0)
        if self.restart_dead and chances is not None:
            self.restart(units, chances)

    def restart(self, units: Float[Tensor, "n_vectors code_dim"], chances: Float[Tensor, " n_codes"]) -> None:
        """Move dead codes to those vectors, of all processes, that chance points to."""
        dead = self.find_dead()  # (n_codes,)
        if dead.any():
            candidates = gather_rows(units)  # (n_vectors of all processes, code_dim)
            rows = (chances.to(units.device) * len(candidates)).long().clamp(max=len(candidates) - 1)
            self.codes[dead] = candidates[rows[dead]]
            self.n_idle_steps[dead] = 0

    def find_dead(self) -> Tensor:
        """Tell which codes no vector has chosen for `dead_after` steps or more."""
        return self.n_idle_steps >= self.dead_after

    @torch.no_grad()
    def start(self, vectors: Float[Tensor, "*tokens code_dim"], generator: torch.Generator) -> None:
        """Place the codes at the centres of k-means clusters of vectors, the same in all processes."""
        units = F.normalize(at_least_single(vectors), dim=-1).flatten(0, -2)  # (n_vectors, code_dim)
        self.codes.copy_(k_means(units, len(self.codes), generator))

    def monitor(self, ids: Int[Tensor, "*tokens"]) -> dict[str, Float[Tensor, ""]]:
        """Say how the codes of a batch are distributed, as `describe_codes`, and how many are ``"dead"``."""
        return describe_codes(ids, len(self.codes)) | {"dead": self.find_dead().sum().float()}


class CodeStream(nn.Module):
    """One of two streams: tokens choose codes, and targets are predicted from the codes alone."""

    def __init__(
        self, codebook: Codebook, decoder: nn.Module, embed_dim: int, patch_size: int, n_targets: int
    ) -> None:
        super().__init__()
        code_dim = codebook.codes.shape[1]
        self.to_code = two_layers(embed_dim, code_dim)
        self.codebook = codebook
        self.from_code = nn.Linear(code_dim, embed_dim)
        self.decoder = decoder
        self.outputs = nn.ModuleList(two_layers(embed_dim, patch_size) for _ in range(n_targets))

    def forward(self, tokens: PatchTokens) -> tuple[list[Patches], PatchCodes, Float[Tensor, ""]]:
        """Predict the targets; return the codes of the patches and the commitment too."""
        quantised, ids, commitment = self.codebook(self.to_vectors(tokens))
        decoded = self.decoder(self.from_code(quantised))  # (batch, n_chans, n_patches, embed_dim)
        return [at_least_single(output(decoded)) for output in self.outputs], ids, commitment

    def to_vectors(self, tokens: PatchTokens) -> Float[Tensor, "batch n_chans n_patches code_dim"]:
        """Map tokens to vectors that choose a code, in full precision."""
        with torch.autocast(tokens.device.type, enabled=False):
            return self.to_code(at_least_single(tokens))  # (batch, n_chans, n_patches, code_dim)


def two_layers(in_features: int, out_features: int) -> nn.Sequential:
    """Build the small network before a codebook or after a decoder."""
    return nn.Sequential(nn.Linear(in_features, in_features), nn.Tanh(), nn.Linear(in_features, out_features))


def nearest(
    vectors: Float[Tensor, "n_vectors code_dim"], codes: Float[Tensor, "n_codes code_dim"]
) -> Int[Tensor, " n_vectors"]:
    """Find the code of the most similar direction."""
    return torch.cat([(part @ codes.T).argmax(dim=-1) for part in vectors.split(N_TOGETHER)])


def collect(
    units: Float[Tensor, "n_vectors code_dim"], ids: Int[Tensor, " n_vectors"], n_codes: int
) -> tuple[Int[Tensor, " n_codes"], Float[Tensor, "n_codes code_dim"]]:
    """Count and add up the vectors of every code."""
    sums = units.new_zeros(n_codes, units.shape[1]).index_add_(0, ids, units)
    return torch.bincount(ids, minlength=n_codes), sums


def k_means(
    units: Float[Tensor, "n_vectors code_dim"],
    n_clusters: int,
    generator: torch.Generator | None = None,
    n_iterations: int = 10,
) -> Float[Tensor, "n_clusters code_dim"]:
    """Find mean directions around which unit vectors gather, k-means by cosine; empty clusters stay."""
    if len(units) < n_clusters:
        raise ValueError(
            f"k-means needs a vector for each of its {n_clusters} clusters, got {len(units)} vectors. "
            "Use larger batches, fewer codes, or start without k-means."
        )
    rows = torch.randperm(len(units), generator=generator)[:n_clusters]
    centres = units[rows.to(units.device)]  # (n_clusters, code_dim)
    for _ in range(n_iterations):
        counts, sums = collect(units, nearest(units, centres), n_clusters)
        centres = torch.where((counts > 0).unsqueeze(-1), F.normalize(sums, dim=-1), centres)
    return centres


@torch.no_grad()
def describe_codes(ids: Int[Tensor, "*tokens"], n_codes: int) -> dict[str, Float[Tensor, ""]]:
    """Say how many codes are in use, and how evenly.

    Parameters
    ----------
    ids : torch.Tensor, any shape
        Codes of one process's tokens, from 0 to `n_codes` - 1.
    n_codes : int
        Number of codes of the codebook.

    Returns
    -------
    description : dict of torch.Tensor
        Over all processes: ``"used"``, the number of different codes; ``"entropy"`` of their shares, in
        nats; ``"perplexity"``, its exponential, the number of equally frequent codes with that entropy;
        ``"dominant"``, the share of the most frequent code.
    """
    counts = sum_over_processes(torch.bincount(ids.flatten(), minlength=n_codes)).float()  # (n_codes,)
    shares = counts / counts.sum().clamp_min(1)
    entropy = torch.special.entr(shares).sum()
    return {
        "used": (counts > 0).sum().float(),
        "entropy": entropy,
        "perplexity": entropy.exp(),
        "dominant": shares.max(),
    }
