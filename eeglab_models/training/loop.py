"""The loop of every training: batches, gradients in parts, a step of the optimiser, checkpoints."""

import math
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from rich.progress import Progress
from torch import Tensor, nn

from eeglab_models.training.checkpoints import (
    copy_into,
    load_optimizer,
    optimizer_tensors,
    with_prefix,
    without_prefix,
)
from eeglab_models.training.processes import count_processes, mean_over_processes

__all__: list[str] = []

PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
MODULE, OPTIMIZER, RATES = "module.", "optimizer.", "rates"


class Loop:
    """Steps of an optimiser until there are no more batches; a subclass says which, and what comes after one.

    The module gives ``{"loss": ..., other numbers}``; `bar` shows how far training is.
    """

    n_parts = 1

    def __init__(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        device: torch.device,
        precision: str,
        max_grad_norm: float | None,
    ) -> None:
        self.module, self.optimizer, self.device = module, optimizer, device
        # Without a limit, only the length of the gradient is wanted.
        self.max_grad_norm = math.inf if max_grad_norm is None else max_grad_norm
        self.dtype = PRECISIONS[precision]
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "float16")
        self.learning = [value for group in optimizer.param_groups for value in group["params"]]
        self.step = 0
        self.unread: list[dict[str, Tensor]] = []

    def batches(self) -> Iterator[Any]:
        """Give one batch after the other; when the next one is asked for, the step of the last is done."""
        raise NotImplementedError

    def parts(self, batch: Any) -> Iterator[tuple[Any, ...]]:
        """Set the rates of the step, and cut the batch into `n_parts` arguments of the module."""
        raise NotImplementedError

    def changing(self) -> Mapping[str, Tensor]:
        """Name the tensors of the module that training changes; not copies."""
        return self.module.state_dict()

    def run(self, progress: bool) -> None:
        """Train to the end."""
        self.model = spread(self.module, self.device)
        with Progress(disable=not progress) as self.bar:
            for batch in self.batches():
                self.take_step(batch)

    def autocast(self) -> torch.autocast:
        """Compute in the precision of the training."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None)

    def take_step(self, batch: Any) -> None:
        """Move the weights by the gradients of all parts of a batch together."""
        totals: dict[str, Tensor] = {}
        for number, arguments in enumerate(self.parts(batch), start=1):
            # Processes exchange gradients once, with the last part.
            alone = number < self.n_parts and count_processes() > 1
            with self.model.no_sync() if alone else nullcontext():
                with self.autocast():
                    losses = self.model(*arguments)
                self.scaler.scale(losses["loss"].float() / self.n_parts).backward()
            for name, value in losses.items():
                totals[name] = totals.get(name, 0.0) + value.detach().float() / self.n_parts
        self.scaler.unscale_(self.optimizer)
        totals["grad_norm"] = nn.utils.clip_grad_norm_(self.learning, self.max_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        self.step += 1
        self.unread.append(totals)

    def read(self) -> list[dict[str, float]]:
        """Fetch the numbers of the steps since the last reading, averaged over processes.

        A device works on while nobody reads; so what is not finite is found now, and nothing may be saved
        before.
        """
        values = torch.cat([torch.stack(list(totals.values())) for totals in self.unread])
        numbers = iter(mean_over_processes(values).tolist())
        rows = [{name: next(numbers) for name in totals} for totals in self.unread]
        self.unread.clear()
        # A scaler of half precision skips steps with infinite gradients.
        watched = ("loss",) if self.scaler.is_enabled() else ("loss", "grad_norm")
        for step, row in enumerate(rows, start=self.step - len(rows) + 1):
            for name in watched:
                if not math.isfinite(row[name]):
                    raise ValueError(
                        f"Training diverged: {name} of step {step} is {row[name]}. Lower lr, pass a smaller "
                        "max_grad_norm, or use precision 'float32'; checkpoints stay."
                    )
        return rows

    def tensors(self) -> dict[str, Tensor]:
        """Name the tensors that the next step depends on; not copies."""
        rates = torch.tensor([group["lr"] for group in self.optimizer.param_groups], dtype=torch.float64)
        return (
            with_prefix(MODULE, self.changing())
            | with_prefix(OPTIMIZER, optimizer_tensors(self.module, self.optimizer))
            | {RATES: rates}
        )

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go back to what `tensors` gave; where it is of the module alone, the optimiser stays as it is."""
        copy_into(self.changing(), without_prefix(MODULE, tensors))
        if RATES in tensors:
            load_optimizer(self.module, self.optimizer, without_prefix(OPTIMIZER, tensors))
            for group, rate in zip(self.optimizer.param_groups, tensors[RATES].tolist(), strict=True):
                group["lr"] = rate


def spread(module: nn.Module, device: torch.device) -> nn.Module:
    """Let the processes that train together exchange their gradients; one alone needs nothing."""
    if count_processes() == 1:
        return module
    # Encoders have parts that pretraining leaves alone, such as a head.
    return nn.parallel.DistributedDataParallel(
        module, device_ids=None if device.type == "cpu" else [device], find_unused_parameters=True
    )
