"""Metrics are scikit-learn's and what the hand computes, and their intervals cover what they should."""

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.model_selection import KFold, LeaveOneGroupOut, StratifiedKFold

from eeglab_models.scores import (
    METRICS,
    calibration_bins,
    calibration_error,
    confidences,
    estimate,
    measure,
    predict_folds,
    score_folds,
    summarise,
)

RNG = np.random.default_rng(0)


def classes(truth, probabilities, names="abc", **others):
    """Predictions of the most probable of some classes."""
    probabilities = np.asarray(probabilities, float)
    names = np.array(list(names[: probabilities.shape[1]]))
    table = {"pipeline": "one", "subject": 1, "fold": 0, "trial": range(len(truth)), "n_train": 10}
    table |= {"truth": names[truth], "predicted": names[probabilities.argmax(axis=1)]}
    table |= {f"p_{name}": column for name, column in zip(names, probabilities.T, strict=True)}
    return pd.DataFrame(table | others)


def values(truth, predicted, **others):
    """Predictions of values."""
    table = {"pipeline": "one", "subject": 1, "fold": 0, "trial": range(len(truth)), "n_train": 10}
    return pd.DataFrame(table | {"truth": np.asarray(truth, float), "predicted": predicted} | others)


# Of class b one trial in two is found, and one in three of a is taken for b.
BY_HAND = classes([0, 0, 0, 1, 1], [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6], [0.6, 0.4]])


@pytest.mark.parametrize(
    ("metric", "score", "chance"),
    [
        ("accuracy", 3 / 5, 3 / 5),
        ("balanced_accuracy", (2 / 3 + 1 / 2) / 2, 1 / 2),
        # Of six pairs of a and b, the one of 0.6 against 0.7 and that of 0.4 against 0.7 are wrong.
        ("roc_auc", 4 / 6, 1 / 2),
        # Ranked a b b a a: one of two, then two of three.
        ("average_precision", (1 / 2 + 2 / 3) / 2, 2 / 5),
        # Expected by luck: (3 * 3 + 2 * 2) / 25.
        ("kappa", (0.6 - 0.52) / (1 - 0.52), 0),
        ("f1", 0.6 * 4 / 6 + 0.4 * 2 / 4, 0.52),
    ],
)
def test_metrics_of_classes_by_hand(metric, score, chance):
    assert measure(BY_HAND, metric) == pytest.approx(score)
    assert estimate(pd.concat([BY_HAND] * 2), metric)["chance"][0] == pytest.approx(chance)


@pytest.mark.parametrize(
    ("metric", "score", "chance"),
    # Errors 1 0 1 1; deviations of the truth -1.5 -0.5 0.5 1.5, of what is predicted -1.25 -1.25 0.75 1.75.
    [("r2", 1 - 3 / 5, 0), ("mae", 3 / 4, 1.0), ("pearson", 5.5 / np.sqrt(5 * 6.75), 0)],
)
def test_metrics_of_values_by_hand(metric, score, chance):
    table = values([1, 2, 3, 4], [2, 2, 4, 5])

    assert measure(table, metric) == pytest.approx(score)
    assert estimate(table, metric)["chance"][0] == chance


def test_metrics_of_classes_are_those_of_scikit_learn():
    truth, p = RNG.integers(0, 3, 90), RNG.dirichlet(np.ones(3), 90)
    predicted, table = p.argmax(axis=1), classes(truth, p)
    told = {
        "accuracy": metrics.accuracy_score(truth, predicted),
        "balanced_accuracy": metrics.balanced_accuracy_score(truth, predicted),
        "roc_auc": metrics.roc_auc_score(truth, p, multi_class="ovr", average="macro"),
        "average_precision": metrics.average_precision_score(truth, p, average="macro"),
        "kappa": metrics.cohen_kappa_score(truth, predicted),
        "f1": metrics.f1_score(truth, predicted, average="weighted"),
    }

    assert {name: measure(table, name) for name in told} == pytest.approx(told)


def test_metrics_of_values_are_those_of_scikit_learn():
    truth, predicted = RNG.normal(size=(2, 50))
    table = values(truth, predicted)

    assert measure(table, "r2") == pytest.approx(metrics.r2_score(truth, predicted))
    assert measure(table, "mae") == pytest.approx(metrics.mean_absolute_error(truth, predicted))
    assert measure(table, "pearson") == pytest.approx(np.corrcoef(truth, predicted)[0, 1])


def test_always_saying_no_is_seen_through():
    never = classes(np.repeat([0, 1], [50, 10]), np.tile([0.9, 0.1], (60, 1)))

    scores = {name: measure(never, name) for name in ("accuracy", "balanced_accuracy", "roc_auc", "kappa")}

    assert scores == pytest.approx(
        {"accuracy": 50 / 60, "balanced_accuracy": 0.5, "roc_auc": 0.5, "kappa": 0}
    )


X = RNG.normal(size=(40, 3))
LABELS = np.where(X[:, 0] + RNG.normal(size=40) > 0, "yes", "no")


def test_every_prediction_of_every_pipeline_is_kept():
    pipelines = {"lr": (LogisticRegression(), X), "ridge": (RidgeClassifier(), X)}

    table = predict_folds(pipelines, LABELS, StratifiedKFold(4), np.repeat([1, 2], 20))

    assert len(table) == 80
    assert (table["truth"] == LABELS[table["trial"]]).all()
    assert table.groupby("pipeline")["trial"].apply(lambda trials: sorted(trials) == list(range(40))).all()
    assert table["fold"].nunique() == 8
    lr = table[table["pipeline"] == "lr"]
    assert (lr["p_no"] + lr["p_yes"]).to_numpy() == pytest.approx(1)
    assert (np.where(lr["p_yes"] > 0.5, "yes", "no") == lr["predicted"]).all()


def test_a_class_that_training_lacks_has_no_probability():
    labels = np.array(["a", "b"] * 5 + ["c", "a"] * 5)
    table = predict_folds(
        {"lr": (LogisticRegression(), X[:20])}, labels, LeaveOneGroupOut(), groups=np.repeat([1, 2], 10)
    )

    assert (table.loc[table["subject"] == 2, "p_c"] == 0).all()
    assert table.filter(like="p_").sum(axis=1).to_numpy() == pytest.approx(1)


def test_regressors_predict_values():
    table = predict_folds({"line": (LinearRegression(), X)}, X[:, 0], KFold(4))

    assert measure(table, "r2") == pytest.approx(1)
    assert not table.columns.str.startswith("p_").any()


def test_folds_are_scored_by_any_metric():
    pipelines = {"lr": (LogisticRegression(), X)}
    folds = score_folds(pipelines, LABELS, StratifiedKFold(4), metric="roc_auc")
    predictions = predict_folds(pipelines, LABELS, StratifiedKFold(4))

    by_fold = [measure(own, "roc_auc") for _, own in predictions.groupby("fold")]

    assert folds["score"].tolist() == by_fold
    assert set(folds["metric"]) == {"roc_auc"}
    assert estimate(predictions, "roc_auc")["score"][0] == pytest.approx(np.mean(by_fold))
    with pytest.raises(ValueError, match="Only the accuracy is a count of trials, got roc_auc"):
        summarise(folds)


def test_a_fold_without_all_classes_has_no_score_and_its_person_has():
    table = classes([0, 0, 1, 1], [[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.2, 0.8]], fold=[0, 0, 1, 1])

    assert estimate(table, "roc_auc")["score"][0] == 3 / 4


def test_people_with_one_value_each_are_scored_together():
    people = np.repeat(np.arange(12), 3)
    table = values(people, people + RNG.normal(size=36), subject=people)

    found = estimate(table, "r2").iloc[0]

    assert found["score"] == pytest.approx(measure(table, "r2"))
    assert (found["interval"], found["method"], found["n_subjects"]) == ("subjects", "bootstrap", 12)
    assert found["low"] < found["score"] < found["high"]
    assert estimate(table, "mae").loc[0, "method"] == "t"


@pytest.mark.parametrize(
    ("table", "metric", "message"),
    [
        (BY_HAND, "roc", "metric must be one of .* got 'roc'. Did you mean 'roc_auc'"),
        (BY_HAND, "r2", "R² is a score of values, and these are predictions of classes. Choose accuracy, "),
        (values([1, 2], [1, 2]), "kappa", "Cohen's kappa is a score of classes, .* Choose r2, mae, pearson"),
        (BY_HAND.drop(columns=["p_a", "p_b"]), "roc_auc", "ROC AUC needs the probability of each class"),
        (BY_HAND[:2], "roc_auc", "ROC AUC needs trials of all classes"),
    ],
)
def test_scores_that_make_no_sense_are_refused(table, metric, message):
    with pytest.raises(ValueError, match=message):
        estimate(table, metric)


def test_predictions_that_are_no_numbers_are_refused():
    class Diverged(LinearRegression):
        def predict(self, X):
            return np.full(len(X), np.nan)

    with pytest.raises(ValueError, match="line predicts numbers that are not finite in fold 0"):
        predict_folds({"line": (Diverged(), X)}, X[:, 0], KFold(2))


def draw_classes(n_trials, n_folds):
    """Trials of which the score of the second class is higher by one standard deviation."""
    truth = np.tile([0, 1], n_trials // 2)
    p = 1 / (1 + np.exp(-(RNG.normal(size=n_trials) + truth - 0.5)))
    return classes(truth, np.column_stack([1 - p, p]), fold=np.arange(n_trials) * n_folds // n_trials)


def draw_people(n_people):
    """People with one value each, of which a part is predicted."""
    truth = RNG.normal(size=n_people)
    return values(truth, 0.6 * truth + 0.6 * RNG.normal(size=n_people), subject=range(n_people))


@pytest.mark.parametrize(
    ("metric", "draw", "sizes", "true"),
    [
        # Normal scores one standard deviation apart: Phi(1 / sqrt 2).
        ("roc_auc", draw_classes, (40, 1), 0.7602),
        # 1 - (0.4² + 0.6²).
        ("r2", draw_people, (30,), 0.48),
    ],
)
def test_intervals_cover_what_is_true_as_often_as_they_say(metric, draw, sizes, true):
    found = pd.concat([estimate(draw(*sizes), metric, n_resamples=20) for _ in range(40)])

    covered = (found["low"] < true) & (true < found["high"])

    assert set(found["method"]) == {"bootstrap"}
    # Of 40 that cover with 95 % probability, fewer than 34 are rare.
    assert covered.mean() >= 0.85


def test_metrics_say_what_is_better_and_what_luck_reaches():
    assert [name for name, metric in METRICS.items() if metric.smaller_is_better] == ["mae"]
    assert METRICS["f1"].chance(np.repeat([0, 1], [9, 1])) == pytest.approx(2 * 0.81 / 1.9)


def test_calibration_is_that_of_scikit_learn():
    from sklearn.calibration import calibration_curve

    confidence = RNG.uniform(0.5, 1, 100)
    right = RNG.uniform(size=100) < confidence

    bins = calibration_bins(confidence, right, 5)
    accuracy, mean = calibration_curve(right, confidence, n_bins=5, strategy="quantile")

    assert bins["accuracy"].to_numpy() == pytest.approx(accuracy)
    assert bins["confidence"].to_numpy() == pytest.approx(mean)
    assert calibration_error(confidence, right, 5) == pytest.approx(np.abs(accuracy - mean).mean())


def test_calibration_by_hand():
    """Sure by 0.6 and right in half, sure by 0.9 and right always: off by 0.1 and 0.1."""
    confidence, right = confidences(classes([0, 1, 0, 0], [[0.6, 0.4], [0.6, 0.4], [0.9, 0.1], [0.9, 0.1]]))

    assert calibration_error(confidence, right, 2) == pytest.approx(0.1)
    with pytest.raises(ValueError, match="needs the probability of each class"):
        confidences(values([1, 2], [1, 2]))
