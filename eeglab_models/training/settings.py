"""How to train: the numbers of the loop."""

from collections.abc import Mapping
from dataclasses import dataclass

from eeglab_models.training.schedules import value_at

__all__ = ["FREE", "Settings"]

EVERY = ("log_every", "validate_every", "checkpoint_every")
FREE = (*EVERY, "figure_every", "n_checkpoints", "n_workers", "cpu")
"""Settings that change nothing about the weights, so that training may go on with others."""


@dataclass(frozen=True)
class Settings:
    """How to train; learning rate, weight decay and first beta may be schedules.

    A schedule is a number, or a mapping: ``{"schedule": "warmup_cosine", "peak": 1e-3, "share": 0.1}``; see
    `eeglab_models.training.schedules`.

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

    n_steps: int
    batch_size: int
    lr: float | Mapping[str, str | float] = 1e-3
    weight_decay: float | Mapping[str, str | float] = 0.05
    beta1: float | Mapping[str, str | float] = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    max_grad_norm: float | None = None
    n_parts: int = 1
    precision: str = "float32"
    seed: int = 0
    n_workers: int = 0
    log_every: int = 1
    validate_every: int = 100
    checkpoint_every: int = 200
    figure_every: int | None = 200
    n_checkpoints: int = 2
    cpu: bool = False

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        for name in ("n_steps", "batch_size", "n_parts", "n_checkpoints", *EVERY, "figure_every"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}.")
        for name in ("seed", "n_workers"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}.")
        if self.max_grad_norm is not None and not self.max_grad_norm > 0:
            raise ValueError(f"max_grad_norm must be positive or None, got {self.max_grad_norm}.")
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision must be 'float32' or 'bfloat16', got {self.precision!r}.")
        for name in ("lr", "weight_decay", "beta1"):
            value_at(getattr(self, name), 0, self.n_steps)
