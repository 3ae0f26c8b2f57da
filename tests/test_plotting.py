"""Figures show what they are told to show."""

import matplotlib
import mne
import numpy as np
import pandas as pd
import pytest

from eeglab_models import plotting
from eeglab_models.signals.windows import Windows

matplotlib.use("agg")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    matplotlib.pyplot.close("all")


@pytest.fixture
def windows():
    """Four windows of 2 s; a 10 Hz rhythm on C3 in class b only."""
    noise = np.random.default_rng(0).normal(0, 5, (4, 3, 400))
    labels = np.array(["a", "b", "a", "b"])
    noise[labels == "b", 0] += 30 * np.sin(2 * np.pi * 10 * np.arange(400) / 200)
    info = mne.create_info(["C3", "Cz", "C4"], 200.0, "eeg").set_montage("spherical_1005")
    return Windows(noise.astype(np.float32), info, labels)


def test_a_window_is_drawn_with_every_channel_and_its_label(windows):
    ax = plotting.plot_window(windows, 1).axes[0]

    assert [label.get_text() for label in ax.get_yticklabels()] == ["C3", "Cz", "C4"]
    assert ax.get_title() == "Window 1 (b)"


def test_a_spectrum_peaks_where_the_rhythm_is(windows):
    axes = plotting.plot_spectrum(windows, ["C3", "C4"]).axes

    frequency, power = axes[0].lines[1].get_data()
    assert axes[0].lines[1].get_label() == "b"
    assert frequency[power.argmax()] == pytest.approx(10, abs=0.5)


def test_the_map_of_band_power_names_classes_and_band(windows):
    figure = plotting.plot_band_power(windows, 8, 12)

    assert figure.axes[0].get_title() == "a - b, 8-12 Hz"


def test_scores_are_ordered_and_models_keep_their_colour():
    scores = pd.DataFrame(
        {
            "pipeline": ["EEGPT, probe", "CSP + LDA"],
            "accuracy": [0.6, 0.8],
            "low": [0.5, 0.7],
            "high": [0.7, 0.9],
        }
    )

    ax = plotting.plot_scores(scores, chance=0.5, threshold=0.57).axes[0]

    assert [label.get_text() for label in ax.get_yticklabels()] == ["EEGPT, probe", "CSP + LDA"]
    colors = ax.collections[-1].get_facecolors()
    assert matplotlib.colors.to_hex(colors[0]) == plotting.MODEL_COLORS["EEGPT"].lower()


def test_a_heatmap_shows_every_number():
    values = pd.DataFrame({"EEGPT, random": [0.5, 7.0], "EEGDINO": [1.25, 0.0]}, index=["volts", "rate"])

    figure = plotting.plot_heatmap(values, "distance", "Movement", largest=5)

    ax, bar = figure.axes
    assert [text.get_text() for text in ax.texts] == ["0.50", "1.25", "7.00", "0.00"]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["EEGPT,\nrandom", "EEGDINO"]
    assert (ax.get_title(), bar.get_ylabel()) == ("Movement", "distance")


def test_ratios_are_drawn_on_both_sides_of_equality():
    ratios = pd.DataFrame(
        {
            "model": ["EEGPT", "CodeBrain"],
            "measure": "step",
            "input": "4",
            "median": [2.0, 0.5],
            "low": 0.4,
            "high": 3,
        }
    )

    ax = plotting.plot_ratios(ratios).axes[0]

    assert [label.get_text() for label in ax.get_yticklabels()] == ["CodeBrain (4): step", "EEGPT (4): step"]
    assert [text.get_text() for text in ax.texts] == ["0.50", "2.00"]
    assert ax.get_xscale() == "log"
