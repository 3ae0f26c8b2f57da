"""Files of a model: found in a folder or downloaded from the Hub, and read without running anything."""

import json
from pathlib import Path
from typing import Any

from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

CONFIG_FILE = constants.CONFIG_NAME
WEIGHTS_FILE = constants.SAFETENSORS_SINGLE_FILE
PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl"}
CONVERT = "Convert pickled weights once, where you trust them: eeglab-models convert FILE FOLDER."


def fetch(source: str, filename: str, hub: dict[str, Any]) -> Path:
    """Find a file in a folder or download it from the Hub, or say what is missing."""
    if not filename.endswith((".safetensors", ".json")):
        raise ValueError(f"Weights are read from safetensors files only, got {filename!r}. {CONVERT}")
    folder = Path(source)
    if folder.is_dir():
        path = folder / filename
        others = sorted(p.name for p in folder.iterdir() if p.suffix in PICKLES)
        if not path.is_file():
            found = (
                f"; {', '.join(others)} can run code when opened and is refused. {CONVERT}" if others else "."
            )
            raise FileNotFoundError(f"{folder} holds no {filename}{found}")
        return path
    try:
        return Path(hf_hub_download(source, filename, **hub))
    except LocalEntryNotFoundError as error:
        raise FileNotFoundError(
            f"{filename} of {source!r} is not in the cache and the Hub cannot be reached. "
            "Load it once with a network, or pass a folder."
        ) from error
    except EntryNotFoundError as error:
        raise FileNotFoundError(f"The Hub repository {source!r} holds no {filename}. {CONVERT}") from error
    except (HFValidationError, RepositoryNotFoundError) as error:
        raise FileNotFoundError(
            f"{source!r} is neither a folder nor a readable Hub repository. Check the name, or log in."
        ) from error


def read_config(path: Path) -> dict[str, Any]:
    """Read the constructor's arguments."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}). Download or save the model again.") from error
    if not isinstance(config, dict):
        raise ValueError(
            f"{path} must hold an object of constructor arguments, got a {type(config).__name__}."
        )
    return config


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file, or say that it is none."""
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(
            f"{path} is no complete safetensors file ({error}). Download or save it again."
        ) from error
