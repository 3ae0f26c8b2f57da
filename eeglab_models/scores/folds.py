"""Predictions and scores over folds: every pipeline on the same splits, every prediction kept.

A table of scores has one row per pipeline and fold. Results of moabb's evaluations have the same columns
`pipeline`, `subject` and `score`, and go through the same functions; tables made here go through moabb's
statistics once ``assign(dataset="name")`` adds the column that they need.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int, Shaped
from sklearn.base import BaseEstimator, clone, is_regressor
from sklearn.model_selection import BaseCrossValidator
from threadpoolctl import threadpool_limits

from eeglab_models.scores.intervals import accuracy_interval, mean_interval
from eeglab_models.scores.metrics import PROBABILITY, find_metric, score_arrays, to_arrays

__all__ = ["FewLabels", "predict_folds", "score_folds", "score_pipelines", "summarise"]

# An estimator, and what it reads: anything that an array of numbers of trials can index.
Pipeline = tuple[BaseEstimator, Any]


class FewLabels(BaseCrossValidator):
    """Splits of which only some training trials of every class are known: the steps of a learning curve.

    Parameters
    ----------
    cv : sklearn cross-validator
        How to split.
    n_labels : int
        Training trials to keep of every class of a fold, at most; of values, in all.
    seed : int
        Seed of the choice. With the same seed, a smaller number keeps a part of what a larger one keeps.
    """

    def __init__(self, cv: BaseCrossValidator, n_labels: int, seed: int = 0) -> None:
        self.cv, self.n_labels, self.seed = cv, n_labels, seed

    def split(
        self, X: Any, y: Any = None, groups: Any = None
    ) -> Iterator[tuple[Int[np.ndarray, " n_train"], Int[np.ndarray, " n_test"]]]:
        """Give the numbers of the trials of every fold.

        Parameters
        ----------
        X, y, groups : array
            As the cross-validator takes them.

        Yields
        ------
        train : numpy.ndarray, shape (n_train,)
            Numbers of the training trials that are kept.
        test : numpy.ndarray, shape (n_test,)
            Numbers of all tested trials.
        """
        y = np.asarray(y)
        for fold, (train, test) in enumerate(self.cv.split(X, y, groups)):
            order = np.random.default_rng([self.seed, fold]).permutation(train)
            labels = np.zeros(len(order)) if np.issubdtype(y.dtype, np.floating) else y[order]
            yield np.sort(order[pd.Series(order).groupby(labels).cumcount() < self.n_labels]), test

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Count the folds.

        Parameters
        ----------
        X, y, groups : array or None
            As the cross-validator takes them.

        Returns
        -------
        n_splits : int
            As many as the cross-validator makes.
        """
        return self.cv.get_n_splits(X, y, groups)


def predict_folds(
    pipelines: Mapping[str, Pipeline],
    labels: Shaped[np.ndarray, " n_trials"],
    cv: BaseCrossValidator,
    subjects: Shaped[np.ndarray, " n_trials"] | None = None,
    *,
    groups: Shaped[np.ndarray, " n_trials"] | None = None,
) -> pd.DataFrame:
    """Let every pipeline predict the same folds, and keep every prediction.

    Parameters
    ----------
    pipelines : dict of (estimator, array)
        By name, an estimator and what it reads, one entry per trial: arrays, features, epochs or windows.
        Classifiers predict classes, regressors of scikit-learn's kind predict values.
    labels : numpy.ndarray, shape (n_trials,)
        True classes, or values.
    cv : sklearn cross-validator
        How to split; the same splits for all.
    subjects : numpy.ndarray, shape (n_trials,), or None
        Subject of every trial: each is cross-validated alone.
    groups : numpy.ndarray, shape (n_trials,), or None
        What `cv` must not tear apart: subjects with ``LeaveOneGroupOut`` for scores across subjects,
        sessions or runs together with `subjects` for scores within.

    Returns
    -------
    predictions : pandas.DataFrame
        One row per pipeline and tested trial: `pipeline`, `subject`, `fold`, `trial` (its number in
        `labels`), `n_train`, `truth`, `predicted`, and of classes the probability of each, such as
        ``p_left``, where the estimator has one. Without `subjects`, `subject` is the group of the trial.

    Raises
    ------
    ValueError
        If predicted values or probabilities are no finite numbers.
    """
    alone = np.zeros(len(labels), dtype=int) if subjects is None else subjects
    whose = subjects if subjects is not None else groups
    parts: dict[str, list[pd.DataFrame]] = {name: [] for name in pipelines}
    n_folds = 0
    for subject in np.unique(alone):
        own = np.flatnonzero(alone == subject)
        try:
            folds = list(cv.split(own, labels[own], None if groups is None else groups[own]))
        except ValueError as error:
            whole = "all trials" if subjects is None else f"subject {subject}"
            held = "" if groups is None else f" of {len(np.unique(groups[own]))} groups"
            raise ValueError(
                f"{type(cv).__name__} cannot part the {len(own)} trials{held} of {whole}: {error} Take fewer "
                "folds, or more trials and groups."
            ) from error
        for name, (estimator, X) in pipelines.items():
            for fold, (train, test) in enumerate(folds, n_folds):
                train, test = own[train], own[test]
                told = {"pipeline": name, "subject": "all" if whose is None else whose[test]}
                told |= {"fold": fold, "trial": test, "n_train": len(train)}
                predicted = predict(estimator, X, labels, train, test)
                if not np.isfinite(predicted.select_dtypes("number")).all(axis=None):
                    raise ValueError(
                        f"{name} predicts numbers that are not finite in fold {fold}. Look at its input, or "
                        "lower its learning rate."
                    )
                parts[name].append(pd.concat([pd.DataFrame(told), predicted], axis=1))
        n_folds += len(folds)
    return pd.concat([part for own in parts.values() for part in own], ignore_index=True)


def predict(
    estimator: BaseEstimator,
    X: Any,
    labels: Shaped[np.ndarray, " n_trials"],
    train: Shaped[np.ndarray, " n_train"],
    test: Shaped[np.ndarray, " n_test"],
) -> pd.DataFrame:
    """Fit a copy of the estimator to some trials, and let it predict others."""
    # Covariances of a few channels are too small to share: more threads wait for each other.
    with threadpool_limits(1, user_api="blas"):
        fitted = clone(estimator).fit(X[train], labels[train])
        predicted, truth = fitted.predict(X[test]), labels[test]
        if is_regressor(estimator):
            return pd.DataFrame({"truth": truth, "predicted": predicted}, dtype=float)
        found = {"truth": truth.astype(str), "predicted": np.asarray(predicted).astype(str)}
        if hasattr(fitted, "predict_proba"):
            # A class that no training trial has is not expected.
            found |= {f"{PROBABILITY}{name}": 0.0 for name in np.unique(labels)}
            columns = zip(fitted.classes_, np.asarray(fitted.predict_proba(X[test]), float).T, strict=True)
            found |= {f"{PROBABILITY}{name}": column for name, column in columns}
    return pd.DataFrame(found)


def score_folds(
    pipelines: Mapping[str, Pipeline],
    labels: Shaped[np.ndarray, " n_trials"],
    cv: BaseCrossValidator,
    subjects: Shaped[np.ndarray, " n_trials"] | None = None,
    *,
    groups: Shaped[np.ndarray, " n_trials"] | None = None,
    metric: str = "accuracy",
) -> pd.DataFrame:
    """Score every pipeline on the same folds, and keep every fold.

    Parameters
    ----------
    pipelines : dict of (estimator, array)
        As in `predict_folds`, which keeps every prediction.
    labels : numpy.ndarray, shape (n_trials,)
        True classes, or values.
    cv : sklearn cross-validator
        How to split.
    subjects, groups : numpy.ndarray, shape (n_trials,), or None
        As in `predict_folds`.
    metric : str
        One of `METRICS`.

    Returns
    -------
    scores : pandas.DataFrame
        One row per pipeline and fold: `pipeline`, `subject`, `fold`, `score`, `metric`, `n_correct` of
        classes, `n_trials` tested and `n_train`. `score` is not a number where a fold lacks what the metric
        needs, as trials of all classes. Without `subjects`, `subject` is the group that a fold tests, or
        ``"all"`` where it tests several or `groups` is not given.

    Raises
    ------
    ValueError
        As `predict_folds`, or if the metric is unknown or does not fit what is predicted.
    """
    find_metric(metric)
    predictions = predict_folds(pipelines, labels, cv, subjects, groups=groups)
    return score_predictions(predictions, metric, ("fold",))


def score_predictions(
    predictions: pd.DataFrame, metric: str, unit: Sequence[str] = ("subject", "fold")
) -> pd.DataFrame:
    """Score every fold of every pipeline, or every person's part of it."""
    found = find_metric(metric)
    rows: list[dict[str, Any]] = []
    for name, of_pipeline in predictions.groupby("pipeline", sort=False):
        truth, told, n_classes = to_arrays(of_pipeline, found)
        for _, numbers in of_pipeline.groupby(list(unit) or (lambda row: 0), sort=False).indices.items():
            own = of_pipeline.iloc[numbers]
            whom, fold = own["subject"].unique(), own["fold"].unique()
            row = {"pipeline": name, "subject": whom[0] if len(whom) == 1 else "all", "fold": fold[0]}
            row |= {"score": score_arrays(found, truth[numbers], told[numbers], n_classes), "metric": metric}
            if found.reads != "values":
                row["n_correct"] = int((own["truth"] == own["predicted"]).sum())
            rows.append(row | {"n_trials": len(own), "n_train": own["n_train"].iloc[0]})
    return pd.DataFrame(rows)


def score_pipelines(
    pipelines: Mapping[str, Pipeline],
    labels: Shaped[np.ndarray, " n_trials"],
    cv: BaseCrossValidator,
    subjects: Shaped[np.ndarray, " n_trials"] | None = None,
    *,
    groups: Shaped[np.ndarray, " n_trials"] | None = None,
) -> pd.DataFrame:
    """Score the accuracy of every pipeline on the same folds: one row per pipeline.

    Parameters
    ----------
    pipelines : dict of (estimator, array)
        As in `score_folds`.
    labels : numpy.ndarray, shape (n_trials,)
        True classes.
    cv : sklearn cross-validator
        How to split.
    subjects, groups : numpy.ndarray, shape (n_trials,), or None
        As in `score_folds`.

    Returns
    -------
    scores : pandas.DataFrame
        As `summarise` returns it: accuracy over all held-out trials, Wilson's interval, number of trials.
    """
    return summarise(score_folds(pipelines, labels, cv, subjects, groups=groups))


def summarise(scores: pd.DataFrame, over: str = "trials", confidence: float = 0.95) -> pd.DataFrame:
    """Summarise a table of folds: one row per pipeline, with a confidence interval.

    Parameters
    ----------
    scores : pandas.DataFrame
        As `score_folds` returns it.
    over : {"trials", "subjects"}
        What varies. ``"trials"`` counts all trials and says how far the accuracy of *these* subjects could
        be off. ``"subjects"`` averages subjects and says how far that of *other* subjects could be off.
    confidence : float
        Coverage of the interval.

    Returns
    -------
    summary : pandas.DataFrame
        `pipeline`, the score by the name of its metric, as `accuracy`, `low`, `high`, and `n_trials` or
        `n_subjects`.

    Raises
    ------
    ValueError
        If `over` is neither, if there are fewer than two subjects to average, or if trials of another metric
        than accuracy are to be counted: `estimate` draws them again.
    """
    if over not in ("trials", "subjects"):
        raise ValueError(f"over must be trials or subjects, got {over!r}.")
    metric = scores["metric"].iloc[0] if "metric" in scores else "accuracy"
    if over == "trials" and metric != "accuracy":
        raise ValueError(
            f"Only the accuracy is a count of trials, got {metric}. Pass over='subjects', or the predictions "
            "to estimate."
        )
    rows = []
    for name, own in scores.groupby("pipeline", sort=False):
        if over == "trials":
            n_correct, n = int(own["n_correct"].sum()), int(own["n_trials"].sum())
            score, (low, high) = n_correct / n, accuracy_interval(n_correct, n, confidence)
        else:
            means = own.groupby("subject")["score"].mean().to_numpy()
            n, score, (low, high) = len(means), float(means.mean()), mean_interval(means, confidence)
        rows.append({"pipeline": name, metric: score, "low": low, "high": high, f"n_{over}": n})
    return pd.DataFrame(rows)
