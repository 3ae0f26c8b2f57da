"""Chance, and leaks."""

import numpy as np
import pytest
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline

from eeglab_models.scores import chance_level, check_leakage, score_pipelines

LABELS = np.array([0, 1] * 20)
CV = StratifiedKFold(4)


def test_chance_is_the_share_of_the_most_frequent_class():
    chance, threshold = chance_level(np.array([0] * 30 + [1] * 10))

    assert chance == 0.75
    assert threshold == 0.85  # 34 of 40: P(X > 34) = 0.043, P(X > 33) = 0.096


def test_a_selection_of_features_on_everything_is_caught():
    noise = np.random.default_rng(0).normal(size=(40, 500))

    def leaking(labels):
        selected = SelectKBest(k=10).fit_transform(noise, labels)
        return score_pipelines({"probe": (LogisticRegression(), selected)}, labels, CV)["accuracy"][0]

    with pytest.raises(ValueError, match="it has seen the labels of test trials"):
        check_leakage(leaking, LABELS)


def test_a_selection_of_features_inside_the_folds_is_not_accused():
    noise = np.random.default_rng(0).normal(size=(40, 500))
    pipeline = make_pipeline(SelectKBest(k=10), LogisticRegression())

    shuffled = check_leakage(
        lambda labels: score_pipelines({"probe": (pipeline, noise)}, labels, CV)["accuracy"][0], LABELS
    )

    assert shuffled.shape == (20,)
    assert shuffled.mean() == pytest.approx(0.5, abs=0.08)


def test_labels_are_shuffled_within_groups():
    labels, groups = np.repeat([0, 1], 20), np.repeat([0, 1], 20)
    orders = []

    check_leakage(lambda shuffled: orders.append(shuffled) or 0.5, labels, groups=groups, n_shuffles=3)

    assert all((order == labels).all() for order in orders)


def test_who_knows_the_answers_is_caught_though_nothing_varies():
    with pytest.raises(ValueError, match="reaches an accuracy of 1.00, chance is 0.50"):
        check_leakage(lambda labels: 1.0, LABELS)
