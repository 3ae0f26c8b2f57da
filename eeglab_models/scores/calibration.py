"""Whether classifiers are as often right as they say."""

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from eeglab_models.scores.intervals import accuracy_interval
from eeglab_models.scores.metrics import PROBABILITY

__all__ = ["calibration_bins", "calibration_error", "confidences"]


def confidences(
    predictions: pd.DataFrame,
) -> tuple[Float[np.ndarray, " n_trials"], Bool[np.ndarray, " n_trials"]]:
    """Tell how sure a classifier was of every prediction, and whether it was right.

    Parameters
    ----------
    predictions : pandas.DataFrame
        As `predict_folds` returns it.

    Returns
    -------
    confidence : numpy.ndarray, shape (n_trials,)
        Largest probability of a class.
    right : numpy.ndarray, shape (n_trials,)
        Whether the predicted class is the true one.

    Raises
    ------
    ValueError
        If the predictions have no probabilities.
    """
    probabilities = predictions.filter(regex=f"^{PROBABILITY}").max(axis=1)
    if not len(probabilities) or probabilities.isna().any():
        raise ValueError(
            "Calibration needs the probability of each class, and these predictions lack it. Use estimators "
            "with predict_proba."
        )
    return probabilities.to_numpy(), (predictions["truth"] == predictions["predicted"]).to_numpy()


def calibration_bins(
    confidence: Float[np.ndarray, " n_trials"], right: Bool[np.ndarray, " n_trials"], n_bins: int = 5
) -> pd.DataFrame:
    """Compare confidence and accuracy in bins of equally many trials: a reliability curve.

    Parameters
    ----------
    confidence, right : numpy.ndarray, shape (n_trials,)
        As `confidences` returns them.
    n_bins : int
        Number of bins; with fewer trials than that, one a trial.

    Returns
    -------
    bins : pandas.DataFrame
        One row per bin, by confidence: mean `confidence`, `accuracy`, its interval `low`, `high`, and
        `n_trials`. `plotting.plot_calibration` draws it.
    """
    rows = []
    for own in np.array_split(np.argsort(confidence, kind="stable"), min(n_bins, len(right))):
        low, high = accuracy_interval(int(right[own].sum()), len(own))
        row = {"confidence": confidence[own].mean(), "accuracy": right[own].mean(), "low": low, "high": high}
        rows.append(row | {"n_trials": len(own)})
    return pd.DataFrame(rows)


def calibration_error(
    confidence: Float[np.ndarray, " n_trials"], right: Bool[np.ndarray, " n_trials"], n_bins: int = 5
) -> float:
    """Average the distance between confidence and accuracy over bins: the expected calibration error.

    Parameters
    ----------
    confidence, right : numpy.ndarray, shape (n_trials,)
        As `confidences` returns them.
    n_bins : int
        Number of bins of equally many trials. The error grows with it: small bins are far from honest by
        luck.

    Returns
    -------
    error : float
        From 0, as often right as it says, to 1.

    References
    ----------
    Guo et al. (2017), On calibration of modern neural networks, ICML, section 2.
    """
    bins = calibration_bins(confidence, right, n_bins)
    return float(np.average((bins["confidence"] - bins["accuracy"]).abs(), weights=bins["n_trials"]))
