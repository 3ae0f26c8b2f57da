"""Figures show what they are told to show."""

import matplotlib
import mne
import numpy as np
import pandas as pd
import pytest

from eeglab_models import plotting
from eeglab_models.signals.windows import Windows


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


@pytest.fixture
def folds():
    """Two pipelines on two people; chance is one half."""
    return pd.DataFrame(
        {
            "dataset": "A",
            "evaluation": "cross_session",
            "pipeline": ["EEGPT, probe", "EEGPT, probe", "CSP + LDA", "CSP + LDA"],
            "subject": ["1", "2", "1", "2"],
            "score": [0.6, 0.7, 0.8, 0.9],
            "chance": 0.5,
        }
    )


def test_runs_show_every_person_and_chance(folds):
    (ax,) = plotting.plot_run_scores(folds).axes

    assert [label.get_text() for label in ax.get_yticklabels()] == ["EEGPT, probe", "CSP + LDA"]
    assert ax.lines[0].get_xdata()[0] == 0.5
    dots = [collection.get_offsets()[:, 0].tolist() for collection in ax.collections[::2]]
    assert dots == [[0.6, 0.7], [0.8, 0.9]]


def test_a_forest_has_a_row_and_an_interval_per_pipeline():
    summary = pd.DataFrame(
        {
            "dataset": "A",
            "evaluation": "cross_session",
            "pipeline": ["CSP + LDA", "EEGPT"],
            "score": [0.8, 0.6],
            "low": [0.7, 0.5],
            "high": [0.9, 0.7],
            "n_subjects": 6,
            "chance": 0.5,
        }
    )

    (ax,) = plotting.plot_forest(summary).axes

    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == ["EEGPT  (A, cross session, n=6)", "CSP + LDA  (A, cross session, n=6)"]
    assert ax.collections[0].get_segments()[1][:, 0].tolist() == [0.7, 0.9]


def test_differences_that_are_significant_are_black():
    comparisons = pd.DataFrame(
        {
            "dataset": "A",
            "a": ["EEGPT", "EEGPT"],
            "b": ["EEGDINO", "CSP + LDA"],
            "difference": [0.1, 0.0],
            "low": [0.05, -0.1],
            "high": [0.15, 0.1],
            "p_holm": [0.01, 0.9],
            "n_subjects": 9,
        }
    )

    (ax,) = plotting.plot_differences(comparisons).axes

    colors = [matplotlib.colors.to_hex(color) for color in ax.collections[0].get_colors()]
    assert colors == ["#a6a6a6", "#000000"]
    assert ax.get_yticklabels()[1].get_text() == "EEGPT  -  EEGDINO  (A, n=9, p=0.010)"


def test_calibration_has_a_panel_per_classifier_with_a_point_per_bin():
    bins = pd.DataFrame({"confidence": [0.6, 0.9], "accuracy": [0.5, 0.7], "low": 0.4, "high": 0.8})

    axes = plotting.plot_calibration({"sure": bins, "modest": bins}).axes

    assert [ax.get_title() for ax in axes] == ["sure", "modest"]
    assert axes[0].lines[1].get_xydata().tolist() == [[0.6, 0.5], [0.9, 0.7]]


def test_a_history_marks_its_best_epoch():
    rows = {"epoch": [1, 2, 3], "phase": 1, "train_loss": [3.0, 2.0, 1.0], "valid_loss": [3.0, 1.0, 2.0]}

    (ax,) = plotting.plot_history({"full": pd.DataFrame(rows)}).axes

    assert [line.get_label() for line in ax.lines[:2]] == ["learned from", "held out"]
    assert ax.lines[2].get_xdata()[0] == 2


def test_of_equally_accurate_epochs_the_latest_is_marked():
    rows = {"epoch": [1, 2, 3, 4], "phase": 1, "train_loss": 1.0, "valid_loss": [1.0, 2.0, 3.0, 4.0]}
    rows["valid_accuracy"] = [0.5, 0.8, 0.8, 0.7]

    (ax,) = plotting.plot_history({"recipe": pd.DataFrame(rows)}, "accuracy").axes

    assert ax.lines[2].get_xdata()[0] == 3


def test_histories_share_an_axis_that_shows_all_losses():
    low, high = (
        pd.DataFrame({"epoch": [1, 2], "phase": 1, "train_loss": [loss, 0.1], "valid_loss": np.nan})
        for loss in (1.0, 5.0)
    )

    ax, _ = plotting.plot_history({"low": low, "high": high}).axes

    bottom, top = ax.get_ylim()
    assert bottom == 0
    assert top > 5


def test_a_history_without_held_out_windows_has_one_line():
    rows = {"epoch": [1, 2], "phase": [1, 2], "train_loss": [2.0, 1.0], "valid_loss": np.nan}

    (ax,) = plotting.plot_history({"recipe": pd.DataFrame(rows)}).axes

    assert len(ax.lines) == 1


def test_confusion_has_a_panel_per_classifier_whose_rows_are_shares():
    truth, predicted = ["a", "a", "b", "b"], ["a", "b", "b", "b"]
    predictions = pd.DataFrame({"pipeline": "one", "truth": truth, "predicted": predicted})

    (ax,) = plotting.plot_confusion(pd.concat([predictions, predictions.assign(pipeline="two")])).axes[:1]

    assert ax.get_title() == "one"
    assert [text.get_text() for text in ax.texts] == ["0.50", "0.50", "0.00", "1.00"]


def test_a_diagram_shows_every_block_path_and_shape():
    blocks = {"window": (3, 400), "mix\nlinear": "3 × 8", "head": (2,)}

    figure = plotting.plot_architecture(
        "EEGPT", blocks, [("", "mix", "mix", "+"), ("names", "", "window", "×")], [("mix", "head", "twice")]
    )

    texts = {text.get_text() for text in figure.axes[0].texts}
    assert {"window", "mix", "linear", "head", "3 × 400", "3 × 8", "2", "+", "×", "names", "twice"} < texts
    edges = [matplotlib.colors.to_hex(patch.get_edgecolor()) for patch in figure.axes[0].patches]
    assert edges.count(plotting.MODEL_COLORS["EEGPT"].lower()) == 4


def test_a_diagram_refuses_paths_to_blocks_that_are_not_there():
    with pytest.raises(ValueError, match=r"named \['window'\], got \['mix'\]"):
        plotting.plot_architecture("EEGPT", {"window": (3, 400)}, [("", "mix", "window", "+")])
