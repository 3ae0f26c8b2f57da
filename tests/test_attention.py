"""Attention without parameters."""

import math

import pytest
import torch
import torch.nn.functional as F

from eeglab_models.models import attention
from eeglab_models.models import dropout_attention as kernel
from eeglab_models.models.attention import Attend
from eeglab_models.models.banded_attention import banded_attention
from eeglab_models.models.dropout_attention import (
    N_HASHES,
    attend_with_dropout,
    draw_bits,
    dropout_attention,
    hash_pairs,
)


def masked_attention(q, k, v, window_size):
    """Attention with the full n x n mask: what the banded form must equal."""
    position = torch.arange(q.shape[2])
    near = (position[:, None] - position).abs() <= window_size // 2
    return F.scaled_dot_product_attention(q, k, v, attn_mask=near)


def test_attention_weighs_keys_by_softmax():
    query = torch.ones(1, 1, 1, 1)
    keys = torch.tensor([0.0, math.log(3)]).view(1, 1, 2, 1)  # softmax: 1/4 and 3/4
    values = torch.tensor([0.0, 1.0]).view(1, 1, 2, 1)

    assert Attend()(query, keys, values).item() == pytest.approx(3 / 4)


# Dropout


@pytest.fixture
def qkv():
    """Seven queries and nine keys for six maps, in double precision."""
    return [torch.randn(2, 3, n, 5, dtype=torch.float64, requires_grad=True) for n in (7, 9, 9)]


@pytest.fixture
def bits(qkv):
    return draw_bits(qkv[0]), draw_bits(qkv[1])


N_KEPT = round(0.7 * N_HASHES)


def plain_dropout_attention(q, k, v, query_bits, key_bits):
    """Drop weights of whole maps: what the form in blocks must equal."""
    keep = (hash_pairs(query_bits, key_bits) < N_KEPT).unflatten(0, q.shape[:2])
    weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(dim=-1)
    return (weights * keep * (N_HASHES / N_KEPT)) @ v


# All maps at a time, two maps, one map, three rows, one row.
@pytest.mark.parametrize("n_scores_most", [2**19, 126, 63, 27, 1])
def test_attention_in_blocks_drops_the_same_weights(qkv, bits, n_scores_most, monkeypatch):
    monkeypatch.setattr(kernel, "N_SCORES_MOST", n_scores_most)

    heads = dropout_attention(*qkv, *bits, N_KEPT)

    expected = plain_dropout_attention(*qkv, *bits)
    torch.testing.assert_close(heads, expected)
    gradients = torch.autograd.grad(heads.square().sum(), qkv)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected.square().sum(), qkv))


def test_gradients_of_dropped_attention_are_those_of_its_slopes(qkv, bits):
    assert torch.autograd.gradcheck(lambda *qkv: dropout_attention(*qkv, *bits, N_KEPT), qkv)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropped_attention_keeps_its_precision(qkv, bits, dtype):
    heads = dropout_attention(*(tensor.to(dtype) for tensor in qkv), *bits, N_KEPT)

    assert heads.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    expected = plain_dropout_attention(*qkv, *bits)
    torch.testing.assert_close(heads.double(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("batch", [1, 2])
def test_dropped_attention_does_what_its_operator_promises(batch):
    # Laid out as a layer's projection gives them: the heads of a token side by side.
    q, k, v = torch.randn(batch, 5, 3, 2, 4).permute(2, 0, 3, 1, 4)
    qkv = [tensor.requires_grad_() for tensor in (q, k, v)]

    torch.library.opcheck(dropout_attention, (*qkv, draw_bits(q), draw_bits(k), N_KEPT))


def sum_of_squares_in_sigmas(sums, n_terms):
    """How far the variance of sums of independent standard variables is from what it should be."""
    return ((sums.square() / n_terms - 1) / math.sqrt(2)).sum().item() / math.sqrt(sums.numel())


@pytest.mark.parametrize("keep_prob", [0.1, 0.5, 0.9])
def test_weights_are_dropped_independently_and_as_often_as_told(keep_prob):
    tokens = torch.empty(8, 4, 256, 1)
    n_kept = round(keep_prob * N_HASHES)
    keep = (hash_pairs(draw_bits(tokens), draw_bits(tokens)) < n_kept).double()

    standard = (keep - keep_prob) / math.sqrt(keep_prob * (1 - keep_prob))  # (32, 256, 256)
    pairs = standard[:, ::2] * standard[:, 1::2]  # two queries, one key
    squares = pairs[:, :, ::2] * pairs[:, :, 1::2]  # two queries, two keys
    neighbours = standard[:, :, ::2] * standard[:, :, 1::2]  # one query, two keys

    for products in (standard, pairs, squares, neighbours):
        assert abs(products.sum().item()) < 4 * math.sqrt(products.numel())
    for axis in (1, 2):
        assert abs(sum_of_squares_in_sigmas(standard.sum(dim=axis), 256)) < 4


def test_hashes_fill_their_range():
    bits = draw_bits(torch.empty(1, 8, 512, 1))

    counts = torch.histc((hash_pairs(bits, bits) / N_HASHES).float(), 64, 0, 1)

    expected = 8 * 512 * 512 / 64
    assert ((counts - expected).abs() < 5 * math.sqrt(expected)).all()


@pytest.mark.parametrize("drop_prob", [1e-12, 0.1, 0.999])
def test_dropping_leaves_the_expected_weight(drop_prob):
    tokens = torch.zeros(1, 8, 500, 1)
    weights = attend_with_dropout(tokens, tokens, torch.ones_like(tokens), drop_prob)

    sigma = math.sqrt(drop_prob / (1 - drop_prob) / (8 * 500 * 500))
    assert abs(weights.mean().item() - 1) < 4 * sigma + 1e-6


def test_everything_can_be_dropped():
    attend, tokens = Attend(1.0), torch.randn(1, 2, 3, 4, requires_grad=True)

    heads = attend(tokens, tokens, tokens)
    heads.sum().backward()

    assert not heads.any()
    assert not tokens.grad.any()


def test_seeds_repeat_what_is_dropped(qkv):
    attend = Attend(0.5)
    outputs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outputs.append(attend(*qkv))

    torch.testing.assert_close(outputs[0], outputs[1], rtol=0, atol=0)
    assert not torch.allclose(outputs[0], outputs[2])
    assert not torch.allclose(outputs[2], attend(*qkv))


@pytest.mark.parametrize(("drop_prob", "training"), [(0.5, False), (0.0, True)])
def test_nothing_is_hashed_where_nothing_is_dropped(qkv, drop_prob, training, monkeypatch):
    monkeypatch.setattr(attention, "attend_with_dropout", None)

    heads = Attend(drop_prob).train(training)(*qkv)

    torch.testing.assert_close(heads, F.scaled_dot_product_attention(*qkv), rtol=0, atol=0)


# Windows


@pytest.mark.parametrize("n_tokens", [1, 2, 63, 64, 131])
@pytest.mark.parametrize("window_size", [1, 3, 7, 65, 301])
def test_banded_attention_equals_attention_with_a_mask(n_tokens, window_size):
    q, k, v = torch.randn(3, 2, 3, n_tokens, 5).unbind()

    expected = masked_attention(q, k, v, window_size)

    torch.testing.assert_close(banded_attention(q, k, v, window_size), expected)


def test_banded_attention_has_the_gradients_of_attention_with_a_mask():
    qkv = torch.randn(3, 1, 2, 70, 4, requires_grad=True)
    weights = torch.randn(1, 2, 70, 4)

    (banded,) = torch.autograd.grad((banded_attention(*qkv, window_size=5) * weights).sum(), qkv)
    (masked,) = torch.autograd.grad((masked_attention(*qkv, window_size=5) * weights).sum(), qkv)

    torch.testing.assert_close(banded, masked)


@pytest.mark.parametrize("window_size", [-1, 0, 4])
def test_an_attention_window_without_a_middle_is_refused(window_size):
    q = torch.randn(1, 1, 3, 2)

    with pytest.raises(ValueError, match=f"odd and positive, got {window_size}"):
        banded_attention(q, q, q, window_size)
