"""What happens around every step and epoch: clipping, learning rates, a progress bar and the journal."""

import copy
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback
from torch import Tensor

__all__ = [
    "ClipGradients",
    "Journal",
    "Schedule",
    "ShowProgress",
    "copy_into",
    "restore_random",
    "share_of_peak",
]

# Numbers of the published recipe of LightConvNet.
PLATEAU = {"factor": 0.6, "patience": 20, "min_lr": 1e-4}


class ClipGradients(Callback):
    """Shorten gradients before every step, after any scaling of half precision is undone.

    Parameters
    ----------
    max_norm : float or None
        Largest norm of all gradients together; None leaves them.
    """

    def __init__(self, max_norm: float | None) -> None:
        self.max_norm = max_norm

    def on_grad_computed(self, net: NeuralNetClassifier, **kwargs: Any) -> None:
        """Limit the norm of all gradients together."""
        if self.max_norm is not None:
            learning = [value for value in net.module_.parameters() if value.requires_grad]
            net.accelerator.clip_grad_norm_(learning, self.max_norm)


class Schedule(Callback):
    """Course of the learning rate: a cosine after a warm-up, step by step, or a plateau rule.

    Parameters
    ----------
    kind : {"cosine", "plateau", "constant"}
        The rule.
    n_steps : int
        Steps of the whole phase.
    warmup : float
        Share of them in which the learning rate rises.
    """

    def __init__(self, kind: str, n_steps: int, warmup: float) -> None:
        self.kind = kind
        self.n_steps = n_steps
        self.warmup = warmup
        self.n_warm = round(warmup * n_steps)
        self.n_done = 0

    def on_train_begin(self, net: NeuralNetClassifier, **kwargs: Any) -> None:
        """Start the rule; it knows the optimiser only from now on."""
        self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(net.optimizer_, **PLATEAU)

    def on_batch_begin(self, net: NeuralNetClassifier, training: bool = False, **kwargs: Any) -> None:
        """Set the learning rate of the step that follows."""
        if training and self.kind == "cosine":
            share = share_of_peak(self.n_done, self.n_steps, self.n_warm)
            for group in net.optimizer_.param_groups:
                group["lr"] = group["peak"] * share
            self.n_done += 1

    def on_epoch_end(self, net: NeuralNetClassifier, **kwargs: Any) -> None:
        """Lower the learning rate if the training loss no longer falls."""
        if self.kind == "plateau":
            self.plateau.step(net.history[-1, "train_loss"])

    def state_dict(self) -> dict[str, Any]:
        """Get all that the rest of the course depends on.

        Returns
        -------
        state : dict
            ``"n_done"``, the steps that are done, and ``"plateau"``, the state of torch's plateau rule.
        """
        return {"n_done": self.n_done, "plateau": self.plateau.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a state was taken.

        Parameters
        ----------
        state : dict
            As `state_dict` returned it.
        """
        self.n_done = state["n_done"]
        self.plateau.load_state_dict(state["plateau"])


def share_of_peak(step: int, n_steps: int, n_warm: int) -> float:
    """Share of the highest learning rate: a straight line up, then half a cosine down to nearly zero.

    Parameters
    ----------
    step : int
        Number of the step, from 0.
    n_steps : int
        Number of steps.
    n_warm : int
        Number of steps of the straight line.

    Returns
    -------
    share : float
        Between 0 and 1; above 0 in every step.
    """
    if step < n_warm:
        return (step + 1) / n_warm
    return 0.5 * (1 + math.cos(math.pi * (step - n_warm) / max(n_steps - n_warm, 1)))


class ShowProgress(Callback):
    """Show a bar of epochs.

    Parameters
    ----------
    n_epochs : int
        Epochs of the whole phase.
    visible : bool
        Draw the bar.
    """

    def __init__(self, n_epochs: int, visible: bool) -> None:
        self.n_epochs = n_epochs
        self.visible = visible

    def on_train_begin(self, net: NeuralNetClassifier, **kwargs: Any) -> None:
        """Draw the bar."""
        self.bar = Progress(disable=not self.visible)
        self.bar.start()
        self.task = self.bar.add_task("training", total=self.n_epochs)

    def on_epoch_end(self, net: NeuralNetClassifier, **kwargs: Any) -> None:
        """Move the bar."""
        names = {"train_loss": "loss", "valid_loss": "valid loss", "valid_acc": "valid accuracy"}
        epoch = net.history[-1]
        facts = ", ".join(f"{name} {epoch[key]:.3f}" for key, name in names.items() if key in epoch)
        self.bar.update(self.task, advance=1, description=facts)

    def on_train_end(self, net: NeuralNetClassifier, **kwargs: Any) -> None:
        """Leave the bar as it is."""
        self.bar.stop()


class Journal(Callback):
    """Write down every epoch, remember the best one, and stop when no better one comes.

    The file holds all that training depends on after the last whole epoch. It is replaced in one step, so
    that it is never half written, and holds tensors and plain values only.

    Parameters
    ----------
    path : pathlib.Path or None
        The file; None writes none.
    monitor : {"loss", "accuracy"}
        What decides which epoch is best.
    patience : int or None
        Epochs without a better one after which the first phase stops.
    keep_optimizer : bool
        Remember the state of the optimiser beside the best weights.

    Attributes
    ----------
    phase : int
        1 while the best epoch is looked for, 2 on all data, 3 when training has finished.
    n_epochs : int
        Whole epochs of this phase.
    rows : list of dict
        The history, one dictionary per epoch.
    seconds : float
        Time of training, all sessions together.
    """

    def __init__(self, path: Path | None, monitor: str, patience: int | None, keep_optimizer: bool) -> None:
        self.path = path
        self.monitor = monitor
        self.patience = patience
        self.keep_optimizer = keep_optimizer
        self.phase, self.n_epochs, self.seconds = 1, 0, 0.0
        self.rows: list[dict[str, Any]] = []
        self.best: dict[str, Any] | None = None
        self.score, self.n_without = -math.inf, 0
        self.stopped = False
        self.pending: dict[str, Any] | None = None
        self.schedule: Schedule | None = None
        if path is not None and path.is_file():
            self.read(torch.load(path, map_location="cpu", weights_only=True))

    def read(self, state: dict[str, Any]) -> None:
        """Take over what a file says; tensors of the training wait until it begins.

        Parameters
        ----------
        state : dict
            What `write` has written; its entry ``"journal"`` is taken out.
        """
        for name, value in state.pop("journal").items():
            setattr(self, name, value)
        self.pending = state

    def on_train_begin(self, net: NeuralNetClassifier, **kwargs: Any) -> None:
        """Start the clock."""
        self.began = time.perf_counter() - self.seconds

    def on_epoch_begin(self, net: NeuralNetClassifier, **kwargs: Any) -> None:
        """Go on where the file was written, once everything that draws random numbers exists."""
        if self.pending is not None:
            copy_into(self.pending["weights"], net.module_.changing())
            net.optimizer_.load_state_dict(self.pending["optimizer"])
            self.schedule.load_state_dict(self.pending["schedule"])
            if net.accelerator.scaler is not None:
                net.accelerator.scaler.load_state_dict(self.pending["scaler"])
            restore_random(self.pending["random"], net.device)
            self.pending = None

    def on_epoch_end(self, net: NeuralNetClassifier, **kwargs: Any) -> None:
        """Judge the epoch, write everything down, and stop if it is time."""
        epoch = net.history[-1]
        if not math.isfinite(epoch["train_loss"]):
            raise ValueError(
                f"Training diverged: the loss of epoch {len(self.rows) + 1} is not finite. Lower lr, or use "
                'precision="float32".'
            )
        self.n_epochs += 1
        self.seconds = time.perf_counter() - self.began
        self.rows.append(
            {
                "epoch": len(self.rows) + 1,
                "phase": self.phase,
                "train_loss": float(epoch["train_loss"]),
                "valid_loss": float(epoch.get("valid_loss", math.nan)),
                "valid_accuracy": float(epoch.get("valid_acc", math.nan)),
                "lr": max(group["lr"] for group in net.optimizer_.param_groups),
            }
        )
        if "valid_loss" in epoch:
            self.judge(net)
        self.write(self.state(net))
        if self.stopped:
            # The way to leave the loop that skorch offers.
            raise KeyboardInterrupt

    def judge(self, net: NeuralNetClassifier) -> None:
        """Remember this epoch if none was better; of equally accurate ones the latest.

        Parameters
        ----------
        net : skorch.NeuralNetClassifier
            The net that trains. Its module lists what changes, by `LearningModel.changing`.
        """
        row = self.rows[-1]
        loss = self.monitor == "loss"
        score = -row["valid_loss"] if loss else row["valid_accuracy"]
        if score > self.score or (score == self.score and not loss):
            self.score, self.n_without = score, 0
            self.best = {"weights": copy.deepcopy(net.module_.changing()), "epoch": row["epoch"]}
            if self.keep_optimizer:
                self.best["optimizer"] = copy.deepcopy(net.optimizer_.state_dict())
        else:
            self.n_without += 1
            self.stopped = self.patience is not None and self.n_without >= self.patience

    def state(self, net: NeuralNetClassifier) -> dict[str, Any]:
        """Collect all that the next epoch depends on.

        Parameters
        ----------
        net : skorch.NeuralNetClassifier
            The net that trains.

        Returns
        -------
        state : dict
            States of the weights, the optimiser, the schedule, the scaler of half precision and the random
            numbers.
        """
        scaler = net.accelerator.scaler
        return {
            "weights": net.module_.changing(),
            "optimizer": net.optimizer_.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "random": random_state(net.device),
        }

    def write(self, state: dict[str, Any]) -> None:
        """Replace the file, all at once.

        Parameters
        ----------
        state : dict
            What is written beside the journal itself: what `state` returned, or the weights alone.
        """
        if self.path is None:
            return
        names = ("phase", "n_epochs", "seconds", "rows", "best", "score", "n_without", "stopped")
        unfinished = self.path.with_suffix(".unfinished")
        with unfinished.open("wb") as file:
            torch.save(state | {"journal": {name: getattr(self, name) for name in names}}, file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self.path)

    def finish(self, module: Any) -> None:
        """Keep the final weights and the history only.

        Parameters
        ----------
        module : LearningModel
            The module that has trained.
        """
        self.phase, self.best = 3, None
        self.write({"weights": module.changing()})


def copy_into(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    """Overwrite tensors by those of the same name.

    Parameters
    ----------
    source : dict of torch.Tensor
        Tensors by name; it may hold more of them.
    target : dict of torch.Tensor
        Tensors that are overwritten in place. Each needs one of its name and shape in `source`.
    """
    for name, tensor in target.items():
        tensor.copy_(source[name])


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Get the states of the random numbers of the processor and of the device."""
    state = {"cpu": torch.get_rng_state()}
    if device.type != "cpu":
        state[device.type] = getattr(torch, device.type).get_rng_state()
    return state


def restore_random(state: Mapping[str, Tensor], device: torch.device) -> None:
    """Continue the random numbers where their states were taken.

    Parameters
    ----------
    state : dict of torch.Tensor
        States as `Journal.state` collects them: ``"cpu"`` and, on another device, the name of its kind.
    device : torch.device
        Where the training runs.
    """
    torch.set_rng_state(state["cpu"])
    if device.type != "cpu":
        getattr(torch, device.type).set_rng_state(state[device.type])
