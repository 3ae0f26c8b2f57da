"""Pretraining: steps on windows without labels, on one processor or many, interrupted as often as one likes.

A step depends on nothing but the state of the objective and of the optimiser, the settings and its own
number: from the seed and the number follow the windows of its batch, what the objective draws, and the random
numbers of dropout. So the checkpoint of a step holds all that the next one needs.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import torch
from jaxtyping import Float
from torch import Tensor, nn

from eeglab_models.files import locked, replacing
from eeglab_models.training.batches import (
    as_dataset,
    batch_numbers,
    read_ahead,
    seed_of,
    summarise_data,
)
from eeglab_models.training.checkpoints import latest_checkpoint, save_checkpoint
from eeglab_models.training.curves import VALID, Curves
from eeglab_models.training.loop import Loop
from eeglab_models.training.processes import (
    count_processes,
    join_processes,
    mean_over_processes,
    own_device,
)
from eeglab_models.training.schedules import value_at
from eeglab_models.training.settings import Settings, check_same

__all__ = ["pretrain"]

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
    """Train an objective, from the beginning or from the latest whole checkpoint in the folder.

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
        processes and parts, if the folder holds a training with another objective, settings or data, or if a
        loss is no longer finite; the checkpoints stay.
    TypeError
        If `data` or `validation` is none of the above.
    BlockingIOError
        If another training writes into the folder.
    """
    folder = Path(folder)
    held_out = None if validation is None else as_dataset(validation)
    is_first = join_processes(settings.cpu).is_main_process
    with locked(folder, "train") if is_first else nullcontext():
        training = Pretraining(objective, as_dataset(data), held_out, settings, folder, on_step)
        devices = [training.device] if training.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            training.begin()
            training.run(progress and is_first)
            training.finish()
    return training.curves.history()


class Pretraining(Loop):
    """Steps on windows without labels, of which this process works through its share."""

    def __init__(
        self,
        objective: nn.Module,
        data: Any,
        validation: Any,
        settings: Settings,
        folder: Path,
        on_step: Callable[[dict[str, float]], None] | None,
    ) -> None:
        self.data, self.validation, self.settings = data, validation, settings
        self.folder, self.on_step, self.n_parts = folder, on_step, settings.n_parts
        self.n_own = check_batch(len(data), settings)
        processes, device = join_processes(settings.cpu), own_device(settings.cpu)
        self.is_first, self.number = processes.is_main_process, processes.process_index
        self.first_row = self.number * self.n_own
        self.facts = {
            "settings": asdict(settings),
            "objective": getattr(objective, "arguments", {}),
            "encoder": getattr(getattr(objective, "encoder", None), "arguments", {}),
            "data": summarise_data(data),
            "validation": {} if validation is None else summarise_data(validation),
        }
        optimizer = make_optimizer(objective.to(device).train(), settings)
        super().__init__(objective, optimizer, device, settings.precision, settings.max_grad_norm)

    def begin(self) -> None:
        """Bring everything to where the latest checkpoint was written, or to the start."""
        objective, settings = self.module, self.settings
        found = latest_checkpoint(self.folder / "checkpoints")
        if found:
            now = json.loads(json.dumps(self.facts, default=str))
            # To hold out nothing is always allowed.
            if not (now["validation"] and found.facts.get("validation")):
                now["validation"] = found.facts.get("validation")
            check_same(found.facts, now, self.folder)
            self.step = found.step
            self.restore(found.tensors)
        else:
            seed_device(seed_of(settings.seed, START), self.device)
            numbers = batch_numbers(len(self.data), settings.batch_size, settings.seed, 0)
            objective.start(self.data.__getitems__(numbers).to(self.device))
        self.curves = Curves(self.folder if self.is_first else None, self.step, objective.trivial_loss())
        self.clock = Clock(settings.batch_size, self.curves.last("seconds"), self.device)

    def batches(self) -> Iterator[Float[Tensor, "share n_chans n_times"]]:
        """Read this process's share of every step that is left."""
        settings, n_steps = self.settings, self.settings.n_steps
        share, steps = slice(self.first_row, self.first_row + self.n_own), range(self.step, n_steps)
        self.task = self.bar.add_task("pretraining", total=n_steps, completed=self.step)
        for windows in read_ahead(
            self.data, settings.batch_size, settings.seed, steps, share, settings.n_workers
        ):
            yield windows
            self.module.update(self.step / n_steps)
            self.write_down()
            self.clock.start()

    def parts(self, batch: Float[Tensor, "share n_chans n_times"]) -> Iterator[tuple[Tensor, dict]]:
        """Draw for the whole batch, whoever works through it, and give the parts of this process."""
        settings = self.settings
        # What is drawn, and the windows it is drawn for, do not depend on the number of processes.
        generator = torch.Generator().manual_seed(seed_of(settings.seed, DRAWS, self.step))
        drawn = self.module.draw(batch[:1].expand(settings.batch_size, -1, -1), generator)
        seed_device(seed_of(settings.seed, FORWARD, self.step, self.number), self.device)
        self.rates = set_rates(self.optimizer, settings, self.step)
        n_rows = self.n_own // self.n_parts
        for start in range(0, self.n_own, n_rows):
            windows = batch[start : start + n_rows].to(self.device, non_blocking=True)
            yield windows, choose_draws(drawn, self.first_row + start, n_rows)

    def write_down(self) -> None:
        """Do what is due after a step: a row of the table, the figure, a checkpoint."""
        settings, last = self.settings, {}
        is_looked_at = self.validation is not None and self.is_due(settings.validate_every)
        is_logged = is_looked_at or self.is_due(settings.log_every)
        if is_logged or self.is_due(settings.checkpoint_every):
            last = self.read()[-1]
        self.clock.stop()
        self.bar.update(self.task, advance=1)
        if is_logged:
            row = {"step": self.step} | last | self.rates
            row |= (self.validate() if is_looked_at else {}) | self.clock.read()
            self.bar.update(self.task, description=f"loss {row['loss']:.4f}")
            self.curves.add(row)
            if self.on_step is not None and self.is_first:
                self.on_step(row)
        if self.is_due(settings.figure_every):
            self.curves.draw(show=not self.bar.disable)
        if self.is_due(settings.checkpoint_every) and self.is_first:
            own = self.folder / "checkpoints"
            save_checkpoint(own, self.step, self.tensors(), self.facts, settings.n_checkpoints)

    def is_due(self, every: int | None) -> bool:
        """Tell whether something that happens every few steps, and after the last one, happens now."""
        return every is not None and (self.step % every == 0 or self.step == self.settings.n_steps)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Average losses and monitors over held-out windows, with the same draws every time."""
        settings, n_processes = self.settings, count_processes()
        self.module.eval()
        totals: dict[str, float] = {}
        n_seen = 0
        for number, start in enumerate(range(0, len(self.validation), settings.batch_size)):
            n_rows = min(settings.batch_size, len(self.validation) - start) // n_processes
            if n_rows == 0:
                continue
            first = start + self.number * n_rows
            windows = self.validation.__getitems__(list(range(first, first + n_rows)))
            generator = torch.Generator().manual_seed(seed_of(settings.seed, VALIDATION, number))
            drawn = self.module.draw(windows[:1].expand(n_rows * n_processes, -1, -1), generator)
            own = choose_draws(drawn, first - start, n_rows)
            with self.autocast():
                losses = average(self.module(windows.to(self.device), own))
            for name, value in losses.items():
                totals[name] = totals.get(name, 0.0) + value * n_rows
            n_seen += n_rows
        self.module.train()
        return {VALID + name: value / n_seen for name, value in totals.items()}

    def finish(self) -> None:
        """Save what pretraining is for: the encoder, or an objective that saves itself."""
        encoder = getattr(self.module.eval(), "encoder", None)
        saved = encoder if hasattr(encoder, "save_pretrained") else self.module
        if self.is_first and hasattr(saved, "save_pretrained"):
            # Whoever finds the folder takes the training for finished.
            with replacing(self.folder / "encoder") as unfinished:
                saved.save_pretrained(unfinished)
        join_processes(self.settings.cpu).wait_for_everyone()


class Clock:
    """Measures the speed of the steps, without what happens between them, and memory."""

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
    """Set learning rate, weight decay and first beta of a step; the settings keep them in AdamW's range."""
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
