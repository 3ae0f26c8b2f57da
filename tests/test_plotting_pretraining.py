"""Figures of pretraining show what they are told to show."""

import matplotlib
import numpy as np
import pandas as pd
import pytest

from eeglab_models.plotting import MODEL_COLORS
from eeglab_models.plotting.pretraining import (
    plot_codes,
    plot_courses,
    plot_gains,
    plot_masks,
    plot_neighbours,
)


def test_masks_of_any_length_share_channels_and_time():
    masks = {"wide": np.zeros((3, 2), dtype=int), "narrow": np.ones((3, 5), dtype=int)}

    figure = plot_masks(masks, ["seen", "hidden"], ["C3", "Cz", "C4"], 4.0, "Masks")

    assert [ax.get_title() for ax in figure.axes] == ["wide", "narrow"]
    assert [ax.get_xlim() for ax in figure.axes] == [(0, 4), (0, 4)]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["C3", "Cz", "C4"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["seen", "hidden"]


def test_every_patch_has_the_shade_of_its_meaning():
    figure = plot_masks({"mask": np.array([[0, 1, 2]])}, ["a", "b", "c"], ["Cz"], 3.0, "Masks")

    mesh = figure.axes[0].collections[0]
    mesh.update_scalarmappable()
    shades = [matplotlib.colors.to_hex(color) for color in mesh.get_facecolors().reshape(-1, 4)]
    wanted = [matplotlib.colors.to_hex(handle.get_facecolor()) for handle in figure.legends[0].get_patches()]
    assert shades == wanted


def test_more_meanings_than_shades_are_refused():
    with pytest.raises(ValueError, match="3 meanings, got 4"):
        plot_masks({"mask": np.zeros((1, 1), dtype=int)}, list("abcd"), ["Cz"], 1.0, "Masks")


def test_courses_have_a_bar_of_the_same_colour_and_one_level():
    course = pd.DataFrame({"alignment": [1.0, 0.5]}, index=[1, 2])
    bar = pd.DataFrame({"alignment": [0.9, 0.8]}, index=[1, 2])

    figure = plot_courses({"EEGPT": course}, "loss", "Losses", bars={"EEGPT": bar}, level=1.0)

    level, line, thin = figure.axes[0].lines
    assert level.get_ydata() == [1.0, 1.0]
    assert line.get_ydata().tolist() == [1.0, 0.5]
    assert thin.get_ydata().tolist() == [0.9, 0.8]
    assert line.get_color() == thin.get_color()


def test_a_logarithmic_scale_holds_for_all_courses():
    course = pd.DataFrame({"spread": [1e-5, 1.0]})

    figure = plot_courses({"EEGPT": course, "EEGDINO": course}, "share", "Monitors", log=True)

    assert [ax.get_yscale() for ax in figure.axes] == ["log", "log"]


def test_codes_are_drawn_as_falling_shares():
    ax = plot_codes({"temporal": np.array([1, 0, 3])}, "Codes").axes[0]

    assert ax.lines[0].get_ydata().tolist() == [75, 25, 0]
    assert ax.lines[1].get_ydata()[0] == pytest.approx(100 / 3)


def test_neighbours_stand_beside_the_stretch_in_their_order():
    trace = np.zeros(10)
    found = {"EEGPT before": [("first", trace + 1), ("second", trace + 2)]}

    figure = plot_neighbours(trace, found, 10.0, "the window", "Neighbours")

    assert [ax.get_title() for ax in figure.axes] == ["the window", "first", "second"]
    assert [ax.lines[0].get_ydata()[0] for ax in figure.axes] == [0, 1, 2]
    assert figure.axes[1].lines[0].get_color() == MODEL_COLORS["EEGPT"]


@pytest.fixture
def accuracies():
    """One model, two seeds of two subjects each, one task."""
    return pd.DataFrame(
        {
            "name": "EEGPT",
            "kind": ["random"] * 4 + ["pretrained"] * 4,
            "seed": [0, 0, 1, 1] * 2,
            "task": "hands",
            "subject": ["3", "4"] * 4,
            "accuracy": [0.4, 0.6, 0.5, 0.7, 0.6, 0.8, 0.7, 0.9],
        }
    )


def test_gains_have_a_dot_per_seed_and_a_line_at_chance(accuracies):
    figure = plot_gains(accuracies, {"hands": 0.5}, "Gains")

    chance, random, _, pretrained, mean = figure.axes[0].lines
    assert chance.get_xdata() == [0.5, 0.5]
    np.testing.assert_allclose(random.get_xdata(), [0.5, 0.6])
    np.testing.assert_allclose(pretrained.get_xdata(), [0.7, 0.8])
    np.testing.assert_allclose(mean.get_xdata(), [0.75, 0.75])
    assert pretrained.get_color() == MODEL_COLORS["EEGPT"]


def test_a_task_without_rows_stays_empty(accuracies):
    figure = plot_gains(accuracies, {"hands": 0.5, "four": 0.25}, "Gains")

    assert len(figure.axes[1].lines) == 1
