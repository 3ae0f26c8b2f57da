"""How good a pipeline is, and how far that could be off, from its predictions: any metric, any task."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import sklearn
from jaxtyping import Int
from scipy import stats

from eeglab_models.scores.folds import score_predictions
from eeglab_models.scores.intervals import accuracy_interval, mean_interval
from eeglab_models.scores.metrics import find_metric, has_values, score_arrays, to_arrays

__all__ = ["estimate"]

# What is scored alone: what one fit says of one person; all of a person; all people together.
UNITS = (("subject", "fold"), ("subject",), ())
Rows = Int[np.ndarray, " n_rows"]


def estimate(
    predictions: pd.DataFrame,
    metric: str = "accuracy",
    *,
    confidence: float = 0.95,
    n_resamples: int = 200,
    seed: int = 0,
) -> pd.DataFrame:
    """Score every pipeline by its predictions, and bound the score.

    Every fold of every person is scored and a person's folds are averaged. Where a fold lacks what the
    metric needs, as trials of all classes, those of a person are scored together; where a person lacks it,
    as the age, which is one for each, all people are.

    Parameters
    ----------
    predictions : pandas.DataFrame
        As `predict_folds` returns it, of one seed.
    metric : str
        One of `METRICS`.
    confidence : float
        Coverage of the interval.
    n_resamples : int
        Number of samples of the bootstrap.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    estimates : pandas.DataFrame
        One row per pipeline: `pipeline`, `metric`, `score`, `low`, `high`, `interval`, `method`, `chance`,
        `n_subjects`, `n_trials`. `interval` is ``"subjects"`` where it is over people: by Student's t of
        their scores (`method` ``"t"``), or where all are scored together by drawing people again
        (``"bootstrap"``). ``"trials"`` is for one person: Wilson's of the accuracy (``"Wilson"``), else
        by drawing trials again within folds and classes, one fewer than there are of each, which makes
        variances of small strata right (``"bootstrap"``). A bootstrap gives the standard error, of which
        Student's t takes a multiple. It is too narrow near perfect scores, and without width at them.

    Raises
    ------
    ValueError
        If the metric is unknown, does not fit what is predicted, or has no value for these predictions.

    References
    ----------
    McCarthy & Snowden (1985), The bootstrap and finite population sampling, section 3: samples of one fewer.
    """
    rows = []
    for name, own in predictions.groupby("pipeline", sort=False):
        units, level = score_units(own, metric)
        means = units.groupby("subject")["score"].mean().to_numpy()
        score, n_subjects = float(means.mean()), own["subject"].nunique()
        method = "t" if len(means) > 1 else "Wilson" if metric == "accuracy" else "bootstrap"
        if method == "t":
            low, high = mean_interval(means, confidence)
        elif method == "Wilson":
            low, high = accuracy_interval(round(score * len(own)), len(own), confidence)
        else:
            error, n_free = draw_again(own, metric, n_resamples, seed)
            half = stats.t.ppf((1 + confidence) / 2, n_free) * error
            low, high = score - half, score + half
        row = {"pipeline": name, "metric": metric, "score": score, "low": low, "high": high}
        row |= {"interval": "subjects" if n_subjects > 1 else "trials", "method": method}
        row |= {"chance": chance_of(own, metric), "n_subjects": n_subjects, "n_trials": len(own)}
        rows.append(row)
    return pd.DataFrame(rows)


def score_units(predictions: pd.DataFrame, metric: str) -> tuple[pd.DataFrame, Sequence[str]]:
    """Score the smallest parts of the predictions of a pipeline that all have a score."""
    for level in UNITS:
        units = score_predictions(predictions, metric, level)
        if np.isfinite(units["score"]).all():
            return units, level
    raise ValueError(
        f"{find_metric(metric).title} needs trials of all classes, or different values, and these "
        f"{len(predictions)} predictions lack them. Test more trials, or choose accuracy or mae."
    )


def chance_of(predictions: pd.DataFrame, metric: str) -> float:
    """Tell what predicting without looking reaches."""
    found = find_metric(metric)
    return float(found.chance(to_arrays(predictions, found)[0]))


def strata_of(predictions: pd.DataFrame, level: Sequence[str]) -> list[Rows]:
    """Part the trials of one person by what is scored alone, and by class."""
    keys = list(level) if has_values(predictions) else [*level, "truth"]
    if not keys:
        return [np.arange(len(predictions))]
    return list(predictions.groupby(keys, sort=False).indices.values())


def draw_again(predictions: pd.DataFrame, metric: str, n_resamples: int, seed: int) -> tuple[float, int]:
    """Get the standard error of a score from samples, and its degrees of freedom."""
    found, rng = find_metric(metric), np.random.default_rng(seed)
    level = score_units(predictions, metric)[1]
    truth, told, n_classes = to_arrays(predictions, found)
    unit: Any = predictions.groupby(list(level), sort=False).ngroup() if level else np.zeros(len(truth), int)
    unit = np.asarray(unit)
    people = list(predictions.groupby("subject", sort=False).indices.values())
    strata = strata_of(predictions, level)
    scores = np.full(n_resamples, np.nan)
    # The same tables are checked once, not in every sample.
    with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
        for number in range(n_resamples):
            if len(people) > 1:
                parts = [people[one] for one in rng.integers(len(people), size=len(people))]
            else:
                parts = [rng.choice(own, max(len(own) - 1, 1)) for own in strata]
            rows: Rows = np.concatenate(parts)
            units = [rows[unit[rows] == one] for one in np.unique(unit)]
            scores[number] = np.mean([score_arrays(found, truth[u], told[u], n_classes) for u in units])
    n_free = len(people) - 1 if len(people) > 1 else max(len(predictions) - len(strata), 1)
    # A sample of people may lack a class or have one value.
    return float(np.nanstd(scores, ddof=1)), n_free
