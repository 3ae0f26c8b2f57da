"""CodeBrain: global convolutions and windowed attention over EEG patches, trained to predict codes.

Source: Ma et al. (2026), CodeBrain: bridging decoupled tokenizer and multi-scale architecture for EEG
foundation model, ICLR. This file holds the backbone of the second stage (EEGSSM) and its heads; its global
convolution stands in `global_convolution`. Shapes use these names throughout:

    batch       windows in a batch
    n_chans     EEG channels
    n_times     samples of a window
    n_patches   patches of one channel
    patch_size  samples of one patch
    n_tokens    tokens of a window, channel by channel: n_chans * n_patches
    embed_dim   width of a token
"""

import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from eeglab_models.models.arguments import check_ranges
from eeglab_models.models.attention import AttendNearby
from eeglab_models.models.base import EEGModel
from eeglab_models.models.channels import TEMPLE_CHANNELS, ChannelIds, read_channel_ids
from eeglab_models.models.contract import CODEBRAIN_CONTRACT, Contract
from eeglab_models.models.fourier import at_least_single
from eeglab_models.models.global_convolution import GlobalConv, measure_filter_norms, pointwise, project
from eeglab_models.models.layout import Layout
from eeglab_models.models.patching import CBraModStem, cut_patches, warn_about_tail
from eeglab_models.models.regularization import WeightNormConv1d
from eeglab_models.models.tokens import Tokens as TokenNames

__all__ = ["CodeBrain"]

N_HEADS = 4

Patches = Float[Tensor, "batch n_chans n_patches patch_size"]
PatchTokens = Float[Tensor, "batch n_chans n_patches embed_dim"]
# The backbone convolves along the tokens, so they come last here.
Tokens = Float[Tensor, "batch embed_dim n_tokens"]


class CodeBrain(EEGModel):
    """CodeBrain backbone with a classification head and two code prediction heads.

    Windows are cut into patches of one second, and every patch becomes a token from its samples, its
    spectrum and its surroundings. The tokens of all channels form one sequence. Residual blocks mix it
    twice: a global convolution relates all tokens, and attention relates neighbours.

    Parameters
    ----------
    n_outputs : int or None
        Number of outputs, such as classes. The head needs it: None is refused.
    n_chans : int or None
        Number of EEG channels; None takes it from `chs_info`.
    chs_info : list of dict or None
        One dictionary per channel, as in ``mne.Info["chs"]``; None leaves channels without names.
    n_times, input_window_seconds, sfreq : int or float or None
        Samples and seconds of a window, and sampling rate in Hz, 200 for the published weights; None follows
        from the other two. Samples that do not fill the last patch are left out.
    patch_size : int
        Samples of one patch; 200 in the published weights, one second.
    res_channels, skip_channels, out_channels : int
        Width of a token in the residual blocks, which is even; of what every block contributes to the
        output; and of the features.
    num_res_layers : int
        Number of residual blocks.
    drop_prob : float
        Probability of dropping a filtered feature, an attention weight or an activation of the head.
    s4_bidirectional, s4_layernorm : bool
        Let the global convolution read what follows a token too, not only what precedes it, and normalise
        the filtered features; the published weights do not normalise them.
    s4_lmax : int
        Number of tokens that the global filters span at least, at least 2. Their length is the next power
        of two, and sequences may be shorter or longer.
    s4_d_state : int
        Has no effect: global convolutions have no state. Published configurations name it.
    conv_out_chans : int
        Number of maps of the patch embedding, and stride of its first convolution. With the patch and
        the first kernel, it determines the width of a token.
    conv_groups : int
        Groups of maps that the patch embedding normalises together.
    proj_kernel_size, proj_padding : int
        Kernel of the first convolution of the patch embedding, and zeros on either side of a patch, in
        samples.
    proj_refine_kernel : int
        Kernel of the other two convolutions of the patch embedding; odd.
    pos_kernel : tuple of int
        Number of channels and of patches that the positional convolution sees; both odd.
    spectral_dropout : float
        Probability of dropping a feature of the spectrum.
    mlp_hidden_multiplier : int
        Width of the first layer of the head, in multiples of `out_channels`.
    swa_window_size : int
        Number of neighbouring tokens that attention sees, the token itself included; odd. The published
        weights use 1.
    codebook_size_t, codebook_size_f : int
        Number of temporal codes, and of frequency codes.
    pretrain_mode : bool
        Return the scores of the codes instead of the logits.
    activation : type of torch.nn.Module
        Activation before and after the residual blocks.

    Raises
    ------
    ValueError
        If signal arguments are missing or contradict each other, or if no model can be built of the others.

    Notes
    -----
    The published weights expect microvolts divided by 100, and the model does not rescale its input.

    The classification head reads all patches, so it is bound to `n_times`. Features and codes are available
    for windows of any length.

    References
    ----------
    Ma et al. (2026), CodeBrain: Bridging Decoupled Tokenizer and Multi-Scale Architecture for EEG
    Foundation Model, ICLR, arXiv:2506.09110, section 3.3. The embedding of a patch is that of Wang et al.
    (2025), CBraMod, ICLR, section 2.2.
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
        res_channels: int = 200,
        skip_channels: int = 200,
        out_channels: int = 200,
        num_res_layers: int = 8,
        drop_prob: float = 0.1,
        s4_bidirectional: bool = True,
        s4_layernorm: bool = False,
        s4_lmax: int = 570,
        s4_d_state: int = 64,
        conv_out_chans: int = 25,
        conv_groups: int = 5,
        proj_kernel_size: int = 49,
        proj_padding: int = 24,
        proj_refine_kernel: int = 3,
        pos_kernel: Sequence[int] = (19, 7),
        spectral_dropout: float = 0.1,
        mlp_hidden_multiplier: int = 4,
        swa_window_size: int = 1,
        codebook_size_t: int = 4096,
        codebook_size_f: int = 4096,
        pretrain_mode: bool = False,
        activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__(locals())
        check_ranges(
            self.arguments,
            counts=(
                *("res_channels", "skip_channels", "out_channels", "num_res_layers", "conv_out_chans"),
                *("conv_groups", "proj_kernel_size", "mlp_hidden_multiplier", "codebook_size_t"),
                "codebook_size_f",
            ),
            probabilities=("drop_prob", "spectral_dropout"),
        )
        if not 1 <= patch_size <= self.n_times:
            raise ValueError(
                f"patch_size must lie between 1 and the window's {self.n_times} samples, got {patch_size}."
            )
        self.patch_size = self.patch_stride = patch_size
        self.out_channels = self.embed_dim = out_channels
        self.drop_prob = drop_prob
        self.hidden_dim = mlp_hidden_multiplier * out_channels
        self.pretrain_mode = pretrain_mode
        warn_about_tail(self.n_times, patch_size, f"cut to {self.n_patches * patch_size} samples")

        convs = (conv_out_chans, conv_groups, proj_kernel_size, proj_padding, proj_refine_kernel)
        self.patch_embedding = PatchEmbedding(patch_size, *convs, tuple(pos_kernel), spectral_dropout)
        self.init_conv = nn.Sequential(
            named(WeightNormConv1d(self.patch_embedding.embed_dim, res_channels)), activation()
        )
        block = (res_channels, skip_channels, s4_lmax, s4_bidirectional, s4_layernorm, swa_window_size)
        self.residual_layer = ResidualBlocks(ResidualBlock(*block, drop_prob) for _ in range(num_res_layers))
        self.final_conv = nn.Sequential(
            named(WeightNormConv1d(skip_channels, skip_channels)),
            activation(),
            named(nn.Conv1d(skip_channels, out_channels, 1)),
        )
        self.norm = nn.LayerNorm(out_channels)
        self.lm_head_t = nn.Linear(out_channels, codebook_size_t, bias=False)
        self.lm_head_f = nn.Linear(out_channels, codebook_size_f, bias=False)
        self.final_layer = self._build_head()

    def _build_head(self) -> nn.Module:
        """Build a fresh classification head, which reads the features of all patches."""
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(self.n_chans * self.n_patches * self.out_channels, self.hidden_dim),
            nn.ELU(),
            nn.Dropout(self.drop_prob),
            nn.Linear(self.hidden_dim, self.out_channels),
            nn.ELU(),
            nn.Dropout(self.drop_prob),
            nn.Linear(self.out_channels, self.n_outputs),
        )

    def forward(
        self,
        inputs: Float[Tensor, "batch n_chans n_times"],
        mask: Tensor | None = None,
        return_features: bool = False,
        channel_ids: ChannelIds | None = None,
    ) -> Tensor | tuple[Tensor, Tensor] | dict[str, Tensor | None]:
        """Classify windows, predict their codes, or describe them.

        Parameters
        ----------
        inputs : torch.Tensor, shape (batch, n_chans, n_times)
            EEG in microvolts divided by 100, sampled at `sfreq` Hz. Samples that do not fill the last
            patch are left out.
        mask : torch.Tensor, shape (batch, n_chans, n_patches), or None
            1 where a patch is hidden from the model.
        return_features : bool
            Return features.
        channel_ids : torch.Tensor, shape (n_chans,), or sequence of int, or None
            Place of every channel in the montage of the published weights, ``contract.ch_names``, each
            once, in any order. With them, features and codes are available for another number of channels
            than the model was built for; they, and `mask`, keep the order of `inputs`. None means that
            channels stand in a row.

        Returns
        -------
        output : torch.Tensor, tuple of torch.Tensor or dict
            Logits, shape (batch, n_outputs). In `pretrain_mode`, the scores of the temporal and of the
            frequency codes, shapes (n_hidden, codebook_size_t) and (n_hidden, codebook_size_f), for the
            hidden patches in the order of ``mask.nonzero()``, or for all patches, shapes (batch, n_chans,
            n_patches, codebook size), without a mask. With features, a dictionary of ``"features"``,
            shape (batch, n_chans, n_patches, out_channels), and ``"cls_token"``, which is None.

        Raises
        ------
        ValueError
            If channels, length of a window, mask or `channel_ids` do not fit the model or its head.
        """
        features = self.encode(inputs, channel_ids, mask)  # (batch, n_chans, n_patches, out_channels)
        if return_features:
            return {"features": features, "cls_token": None}
        if self.pretrain_mode:
            if mask is not None:
                features = features[mask == 1]  # (n_hidden, out_channels)
            return self.lm_head_t(features), self.lm_head_f(features)
        self._check_head(features, inputs.shape[-1])
        return self.final_layer(features)  # (batch, n_outputs)

    def encode(
        self,
        x: Float[Tensor, "batch n_chans n_times"],
        channel_ids: ChannelIds | None = None,
        mask: Tensor | None = None,
    ) -> PatchTokens:
        """Describe every patch of a window; `forward` explains the arguments.

        Parameters
        ----------
        x : torch.Tensor, shape (batch, n_chans, n_times)
            EEG in microvolts divided by 100.
        channel_ids : torch.Tensor, shape (n_chans,), or sequence of int, or None
            Place of every channel in the montage of the published weights.
        mask : torch.Tensor, shape (batch, n_chans, n_patches), or None
            1 where a patch is hidden from the model.

        Returns
        -------
        tokens : torch.Tensor, shape (batch, n_chans, n_patches, out_channels)
            One per patch, in the order of `x`.
        """
        places = None
        if channel_ids is None:
            self.check_input(x, n_times_least=self.patch_size)
        else:
            places = read_channel_ids(channel_ids, x, n_slots=len(TEMPLE_CHANNELS))
        patches = cut_patches(x, self.patch_size)  # (batch, n_chans, n_patches, patch_size)
        tokens = self.patch_embedding(patches, mask, places)  # (batch, n_chans, n_patches, embed_dim)
        if places is not None:
            tokens = tokens[:, places.argsort()]

        sequence = tokens.flatten(1, 2).transpose(1, 2)  # (batch, embed_dim, n_tokens)
        sequence = self.init_conv(sequence)  # (batch, res_channels, n_tokens)
        sequence = self.residual_layer(sequence)  # (batch, skip_channels, n_tokens)
        sequence = self.final_conv(sequence)  # (batch, out_channels, n_tokens)
        tokens = sequence.transpose(1, 2).unflatten(1, patches.shape[1:3])
        features = self.norm(tokens)  # (batch, n_chans, n_patches, out_channels)
        return features if places is None else features[:, places.argsort().argsort()]

    def _check_head(self, features: PatchTokens, n_times: int) -> None:
        """Refuse features of other channels or patches than the head reads."""
        for read, got, what, remedy in (
            (self.n_chans, features.shape[1], "channels", f"n_chans={features.shape[1]}"),
            (self.n_patches, features.shape[2], "patches per channel", f"n_times={n_times}"),
        ):
            if got != read:
                raise ValueError(
                    f"The head of this CodeBrain reads {read} {what}, got {got}. Build it with {remedy}, "
                    "or pass return_features=True."
                )

    def _read_block(self, output: Tensor, x: Tensor) -> Float[Tensor, "batch n_chans n_patches _"]:
        """Lay the tokens that a block hands on out on the grid; channels stand as in its sequence."""
        return super()._read_block(output.mT, x)

    def _attention_tokens(
        self, ch_names: Sequence[str], n_times: int, sfreq: float, channel_ids: ChannelIds | None = None
    ) -> TokenNames:
        """Name the tokens of the sequence, which follows the montage of the weights, whatever that of `x`."""
        if channel_ids is not None:
            ch_names = [ch_names[index] for index in np.argsort([int(place) for place in channel_ids])]
        return super()._attention_tokens(ch_names, n_times, sfreq)

    @classmethod
    def _translate(cls, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give tensors of the authors' checkpoint their names here, and filters their norms."""
        translated = super()._translate(state_dict)
        return translated | measure_filter_norms(translated)

    contract: ClassVar[Contract] = CODEBRAIN_CONTRACT
    layout: ClassVar[Layout] = Layout(
        embedding=("patch_embedding", "init_conv"),
        blocks="residual_layer.residual_blocks",
        top=("final_conv", "norm"),
        head=("final_layer", "lm_head_t", "lm_head_f"),
        projections=r"residual_layer\.residual_blocks\.\d+\.(attention\.out_proj|sgconv\.output_linear)",
        # Nothing reads what the last block hands on.
        fixed=(
            "patch_embedding.mask_encoding",
            "residual_layer.residual_blocks.{last}.res_conv",
            "residual_layer.residual_blocks.{last}.rms_norm",
            "lm_head_t",
            "lm_head_f",
        ),
        pretraining_arguments={"n_outputs": 1, "pretrain_mode": True},
        fixed_arguments=("conv_groups", "proj_padding", "swa_window_size", "activation"),
        # The checkpoint was saved from DataParallel, with an earlier weight normalisation.
        published_names=(
            (r"^module\.", ""),
            (r"\.S41\.", ".sgconv."),
            (r"\.sn\.", ".rms_norm."),
            (r"\.D$", ".skip_weight"),
            (r"\.kernel_list\.(\d+)\.kernel$", r".kernel_list.\1"),
            (r"\.weight_g$", ".parametrizations.weight.original0"),
            (r"\.weight_v$", ".parametrizations.weight.original1"),
        ),
    )


class PatchEmbedding(CBraModStem):
    """Turn every patch into a token: what its samples, its spectrum and its surroundings say."""

    def __init__(
        self,
        patch_size: int,
        n_maps: int,
        n_groups: int,
        kernel_size: int,
        padding: int,
        refine_kernel_size: int,
        surroundings: tuple[int, ...],
        drop_prob: float,
    ) -> None:
        for argument, kernel in (("proj_refine_kernel", (refine_kernel_size,)), ("pos_kernel", surroundings)):
            if any(size < 1 or size % 2 == 0 for size in kernel):
                raise ValueError(
                    f"{argument} must be odd, so that kernels have a middle, got {kernel}. Add 1."
                )
        norm = (n_groups, n_maps)
        refine = (n_maps, refine_kernel_size, 1, refine_kernel_size // 2, norm)
        convs = ((n_maps, kernel_size, n_maps, padding, norm), refine, refine)
        super().__init__(patch_size, convs, nn.GELU, drop_prob)
        self.mask_encoding = nn.Parameter(torch.zeros(self.embed_dim), requires_grad=False)
        self.positional_encoding = nn.Sequential(
            nn.Conv2d(self.embed_dim, self.embed_dim, surroundings, padding="same", groups=self.embed_dim)
        )

    def forward(
        self,
        patches: Patches,
        mask: Tensor | None = None,
        places: Int[Tensor, " n_chans"] | None = None,
    ) -> PatchTokens:
        """Embed the patches, of which the mask hides some; channels stand in a row, or at their places."""
        if mask is not None:
            patches = self.hide(patches, mask)
        tokens = self.describe(patches)  # (batch, n_chans, n_patches, embed_dim)
        return tokens + self.look_around(tokens, places)  # (batch, n_chans, n_patches, embed_dim)

    def look_around(self, tokens: PatchTokens, places: Int[Tensor, " n_chans"] | None) -> PatchTokens:
        """Tell every token what surrounds it on the grid of channels and patches."""
        grid = tokens  # (batch, n_rows, n_patches, embed_dim)
        if places is not None:
            # Absent channels are zero, like everything beyond the edge.
            grid = tokens.new_zeros(tokens.shape[0], int(places.max()) + 1, *tokens.shape[2:])
            grid = grid.index_copy(1, places, tokens)
        grid = grid.permute(0, 3, 1, 2)  # (batch, embed_dim, n_rows, n_patches)
        grid = self.positional_encoding(grid).permute(0, 2, 3, 1)  # (batch, n_rows, n_patches, embed_dim)
        return grid if places is None else grid[:, places]  # (batch, n_chans, n_patches, embed_dim)

    def hide(self, patches: Patches, mask: Tensor) -> Patches:
        """Overwrite the samples of masked patches."""
        if mask.shape != patches.shape[:3]:
            raise ValueError(
                f"The mask needs one number per patch, shape {tuple(patches.shape[:3])}, "
                f"got {tuple(mask.shape)}. Build it with torch.zeros(batch, n_chans, n_patches)."
            )
        # The published tensor has the width of a token, though it stands for samples.
        if self.embed_dim != patches.shape[-1]:
            raise ValueError(
                f"Masks need tokens as wide as patches, got {self.embed_dim} features for "
                f"{patches.shape[-1]} samples. Choose conv_out_chans and proj_padding so that they agree."
            )
        return torch.where(mask.unsqueeze(-1) == 1, self.mask_encoding.to(patches.dtype), patches)


def named(conv: nn.Module) -> nn.Sequential:
    """Put a convolution one level deeper, where published weights name it."""
    return nn.Sequential(OrderedDict(conv=conv))


class ResidualBlocks(nn.Module):
    """Stack of residual blocks, whose contributions add up to the output."""

    def __init__(self, blocks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.residual_blocks = nn.ModuleList(blocks)

    def forward(self, tokens: Tokens) -> Float[Tensor, "batch skip_channels n_tokens"]:
        """Collect what the blocks contribute."""
        first, total = tokens, 0
        for block in self.residual_blocks:
            tokens, contribution = block(tokens, first)
            total = total + contribution
        return total * math.sqrt(1 / len(self.residual_blocks))


class ResidualBlock(nn.Module):
    """One residual block: convolve globally, attend locally, gate, and split into residual and skip."""

    def __init__(
        self,
        res_channels: int,
        skip_channels: int,
        n_tokens_most: int,
        bidirectional: bool,
        layer_norm: bool,
        window_size: int,
        drop_prob: float,
    ) -> None:
        super().__init__()
        self.rms_norm = RMSNorm(res_channels)
        self.conv_layer = named(WeightNormConv1d(res_channels, 2 * res_channels, kernel_size=3))
        self.sgconv = GlobalConv(2 * res_channels, n_tokens_most, bidirectional, layer_norm, drop_prob)
        self.attention = WindowAttention(2 * res_channels, window_size, drop_prob)
        self.res_conv = WeightNormConv1d(res_channels, res_channels)
        self.skip_conv = WeightNormConv1d(res_channels, skip_channels)

    def forward(
        self, tokens: Tokens, first: Tokens
    ) -> tuple[Tokens, Float[Tensor, "batch skip_channels n_tokens"]]:
        """Refine the tokens; `first` are those that entered the first block."""
        hidden = F.gelu(self.conv_layer(tokens + first))  # (batch, 2 * res_channels, n_tokens)
        hidden = self.sgconv(hidden)
        hidden = hidden + self.attention(hidden)
        content, gate = hidden.chunk(2, dim=1)  # each (batch, res_channels, n_tokens)
        gated = content.tanh() * gate.sigmoid()
        # The residual carries the normalised tokens.
        tokens = (self.rms_norm(tokens) + self.res_conv(gated)) * math.sqrt(0.5)
        return tokens, self.skip_conv(gated)


class RMSNorm(nn.Module):
    """Bring every token to unit root mean square, then rescale its features."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, embed_dim, 1))

    def forward(self, tokens: Tokens) -> Tokens:
        """Normalise the tokens."""
        # In half precision squares overflow, and the smallest numbers vanish.
        power = at_least_single(tokens).pow(2).mean(dim=1, keepdim=True)  # (batch, 1, n_tokens)
        return self.scale * (tokens * torch.rsqrt(power + 1e-16)).to(tokens.dtype)


class WindowAttention(nn.Module):
    """Multi-head attention of every token to its neighbours."""

    def __init__(self, embed_dim: int, window_size: int, drop_prob: float) -> None:
        super().__init__()
        if embed_dim % N_HEADS:
            raise ValueError(
                f"res_channels must be even, so that {N_HEADS} heads can share twice as many features, "
                f"got {embed_dim // 2}."
            )
        self.attend_nearby = AttendNearby(window_size, drop_prob)
        self.in_proj_weight = nn.Parameter(torch.empty(3 * embed_dim, embed_dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * embed_dim))
        self.out_proj = nn.Linear(embed_dim, embed_dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, tokens: Tokens) -> Tokens:
        """Let every token read from its window."""
        # A window of one token leaves nothing to compute, unless someone wants to see the weights.
        alone = self.attend_nearby.window_size == 1 and not self.attend_nearby.recording
        heads = self.attend_to_itself(tokens) if alone else self.attend(tokens)
        return project(heads, self.out_proj)

    def attend(self, tokens: Tokens) -> Tokens:
        """Average the values in the window of every token."""
        qkv = pointwise(tokens, self.in_proj_weight, self.in_proj_bias)  # (batch, 3 * embed_dim, n_tokens)
        qkv = qkv.unflatten(1, (3, N_HEADS, -1))  # (batch, 3, n_heads, head_dim, n_tokens)
        q, k, v = qkv.transpose(-2, -1).unbind(1)  # each (batch, n_heads, n_tokens, head_dim)
        heads = self.attend_nearby(q, k, v)  # (batch, n_heads, n_tokens, head_dim)
        return heads.transpose(-2, -1).flatten(1, 2)  # (batch, embed_dim, n_tokens)

    def attend_to_itself(self, tokens: Tokens) -> Tokens:
        """Take every token's own value: softmax gives the only weight of its window the value 1."""
        embed_dim = tokens.shape[1]
        values = pointwise(tokens, self.in_proj_weight[2 * embed_dim :], self.in_proj_bias[2 * embed_dim :])
        drop_prob = self.attend_nearby.drop_prob
        if not self.training or drop_prob == 0.0:
            return values
        weights = torch.ones_like(values[:, :N_HEADS])  # (batch, n_heads, n_tokens)
        weights = F.dropout(weights, drop_prob).unsqueeze(2)  # (batch, n_heads, 1, n_tokens)
        return (values.unflatten(1, (N_HEADS, -1)) * weights).flatten(1, 2)  # (batch, embed_dim, n_tokens)
