"""Figures of maps show what they are told to show."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from eeglab_models.plotting.maps import (
    plot_attention,
    plot_channels_by_time,
    plot_head_maps,
    plot_truth_scores,
)
from eeglab_models.plotting.style import MODEL_COLORS

CHANNELS = ["C3", "Cz", "C4", "Pz"]


@pytest.fixture
def attention():
    """Two tokens each of two channels, and a summary token."""
    channels = ["C3", "C3", "C4", "C4", ""]
    names = ["C3 0.5 s", "C3 1.5 s", "C4 0.5 s", "C4 1.5 s", "summary 0"]
    coordinates = {"query": names, "key": names, "query_channel": ("query", channels)}
    coordinates["key_channel"] = ("key", channels)
    return xr.DataArray(np.arange(25.0).reshape(5, 5) / 24, coordinates, ("query", "key"))


@pytest.fixture
def by_time():
    """Four channels by three seconds, from one second before the cue."""
    return xr.DataArray(
        np.arange(12.0).reshape(4, 3), {"channel": CHANNELS, "time": [-0.5, 0.5, 1.5]}, ("channel", "time")
    )


@pytest.fixture
def head():
    return xr.DataArray([1.0, 2.0, 3.0, 4.0], {"channel": CHANNELS}, ("channel",))


def test_tokens_of_one_channel_share_a_label_in_their_middle(attention):
    ax = plot_attention(attention, "Who looks").axes[0]

    assert [label.get_text() for label in ax.get_yticklabels()] == ["C3", "C4", "summary"]
    assert ax.get_xticks().tolist() == [0.5, 2.5, 4.0]


def test_rows_look_and_columns_are_looked_at_whatever_the_order_of_axes(attention):
    figure = plot_attention({"layer 0": attention, "layer 1": attention.transpose()}, "Who looks")

    first, second = (ax.images[0].get_array() for ax in figure.axes[:2])
    np.testing.assert_array_equal(first, attention)
    np.testing.assert_array_equal(second, attention)
    assert [ax.get_title() for ax in figure.axes[:2]] == ["layer 0", "layer 1"]


def test_maps_over_time_have_their_seconds_and_mark_the_window(by_time):
    figure = plot_channels_by_time(by_time, label="share (%)", title="When", window=(0.55, 4.0))

    ax, bar = figure.axes
    assert ax.get_xlim() == (-1.0, 2.0)
    assert [line.get_xdata()[0] for line in ax.lines] == [0.55, 4.0]
    assert [label.get_text() for label in ax.get_yticklabels()] == CHANNELS
    assert bar.get_ylabel() == "share (%)"


def test_the_first_channel_is_on_top(by_time):
    ax = plot_channels_by_time(by_time, label="share", title="When").axes[0]

    np.testing.assert_array_equal(ax.collections[0].get_array(), by_time)
    assert ax.get_ylim() == (3.5, -0.5)


def test_shades_are_white_in_the_center_and_one_scale_serves_all_panels(by_time):
    figure = plot_channels_by_time(
        {"one": by_time, "other": 10 * by_time - 1}, label="change", title="When", center=1
    )

    limits = [ax.collections[0].get_clim() for ax in figure.axes[:2]]
    assert limits[0] == limits[1]
    assert sum(limits[0]) / 2 == pytest.approx(1)


def test_shades_of_ratios_do_not_reach_below_zero(by_time):
    figure = plot_channels_by_time(by_time, label="ratio", title="When", center=1)

    assert figure.axes[0].collections[0].get_clim() == (0, 2)
    assert figure.axes[0].collections[0].colorbar.extend == "max"


def test_one_large_value_does_not_hide_the_others():
    values = np.ones((20, 20))
    values[0, 0] = 1000
    maps = xr.DataArray(values, {"channel": np.arange(20), "time": np.arange(20.0)}, ("channel", "time"))

    figure = plot_channels_by_time(maps, label="share", title="When")

    assert figure.axes[0].collections[0].get_clim() == (0, 1)
    assert figure.axes[0].collections[0].colorbar.extend == "max"


def test_heads_are_drawn_in_rows_with_their_names(head):
    figure = plot_head_maps(
        {name: head for name in "abcd"}, label="weight", title="Where", center=0, n_columns=3
    )

    drawn = [ax for ax in figure.axes if ax.images]
    assert [ax.get_title() for ax in drawn] == ["a", "b", "c", "d"]
    assert len({round(ax.get_subplotspec().rowspan.start) for ax in drawn}) == 2
    low, high = drawn[0].images[0].get_clim()
    assert low == -high


def test_channels_without_a_place_are_refused(head):
    with pytest.raises(ValueError, match="10-05 system, got EOG1. Leave it out"):
        plot_head_maps(head.assign_coords(channel=["C3", "Cz", "C4", "EOG1"]), label="weight", title="Where")


def test_maps_with_other_axes_are_refused(by_time):
    with pytest.raises(ValueError, match=r"dims \(channel\), got \('channel', 'time'\)"):
        plot_head_maps(by_time, label="weight", title="Where")


def test_scores_stand_beside_their_controls_and_chance():
    rows = [
        {"model": "EEGPT", "method": method, "weights": weights, "measure": measure, "score": score,
         "low": score - 0.1, "high": score + 0.1, "chance": chance}
        for method in ("gradient", "occlusion")
        for weights, score in (("trained", 0.8), ("shuffled labels", 0.2))
        for measure, chance in (("topography", 0.0), ("window", 1.0))
    ]  # fmt: skip

    figure = plot_truth_scores(pd.DataFrame(rows), "Truth")

    first, second = figure.axes
    assert [label.get_text() for label in first.get_yticklabels()] == ["EEGPT, occlusion", "EEGPT, gradient"]
    assert first.lines[0].get_xdata()[0] == 0.0
    assert second.lines[0].get_xdata()[0] == 1.0
    dots = [(line.get_xdata()[0], line.get_color()) for line in second.lines[1:]]
    assert dots == [(0.8, MODEL_COLORS["EEGPT"])] * 2 + [(0.2, "0.45")] * 2
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["trained", "shuffled labels"]
