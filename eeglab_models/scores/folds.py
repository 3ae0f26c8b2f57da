"""Scores over folds: every pipeline on the same splits, every fold kept.

A table of scores has one row per pipeline and fold. Results of moabb's evaluations have the same columns
`pipeline`, `subject` and `score`, and go through the same functions; tables made here go through moabb's
statistics once ``assign(dataset="name")`` adds the column that they need.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Shaped
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import BaseCrossValidator
from threadpoolctl import threadpool_limits

from eeglab_models.scores.intervals import accuracy_interval, mean_interval

__all__ = ["score_folds", "score_pipelines", "summarise"]

# An estimator, and what it reads: anything that an array of numbers of trials can index.
Pipeline = tuple[BaseEstimator, Any]


def score_folds(
    pipelines: Mapping[str, Pipeline],
    labels: Shaped[np.ndarray, " n_trials"],
    cv: BaseCrossValidator,
    subjects: Shaped[np.ndarray, " n_trials"] | None = None,
    *,
    groups: Shaped[np.ndarray, " n_trials"] | None = None,
) -> pd.DataFrame:
    """Score every pipeline on the same folds, and keep every fold.

    Parameters
    ----------
    pipelines : dict of (estimator, array)
        By name, an estimator and what it reads, one entry per trial: arrays, features, epochs or windows.
    labels : numpy.ndarray, shape (n_trials,)
        True classes.
    cv : sklearn cross-validator
        How to split; the same splits for all.
    subjects : numpy.ndarray, shape (n_trials,), or None
        Subject of every trial: each is cross-validated alone.
    groups : numpy.ndarray, shape (n_trials,), or None
        What `cv` must not tear apart: subjects with ``LeaveOneGroupOut`` for scores across subjects,
        sessions or runs together with `subjects` for scores within.

    Returns
    -------
    scores : pandas.DataFrame
        One row per pipeline and fold: `pipeline`, `subject`, `fold`, the accuracy `score`, `n_correct`,
        `n_trials` tested and `n_train`. Without `subjects`, `subject` is the group that a fold tests, or
        ``"all"`` where it tests several or `groups` is not given.
    """
    alone = np.zeros(len(labels), dtype=int) if subjects is None else subjects
    rows: list[dict[str, Any]] = []
    for subject in np.unique(alone):
        own = np.flatnonzero(alone == subject)
        own_groups = None if groups is None else groups[own]
        folds = list(cv.split(own, labels[own], own_groups))
        for name, (estimator, X) in pipelines.items():
            for fold, (train, test) in enumerate(folds):
                train, test = own[train], own[test]
                n_correct = count_correct(estimator, X, labels, train, test)
                tested = ["all"] if groups is None else np.unique(groups[test])
                whom = tested[0] if len(tested) == 1 else "all"
                rows.append(
                    {
                        "pipeline": name,
                        "subject": whom if subjects is None else subject,
                        "fold": fold,
                        "score": n_correct / len(test),
                        "n_correct": n_correct,
                        "n_trials": len(test),
                        "n_train": len(train),
                    }
                )
    table = pd.DataFrame(rows)
    order = {name: position for position, name in enumerate(pipelines)}
    return table.sort_values("pipeline", key=lambda names: names.map(order), kind="stable", ignore_index=True)


def count_correct(
    estimator: BaseEstimator,
    X: Any,
    labels: Shaped[np.ndarray, " n_trials"],
    train: Shaped[np.ndarray, " n_train"],
    test: Shaped[np.ndarray, " n_test"],
) -> int:
    """Fit a copy of the estimator to some trials and count how many others it gets right."""
    # Covariances of a few channels are too small to share: more threads wait for each other.
    with threadpool_limits(1, user_api="blas"):
        predicted = clone(estimator).fit(X[train], labels[train]).predict(X[test])
    return int((predicted == labels[test]).sum())


def score_pipelines(
    pipelines: Mapping[str, Pipeline],
    labels: Shaped[np.ndarray, " n_trials"],
    cv: BaseCrossValidator,
    subjects: Shaped[np.ndarray, " n_trials"] | None = None,
    *,
    groups: Shaped[np.ndarray, " n_trials"] | None = None,
) -> pd.DataFrame:
    """Score every pipeline on the same folds: one row per pipeline.

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
        `pipeline`, `accuracy`, `low`, `high`, and `n_trials` or `n_subjects`.

    Raises
    ------
    ValueError
        If `over` is neither, or if there are fewer than two subjects to average.
    """
    if over not in ("trials", "subjects"):
        raise ValueError(f"over must be trials or subjects, got {over!r}.")
    rows = []
    for name, own in scores.groupby("pipeline", sort=False):
        if over == "trials":
            n_correct, n = int(own["n_correct"].sum()), int(own["n_trials"].sum())
            accuracy, (low, high) = n_correct / n, accuracy_interval(n_correct, n, confidence)
        else:
            means = own.groupby("subject")["score"].mean().to_numpy()
            n, accuracy, (low, high) = len(means), float(means.mean()), mean_interval(means, confidence)
        rows.append({"pipeline": name, "accuracy": accuracy, "low": low, "high": high, f"n_{over}": n})
    return pd.DataFrame(rows)
