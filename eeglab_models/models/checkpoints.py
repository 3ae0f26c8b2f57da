"""Checkpoints of our own, which need no network."""

import os
from pathlib import Path

from eeglab_models.configs import nearest

__all__ = ["find_checkpoint", "shipped_checkpoint"]

VARIABLE = "EEGLAB_MODELS_DATA"


def find_checkpoint(source: str) -> str | Path:
    """Turn what a user names into what `from_pretrained` reads.

    Parameters
    ----------
    source : str
        Name of a checkpoint that comes with the repository, a folder, or a repository on the Hub,
        ``"user/model"``.

    Returns
    -------
    source : str or pathlib.Path
        The folder of a shipped checkpoint; anything else as it is.

    Raises
    ------
    FileNotFoundError
        If it is neither a folder nor a repository, and no such checkpoint is shipped.
    """
    return source if "/" in source or Path(source).is_dir() else shipped_checkpoint(source)


def shipped_checkpoint(name: str) -> Path:
    """Find a checkpoint that comes with the repository.

    Parameters
    ----------
    name : str
        Folder in ``data/checkpoints``, for example ``"fblightconvnet-simulated"``. The environment variable
        EEGLAB_MODELS_DATA names another folder than the repository's ``data``.

    Returns
    -------
    folder : pathlib.Path
        Folder for `from_pretrained`, with a model card in its README.md.

    Raises
    ------
    FileNotFoundError
        If there is no such checkpoint; the message names those that there are.
    """
    data = Path(os.environ.get(VARIABLE) or Path(__file__).parents[2] / "data")
    known = sorted(path.parent.name for path in data.glob("checkpoints/*/config.json"))
    if name not in known:
        near = nearest(name, known, cutoff=0.6)
        there = f"Did you mean {near!r}?" if near else f"There are: {', '.join(known) or 'none'}."
        raise FileNotFoundError(
            f"{data / 'checkpoints'} holds no checkpoint {name!r}. {there} A clone of the repository has "
            f"them; elsewhere set {VARIABLE} to its data folder."
        )
    return data / "checkpoints" / name
