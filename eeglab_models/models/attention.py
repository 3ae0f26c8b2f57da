"""Attention without parameters: every token to all others, and every token to its neighbours.

Shapes use these names throughout:

    batch     items in a batch
    n_heads   attention heads
    n_tokens  tokens of a sequence
    head_dim  width of one head
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn


class Attend(nn.Module):
    """Scaled dot-product attention.

    It has no parameters, so it adds no key to any ``state_dict``.

    Parameters
    ----------
    drop_prob : float
        Probability of dropping an attention weight while training.

    References
    ----------
    Vaswani et al. (2017), Attention is all you need, equation 1.
    """

    def __init__(self, drop_prob: float = 0.0) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(
        self,
        q: Float[Tensor, "batch n_heads n_queries head_dim"],
        k: Float[Tensor, "batch n_heads n_keys head_dim"],
        v: Float[Tensor, "batch n_heads n_keys head_dim"],
    ) -> Float[Tensor, "batch n_heads n_queries head_dim"]:
        """Average the values `v` by how well each key fits each query."""
        drop_prob = self.drop_prob if self.training else 0.0
        return F.scaled_dot_product_attention(q, k, v, dropout_p=drop_prob)


def banded_attention(
    q: Float[Tensor, "batch n_heads n_tokens head_dim"],
    k: Float[Tensor, "batch n_heads n_tokens head_dim"],
    v: Float[Tensor, "batch n_heads n_tokens head_dim"],
    window_size: int,
    drop_prob: float = 0.0,
) -> Float[Tensor, "batch n_heads n_tokens head_dim"]:
    """Attend to the `window_size` nearest tokens only, in memory linear in `n_tokens`.

    Blocks of queries meet the keys of their block and of half a window on either side, so no
    ``n_tokens x n_tokens`` tensor ever exists.

    Parameters
    ----------
    q, k, v : torch.Tensor, shape (batch, n_heads, n_tokens, head_dim)
        Queries, keys and values.
    window_size : int
        Number of neighbouring tokens, the token itself included: odd. Windows end at the ends of the
        sequence.
    drop_prob : float
        Probability of dropping an attention weight; pass 0 outside training.

    Returns
    -------
    heads : torch.Tensor, shape (batch, n_heads, n_tokens, head_dim)
        Averaged values.

    Raises
    ------
    ValueError
        If `window_size` is not a positive odd number.
    """
    check_window_size(window_size)
    batch, n_heads, n_tokens, _ = q.shape
    half = window_size // 2
    # Blocks shorter than this cost more in overhead than they save in masked products.
    block_size = min(n_tokens, max(window_size, 64))
    n_padding = -n_tokens % block_size
    span = block_size + 2 * half

    def spans(tokens: Tensor) -> Tensor:
        padded = F.pad(
            tokens, (0, 0, half, half + n_padding)
        )  # (batch, n_heads, n_padded + 2 half, head_dim)
        blocks = padded.unfold(2, span, block_size)  # (batch, n_heads, n_blocks, head_dim, span)
        return blocks.transpose(-2, -1).flatten(0, 1)  # (batch * n_heads, n_blocks, span, head_dim)

    queries = F.pad(q, (0, 0, 0, n_padding))  # (batch, n_heads, n_padded, head_dim)
    queries = queries.unflatten(2, (-1, block_size))  # (batch, n_heads, n_blocks, block_size, head_dim)
    queries = queries.flatten(0, 1)  # (batch * n_heads, n_blocks, block_size, head_dim)
    mask = band_mask(n_tokens, block_size, half, q.device)  # (n_blocks, block_size, span)
    heads = F.scaled_dot_product_attention(queries, spans(k), spans(v), attn_mask=mask, dropout_p=drop_prob)
    heads = heads.unflatten(0, (batch, n_heads))  # (batch, n_heads, n_blocks, block_size, head_dim)
    return heads.flatten(2, 3)[:, :, :n_tokens]  # (batch, n_heads, n_tokens, head_dim)


def check_window_size(window_size: int) -> None:
    """Refuse an attention window that has no middle.

    Parameters
    ----------
    window_size : int
        Number of neighbouring tokens, the token itself included.

    Raises
    ------
    ValueError
        If `window_size` is not a positive odd number.
    """
    if window_size < 1 or window_size % 2 == 0:
        raise ValueError(
            f"An attention window is centred on its token, so its size must be odd and positive, "
            f"got {window_size}. Pass {max(window_size + 1, 1)}."
        )


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
