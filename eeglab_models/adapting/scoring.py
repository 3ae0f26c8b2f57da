"""Scores that say how sure they are."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped
from scipy.stats import binom, binomtest
from sklearn.base import BaseEstimator
from sklearn.model_selection import BaseCrossValidator, cross_val_predict
from threadpoolctl import threadpool_limits

__all__ = ["chance_level", "score_pipelines"]


def chance_level(labels: Shaped[np.ndarray, " n_trials"], alpha: float = 0.05) -> tuple[float, float]:
    """Accuracy of guessing, and the accuracy that guessing exceeds in fewer than `alpha` of all cases.

    Parameters
    ----------
    labels : numpy.ndarray, shape (n_trials,)
        True classes.
    alpha : float
        Probability that guessing exceeds the second value.

    Returns
    -------
    chance : float
        Share of the most frequent class.
    threshold : float
        Accuracies above it are significantly above chance (binomial, one-sided).

    References
    ----------
    Combrisson & Jerbi (2015), Journal of Neuroscience Methods 250, section 2.1.
    """
    n_trials = len(labels)
    chance = np.unique(labels, return_counts=True)[1].max() / n_trials
    return float(chance), float(binom.isf(alpha, n_trials, chance) / n_trials)


def score_pipelines(
    pipelines: Mapping[str, tuple[BaseEstimator, Float[np.ndarray, "n_trials ..."]]],
    labels: Shaped[np.ndarray, " n_trials"],
    cv: BaseCrossValidator,
    subjects: Shaped[np.ndarray, " n_trials"] | None = None,
) -> pd.DataFrame:
    """Score every pipeline on the same folds.

    Parameters
    ----------
    pipelines : dict of (estimator, array)
        By name, an estimator and what it reads, one entry per trial.
    labels : numpy.ndarray, shape (n_trials,)
        True classes.
    cv : sklearn cross-validator
        How to split; the same splits for all.
    subjects : numpy.ndarray, shape (n_trials,), or None
        Subject of every trial: each is cross-validated alone, and their trials are counted together.

    Returns
    -------
    scores : pandas.DataFrame
        One row per pipeline: accuracy over all held-out trials, the bounds of its 95 % confidence interval
        (Wilson; trials are taken as independent), and the number of trials.
    """
    subjects = np.zeros(len(labels)) if subjects is None else subjects
    rows: list[dict[str, Any]] = []
    for name, (estimator, X) in pipelines.items():
        n_correct = 0
        for subject in np.unique(subjects):
            own = subjects == subject
            # Covariances of a few channels are too small to share: more threads wait for each other.
            with threadpool_limits(1, user_api="blas"):
                predicted = cross_val_predict(estimator, X[own], labels[own], cv=cv)
            n_correct += int((predicted == labels[own]).sum())
        interval = binomtest(n_correct, len(labels)).proportion_ci(method="wilson")
        rows.append(
            {
                "pipeline": name,
                "accuracy": n_correct / len(labels),
                "low": interval.low,
                "high": interval.high,
                "n_trials": len(labels),
            }
        )
    return pd.DataFrame(rows)
