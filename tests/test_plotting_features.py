"""Figures of features show what they are told to show."""

import mne
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from eeglab_models.plotting.features import (
    plot_grids,
    plot_projections,
    plot_similarities,
    plot_tones,
    plot_topographies,
    plot_variance_shares,
)
from eeglab_models.plotting.style import MODEL_COLORS


@pytest.fixture
def info():
    return mne.create_info(["F3", "T7", "C4", "Oz"], 200.0, "eeg").set_montage("spherical_1005")


def shades(ax):
    """Colour limits of the images of a panel."""
    return [image.get_clim() for image in [*ax.images, *ax.collections] if image.get_array() is not None]


def test_topographies_share_their_shades(info):
    maps = {"one": np.array([0.0, 1.0, 2.0, 3.0]), "other": np.array([0.0, -6.0, 1.0, 2.0])}

    figure = plot_topographies(maps, info, "likeness (none)", "Heads", signed=True, n_columns=2)

    one, other, bar = figure.axes
    assert shades(one)[0] == shades(other)[0] == (-6, 6)
    assert [one.get_title(), other.get_title(), bar.get_ylabel()] == ["one", "other", "likeness (none)"]


def test_numbers_without_a_sign_begin_at_zero(info):
    figure = plot_topographies({"one": np.array([1.0, 2.0, 3.0, 4.0])}, info, "size", "Head", n_columns=1)

    assert shades(figure.axes[0])[0] == (0, 4)


def test_places_without_a_map_are_left_free(info):
    maps = {name: np.arange(4.0) for name in "abc"}

    figure = plot_topographies(maps, info, "size", "Heads", n_columns=2)

    assert [ax.get_title() for ax in figure.axes[:3]] == ["a", "b", "c"]
    assert len(figure.axes) == 4  # three maps and the bar of shades


def test_the_chosen_channel_is_marked(info):
    ax = plot_topographies({"a": np.arange(4.0)}, info, "size", "Head", marked="C4", n_columns=1).axes[0]

    crosses = [line for line in ax.lines if line.get_marker() == "x"]
    assert [len(line.get_xdata()) for line in crosses] == [1]
    assert crosses[0].get_xdata()[0] > 0  # right of the middle


def test_tones_have_a_line_per_part_in_the_colour_of_the_model():
    frequencies = np.array([1.0, 2.0, 3.0])
    parts = {"samples": np.array([3.0, 2.0, 1.0]), "spectrum": np.array([1.0, 2.0, 3.0])}

    ax, _ = plot_tones(frequencies, {"EEGDINO, random": parts, "CodeBrain": parts}, "norm", "Tones").axes

    assert ax.get_title() == "EEGDINO, random"
    assert [line.get_ydata().tolist() for line in ax.lines] == [[3, 2, 1], [1, 2, 3]]
    assert ax.lines[0].get_color() == MODEL_COLORS["EEGDINO"]


def test_the_legend_of_tones_names_the_parts():
    parts = {"samples": np.ones(2), "spectrum": np.ones(2)}

    figure = plot_tones(np.array([1.0, 2.0]), {"EEGDINO": parts}, "norm", "Tones")

    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["samples", "spectrum"]


def test_a_grid_has_its_first_channel_on_top():
    ax = plot_grids({"a": np.array([[1.0, 2.0], [4.0, 3.0]])}, ["Cz", "Pz"], "size", "Grid").axes[0]

    assert [label.get_text() for label in ax.get_yticklabels()] == ["Cz", "Pz"]
    bottom, top = ax.get_ylim()
    assert bottom > top


def test_grids_have_shades_of_their_own_or_shared_ones():
    grids = {"small": np.array([[1.0, 2.0]]), "large": np.array([[4.0, 8.0]])}

    own = plot_grids(grids, ["Cz"], "share", "Grids").axes
    shared = plot_grids(grids, ["Cz"], "size", "Grids", shared=True).axes

    assert [ax.collections[0].get_array().max() for ax in own[:2]] == [1, 1]
    assert [ax.collections[0].get_array().max() for ax in shared[:2]] == [2, 8]
    assert shades(shared[0])[0] == shades(shared[1])[0] == (0, 8)


def test_patches_of_a_grid_have_their_length():
    ax = plot_grids({"a": np.zeros((1, 4))}, ["Cz"], "size", "Grid", seconds=0.25).axes[0]

    assert ax.get_xlim() == (0, 1)


def test_windows_are_drawn_once_for_every_grouping():
    points = {"PCA": np.array([[0.0, 0], [1, 1], [2, 2]])}
    groups = {"subject": np.array([4, 7, 7]), "class": np.array(["b", "a", "b"])}

    by_subject, by_class = plot_projections(points, groups, "Windows").axes

    assert (by_subject.get_title(), by_class.get_title()) == ("by subject", "by class")
    assert by_subject.get_ylabel() == "PCA"
    assert by_subject.collections[1].get_offsets().tolist() == [[1, 1], [2, 2]]
    assert [text.get_text() for text in by_class.get_legend().get_texts()] == ["a", "b"]


def test_more_groups_than_colours_are_refused():
    points, groups = {"PCA": np.zeros((6, 2))}, {"subject": np.arange(6)}

    with pytest.raises(ValueError, match="5 groups, got 6 of subject"):
        plot_projections(points, groups, "Windows")


@pytest.fixture
def shares():
    factors = ["subject", "session", "class", "class by subject", "window"]
    return pd.DataFrame({"factor": factors, "adjusted": [0.5, 0.1, 0.02, -0.01, 0.39]})


def test_shares_stand_behind_each_other(shares):
    ax = plot_variance_shares({"EEGPT": shares}, "Shares").axes[0]

    bars = [(round(bar.get_x()), round(bar.get_width())) for bar in ax.patches]
    assert bars == [(0, 50), (50, 10), (60, 2), (62, 0), (62, 39)]
    assert [text.get_text() for text in ax.texts] == ["50%", "10%", "39%"]


def test_the_first_features_are_on_top(shares):
    ax = plot_variance_shares({"log band power": shares, "EEGPT": shares}, "Shares").axes[0]

    assert [label.get_text() for label in ax.get_yticklabels()] == ["EEGPT", "log band power"]


def test_similarities_are_written_down_with_both_names():
    matrix = xr.DataArray([[1.0, -0.01], [0.26, 1.0]], {"a": ["x", "y"], "b": ["z", "w"]}, ("a", "b"))

    ax, bar = plot_similarities({"all": matrix}, "CKA", "Alike").axes

    assert [text.get_text() for text in ax.texts] == ["1.0", "0.0", "0.3", "1.0"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["x", "y"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["z", "w"]
    assert (ax.get_title(), bar.get_ylabel()) == ("all", "CKA")


def test_matrices_of_any_size_stand_beside_each_other():
    small = xr.DataArray(np.eye(2), {"a": ["x", "y"], "b": ["x", "y"]}, ("a", "b"))
    large = xr.DataArray(np.eye(5), {"a": list("abcde"), "b": list("abcde")}, ("a", "b"))

    axes = plot_similarities({"small": small, "large": large}, "CKA", "Alike").axes

    assert [len(ax.texts) for ax in axes[:2]] == [4, 25]
