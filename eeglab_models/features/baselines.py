"""The simple methods that anything deep has to beat, from parts of scikit-learn, pyriemann and mne."""

import functools
from collections.abc import Iterable, Sequence

import mne
import numpy as np
from jaxtyping import Float
from sklearn.base import BaseEstimator, clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.feature_selection import SelectKBest, mutual_info_classif
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from eeglab_models.signals.electrodes import electrode_name

__all__ = ["baselines", "eye_control", "ridge_baselines"]

# Hz: where imagined movement shows, and its two rhythms.
MOTOR_BAND, RHYTHMS = (8, 32), ((8, 13), (13, 30))
BANDS = ((1, 4), (4, 8), (8, 13), (13, 30), (30, 40))
# Of ridge regressions, on standardised features.
PENALTIES = np.logspace(-1, 5, 13)


def baselines(sfreq: float, class_weight: str | None = None) -> dict[str, Pipeline]:
    """Build the four simple methods, each ready for cross-validation.

    Parameters
    ----------
    sfreq : float
        Sampling frequency in Hz of the windows that they will read, shape (n_windows, n_chans, n_times).
        They filter themselves (Butterworth, fourth order, forward and backward), so they can read the same
        windows as the models. Windows that were filtered before they were cut have cleaner edges.
    class_weight : {"balanced"} or None
        Of the logistic regressions: rare classes weigh as much as frequent ones, or every window the same.

    Returns
    -------
    pipelines : dict of sklearn Pipeline
        ``"CSP + LDA"``: six common spatial patterns of 8 to 32 Hz. ``"tangent space + LR"``: all
        covariances of that band, on the Riemannian manifold. ``"filter-bank CSP + LDA"``: four patterns in
        each of nine bands from 4 to 40 Hz, of which the ten most informative features are chosen.
        ``"band power + LR"``: the logarithmic power of every channel at 8 to 13 and 13 to 30 Hz.

    Raises
    ------
    ValueError
        If the sampling frequency is too low for 40 Hz.

    References
    ----------
    Blankertz et al. (2008), IEEE Signal Processing Magazine 25: common spatial patterns. Barachant et al.
    (2012), IEEE Transactions on Biomedical Engineering 59: tangent space. Ang et al. (2012), Frontiers in
    Neuroscience 6: filter bank.
    """
    from pyriemann.estimation import Covariances
    from pyriemann.spatialfilters import CSP
    from pyriemann.tangentspace import TangentSpace

    check_rate(sfreq)

    def patterns(n_filters: int) -> list[BaseEstimator]:
        return [Covariances("oas"), CSP(nfilter=n_filters)]

    logistic = LogisticRegression(max_iter=1000, class_weight=class_weight)
    bank = in_bands(sfreq, [(low, low + 4) for low in range(4, 40, 4)], *patterns(4))
    # The estimate of information adds noise to break ties.
    information = functools.partial(mutual_info_classif, random_state=0)
    powers = in_bands(sfreq, RHYTHMS, FunctionTransformer(log_power))
    return {
        "CSP + LDA": make_pipeline(in_band(sfreq, *MOTOR_BAND), *patterns(6), LinearDiscriminantAnalysis()),
        "tangent space + LR": make_pipeline(
            in_band(sfreq, *MOTOR_BAND), Covariances("oas"), TangentSpace(), logistic
        ),
        "filter-bank CSP + LDA": make_pipeline(
            bank, SelectKBest(information, k=10), LinearDiscriminantAnalysis()
        ),
        "band power + LR": make_pipeline(powers, StandardScaler(), logistic),
    }


def ridge_baselines(sfreq: float) -> dict[str, Pipeline]:
    """Build the simple methods for values, such as the age; each ready for cross-validation.

    Parameters
    ----------
    sfreq : float
        Sampling frequency in Hz, as in `baselines`.

    Returns
    -------
    pipelines : dict of sklearn Pipeline
        ``"log power + ridge"``: the logarithmic power of every channel in the five bands of `BANDS`.
        ``"tangent space + ridge"``: all covariances of each of these bands on the Riemannian manifold. The
        penalty is chosen by leaving out one training window at a time.

    Raises
    ------
    ValueError
        If the sampling frequency is too low for 40 Hz.

    References
    ----------
    Sabbagh et al. (2020), Predictive regression modeling with MEG/EEG, NeuroImage 222: both, for the age.
    """
    from pyriemann.estimation import Covariances
    from pyriemann.tangentspace import TangentSpace

    check_rate(sfreq)
    powers = in_bands(sfreq, BANDS, FunctionTransformer(log_power))
    tangents = in_bands(sfreq, BANDS, Covariances("oas"), TangentSpace())
    return {
        "log power + ridge": make_pipeline(powers, StandardScaler(), RidgeCV(PENALTIES)),
        "tangent space + ridge": make_pipeline(tangents, StandardScaler(), RidgeCV(PENALTIES)),
    }


def check_rate(sfreq: float) -> None:
    """Refuse windows whose rate is too low for the bands of baselines."""
    if sfreq <= 80:
        raise ValueError(f"Bands up to 40 Hz need a sampling frequency above 80 Hz, got {sfreq:g}.")


def in_band(sfreq: float, low: float, high: float) -> FunctionTransformer:
    """Build the step that filters windows."""
    return FunctionTransformer(band_pass, kw_args={"sfreq": sfreq, "low": low, "high": high})


def in_bands(sfreq: float, bands: Iterable[tuple[float, float]], *steps: BaseEstimator) -> FeatureUnion:
    """Build the step that computes features in every band, and puts them side by side."""
    return make_union(*(make_pipeline(in_band(sfreq, *band), *map(clone, steps)) for band in bands))


def eye_control(ch_names: Sequence[str], sfreq: float) -> Pipeline:
    """Build a classifier that sees nothing but the eyes: F8 minus F7, averaged over quarters of a second.

    Where it is above chance, a classifier of all channels may have decoded the gaze, which often follows a
    cue. It does not see what the eyes leave in faster rhythms, and F7 and F8 see some brain.

    Parameters
    ----------
    ch_names : sequence of str
        Channels of the windows that it will read, shape (n_windows, n_chans, n_times).
    sfreq : float
        Their sampling frequency in Hz.

    Returns
    -------
    pipeline : sklearn Pipeline
        Ready for cross-validation.

    Raises
    ------
    ValueError
        If the windows lack F7 or F8.
    """
    names = [electrode_name(name) for name in ch_names]
    if not {"F7", "F8"} <= set(names):
        raise ValueError(
            f"The eyes are read from F7 and F8, got {', '.join(ch_names)}. Load windows with both."
        )
    numbers = {"left": names.index("F7"), "right": names.index("F8"), "n_bin": round(0.25 * sfreq)}
    return make_pipeline(
        FunctionTransformer(horizontal_gaze, kw_args=numbers),
        StandardScaler(),
        LogisticRegression(C=0.1, max_iter=1000),
    )


def horizontal_gaze(
    X: Float[np.ndarray, "n_windows n_chans n_times"], left: int, right: int, n_bin: int
) -> Float[np.ndarray, "n_windows n_bins"]:
    """Average the difference of two channels in bins."""
    n_bins = X.shape[-1] // n_bin
    difference = (X[:, right] - X[:, left])[:, : n_bins * n_bin]  # (n_windows, n_bins * n_bin)
    return difference.reshape(len(X), n_bins, n_bin).mean(axis=-1)


def band_pass(
    X: Float[np.ndarray, "n_windows n_chans n_times"], sfreq: float, low: float, high: float
) -> Float[np.ndarray, "n_windows n_chans n_times"]:
    """Filter windows that are cut already, without delay."""
    return mne.filter.filter_data(
        np.asarray(X, dtype=np.float64), sfreq, low, high, method="iir", verbose="error"
    )


def log_power(X: Float[np.ndarray, "n_windows n_chans n_times"]) -> Float[np.ndarray, "n_windows n_chans"]:
    """Take the logarithm of the power of every channel."""
    return np.log(X.var(axis=-1))
