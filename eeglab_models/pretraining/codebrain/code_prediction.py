"""Masked code prediction: CodeBrain guesses the codes of the patches that it cannot see.

Source: Ma et al. (2026), CodeBrain: bridging decoupled tokenizer and multi-scale architecture for EEG
foundation model, ICLR. This file holds the second stage of CodeBrain's pretraining. Shapes use these names
throughout:

    batch      windows in a batch
    n_chans    EEG channels
    n_patches  patches of one channel
    n_hidden   hidden patches of all windows
    n_codes    codes of a codebook
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from eeglab_models.models.codebrain import CodeBrain
from eeglab_models.models.fourier import at_least_single
from eeglab_models.pretraining.codebrain.codebook import describe_codes
from eeglab_models.pretraining.codebrain.tokenizer import TFDualTokenizer
from eeglab_models.pretraining.objective import PatchMasking
from eeglab_models.training.processes import mean_over_processes

__all__ = ["CodePrediction", "check_codebooks"]


class CodePrediction(PatchMasking):
    """Objective that predicts the temporal and the frequency codes of hidden patches.

    Every patch of every channel is hidden with the same probability. A frozen tokenizer sees all patches and
    gives them codes; the encoder sees the rest and guesses the codes of the hidden ones.

    Parameters
    ----------
    encoder : CodeBrain
        The model to train, whose tokens are as wide as its patches. Its classification head takes no part.
    tokenizer : TFDualTokenizer
        A trained tokenizer for the same patches. It is frozen.
    mask_prob : float
        Probability of hiding a patch.

    Raises
    ------
    ValueError
        If encoder and tokenizer do not fit each other, or if `mask_prob` is not a probability.

    Notes
    -----
    Windows are in microvolts divided by 100, sampled at 200 Hz.

    The encoder is given back as a plain classifier, with its `pretrain_mode` switched off: the objective
    reads its features and its two code heads itself.

    References
    ----------
    Ma et al. (2026), CodeBrain: Bridging Decoupled Tokenizer and Multi-Scale Architecture for EEG
    Foundation Model, ICLR, arXiv:2506.09110, section 3.3.
    """

    AT_REST = "tokenizer"

    def __init__(self, encoder: CodeBrain, tokenizer: TFDualTokenizer, mask_prob: float = 0.5) -> None:
        super().__init__()
        check_pair(encoder, tokenizer)
        if not 0.0 < mask_prob <= 1.0:
            raise ValueError(f"mask_prob must be above 0 and at most 1, got {mask_prob}. Published is 0.5.")
        self.mask_prob = mask_prob
        self.arguments = {"mask_prob": mask_prob}
        self.encoder = encoder
        self.encoder.pretrain_mode = self.encoder.arguments["pretrain_mode"] = False
        self.tokenizer = tokenizer.requires_grad_(False).eval()

    def forward(
        self, windows: Float[Tensor, "batch n_chans n_times"], drawn: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Compute the losses of some windows.

        Parameters
        ----------
        windows : torch.Tensor, shape (batch, n_chans, n_times)
            EEG in microvolts divided by 100, sampled at 200 Hz.
        drawn : dict of torch.Tensor or None
            What `draw` returned for these windows; None draws now.

        Returns
        -------
        losses : dict of torch.Tensor
            ``"loss"``, the sum of the cross-entropies of both codes, each a mean over the hidden patches of
            all processes. Without gradient, for ``"temporal"`` and ``"frequency"`` codes, the cross-entropy
            itself and, under the name with an ending: ``"_accuracy"``, the share of right guesses;
            ``"_perplexity"``, how many different codes are guessed, as `describe_codes` counts them;
            ``"_entropy"`` of the right codes, in nats, the cross-entropy of a guess that knows only how
            often each code occurs.

        Raises
        ------
        ValueError
            If the windows have other channels than encoder and tokenizer, too few samples or too many.
        """
        drawn = self.draw(windows) if drawn is None else drawn
        hidden = drawn["hidden"].to(windows.device)  # (batch, n_chans, n_patches)
        codes = self.tokenizer.codes(windows)  # each (batch, n_chans, n_patches)
        features = self.encoder(windows, hidden, return_features=True)["features"]
        features = features[hidden]  # (n_hidden, out_channels)
        n_hidden = mean_over_processes(hidden.sum().float()).clamp_min(1.0)

        losses: dict[str, Tensor] = {"loss": torch.zeros((), device=windows.device)}
        heads = (self.encoder.lm_head_t, self.encoder.lm_head_f)
        for name, head, right in zip(("temporal", "frequency"), heads, codes, strict=True):
            terms = score_guesses(head(features), right[hidden], n_hidden)
            losses["loss"] = losses["loss"] + terms[""]
            losses |= {name + ending: value.detach() for ending, value in terms.items()}
        return losses

    def trivial_loss(self) -> dict[str, float]:
        """Give the losses of a guess that all codes are equally likely.

        Returns
        -------
        losses : dict of float
            In nats, ``"temporal"`` and ``"frequency"``, each the logarithm of the number of codes, and
            ``"loss"``, their sum.
        """
        chance = torch.log(torch.tensor(self.tokenizer.n_codes, dtype=torch.float64)).item()
        return {"loss": 2 * chance, "temporal": chance, "frequency": chance}

    def start(self, windows: Float[Tensor, "n_windows n_chans n_times"]) -> None:
        """Refuse to start with a collapsed tokenizer.

        Parameters
        ----------
        windows : torch.Tensor, shape (n_windows, n_chans, n_times)
            EEG in microvolts divided by 100, sampled at 200 Hz: the first batch, the same windows in all
            processes.

        Raises
        ------
        ValueError
            If `check_codebooks` refuses the tokenizer.
        """
        check_codebooks(self.tokenizer, windows)


def score_guesses(
    scores: Float[Tensor, "n_hidden n_codes"], right: Int[Tensor, " n_hidden"], n_hidden: Float[Tensor, ""]
) -> dict[str, Float[Tensor, ""]]:
    """Compare guesses with the right codes; the cross-entropy has no name of its own."""
    guesses = scores.argmax(dim=-1)  # (n_hidden,)
    n_codes = scores.shape[1]
    return {
        "": F.cross_entropy(at_least_single(scores), right, reduction="sum") / n_hidden,
        "_accuracy": (guesses == right).sum() / n_hidden,
        "_perplexity": describe_codes(guesses, n_codes)["perplexity"],
        "_entropy": describe_codes(right, n_codes)["entropy"],
    }


def check_pair(encoder: CodeBrain, tokenizer: TFDualTokenizer) -> None:
    """Refuse an encoder and a tokenizer that do not speak of the same patches and codes."""
    facts = {
        "codes": (encoder.lm_head_t.out_features, encoder.lm_head_f.out_features),
        "samples a patch": encoder.patch_size,
        "channels": encoder.n_chans,
    }
    expected = {
        "codes": (tokenizer.n_codes, tokenizer.n_codes),
        "samples a patch": tokenizer.patch_size,
        "channels": tokenizer.n_chans,
    }
    for fact, number in facts.items():
        if number != expected[fact]:
            raise ValueError(
                f"Encoder and tokenizer must agree on the number of {fact}, got {number} for the encoder and "
                f"{expected[fact]} for the tokenizer. Build one of them for the other."
            )


def check_codebooks(
    tokenizer: TFDualTokenizer,
    windows: Float[Tensor, "n_windows n_chans n_times"],
    n_used_least: float | None = None,
    perplexity_least: float | None = None,
    dominant_most: float = 0.95,
) -> dict[str, dict[str, float]]:
    """Refuse a tokenizer that gives nearly all patches the same code.

    Parameters
    ----------
    tokenizer : TFDualTokenizer
        The tokenizer.
    windows : torch.Tensor, shape (n_windows, n_chans, n_times)
        EEG in microvolts divided by 100, sampled at 200 Hz; enough of it for all codes to be met.
    n_used_least : float or None
        Different codes that must be in use. None means 16, or a quarter of all codes if these are fewer.
    perplexity_least : float or None
        Perplexity that the codes must have. None means 8, or an eighth of all codes if these are fewer.
    dominant_most : float
        Largest share that the most frequent code may have.

    Returns
    -------
    descriptions : dict of dict
        What `describe_codes` says, for the ``"temporal"`` and the ``"frequency"`` codes.

    Raises
    ------
    ValueError
        If one of the codebooks has collapsed.
    """
    n_codes = tokenizer.n_codes
    n_used_least = min(16, n_codes / 4) if n_used_least is None else n_used_least
    perplexity_least = min(8, n_codes / 8) if perplexity_least is None else perplexity_least
    device = tokenizer.temporal.codebook.codes.device
    ids = tokenizer.codes(windows.to(device))  # each (n_windows, n_chans, n_patches)
    descriptions = {}
    for name, chosen in zip(("temporal", "frequency"), ids, strict=True):
        facts = {key: value.item() for key, value in describe_codes(chosen, n_codes).items()}
        descriptions[name] = facts
        healthy = facts["used"] >= n_used_least and facts["perplexity"] >= perplexity_least
        if not healthy or facts["dominant"] > dominant_most:
            raise ValueError(
                f"The {name} codebook has collapsed: a tokenizer must use at least {n_used_least:g} codes "
                f"with a perplexity of at least {perplexity_least:g}, none for more than "
                f"{dominant_most:.0%} of the patches, got {facts['used']:.0f} of {n_codes} codes, perplexity "
                f"{facts['perplexity']:.1f} and {facts['dominant']:.0%}. Check that windows are in "
                "microvolts divided by 100, or train a tokenizer with k_means=True, restart_dead=True and "
                "a smaller dead_after."
            )
    return descriptions
