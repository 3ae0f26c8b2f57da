"""One loop for every objective: on one processor or many, interrupted and resumed as often as one likes.

A step depends on nothing but the state of the objective and of the optimiser, the settings and its own
number: from the seed and the number follow the windows of its batch, what the objective draws, and the random
numbers of dropout. So the checkpoint of a step holds all that the next one needs.
"""

import json
import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from jaxtyping import Float
from rich.progress import Progress
from torch import Tensor, nn

from eeglab_models.files import replacing
from eeglab_models.models.base import EEGModel
from eeglab_models.training.batches import (
    as_dataset,
    batch_numbers,
    describe_data,
    read_ahead,
    seed_of,
)
from eeglab_models.training.checkpoints import latest_checkpoint, load_checkpoint, save_checkpoint
from eeglab_models.training.curves import VALID, Curves
from eeglab_models.training.processes import count_processes, mean_over_processes
from eeglab_models.training.schedules import value_at
from eeglab_models.training.settings import FREE, Settings

__all__ = ["Settings", "pretrain"]

START, DRAWS, FORWARD, VALIDATION = "start", "draws", "forward", "validation"


def pretrain(
    objective: nn.Module,
    data: Any,
    settings: Settings,
    folder: str | Path,
    *,
    validation: Any = None,
    progress: bool = True,
    on_step: Callable[[dict[str, float]], None] | None = None,
) -> pd.DataFrame:
    """Train an objective, from the beginning or from the latest checkpoint in the folder.

    Started by ``accelerate launch`` on several GPUs, or by ``torchrun --nproc_per_node 2`` on a processor,
    all processes train together, as one would with the whole batch. On a processor, a training that was
    killed and called again ends with the same weights, bit for bit; on GPUs as far as their kernels repeat
    themselves.

    Parameters
    ----------
    objective : Objective
        What to train; it is changed in place and left in evaluation mode.
    data : Windows, torch.Tensor or Corpus
        Prepared windows; of other kinds, whatever has a length and, as ``data.__getitems__(numbers)``, gives
        windows as a tensor of shape (batch, n_chans, n_times).
    settings : Settings
        How to train.
    folder : str or pathlib.Path
        Gets ``metrics.csv``, ``progress.png``, ``checkpoints/`` and, at the end, ``encoder/``, which
        `from_pretrained` reads.
    validation : Windows, torch.Tensor, Corpus or None
        Held-out windows; what is drawn for them is always the same.
    progress : bool
        Show a bar, and in a notebook the figure.
    on_step : callable or None
        Called with every row of the table.

    Returns
    -------
    history : pandas.DataFrame
        One row per step that was written down: losses and monitors, those of held-out windows with ``valid_``
        before their names, learning rate, weight decay, length of the gradient, windows per second, highest
        memory in MB (of the process, or of the GPU), and seconds since the training began.

    Raises
    ------
    ValueError
        If windows were not prepared, if there are fewer than in a batch, if the batch cannot be divided among
        processes and parts, if the folder holds a training with other settings or data, or if a loss is no
        longer finite; the checkpoints stay.
    TypeError
        If `data` or `validation` is none of the above.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    held_out = None if validation is None else as_dataset(validation)
    training = Training(objective, as_dataset(data), held_out, settings, folder)
    devices = [training.device] if training.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        training.begin()
        training.run(progress, on_step)
    return training.curves.history()


class Forward(nn.Module):
    """The objective, in a shell that is prepared for devices and processes anew by every training."""

    def __init__(self, objective: nn.Module) -> None:
        super().__init__()
        self.objective = objective

    def forward(
        self, windows: Float[Tensor, "batch n_chans n_times"], drawn: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Compute the losses."""
        return self.objective(windows, drawn)


class Training:
    """A training: the objective, its optimiser, its data, and where it stands.

    Parameters
    ----------
    objective : torch.nn.Module
        What to train.
    data, validation : dataset
        Windows, by ``__getitems__``; None for the second if there are none.
    settings : Settings
        How to train.
    folder : pathlib.Path
        Where results go.

    Raises
    ------
    ValueError
        If there are fewer windows than in a batch, or if the batch cannot be divided among processes and
        parts.
    """

    def __init__(
        self, objective: nn.Module, data: Any, validation: Any, settings: Settings, folder: Path
    ) -> None:
        self.objective, self.data, self.validation = objective, data, validation
        self.settings, self.folder = settings, folder
        self.accelerator = make_accelerator(settings)
        self.device = self.accelerator.device
        self.is_first = self.accelerator.is_main_process
        self.n_own = check_batch(len(data), settings)
        self.first_row = self.accelerator.process_index * self.n_own
        self.facts = {"settings": asdict(settings), "data": describe_data(data)}

    def begin(self) -> None:
        """Bring everything to where the latest checkpoint was written, or to the start."""
        objective, settings = self.objective, self.settings
        found = latest_checkpoint(self.folder / "checkpoints")
        self.step = found.step if found else 0
        if found:
            check_same(found.facts, self.facts, self.folder)
        objective.to(self.device).train()
        self.optimizer = make_optimizer(objective, settings)
        if found:
            load_checkpoint(found, objective, self.optimizer)
        elif hasattr(objective, "start"):
            seed_device(seed_of(settings.seed, START), self.device)
            numbers = batch_numbers(len(self.data), settings.batch_size, settings.seed, 0)
            objective.start(self.data.__getitems__(numbers).to(self.device))
        self.model = self.accelerator.prepare_model(Forward(objective))
        self.curves = Curves(self.folder if self.is_first else None, self.step, objective.trivial_loss())
        self.clock = Clock(settings.batch_size, self.curves.last("seconds"), self.device)

    def run(self, progress: bool, on_step: Callable[[dict[str, float]], None] | None) -> None:
        """Take all steps that are left."""
        settings, n_steps = self.settings, self.settings.n_steps
        share = slice(self.first_row, self.first_row + self.n_own)
        steps = range(self.step, n_steps)
        bar = Progress(disable=not (progress and self.is_first))
        task = bar.add_task("pretraining", total=n_steps, completed=self.step)
        with bar:
            for windows in read_ahead(
                self.data, settings.batch_size, settings.seed, steps, share, settings.n_workers
            ):
                row = self.take_step(windows)
                self.clock.stop()
                bar.update(task, advance=1, description=f"loss {row['loss']:.4f}")
                if self.is_due(settings.validate_every) and self.validation is not None:
                    row |= self.validate()
                if self.is_due(settings.log_every) or VALID + "loss" in row:
                    row = {"step": self.step} | row | self.clock.read()
                    self.curves.add(row)
                    if on_step is not None and self.is_first:
                        on_step(row)
                if self.is_due(settings.figure_every):
                    self.curves.draw(show=progress)
                if self.is_due(settings.checkpoint_every):
                    self.save()
                self.clock.start()
        self.objective.eval()
        if self.is_first:
            save_encoder(self.objective, self.folder / "encoder")
        self.accelerator.wait_for_everyone()

    def is_due(self, every: int | None) -> bool:
        """Tell whether something that happens every few steps, and after the last one, happens now."""
        return every is not None and (self.step % every == 0 or self.step == self.settings.n_steps)

    def take_step(self, windows: Float[Tensor, "share n_chans n_times"]) -> dict[str, float]:
        """Compute losses and gradients of this process's windows, and move the weights."""
        settings, accelerator = self.settings, self.accelerator
        # What is drawn, and the windows it is drawn for, do not depend on the number of processes.
        generator = torch.Generator().manual_seed(seed_of(settings.seed, DRAWS, self.step))
        drawn = self.objective.draw(windows[:1].expand(settings.batch_size, -1, -1), generator)
        seed_device(seed_of(settings.seed, FORWARD, self.step, accelerator.process_index), self.device)
        rates = set_rates(self.optimizer, settings, self.step)
        totals: dict[str, Tensor] = {}
        n_rows = self.n_own // settings.n_parts
        for part in range(settings.n_parts):
            rows = slice(part * n_rows, (part + 1) * n_rows)
            own = choose_draws(drawn, self.first_row + rows.start, n_rows)
            is_last = part == settings.n_parts - 1
            # Processes exchange gradients once, with the last part.
            with nullcontext() if is_last else accelerator.no_sync(self.model):
                losses = self.model(windows[rows].to(self.device, non_blocking=True), own)
                accelerator.backward(losses["loss"] / settings.n_parts)
            for name, value in losses.items():
                totals[name] = totals.get(name, 0.0) + value.detach().float() / settings.n_parts
        learning = [value for group in self.optimizer.param_groups for value in group["params"]]
        # Without a limit, only the length is wanted.
        length = accelerator.clip_grad_norm_(learning, settings.max_grad_norm or math.inf)
        row = average(totals) | {"grad_norm": float(length)}
        self.check_finite(row)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        self.objective.update(self.step / settings.n_steps)
        return row | rates

    def check_finite(self, row: Mapping[str, float]) -> None:
        """Stop before a step that would spoil the weights."""
        for name in ("loss", "grad_norm"):
            if not math.isfinite(row[name]):
                raise ValueError(
                    f"Pretraining diverged: {name} of step {self.step + 1} is {row[name]}. Lower lr, pass a "
                    "smaller max_grad_norm, or use precision 'float32'; what is in "
                    f"{self.folder / 'checkpoints'} stays."
                )

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Average losses and monitors over held-out windows, with the same draws every time."""
        settings, n_processes = self.settings, count_processes()
        self.objective.eval()
        totals: dict[str, float] = {}
        n_seen = 0
        for number, start in enumerate(range(0, len(self.validation), settings.batch_size)):
            n_rows = min(settings.batch_size, len(self.validation) - start) // n_processes
            if n_rows == 0:
                continue
            first = start + self.accelerator.process_index * n_rows
            windows = self.validation.__getitems__(list(range(first, first + n_rows)))
            generator = torch.Generator().manual_seed(seed_of(settings.seed, VALIDATION, number))
            drawn = self.objective.draw(windows[:1].expand(n_rows * n_processes, -1, -1), generator)
            own = choose_draws(drawn, first - start, n_rows)
            with self.accelerator.autocast():
                losses = average(self.objective(windows.to(self.device), own))
            for name, value in losses.items():
                totals[name] = totals.get(name, 0.0) + value * n_rows
            n_seen += n_rows
        self.objective.train()
        return {VALID + name: value / n_seen for name, value in totals.items()}

    def save(self) -> None:
        """Write a checkpoint."""
        if self.is_first:
            save_checkpoint(
                self.folder / "checkpoints",
                self.step,
                self.objective,
                self.optimizer,
                self.facts,
                self.settings.n_checkpoints,
            )


class Clock:
    """Measure the speed of the steps, without what happens between them, and memory.

    Parameters
    ----------
    batch_size : int
        Windows per step.
    seconds : float
        Seconds of earlier sessions of the training.
    device : torch.device
        Whose memory is measured.
    """

    def __init__(self, batch_size: int, seconds: float, device: torch.device) -> None:
        self.batch_size = batch_size
        self.device = device
        self.process = psutil.Process()
        self.n_steps, self.busy, self.memory = 0, 0.0, 0.0
        self.started = time.perf_counter()
        self.began = self.started - seconds

    def start(self) -> None:
        """Start a step."""
        self.started = time.perf_counter()

    def stop(self) -> None:
        """Finish a step."""
        self.busy += time.perf_counter() - self.started
        self.n_steps += 1

    def read(self) -> dict[str, float]:
        """Give the speed since the last reading, the highest memory seen, and the time so far."""
        speed = self.n_steps * self.batch_size / self.busy
        self.n_steps, self.busy = 0, 0.0
        on_gpu = self.device.type == "cuda"
        n_bytes = torch.cuda.max_memory_allocated(self.device) if on_gpu else self.process.memory_info().rss
        self.memory = max(self.memory, n_bytes / 1e6)
        seconds = time.perf_counter() - self.began
        return {"windows_per_second": speed, "memory_mb": self.memory, "seconds": seconds}


def make_accelerator(settings: Settings) -> Accelerator:
    """Make accelerate's handle of devices, processes and precision."""
    # Its state belongs to the whole process, and would keep the settings of an earlier training.
    AcceleratorState._reset_state(reset_partial_state=True)
    # Encoders have parts that pretraining leaves alone, such as a head.
    handler = DistributedDataParallelKwargs(find_unused_parameters=True)
    mixed_precision = {"float32": "no", "bfloat16": "bf16"}[settings.precision]
    return Accelerator(cpu=settings.cpu, mixed_precision=mixed_precision, kwargs_handlers=[handler])


def make_optimizer(objective: nn.Module, settings: Settings) -> torch.optim.AdamW:
    """Make AdamW, under which biases and parameters with a single axis do not decay."""
    named = [(name, value) for name, value in objective.named_parameters() if value.requires_grad]
    decaying = [value for name, value in named if value.ndim > 1 and not name.endswith("bias")]
    steady = [value for name, value in named if value.ndim <= 1 or name.endswith("bias")]
    groups = [{"params": values, "decays": values is decaying} for values in (decaying, steady) if values]
    return torch.optim.AdamW(groups, betas=(0.9, settings.beta2), eps=settings.eps, fused=True)


def seed_device(seed: int, device: torch.device) -> None:
    """Seed the processor and the device that trains; torch's own function looks for every other kind too."""
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        getattr(torch, device.type).manual_seed(seed)


def set_rates(optimizer: torch.optim.Optimizer, settings: Settings, step: int) -> dict[str, float]:
    """Set learning rate, weight decay and first beta of a step."""
    values = (settings.lr, settings.weight_decay, settings.beta1)
    lr, weight_decay, beta1 = (value_at(value, step, settings.n_steps) for value in values)
    for group in optimizer.param_groups:
        group["lr"] = lr
        group["weight_decay"] = weight_decay if group["decays"] else 0.0
        group["betas"] = (beta1, settings.beta2)
    return {"lr": lr, "weight_decay": weight_decay}


def choose_draws(drawn: Mapping[str, Tensor], first: int, n_rows: int) -> dict[str, Tensor]:
    """Choose what was drawn for some windows; what all windows share stays."""
    return {
        name: value if len(value) == 1 else value[first : first + n_rows] for name, value in drawn.items()
    }


def average(values: Mapping[str, Tensor]) -> dict[str, float]:
    """Average numbers over all processes, as plain ones."""
    together = torch.stack([value.detach().float() for value in values.values()])  # (n_values,)
    return dict(zip(values, mean_over_processes(together).tolist(), strict=True))


def check_batch(n_windows: int, settings: Settings) -> int:
    """Return the number of windows in a process's share of a batch, if batches can be made and divided."""
    if n_windows < settings.batch_size:
        raise ValueError(
            f"A batch needs {settings.batch_size} windows, got {n_windows} in all. Lower batch_size to "
            f"{max(n_windows, 1)} or less, or pass more windows."
        )
    n_processes = count_processes()
    if settings.batch_size % (n_processes * settings.n_parts):
        raise ValueError(
            f"batch_size={settings.batch_size} cannot be divided among {n_processes} processes with "
            f"n_parts={settings.n_parts}. Choose a multiple of {n_processes * settings.n_parts}."
        )
    return settings.batch_size // n_processes


def check_same(found: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """Refuse to go on with other settings or other data than those of a checkpoint."""
    now = json.loads(json.dumps(now))
    for part, values in now.items():
        for name, value in values.items():
            before = found[part].get(name)
            if name not in FREE and value != before:
                raise ValueError(
                    f"{folder} holds a training with {name}={before!r}, got {name}={value!r}. Pass the same "
                    "to go on, or choose another folder to begin anew."
                )


def save_encoder(objective: nn.Module, folder: Path) -> None:
    """Save what pretraining is for: the encoder, or an objective that saves itself."""
    encoder = getattr(objective, "encoder", None)
    saved = encoder if isinstance(encoder, EEGModel) else objective
    if hasattr(saved, "save_pretrained"):
        # Whoever finds the folder takes the training for finished.
        with replacing(folder) as unfinished:
            saved.save_pretrained(unfinished)
