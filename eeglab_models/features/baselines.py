"""The simple methods that anything deep has to beat, from parts of scikit-learn, pyriemann and mne."""

import functools
from collections.abc import Sequence

import mne
import numpy as np
from jaxtyping import Float
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.feature_selection import SelectKBest, mutual_info_classif
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from eeglab_models.signals.electrodes import electrode_name

__all__ = ["baselines", "eye_control"]

# Hz: where imagined movement shows, and its two rhythms.
MOTOR_BAND, RHYTHMS = (8, 32), ((8, 13), (13, 30))


def baselines(sfreq: float) -> dict[str, Pipeline]:
    """Build the four simple methods, each ready for cross-validation.

    Parameters
    ----------
    sfreq : float
        Sampling frequency in Hz of the windows that they will read, shape (n_windows, n_chans, n_times).
        They filter themselves (Butterworth, fourth order, forward and backward), so they can read the same
        windows as the models. Windows that were filtered before they were cut have cleaner edges.

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

    if sfreq <= 80:
        raise ValueError(f"Bands up to 40 Hz need a sampling frequency above 80 Hz, got {sfreq:g}.")

    def band(low: float, high: float) -> FunctionTransformer:
        return FunctionTransformer(band_pass, kw_args={"sfreq": sfreq, "low": low, "high": high})

    def patterns(low: float, high: float, n_filters: int) -> Pipeline:
        return make_pipeline(band(low, high), Covariances("oas"), CSP(nfilter=n_filters))

    bank = make_union(*(patterns(low, low + 4, 4) for low in range(4, 40, 4)))
    # The estimate of information adds noise to break ties.
    information = functools.partial(mutual_info_classif, random_state=0)
    powers = make_union(
        *(make_pipeline(band(low, high), FunctionTransformer(log_power)) for low, high in RHYTHMS)
    )
    return {
        "CSP + LDA": make_pipeline(*patterns(*MOTOR_BAND, 6), LinearDiscriminantAnalysis()),
        "tangent space + LR": make_pipeline(
            band(*MOTOR_BAND), Covariances("oas"), TangentSpace(), LogisticRegression(max_iter=1000)
        ),
        "filter-bank CSP + LDA": make_pipeline(
            bank, SelectKBest(information, k=10), LinearDiscriminantAnalysis()
        ),
        "band power + LR": make_pipeline(powers, StandardScaler(), LogisticRegression(max_iter=1000)),
    }


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
