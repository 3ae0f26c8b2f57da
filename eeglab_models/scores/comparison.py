"""Do two pipelines differ? Paired tests, many of them, and over several data sets."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Num
from scipy import stats

from eeglab_models.scores.intervals import mean_interval

__all__ = ["Comparison", "compare"]


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
        Bounds of the difference with 95 % confidence.
    p_value : float
        Two-sided.
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


def compare(
    scores: pd.DataFrame, a: str, b: str, *, n_permutations: int = 10_000, seed: int = 0
) -> Comparison:
    """Test whether two pipelines differ, pair by pair.

    Pairs are subjects if there are several; a subject's folds and sessions are averaged. The p-value is the
    share of all ways to swap the two within pairs that differ at least as much, in either direction, and
    `mean_interval` bounds the difference.

    With one subject pairs are its folds, which say something about this recording only. Folds of a
    cross-validation, which have `n_train`, share training data: a t-test with the variance that Nadeau and
    Bengio give such folds takes the place of the swaps, and its interval that of `mean_interval`.

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
    Nadeau & Bengio (2003), Machine Learning 52, section 3.1: the variance of folds.
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
    if unit == ["fold"] and "n_train" in scores:
        low, high, p_value = corrected_t(differences, (scores["n_trials"] / scores["n_train"]).mean())
    else:
        low, high = mean_interval(differences)
        p_value = swap_within_pairs(differences, n_permutations, seed)
    return Comparison(
        a=a,
        b=b,
        difference=float(differences.mean()),
        low=low,
        high=high,
        p_value=p_value,
        n_pairs=len(pairs),
        pairs=unit[-1],
        n_wins=int((differences > 0).sum()),
    )


def swap_within_pairs(differences: Float[np.ndarray, " n_pairs"], n_permutations: int, seed: int) -> float:
    """Share of all swaps within pairs that differ at least as much, in either direction."""
    test = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        n_resamples=n_permutations,
        vectorized=True,
        rng=np.random.default_rng(seed),
    )
    return float(test.pvalue)


def corrected_t(differences: Float[np.ndarray, " n_folds"], ratio: float) -> tuple[float, float, float]:
    """Bounds and p-value of folds that share training data; `ratio` is that of tested to trained trials.

    moabb's `compute_pvals_corrected_ttest` gives the same p-value, but no bounds.
    """
    n_folds, mean = len(differences), differences.mean()
    error = np.sqrt((1 / n_folds + ratio) * differences.var(ddof=1))
    if error == 0:
        return float(mean), float(mean), float(mean == 0)
    low, high = stats.t.interval(0.95, n_folds - 1, mean, error)
    return float(low), float(high), float(2 * stats.t.sf(abs(mean) / error, n_folds - 1))


def combine_data_sets(
    differences: Float[np.ndarray, " n_datasets"],
    p_values: Float[np.ndarray, " n_datasets"],
    n_subjects: Num[np.ndarray, " n_datasets"],
) -> float:
    """Combine two-sided p-values by Stouffer's method, each with the direction of its difference."""
    # Half of the two-sided p, so that the other direction is exactly its complement: one-sided permutation
    # tests count ties in both directions, and 1 - p of one direction is not the p of the other.
    one_sided = np.where(differences > 0, p_values / 2, 1 - p_values / 2)
    p = stats.combine_pvalues(one_sided, method="stouffer", weights=np.sqrt(n_subjects)).pvalue
    return float(min(1.0, 2 * min(p, 1 - p)))


def correct_holm(p_values: Float[np.ndarray, " n_tests"]) -> Float[np.ndarray, " n_tests"]:
    """Correct for the number of tests by Holm's method (1979, Scandinavian Journal of Statistics 6)."""
    order = np.argsort(p_values)
    raised = p_values[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty_like(p_values)
    corrected[order] = np.minimum(1, np.maximum.accumulate(raised))
    return corrected
