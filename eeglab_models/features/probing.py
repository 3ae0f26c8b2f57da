"""Probes: simple classifiers on features of frozen models.

Shapes use these names throughout:

    n_windows   windows, one per trial
    n_chans     EEG channels
    n_times     samples of a window
    n_features  numbers that describe a window
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import BaseCrossValidator
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from eeglab_models.features.baselines import PENALTIES
from eeglab_models.features.cache import describe_model
from eeglab_models.features.embeddings import extract_features, extract_layers
from eeglab_models.models.base import EEGModel
from eeglab_models.scores.folds import score_folds
from eeglab_models.signals.preparation import prepare
from eeglab_models.signals.recordings import load_windows
from eeglab_models.signals.windows import Windows

__all__ = ["FeatureExtractor", "align", "linear_probe", "probe_layers", "ridge_probe"]


class FeatureExtractor(TransformerMixin, BaseEstimator):
    """A frozen model as a step of a scikit-learn pipeline: windows in, features out.

    It learns nothing, so nothing can leak through it. It reads what moabb's paradigms return, and prepares
    that for its model. Windows that it has described are remembered, also by its clones: cross-validation
    and grid search over what follows cost one forward pass per window.

    Parameters
    ----------
    model : EEGModel
        The frozen model. Clones share it, because nothing changes it.
    info : mne.Info or None
        Channels and sampling frequency of arrays, which do not carry them; epochs and windows do.
    unit : {"V", "mV", "µV"}
        Unit of arrays. Most paradigms of moabb return microvolts.
    layer, pool, channel_ids, batch_size, precision, device, cache : as `extract_features` has them, also None
        What is read from the model, and how.
    align_by : sequence of str or None
        Columns of the metadata: windows that agree in them are aligned by `align` before they are prepared.
    preparation : dict or None
        Arguments of `prepare`, for instance ``{"missing": "interpolate"}``.
    remember : bool
        Keep features in memory.
    """

    def __init__(
        self,
        model: EEGModel,
        info: mne.Info | None = None,
        unit: str = "µV",
        layer: str | int = "encoder",
        pool: str = "time",
        align_by: Sequence[str] | None = None,
        preparation: Mapping[str, Any] | None = None,
        channel_ids: Sequence[int] | None = None,
        batch_size: int | str = "auto",
        precision: str = "auto",
        device: str = "auto",
        cache: str | Path | None = None,
        remember: bool = True,
    ) -> None:
        self.model = model
        self.info = info
        self.unit = unit
        self.layer = layer
        self.pool = pool
        self.align_by = align_by
        self.preparation = preparation
        self.channel_ids = channel_ids
        self.batch_size = batch_size
        self.precision = precision
        self.device = device
        self.cache = cache
        self.remember = remember
        self.rows: dict[tuple[str, bytes], np.ndarray] = {}

    def fit(self, X: Any, y: Any = None) -> "FeatureExtractor":
        """Learn nothing.

        Parameters
        ----------
        X, y : any
            Not looked at.

        Returns
        -------
        self : FeatureExtractor
            Unchanged.
        """
        return self

    def transform(self, X: Any) -> Float[np.ndarray, "n_windows n_features"]:
        """Prepare windows and describe them.

        Parameters
        ----------
        X : numpy.ndarray, shape (n_windows, n_chans, n_times), mne.Epochs or Windows
            Arrays in `unit`; windows prepared for the model or not yet.

        Returns
        -------
        features : numpy.ndarray, shape (n_windows, n_features)
            One row per window.

        Raises
        ------
        ValueError
            If the windows cannot be prepared for the model, or would have to be left out.
        """
        windows = self._read(X)
        if not self.remember:
            return self._extract(windows)
        settings = self._describe()
        keys = [
            (settings, hashlib.blake2b(window.tobytes(), digest_size=20).digest()) for window in windows.data
        ]
        new = list({key: number for number, key in enumerate(keys) if key not in self.rows}.values())
        if new:
            for number, row in zip(new, self._extract(windows[new]), strict=True):
                self.rows[keys[number]] = np.array(row)
        return np.stack([self.rows[key] for key in keys])

    def _read(self, X: Any) -> Windows:
        """Prepare whatever comes in, unless it is prepared already; every window must stay."""
        if isinstance(X, Windows) and X.stamp is not None:
            if self.align_by is not None:
                raise ValueError(
                    "align_by aligns windows before they are prepared, got prepared ones. Pass them raw."
                )
            return X
        if isinstance(X, np.ndarray):
            windows = load_windows(X, info=self.info, unit=self.unit)
        else:
            windows = X if isinstance(X, Windows) else load_windows(X)
        if self.align_by is not None:
            windows = align(windows, self.align_by)
        prepared = prepare(windows, self.model, **(self.preparation or {}))
        if len(prepared) != len(windows):
            raise ValueError(
                f"A pipeline needs a row for every window, got {len(windows)} windows of which "
                f"{len(prepared)} are good. Leave the others out beforehand, or pass "
                "preparation={'bad_windows': 'interpolate'}."
            )
        return prepared

    def _extract(self, windows: Windows) -> Float[np.ndarray, "n_windows n_features"]:
        """Run the model on prepared windows."""
        names = ("layer", "pool", "batch_size", "precision", "device", "cache", "channel_ids")
        return extract_features(self.model, windows, **{name: getattr(self, name) for name in names})

    def _describe(self) -> str:
        """Write down all that the features of a prepared window depend on, weights included."""
        description = describe_model(self.model, readers=True)
        weights = f"{description['fingerprint'][:16]} {description['other_tensors'][:16]}"
        settings = {name: getattr(self, name) for name in ("layer", "pool", "precision", "channel_ids")}
        return f"{description['model']} {weights} {description['arguments']} {settings}"

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        """Name the weights too: moabb files results under this text, and scikit-learn shortens it."""
        digest = hashlib.sha256(self._describe().encode()).hexdigest()[:16]
        return (
            f"FeatureExtractor({type(self.model).__name__}, layer={self.layer!r}, pool={self.pool!r}, "
            f"align_by={self.align_by!r}, preparation={self.preparation!r}, settings='{digest}')"
        )

    def __sklearn_clone__(self) -> "FeatureExtractor":
        """Share the model and what is known of it, where scikit-learn would copy hundreds of megabytes."""
        clone = type(self)(**self.get_params(deep=False))
        clone.rows = self.rows
        return clone

    def __sklearn_is_fitted__(self) -> bool:
        """Nothing has to be fitted."""
        return True

    def __getstate__(self) -> dict[str, Any]:
        """Leave what is remembered behind when a worker process gets a copy."""
        return {**super().__getstate__(), "rows": {}}


def align(windows: Windows, by: Sequence[str] = ("subject", "session"), amplitude: float = 30.0) -> Windows:
    """Make the average covariance of every group of windows the same: Euclidean alignment.

    Groups differ by electrodes, skulls and days; after alignment each of them is white. No label is read,
    but all windows of a group are, so a group that is tested must be there as a whole.

    Parameters
    ----------
    windows : Windows
        In microvolts, with metadata, not yet prepared.
    by : sequence of str
        Columns of the metadata: windows that agree in them are one group.
    amplitude : float
        Root mean square of every channel after alignment, in microvolts. The published pipeline of EEGPT
        has 32 in the units of its model.

    Returns
    -------
    aligned : Windows
        The same windows, aligned.

    Raises
    ------
    ValueError
        If the windows lack these metadata, or are not in microvolts.

    References
    ----------
    He & Wu (2020), IEEE Transactions on Biomedical Engineering 67, section III-B.
    """
    from moabb.datasets.preprocessing import EuclideanAlignment

    if windows.unit != "µV" or windows.stamp is not None:
        raise ValueError(f"align() starts from microvolts before prepare(), got {windows.unit}. Align first.")
    known = [] if windows.metadata is None else list(windows.metadata)
    if not set(by) <= set(known):
        raise ValueError(
            f"Alignment by {', '.join(by)} needs these columns of the metadata, got "
            f"{', '.join(map(str, known)) or 'none'}. Load windows of a data set, or let moabb return epochs."
        )
    data = np.empty(windows.data.shape, dtype=np.float32)
    groups = windows.metadata.reset_index(drop=True).groupby(list(by), sort=False).indices
    for own in groups.values():
        data[own] = amplitude * EuclideanAlignment().fit_transform(windows.data[own])
    finding = f"Whitened by {', '.join(by)} ({len(groups)}), to {amplitude:g} µV."
    return replace(windows, data=data, report=windows.report.add("alignment", finding))


def linear_probe(class_weight: str | None = None) -> Pipeline:
    """Build the classifier that measures how linearly readable features are.

    Parameters
    ----------
    class_weight : {"balanced"} or None
        Rare classes weigh as much as frequent ones, or every window the same.

    Returns
    -------
    probe : sklearn Pipeline
        Standardisation and a logistic regression with strong regularisation (C=0.01), which features that
        outnumber trials need.
    """
    return make_pipeline(
        StandardScaler(), LogisticRegression(C=0.01, max_iter=1000, class_weight=class_weight)
    )


def ridge_probe() -> Pipeline:
    """Build the regressor that measures how linearly readable a value is from features.

    Returns
    -------
    probe : sklearn Pipeline
        Standardisation and a ridge regression, whose penalty is chosen by leaving out one training window at
        a time.
    """
    return make_pipeline(StandardScaler(), RidgeCV(PENALTIES))


def probe_layers(
    model: EEGModel,
    windows: Windows,
    labels: Shaped[np.ndarray, " n_windows"],
    cv: BaseCrossValidator,
    groups: Shaped[np.ndarray, " n_windows"] | None = None,
    layers: Sequence[str | int] | None = None,
    *,
    subjects: Shaped[np.ndarray, " n_windows"] | None = None,
    probe: BaseEstimator | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Score a probe on every layer of a frozen model, from one forward pass.

    Parameters
    ----------
    model, windows : EEGModel and Windows
        The frozen model, and windows prepared for it.
    labels : numpy.ndarray, shape (n_windows,)
        True classes.
    cv : sklearn cross-validator
        How to split; the same splits for all layers.
    groups, subjects : numpy.ndarray, shape (n_windows,), or None
        As in `score_folds`.
    layers : sequence of str or int, or None
        Layers as in `extract_features`; None means all blocks and the encoder's features.
    probe : sklearn estimator or None
        Classifier of features; None means `linear_probe`.
    **options
        Other options of `extract_layers`.

    Returns
    -------
    scores : pandas.DataFrame
        As `score_folds` returns it, one pipeline per layer (``"layer 0"``), with a column `layer`.

    Raises
    ------
    ValueError
        As in `extract_features`.
    """
    features = extract_layers(model, windows, layers, **options)
    names = {f"layer {layer}": layer for layer in features}
    pipelines = {name: (probe or linear_probe(), features[layer]) for name, layer in names.items()}
    scores = score_folds(pipelines, labels, cv, subjects, groups=groups)
    return scores.assign(layer=[names[name] for name in scores["pipeline"]])
