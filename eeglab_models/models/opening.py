"""Checkpoints opened without running anything in them, and freed of what training code wraps models in.

Pickles are opened here and nowhere else, and only if they hold nothing but tensors and plain values.
"""

import re
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from eeglab_models.configs import shorten
from eeglab_models.models.download import PICKLES, read_weights

State = Mapping[str, Tensor]
Translate = Callable[[State], State]
# Wrappers around wrappers that are looked into.
DEEPEST = 8


def open_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file without running anything that it holds."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no checkpoint {path}. Check its name.")
    if path.suffix == ".safetensors":
        return without_compilation(read_weights(path))
    if path.suffix not in PICKLES:
        raise ValueError(
            f"Checkpoints are {', '.join(sorted(PICKLES))} or .safetensors files, got {path.name}."
        )
    try:
        # torch writes sums of what it packs, and reads without comparing them.
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as packed:
                if packed.testzip():
                    raise zipfile.BadZipFile("a sum differs")
        checkpoint = torch.load(path, weights_only=True, map_location="cpu")
    # A damaged or hostile pickle can fail in any way.
    except Exception as error:
        if found := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise ValueError(
                f"{path} holds {found[1]}, and only tensors and plain values are read; nothing in it ran. "
                "Where you trust it, save its state_dict alone with torch.save, and convert that."
            ) from error
        raise ValueError(
            f"{path} cannot be read ({type(error).__name__}): it is damaged or no checkpoint, and nothing in "
            "it was run. Download or save it again."
        ) from error
    return without_compilation(find_state_dict(checkpoint, path))


def without_compilation(state: State) -> dict[str, Tensor]:
    """Take out of the names what torch.compile adds, wherever it was applied."""
    return {name.replace("_orig_mod.", ""): tensor for name, tensor in state.items()}


def find_state_dict(checkpoint: Any, path: Path) -> dict[str, Tensor]:
    """Find the tensors by name, however deep; where several places hold some, the place begins the name."""
    places = dict(find_places(checkpoint))
    if not places:
        held = shorten(sorted(map(str, checkpoint))) if isinstance(checkpoint, Mapping) else type(checkpoint)
        raise ValueError(
            f"{path} holds no tensors by name; it holds {held}. Save the model's state_dict alone, and "
            "convert that."
        )
    if len(places) == 1:
        return dict(next(iter(places.values())))
    return {place + name: tensor for place, tensors in places.items() for name, tensor in tensors.items()}


def find_places(entry: Any, place: str = "", depth: int = 0) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    """Go through nested mappings to those that hold named tensors and nothing else."""
    if not isinstance(entry, Mapping) or not entry or depth > DEEPEST:
        return
    if all(map(is_named_tensor, entry.items())):
        yield place, entry
        return
    for name, inner in entry.items():
        # Optimisers number what they hold.
        if isinstance(name, str):
            yield from find_places(inner, f"{place}{name}.", depth + 1)


def is_named_tensor(item: tuple[Any, Any]) -> bool:
    """Whether an entry is a name and a tensor whose values are all there; a view can claim any shape."""
    name, tensor = item
    if not isinstance(name, str) or not isinstance(tensor, Tensor):
        return False
    stored = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
    return stored and tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def find_copies(state: State, landmarks: Collection[str], translate: Translate) -> dict[str, str]:
    """Find what stands before the names of each copy of a model in a checkpoint, by what to call it.

    A copy is where a landmark is found once a prefix is taken off: as little as possible, because a head may
    stand beside the encoder.
    """
    found = set()
    for name in state:
        parts = name.split(".")
        for depth in range(min(len(parts), DEEPEST)):
            if set(translate({".".join(parts[depth:]): state[name]})) & set(landmarks):
                found.add("".join(f"{part}." for part in parts[:depth]))
                break
    return {prefix.rstrip(".") or "model": prefix for prefix in sorted(found)}


def choose_copy(copies: Mapping[str, str], wanted: str | None) -> str | None:
    """Choose a copy of several by its name or a part of it that no other has; None if that is not one."""
    if len(copies) == 1 and wanted is None:
        return next(iter(copies.values()))
    fitting = [name for name in copies if wanted == name or wanted in name.split(".")]
    return copies[fitting[0]] if len(fitting) == 1 else copies.get(str(wanted))


def unwrap(state: State, prefix: str) -> tuple[dict[str, Tensor], set[str]]:
    """Take a prefix off the names; what does not have it, and counters of averages, is left out."""
    kept = {name: tensor for name, tensor in state.items() if name.startswith(prefix)}
    kept = {name: t for name, t in kept.items() if t.ndim or "." in name.removeprefix(prefix)}
    return {name.removeprefix(prefix): t for name, t in kept.items()}, set(state) - set(kept)
