"""TFDual-Tokenizer: two codes for every EEG patch, one for its course in time, one for its spectrum.

Source: Ma et al. (2026), CodeBrain: bridging decoupled tokenizer and multi-scale architecture for EEG
foundation model, ICLR; Chen et al. (2020), A simple framework for contrastive learning of visual
representations, equation 1. This file holds the first stage of CodeBrain's pretraining. Shapes use these
names throughout:

    batch       windows in a batch
    n_chans     EEG channels
    n_times     samples of a window
    n_patches   patches of one channel
    patch_size  samples of one patch, and frequencies of its full Fourier transform
    embed_dim   width of a token
    n_codes     codes of a codebook
    code_dim    width of a code
"""

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from eeglab_models.configs import about, check_arguments
from eeglab_models.files import replacing, write_text
from eeglab_models.models.arguments import check_ranges, read_arguments
from eeglab_models.models.download import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    find_in_folder,
    read_config,
    read_weights,
    write_weights,
)
from eeglab_models.models.fourier import at_least_single
from eeglab_models.models.hub import check_fit, find_fault
from eeglab_models.models.patching import cut_patches, warn_about_tail
from eeglab_models.pretraining.codebrain.codebook import Codebook, CodeStream
from eeglab_models.pretraining.codebrain.neural_encoder import NeuralEncoder, Transformer, initialise
from eeglab_models.pretraining.objective import Objective
from eeglab_models.training.processes import gather_rows, mean_over_processes

__all__ = ["TFDualTokenizer"]

COUNTS = ("n_chans", "n_times", "patch_size", "embed_dim", "n_layers", "n_heads", "n_decoder_layers")
COUNTS += ("conv_stride", "n_codes", "code_dim", "dead_after")

Patches = Float[Tensor, "batch n_chans n_patches patch_size"]
PatchCodes = Int[Tensor, "batch n_chans n_patches"]
Scalar = Float[Tensor, ""]


class TFDualTokenizer(Objective):
    """Objective that learns two codes for every patch of a window, a temporal and a frequency code.

    An encoder turns patches into tokens. Two codebooks replace each token, and from the codes alone one
    decoder reconstructs the samples of the patches, another their amplitudes and phases. A contrastive term
    asks the two halves of a window to be more alike than halves of different windows.

    Parameters
    ----------
    n_chans : int
        Number of EEG channels.
    n_times : int
        Samples of a window. Samples that do not fill the last patch are left out.
    patch_size : int
        Samples of one patch.
    embed_dim : int
        Width of a token; half of it comes from the samples, half from the spectrum.
    n_layers : int
        Number of transformer layers of the encoder.
    n_heads : int
        Number of attention heads.
    n_decoder_layers : int
        Number of transformer layers of each decoder.
    conv_stride : int
        Samples between the steps of the patch embedding. The paper does not tell; 8 gives 25 steps a patch.
    n_codes : int
        Codes of each codebook.
    code_dim : int
        Width of a code.
    decay : float
        Share of a code that stays in a step.
    k_means : bool
        Start the codebooks with k-means on the first batch. The published command leaves it off unless
        asked for; with it, codebooks collapse less.
    restart_dead : bool
        Move codes that no patch chooses to tokens of the batch; unpublished. Small tokenizers need it, as
        the notes say.
    dead_after : int
        Steps in a row without a patch after which a code is called dead.
    temperature : float
        Temperature of the contrastive term.
    signal_weight, amplitude_weight, phase_weight, commitment_weight, contrastive_weight : float
        Weights of the losses.
    standardise_signal : bool
        Reconstruct samples of zero mean and unit variance per window, as amplitudes and phases are
        standardised, instead of the samples themselves; unpublished.

    Attributes
    ----------
    arguments : dict
        The constructor's arguments, which `save_pretrained` writes beside the weights.

    Raises
    ------
    ValueError
        If a number is outside its range or the sizes do not fit each other.

    Notes
    -----
    Windows are in microvolts divided by 100, sampled at 200 Hz.

    The paper does not describe the patch embedding in detail. Here samples pass three convolutions and
    amplitudes a linear layer, and the results are concatenated.

    A batch that is trained in parts teaches the codebooks the same as the whole, but the contrastive term
    compares the windows of one part only, so that fewer have to be told apart.

    As published, the frequency codebook of a small tokenizer (64 features, 256 codes, simulated recordings)
    shrank to a single code within 100 steps, at learning rates of 3e-4 and 1e-3, with k-means or without,
    and the temporal one lost most of its codes: tokens that are all alike have the least commitment loss.
    With ``restart_dead=True`` and ``dead_after=10`` both stayed in use. The amplitude loss alone does not
    tell: the mean spectrum brings it far below 1.

    References
    ----------
    Ma et al. (2026), CodeBrain: Bridging Decoupled Tokenizer and Multi-Scale Architecture for EEG
    Foundation Model, ICLR, arXiv:2506.09110, section 3.2. Jiang et al. (2024), LaBraM, ICLR, section 2:
    transformer and codebooks. Chen et al. (2020), SimCLR, section 2.1: the contrastive term.
    """

    def __init__(
        self,
        n_chans: int,
        n_times: int,
        patch_size: int = 200,
        embed_dim: int = 200,
        n_layers: int = 12,
        n_heads: int = 10,
        n_decoder_layers: int = 3,
        conv_stride: int = 8,
        n_codes: int = 4096,
        code_dim: int = 32,
        decay: float = 0.99,
        k_means: bool = True,
        restart_dead: bool = False,
        dead_after: int = 100,
        temperature: float = 0.1,
        signal_weight: float = 1.0,
        amplitude_weight: float = 1.0,
        phase_weight: float = 1.0,
        commitment_weight: float = 1.0,
        contrastive_weight: float = 1.0,
        standardise_signal: bool = False,
    ) -> None:
        arguments = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        super().__init__()
        self.arguments = arguments
        check_ranges(arguments, COUNTS, positive=("temperature",), probabilities=("decay",))
        check_sizes(n_times, patch_size, contrastive_weight)
        warn_about_tail(n_times, patch_size, f"cut to {n_times // patch_size * patch_size} samples")
        self.n_chans = n_chans
        self.n_patches = n_times // patch_size
        self.patch_size = patch_size
        self.n_codes = n_codes
        self.k_means = k_means
        self.temperature = temperature
        self.standardise_signal = standardise_signal
        self.weights = {
            "signal": signal_weight,
            "amplitude": amplitude_weight,
            "phase": phase_weight,
            "temporal_commitment": commitment_weight,
            "frequency_commitment": commitment_weight,
            "contrastive": contrastive_weight,
        }

        grid = (n_chans, self.n_patches)
        self.encoder = NeuralEncoder(*grid, patch_size, embed_dim, n_layers, n_heads, conv_stride)
        book = {"decay": decay, "dead_after": dead_after, "restart_dead": restart_dead}
        self.temporal, self.frequency = (
            CodeStream(
                Codebook(n_codes, code_dim, **book),
                Transformer(*grid, embed_dim, n_decoder_layers, n_heads),
                embed_dim,
                patch_size,
                n_targets,
            )
            for n_targets in (1, 2)
        )
        # Of the step that is being taken; numbers of `draw`.
        self.chances: Float[Tensor, "2 n_codes"] | None = None
        self.apply(initialise)

    def draw(
        self, windows: Float[Tensor, "n_windows n_chans n_times"], generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Draw where in the batch dead codes would restart.

        Parameters
        ----------
        windows : torch.Tensor, shape (n_windows, n_chans, n_times)
            Windows of the step in all processes, in any unit; they change nothing.
        generator : torch.Generator or None
            Source of the random numbers; None means torch's own.

        Returns
        -------
        drawn : dict of torch.Tensor
            ``"restarts"``, shape (1, 2, n_codes), from 0 to 1, for the temporal and the frequency codes.
        """
        return {"restarts": torch.rand(1, 2, self.n_codes, generator=generator)}

    def forward(
        self, windows: Float[Tensor, "batch n_chans n_times"], drawn: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Compute the losses of some windows; in training mode, the codebooks see what they learn from.

        Parameters
        ----------
        windows : torch.Tensor, shape (batch, n_chans, n_times)
            EEG in microvolts divided by 100, sampled at 200 Hz.
        drawn : dict of torch.Tensor or None
            What `draw` returned; None draws now.

        Returns
        -------
        losses : dict of torch.Tensor
            ``"loss"``, the weighted sum. Without gradient its terms ``"signal"``, ``"amplitude"``,
            ``"phase"``, ``"temporal_commitment"``, ``"frequency_commitment"``, ``"contrastive"``; the share
            of the signal's power that is not reconstructed, ``"signal_unexplained"``; the amplitude loss of
            the batch's mean spectrum, ``"amplitude_of_mean_spectrum"``, which a collapsed codebook reaches
            too; and of both codebooks ``"..._used"``, ``"..._entropy"``, ``"..._perplexity"``,
            ``"..._dominant"`` and ``"..._dead"``, as `describe_codes` has them.

        Raises
        ------
        ValueError
            If the windows have other channels, too few samples or too many.
        """
        drawn = self.draw(windows) if drawn is None else drawn
        self.chances = drawn["restarts"][0]  # (2, n_codes)
        patches = cut_windows(self, windows)  # (batch, n_chans, n_patches, patch_size)
        tokens = self.encoder(patches)  # (batch, n_chans, n_patches, embed_dim)
        (signal,), temporal_ids, temporal_commitment = self.temporal(tokens)
        (amplitude, phase), frequency_ids, frequency_commitment = self.frequency(tokens)

        samples = at_least_single(standardise(patches) if self.standardise_signal else patches)
        amplitudes, phases = spectral_targets(patches)  # each (batch, n_chans, n_patches, patch_size)
        terms = {
            "signal": F.mse_loss(signal, samples),
            "amplitude": F.mse_loss(amplitude, amplitudes),
            "phase": F.mse_loss(phase, phases),
            "temporal_commitment": temporal_commitment,
            "frequency_commitment": frequency_commitment,
        }
        if self.weights["contrastive"]:
            terms["contrastive"] = contrast_halves(self.encoder, patches, self.temperature)
        losses = {"loss": sum(self.weights[name] * term for name, term in terms.items())}
        losses |= {name: term.detach() for name, term in terms.items()}
        losses["signal_unexplained"] = losses["signal"] / mean_over_processes(samples.square().mean())
        mean_spectrum = mean_over_processes(amplitudes.mean(dim=(0, 1, 2)))  # (patch_size,)
        losses["amplitude_of_mean_spectrum"] = (amplitudes - mean_spectrum).square().mean()
        monitored = (("temporal", self.temporal, temporal_ids), ("frequency", self.frequency, frequency_ids))
        for prefix, stream, ids in monitored:
            monitors = stream.codebook.monitor(ids)
            losses |= {f"{prefix}_{name}": value for name, value in monitors.items()}
        return losses

    def update(self, progress: float) -> None:
        """Let the codebooks follow what they saw in a step, once, whatever its number of parts.

        Parameters
        ----------
        progress : float
            Share of the training that is done.
        """
        if self.chances is not None:
            for stream, chances in zip((self.temporal, self.frequency), self.chances, strict=True):
                stream.codebook.update(chances)

    def trivial_loss(self) -> dict[str, float]:
        """Give the losses of decoders that always answer zero.

        Returns
        -------
        losses : dict of float
            1 for every loss whose target has a variance of 1: ``"amplitude"`` and ``"phase"``, with
            `standardise_signal` ``"signal"``; and for ``"signal_unexplained"``.
        """
        signal = {"signal": 1.0} if self.standardise_signal else {}
        return signal | {"amplitude": 1.0, "phase": 1.0, "signal_unexplained": 1.0}

    @torch.no_grad()
    def start(self, windows: Float[Tensor, "n_windows n_chans n_times"]) -> None:
        """Place the codes where tokens are, if asked to start with k-means.

        Parameters
        ----------
        windows : torch.Tensor, shape (n_windows, n_chans, n_times)
            EEG in microvolts divided by 100, sampled at 200 Hz: the first batch, the same windows in all
            processes.

        Raises
        ------
        ValueError
            If the windows have fewer patches than there are codes.
        """
        if self.k_means:
            patches = cut_windows(self, windows).to(self.temporal.codebook.codes.device)
            tokens = self.encoder(patches)  # (n_windows, n_chans, n_patches, embed_dim)
            for stream in (self.temporal, self.frequency):
                stream.codebook.start(stream.to_vectors(tokens), torch.Generator().manual_seed(0))

    @torch.no_grad()
    def codes(self, windows: Float[Tensor, "batch n_chans n_times"]) -> tuple[PatchCodes, PatchCodes]:
        """Find both codes of every patch; the tokenizer stays as it is.

        Parameters
        ----------
        windows : torch.Tensor, shape (batch, n_chans, n_times)
            EEG in microvolts divided by 100, sampled at 200 Hz.

        Returns
        -------
        temporal, frequency : torch.Tensor, shape (batch, n_chans, n_patches)
            Codes, from 0 to `n_codes` - 1.

        Raises
        ------
        ValueError
            If the windows have other channels, too few samples or too many.
        """
        tokens = self.encoder(cut_windows(self, windows))  # (batch, n_chans, n_patches, embed_dim)
        streams = (self.temporal, self.frequency)
        temporal, frequency = (stream.codebook.look_up(stream.to_vectors(tokens)) for stream in streams)
        return temporal, frequency

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the arguments and the weights into a folder, which may be new.

        Parameters
        ----------
        folder : str or pathlib.Path
            Where ``config.json`` and ``model.safetensors`` go.
        """
        folder = Path(folder)
        write_text(folder / CONFIG_FILE, json.dumps(self.arguments, indent=2))
        with replacing(folder / WEIGHTS_FILE) as unfinished:
            write_weights(unfinished, self.state_dict())

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "TFDualTokenizer":
        """Build a tokenizer from a folder that `save_pretrained` wrote.

        Parameters
        ----------
        folder : str or pathlib.Path
            Where ``config.json`` and ``model.safetensors`` are.

        Returns
        -------
        tokenizer : TFDualTokenizer
            The tokenizer, in evaluation mode.

        Raises
        ------
        FileNotFoundError
            If one of the files is missing.
        ValueError
            If the files are damaged, or not those of a tokenizer.
        """
        folder = Path(folder)
        config = read_config(find_in_folder(folder, CONFIG_FILE))
        weights = read_weights(find_in_folder(folder, WEIGHTS_FILE))
        with about(folder / CONFIG_FILE):
            arguments = read_arguments(cls, check_arguments(cls, config, "the tokenizer"))
            # What the arguments describe may not fit into memory: it is compared before it is built.
            with torch.device("meta"):
                own = cls(**arguments).state_dict()
        problems = {
            "missing": own.keys() - weights.keys(),
            "unknown to the model": weights.keys() - own.keys(),
        }
        check_fit(str(folder), problems)
        faults = {key: find_fault(weights[key], own[key]) for key in own}
        check_fit(str(folder), {"of no use": {f"{key} ({fault})" for key, fault in faults.items() if fault}})
        tokenizer = cls(**arguments)
        tokenizer.load_state_dict(weights)
        return tokenizer.eval()


def cut_windows(tokenizer: TFDualTokenizer, windows: Float[Tensor, "batch n_chans n_times"]) -> Patches:
    """Cut windows into patches, without samples that fill none, or say why they do not fit a tokenizer."""
    n_chans, n_patches = windows.shape[1], windows.shape[2] // tokenizer.patch_size
    n_patches_least = 2 if tokenizer.weights["contrastive"] else 1
    if n_chans != tokenizer.n_chans or not n_patches_least <= n_patches <= tokenizer.n_patches:
        raise ValueError(
            f"This tokenizer was built for windows of {tokenizer.n_chans} channels and {n_patches_least} to "
            f"{tokenizer.n_patches} patches of {tokenizer.patch_size} samples, got {n_chans} channels and "
            f"{windows.shape[2]} samples. Pass such windows, or build it for these."
        )
    return cut_patches(windows, tokenizer.patch_size)  # (batch, n_chans, n_patches, patch_size)


def spectral_targets(patches: Patches) -> tuple[Patches, Patches]:
    """Amplitudes and phases of the full Fourier transform of every patch, standardised per window."""
    spectra = torch.fft.fft(at_least_single(patches))  # (batch, n_chans, n_patches, patch_size)
    return standardise(spectra.abs()), standardise(spectra.angle())


def standardise(patches: Patches) -> Patches:
    """Bring every window to zero mean and unit variance; a constant window becomes zero."""
    patches = at_least_single(patches)
    centred = patches - patches.mean(dim=(1, 2, 3), keepdim=True)
    variance = centred.square().mean(dim=(1, 2, 3), keepdim=True)  # (batch, 1, 1, 1)
    return centred * torch.rsqrt(variance + 1e-12)


def contrast_halves(encoder: NeuralEncoder, patches: Patches, temperature: float) -> Scalar:
    """Ask the two halves of a window to be alike; each is encoded as a window of its own."""
    n_half = patches.shape[2] // 2
    halves = torch.cat([patches[:, :, :n_half], patches[:, :, -n_half:]])
    tokens = encoder(halves)  # (2 * batch, n_chans, n_half, embed_dim)
    first, second = tokens.flatten(1).chunk(2)  # each (batch, n_chans * n_half * embed_dim)
    return contrastive_loss(first, second, temperature)


def contrastive_loss(
    first: Float[Tensor, "batch n_features"], second: Float[Tensor, "batch n_features"], temperature: float
) -> Scalar:
    """Let each view of a window find the other among the views of all processes, by cross-entropy in nats."""
    with torch.autocast(first.device.type, enabled=False):
        views = torch.cat(
            [gather_rows(F.normalize(at_least_single(view), dim=-1)) for view in (first, second)]
        )
        similarities = views @ views.T / temperature  # (2 * n_windows, 2 * n_windows)
        similarities.fill_diagonal_(-torch.inf)
        other = torch.arange(len(views), device=views.device).roll(len(views) // 2)
        return F.cross_entropy(similarities, other)


def check_sizes(n_times: int, patch_size: int, contrastive_weight: float) -> None:
    """Refuse windows without the patches that the losses need."""
    n_patches_least = 2 if contrastive_weight else 1
    if patch_size < 2 or n_times < n_patches_least * patch_size:
        raise ValueError(
            f"A tokenizer needs at least {n_patches_least} patches of at least 2 samples, got "
            f"n_times={n_times} and patch_size={patch_size}. Pass longer windows or "
            "shorter patches; without the contrastive term, one patch is enough."
        )
