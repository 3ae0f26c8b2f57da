"""Checkpoints of a training: tensors as safetensors, everything else as JSON, and nothing half written."""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

__all__ = ["Checkpoint", "latest_checkpoint", "load_checkpoint", "save_checkpoint"]

TENSORS, FACTS = "state.safetensors", "checkpoint.json"
MODULE, OPTIMIZER = "module.", "optimizer."


@dataclass(frozen=True)
class Checkpoint:
    """What lies in the folder of a checkpoint.

    Attributes
    ----------
    folder : pathlib.Path
        Where it lies.
    step : int
        Steps that were done.
    facts : dict
        What the training wrote beside the tensors: its settings and its data.
    """

    folder: Path
    step: int
    facts: dict[str, Any]


def save_checkpoint(
    folder: Path,
    step: int,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    facts: Mapping[str, Any],
    n_kept: int,
) -> None:
    """Write a checkpoint under a temporary name, rename it when it is whole, and delete old ones.

    Parameters
    ----------
    folder : pathlib.Path
        Folder of all checkpoints.
    step : int
        Steps that are done.
    module : torch.nn.Module
        All of its `state_dict` is kept.
    optimizer : torch.optim.Optimizer
        Its tensors are kept under the names of the module's parameters.
    facts : mapping
        Plain values.
    n_kept : int
        Checkpoints to keep, the latest ones.
    """
    target = folder / f"step-{step:09d}"
    unfinished = folder / f".unfinished-{step:09d}"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    tensors = {MODULE + name: value for name, value in module.state_dict().items()}
    tensors |= optimizer_tensors(module, optimizer)
    # Copies, because safetensors refuses tensors that share memory.
    tensors = {name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()}
    save_file(tensors, unfinished / TENSORS)
    (unfinished / FACTS).write_text(json.dumps({"step": step, **facts}, indent=2), encoding="utf-8")
    for path in (unfinished / TENSORS, unfinished / FACTS, unfinished):
        flush(path)
    shutil.rmtree(target, ignore_errors=True)
    unfinished.rename(target)
    flush(folder)
    for old in find_checkpoints(folder)[:-n_kept]:
        shutil.rmtree(old)


def flush(path: Path) -> None:
    """Wait until a file, or the list of files of a folder, is on the disk."""
    # Windows opens no folders; there the files themselves have to do.
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def find_checkpoints(folder: Path) -> list[Path]:
    """List whole checkpoints, the latest last."""
    return sorted(path for path in folder.glob("step-*") if (path / FACTS).is_file())


def latest_checkpoint(folder: Path) -> Checkpoint | None:
    """Find the latest checkpoint.

    Parameters
    ----------
    folder : pathlib.Path
        Folder of all checkpoints; it need not exist.

    Returns
    -------
    checkpoint : Checkpoint or None
        None if there is none.
    """
    found = find_checkpoints(folder)
    if not found:
        return None
    facts = json.loads((found[-1] / FACTS).read_text(encoding="utf-8"))
    return Checkpoint(found[-1], facts.pop("step"), facts)


def load_checkpoint(checkpoint: Checkpoint, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Bring a module and its optimiser to the state of a checkpoint.

    Parameters
    ----------
    checkpoint : Checkpoint
        As `latest_checkpoint` returns it.
    module : torch.nn.Module
        Changed in place.
    optimizer : torch.optim.Optimizer
        Over parameters of the module, grouped as they were when the checkpoint was written.

    Raises
    ------
    ValueError
        If the module has other tensors than the checkpoint.
    """
    tensors = load_file(checkpoint.folder / TENSORS)
    state = {name.removeprefix(MODULE): value for name, value in tensors.items() if name.startswith(MODULE)}
    own = module.state_dict()
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    different = {name for name, value in own.items() if shapes.get(name) != tuple(value.shape)}
    different |= shapes.keys() - own.keys()
    if different:
        raise ValueError(
            f"The checkpoint {checkpoint.folder} is of another objective: {len(different)} tensors differ, "
            f"as {min(different)}. Build the same objective, or train into another folder."
        )
    module.load_state_dict(state)
    moments: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith(OPTIMIZER):
            parameter, _, moment = name.removeprefix(OPTIMIZER).rpartition(".")
            moments.setdefault(parameter, {})[moment] = value
    numbers = {name: number for number, name in enumerate(parameter_names(module, optimizer))}
    optimizer.load_state_dict(
        {
            "state": {numbers[name]: own for name, own in moments.items()},
            "param_groups": optimizer.state_dict()["param_groups"],
        }
    )


def optimizer_tensors(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Name the tensors of an optimiser after the parameters that they belong to."""
    state = optimizer.state_dict()["state"]
    names = parameter_names(module, optimizer)
    return {
        f"{OPTIMIZER}{names[number]}.{moment}": value
        for number, own in state.items()
        for moment, value in own.items()
    }


def parameter_names(module: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """Name the parameters of an optimiser, in its order."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    return [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]
