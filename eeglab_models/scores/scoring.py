"""Scores that say how sure they are: folds, confidence intervals and paired tests.

A table of scores has one row per pipeline and fold. Results of moabb's evaluations have the same columns
`pipeline`, `subject` and `score`, and go through the same functions; tables made here go through moabb's
statistics once ``assign(dataset="name")`` adds the column that they need.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Num, Shaped
from scipy import stats
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import BaseCrossValidator
from threadpoolctl import threadpool_limits

__all__ = [
    "Comparison",
    "accuracy_interval",
    "compare",
    "mean_interval",
    "score_folds",
    "score_pipelines",
    "summarise",
]

# An estimator, and what it reads: anything that an array of numbers of trials can index.
Pipeline = tuple[BaseEstimator, Any]


@dataclass(frozen=True)
class Comparison:
    """Outcome of a paired test of two pipelines.

    Attributes
    ----------
    a, b : str
        Names of the pipelines.
    difference : float
        Mean score of `a` minus that of `b`.
    low, high : float
        Bounds of the difference with 95 % confidence, by `mean_interval` over the pairs.
    p_value : float
        Share of all ways to swap the two within pairs that differ at least as much, in either direction.
    n_pairs : int
        Number of pairs.
    pairs : str
        What a pair is: ``"subject"`` or ``"fold"``.
    n_wins : int
        Pairs in which `a` is better.
    """

    a: str
    b: str
    difference: float
    low: float
    high: float
    p_value: float
    n_pairs: int
    pairs: str
    n_wins: int

    def __str__(self) -> str:
        """Say the outcome in one line."""
        return (
            f"{self.a} - {self.b}: {self.difference:+.3f}, better in {self.n_wins} of {self.n_pairs} "
            f"{self.pairs}s, p = {self.p_value:.3f}"
        )


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
        By name, an estimator and what it reads, one entry per trial: arrays, features, epochs or windows.
    labels : numpy.ndarray, shape (n_trials,)
        True classes.
    cv : sklearn cross-validator
        How to split; the same splits for all.
    subjects : numpy.ndarray, shape (n_trials,), or None
        Subject of every trial: each is cross-validated alone.
    groups : numpy.ndarray, shape (n_trials,), or None
        What `cv` must not tear apart, as in `score_folds`.

    Returns
    -------
    scores : pandas.DataFrame
        One row per pipeline: accuracy over all held-out trials, the bounds of its 95 % confidence interval
        (Wilson; trials are taken as independent), and the number of trials.
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


def accuracy_interval(n_correct: int, n_trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Bound one accuracy by Wilson's confidence interval, which takes trials as independent.

    Parameters
    ----------
    n_correct, n_trials : int
        Trials that were right, and all of them.
    confidence : float
        Coverage of the interval.

    Returns
    -------
    low, high : float
        Bounds of the accuracy.

    References
    ----------
    Wilson (1927), Journal of the American Statistical Association 22, page 209.
    """
    interval = stats.binomtest(n_correct, n_trials).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def mean_interval(
    values: Num[np.ndarray, " n_subjects"],
    confidence: float = 0.95,
    method: str = "t",
    seed: int = 0,
) -> tuple[float, float]:
    """Bound the mean over subjects.

    Parameters
    ----------
    values : numpy.ndarray, shape (n_subjects,)
        One score per subject.
    confidence : float
        Coverage of the interval.
    method : {"t", "bootstrap"}
        ``"t"`` is exact for normal scores and good for few subjects. ``"bootstrap"`` draws subjects with
        replacement (bias-corrected and accelerated), stays within the range of the scores, and is too
        narrow for fewer than about ten.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    low, high : float
        Bounds of the mean.

    Raises
    ------
    ValueError
        If there are fewer than two values, or if the method is neither.
    """
    if method not in ("t", "bootstrap"):
        raise ValueError(f"method must be t or bootstrap, got {method!r}.")
    if len(values) < 2:
        raise ValueError(
            f"An interval over subjects needs at least two of them, got {len(values)}. For one subject, take "
            "the interval over trials."
        )
    mean = float(np.mean(values))
    if np.ptp(values) == 0:
        return mean, mean
    if method == "t":
        low, high = stats.t.interval(confidence, len(values) - 1, mean, stats.sem(values))
    else:
        low, high = stats.bootstrap(
            (values,), np.mean, confidence_level=confidence, rng=np.random.default_rng(seed)
        ).confidence_interval
    return float(low), float(high)


def compare(
    scores: pd.DataFrame, a: str, b: str, *, n_permutations: int = 10_000, seed: int = 0
) -> Comparison:
    """Test whether two pipelines differ, by swapping them within pairs.

    Pairs are subjects if there are several; a subject's folds and sessions are averaged. With one subject
    they are its folds: these share training data, so that they say something about this recording only, and
    five folds cannot reach p = 0.05 whatever the scores.

    Parameters
    ----------
    scores : pandas.DataFrame
        As `score_folds` or an evaluation of moabb returns it. Several data sets are counted together; to
        weigh them, use moabb's `compute_dataset_statistics` and `find_significant_differences` on the same
        table, whose tests are one-sided.
    a, b : str
        Names of the pipelines.
    n_permutations : int
        Number of random swaps; where there are no more ways to swap than that, all are tried.
    seed : int
        Seed of the swaps.

    Returns
    -------
    comparison : Comparison
        Difference of the means, its interval and a two-sided p-value.

    Raises
    ------
    ValueError
        If a pipeline is unknown, or if the two were not scored on the same pairs.

    References
    ----------
    Good (2005), Permutation, parametric and bootstrap tests of hypotheses, section 3.2: matched pairs.
    """
    names = scores["pipeline"].unique()
    for name in (a, b):
        if name not in names:
            raise ValueError(f"There are no scores of {name!r}, only of {', '.join(names)}.")
    person = [column for column in ("dataset", "subject") if column in scores]
    several = len(scores[person].drop_duplicates()) > 1
    unit = person if several or "fold" not in scores else ["fold"]
    means = scores.groupby(["pipeline", *unit])["score"].mean()
    pairs = pd.concat([means[a], means[b]], axis=1, keys=["a", "b"])
    if pairs.isna().any(axis=None) or len(pairs) < 2:
        raise ValueError(
            f"A paired test needs both pipelines on the same two or more subjects or folds, got {len(pairs)} "
            f"of which {int(pairs.notna().all(axis=1).sum())} have both."
        )
    differences = (pairs["a"] - pairs["b"]).to_numpy()
    test = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        n_resamples=n_permutations,
        vectorized=True,
        rng=np.random.default_rng(seed),
    )
    low, high = mean_interval(differences)
    return Comparison(
        a=a,
        b=b,
        difference=float(differences.mean()),
        low=low,
        high=high,
        p_value=float(test.pvalue),
        n_pairs=len(pairs),
        pairs=unit[-1],
        n_wins=int((differences > 0).sum()),
    )
