"""Attention of every token to its neighbours, in memory linear in the number of tokens.

Blocks of queries meet the keys of their block and of half a window on either side, so no
``n_tokens x n_tokens`` tensor ever exists. Shapes use these names throughout:

    batch       items in a batch
    n_heads     attention heads
    n_tokens    tokens of a sequence
    head_dim    width of one head
    block_size  queries of one block
    span        keys that a block meets: block_size + 2 * half
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


def banded_attention(
    q: Float[Tensor, "batch n_heads n_tokens head_dim"],
    k: Float[Tensor, "batch n_heads n_tokens head_dim"],
    v: Float[Tensor, "batch n_heads n_tokens head_dim"],
    window_size: int,
    drop_prob: float = 0.0,
) -> Float[Tensor, "batch n_heads n_tokens head_dim"]:
    """Attend to the `window_size` nearest tokens only, in memory linear in `n_tokens`."""
    check_window_size(window_size)
    batch, n_heads, n_tokens, _ = q.shape
    half = window_size // 2
    # Blocks shorter than this cost more in overhead than they save in masked products.
    block_size = min(n_tokens, max(window_size, 64))
    n_padding = -n_tokens % block_size
    span = block_size + 2 * half

    def spans(tokens: Tensor) -> Tensor:
        # tokens become (batch, n_heads, n_padded + 2 * half, head_dim)
        padded = F.pad(tokens, (0, 0, half, half + n_padding))
        blocks = padded.unfold(2, span, block_size)  # (batch, n_heads, n_blocks, head_dim, span)
        return blocks.transpose(-2, -1).flatten(0, 1)  # (batch * n_heads, n_blocks, span, head_dim)

    queries = F.pad(q, (0, 0, 0, n_padding))  # (batch, n_heads, n_padded, head_dim)
    queries = queries.unflatten(2, (-1, block_size))  # (batch, n_heads, n_blocks, block_size, head_dim)
    queries = queries.flatten(0, 1)  # (batch * n_heads, n_blocks, block_size, head_dim)
    mask = band_mask(n_tokens, block_size, half, q.device)  # (n_blocks, block_size, span)
    heads = F.scaled_dot_product_attention(queries, spans(k), spans(v), attn_mask=mask, dropout_p=drop_prob)
    heads = heads.unflatten(0, (batch, n_heads))  # (batch, n_heads, n_blocks, block_size, head_dim)
    return heads.flatten(2, 3)[:, :, :n_tokens]  # (batch, n_heads, n_tokens, head_dim)


def band_mask(
    n_tokens: int, block_size: int, half: int, device: torch.device
) -> Bool[Tensor, "n_blocks block_size span"]:
    """Tell for every block which query may look at which key of the block's span."""
    query = torch.arange(n_tokens + -n_tokens % block_size, device=device)
    query = query.view(-1, block_size, 1)  # (n_blocks, block_size, 1)
    key = query[:, :1] - half + torch.arange(block_size + 2 * half, device=device)  # (n_blocks, 1, span)
    inside = (key >= 0) & (key < n_tokens)  # (n_blocks, 1, span)
    near = (query - key).abs() <= half  # (n_blocks, block_size, span)
    # Queries that only fill the last block see everything: a row without a key would become NaN and
    # reach the gradients of real keys.
    return (near & inside) | (query >= n_tokens)  # (n_blocks, block_size, span)


def check_window_size(window_size: int) -> None:
    """Refuse an attention window that has no middle."""
    if window_size < 1 or window_size % 2 == 0:
        raise ValueError(
            f"An attention window is centred on its token, so its size must be odd and positive, "
            f"got {window_size}. Pass {max(window_size + 1, 1)}."
        )
