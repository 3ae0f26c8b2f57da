"""Summaries of attention maps say what can be counted by hand."""

import numpy as np
import pytest
import torch
import xarray as xr

from eeglab_models import EEGDINO, EEGPT
from eeglab_models.interpreting.attention import attention_maps
from eeglab_models.interpreting.summaries import (
    entropy,
    head_similarity,
    marginal,
    mean_distance,
    rollout,
    topography_over_time,
)

NAMES = ["summary 0", "C3 0.5 s", "C3 1.5 s", "Fp1 0.5 s", "Fp1 1.5 s"]
CHANNELS = ["", "C3", "C3", "Fp1", "Fp1"]
TIMES = [np.nan, 0.5, 1.5, 0.5, 1.5]


def label(weights, axes=("query", "key"), tokens=slice(None), **labels):
    """Name the tokens of a map of two channels and two seconds."""
    for axis in ("query", "key"):
        if axis in axes:
            labels[axis] = NAMES[tokens]
            labels[f"{axis}_channel"] = (axis, CHANNELS[tokens])
            labels[f"{axis}_time"] = (axis, TIMES[tokens])
    return xr.DataArray(np.array(weights, dtype=float), labels, axes)


@pytest.fixture
def attention():
    """A tenth to the summary token, the rest as each row says."""
    return label(
        [
            [0.1, 0.2, 0.3, 0.4, 0.0],
            [0.1, 0.9, 0.0, 0.0, 0.0],
            [0.1, 0.0, 0.0, 0.0, 0.9],
            [0.1, 0.3, 0.0, 0.6, 0.0],
            [1.0, 0.0, 0.0, 0.0, 0.0],
        ]
    )


@pytest.fixture
def maps():
    """Maps of a small EEGDINO, whose summary token joins after the first layer."""
    model = EEGDINO(
        n_outputs=2,
        chs_info=[{"ch_name": name} for name in ("C3", "Fp1")],
        n_times=40,
        sfreq=20.0,
        patch_size=20,
        n_layer=3,
        nhead=2,
        dim_feedforward=8,
        channels_kernel_stride_padding_norm=[(4, 9, 5, 4, (2, 4))],
    )
    return attention_maps(model, torch.randn(3, 2, 40))


# Marginals


def test_channels_receive_what_their_patches_receive(attention):
    received = marginal(attention, "channels")

    assert received["channel"].values.tolist() == ["C3", "Fp1"]
    np.testing.assert_allclose(received.sel(query="summary 0"), [0.5, 0.4])
    np.testing.assert_allclose(received.sel(query="Fp1 0.5 s"), [0.3, 0.6])


def test_times_receive_what_their_patches_receive(attention):
    received = marginal(attention, "time")

    assert received["time"].values.tolist() == [0.5, 1.5]
    np.testing.assert_allclose(received.sel(query="summary 0"), [0.6, 0.3])


def test_what_marginals_lack_went_to_summary_tokens(maps):
    missing = 1 - marginal(maps[1], "channels").sum("channel")

    np.testing.assert_allclose(missing, maps[1].sel(key="summary 0"), atol=1e-6)


def test_moments_cannot_be_told_apart_within_a_moment():
    model = EEGPT(n_outputs=2, n_chans=3, n_times=64, sfreq=64.0, embed_dim=8, depth=1, num_heads=2)

    with pytest.raises(ValueError, match="no time of their own as key. Its moments are the times"):
        marginal(attention_maps(model, torch.randn(1, 3, 64))[0], "time")


def test_topographies_lay_out_what_tokens_receive_on_average(attention):
    received = topography_over_time(attention)

    assert received.dims == ("channel", "time")
    np.testing.assert_allclose(received.sel(channel="C3"), [1.4 / 5, 0.3 / 5])
    np.testing.assert_allclose(received.sel(channel="Fp1", time=[0.5, 1.5]), [1.0 / 5, 0.9 / 5])


def test_topographies_keep_channels_in_their_order_and_other_axes_as_they_are(maps):
    received = topography_over_time(maps[1].sel(query=["summary 0"]))

    assert received.dims == ("window", "head", "channel", "time")
    assert received["channel"].values.tolist() == ["C3", "Fp1"]
    expected = maps[1].sel(query="summary 0", key="Fp1 1.5 s")
    np.testing.assert_allclose(received.sel(channel="Fp1", time=1.5), expected)


def test_topographies_of_moments_follow_each_other_in_time():
    model = EEGPT(n_outputs=2, n_chans=3, n_times=128, sfreq=64.0, embed_dim=8, depth=2, num_heads=2)
    attention = attention_maps(model, torch.randn(2, 3, 128))[1]

    received = topography_over_time(attention)

    assert received.dims == ("window", "head", "channel", "time")
    assert received["time"].values.tolist() == [0.5, 1.0, 1.5]
    expected = attention.isel(moment=2).sel(key="Cz").mean("query")
    np.testing.assert_allclose(received.sel(channel="Cz", time=1.5), expected, rtol=1e-6)


# Distances


def test_distance_in_time_is_that_to_what_is_seen(attention):
    distance = mean_distance(attention, over="time")

    np.testing.assert_allclose(distance, [np.nan, 0, 0, 0, np.nan])
    assert distance.attrs["unit"] == "s"
    later = attention.roll(query=1).assign_coords(attention["query"].coords)
    np.testing.assert_allclose(mean_distance(later, over="time").sel(query="C3 0.5 s"), 0.3 / 0.9)


def test_distance_in_space_is_a_straight_line_between_electrodes(attention):
    distance = mean_distance(attention, over="channels")

    chord = 100 * np.linalg.norm(np.subtract([-0.05584, 0, 0.07685], [-0.02792, 0.08593, 0.02935]))
    np.testing.assert_allclose(distance, [np.nan, 0, chord, chord / 3, np.nan], rtol=1e-3)
    assert distance.attrs["unit"] == "cm"


def test_distances_keep_the_order_of_axes(maps):
    assert mean_distance(maps[1], over="time").dims == ("window", "head", "query")
    assert mean_distance(maps[0], over="channels").dims == ("window", "head", "query")


def test_channels_that_are_no_electrodes_are_refused(attention):
    named = attention.assign_coords(key_channel=("key", ["", "C3", "C3", "EOG", "EOG"]))

    with pytest.raises(ValueError, match="electrodes of the 10-05 system, got EOG"):
        mean_distance(named, over="channels")


# Entropy and heads


def test_entropy_is_relative_to_looking_at_all_alike():
    weights = xr.DataArray(np.array([[0.25] * 4, [0.5, 0.5, 0, 0], [0, 1, 0, 0]]), dims=["query", "key"])

    np.testing.assert_allclose(entropy(weights), [1, 0.5, 0])


def test_a_single_key_has_no_entropy():
    np.testing.assert_array_equal(entropy(xr.DataArray(np.ones((2, 1)), dims=["query", "key"])), 0)


def test_entropy_leaves_other_axes_and_their_names(maps):
    spread = entropy(maps[1])

    assert spread.dims == ("window", "head", "query")
    assert "key" not in str(spread.coords)


def test_heads_are_alike_as_far_as_they_look_at_the_same():
    rows = [[0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 1, 0], [0, 0.5, 0.5, 0]]
    weights = xr.DataArray(np.array(rows)[:, None].repeat(3, axis=1), dims=["head", "query", "key"])

    similarity = head_similarity(weights)

    assert similarity.dims == ("head", "other_head")
    # Half of the weight in common: the divergence is half a bit.
    one_of_two = 1 - (0.25 * 2 + 0.75 * np.log2(4 / 3) - 0.5)  # 1 and 0 against a half each
    expected = [[1, 1, 0, 0.5], [1, 1, 0, 0.5], [0, 0, 1, one_of_two], [0.5, 0.5, one_of_two, 1]]
    np.testing.assert_allclose(similarity, expected, atol=1e-12)


def test_similarity_keeps_windows_apart(maps):
    similarity = head_similarity(maps[1])

    assert similarity.dims == ("window", "head", "other_head")
    one = head_similarity(maps[1].isel(window=2))
    np.testing.assert_allclose(similarity.isel(window=2), one)


# Rollout


def test_rollout_of_one_layer_is_half_of_it_and_half_oneself():
    attention = label([[0.2, 0.8], [0.4, 0.6]], tokens=slice(1, 3))

    np.testing.assert_allclose(rollout({0: attention}), [[0.6, 0.4], [0.2, 0.8]])


def test_rollout_multiplies_layers_from_the_last_to_the_first():
    first = label([[0.2, 0.8], [0.4, 0.6]], tokens=slice(1, 3))
    second = label([[1.0, 0.0], [1.0, 0.0]], tokens=slice(1, 3))

    flow = rollout({1: second, 0: first})

    # The second token becomes half of the first and half of itself.
    np.testing.assert_allclose(flow, [[0.6, 0.4], [0.4, 0.6]])


def test_rollout_knows_tokens_by_their_names():
    first = label([[0.2, 0.8], [0.4, 0.6]], tokens=slice(1, 3))
    second = label([[0.5, 0.5], [1.0, 0.0]], tokens=slice(1, 3))

    turned = rollout({0: first, 1: second.isel(query=[1, 0], key=[1, 0])})

    expected = rollout({0: first, 1: second})
    np.testing.assert_allclose(turned.sel(query=expected["query"]), expected)


def test_tokens_that_join_are_their_own_source():
    first = label([[0.0, 1.0], [1.0, 0.0]], tokens=slice(1, 3))
    second = label([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], tokens=slice(3))

    flow = rollout({0: first, 1: second})

    assert flow["key"].values.tolist() == NAMES[:3]
    np.testing.assert_allclose(flow.sel(query="summary 0"), [0.5, 0.25, 0.25])
    np.testing.assert_allclose(flow.sel(query="C3 0.5 s"), [0, 0.5, 0.5])


def test_rollout_follows_real_maps_of_every_window(maps):
    flow = rollout(maps)

    assert flow.dims == ("window", "query", "key")
    np.testing.assert_allclose(flow.sum("key"), 1, rtol=1e-5)
    assert marginal(flow, "channels").shape == (3, 5, 2)


def test_rollout_ends_with_those_who_look_last():
    model = EEGPT(n_outputs=2, n_chans=3, n_times=128, sfreq=64.0, embed_dim=8, depth=3, num_heads=2)

    flow = rollout(attention_maps(model, torch.randn(2, 3, 128), reduce="head"))

    assert flow.dims == ("window", "moment", "query", "key")
    assert flow["query"].values.tolist() == [f"summary {index}" for index in range(4)]
    np.testing.assert_allclose(flow.sum("key"), 1, rtol=1e-5)


def test_rollout_needs_all_layers(maps):
    with pytest.raises(ValueError, match=r"all layers from 0 on, got those of \[1, 2\]"):
        rollout({layer: maps[layer] for layer in (1, 2)})


def test_rollout_needs_tokens_that_look():
    with pytest.raises(ValueError, match="have no axis query"):
        rollout({0: xr.DataArray(np.ones((2, 3)) / 3, dims=["head", "key"])})
