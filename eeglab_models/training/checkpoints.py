"""Checkpoints of a training: tensors as safetensors, everything else as JSON, and nothing half written.

accelerate's `save_state` deletes the old checkpoint before it writes the new one, and pickles the optimiser.
"""

import hashlib
import json
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from eeglab_models.configs import read_record
from eeglab_models.files import UNFINISHED, hash_file, replacing

__all__: list[str] = []

TENSORS, FACTS = "state.safetensors", "checkpoint.json"


@dataclass(frozen=True)
class Checkpoint:
    """What was read: steps that were done, all tensors, and the plain values beside them."""

    folder: Path
    step: int
    facts: dict[str, Any]
    tensors: dict[str, Tensor]


def save_checkpoint(
    folder: Path, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any], n_kept: int
) -> None:
    """Write a checkpoint, whole or not at all, and delete all but the latest ones."""
    # Copies, because safetensors refuses tensors that share memory.
    own = {name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()}
    with replacing(folder / f"step-{step:09d}") as unfinished:
        unfinished.mkdir()
        save_file(own, unfinished / TENSORS)
        plain = json.loads(json.dumps({"step": step, **facts}, default=str))
        text = json.dumps(plain | {"sha256": hash_all(unfinished, plain)}, indent=1)
        (unfinished / FACTS).write_text(text, encoding="utf-8")
    for old in [*find_checkpoints(folder)[:-n_kept], *folder.glob(f"{UNFINISHED}*")]:
        shutil.rmtree(old)


def hash_all(folder: Path, facts: Mapping[str, Any]) -> str:
    """Hash the tensors of a checkpoint and the plain values beside them."""
    text = json.dumps(facts, sort_keys=True) + hash_file(folder / TENSORS)
    return hashlib.sha256(text.encode()).hexdigest()


def find_checkpoints(folder: Path) -> list[Path]:
    """List the folders of checkpoints, the latest last."""
    return sorted(folder.glob("step-*"))


def latest_checkpoint(folder: Path) -> Checkpoint | None:
    """Read the latest checkpoint that is whole; a damaged one is skipped with a warning."""
    for path in reversed(find_checkpoints(folder)):
        try:
            facts = read_record(path / FACTS, {"step": int, "sha256": str})
            if facts.pop("sha256") != hash_all(path, facts):
                raise ValueError("its content is not what was written")
            return Checkpoint(path, facts.pop("step"), facts, load_file(path / TENSORS))
        except (OSError, ValueError, SafetensorError) as error:
            warnings.warn(
                f"The checkpoint {path} is damaged ({error}): training goes on from the one before it, or "
                "from the beginning if there is none.",
                stacklevel=2,
            )
    return None


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Put a prefix before every name."""
    return {prefix + name: value for name, value in tensors.items()}


def without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Choose the tensors whose name has a prefix, and take it off."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


@torch.no_grad()
def copy_into(target: Mapping[str, Tensor], source: Mapping[str, Tensor]) -> None:
    """Overwrite tensors in place by those of the same names and shapes."""
    shapes = [{name: tuple(value.shape) for name, value in tensors.items()} for tensors in (target, source)]
    different = {name for name, _ in shapes[0].items() ^ shapes[1].items()}
    if different:
        raise ValueError(
            f"The checkpoint is of another objective: {len(different)} tensors differ, as {min(different)}. "
            "Build the same objective, or train into another folder."
        )
    for name, tensor in target.items():
        tensor.copy_(source[name])


def optimizer_tensors(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Name the tensors of an optimiser after the parameters that they belong to."""
    names = parameter_names(module, optimizer)
    return {
        f"{names[number]}.{moment}": value
        for number, own in optimizer.state_dict()["state"].items()
        for moment, value in own.items()
    }


def load_optimizer(
    module: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]
) -> None:
    """Bring an optimiser, with the groups that it had, to the state of `optimizer_tensors`."""
    numbers = {name: number for number, name in enumerate(parameter_names(module, optimizer))}
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        parameter, _, moment = name.rpartition(".")
        state.setdefault(numbers[parameter], {})[moment] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def parameter_names(module: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """Name the parameters of an optimiser, in its order."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    return [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]
