"""Fine-tuning: adapt a model to a task, as little or as much as the data allow."""

import copy
import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import mne
import numpy as np
import pandas as pd
import torch
from annotated_types import Ge, Gt, Lt
from jaxtyping import Float, Int, Num, Shaped
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import StratifiedGroupKFold, train_test_split
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.validation import check_is_fitted
from torch import nn

from eeglab_models.configs import Count, NotNegative, Positive, Share, check_arguments
from eeglab_models.features.embeddings import choose_device
from eeglab_models.files import locked
from eeglab_models.finetuning.regimes import REGIMES, apply_regime, group_parameters, start_model
from eeglab_models.finetuning.training import FineTuning, LearningModel
from eeglab_models.models.base import EEGModel
from eeglab_models.models.report import hash_tensors
from eeglab_models.signals.preparation import check_prepared, prepare, target_rate
from eeglab_models.signals.quality import PLAUSIBLE
from eeglab_models.signals.windows import Windows

__all__ = ["FineTuner"]

# Highest learning rates where none is given: EEGPT's and LightConvNet's authors for whole models; heads and
# adapters, which start from nothing, take the larger one.
LEARNING_RATES = {"head": 1e-3, "lora": 1e-3, "last_n": 5e-4, "full": 5e-4, "scratch": 1e-3}
CHOICES = {
    "regime": Literal[REGIMES],
    "schedule": Literal["cosine", "plateau", "constant"],
    "class_weight": Literal["balanced"] | None,
    "monitor": Literal["loss", "accuracy"],
    "precision": Literal["float32", "bfloat16", "float16"],
}
# Arguments that are no plain values.
OBJECTS = ("model", "augment", "info", "checkpoint")


class FineTuner(ClassifierMixin, BaseEstimator):
    """Classifier that adapts a model to the windows it is given; for scikit-learn and moabb.

    A part of the training windows is held out to find the best epoch, whose weights are kept. The windows
    that are predicted later have no influence on training. The same seed gives the same weights, bit for bit
    on the same processor with the same number of threads; torch's own random numbers stay untouched.

    Parameters
    ----------
    model : EEGModel
        Where to start from, with one output per class. It is copied for every fit and never changed.
    regime : {"head", "lora", "last_n", "full", "scratch"}
        What learns: the head on a frozen encoder; low-rank adapters on the projections of attention and MLP,
        and the head; the last layers and the head; everything; or everything from fresh weights. What is
        frozen stays in evaluation mode: its norms keep their statistics, its dropout is off.
    n_layers : int
        Number of last layers for ``"last_n"``.
    lora_rank : int
        Rank of the adapters for ``"lora"``. They are merged into the model after training.
    lr : float or None
        Highest learning rate. None means 0.001 for ``"head"``, ``"lora"`` and ``"scratch"``, else 0.0005.
    layer_decay : float
        Factor from the learning rate of one layer to that of the layer below, for ``"full"``.
    weight_decay : float
        Decay of weights; biases, norms, learned tokens and tables of channels do not decay.
    schedule : {"cosine", "plateau", "constant"}
        Course of the learning rate, step by step: a warm-up, then half a cosine; LightConvNet's rule, which
        lowers it when the training loss no longer falls; or none.
    warmup : float
        Share of the steps in which the learning rate rises, for ``"cosine"``.
    max_epochs : int
        Passes over the training windows.
    n_more_epochs : int
        Passes over training and validation windows together after the best epoch, as in LightConvNet's
        recipe; they go on from its weights and optimiser, and the last weights are kept. 0 means none.
    batch_size : int
        Windows per step.
    label_smoothing : float
        Share of the probability that targets give to all classes alike.
    class_weight : {"balanced"} or None
        Weigh classes in the loss by the inverse of their frequency, or all alike.
    max_grad_norm : float or None
        Gradients longer than this are shortened; None leaves them.
    augment : sequence of callable
        Functions of a batch of windows and its sampling frequency in Hz that return a varied batch, applied
        to training windows in this order. `functools.partial` sets their strength.
    validation : float or None
        Share of the training windows that is held out: the same share of every class, and whole groups where
        `fit` is given groups. None holds out nothing, trains for `max_epochs` and keeps the last weights.
    monitor : {"loss", "accuracy"}
        What decides which epoch is best; of equally accurate ones the latest.
    patience : int or None
        Epochs without a better one after which training stops; None trains for `max_epochs`.
    seed : int
        Seed of the held-out part, the order of windows, fresh weights and dropout.
    device : str
        Where to train and predict: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``; ``"auto"`` takes an
        accelerator if there is one.
    precision : {"float32", "bfloat16", "float16"}
        Precision of the forward pass in training; weights are float32, and so are predictions.
    info : mne.Info or None
        For arrays in microvolts, as moabb passes them: their channels and sampling frequency, with which they
        are prepared for the model. None means that they are prepared.
    checkpoint : str, pathlib.Path or None
        Folder for files to go on from after an interruption: the next fit with the same model, settings and
        data continues after the last whole epoch, to the same weights. One folder serves many fits.
    progress : bool
        Show a bar of epochs.

    Attributes
    ----------
    model_ : EEGModel
        The adapted model, in evaluation mode, with the names of weights that its class publishes.
    classes_ : numpy.ndarray, shape (n_classes,)
        Classes, in the order of the model's outputs.
    history_ : pandas.DataFrame
        One row per epoch: epoch, phase (2 for `n_more_epochs`), train_loss, valid_loss, valid_accuracy, lr.
    n_trainable_ : int
        Number of parameters that learned.
    seconds_ : float
        Time of training, that before interruptions included.

    Notes
    -----
    Limits on the norm of weights that a model has hold in every regime: they are part of its forward pass.

    References
    ----------
    Hu et al. (2022), LoRA, ICLR. Bao et al. (2022), BEiT, ICLR: layer-wise decay. Loshchilov & Hutter (2019),
    Decoupled weight decay regularization, ICLR. Defaults of batches, decay and clipping are close to those of
    Wang et al. (2024), EEGPT, NeurIPS, and Wang et al. (2025), CBraMod, ICLR.
    """

    def __init__(
        self,
        model: EEGModel,
        *,
        regime: str = "head",
        n_layers: Count = 1,
        lora_rank: Count = 8,
        lr: Positive | None = None,
        layer_decay: Positive = 0.75,
        weight_decay: NotNegative = 0.05,
        schedule: str = "cosine",
        warmup: Share = 0.1,
        max_epochs: Count = 50,
        n_more_epochs: Annotated[int, Ge(0)] = 0,
        batch_size: Count = 32,
        label_smoothing: Share = 0.0,
        class_weight: str | None = None,
        max_grad_norm: Positive | None = 1.0,
        augment: Sequence[Callable] = (),
        validation: Annotated[float, Gt(0), Lt(1)] | None = 0.2,
        monitor: str = "loss",
        patience: Annotated[int, Ge(0)] | None = 10,
        seed: Annotated[int, Ge(0)] = 0,
        device: str = "auto",
        precision: str = "float32",
        info: mne.Info | None = None,
        checkpoint: str | Path | None = None,
        progress: bool = False,
    ) -> None:
        self.model = model
        self.regime = regime
        self.n_layers = n_layers
        self.lora_rank = lora_rank
        self.lr = lr
        self.layer_decay = layer_decay
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.warmup = warmup
        self.max_epochs = max_epochs
        self.n_more_epochs = n_more_epochs
        self.batch_size = batch_size
        self.label_smoothing = label_smoothing
        self.class_weight = class_weight
        self.max_grad_norm = max_grad_norm
        self.augment = augment
        self.validation = validation
        self.monitor = monitor
        self.patience = patience
        self.seed = seed
        self.device = device
        self.precision = precision
        self.info = info
        self.checkpoint = checkpoint
        self.progress = progress

    def fit(
        self,
        X: Windows | mne.BaseEpochs | Float[np.ndarray, "n_windows n_chans n_times"],
        y: Sequence[Any] | Shaped[np.ndarray, " n_windows"] | None = None,
        groups: Sequence[Any] | Shaped[np.ndarray, " n_windows"] | None = None,
    ) -> "FineTuner":
        """Adapt a copy of the model.

        Parameters
        ----------
        X : Windows, mne.BaseEpochs or numpy.ndarray, shape (n_windows, n_chans, n_times)
            Prepared windows, epochs of mne, or an array of them; with `info`, an array in microvolts.
        y : sequence, shape (n_windows,), or None
            Class of every window, or value for `FineTuneRegressor`; None means the labels of the windows.
        groups : sequence, shape (n_windows,), or None
            What belongs together, as runs or subjects: no group is on both sides of the held-out part.

        Returns
        -------
        self : FineTuner
            Fitted.

        Raises
        ------
        ValueError
            If windows were not prepared for the model, if the model does not have one output per class (one
            for values), if a setting is none of those above, or if the loss is no longer finite.
        KeyboardInterrupt
            If somebody interrupts the training.
        BlockingIOError
            If another process does the same training, with the same `checkpoint`.
        """
        check_settings(self)
        x = read_windows(X, self.model, self.info)  # (n_windows, n_chans, n_times)
        y = X.labels if y is None and isinstance(X, Windows) else y
        check_labels(y, len(x))
        targets = self._read_targets(np.asarray(y))
        parts = self.hold_out(targets, groups)
        device = choose_training_device(self.device, self.precision)
        folder = checkpoint_folder(self, x, targets, parts, device)
        others = [] if device.type == "cpu" else [device.index or 0]
        with torch.random.fork_rng(others, enabled=device.type != "mps"):
            torch.manual_seed(self.seed)
            model = start_model(self.model, self.regime)
            learning, adapters = apply_regime(model, self.regime, self.n_layers, self.lora_rank)
            lr = LEARNING_RATES[self.regime] if self.lr is None else self.lr
            decay = self.layer_decay if self.regime == "full" else 1.0
            criterion = self._criterion(targets)
            module = LearningModel(model, learning, self.augment, target_rate(model), criterion)
            groups_of_weights = group_parameters(model, lr, self.weight_decay, decay)
            self.n_trainable_ = sum(value.numel() for group in groups_of_weights for value in group["params"])
            windows = torch.from_numpy(x), torch.from_numpy(targets)
            with nullcontext() if folder is None else locked(folder, "train"):
                training = FineTuning(module, groups_of_weights, windows, parts, self, device, folder)
                training.train()
        self.model_ = model if adapters is None else adapters.merge_and_unload()
        for name, parameter in self.model.named_parameters():
            self.model_.get_parameter(name).requires_grad_(parameter.requires_grad)
        self.model_.eval()
        self.history_ = pd.DataFrame(training.history)
        self.seconds_ = training.seconds
        return self

    def predict_proba(
        self, X: Windows | mne.BaseEpochs | Float[np.ndarray, "n_windows n_chans n_times"]
    ) -> Float[np.ndarray, "n_windows n_classes"]:
        """Probability of every class.

        Parameters
        ----------
        X : Windows, mne.BaseEpochs or numpy.ndarray, shape (n_windows, n_chans, n_times)
            Prepared windows, epochs of mne, or an array in their unit; with `info`, an array in microvolts.

        Returns
        -------
        probabilities : numpy.ndarray, shape (n_windows, n_classes)
            In the order of `classes_`.

        Raises
        ------
        ValueError
            If the windows do not fit the model, as in `fit`.
        """
        return self._outputs(X).softmax(dim=-1).numpy()

    def predict(
        self, X: Windows | mne.BaseEpochs | Float[np.ndarray, "n_windows n_chans n_times"]
    ) -> Shaped[np.ndarray, " n_windows"]:
        """Most probable class.

        Parameters
        ----------
        X : Windows, mne.BaseEpochs or numpy.ndarray, shape (n_windows, n_chans, n_times)
            Prepared windows, epochs of mne, or an array in their unit; with `info`, an array in microvolts.

        Returns
        -------
        labels : numpy.ndarray, shape (n_windows,)
            One of `classes_` for every window.

        Raises
        ------
        ValueError
            If the windows do not fit the model, as in `fit`.
        """
        best = self.predict_proba(X).argmax(axis=1)  # (n_windows,)
        return self.classes_[best]

    def _read_targets(self, y: Shaped[np.ndarray, " n_windows"]) -> Int[np.ndarray, " n_windows"]:
        """Give the classes numbers, and refuse a model that has not one output for each."""
        self.classes_, targets = np.unique(y, return_inverse=True)
        check_head(self.model, len(self.classes_))
        return targets

    def _criterion(self, targets: Int[np.ndarray, " n_windows"]) -> nn.Module:
        """Build the loss."""
        weights = weigh_classes(targets, self.class_weight)
        return nn.CrossEntropyLoss(weights, label_smoothing=self.label_smoothing)

    def _outputs(self, X: Any) -> Float[torch.Tensor, "n_windows n_outputs"]:
        """Run the adapted model on windows."""
        check_is_fitted(self, "model_")
        device = next(self.model_.parameters()).device
        batches = torch.from_numpy(read_windows(X, self.model, self.info)).split(self.batch_size)
        with torch.inference_mode():
            return torch.cat([self.model_(batch.to(device)).cpu() for batch in batches])

    def hold_out(
        self, targets: Int[np.ndarray, " n_windows"], groups: Any
    ) -> tuple[Int[np.ndarray, " n_fit"], Int[np.ndarray, " n_valid"] | None]:
        """Split the training windows into those that teach and those that find the best epoch.

        Parameters
        ----------
        targets : numpy.ndarray, shape (n_windows,)
            Class of every window, from 0.
        groups : sequence or None
            What belongs together, one value for every window; None means that every window stands for itself.

        Returns
        -------
        fit : numpy.ndarray, shape (n_fit,)
            Numbers of the windows that teach.
        valid : numpy.ndarray, shape (n_valid,), or None
            Numbers of the windows that are held out; None if `validation` is None.

        Raises
        ------
        ValueError
            If there are fewer than two groups, or fewer than two windows of a class.
        """
        rows = np.arange(len(targets))
        if self.validation is None:
            return rows, None
        n_rarest = np.bincount(targets).min()
        if groups is None:
            options = {"test_size": self.validation, "stratify": targets, "random_state": self.seed}
            try:
                return tuple(train_test_split(rows, **options))
            except ValueError as error:
                raise ValueError(
                    f"Holding out {self.validation:g} of {len(rows)} windows, {n_rarest} of the rarest class "
                    "leaves a class without any. Pass more windows, or validation=None."
                ) from error
        n_groups = len(np.unique(groups))
        n_most = min(n_groups, n_rarest)
        if n_most < 2:
            raise ValueError(
                f"Holding out whole groups needs 2 groups and 2 windows of every class, got {n_groups} "
                f"groups and {n_rarest} windows of the rarest class. Pass more, or validation=None."
            )
        # As many of the parts as the share asks for; there are no more parts than groups.
        share = Fraction(self.validation).limit_denominator(n_most)
        share = min(max(share, Fraction(1, n_most)), Fraction(n_most - 1, n_most))
        splitter = StratifiedGroupKFold(share.denominator, shuffle=True, random_state=self.seed)
        folds = [part for _, part in splitter.split(rows, targets, np.asarray(groups))]
        valid = np.sort(np.concatenate(folds[: share.numerator]))
        return np.setdiff1d(rows, valid), valid


# Median standard deviation in microvolts below which an array was in volts.
FAINTEST = 0.1


def read_windows(
    X: Windows | mne.BaseEpochs | Float[np.ndarray, "n_windows n_chans n_times"],
    model: EEGModel,
    info: mne.Info | None,
) -> Float[np.ndarray, "n_windows _ _"]:
    """Get prepared windows as an array in the unit of the model's contract, or refuse them."""
    if isinstance(X, mne.BaseEpochs):
        X = prepare(X, model)
    if isinstance(X, Windows):
        check_prepared(X, model)
        return np.require(X.data, np.float32, ["C", "W"])
    if info is not None:
        windows = Windows(np.asarray(X, dtype=np.float32), info)
        return np.require(prepare(windows, model).data, np.float32, ["C", "W"])
    x = np.require(X, np.float32, ["C", "W"])
    expected = (model.n_chans, model.n_times)
    if x.ndim != 3 or x.shape[1:] != expected:
        raise ValueError(
            f"{type(model).__name__} expects prepared windows of shape (n_windows, {expected[0]}, "
            f"{expected[1]}), got {x.shape}. Pass prepare(windows, model), or info= with an array in "
            "microvolts."
        )
    if not np.isfinite(x).all():
        raise ValueError("Windows must be finite, got NaN or infinity. Pass bad_windows='drop' to prepare.")
    amplitude = float(np.median(x.std(axis=-1))) / model.contract.scale
    if not FAINTEST <= amplitude <= PLAUSIBLE[1]:
        raise ValueError(
            f"{type(model).__name__} expects {model.contract.unit}, got windows of {amplitude:.3g} µV if "
            "that was their unit. Pass prepare(windows, model), or info= with an array in microvolts."
        )
    return x


def weigh_classes(targets: Int[np.ndarray, " n_windows"], kind: str | None) -> torch.Tensor | None:
    """Weigh the classes in the loss by the inverse of their frequency, if that was asked for."""
    if kind is None:
        return None
    weights = compute_class_weight(kind, classes=np.unique(targets), y=targets)
    return torch.from_numpy(weights).float()


def choose_training_device(device: str, precision: str) -> torch.device:
    """Choose where to train."""
    chosen = torch.device(choose_device(device))
    if chosen.type == "cpu" and precision == "float16":
        raise ValueError(
            'precision="float16" needs a GPU, got the processor. Pass "bfloat16", or another device.'
        )
    return chosen


def check_settings(tuner: FineTuner) -> None:
    """Refuse settings that mean nothing, by the annotations of the constructor."""
    settings = {name: value for name, value in tuner.get_params(deep=False).items() if name not in OBJECTS}
    check_arguments(FineTuner, settings, "FineTuner", OBJECTS, CHOICES)
    if tuner.n_more_epochs and tuner.validation is None:
        raise ValueError(
            f"n_more_epochs={tuner.n_more_epochs} goes on from the best epoch, which needs windows that "
            "are held out. Pass validation=0.2, or more max_epochs."
        )


def checkpoint_folder(
    tuner: FineTuner,
    x: Float[np.ndarray, "n_windows n_chans n_times"],
    targets: Num[np.ndarray, " n_windows"],
    parts: tuple[Int[np.ndarray, " n_fit"], Int[np.ndarray, " n_valid"] | None],
    device: torch.device,
) -> Path | None:
    """Name the folder of this very training: another model, setting or window gives another name."""
    if tuner.checkpoint is None:
        return None
    without = (*OBJECTS, "progress", "device")
    settings = {name: value for name, value in tuner.get_params(deep=False).items() if name not in without}
    settings["augment"] = [describe(change) for change in tuner.augment]
    settings |= {"device": device.type, "torch": torch.__version__, "model": type(tuner.model).__name__}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    digest.update(repr(sorted(tuner.model.arguments.items())).encode())
    for array in (x, targets, *(part for part in parts if part is not None)):
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array))
    digest.update(hash_tensors(tuner.model.state_dict()).encode())
    return Path(tuner.checkpoint) / digest.hexdigest()[:24]


def check_labels(y: Any, n_windows: int) -> None:
    """Refuse labels that do not belong to the windows."""
    if y is None:
        raise ValueError(
            "FineTuner needs a class for every window, got none. Pass y, or windows with labels."
        )
    if len(y) != n_windows:
        raise ValueError(f"{n_windows} windows need as many labels, got {len(y)}. Pass one per window.")


def check_head(model: EEGModel, n_classes: int) -> None:
    """Refuse a model whose output is not one number per class."""
    if n_classes < 2:
        raise ValueError(f"Classification needs at least 2 classes, got {n_classes}. Pass more windows.")
    shape = copy.deepcopy(model).get_output_shape()
    if shape != (1, n_classes):
        raise ValueError(
            f"The head of this {type(model).__name__} should give {n_classes} logits, one per class, and its "
            f"output has shape {shape}. Build it with n_outputs={n_classes}, or call "
            f"model.reset_head({n_classes})."
        )


def describe(change: Callable) -> str:
    """Write an augmentation and its strength, the same in every process."""
    if isinstance(change, partial):
        return f"{describe(change.func)}{change.args}{sorted(change.keywords.items())}"
    return f"{change.__module__}.{change.__qualname__}"
