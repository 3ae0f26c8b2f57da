"""What a prediction is worth: the scores that the field reports, all computed by scikit-learn.

A table of predictions has one row per pipeline and tested trial: `pipeline`, `subject`, `fold` (the number of
the fit), `trial`, `n_train`, `truth`, `predicted`, and for classes the probability of each, ``p_left``.
Whatever is reported later, also by another metric, is computed from it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Num
from scipy import stats
from sklearn import metrics

from eeglab_models.configs import nearest

__all__ = ["METRICS", "Metric", "measure"]

# What the names of columns of probabilities begin with.
PROBABILITY = "p_"


@dataclass(frozen=True)
class Metric:
    """A score, and how to read it.

    Attributes
    ----------
    title : str
        What figures and tables call it.
    reads : {"classes", "probabilities", "values"}
        What is held against the truth: predicted classes, probabilities of all classes, or predicted values.
    score : callable
        Gives the score of the true classes, numbered, or values, and of what is read.
    chance : callable
        Gives what predicting without looking reaches, from the true classes or values.
    everywhere : bool
        Whether any trials have a score; the others need trials of all classes, or different values.
    smaller_is_better : bool
        Whether it is an error.
    """

    title: str
    reads: str
    score: Callable[..., float]
    chance: Callable[..., float]
    everywhere: bool = False
    smaller_is_better: bool = False


def roc_auc(
    truth: Int[np.ndarray, " n_trials"], probabilities: Float[np.ndarray, "n_trials n_classes"]
) -> float:
    """Area under the ROC curve: of the second of two classes, or one class against the rest, averaged."""
    if probabilities.shape[1] == 2:
        return metrics.roc_auc_score(truth, probabilities[:, 1])
    return metrics.roc_auc_score(one_hot(truth, probabilities.shape[1]), probabilities, average="macro")


def average_precision(
    truth: Int[np.ndarray, " n_trials"], probabilities: Float[np.ndarray, "n_trials n_classes"]
) -> float:
    """Average precision: of the second of two classes, or one class against the rest, averaged."""
    if probabilities.shape[1] == 2:
        return metrics.average_precision_score(truth, probabilities[:, 1])
    return metrics.average_precision_score(one_hot(truth, probabilities.shape[1]), probabilities)


def weighted_f1(truth: Int[np.ndarray, " n_trials"], predicted: Int[np.ndarray, " n_trials"]) -> float:
    """F1 of every class, weighed by how often it is true."""
    return metrics.f1_score(truth, predicted, average="weighted", zero_division=0)


def one_hot(truth: Int[np.ndarray, " n_trials"], n_classes: int) -> Int[np.ndarray, "n_trials n_classes"]:
    """Write numbers of classes as columns."""
    return np.eye(n_classes, dtype=int)[truth]


def pearson(truth: Num[np.ndarray, " n_trials"], predicted: Num[np.ndarray, " n_trials"]) -> float:
    """Correlation, 0 where all predictions are the same."""
    return stats.pearsonr(truth, predicted).statistic if np.ptp(predicted) > 0 else 0.0


def shares(truth: Int[np.ndarray, " n_trials"]) -> Float[np.ndarray, " n_classes"]:
    """How often each class is true."""
    return np.bincount(truth) / len(truth)


def chance_precision(truth: Int[np.ndarray, " n_trials"]) -> float:
    """Average precision of a ranking by luck: the share of the class that is looked for."""
    return float(shares(truth)[1] if truth.max() < 2 else shares(truth).mean())


def chance_f1(truth: Int[np.ndarray, " n_trials"]) -> float:
    """Weighted F1 of saying always the most frequent class, or each as often as it is true: the larger."""
    share = shares(truth)
    return float(max(2 * share.max() ** 2 / (1 + share.max()), (share**2).sum()))


def chance_error(truth: Num[np.ndarray, " n_trials"]) -> float:
    """Mean absolute error of always predicting the median."""
    return float(np.abs(truth - np.median(truth)).mean())


def nothing(truth: Num[np.ndarray, " n_trials"]) -> float:
    """Chance of scores that are zero without any knowledge."""
    return 0.0


METRICS: dict[str, Metric] = {
    "accuracy": Metric(
        "accuracy", "classes", metrics.accuracy_score, lambda truth: float(shares(truth).max()), True
    ),
    "balanced_accuracy": Metric(
        "balanced accuracy",
        "classes",
        metrics.balanced_accuracy_score,
        lambda truth: 1 / len(np.unique(truth)),
    ),
    "roc_auc": Metric("ROC AUC", "probabilities", roc_auc, lambda truth: 0.5),
    "average_precision": Metric("average precision", "probabilities", average_precision, chance_precision),
    "kappa": Metric("Cohen's kappa", "classes", metrics.cohen_kappa_score, nothing),
    "f1": Metric("weighted F1", "classes", weighted_f1, chance_f1),
    "r2": Metric("R²", "values", metrics.r2_score, nothing),
    "mae": Metric("mean absolute error", "values", metrics.mean_absolute_error, chance_error, True, True),
    "pearson": Metric("Pearson's r", "values", pearson, nothing),
}
"""The metrics by name: classes, then values. Of two classes, the second by name is the one looked for."""


def find_metric(name: str) -> Metric:
    """Look a metric up, and name the nearest one where there is none."""
    if name not in METRICS:
        raise ValueError(
            f"metric must be one of {', '.join(METRICS)}, got {name!r}. Did you mean "
            f"{nearest(str(name), METRICS)!r}?"
        )
    return METRICS[name]


def has_values(predictions: pd.DataFrame) -> bool:
    """Tell whether values were predicted, and not classes."""
    return pd.api.types.is_numeric_dtype(predictions["truth"])


def to_arrays(predictions: pd.DataFrame, metric: Metric) -> tuple[np.ndarray, np.ndarray, int]:
    """Get the truth and what a metric holds against it as numbers, and how many classes there are."""
    if (metric.reads == "values") != has_values(predictions):
        kinds = ("values", "classes") if has_values(predictions) else ("classes", "values")
        fitting = [name for name, one in METRICS.items() if (one.reads == "values") == (kinds[0] == "values")]
        raise ValueError(
            f"{metric.title} is a score of {kinds[1]}, and these are predictions of {kinds[0]}. Choose "
            f"{', '.join(fitting)}."
        )
    if metric.reads == "values":
        return predictions["truth"].to_numpy(), predictions["predicted"].to_numpy(), 2
    columns = [name for name in predictions if name.startswith(PROBABILITY)]
    columns = sorted(name for name in columns if predictions[name].notna().any())
    told = {name.removeprefix(PROBABILITY) for name in columns}
    classes = sorted(told | set(predictions["truth"]) | set(predictions["predicted"]))
    truth = pd.Categorical(predictions["truth"], classes).codes.astype(int)
    if metric.reads == "classes":
        return truth, pd.Categorical(predictions["predicted"], classes).codes.astype(int), len(classes)
    if len(columns) < len(classes):
        raise ValueError(
            f"{metric.title} needs the probability of each class, and these pipelines only name classes. "
            "Choose accuracy, balanced_accuracy, kappa or f1, or estimators with predict_proba."
        )
    return truth, predictions[columns].to_numpy(), len(classes)


def score_arrays(metric: Metric, truth: np.ndarray, told: np.ndarray, n_classes: int) -> float:
    """Score some trials; not a number where they have no score."""
    if not metric.everywhere and len(np.unique(truth)) < n_classes:
        return np.nan
    return float(metric.score(truth, told))


def measure(predictions: pd.DataFrame, metric: str = "accuracy") -> float:
    """Score the predictions of one pipeline, all together.

    Parameters
    ----------
    predictions : pandas.DataFrame
        As `predict_folds` returns it.
    metric : str
        One of `METRICS`.

    Returns
    -------
    score : float
        Not a number where these trials have none: most metrics need trials of all classes, or different
        values.

    Raises
    ------
    ValueError
        If the metric is unknown, or is one of values where classes are predicted, or the reverse.
    """
    found = find_metric(metric)
    return score_arrays(found, *to_arrays(predictions, found))
