"""The transformers of CodeBrain's tokenizer: an encoder of patches, and what its decoders share with it.

Source: Ma et al. (2026), CodeBrain, ICLR, section 3.2; Jiang et al. (2024), LaBraM, ICLR, section 2; Bao et
al. (2022), BEiT, section 2.5: initial weights. Shapes use these names throughout:

    batch       windows in a batch
    n_chans     EEG channels
    n_patches   patches of one channel
    patch_size  samples of one patch
    n_steps     steps of the first convolution in a patch
    n_tokens    patches of a window: n_chans * n_patches
    embed_dim   width of a token
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from eeglab_models.models.eegdino import EncoderLayer
from eeglab_models.models.patching import amplitude_spectrum

Patches = Float[Tensor, "batch n_chans n_patches patch_size"]
PatchTokens = Float[Tensor, "batch n_chans n_patches embed_dim"]


class NeuralEncoder(nn.Module):
    """Turn every patch into a token that knows the whole window."""

    def __init__(
        self,
        n_chans: int,
        n_patches: int,
        patch_size: int,
        embed_dim: int,
        n_layers: int,
        n_heads: int,
        conv_stride: int,
    ) -> None:
        super().__init__()
        self.patch_embedding = TFConv(patch_size, embed_dim, conv_stride)
        self.transformer = Transformer(n_chans, n_patches, embed_dim, n_layers, n_heads)

    def forward(self, patches: Patches) -> PatchTokens:
        """Embed the patches, then relate them."""
        return self.transformer(self.patch_embedding(patches))  # (batch, n_chans, n_patches, embed_dim)


class TFConv(nn.Module):
    """Embed the samples and the amplitudes of a patch side by side."""

    def __init__(self, patch_size: int, embed_dim: int, stride: int) -> None:
        super().__init__()
        n_steps = -(-patch_size // stride)
        n_maps = embed_dim // 2 // n_steps
        if embed_dim % 2 or n_maps * n_steps != embed_dim // 2 or n_maps < 1:
            raise ValueError(
                f"Half of embed_dim must be a multiple of the {n_steps} steps that conv_stride={stride} "
                f"makes of a patch of {patch_size} samples, got embed_dim={embed_dim}. "
                f"Pass embed_dim={2 * n_steps * max(n_maps, 1)}, or another stride."
            )
        n_groups = math.gcd(4, n_maps)
        # Windows of the first convolution overlap by half, whatever its stride.
        first = nn.Conv2d(1, n_maps, (1, 2 * stride - 1), (1, stride), (0, stride - 1))
        layers: list[nn.Module] = [first, nn.GroupNorm(n_groups, n_maps), nn.GELU()]
        for _ in range(2):
            layers.append(nn.Conv2d(n_maps, n_maps, (1, 3), padding=(0, 1)))
            layers += [nn.GroupNorm(n_groups, n_maps), nn.GELU()]
        self.time_branch = nn.Sequential(*layers)
        self.frequency_branch = nn.Sequential(nn.Linear(patch_size // 2 + 1, embed_dim // 2), nn.GELU())

    def forward(self, patches: Patches) -> PatchTokens:
        """Embed the patches."""
        n_chans, patch_size = patches.shape[1], patches.shape[3]
        rows = patches.flatten(1, 2).unsqueeze(1)  # (batch, 1, n_chans * n_patches, patch_size)
        maps = self.time_branch(rows)  # (batch, n_maps, n_chans * n_patches, n_steps)
        maps = maps.unflatten(2, (n_chans, -1))  # (batch, n_maps, n_chans, n_patches, n_steps)
        time = maps.permute(0, 2, 3, 1, 4).flatten(3)  # (batch, n_chans, n_patches, embed_dim / 2)
        # Not divided by the number of samples: a linear layer with small weights has to notice them.
        amplitudes = amplitude_spectrum(patches) * patch_size  # (batch, n_chans, n_patches, n_freqs)
        frequency = self.frequency_branch(amplitudes.to(time.dtype))
        return torch.cat([time, frequency], dim=-1)  # (batch, n_chans, n_patches, embed_dim)


class Transformer(nn.Module):
    """Pre-norm transformer over the patches of a window, which know their channel and their time."""

    def __init__(self, n_chans: int, n_patches: int, embed_dim: int, n_layers: int, n_heads: int) -> None:
        super().__init__()
        # The class token needs no place in the tables: it would be the sum of two learned vectors.
        self.class_token = nn.Parameter(torch.empty(1, 1, embed_dim))
        self.channel_table = nn.Parameter(torch.empty(n_chans, 1, embed_dim))
        self.time_table = nn.Parameter(torch.empty(n_patches, embed_dim))
        for table in (self.class_token, self.channel_table, self.time_table):
            nn.init.trunc_normal_(table, std=0.02)
        self.layers = nn.ModuleList(
            EncoderLayer(embed_dim, n_heads, 4 * embed_dim, nn.GELU, 0.0) for _ in range(n_layers)
        )
        self.fc_norm = nn.LayerNorm(embed_dim)

    def forward(self, tokens: PatchTokens) -> PatchTokens:
        """Relate all tokens; shorter windows use the first places in time."""
        n_chans, n_patches = tokens.shape[1:3]
        tokens = tokens + self.channel_table + self.time_table[:n_patches]
        summary = self.class_token.expand(len(tokens), -1, -1)  # (batch, 1, embed_dim)
        sequence = torch.cat([summary, tokens.flatten(1, 2)], dim=1)  # (batch, 1 + n_tokens, embed_dim)
        for layer in self.layers:
            sequence = layer(sequence)
        tokens = self.fc_norm(sequence[:, 1:])  # (batch, n_tokens, embed_dim)
        return tokens.unflatten(1, (n_chans, n_patches))  # (batch, n_chans, n_patches, embed_dim)


def initialise(module: nn.Module) -> None:
    """Give one module its initial weights; meant for ``module.apply``, which begins with the innermost."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LayerNorm):
        module.eps = 1e-6
    elif isinstance(module, Transformer):
        for depth, layer in enumerate(module.layers, start=1):
            for last in (layer.attn.proj, layer.mlp.fc2):
                last.weight.data.div_(math.sqrt(2 * depth))
