"""EEG-DINO: a transformer encoder for EEG, trained by hierarchical self-distillation.

Source: Wang et al. (2025), EEG-DINO: learning EEG foundation models via hierarchical self-distillation,
MICCAI. This file holds the encoder and its classification head. Shapes use these names throughout:

    batch       windows in a batch
    n_chans     EEG channels
    n_times     samples of a window
    n_patches   patches of one channel
    patch_size  samples of one patch
    n_tokens    tokens of a window: n_chans * n_patches patches, and the summary tokens once inserted
    embed_dim   width of a token
    head_dim    width of one attention head
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from eeglab_models.models.arguments import check_ranges
from eeglab_models.models.attention import Attend
from eeglab_models.models.base import EEGModel
from eeglab_models.models.channels import ChannelIds, read_channel_ids
from eeglab_models.models.contract import EEGDINO_CONTRACT, Contract
from eeglab_models.models.layout import Layout, transformer_projections
from eeglab_models.models.patching import CBraModStem, ConvConfig, cut_patches, warn_about_tail
from eeglab_models.models.regularization import DropPath
from eeglab_models.models.tokens import Tokens as TokenNames
from eeglab_models.models.tokens import plain_tokens, summary_names

__all__ = ["EEGDINO", "EEGDINO_CONFIGS"]

Tokens = Float[Tensor, "batch n_tokens embed_dim"]
PatchTokens = Float[Tensor, "batch n_chans n_patches embed_dim"]


class EEGDINO(EEGModel):
    """EEG-DINO encoder with a classification head.

    Windows are cut into patches of one second. Every patch becomes a token from its samples and its
    spectrum; the token then learns which channel it comes from and what surrounds it in time. A
    transformer relates all tokens of the window, and summary tokens that join after the first layers
    collect what the window is about.

    Parameters
    ----------
    n_outputs : int or None
        Number of outputs, such as classes; None only with `return_encoder_output`.
    n_chans : int or None
        Number of EEG channels, at most `n_channel_embeddings`; None takes it from `chs_info`. Channel i takes
        slot i of the channel embedding, so the order of the channels matters to published weights.
    chs_info : list of dict or None
        One dictionary per channel, as in ``mne.Info["chs"]``; None leaves channels without names.
    n_times, input_window_seconds, sfreq : int or float or None
        Samples and seconds of a window, and sampling rate in Hz, 200 for the published weights; None follows
        from the other two. Windows that do not fill the last patch are padded with zeros.
    patch_size : int
        Samples of one patch; 200 in the published weights, one second.
    n_layer, nhead, dim_feedforward : int
        Number of transformer layers and of attention heads, and hidden width of the feed-forward networks.
    channels_kernel_stride_padding_norm : sequence of tuple
        Convolutions of the patch embedding, as (out_channels, kernel_size, stride, padding, (groups,
        channels of the group norm)) each. They determine `emb_dim`, the width of a token.
    n_channel_embeddings, n_global_tokens : int
        Number of slots for channels, 19 in the published weights, and of summary tokens.
    global_token_layer : int
        Layer, counted from 1, after which the summary tokens join.
    activation, patch_activation : type of torch.nn.Module
        Activation of the feed-forward networks and the head, and of the patch embedding.
    drop_prob : float
        Probability of dropping an attention weight, an activation or, while training, a branch.
    return_features : bool
        Return the features instead of the logits, as ``forward(x, return_features=True)`` does.
    return_encoder_output : bool
        Build no head and return the mean of the patch tokens instead.

    Attributes
    ----------
    emb_dim : int
        Width of a token.

    Raises
    ------
    ValueError
        If signal arguments are missing or contradict each other, or if no model can be built of the others.

    Notes
    -----
    The published weights expect microvolts divided by 100, and the model does not rescale its input.

    References
    ----------
    Wang et al. (2025), EEG-DINO, MICCAI, section 2: time-frequency embedding, decoupled positional
    embedding, global tokens. `n_global_tokens` are summary tokens in this package's terms. The embedding
    of a patch is that of Wang et al. (2025), CBraMod, ICLR, section 2.2.
    """

    def __init__(
        self,
        n_outputs: int | None = None,
        n_chans: int | None = None,
        chs_info: list[dict[str, Any]] | None = None,
        n_times: int | None = None,
        input_window_seconds: float | None = None,
        sfreq: float | None = None,
        patch_size: int = 200,
        n_layer: int = 12,
        nhead: int = 8,
        dim_feedforward: int = 512,
        channels_kernel_stride_padding_norm: Sequence[ConvConfig] = (
            (25, 49, 25, 24, (5, 25)),
            (25, 3, 1, 1, (5, 25)),
            (25, 3, 1, 1, (5, 25)),
        ),
        n_channel_embeddings: int = 19,
        n_global_tokens: int = 1,
        global_token_layer: int = 1,
        activation: type[nn.Module] = nn.GELU,
        patch_activation: type[nn.Module] = nn.GELU,
        drop_prob: float = 0.1,
        return_features: bool = False,
        return_encoder_output: bool = False,
    ) -> None:
        super().__init__(locals())
        check_ranges(
            self.arguments,
            counts=(
                *("patch_size", "n_layer", "nhead", "dim_feedforward", "n_channel_embeddings"),
                "n_global_tokens",
            ),
            probabilities=("drop_prob",),
        )
        if self.n_chans > n_channel_embeddings:
            raise ValueError(
                f"EEGDINO has {n_channel_embeddings} channel slots, got {self.n_chans} channels. Pass "
                f"n_channel_embeddings={self.n_chans}, or pick {n_channel_embeddings} of the 10-20 system."
            )
        warn_about_tail(self.n_times, patch_size, "padded with zeros")
        if not 1 <= global_token_layer <= n_layer:
            raise ValueError(
                f"global_token_layer must be one of the layers 1 to {n_layer}, got {global_token_layer}."
            )
        self.patch_size = self.patch_stride = patch_size
        self.n_summary_tokens = n_global_tokens
        self.n_layers_before_summary = global_token_layer
        self.activation = activation
        self.return_features = return_features
        self.return_encoder_output = return_encoder_output

        self.patch_embedding = PatchEmbedding(
            patch_size, channels_kernel_stride_padding_norm, n_channel_embeddings, patch_activation, drop_prob
        )
        self.emb_dim = self.embed_dim = self.patch_embedding.embed_dim
        self.global_tokens = nn.Parameter(torch.empty(1, n_global_tokens, self.emb_dim))
        self.encoder_layers = nn.ModuleList(
            EncoderLayer(self.emb_dim, nhead, dim_feedforward, activation, drop_prob) for _ in range(n_layer)
        )
        self.final_layer = self._build_head()
        nn.init.trunc_normal_(self.global_tokens, std=0.02)

    def _build_head(self) -> nn.Module:
        """Build a fresh classification head, or none for `return_encoder_output`."""
        if self.return_encoder_output:
            return nn.Identity()
        return ClassificationHead(self.emb_dim, self.n_outputs, self.activation)

    def forward(
        self,
        x: Float[Tensor, "batch n_chans n_times"],
        return_features: bool | None = None,
        channel_ids: ChannelIds | None = None,
    ) -> Tensor | dict[str, Tensor]:
        """Classify windows, or describe them.

        Parameters
        ----------
        x : torch.Tensor, shape (batch, n_chans, n_times)
            EEG in microvolts divided by 100, sampled at `sfreq` Hz. Windows of any length are accepted;
            an incomplete last patch is padded with zeros.
        return_features : bool or None
            Return features; None means what the constructor was told.
        channel_ids : torch.Tensor, shape (n_chans,), or sequence of int, or None
            Slot of every channel in the channel embedding, each once, in any order; published weights
            order them as ``contract.ch_names``. With them, `x` may have another number of channels than
            the model was built for. None means the first slots in order.

        Returns
        -------
        output : torch.Tensor or dict of torch.Tensor
            Logits, shape (batch, n_outputs); with `return_encoder_output`, the mean patch token, shape
            (batch, emb_dim); with features, a dictionary of ``"features"``, the patch tokens, shape
            (batch, n_chans * n_patches, emb_dim), and ``"cls_token"``, the mean summary token, shape
            (batch, emb_dim).

        Raises
        ------
        ValueError
            If the number of channels is not that of the model, or if `channel_ids` do not fit.
        """
        summary, tokens = self._relate(x, channel_ids)
        if self.return_features if return_features is None else return_features:
            return {"features": tokens.flatten(1, 2), "cls_token": summary.mean(dim=1)}
        if self.return_encoder_output:
            return tokens.flatten(1, 2).mean(dim=1)  # (batch, embed_dim)
        return self.final_layer(tokens)  # (batch, n_outputs)

    def encode(
        self, x: Float[Tensor, "batch n_chans n_times"], channel_ids: ChannelIds | None = None
    ) -> PatchTokens:
        """Describe every patch of a window; `forward` explains the arguments.

        Parameters
        ----------
        x : torch.Tensor, shape (batch, n_chans, n_times)
            EEG in microvolts divided by 100.
        channel_ids : torch.Tensor, shape (n_chans,), or sequence of int, or None
            Slot of every channel in the channel embedding.

        Returns
        -------
        tokens : torch.Tensor, shape (batch, n_chans, n_patches, emb_dim)
            One per patch.
        """
        return self._relate(x, channel_ids)[1]

    def _relate(self, x: Tensor, channel_ids: ChannelIds | None) -> tuple[Tokens, PatchTokens]:
        """Describe windows by their summary tokens and by the tokens of their patches."""
        slots = None
        if channel_ids is None:
            self.check_input(x, n_times_least=1)
        else:
            slots = read_channel_ids(channel_ids, x, self.patch_embedding.channel_embedding.in_features)
        x = F.pad(x, (0, -x.shape[-1] % self.patch_size))  # (batch, n_chans, n_patches * patch_size)
        patches = cut_patches(x, self.patch_size)  # (batch, n_chans, n_patches, patch_size)
        tokens = self.patch_embedding(patches, slots)  # (batch, n_chans, n_patches, embed_dim)
        tokens = tokens.flatten(1, 2)  # (batch, n_tokens, embed_dim)

        for layer in self.encoder_layers[: self.n_layers_before_summary]:
            tokens = layer(tokens)
        summary = self.global_tokens.expand(x.shape[0], -1, -1)  # (batch, n_summary_tokens, embed_dim)
        tokens = torch.cat([summary, tokens], dim=1)  # (batch, n_summary_tokens + n_tokens, embed_dim)
        for layer in self.encoder_layers[self.n_layers_before_summary :]:
            tokens = layer(tokens)

        summary = tokens[:, : self.n_summary_tokens]  # (batch, n_summary_tokens, embed_dim)
        return summary, self._read_block(tokens, x)

    def _read_block(self, output: Tokens, x: Tensor) -> PatchTokens:
        """Lay the patch tokens of a layer out on the grid; summary tokens come before them."""
        n_tokens = x.shape[1] * self.count_patches(x.shape[2])
        return output[:, -n_tokens:].unflatten(1, (x.shape[1], -1))

    def _attention_tokens(
        self, ch_names: Sequence[str], n_times: int, sfreq: float, channel_ids: ChannelIds | None = None
    ) -> TokenNames:
        """Name the summary tokens, and behind them the patches channel by channel."""
        patches = super()._attention_tokens(ch_names, n_times, sfreq)
        return plain_tokens(summary_names(self.n_summary_tokens)) + patches

    contract: ClassVar[Contract] = EEGDINO_CONTRACT
    layout: ClassVar[Layout] = Layout(
        embedding=("patch_embedding", "global_tokens"),
        blocks="encoder_layers",
        projections=transformer_projections("encoder_layers"),
        tables=("patch_embedding.channel_embedding", "global_tokens"),
        pads=True,
        sizes=lambda n_chans, sfreq: {"n_channel_embeddings": max(19, n_chans)},
        pretraining_arguments={"return_encoder_output": True},
        # Checkpoints hold the teacher and projectors beside the student, all in one module; every key of it
        # that is not the student's stays there.
        pretraining_modules=("module",),
        fixed_arguments=(
            "nhead",
            "channels_kernel_stride_padding_norm",
            "global_token_layer",
            "activation",
            "patch_activation",
        ),
        # Known from a third party's converter only. Fine-tuned models name the encoder and the head's layers.
        published_names=(
            (r"^module\.student\.", ""),
            (r"^encoder\.", ""),
            (r"^full_linear\.", "final_layer.token_proj.0."),
            (r"^channel_linear\.", "final_layer.time_proj.0."),
            (r"^classifier\.", "final_layer.classifier."),
        ),
    )


class PatchEmbedding(CBraModStem):
    """Turn every patch into a token: what its samples and its spectrum say, which channel, which moment."""

    def __init__(
        self,
        patch_size: int,
        convs: Sequence[ConvConfig],
        n_slots: int,
        activation: type[nn.Module],
        drop_prob: float,
    ) -> None:
        super().__init__(patch_size, convs, activation, drop_prob)
        self.channel_embedding = nn.Linear(n_slots, self.embed_dim)
        self.time_encoding = nn.Sequential(
            nn.Conv2d(self.embed_dim, self.embed_dim, (1, 5), padding=(0, 2), groups=self.embed_dim)
        )

    def forward(
        self,
        patches: Float[Tensor, "batch n_chans n_patches patch_size"],
        slots: Int[Tensor, " n_chans"] | None = None,
    ) -> PatchTokens:
        """Embed the patches; channels take the given slots, or the first ones."""
        n_chans = patches.shape[1]
        tokens = self.describe(patches)  # (batch, n_chans, n_patches, embed_dim)

        # A linear map of a one-hot channel is a column of its weights.
        columns = slice(n_chans) if slots is None else slots
        channels = self.channel_embedding.weight[:, columns].T + self.channel_embedding.bias
        tokens = tokens + channels.unsqueeze(1)  # channels: (n_chans, 1, embed_dim)
        grid = tokens.permute(0, 3, 1, 2)  # (batch, embed_dim, n_chans, n_patches)
        surroundings = self.time_encoding(grid)  # (batch, embed_dim, n_chans, n_patches)
        return tokens + surroundings.permute(0, 2, 3, 1)  # (batch, n_chans, n_patches, embed_dim)


class EncoderLayer(nn.Module):
    """One pre-norm transformer layer: tokens exchange information, then each is refined."""

    def __init__(
        self, embed_dim: int, n_heads: int, hidden_dim: int, activation: type[nn.Module], drop_prob: float
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_dim)
        self.attn = SelfAttention(embed_dim, n_heads, drop_prob)
        self.norm2 = nn.LayerNorm(embed_dim)
        self.mlp = FeedForward(embed_dim, hidden_dim, activation, drop_prob)
        self.drop_path = DropPath(drop_prob)

    def forward(self, tokens: Tokens) -> Tokens:
        """Refine the tokens; the shape stays."""
        tokens = tokens + self.drop_path(self.attn(self.norm1(tokens)))
        return tokens + self.drop_path(self.mlp(self.norm2(tokens)))


class SelfAttention(nn.Module):
    """Multi-head self-attention with biases on queries and values only."""

    def __init__(self, embed_dim: int, n_heads: int, drop_prob: float) -> None:
        super().__init__()
        if not 1 <= n_heads <= embed_dim:
            raise ValueError(
                f"nhead must lie between 1 and the token width {embed_dim}, got {n_heads}. "
                "The published models use 8."
            )
        inner_dim = embed_dim // n_heads * n_heads
        self.n_heads = n_heads
        self.qkv = nn.Linear(embed_dim, 3 * inner_dim, bias=False)
        # A key bias would raise all scores of a query alike, and softmax ignores that.
        self.q_bias = nn.Parameter(torch.zeros(inner_dim))
        self.v_bias = nn.Parameter(torch.zeros(inner_dim))
        self.attend = Attend(drop_prob)
        self.proj = nn.Linear(inner_dim, embed_dim)
        self.proj_drop = nn.Dropout(drop_prob)

    def forward(self, tokens: Tokens) -> Tokens:
        """Let every token read from all others."""
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        qkv = self.qkv(tokens)  # (batch, n_tokens, 3 * n_heads * head_dim)
        qkv = qkv + bias.to(qkv.dtype)  # float32 biases would undo autocast
        qkv = qkv.unflatten(-1, (3, self.n_heads, -1))  # (batch, n_tokens, 3, n_heads, head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (batch, n_heads, n_tokens, head_dim)
        heads = self.attend(q, k, v)  # (batch, n_heads, n_tokens, head_dim)
        heads = heads.transpose(1, 2).flatten(2)  # (batch, n_tokens, n_heads * head_dim)
        return self.proj_drop(self.proj(heads))  # (batch, n_tokens, embed_dim)


class FeedForward(nn.Module):
    """Two linear layers that refine every token on its own."""

    def __init__(
        self, embed_dim: int, hidden_dim: int, activation: type[nn.Module], drop_prob: float
    ) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed_dim, hidden_dim)
        self.act = activation()
        self.fc2 = nn.Linear(hidden_dim, embed_dim)
        self.drop = nn.Dropout(drop_prob)

    def forward(self, tokens: Tokens) -> Tokens:
        """Refine the tokens; the shape stays."""
        hidden = self.act(self.fc1(tokens))  # (batch, n_tokens, hidden_dim)
        return self.drop(self.fc2(hidden))  # (batch, n_tokens, embed_dim)


class ClassificationHead(nn.Module):
    """Average the patch tokens over channels, then over time, and classify the window."""

    def __init__(self, embed_dim: int, n_outputs: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.token_proj = nn.Sequential(nn.Linear(embed_dim, embed_dim), activation())
        self.time_proj = nn.Sequential(nn.Linear(embed_dim, embed_dim), activation())
        self.classifier = nn.Sequential(
            nn.Linear(embed_dim, embed_dim // 2),
            activation(),
            nn.Dropout(0.5),
            nn.Linear(embed_dim // 2, embed_dim // 4),
            activation(),
            nn.Dropout(0.3),
            nn.Linear(embed_dim // 4, n_outputs),
        )

    def forward(self, tokens: PatchTokens) -> Float[Tensor, "batch n_outputs"]:
        """Classify windows by their patch tokens."""
        moments = self.token_proj(tokens).mean(dim=1)  # (batch, n_patches, embed_dim)
        window = self.time_proj(moments).mean(dim=1)  # (batch, embed_dim)
        return self.classifier(window)  # (batch, n_outputs)


def published_size(n_layers: int, hidden_dim: int, n_maps: int, n_groups: int) -> dict[str, Any]:
    """State the arguments of a published size; the convolution in the middle is twice as wide."""
    wide = 2 * n_maps if n_maps > 25 else n_maps
    convs = ((n_maps, 49, 25, 24), (wide, 3, 1, 1), (n_maps, 3, 1, 1))
    return {
        "n_layer": n_layers,
        "nhead": 8,
        "dim_feedforward": hidden_dim,
        "channels_kernel_stride_padding_norm": tuple((*conv, (n_groups, conv[0])) for conv in convs),
    }


EEGDINO_CONFIGS: dict[str, dict[str, Any]] = {
    "small": published_size(12, 512, n_maps=25, n_groups=5),
    "medium": published_size(16, 1024, n_maps=64, n_groups=8),
    "large": published_size(24, 2048, n_maps=128, n_groups=16),
}
"""Arguments of the three published sizes by name; small and medium have published weights."""
