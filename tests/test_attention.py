"""Attention without parameters."""

import math

import pytest
import torch
import torch.nn.functional as F

from eeglab_models.models.attention import Attend, banded_attention


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
