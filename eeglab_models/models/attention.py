"""Attention without parameters: every token to all others, and every token to its neighbours.

Shapes use these names throughout:

    batch      items in a batch
    n_heads    attention heads
    n_queries  tokens that read
    n_keys     tokens that are read
    n_tokens   tokens of a sequence whose tokens read each other
    head_dim   width of one head
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from eeglab_models.models.banded_attention import banded_attention, check_window_size
from eeglab_models.models.dropout_attention import attend_with_dropout
from eeglab_models.models.fourier import at_least_single

__all__ = ["Attend"]


class Attend(nn.Module):
    """Scaled dot-product attention, without parameters.

    Parameters
    ----------
    drop_prob : float
        Probability of dropping an attention weight while training.

    Attributes
    ----------
    recorder : callable or None
        Is given the weights of every call in evaluation mode, shape (batch, n_heads, n_queries, n_keys).
        None, the default, computes no weights: fused kernels never hold them.

    References
    ----------
    Vaswani et al. (2017), Attention is all you need, equation 1.
    """

    def __init__(self, drop_prob: float = 0.0) -> None:
        super().__init__()
        self.drop_prob = drop_prob
        self.recorder: Callable[[Tensor], None] | None = None

    @property
    def recording(self) -> bool:
        """Whether the next call tells its weights."""
        return self.recorder is not None and not self.training

    def forward(
        self,
        q: Float[Tensor, "batch n_heads n_queries head_dim"],
        k: Float[Tensor, "batch n_heads n_keys head_dim"],
        v: Float[Tensor, "batch n_heads n_keys head_dim"],
    ) -> Float[Tensor, "batch n_heads n_queries head_dim"]:
        """Average the values by how well each key fits each query.

        Parameters
        ----------
        q : torch.Tensor, shape (batch, n_heads, n_queries, head_dim)
            Queries.
        k, v : torch.Tensor, shape (batch, n_heads, n_keys, head_dim)
            Keys and values.

        Returns
        -------
        heads : torch.Tensor, shape (batch, n_heads, n_queries, head_dim)
            Averaged values.
        """
        if self.recording:
            return attend_and_record(q, k, v, self.recorder)
        drop_prob = self.drop_prob if self.training else 0.0
        if drop_prob > 0.0 and q.device.type == "cpu":
            return attend_with_dropout(q, k, v, drop_prob)
        return F.scaled_dot_product_attention(q, k, v, dropout_p=drop_prob)


class AttendNearby(Attend):
    """Scaled dot-product attention of every token to itself and its neighbours; windows are odd."""

    def __init__(self, window_size: int, drop_prob: float = 0.0) -> None:
        super().__init__(drop_prob)
        check_window_size(window_size)
        self.window_size = window_size

    def forward(
        self,
        q: Float[Tensor, "batch n_heads n_tokens head_dim"],
        k: Float[Tensor, "batch n_heads n_tokens head_dim"],
        v: Float[Tensor, "batch n_heads n_tokens head_dim"],
    ) -> Float[Tensor, "batch n_heads n_tokens head_dim"]:
        """Average the values in the window of every token."""
        n_tokens = q.shape[2]
        if self.recording:
            position = torch.arange(n_tokens, device=q.device)
            near = (position[:, None] - position).abs() <= self.window_size // 2  # (n_tokens, n_tokens)
            return attend_and_record(q, k, v, self.recorder, near)
        # All windows from this width on hold the whole sequence.
        window_size = min(self.window_size, 2 * n_tokens - 1)
        return banded_attention(q, k, v, window_size, self.drop_prob if self.training else 0.0)


def attend_and_record(
    q: Float[Tensor, "batch n_heads n_queries head_dim"],
    k: Float[Tensor, "batch n_heads n_keys head_dim"],
    v: Float[Tensor, "batch n_heads n_keys head_dim"],
    recorder: Callable[[Tensor], None],
    mask: Bool[Tensor, "n_queries n_keys"] | None = None,
) -> Float[Tensor, "batch n_heads n_queries head_dim"]:
    """Attend without a fused kernel, and tell `recorder` the weights; `mask` is true where a query looks."""
    scores = at_least_single(q * q.shape[-1] ** -0.5 @ k.mT)  # (batch, n_heads, n_queries, n_keys)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    weights = scores.softmax(dim=-1)
    recorder(weights)
    return weights.to(v.dtype) @ v  # (batch, n_heads, n_queries, head_dim)
