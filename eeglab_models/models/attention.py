"""Attention without parameters: every token to all others, and every token to its neighbours.

Shapes use these names throughout:

    batch     items in a batch
    n_heads   attention heads
    n_tokens  tokens of a sequence
    head_dim  width of one head
    n_maps    heads of all items: batch * n_heads
"""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from eeglab_models.models.fourier import at_least_single

# Scores that exist at a time: few enough to stay in a processor's cache, where they cost least.
N_SCORES_MOST = 2**19
# Hashes of attention weights, one per weight, lie below this.
N_HASHES = 2**31


class Attend(nn.Module):
    """Scaled dot-product attention.

    It has no parameters, so it adds no key to any ``state_dict``.

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
        """Average the values `v` by how well each key fits each query."""
        if self.recording:
            return attend_and_record(q, k, v, self.recorder)
        drop_prob = self.drop_prob if self.training else 0.0
        if drop_prob > 0.0 and q.device.type == "cpu":
            return attend_with_dropout(q, k, v, drop_prob)
        return F.scaled_dot_product_attention(q, k, v, dropout_p=drop_prob)


class AttendNearby(Attend):
    """Scaled dot-product attention of every token to its neighbours.

    Parameters
    ----------
    window_size : int
        Number of neighbouring tokens, the token itself included: odd. Windows end at the ends of the
        sequence.
    drop_prob : float
        Probability of dropping an attention weight while training.

    Raises
    ------
    ValueError
        If `window_size` is not a positive odd number.
    """

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


def attend_with_dropout(
    q: Float[Tensor, "batch n_heads n_queries head_dim"],
    k: Float[Tensor, "batch n_heads n_keys head_dim"],
    v: Float[Tensor, "batch n_heads n_keys head_dim"],
    drop_prob: float,
) -> Float[Tensor, "batch n_heads n_queries head_dim"]:
    """Attend with dropped weights, in memory linear in the number of tokens.

    Torch has no fused kernel for dropout on processors. Here scores exist block by block, and the backward
    pass computes them again. Which weights are dropped is computed again too: each is a hash of two random
    numbers, one of its query and one of its key, so nothing as large as an attention map is drawn or kept.

    Parameters
    ----------
    q : torch.Tensor, shape (batch, n_heads, n_queries, head_dim)
        Queries.
    k, v : torch.Tensor, shape (batch, n_heads, n_keys, head_dim)
        Keys and values.
    drop_prob : float
        Probability of dropping an attention weight. The others are divided by the probability of keeping
        one.

    Returns
    -------
    heads : torch.Tensor, shape (batch, n_heads, n_queries, head_dim)
        Averaged values.

    References
    ----------
    Dao et al. (2022), FlashAttention, appendix B: blocks, and masks drawn twice. Steele et al. (2014), Fast
    splittable pseudorandom number generators, section 3: hashes as random numbers.
    """
    n_kept = min(round((1.0 - drop_prob) * N_HASHES), N_HASHES - 1)
    query_bits = draw_bits(q)  # (n_maps, n_queries)
    key_bits = draw_bits(k)  # (n_maps, n_keys)
    return dropout_attention(q, k, v, query_bits, key_bits, n_kept)  # (batch, n_heads, n_queries, head_dim)


def draw_bits(tokens: Float[Tensor, "batch n_heads n_tokens head_dim"]) -> Int[Tensor, "n_maps n_tokens"]:
    """Draw 32 random bits for every token of every map."""
    shape = (tokens.shape[0] * tokens.shape[1], tokens.shape[2])
    return torch.randint(-(2**31), 2**31, shape, dtype=torch.int32, device=tokens.device)


# Compilers take the two passes as they are, instead of unrolling their loops.
@torch.library.custom_op("eeglab_models::dropout_attention", mutates_args=())
def dropout_attention(
    q: Tensor, k: Tensor, v: Tensor, query_bits: Tensor, key_bits: Tensor, n_kept: int
) -> Tensor:
    """Attend block by block; a weight stays if its hash is below `n_kept`."""
    queries, keys, values = features_first(q * q.shape[-1] ** -0.5, k, v)
    heads = torch.empty_like(queries)  # (n_maps, head_dim, n_queries)
    for maps, rows in cut_blocks(*query_bits.shape, key_bits.shape[1]):
        weights = weigh(queries[maps, :, rows], keys[maps])  # (n_maps, n_rows, n_keys)
        kept = drop(weights, query_bits[maps, rows], key_bits[maps], n_kept)
        heads[maps, :, rows] = values[maps] @ kept.to(v.dtype).mT
    heads = heads * (N_HASHES / max(n_kept, 1))
    return heads.mT.reshape(q.shape)  # (batch, n_heads, n_queries, head_dim)


@torch.library.custom_op("eeglab_models::dropout_attention_backward", mutates_args=())
def dropout_attention_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, query_bits: Tensor, key_bits: Tensor, n_kept: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the queries, keys and values."""
    scale = q.shape[-1] ** -0.5
    grad, queries, keys, values = features_first(grad * (N_HASHES / max(n_kept, 1)), q * scale, k, v)
    grad_q = torch.empty_like(queries)  # (n_maps, head_dim, n_queries)
    grad_k, grad_v = (at_least_single(torch.zeros_like(x)) for x in (keys, values))
    for maps, rows in cut_blocks(*query_bits.shape, key_bits.shape[1]):
        weights = weigh(queries[maps, :, rows], keys[maps])  # (n_maps, n_rows, n_keys)
        kept = drop(weights, query_bits[maps, rows], key_bits[maps], n_kept)
        grad_v[maps] += grad[maps, :, rows] @ kept.to(v.dtype)
        flow = (grad[maps, :, rows].mT @ values[maps]) * kept  # (n_maps, n_rows, n_keys)
        flow -= weights.mul_(flow.sum(dim=-1, keepdim=True))  # what passes the softmax
        flow = flow.to(q.dtype)
        grad_q[maps, :, rows] = keys[maps] @ flow.mT
        grad_k[maps] += queries[maps, :, rows] @ flow
    grad_q = (grad_q * scale).mT.reshape(q.shape)  # (batch, n_heads, n_queries, head_dim)
    return grad_q, grad_k.mT.reshape(k.shape).to(k.dtype), grad_v.mT.reshape(v.shape).to(v.dtype)


@dropout_attention.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, query_bits: Tensor, key_bits: Tensor, n_kept: int) -> Tensor:
    return q.new_empty(q.shape)


@dropout_attention_backward.register_fake
def _(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, query_bits: Tensor, key_bits: Tensor, n_kept: int
) -> tuple[Tensor, Tensor, Tensor]:
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def remember(ctx, inputs, output) -> None:
    """Keep for the backward pass what the forward pass was given, and nothing it computed."""
    *tensors, ctx.n_kept = inputs
    ctx.save_for_backward(*tensors)


def differentiate(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Backward pass of `dropout_attention`."""
    return *dropout_attention_backward(grad, *ctx.saved_tensors, ctx.n_kept), None, None, None


dropout_attention.register_autograd(differentiate, setup_context=remember)


def features_first(*tensors: Tensor) -> list[Float[Tensor, "n_maps head_dim n_tokens"]]:
    """Join items and heads; few rows of features multiply faster than few columns."""
    return [tensor.flatten(0, 1).mT for tensor in tensors]  # each (n_maps, head_dim, n_tokens)


def cut_blocks(n_maps: int, n_queries: int, n_keys: int) -> Iterator[tuple[slice, slice]]:
    """Cut attention maps into blocks of few scores: whole maps as far as possible, else a map's rows."""
    n_rows = min(n_queries, max(N_SCORES_MOST // n_keys, 1))
    n_together = max(N_SCORES_MOST // (n_rows * n_keys), 1)
    for first_map in range(0, n_maps, n_together):
        for first_row in range(0, n_queries, n_rows):
            yield slice(first_map, first_map + n_together), slice(first_row, first_row + n_rows)


def weigh(
    queries: Float[Tensor, "n_maps head_dim n_rows"], keys: Float[Tensor, "n_maps head_dim n_keys"]
) -> Float[Tensor, "n_maps n_rows n_keys"]:
    """Weights of a block, before any is dropped."""
    return at_least_single(queries.mT @ keys).softmax(dim=-1)  # (n_maps, n_rows, n_keys)


def drop(
    weights: Float[Tensor, "n_maps n_rows n_keys"],
    query_bits: Int[Tensor, "n_maps n_rows"],
    key_bits: Int[Tensor, "n_maps n_keys"],
    n_kept: int,
) -> Float[Tensor, "n_maps n_rows n_keys"]:
    """Set the weights to zero whose hash is not below `n_kept`."""
    keep = hash_pairs(query_bits, key_bits).sub_(n_kept)  # negative where a weight stays
    # The sign in every bit makes a mask of bits: a product with truth values takes many times as long.
    integer = torch.int64 if weights.dtype == torch.float64 else torch.int32
    keep = keep.bitwise_right_shift_(31).to(integer)
    return keep.bitwise_and_(weights.view(integer)).view(weights.dtype)


def hash_pairs(
    query_bits: Int[Tensor, "n_maps n_rows"], key_bits: Int[Tensor, "n_maps n_keys"]
) -> Int[Tensor, "n_maps n_rows n_keys"]:
    """Hash a query's and a key's random bits into a number from 0 to `N_HASHES` - 1."""
    hashes = query_bits.unsqueeze(-1) + key_bits.unsqueeze(-2)  # (n_maps, n_rows, n_keys)
    shifted = torch.empty_like(hashes)
    for n_bits, factor in ((16, 0x7FEB352D), (15, 0x846CA68B - 2**32)):
        hashes.bitwise_xor_(torch.bitwise_right_shift(hashes, n_bits, out=shifted)).mul_(factor)
    # Shifts copy the sign, so an exclusive or with itself leaves no negative number.
    return hashes.bitwise_xor_(torch.bitwise_right_shift(hashes, 16, out=shifted))


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
