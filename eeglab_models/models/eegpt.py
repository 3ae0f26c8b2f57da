"""EEGPT: a transformer encoder for EEG, trained by aligning and reconstructing masked patches.

Source: Wang et al. (2024), EEGPT: pretrained transformer for universal and reliable representation of EEG
signals, NeurIPS. This file holds the encoder and the probe that classifies with it. Shapes use these names
throughout:

    batch             windows in a batch
    n_chans           EEG channels
    n_times           samples of a window
    n_patches         patches of one channel, one for every moment of the window
    patch_size        samples of one patch
    n_summary_tokens  learned tokens that summarise a moment
    n_moments         moments of all windows: batch * n_patches
    n_tokens          tokens of a moment: one per channel, then the summary tokens
    embed_dim         width of a token
    head_dim          width of one attention head
"""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from eeglab_models.configs import check_name
from eeglab_models.models.arguments import LAYER_CLASSES, check_ranges
from eeglab_models.models.attention import Attend
from eeglab_models.models.base import EEGModel
from eeglab_models.models.channels import EEGPT_19_CHANNELS, EEGPT_CHANNELS, ChannelIds, look_up_channels
from eeglab_models.models.contract import EEGPT_CONTRACT, Contract
from eeglab_models.models.layout import Layout, transformer_projections
from eeglab_models.models.patching import PatchEmbed, PatchNormEmbed
from eeglab_models.models.regularization import DropPath, MaxNormLinear
from eeglab_models.models.tokens import Tokens as TokenNames
from eeglab_models.models.tokens import name_moments, plain_tokens, summary_names

__all__ = ["EEGPT", "PatchNormEmbed"]

Windows = Float[Tensor, "batch n_chans n_times"]
Patches = Float[Tensor, "batch n_patches n_chans patch_size"]
PatchTokens = Float[Tensor, "batch n_patches n_chans embed_dim"]
SummaryTokens = Float[Tensor, "batch n_patches n_summary_tokens embed_dim"]
Tokens = Float[Tensor, "n_moments n_tokens embed_dim"]


class EEGPT(EEGModel):
    """EEGPT encoder with a probe for classification.

    Windows are cut into moments, a quarter of a second in the published weights. A patch is what one
    channel does in one moment; it becomes a token from its samples and from the name of its channel. A
    transformer relates the patches of a moment to each other and to a few learned summary tokens, which
    collect what the moment is about. Every moment is encoded on its own; only the probe sees their order.

    Parameters
    ----------
    n_outputs : int or None
        Number of outputs, such as classes; None only with `return_encoder_output` or `final_layer`.
    n_chans : int or None
        Number of EEG channels; None takes it from `chs_info`.
    chs_info : list of dict or None
        One dictionary per channel, as in ``mne.Info["chs"]``. With ``chan_proj_type="none"`` its names choose
        among `EEGPT_CHANNELS`; None leaves channels without names.
    n_times, input_window_seconds, sfreq : int or float or None
        Samples and seconds of a window, and sampling rate in Hz, 256 for the published weights; None follows
        from the other two. Windows that do not fill the last patch are padded with zeros.
    patch_size : int
        Samples of one patch; 64 in the published weights.
    patch_stride : int or None
        Samples from the start of one patch to the start of the next. None means `patch_size`, patches that
        do not overlap, as in pre-training.
    embed_num, depth, num_heads : int
        Number of summary tokens of a moment, of transformer layers, and of attention heads.
    embed_dim : int
        Width of a token, a multiple of `num_heads`.
    mlp_ratio : float
        Hidden width of the feed-forward networks, in multiples of `embed_dim`.
    drop_prob, attn_drop_rate : float
        Probability of dropping an activation and an attention weight.
    drop_path_rate : float
        Probability of dropping, while training, a branch of the last layer; it grows linearly from zero at
        the first layer.
    init_std : float
        Standard deviation of the encoder's initial weights.
    qkv_bias : bool
        Give queries, keys and values a bias.
    patch_module : type or None
        How a patch becomes a token: `PatchEmbed`, which None means, `PatchNormEmbed` or a class derived
        from them.
    norm_layer : callable or None
        Class of the normalisation layers, called with `embed_dim`. None means ``torch.nn.LayerNorm`` with
        `layer_norm_eps`.
    layer_norm_eps : float
        Added to variances in the default normalisation layers.
    return_encoder_output : bool
        Build no head and return the summary tokens instead.
    chan_proj_type : {"conv1d_constraint", "linear", "none"}
        How a window's channels become those of the encoder: mixed into the 19 channels
        `EEGPT_19_CHANNELS`, with or without a limit on the weights, or as they are.
    n_chans_target : int
        Number of channels to mix into: 19. Of no effect with ``chan_proj_type="none"``.
    chan_conv_max_norm : float
        Largest norm of the weights that mix one channel, for ``"conv1d_constraint"``.
    final_layer : callable or None
        Class of a head of your own, called without arguments: it reads flat summary tokens, shape
        (batch, n_patches * embed_num * embed_dim). None means `Probe`.

    Raises
    ------
    ValueError
        If signal arguments are missing or contradict each other, or if no model can be built of the others.
    TypeError
        If a layer is given instead of its class.

    Notes
    -----
    The published weights expect average-referenced EEG in millivolts, and the model does not rescale its
    input.

    References
    ----------
    Wang et al. (2024), EEGPT, NeurIPS, section 2.2: local spatio-temporal embedding, encoder; section 2.3:
    linear probing. `embed_num` is the paper's S, the number of summary tokens.
    """

    def __init__(
        self,
        n_outputs: int | None = None,
        n_chans: int | None = None,
        chs_info: list[dict[str, Any]] | None = None,
        n_times: int | None = None,
        input_window_seconds: float | None = None,
        sfreq: float | None = None,
        patch_size: int = 64,
        patch_stride: int | None = 32,
        embed_num: int = 4,
        embed_dim: int = 512,
        depth: int = 8,
        num_heads: int = 8,
        mlp_ratio: float = 4.0,
        drop_prob: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        init_std: float = 0.02,
        qkv_bias: bool = True,
        patch_module: type[nn.Module] | None = None,
        norm_layer: Callable[[int], nn.Module] | None = None,
        layer_norm_eps: float = 1e-6,
        return_encoder_output: bool = False,
        chan_proj_type: Literal["conv1d_constraint", "linear", "none"] = "conv1d_constraint",
        n_chans_target: int = 19,
        chan_conv_max_norm: float = 1.0,
        final_layer: Callable[[], nn.Module] | None = None,
    ) -> None:
        super().__init__(locals())
        check_options(self.arguments)
        self.patch_size = patch_size
        self.patch_stride = patch_size if patch_stride is None else patch_stride
        self.n_summary_tokens = embed_num
        self.embed_dim = embed_dim
        self.return_encoder_output = return_encoder_output
        check_window(self.n_times, self.patch_size, self.patch_stride)

        if chan_proj_type == "none":
            self.chan_proj = nn.Identity()
            names = None if chs_info is None else [channel["ch_name"] for channel in chs_info]
            chans_id = look_up_channels(names, self.n_chans)
        else:
            max_norm = chan_conv_max_norm if chan_proj_type == "conv1d_constraint" else None
            self.chan_proj = ChannelProjection(self.n_chans, n_chans_target, max_norm)
            chans_id = look_up_channels(EEGPT_19_CHANNELS, n_chans_target)
        self.register_buffer("chans_id", chans_id)
        self.target_encoder = Encoder(
            patch_embed=(patch_module or PatchEmbed)(patch_size, embed_dim),
            # Channels of unknown name take the row of their position, so every position has one.
            n_channel_names=max(len(EEGPT_CHANNELS), chans_id.numel()),
            n_summary_tokens=embed_num,
            embed_dim=embed_dim,
            n_layers=depth,
            n_heads=num_heads,
            hidden_dim=max(1, int(embed_dim * mlp_ratio)),
            qkv_bias=qkv_bias,
            norm_layer=norm_layer or partial(nn.LayerNorm, eps=layer_norm_eps),
            drop_probs=(drop_prob, attn_drop_rate, drop_path_rate),
            init_std=init_std,
        )
        self.final_layer = self._build_head()

    def get_probe_params(self) -> dict[str, int]:
        """Get the sizes that a probe of the summary tokens needs.

        Returns
        -------
        sizes : dict of int
            `n_patches`, `embed_num` and `embed_dim`.
        """
        sizes = {"embed_num": self.n_summary_tokens, "embed_dim": self.embed_dim}
        return {"n_patches": self.n_patches, **sizes}

    def _build_head(self) -> nn.Module:
        """Build a fresh head: `Probe`, the caller's own, or none for `return_encoder_output`."""
        final_layer = self.arguments["final_layer"]
        if self.return_encoder_output:
            return nn.Identity()
        if final_layer is not None:
            return nn.Sequential(nn.Flatten(1), final_layer())
        return Probe(self.n_patches, self.n_summary_tokens * self.embed_dim, self.n_outputs)

    def forward(self, x: Windows, return_features: bool = False) -> Tensor | dict[str, Tensor | None]:
        """Classify windows, or describe them.

        Parameters
        ----------
        x : torch.Tensor, shape (batch, n_chans, n_times)
            EEG in millivolts, average-referenced, sampled at `sfreq` Hz. Windows of any length can be
            described, but a head classifies windows of `n_times` samples.
        return_features : bool
            Return features.

        Returns
        -------
        output : torch.Tensor or dict of torch.Tensor
            Logits, shape (batch, n_outputs); with `return_encoder_output`, the summary tokens, shape
            (batch, n_patches, embed_num, embed_dim); with features, a dictionary of ``"features"``, the
            summary tokens of a moment side by side, shape (batch, n_patches, embed_num * embed_dim), and
            ``"cls_token"``, which EEGPT does not have: None.

        Raises
        ------
        ValueError
            If the number of channels or the length of a window does not fit the model or its head.
        """
        tokens = self.encode(x).transpose(1, 2)  # (batch, n_patches, n_summary_tokens, embed_dim)
        if return_features:
            return {"features": tokens.flatten(2), "cls_token": None}
        if not self.return_encoder_output and tokens.shape[1] != self.n_patches:
            raise ValueError(
                f"The head of EEGPT was built for windows of {self.n_times} samples, got {x.shape[2]}. "
                f"Build it with n_times={x.shape[2]}, or ask for return_features=True."
            )
        return self.final_layer(tokens)  # (batch, n_outputs)

    def encode(self, x: Windows) -> Float[Tensor, "batch n_summary_tokens n_patches embed_dim"]:
        """Describe every moment of a window by summary tokens.

        Parameters
        ----------
        x : torch.Tensor, shape (batch, n_chans, n_times)
            EEG in millivolts, average-referenced.

        Returns
        -------
        tokens : torch.Tensor, shape (batch, embed_num, n_patches, embed_dim)
            The summary tokens of all moments.
        """
        self.check_input(x, n_times_least=self.patch_size)
        x = self.chan_proj(x)  # (batch, n_chans, n_times), n_chans as the encoder reads them
        patches = cut_moments(x, self.patch_size, self.patch_stride)
        # patches: (batch, n_patches, n_chans, patch_size)
        summary = self.target_encoder(patches, self.chans_id)
        # summary: (batch, n_patches, n_summary_tokens, embed_dim)
        return summary.transpose(1, 2)  # (batch, n_summary_tokens, n_patches, embed_dim)

    def _read_block(self, output: Tokens, x: Tensor) -> Float[Tensor, "batch n_summary_tokens n_patches _"]:
        """Take the summary tokens of a layer, which come last in every moment."""
        summary = output[:, -self.n_summary_tokens :]  # (n_moments, n_summary_tokens, embed_dim)
        return summary.unflatten(0, (x.shape[0], -1)).transpose(1, 2)

    def _line_up(
        self, tokens: Float[Tensor, "batch n_summary_tokens n_patches embed_dim"]
    ) -> Float[Tensor, "batch n_tokens embed_dim"]:
        """Line up the summary tokens moment by moment."""
        return tokens.transpose(1, 2).flatten(1, 2)

    def _feature_tokens(self, ch_names: Sequence[str], n_times: int, sfreq: float) -> TokenNames:
        """Name the summary tokens moment by moment."""
        moments = self.patch_times(n_times, sfreq)
        names = summary_names(self.n_summary_tokens) * len(moments)
        times = np.repeat(moments, self.n_summary_tokens)
        return plain_tokens(name_moments(names, times), times=times)

    def _attention_tokens(
        self, ch_names: Sequence[str], n_times: int, sfreq: float, channel_ids: ChannelIds | None = None
    ) -> TokenNames:
        """Name the tokens of a moment: channels, those of the projection if there is one, and summaries."""
        if not isinstance(self.chan_proj, nn.Identity):
            ch_names = [name.replace("FP", "Fp").replace("Z", "z") for name in EEGPT_19_CHANNELS]
        return plain_tokens(ch_names, channels=ch_names) + plain_tokens(summary_names(self.n_summary_tokens))

    @classmethod
    def _layer_classes(cls) -> dict[str, type[nn.Module]]:
        """Add the two ways in which a patch becomes a token."""
        return LAYER_CLASSES | {
            "braindecode.models.eegpt._PatchEmbed": PatchEmbed,
            "braindecode.models.eegpt._PatchNormEmbed": PatchNormEmbed,
        }

    contract: ClassVar[Contract] = EEGPT_CONTRACT
    layout: ClassVar[Layout] = Layout(
        embedding=("target_encoder.patch_embed", "target_encoder.chan_embed", "target_encoder.summary_token"),
        blocks="target_encoder.blocks",
        top=("target_encoder.norm",),
        front=("chan_proj",),
        projections=transformer_projections("target_encoder.blocks"),
        tables=("target_encoder.chan_embed", "target_encoder.summary_token"),
        pads=True,
        moments_apart=True,
        # Channels by their names, and patches without overlap, as in pre-training.
        sizes=lambda n_chans, sfreq: {"patch_stride": 64, "chan_proj_type": "none"},
        pretraining_arguments={"return_encoder_output": True, "chan_proj_type": "none", "patch_stride": None},
        derived_modules=("chans_id",),
        # `target_encoder` is the moving average of `encoder`, and the one to use after pre-training.
        pretraining_modules=("encoder", "predictor", "reconstructor"),
        fixed_arguments=("num_heads", "norm_layer", "layer_norm_eps"),
        # Downstream code of the authors saves the target encoder on its own, without its prefix.
        published_names=(
            (r"^(summary_token|patch_embed|chan_embed|blocks|norm)(?=\.|$)", r"target_encoder.\1"),
        ),
    )


class ChannelProjection(nn.Module):
    """Mix the channels of a recording into those that the encoder knows."""

    def __init__(self, n_chans: int, n_chans_target: int, max_norm: float | None) -> None:
        super().__init__()
        if max_norm is None:
            self.proj = nn.Linear(n_chans, n_chans_target)
        else:
            # Published weights have the shape of a convolution over one sample.
            self.proj = MaxNormLinear(nn.Conv1d(n_chans, n_chans_target, kernel_size=1), max_norm)

    def forward(self, x: Windows) -> Float[Tensor, "batch n_chans_target n_times"]:
        """Mix the channels, the same way in every sample."""
        return self.proj(x.mT).mT  # (batch, n_chans_target, n_times)


class Encoder(nn.Module):
    """Describe every moment by a few summary tokens, from the patches of all channels."""

    def __init__(
        self,
        patch_embed: nn.Module,
        n_channel_names: int,
        n_summary_tokens: int,
        embed_dim: int,
        n_layers: int,
        n_heads: int,
        hidden_dim: int,
        qkv_bias: bool,
        norm_layer: Callable[[int], nn.Module],
        drop_probs: tuple[float, float, float],
        init_std: float,
    ) -> None:
        super().__init__()
        drop_prob, attn_drop_prob, drop_path_prob = drop_probs
        self.patch_embed = patch_embed
        self.chan_embed = nn.Embedding(n_channel_names, embed_dim)
        drop_path_probs = [drop_path_prob * i / max(n_layers - 1, 1) for i in range(n_layers)]
        self.blocks = nn.ModuleList(
            EncoderLayer(embed_dim, n_heads, hidden_dim, qkv_bias, norm_layer, drop_prob, attn_drop_prob, p)
            for p in drop_path_probs
        )
        self.norm = norm_layer(embed_dim)
        self.summary_token = nn.Parameter(torch.empty(1, n_summary_tokens, embed_dim))
        self.reset_parameters(init_std)

    @torch.no_grad()
    def reset_parameters(self, std: float) -> None:
        """Draw initial weights; deeper layers begin as smaller changes to their tokens."""
        nn.init.trunc_normal_(self.summary_token, std=std)
        nn.init.normal_(self.chan_embed.weight, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.trunc_normal_(module.weight, std=std)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for number, block in enumerate(self.blocks, start=1):
            block.attn.proj.weight /= (2 * number) ** 0.5
            block.mlp.fc2.weight /= (2 * number) ** 0.5

    def forward(self, patches: Patches, chans_id: Int[Tensor, "*one n_chans"]) -> SummaryTokens:
        """Summarise the patches of every moment; `chans_id` are the rows of the channel embedding."""
        return self.summarise(self.embed(patches, chans_id))

    def embed(self, patches: Patches, chans_id: Int[Tensor, "*one n_chans"]) -> PatchTokens:
        """Turn patches into tokens: what their samples say, and which channel they come from."""
        return self.patch_embed(patches) + self.chan_embed(chans_id)

    def summarise(self, tokens: PatchTokens) -> SummaryTokens:
        """Summarise the tokens of every moment; they may be those of a few channels only."""
        batch, n_patches, n_chans, _ = tokens.shape
        tokens = tokens.flatten(0, 1)  # (n_moments, n_chans, embed_dim)
        summary = self.summary_token.expand(batch * n_patches, -1, -1)
        # summary: (n_moments, n_summary_tokens, embed_dim)
        tokens = torch.cat([tokens, summary], dim=1)  # (n_moments, n_tokens, embed_dim)
        for block in self.blocks[:-1]:
            tokens = block(tokens)
        # Nothing reads the patches after the last layer, so it refines the summary tokens only.
        summary = self.blocks[-1](tokens, n_read_only=n_chans)  # (n_moments, n_summary_tokens, embed_dim)
        return self.norm(summary).unflatten(0, (batch, n_patches))


class EncoderLayer(nn.Module):
    """One pre-norm transformer layer: tokens exchange information, then each is refined."""

    def __init__(
        self,
        embed_dim: int,
        n_heads: int,
        hidden_dim: int,
        qkv_bias: bool,
        norm_layer: Callable[[int], nn.Module],
        drop_prob: float,
        attn_drop_prob: float,
        drop_path_prob: float,
    ) -> None:
        super().__init__()
        self.norm1 = norm_layer(embed_dim)
        self.attn = SelfAttention(embed_dim, n_heads, qkv_bias, drop_prob, attn_drop_prob)
        self.drop_path = DropPath(drop_path_prob)
        self.norm2 = norm_layer(embed_dim)
        self.mlp = FeedForward(embed_dim, hidden_dim, drop_prob)

    def forward(self, tokens: Tokens, n_read_only: int = 0) -> Float[Tensor, "n_moments n_refined embed_dim"]:
        """Refine the tokens; the first `n_read_only` are read by the others, and left out of the output."""
        refined = tokens[:, n_read_only:]  # (n_moments, n_refined, embed_dim)
        refined = refined + self.drop_path(self.attn(self.norm1(tokens), n_read_only))
        return refined + self.drop_path(self.mlp(self.norm2(refined)))


class SelfAttention(nn.Module):
    """Multi-head self-attention."""

    def __init__(
        self, embed_dim: int, n_heads: int, qkv_bias: bool, drop_prob: float, attn_drop_prob: float
    ) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim, bias=qkv_bias)
        self.attend = Attend(attn_drop_prob)
        self.proj = nn.Linear(embed_dim, embed_dim)
        self.proj_drop = nn.Dropout(drop_prob)

    def forward(self, tokens: Tokens, n_read_only: int = 0) -> Float[Tensor, "n_moments n_refined embed_dim"]:
        """Let every token, except the first `n_read_only`, read from all."""
        qkv = self.qkv(tokens).unflatten(-1, (3, self.n_heads, -1))
        # qkv: (n_moments, n_tokens, 3, n_heads, head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (n_moments, n_heads, n_tokens, head_dim)
        heads = self.attend(q[:, :, n_read_only:], k, v)  # (n_moments, n_heads, n_refined, head_dim)
        heads = heads.transpose(1, 2).flatten(2)  # (n_moments, n_refined, embed_dim)
        return self.proj_drop(self.proj(heads))  # (n_moments, n_refined, embed_dim)


class FeedForward(nn.Module):
    """Two linear layers that refine every token on its own."""

    def __init__(self, embed_dim: int, hidden_dim: int, drop_prob: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed_dim, hidden_dim)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden_dim, embed_dim)
        self.drop = nn.Dropout(drop_prob)

    def forward(self, tokens: Tokens) -> Tokens:
        """Refine the tokens; the shape stays."""
        hidden = self.fc1(tokens)  # (n_moments, n_tokens, hidden_dim)
        if self.training:
            # The widest activations of all: cheaper to compute again than to keep.
            return checkpoint(self.refine, hidden, use_reentrant=False)  # (n_moments, n_tokens, embed_dim)
        return self.refine(hidden)  # (n_moments, n_tokens, embed_dim)

    def refine(self, hidden: Float[Tensor, "n_moments n_tokens hidden_dim"]) -> Tokens:
        """Return from the hidden layer."""
        return self.drop(self.fc2(self.drop(self.act(hidden))))  # (n_moments, n_tokens, embed_dim)


class Probe(nn.Module):
    """Classify windows by their summary tokens: every moment becomes 16 values, the window is classified."""

    def __init__(self, n_patches: int, n_features: int, n_outputs: int) -> None:
        super().__init__()
        self.probe1 = MaxNormLinear(nn.Linear(n_features, 16), max_norm=1.0)
        self.dropout = nn.Dropout(0.5)
        self.probe2 = MaxNormLinear(nn.Linear(n_patches * 16, n_outputs), max_norm=0.25)

    def forward(self, summary: SummaryTokens) -> Float[Tensor, "batch n_outputs"]:
        """Classify the windows."""
        features = self.dropout(summary.flatten(2))  # (batch, n_patches, n_features)
        moments = self.probe1(features)  # (batch, n_patches, 16)
        return self.probe2(moments.flatten(1))  # (batch, n_outputs)


def cut_moments(x: Windows, patch_size: int, patch_stride: int) -> Patches:
    """Cut windows into patches that may overlap, moment by moment; zeros complete the last one."""
    x = F.pad(x, (0, -(x.shape[-1] - patch_size) % patch_stride))  # (batch, n_chans, n_padded)
    patches = x.unfold(-1, patch_size, patch_stride)  # (batch, n_chans, n_patches, patch_size)
    return patches.transpose(1, 2)  # (batch, n_patches, n_chans, patch_size)


def check_window(n_times: int, patch_size: int, patch_stride: int) -> None:
    """Refuse windows shorter than a patch, and warn about windows that need zeros."""
    if n_times < patch_size:
        raise ValueError(f"EEGPT needs windows of one patch of {patch_size} samples, got n_times={n_times}.")
    n_zeros = -(n_times - patch_size) % patch_stride
    if n_zeros:
        warnings.warn(
            f"Windows of {n_times} samples do not fill the last patch of {patch_size} samples at a stride of "
            f"{patch_stride}, so every window is padded with zeros: {n_zeros} samples.",
            stacklevel=3,
        )


def check_options(options: dict[str, Any]) -> None:
    """Refuse constructor arguments that make no model."""
    check_ranges(
        options,
        counts=("patch_size", "patch_stride", "embed_num", "embed_dim", "depth", "num_heads"),
        positive=("mlp_ratio", "chan_conv_max_norm"),
        probabilities=("drop_prob", "attn_drop_rate", "drop_path_rate"),
    )
    for name in ("patch_module", "norm_layer", "final_layer"):
        if isinstance(options[name], nn.Module):
            layer = type(options[name]).__name__
            raise TypeError(f"{name} must be a class, got a layer of {layer}. Pass {layer} itself.")
    if options["embed_dim"] % options["num_heads"]:
        raise ValueError(
            f"embed_dim must be a multiple of num_heads={options['num_heads']}, got {options['embed_dim']}."
        )
    patch_module = options["patch_module"] or PatchEmbed
    if not issubclass(patch_module, PatchEmbed):
        raise ValueError(
            f"patch_module must be PatchEmbed or a class derived from it, got {patch_module.__name__}."
        )
    if options["return_encoder_output"] and options["final_layer"] is not None:
        raise ValueError("return_encoder_output=True builds no head, so final_layer must be None.")
    check_name(
        options["chan_proj_type"], ("conv1d_constraint", "linear", "none"), "EEGPT has no chan_proj_type"
    )
    if options["chan_proj_type"] != "none" and options["n_chans_target"] != len(EEGPT_19_CHANNELS):
        raise ValueError(
            f"Channels are projected onto the 19 of EEGPT_19_CHANNELS, got n_chans_target="
            f'{options["n_chans_target"]}. Pass 19, or chan_proj_type="none" to use channels as they are.'
        )
