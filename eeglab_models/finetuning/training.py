"""Training on labels: epochs of which the best is kept, and a second phase on all windows."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Num
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset, TensorDataset

from eeglab_models.training.checkpoints import (
    latest_checkpoint,
    save_checkpoint,
    with_prefix,
    without_prefix,
)
from eeglab_models.training.loop import MODULE, Loop
from eeglab_models.training.schedules import warmup_cosine

__all__: list[str] = []

# Numbers of the published recipe of LightConvNet.
PLATEAU = {"factor": 0.6, "patience": 20, "min_lr": 1e-4}
BEST, RANDOM = "best.", "random."


class LearningModel(nn.Module):
    """A model of which some modules learn, and its loss; the rest stays in evaluation mode."""

    def __init__(
        self,
        model: nn.Module,
        learning: tuple[nn.Module, ...],
        augment: Sequence[Callable],
        sfreq: float,
        criterion: nn.Module,
    ) -> None:
        super().__init__()
        self.model = model
        # Not a list of modules: they are registered in the model already.
        self.learning = learning
        self.augment = tuple(augment)
        self.sfreq = sfreq
        self.criterion = criterion

    def train(self, mode: bool = True) -> "LearningModel":
        """Change the mode of what learns; frozen norms keep their statistics, frozen dropout stays off."""
        self.training = mode
        self.model.eval()
        for module in self.learning:
            module.train(mode)
        return self

    def forward(
        self, x: Float[Tensor, "batch n_chans n_times"], y: Num[Tensor, " batch"]
    ) -> dict[str, Tensor]:
        """Compute the loss of windows, in training of variants of them, and count right classes."""
        if self.training:
            for change in self.augment:
                x = change(x, self.sfreq)
        logits = self.model(x).float()  # (batch, n_outputs)
        right = logits.detach().softmax(dim=-1).argmax(dim=-1) == y  # (batch,)
        # Values are never right, only near.
        n_right = right.sum() if not y.is_floating_point() else torch.tensor(math.nan)
        return {"loss": self.criterion(logits, y), "n_right": n_right}


class FineTuning(Loop):
    """Epochs on labelled windows, from the last whole one in a folder or from the beginning.

    The settings are those of a `FineTuner`. `history` holds a row per epoch, and `seconds` the time of
    training, that before interruptions included.
    """

    def __init__(
        self,
        module: LearningModel,
        groups: list[dict[str, Any]],
        windows: tuple[Float[Tensor, "n_windows n_chans n_times"], Num[Tensor, " n_windows"]],
        parts: tuple[Int[np.ndarray, " n_fit"], Int[np.ndarray, " n_valid"] | None],
        settings: Any,
        device: torch.device,
        folder: Path | None,
    ) -> None:
        module.to(device)
        optimizer = torch.optim.AdamW([dict(group) for group in groups])
        super().__init__(module, optimizer, device, settings.precision, settings.max_grad_norm)
        # The order decides how the length of the gradient is rounded.
        self.learning = [value for value in module.parameters() if value.requires_grad]
        everything = TensorDataset(*windows)
        self.learn = {1: Subset(everything, parts[0].tolist()), 2: everything}
        self.valid = None if parts[1] is None else Subset(everything, parts[1].tolist())
        self.settings, self.folder = settings, folder
        self.n_epochs = {1: settings.max_epochs, 2: settings.n_more_epochs}
        self.history: list[dict[str, float]] = []
        self.best: dict[str, Tensor] = {}
        self.seconds, self.is_finished = 0.0, False

    def train(self) -> None:
        """Go on from the last whole epoch, and leave the module with the weights that are to be kept."""
        self.resume()
        self.began = time.perf_counter() - self.seconds
        if not self.is_finished:
            self.run(self.settings.progress)
            self.is_finished = True
            self.save(with_prefix(MODULE, self.changing()))
        self.module.eval()

    def changing(self) -> dict[str, Tensor]:
        """Name the tensors that training may change: parameters that learn, and buffers."""
        model = self.module.model
        learning = {name: value for name, value in model.named_parameters() if value.requires_grad}
        return {name: value.detach() for name, value in (learning | dict(model.named_buffers())).items()}

    def batches(self) -> Iterator[list[Tensor]]:
        """Give batches of the epochs that are left, in two phases."""
        for phase in (1, 2):
            self.begin(phase)
            while not self.is_over(phase):
                self.module.train()
                yield from DataLoader(self.learn[phase], self.settings.batch_size, shuffle=True)
                self.end_epoch(phase)

    def begin(self, phase: int) -> None:
        """Start a phase or go on with it; the second one starts from the best epoch and its optimiser."""
        rows = self.rows(phase)
        if phase == 2 and not rows and self.best:
            self.restore(self.best)
        if phase == 2:
            self.best = {}
        sizes = [len(batch) for batch in torch.arange(len(self.learn[phase])).split(self.settings.batch_size)]
        self.sizes, self.n_steps = sizes, self.n_epochs[phase] * len(sizes)
        self.place = len(rows) * len(sizes)
        rates = [group["lr"] for group in self.optimizer.param_groups]
        self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(self.optimizer, **PLATEAU)
        # All that the rule remembers follows from the losses that it has seen.
        for row in rows:
            self.plateau.step(row["train_loss"])
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        if self.n_epochs[phase]:
            self.task = self.bar.add_task("training", total=self.n_epochs[phase], completed=len(rows))

    def parts(self, batch: list[Tensor]) -> Iterator[tuple[Tensor, ...]]:
        """Set the learning rate of the step, and give the batch as a whole."""
        if self.settings.schedule == "cosine":
            n_warm = round(self.settings.warmup * self.n_steps)
            # The rate would be zero in the step after the last one.
            n_steps = self.n_steps + 1
            share = warmup_cosine(self.place, n_steps, peak=1.0, share=n_warm / n_steps)
            for group in self.optimizer.param_groups:
                group["lr"] = group["peak"] * share
        self.place += 1
        yield tuple(values.to(self.device) for values in batch)

    def end_epoch(self, phase: int) -> None:
        """Judge an epoch, remember the best one, and write everything down."""
        loss = float(np.average([row["loss"] for row in self.read()], weights=self.sizes))
        if self.settings.schedule == "plateau":
            self.plateau.step(loss)
        row = {"epoch": len(self.history) + 1, "phase": phase, "train_loss": loss}
        row |= self.validate(phase) | {"lr": max(group["lr"] for group in self.optimizer.param_groups)}
        self.history.append(row)
        if phase == 1 and self.valid is not None and self.n_since_best() == 0:
            # Only a second phase needs the optimiser again.
            tensors = self.tensors() if self.n_epochs[2] else with_prefix(MODULE, self.changing())
            self.best = {name: value.detach().clone() for name, value in tensors.items()}
        self.seconds = time.perf_counter() - self.began
        others = with_prefix(BEST, self.best) | with_prefix(RANDOM, random_state(self.device))
        self.save(self.tensors() | others)
        names = {"train_loss": "loss", "valid_loss": "valid loss", "valid_accuracy": "valid accuracy"}
        text = ", ".join(f"{name} {row[key]:.3f}" for key, name in names.items() if not math.isnan(row[key]))
        self.bar.update(self.task, advance=1, description=text)

    @torch.no_grad()
    def validate(self, phase: int) -> dict[str, float]:
        """Get loss and accuracy of the windows that are held out, in the first phase."""
        if phase == 2 or self.valid is None:
            return {"valid_loss": math.nan, "valid_accuracy": math.nan}
        self.module.eval()
        losses, sizes, n_right = [], [], 0
        for batch in DataLoader(self.valid, self.settings.batch_size):
            with self.autocast():
                found = self.module(*(values.to(self.device) for values in batch))
            losses.append(found["loss"].item())
            sizes.append(len(batch[0]))
            n_right += found["n_right"].item()
        loss = float(np.average(losses, weights=sizes))
        return {"valid_loss": loss, "valid_accuracy": n_right / len(self.valid)}

    def rows(self, phase: int) -> list[dict[str, float]]:
        """Choose the epochs of a phase."""
        return [row for row in self.history if row["phase"] == phase]

    def n_since_best(self) -> int:
        """Count the epochs after the best one: the first of lowest loss, or the latest of equal accuracy."""
        rows = self.rows(1)
        if self.settings.monitor == "accuracy":
            best = max(range(len(rows)), key=lambda number: (rows[number]["valid_accuracy"], number))
        else:
            best = int(np.argmin(np.nan_to_num([row["valid_loss"] for row in rows], nan=np.inf)))
        return len(rows) - 1 - best

    def is_over(self, phase: int) -> bool:
        """Tell whether a phase has all its epochs, or waits in vain for a better one."""
        n_done, patience = len(self.rows(phase)), self.settings.patience
        if phase == 1 and self.valid is not None and patience is not None and n_done:
            return n_done >= self.n_epochs[1] or self.n_since_best() >= max(patience, 1)
        return n_done >= self.n_epochs[phase]

    def save(self, tensors: dict[str, Tensor]) -> None:
        """Write down what the next epoch depends on."""
        if self.folder is not None:
            scaler = self.scaler.state_dict()
            names = ("history", "seconds", "is_finished")
            facts = {name: getattr(self, name) for name in names} | {"scaler": scaler}
            # The weights that are kept come after those of the last epoch.
            save_checkpoint(self.folder, len(self.history) + self.is_finished, tensors, facts, n_kept=1)

    def resume(self) -> None:
        """Go back to what was written last."""
        found = None if self.folder is None else latest_checkpoint(self.folder)
        if found is None:
            return
        self.scaler.load_state_dict(found.facts.pop("scaler"))
        for name, value in found.facts.items():
            setattr(self, name, value)
        self.best = without_prefix(BEST, found.tensors)
        self.restore(found.tensors)
        restore_random(without_prefix(RANDOM, found.tensors))


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Get the states of the random numbers of the processor and of the device."""
    state = {"cpu": torch.get_rng_state()}
    if device.type != "cpu":
        state[device.type] = getattr(torch, device.type).get_rng_state()
    return state


def restore_random(state: dict[str, Tensor]) -> None:
    """Continue the random numbers where `random_state` has taken their states."""
    for kind, value in state.items():
        (torch if kind == "cpu" else getattr(torch, kind)).set_rng_state(value)
