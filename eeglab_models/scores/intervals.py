"""How far a score could be off: intervals over trials, and over subjects."""

import numpy as np
from jaxtyping import Num
from scipy import stats

__all__ = ["accuracy_interval", "mean_interval"]


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
        If there are fewer than two values, if one is no finite number, or if the method is neither.
    """
    if method not in ("t", "bootstrap"):
        raise ValueError(f"method must be t or bootstrap, got {method!r}.")
    if len(values) < 2:
        raise ValueError(
            f"An interval over subjects needs at least two of them, got {len(values)}. For one subject, take "
            "the interval over trials."
        )
    if not np.isfinite(values).all():
        n_missing = int((~np.isfinite(values)).sum())
        raise ValueError(
            f"An interval needs finite scores, got {n_missing} of {len(values)} that are not. Find out why, "
            "or leave these subjects out."
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
