"""Codebooks: unit vectors that stand for tokens and follow the tokens they stand for.

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

__all__ = ["CodeStream", "Codebook", "describe_codes", "k_means"]

Patches = Float[Tensor, "batch n_chans n_patches patch_size"]
PatchTokens = Float[Tensor, "batch n_chans n_patches embed_dim"]
PatchCodes = Int[Tensor, "batch n_chans n_patches"]

# Vectors that are compared with all codes at a time: more would only take memory.
N_TOGETHER = 2**14


class Codebook(nn.Module):
    """Replace every vector by the code with the most similar direction.

    Codes learn without gradients: in training mode, each moves a little towards the mean of the vectors
    that chose it, in all processes. Vectors learn through the codes as if nothing had been replaced.

    Parameters
    ----------
    n_codes : int
        Number of codes.
    code_dim : int
        Width of a code.
    decay : float
        Share of a code that stays in a step; the rest comes from its vectors.
    dead_after : int
        Steps in a row without a vector after which a code is called dead.
    restart_dead : bool
        Move dead codes to vectors of the batch.

    Attributes
    ----------
    codes : torch.Tensor, shape (n_codes, code_dim)
        The codes, of length 1.
    n_idle_steps : torch.Tensor, shape (n_codes,)
        Steps since a vector last chose the code.

    Raises
    ------
    ValueError
        If a number is outside its range.

    References
    ----------
    van den Oord et al. (2017), Neural discrete representation learning, section 3 and appendix A.1. Peng et
    al. (2022), BEiT v2, section 2: unit vectors. Dhariwal et al. (2020), Jukebox, section 3: dead codes.
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
        self.register_buffer("n_idle_steps", torch.zeros(n_codes, dtype=torch.int64))

    def forward(
        self,
        vectors: Float[Tensor, "*tokens code_dim"],
        chances: Float[Tensor, " n_codes"] | None = None,
    ) -> tuple[Float[Tensor, "*tokens code_dim"], Int[Tensor, "*tokens"], Float[Tensor, ""]]:
        """Replace vectors by codes.

        Parameters
        ----------
        vectors : torch.Tensor, shape (..., code_dim)
            Vectors of any length.
        chances : torch.Tensor, shape (n_codes,), or None
            Random numbers from 0 to 1, the same in all processes, that say where in the batch each code
            would restart. Without them, none does.

        Returns
        -------
        quantised : torch.Tensor, shape (..., code_dim)
            The codes; gradients pass to the unit vectors that they replace.
        ids : torch.Tensor, shape (...)
            Number of the code of every vector.
        commitment : torch.Tensor, scalar
            Mean squared difference of unit vectors and codes, with gradient for the vectors.
        """
        with torch.autocast(vectors.device.type, enabled=False):
            units = F.normalize(at_least_single(vectors), dim=-1)
            ids = self.look_up(units)  # (...)
            chosen = self.codes[ids]  # (..., code_dim)
            commitment = F.mse_loss(units, chosen)
            quantised = units + (chosen - units).detach()
            if self.training:
                self.follow(units.detach().flatten(0, -2), ids.flatten(), chances)
        return quantised, ids, commitment

    def look_up(self, vectors: Float[Tensor, "*tokens code_dim"]) -> Int[Tensor, "*tokens"]:
        """Find the code of every vector, of any length; the codebook stays as it is.

        Parameters
        ----------
        vectors : torch.Tensor, shape (..., code_dim)
            Vectors of any length.

        Returns
        -------
        ids : torch.Tensor, shape (...)
            Number of the code of every vector.
        """
        with torch.no_grad(), torch.autocast(vectors.device.type, enabled=False):
            ids = nearest(at_least_single(vectors).flatten(0, -2), self.codes)  # (n_vectors,)
        return ids.unflatten(0, vectors.shape[:-1])  # (...)

    @torch.no_grad()
    def follow(
        self,
        units: Float[Tensor, "n_vectors code_dim"],
        ids: Int[Tensor, " n_vectors"],
        chances: Float[Tensor, " n_codes"] | None,
    ) -> None:
        """Move the codes towards the vectors that chose them, and restart those that nobody chose.

        Parameters
        ----------
        units : torch.Tensor, shape (n_vectors, code_dim)
            Vectors of length 1.
        ids : torch.Tensor, shape (n_vectors,)
            Number of the code that each vector chose.
        chances : torch.Tensor, shape (n_codes,), or None
            Random numbers from 0 to 1, the same in all processes; without them, no code restarts.
        """
        counts, sums = (sum_over_processes(part) for part in collect(units, ids, len(self.codes)))
        # A code without vectors only becomes shorter, and gets its length back.
        self.codes.lerp_(F.normalize(sums, dim=-1), 1.0 - self.decay)
        self.codes.copy_(F.normalize(self.codes, dim=-1))
        self.n_idle_steps.add_(1).masked_fill_(counts > 0, 0)
        if self.restart_dead and chances is not None:
            self.restart(units, chances)

    def restart(self, units: Float[Tensor, "n_vectors code_dim"], chances: Float[Tensor, " n_codes"]) -> None:
        """Move dead codes to vectors of the batch.

        Parameters
        ----------
        units : torch.Tensor, shape (n_vectors, code_dim)
            Vectors of length 1.
        chances : torch.Tensor, shape (n_codes,)
            Random numbers from 0 to 1 that say where among the vectors of all processes each code would
            restart.
        """
        dead = self.find_dead()  # (n_codes,)
        if dead.any():
            candidates = gather_rows(units)  # (n_vectors of all processes, code_dim)
            rows = (chances.to(units.device) * len(candidates)).long().clamp(max=len(candidates) - 1)
            self.codes[dead] = candidates[rows[dead]]
            self.n_idle_steps[dead] = 0

    def find_dead(self) -> Tensor:
        """Tell which codes no vector has chosen for long.

        Returns
        -------
        dead : torch.Tensor, shape (n_codes,)
            True for codes that have been idle for `dead_after` steps or more.
        """
        return self.n_idle_steps >= self.dead_after

    @torch.no_grad()
    def start(self, vectors: Float[Tensor, "*tokens code_dim"], generator: torch.Generator) -> None:
        """Place the codes at the centres of k-means clusters.

        Parameters
        ----------
        vectors : torch.Tensor, shape (..., code_dim)
            Vectors of any length, the same in all processes.
        generator : torch.Generator
            Chooses the vectors that the clusters start from, seeded alike in all processes.

        Raises
        ------
        ValueError
            If there are fewer vectors than codes.
        """
        units = F.normalize(at_least_single(vectors), dim=-1).flatten(0, -2)  # (n_vectors, code_dim)
        self.codes.copy_(k_means(units, len(self.codes), generator))

    def monitor(self, ids: Int[Tensor, "*tokens"]) -> dict[str, Float[Tensor, ""]]:
        """Say how the codes of a batch are distributed, as `describe_codes`, and how many are dead.

        Parameters
        ----------
        ids : torch.Tensor, any shape
            Codes of one process's tokens.

        Returns
        -------
        description : dict of torch.Tensor
            What `describe_codes` returns, and ``"dead"``, the number of dead codes.
        """
        return describe_codes(ids, len(self.codes)) | {"dead": self.find_dead().sum().float()}


class CodeStream(nn.Module):
    """One of two streams: tokens choose codes, and targets are predicted from the codes alone.

    Parameters
    ----------
    codebook : Codebook
        Codes of the stream.
    decoder : torch.nn.Module
        Relates the codes of a window, from and to tokens of shape (batch, n_chans, n_patches, embed_dim).
    embed_dim : int
        Width of a token.
    patch_size : int
        Numbers that are predicted of one patch for each target.
    n_targets : int
        Number of targets.

    References
    ----------
    Ma et al. (2026), CodeBrain: Bridging Decoupled Tokenizer and Multi-Scale Architecture for EEG Foundation
    Model, ICLR, arXiv:2506.09110, section 3.2.
    """

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

    def forward(
        self, tokens: PatchTokens, chances: Float[Tensor, " n_codes"]
    ) -> tuple[list[Patches], PatchCodes, Float[Tensor, ""]]:
        """Predict the targets, and say which codes were chosen and how far from the tokens they are.

        Parameters
        ----------
        tokens : torch.Tensor, shape (batch, n_chans, n_patches, embed_dim)
            Tokens of the encoder.
        chances : torch.Tensor, shape (n_codes,)
            Random numbers from 0 to 1 that say where in the batch each code would restart.

        Returns
        -------
        predicted : list of torch.Tensor, each of shape (batch, n_chans, n_patches, patch_size)
            The targets, in at least single precision.
        ids : torch.Tensor, shape (batch, n_chans, n_patches)
            Number of the code of every patch.
        commitment : torch.Tensor, scalar
            Mean squared difference of the vectors' directions and their codes.
        """
        quantised, ids, commitment = self.codebook(self.to_vectors(tokens), chances)
        decoded = self.decoder(self.from_code(quantised))  # (batch, n_chans, n_patches, embed_dim)
        return [at_least_single(output(decoded)) for output in self.outputs], ids, commitment

    def to_vectors(self, tokens: PatchTokens) -> Float[Tensor, "batch n_chans n_patches code_dim"]:
        """Map tokens to vectors that choose a code, in full precision.

        Parameters
        ----------
        tokens : torch.Tensor, shape (batch, n_chans, n_patches, embed_dim)
            Tokens of the encoder.

        Returns
        -------
        vectors : torch.Tensor, shape (batch, n_chans, n_patches, code_dim)
            Vectors of any length.
        """
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
    """Find directions around which unit vectors gather: k-means by cosine.

    Parameters
    ----------
    units : torch.Tensor, shape (n_vectors, code_dim)
        Vectors of length 1.
    n_clusters : int
        Number of clusters.
    generator : torch.Generator or None
        Chooses the vectors that the clusters start from.
    n_iterations : int
        How often vectors choose their cluster and clusters their centre.

    Returns
    -------
    centres : torch.Tensor, shape (n_clusters, code_dim)
        Mean directions of the clusters. An empty cluster keeps its last one.

    Raises
    ------
    ValueError
        If there are fewer vectors than clusters.

    References
    ----------
    Dhillon and Modha (2001), Concept decompositions for large sparse text data using clustering, section 3.
    """
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
