"""What luck reaches: chance by counting, and procedures that do better with shuffled labels than luck can."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Shaped
from scipy import stats

__all__ = ["chance_level", "check_leakage"]

# Risk of accusing a procedure that leaks nothing.
LEAK_ALPHA = 0.001


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
    return float(chance), float(stats.binom.isf(alpha, n_trials, chance) / n_trials)


def check_leakage(
    procedure: Callable[[Shaped[np.ndarray, " n_trials"]], float],
    labels: Shaped[np.ndarray, " n_trials"],
    *,
    groups: Shaped[np.ndarray, " n_trials"] | None = None,
    n_shuffles: int = 20,
    seed: int = 0,
) -> Float[np.ndarray, " n_shuffles"]:
    """Refuse a procedure that still scores above chance when labels are shuffled.

    With shuffled labels there is nothing to find. Whoever finds something has seen the answers: a scaler,
    a selection of features or of settings that was fitted to the labels of test trials too. Therefore all
    that reads labels belongs inside the procedure.

    Parameters
    ----------
    procedure : callable
        Everything from labels to accuracy, called with labels in a new order.
    labels : numpy.ndarray, shape (n_trials,)
        True classes.
    groups : numpy.ndarray, shape (n_trials,), or None
        Labels are shuffled within groups, for instance subjects, whose shares of the classes stay.
    n_shuffles : int
        How often labels are shuffled.
    seed : int
        Seed of the shuffling.

    Returns
    -------
    shuffled : numpy.ndarray, shape (n_shuffles,)
        Accuracies with shuffled labels.

    Raises
    ------
    ValueError
        If their mean is above the share of the most frequent class (one-sided t-test, alpha 0.001).
    """
    rng = np.random.default_rng(seed)
    groups = np.zeros(len(labels)) if groups is None else groups
    shuffled = np.empty(n_shuffles)
    for repetition in range(n_shuffles):
        order = np.arange(len(labels))
        for group in np.unique(groups):
            own = np.flatnonzero(groups == group)
            order[own] = rng.permutation(own)
        shuffled[repetition] = procedure(labels[order])
    chance = chance_level(labels)[0]
    if np.ptp(shuffled) == 0:
        leaks = shuffled[0] > chance
    else:
        leaks = stats.ttest_1samp(shuffled, chance, alternative="greater").pvalue < LEAK_ALPHA
    if leaks:
        raise ValueError(
            f"With shuffled labels this procedure reaches an accuracy of {shuffled.mean():.2f}, chance is "
            f"{chance:.2f}: it has seen the labels of test trials. Fit everything inside the folds."
        )
    return shuffled
