"""Features and scores."""

import mne
import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from eeglab_models import EEGDINO, EEGPT, CodeBrain, FBLightConvNet, prepare
from eeglab_models.adapting import chance_level, extract_features, score_pipelines
from eeglab_models.signals.windows import Windows

SIGNAL = {"n_outputs": 2, "n_chans": 3, "n_times": 400, "sfreq": 200.0}
TINY = {
    "CodeBrain": (CodeBrain(**SIGNAL, res_channels=4, num_res_layers=1, out_channels=6), 3 * 6),
    "EEGDINO": (EEGDINO(**SIGNAL, n_layer=1), 3 * 200),
    "EEGPT": (EEGPT(**SIGNAL | {"sfreq": 256.0, "n_times": 512}, embed_dim=16, depth=1), 4 * 16),
    "FBLightConvNet": (FBLightConvNet(**SIGNAL, win_len=200), 32),
}


@pytest.fixture
def windows():
    data = np.random.default_rng(0).normal(0, 20, (5, 3, 400)).astype(np.float32)
    return Windows(data, mne.create_info(["C3", "Cz", "C4"], 200.0, "eeg"))


@pytest.mark.parametrize("name", TINY)
def test_every_model_gives_one_row_per_window_whatever_the_batch(windows, name):
    model, n_features = TINY[name]
    prepared = prepare(windows, model)

    rows = extract_features(model, prepared, batch_size=2)

    assert rows.shape == (5, n_features)
    np.testing.assert_allclose(rows, extract_features(model, prepared, batch_size=5), atol=1e-5)


def test_features_keep_channels_apart(windows):
    model, n_features = TINY["EEGDINO"]
    model.encoder_layers.requires_grad_(False)
    rows = extract_features(model, prepare(windows, model))

    assert not np.allclose(rows[:, : n_features // 3], rows[:, n_features // 3 : 2 * n_features // 3])


def test_extraction_leaves_the_mode_of_the_model(windows):
    model, _ = TINY["EEGDINO"]
    model.train()

    extract_features(model, prepare(windows, model))

    assert model.training


def test_windows_that_are_not_prepared_are_refused(windows):
    model, _ = TINY["EEGDINO"]

    with pytest.raises(ValueError, match="expects prepared windows, got windows in µV"):
        extract_features(model, windows)


def test_chance_is_the_share_of_the_most_frequent_class():
    chance, threshold = chance_level(np.array([0] * 30 + [1] * 10))

    assert chance == 0.75
    assert threshold == 0.85  # 34 of 40: P(X > 34) = 0.043, P(X > 33) = 0.096


def test_scores_count_every_trial_once_and_enclose_the_accuracy():
    labels = np.array([0, 1] * 20)
    X = labels[:, None] + np.random.default_rng(0).normal(0, 0.4, (40, 1))
    pipelines = {"signal": (LogisticRegression(), X), "guess": (DummyClassifier(strategy="prior"), X)}

    scores = score_pipelines(pipelines, labels, StratifiedKFold(4)).set_index("pipeline")

    assert scores.loc["guess", "accuracy"] == 0.5
    assert scores.loc["signal", "accuracy"] > 0.8
    assert (scores["low"] < scores["accuracy"]).all()
    assert (scores["accuracy"] < scores["high"]).all()
    assert (scores["n_trials"] == 40).all()


def test_subjects_are_cross_validated_alone():
    labels = np.tile([0, 1], 20)
    subjects = np.repeat([1, 2], 20)
    X = np.where(subjects == 1, labels, 1 - labels)[:, None].astype(float)  # the rule flips with the subject
    pipelines = {"rule": (LogisticRegression(), X)}

    alone = score_pipelines(pipelines, labels, StratifiedKFold(4), subjects)
    together = score_pipelines(pipelines, labels, StratifiedKFold(4))

    assert alone["accuracy"][0] == 1
    assert together["accuracy"][0] < 0.7
