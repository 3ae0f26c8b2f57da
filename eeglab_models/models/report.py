"""What became of every tensor, and which encoder a model holds."""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from eeglab_models.configs import shorten

__all__ = ["LoadReport", "fingerprint"]


@dataclass(frozen=True)
class LoadReport:
    """What happened to every tensor of a model and of the weights it was loaded from.

    Attributes
    ----------
    source : str
        File, folder or Hub repository of the weights.
    loaded : tuple of str
        Tensors of the model that now hold the values of the file.
    new : tuple of str
        Tensors of the model that the file does not provide: freshly initialised.
    ignored : tuple of str
        Tensors of the file that the model does not use.
    assumed : tuple of str
        Arguments that change what the model computes, that no shape reveals, and that neither the
        configuration nor the caller stated, with the values that were taken.
    layout, fingerprint : str
        Whose names the tensors of the file have, and what `fingerprint` says of the model.
    """

    source: str
    loaded: tuple[str, ...] = field(default=(), repr=False)
    new: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    layout: str = ""
    fingerprint: str = ""

    def __str__(self) -> str:
        """Summarise the report, one fact per line."""
        facts = {
            "sha256": f"{self.fingerprint[:12]} (encoder)",
            "layout": self.layout,
            "loaded": f"{len(self.loaded)} tensors",
            "new": summarise(self.new),
            "ignored": summarise(self.ignored),
        }
        if self.assumed:
            facts["assumed"] = shorten(sorted(self.assumed))
        return "\n".join([f"Weights from {self.source}", *(f"  {k:<8} {v}" for k, v in facts.items())])


def fingerprint(model: nn.Module) -> str:
    """Compute a number that tells whether two models hold the same encoder, bit by bit.

    Task modules are left out, and so are tensors that follow from the constructor's arguments: the same
    encoder has the same fingerprint for every task and every montage, wherever it is, compiled or not.

    Parameters
    ----------
    model : EEGModel
        A model of this package.

    Returns
    -------
    fingerprint : str
        SHA-256 of the name, type, shape and bytes of every tensor of the encoder, in the order of their
        names: 64 hexadecimal digits.
    """
    state = {key.replace("_orig_mod.", ""): tensor for key, tensor in model.state_dict().items()}
    left_out = keys_of(state, (*model.layout.task_modules, *model.layout.derived_modules))
    return hash_tensors({key: tensor for key, tensor in state.items() if key not in left_out})


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Hash the name, type, shape and bytes of tensors, in the order of their names, by SHA-256."""
    digest = hashlib.sha256()
    for key in sorted(tensors):
        tensor = tensors[key].detach().cpu().contiguous()
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def keys_of(keys: Iterable[str], modules: Iterable[str]) -> set[str]:
    """Choose the tensors that belong to one of the modules (``"a.b"`` holds ``"a.b.weight"``)."""
    prefixes = tuple(f"{module}." for module in modules)
    return {key for key in keys if f"{key}.".startswith(prefixes)}


def summarise(names: Collection[str]) -> str:
    """Count tensors and name the modules that they belong to, no deeper than it takes to part them."""
    if len(names) <= 2:
        return ", ".join(names) or "none"
    depth, groups = 0, {""}
    while len(groups) == 1:
        depth += 1
        groups = {".".join(name.split(".")[:depth]) for name in names}
    return f"{len(names)} tensors of {shorten(sorted(groups), n_shown=4)}"
