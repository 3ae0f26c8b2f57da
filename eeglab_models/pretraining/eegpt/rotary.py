"""Transformers that know time: EEGPT's predictor and reconstructor, which only pretraining needs.

Source: Wang et al. (2024), EEGPT: pretrained transformer for universal and reliable representation of EEG
signals, NeurIPS, section 2.2; Su et al. (2024), RoFormer: enhanced transformer with rotary position
embedding, Neurocomputing, section 3.2. Shapes use these names throughout:

    batch             windows in a batch
    n_patches         moments of a window
    n_visible         moments that the student saw
    n_summary_tokens  tokens that summarise a moment
    n_targets         patches of a window to reconstruct
    n_values          values that describe a patch
    n_tokens          tokens of a sequence
    embed_dim         width of a token
    head_dim          width of one attention head
    n_frequencies     pairs of features that turn with time
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from eeglab_models.models.attention import Attend
from eeglab_models.models.eegpt import FeedForward
from eeglab_models.models.fourier import at_least_single

Steps = Int[Tensor, " n_steps"]
Tokens = Float[Tensor, "batch n_tokens embed_dim"]
Angles = Float[Tensor, "n_tokens n_frequencies"]
Heads = Float[Tensor, "*dims n_tokens head_dim"]
SeenSummary = Float[Tensor, "batch n_visible n_summary_tokens embed_dim"]
Summary = Float[Tensor, "batch n_patches n_summary_tokens embed_dim"]


class Predictor(nn.Module):
    """Complete the sequence of summary tokens: say what the hidden moments are about, from the others."""

    def __init__(
        self,
        embed_dim: int,
        n_heads: int,
        hidden_dim: int,
        n_layers: int,
        n_summary_tokens: int,
        init_std: float = 0.02,
    ) -> None:
        super().__init__()
        self.predictor_embed = nn.Linear(embed_dim, embed_dim)
        self.mask_token = nn.Parameter(torch.empty(1, 1, n_summary_tokens, embed_dim))
        self.time_embed = TimeEmbed(embed_dim // n_heads)
        self.predictor_blocks = stack_layers(n_layers, embed_dim, n_heads, hidden_dim)
        self.predictor_norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.predictor_proj = nn.Linear(embed_dim, embed_dim)
        reset_parameters(self, self.predictor_blocks, init_std)

    def forward(self, summary: SeenSummary, steps: Steps, n_patches: int) -> Summary:
        """Predict the summary tokens of all `n_patches` moments; `summary` is about those in `steps`."""
        batch, _, n_summary_tokens, _ = summary.shape
        seen = self.predictor_embed(summary).to(self.mask_token.dtype)
        tokens = self.mask_token.expand(batch, n_patches, -1, -1).index_copy(1, steps, seen)
        # tokens: (batch, n_patches, n_summary_tokens, embed_dim)
        tokens = tokens.flatten(1, 2)  # (batch, n_tokens, embed_dim)
        angles = self.time_embed(list_moments(n_patches, n_summary_tokens, steps.device))
        for block in self.predictor_blocks:
            tokens = block(tokens, angles)
        predicted = self.predictor_proj(self.predictor_norm(tokens))
        return predicted.unflatten(1, (n_patches, n_summary_tokens))
        # (batch, n_patches, n_summary_tokens, embed_dim)


class Reconstructor(nn.Module):
    """Turn summary tokens back into patches: one query for every patch, which its channel and time name."""

    def __init__(
        self,
        embed_dim: int,
        n_heads: int,
        hidden_dim: int,
        n_layers: int,
        n_channel_names: int,
        n_values: int,
        init_std: float = 0.02,
    ) -> None:
        super().__init__()
        self.reconstructor_embed = nn.Linear(embed_dim, embed_dim)
        self.mask_token = nn.Parameter(torch.empty(1, 1, embed_dim))
        self.chan_embed = nn.Embedding(n_channel_names, embed_dim)
        self.time_embed = TimeEmbed(embed_dim // n_heads)
        self.reconstructor_blocks = stack_layers(n_layers, embed_dim, n_heads, hidden_dim)
        self.reconstructor_norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.reconstructor_proj = nn.Linear(embed_dim, n_values)
        reset_parameters(self, self.reconstructor_blocks, init_std)

    def forward(
        self, mixed: Summary, steps: Int[Tensor, " n_targets"], chans_id: Int[Tensor, " n_targets"]
    ) -> Float[Tensor, "batch n_targets n_values"]:
        """Reconstruct the patches of channels `chans_id` (rows of the embedding) in the moments `steps`."""
        batch, n_patches, n_summary_tokens, _ = mixed.shape
        context = self.reconstructor_embed(mixed).flatten(1, 2)
        # context: (batch, n_patches * n_summary_tokens, embed_dim)
        queries = (self.mask_token + self.chan_embed(chans_id)).expand(batch, -1, -1)
        # queries: (batch, n_targets, embed_dim)
        tokens = torch.cat([context, queries], dim=1)  # (batch, n_tokens, embed_dim)
        context_steps = list_moments(n_patches, n_summary_tokens, steps.device)
        angles = self.time_embed(torch.cat([context_steps, steps]))  # (n_tokens, n_frequencies)
        for block in self.reconstructor_blocks:
            tokens = block(tokens, angles)
        queries = tokens[:, context.shape[1] :]  # (batch, n_targets, embed_dim)
        return self.reconstructor_proj(self.reconstructor_norm(queries))  # (batch, n_targets, n_values)


def stack_layers(n_layers: int, embed_dim: int, n_heads: int, hidden_dim: int) -> nn.ModuleList:
    """Build the layers of a transformer."""
    return nn.ModuleList(RotaryLayer(embed_dim, n_heads, hidden_dim) for _ in range(n_layers))


class TimeEmbed(nn.Module):
    """Angles that tell when a token is: the first half of a head's features turns with time, in pairs."""

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        if head_dim % 4:
            raise ValueError(
                "Half of a head's features turn in pairs, so head_dim must be a multiple of 4, got "
                f"{head_dim}. The published models have 16 to 64."
            )
        n_frequencies = head_dim // 4
        # Stored but not trained, as in published weights.
        self.register_buffer("freqs", 10000.0 ** -(torch.arange(n_frequencies) / n_frequencies))

    def forward(self, steps: Steps) -> Float[Tensor, "n_steps n_frequencies"]:
        """Find the angles of tokens in the moments `steps`."""
        return steps[:, None] / 2 * self.freqs  # (n_steps, n_frequencies)


class RotaryLayer(nn.Module):
    """One pre-norm transformer layer whose attention knows how far apart two tokens are in time."""

    def __init__(self, embed_dim: int, n_heads: int, hidden_dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_dim, eps=1e-6)
        self.attn = RotaryAttention(embed_dim, n_heads)
        self.norm2 = nn.LayerNorm(embed_dim, eps=1e-6)
        self.mlp = FeedForward(embed_dim, hidden_dim, drop_prob=0.0)

    def forward(self, tokens: Tokens, angles: Angles) -> Tokens:
        """Refine the tokens; the shape stays."""
        tokens = tokens + self.attn(self.norm1(tokens), angles)
        return tokens + self.mlp(self.norm2(tokens))


class RotaryAttention(nn.Module):
    """Multi-head self-attention whose queries and keys are turned by the angles of their tokens."""

    def __init__(self, embed_dim: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim)
        self.attend = Attend()
        self.proj = nn.Linear(embed_dim, embed_dim)

    def forward(self, tokens: Tokens, angles: Angles) -> Tokens:
        """Let every token read from all."""
        qkv = self.qkv(tokens).unflatten(-1, (3, self.n_heads, -1))  # (batch, n_tokens, 3, n_heads, head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (batch, n_heads, n_tokens, head_dim)
        heads = self.attend(rotate(q, angles), rotate(k, angles), v)
        # heads: (batch, n_heads, n_tokens, head_dim)
        return self.proj(heads.transpose(1, 2).flatten(2))  # (batch, n_tokens, embed_dim)


def rotate(heads: Heads, angles: Angles) -> Heads:
    """Turn neighbouring features, two by two, by the angles of their token; the last features stay."""
    n_turned = 2 * angles.shape[-1]
    pairs = at_least_single(heads[..., :n_turned]).unflatten(-1, (-1, 2))
    # pairs: (*dims, n_tokens, n_frequencies, 2)
    turned = torch.view_as_complex(pairs) * torch.polar(torch.ones_like(angles), angles)
    turned = torch.view_as_real(turned).flatten(-2).to(heads.dtype)  # (*dims, n_tokens, n_turned)
    return torch.cat([turned, heads[..., n_turned:]], dim=-1)  # (*dims, n_tokens, head_dim)


def list_moments(n_patches: int, n_summary_tokens: int, device: torch.device) -> Int[Tensor, " n_tokens"]:
    """List the moment of every summary token of a sequence."""
    return torch.arange(n_patches, device=device).repeat_interleave(n_summary_tokens)


@torch.no_grad()
def reset_parameters(network: Predictor | Reconstructor, blocks: nn.ModuleList, std: float) -> None:
    """Draw initial weights; deeper layers begin as smaller changes to their tokens."""
    nn.init.trunc_normal_(network.mask_token, std=std)
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=std)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=std)
    for number, block in enumerate(blocks, start=1):
        block.attn.proj.weight /= (2 * number) ** 0.5
        block.mlp.fc2.weight /= (2 * number) ** 0.5
