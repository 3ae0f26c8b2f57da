"""Attention with dropped weights on processors, in memory linear in the number of tokens.

Torch has no fused kernel for dropout there; without this one a training step of EEGDINO takes 3.5 times as
much memory. It can go once ``F.scaled_dot_product_attention`` drops weights on processors without holding
them all. Scores exist block by block, and the backward pass computes them again, as in Dao et al. (2022),
FlashAttention, appendix B. Which weights are dropped is computed again too: each is a hash of two random
numbers, one of its query and one of its key, as in Steele et al. (2014), Fast splittable pseudorandom
number generators, section 3. Shapes use these names throughout:

    batch      items in a batch
    n_heads    attention heads
    n_queries  tokens that read
    n_keys     tokens that are read
    head_dim   width of one head
    n_maps     heads of all items: batch * n_heads
    n_rows     queries of one block
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from eeglab_models.models.fourier import at_least_single

# Scores that exist at a time: few enough to stay in a processor's cache, where they cost least.
N_SCORES_MOST = 2**19
# Hashes of attention weights, one per weight, lie below this.
N_HASHES = 2**31


def attend_with_dropout(
    q: Float[Tensor, "batch n_heads n_queries head_dim"],
    k: Float[Tensor, "batch n_heads n_keys head_dim"],
    v: Float[Tensor, "batch n_heads n_keys head_dim"],
    drop_prob: float,
) -> Float[Tensor, "batch n_heads n_queries head_dim"]:
    """Attend, and divide the weights that are not dropped by the probability of keeping one."""
    n_kept = min(round((1.0 - drop_prob) * N_HASHES), N_HASHES - 1)
    return dropout_attention(q, k, v, draw_bits(q), draw_bits(k), n_kept)


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
    return heads.mT.reshape(q.shape).contiguous()  # (batch, n_heads, n_queries, head_dim)


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
    grads = (grad_q * scale).mT, grad_k.mT.to(k.dtype), grad_v.mT.to(v.dtype)  # (n_maps, n_tokens, head_dim)
    # Compilers were told of contiguous results.
    return tuple(x.reshape(like.shape).contiguous() for x, like in zip(grads, (q, k, v), strict=True))


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
