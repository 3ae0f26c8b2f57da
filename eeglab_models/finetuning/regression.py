"""Fine-tuning for values, such as ages and reaction times."""

import copy
from typing import Any

import mne
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from sklearn.base import RegressorMixin
from sklearn.model_selection import GroupShuffleSplit, ShuffleSplit
from torch import nn

from eeglab_models.finetuning.estimator import FineTuner
from eeglab_models.signals.windows import Windows

__all__ = ["FineTuneRegressor"]


class FineTuneRegressor(RegressorMixin, FineTuner):
    """Regressor that adapts a model with one output to the windows it is given; for scikit-learn and moabb.

    It minimises the mean squared error of values that are standardised by the training windows. Everything
    else is as in `FineTuner`, whose parameters it takes; those of classes, `label_smoothing`, `class_weight`
    and ``monitor="accuracy"``, are refused.

    Attributes
    ----------
    model_ : EEGModel
        The adapted model; its output is standardised.
    mean_, scale_ : float
        Mean and standard deviation of the values of the training windows.
    history_, n_trainable_, seconds_ : as in `FineTuner`
        `valid_accuracy` is not a number.

    References
    ----------
    Hu et al. (2022), LoRA, ICLR, and the others of `FineTuner`.
    """

    def predict(
        self, X: Windows | mne.BaseEpochs | Float[np.ndarray, "n_windows n_chans n_times"]
    ) -> Float[np.ndarray, " n_windows"]:
        """Predict the value of every window.

        Parameters
        ----------
        X : Windows, mne.BaseEpochs or numpy.ndarray, shape (n_windows, n_chans, n_times)
            Prepared windows, epochs of mne, or an array in their unit; with `info`, an array in microvolts.

        Returns
        -------
        values : numpy.ndarray, shape (n_windows,)
            In the unit of the values that it was fitted to.
        """
        return self._outputs(X)[:, 0].numpy().astype(float) * self.scale_ + self.mean_

    # Values have no probabilities, and scikit-learn asks whether there are any.
    predict_proba = property()

    def hold_out(
        self, targets: Float[np.ndarray, " n_windows"], groups: Any
    ) -> tuple[Int[np.ndarray, " n_fit"], Int[np.ndarray, " n_valid"] | None]:
        """Split the training windows into those that teach and those that find the best epoch.

        Parameters
        ----------
        targets : numpy.ndarray, shape (n_windows,)
            Standardised values.
        groups : sequence or None
            What belongs together, one value for every window; None means that every window stands for itself.

        Returns
        -------
        fit : numpy.ndarray, shape (n_fit,)
            Numbers of the windows that teach.
        valid : numpy.ndarray, shape (n_valid,), or None
            Numbers of the windows that are held out; None if `validation` is None.
        """
        if self.validation is None:
            return np.arange(len(targets)), None
        split = ShuffleSplit if groups is None else GroupShuffleSplit
        return next(split(1, test_size=self.validation, random_state=self.seed).split(targets, None, groups))

    def _read_targets(self, y: Shaped[np.ndarray, " n_windows"]) -> Float[np.ndarray, " n_windows"]:
        """Standardise the values, and refuse settings that are of classes."""
        if self.label_smoothing or self.class_weight is not None or self.monitor == "accuracy":
            raise ValueError(
                "label_smoothing, class_weight and monitor='accuracy' are of classes, got one of them for "
                "values. Leave them out."
            )
        shape = copy.deepcopy(self.model).get_output_shape()
        if shape != (1, 1):
            raise ValueError(
                f"To predict values, a model needs one output, got shape {shape}. Build it with n_outputs=1, "
                "or call model.reset_head(1)."
            )
        if not np.issubdtype(y.dtype, np.number) or not np.isfinite(y).all():
            raise ValueError(
                f"Values are finite numbers, got {y[:1]}. Pass numbers as y, or take FineTuner for classes."
            )
        self.mean_, self.scale_ = float(y.mean()), float(y.std()) or 1.0
        return ((y - self.mean_) / self.scale_).astype(np.float32)

    def _criterion(self, targets: Float[np.ndarray, " n_windows"]) -> nn.Module:
        """Build the loss."""
        return SquaredError()


class SquaredError(nn.Module):
    """Mean squared error of a model's only output."""

    def forward(
        self, outputs: Float[torch.Tensor, "batch one"], values: Float[torch.Tensor, " batch"]
    ) -> Float[torch.Tensor, ""]:
        """Average over windows."""
        return F.mse_loss(outputs[:, 0], values)
