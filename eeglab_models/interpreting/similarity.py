"""What features of models share: similarity of two models, and how much is subject, session and class."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float, Shaped

__all__ = ["cka", "cka_matrix", "variance_shares"]

Features = Float[np.ndarray, "n_windows n_features"]


def cka(
    a: Float[np.ndarray, "n_windows_a n_features_a"], b: Float[np.ndarray, "n_windows_b n_features_b"]
) -> float:
    """Compare what two sets of features say about the same windows: debiased linear CKA.

    It asks whether windows that are alike by one set are alike by the other. Rotations and a common scale
    change nothing. Without the correction, wide random features of few windows look similar.

    Parameters
    ----------
    a, b : numpy.ndarray, shapes (n_windows, n_features_a) and (n_windows, n_features_b)
        Features of the same windows in the same order.

    Returns
    -------
    similarity : float
        1 for the same features up to rotation and scale, about 0 for unrelated ones; it can be negative.

    Raises
    ------
    ValueError
        If the numbers of windows differ, if there are fewer than four, or if features are constant.

    References
    ----------
    Kornblith et al. (2019), ICML, section 3: centred kernel alignment. Song et al. (2012), JMLR 13,
    equation 5: the estimator without bias. Nguyen et al. (2021), ICLR, section 2: both together.
    """
    if len(a) != len(b) or len(a) < 4:
        raise ValueError(f"CKA needs the same four or more windows twice, got {len(a)} and {len(b)}.")
    similarities = [centre(features) for features in (a, b)]
    own = [float((similarity * similarity).sum()) for similarity in similarities]
    if min(own) <= 1e-20 * max(1.0, *own):
        raise ValueError("CKA needs features that differ between windows, got constant ones.")
    return float((similarities[0] * similarities[1]).sum() / np.sqrt(own[0] * own[1]))


def centre(features: Features) -> Float[np.ndarray, "n_windows n_windows"]:
    """Compare all windows with each other, leave out the diagonal, and centre so that no bias remains."""
    features = np.asarray(features, dtype=np.float64)
    # Rounding would grow with what all windows share, and the result does not depend on it.
    features = features - features.mean(axis=0)
    n = len(features)
    similarity = features @ features.T  # (n_windows, n_windows)
    np.fill_diagonal(similarity, 0)
    means = similarity.sum(axis=1) / (n - 2)
    means = means - means.sum() / (2 * (n - 1))
    similarity = similarity - means[:, None] - means
    np.fill_diagonal(similarity, 0)
    return similarity


def cka_matrix(features: Mapping[str, Features]) -> xr.DataArray:
    """Compare all sets of features with each other.

    Parameters
    ----------
    features : dict of numpy.ndarray, each of shape (n_windows, n_features)
        Features of the same windows, by the name of their model or layer.

    Returns
    -------
    similarities : xarray.DataArray, dims (a, b)
        `cka` of every pair.

    Raises
    ------
    ValueError
        As in `cka`.
    """
    names = list(features)
    values = np.array([[cka(features[a], features[b]) for b in names] for a in names])
    return xr.DataArray(values, {"a": names, "b": names}, ("a", "b"), name="cka")


def variance_shares(
    features: Features,
    labels: Shaped[np.ndarray, " n_labels"],
    subjects: Shaped[np.ndarray, " n_subject_names"],
    sessions: Shaped[np.ndarray, " n_session_names"],
) -> pd.DataFrame:
    """Say how much of the variance of features is subject, session and class.

    Features are standardised, so that each counts alike. Factors take their share one after the other, so
    that the shares add up to 1: subject; session within subject; class; how class differs between subjects;
    and the rest, which differs between windows of one class, session and subject.

    Parameters
    ----------
    features : numpy.ndarray, shape (n_windows, n_features)
        Features; constant ones are left out.
    labels, subjects, sessions : numpy.ndarray, shape (n_windows,)
        Class, subject and session of every window.

    Returns
    -------
    shares : pandas.DataFrame
        One row per factor: `factor`, the degrees of freedom `df`, its `share` of the variance (eta
        squared), the share that as many random groups would take of what the factors before it left,
        `chance`, and the `adjusted` share, which is 0 on average for a factor without effect (epsilon
        squared).

    Raises
    ------
    ValueError
        If lengths differ, if all features are constant, or if there are no more windows than groups.

    References
    ----------
    Anderson (2001), Austral Ecology 26, equation 3: partition of sums of squares over many variables. Kelley
    (1935), PNAS 21, page 557: epsilon squared.
    """
    lengths = [len(features), len(labels), len(subjects), len(sessions)]
    if len(set(lengths)) > 1:
        raise ValueError(f"Every window needs features, label, subject and session, got {lengths}.")
    scales = features.std(axis=0, dtype=np.float64)
    kept = scales > 1e-12 * np.abs(features).max(axis=0, initial=0)
    if not kept.any():
        raise ValueError("Shares of variance need features that differ between windows, got constant ones.")
    rest = (features[:, kept] - features[:, kept].mean(axis=0, dtype=np.float64)) / scales[kept]
    n_windows, n_kept = rest.shape
    total = n_windows * n_kept
    factors = {
        "subject": [subjects],
        "session": [subjects, sessions],
        "class": [labels],
        "class by subject": [subjects, labels],
    }
    basis = np.full((n_windows, 1), n_windows**-0.5)
    rows = []
    for factor, groups in factors.items():
        added = extend(basis, list(zip(*groups, strict=True)))  # (n_windows, df)
        explained = float(((added.T @ rest) ** 2).sum())
        left = float((rest**2).sum()) / max(1, n_windows - basis.shape[1])
        rows.append((factor, added.shape[1], explained / total, added.shape[1] * left / total))
        basis, rest = np.hstack([basis, added]), rest - added @ (added.T @ rest)
    df = n_windows - basis.shape[1]
    if df < 1:
        raise ValueError(
            f"Shares of variance need more windows than groups, got {n_windows} windows in as many groups."
        )
    share = float((rest**2).sum()) / total
    noise = share / df
    rows.append(("window", df, share, share))
    table = pd.DataFrame(rows, columns=["factor", "df", "share", "chance"])
    table["adjusted"] = table["share"] - table["df"] * noise
    table.loc[table["factor"] == "window", "adjusted"] = 1 - table["adjusted"][:-1].sum()
    return table


def extend(
    basis: Float[np.ndarray, "n_windows n_known"], groups: list[tuple]
) -> Float[np.ndarray, "n_windows df"]:
    """Find orthonormal directions in which groups differ, besides those of a basis."""
    names = sorted(set(groups))
    members = np.array([[group == name for name in names] for group in groups], dtype=np.float64)
    members = members - basis @ (basis.T @ members)  # (n_windows, n_groups)
    directions, sizes, _ = np.linalg.svd(members, full_matrices=False)
    return directions[:, sizes > 1e-8 * np.sqrt(len(groups))]
