"""The loop that trains, from the beginning or from where it was interrupted."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from jaxtyping import Float, Int
from skorch import NeuralNetClassifier
from skorch.helper import predefined_split
from skorch.hf import AccelerateMixin
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset, TensorDataset

from eeglab_models.finetuning.callbacks import (
    ClipGradients,
    Journal,
    Schedule,
    ShowProgress,
    copy_into,
    restore_random,
)

__all__ = ["LearningModel", "Training", "train"]


@dataclass(frozen=True)
class Training:
    """What one training needs beside the model and the data.

    Attributes
    ----------
    max_epochs, n_more_epochs : int
        Epochs of the first phase at most, and epochs of a second phase on all data.
    batch_size : int
        Windows per step.
    schedule : {"cosine", "plateau", "constant"}
        Course of the learning rate.
    warmup : float
        Share of the steps in which the learning rate rises, for ``"cosine"``.
    monitor : {"loss", "accuracy"}
        What decides, on the validation data, which epoch is best.
    patience : int or None
        Epochs without a better one after which training stops.
    label_smoothing : float
        Share of the probability that targets give to all classes alike.
    class_weights : torch.Tensor, shape (n_classes,), or None
        Weight of every class in the loss.
    max_grad_norm : float or None
        Gradients longer than this are shortened.
    device : torch.device
        Where to train.
    precision : {"float32", "bfloat16", "float16"}
        Precision of the forward pass.
    progress : bool
        Show a bar of epochs.
    """

    max_epochs: int
    n_more_epochs: int
    batch_size: int
    schedule: str
    warmup: float
    monitor: str
    patience: int | None
    label_smoothing: float
    class_weights: Tensor | None
    max_grad_norm: float | None
    device: torch.device
    precision: str
    progress: bool


class LearningModel(nn.Module):
    """A model of which some modules learn; the rest stays in evaluation mode.

    Parameters
    ----------
    model : EEGModel
        The whole model.
    learning : tuple of torch.nn.Module
        Modules of it that follow the mode of training.
    augment : sequence of callable
        Functions of a batch and its sampling frequency, applied in training only.
    sfreq : float
        Sampling frequency in Hz.
    """

    def __init__(
        self, model: nn.Module, learning: tuple[nn.Module, ...], augment: Sequence[Callable], sfreq: float
    ) -> None:
        super().__init__()
        self.model = model
        # Not a list of modules: they are registered in the model already.
        self.learning = learning
        self.augment = tuple(augment)
        self.sfreq = sfreq

    def train(self, mode: bool = True) -> "LearningModel":
        """Change the mode of what learns; frozen norms keep their statistics, frozen dropout stays off.

        Parameters
        ----------
        mode : bool
            Train, or evaluate.

        Returns
        -------
        module : LearningModel
            This module.
        """
        self.training = mode
        self.model.eval()
        for module in self.learning:
            module.train(mode)
        return self

    def forward(self, x: Float[Tensor, "batch n_chans n_times"]) -> Float[Tensor, "batch n_outputs"]:
        """Classify windows; in training, variants of them.

        Parameters
        ----------
        x : torch.Tensor, shape (batch, n_chans, n_times)
            Prepared windows in the unit of the model's contract.

        Returns
        -------
        logits : torch.Tensor, shape (batch, n_outputs)
            The model's outputs.
        """
        if self.training:
            for change in self.augment:
                x = change(x, self.sfreq)
        return self.model(x)

    def changing(self) -> dict[str, Tensor]:
        """Name the tensors that training may change: parameters that learn, and buffers.

        Returns
        -------
        tensors : dict of torch.Tensor
            The tensors themselves, not copies, detached from the graph, by their names in the model.
        """
        learning = {name: value for name, value in self.model.named_parameters() if value.requires_grad}
        return {name: value.detach() for name, value in (learning | dict(self.model.named_buffers())).items()}


class Trainer(AccelerateMixin, NeuralNetClassifier):
    """skorch's loop over epochs and batches, on a device and in a precision of accelerate."""


def train(
    module: LearningModel,
    groups: list[dict[str, Any]],
    x: Float[Tensor, "n_windows n_chans n_times"],
    y: Int[Tensor, " n_windows"],
    parts: tuple[Int[np.ndarray, " n_fit"], Int[np.ndarray, " n_valid"] | None],
    training: Training,
    path: Path | None,
) -> Journal:
    """Train what learns, from the beginning or from where a file was written.

    Parameters
    ----------
    module : LearningModel
        Changed in place; left with the best weights, or with those of the second phase.
    groups : list of dict
        What learns, as `group_parameters` returns it.
    x : torch.Tensor, shape (n_windows, n_chans, n_times)
        Prepared windows in the unit of the model's contract.
    y : torch.Tensor, shape (n_windows,)
        Class of every window, from 0.
    parts : tuple of numpy.ndarray
        Windows to learn from and windows to validate with; None for the second if there are none.
    training : Training
        How to train.
    path : pathlib.Path or None
        File to go on from.

    Returns
    -------
    journal : Journal
        What happened.

    Raises
    ------
    KeyboardInterrupt
        If somebody interrupts the training.
    ValueError
        If the loss is no longer finite.
    """
    data = TensorDataset(x, y)
    learn, valid = Subset(data, parts[0].tolist()), None
    if parts[1] is not None:
        valid = Subset(data, parts[1].tolist())
    journal = Journal(path, training.monitor, training.patience, training.n_more_epochs > 0)
    module.to(training.device)
    if journal.phase == 1:
        run_phase(module, groups, learn, valid, training.max_epochs, training, journal)
        journal.phase, journal.n_epochs, journal.stopped = 2, 0, False
    if journal.phase == 2:
        restart, journal.best = journal.best, None
        if restart is not None:
            copy_into(restart["weights"], module.changing())
        if training.n_more_epochs:
            run_phase(module, groups, data, None, training.n_more_epochs, training, journal, restart)
        journal.finish(module)
    elif journal.pending is not None:
        copy_into(journal.pending["weights"], module.changing())
    module.eval()
    return journal


def run_phase(
    module: LearningModel,
    groups: list[dict[str, Any]],
    learn: Dataset,
    valid: Dataset | None,
    n_epochs: int,
    training: Training,
    journal: Journal,
    restart: Mapping[str, Any] | None = None,
) -> None:
    """Train for as many epochs as are left; a restart brings the state of the optimiser."""
    n_left = 0 if journal.stopped else n_epochs - journal.n_epochs
    if n_left == 0:
        if journal.pending is not None:
            copy_into(journal.pending["weights"], module.changing())
            restore_random(journal.pending["random"], training.device)
            journal.pending = None
        return
    n_batches = math.ceil(len(learn) / training.batch_size)
    journal.schedule = Schedule(training.schedule, n_epochs * n_batches, training.warmup)
    weights = training.class_weights
    net = Trainer(
        module,
        accelerator=make_accelerator(training.device, training.precision),
        classes=list(range(module.model.n_outputs)),
        criterion=nn.CrossEntropyLoss(weights, label_smoothing=training.label_smoothing),
        optimizer=lambda *args, **kwargs: torch.optim.AdamW([dict(group) for group in groups]),
        device=training.device,
        batch_size=training.batch_size,
        max_epochs=n_left,
        iterator_train__shuffle=True,
        train_split=None if valid is None else predefined_split(valid),
        callbacks=[
            ("clip", ClipGradients(training.max_grad_norm)),
            ("schedule", journal.schedule),
            ("progress", ShowProgress(n_left, training.progress)),
            ("journal", journal),
        ],
        callbacks__print_log__sink=lambda *line: None,
    )
    net.initialize()
    if restart is not None:
        net.optimizer_.load_state_dict(restart["optimizer"])
    net.partial_fit(learn, None)
    # skorch swallows interruptions.
    if journal.n_epochs < n_epochs and not journal.stopped:
        raise KeyboardInterrupt("Training was interrupted; fit again with the same checkpoint to go on.")


def make_accelerator(device: torch.device, precision: str) -> Accelerator:
    """Make accelerate's handle of the precision; skorch moves model and data to the device."""
    # Its state belongs to the whole process, and would keep the settings of an earlier training.
    AcceleratorState._reset_state(reset_partial_state=True)
    mixed_precision = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}[precision]
    return Accelerator(cpu=device.type == "cpu", mixed_precision=mixed_precision, device_placement=False)
