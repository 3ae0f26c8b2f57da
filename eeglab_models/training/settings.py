"""How to train: the numbers of the loop."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge

from eeglab_models.configs import BelowOne, Count, NotNegative, Positive, check_arguments
from eeglab_models.training.schedules import check_schedule

__all__ = ["Settings"]

FREE = (
    *("log_every", "validate_every", "checkpoint_every", "figure_every"),
    *("n_checkpoints", "n_workers", "cpu"),
)
"""Settings that change nothing about the weights, so that training may go on with others."""
Schedule = Mapping[str, str | float]
# A beta of 1 would never forget the first gradient.
Beta = BelowOne


@dataclass(frozen=True)
class Settings:
    """How to train; learning rate, weight decay and first beta may be schedules.

    A schedule is a number, or a mapping: ``{"schedule": "warmup_cosine", "peak": 1e-3, "share": 0.1}``. There
    are ``constant`` (value), ``linear`` (start, end), ``cosine`` (start, end, span), ``warmup_cosine`` (peak,
    end, start, share) and ``one_cycle`` (start, peak, end, share); see `eeglab_models.training.schedules`.

    Attributes
    ----------
    n_steps : int
        Steps of the optimiser.
    batch_size : int
        Windows per step, over all processes and parts.
    lr, weight_decay, beta1 : float or mapping
        Learning rate, weight decay and first beta of AdamW. Biases and other parameters with a single axis do
        not decay.
    beta2, eps : float
        The rest of AdamW.
    max_grad_norm : float or None
        Longer gradients are shortened to this.
    n_parts : int
        Parts that the batch of a process is worked through in, one after the other, to save memory.
    precision : {"float32", "bfloat16"}
        Precision of the forward pass.
    seed : int
        Seed of the order of the windows, of the draws and of dropout.
    n_workers : int
        Processes that read windows ahead, for each process that trains.
    log_every, validate_every, checkpoint_every : int
        Steps between two rows of the table, two looks at held-out windows, and two checkpoints.
    figure_every : int or None
        Steps between two drawings of the figure; None draws none.
    n_checkpoints : int
        Latest checkpoints to keep.
    cpu : bool
        Train on the processor even if there is a GPU.

    Raises
    ------
    ValueError
        If a number is out of its range, or a schedule is not one.
    """

    n_steps: Count
    batch_size: Count
    lr: Positive | Schedule = 1e-3
    weight_decay: NotNegative | Schedule = 0.05
    beta1: Beta | Schedule = 0.9
    beta2: Beta = 0.999
    eps: Positive = 1e-8
    max_grad_norm: Positive | None = None
    n_parts: Count = 1
    precision: Literal["float32", "bfloat16"] = "float32"
    seed: Annotated[int, Ge(0)] = 0
    n_workers: Annotated[int, Ge(0)] = 0
    log_every: Count = 1
    validate_every: Count = 100
    checkpoint_every: Count = 200
    figure_every: Count | None = 200
    n_checkpoints: Count = 2
    cpu: bool = False

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        check_arguments(type(self), vars(self), "Settings")
        # A schedule may start or end at 0.
        for name, level in {"lr": NotNegative, "weight_decay": NotNegative, "beta1": Beta}.items():
            check_schedule(f"{name} of Settings", getattr(self, name), level)


def check_same(before: Mapping[str, Any], now: Mapping[str, Any], folder: Path, where: str = "") -> None:
    """Refuse to go on where something is set otherwise that changes the weights."""
    for name in sorted({*before, *now} - {*FREE}):
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            check_same(old, new, folder, f"{where}{name}.")
        elif old != new:
            raise ValueError(
                f"{folder} holds a training with {where}{name}={old!r}, got {new!r}. Pass the same to go on, "
                "or choose another folder to begin anew."
            )
