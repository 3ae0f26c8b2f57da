"""Checkpoints of our own, which need no network."""

import difflib
import os
from pathlib import Path

__all__ = ["shipped_checkpoint"]

VARIABLE = "EEGLAB_MODELS_DATA"


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
        near = difflib.get_close_matches(name, known, n=1)
        there = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(known) or 'none'}."
        raise FileNotFoundError(
            f"{data / 'checkpoints'} holds no checkpoint {name!r}. {there} A clone of the repository has "
            f"them; elsewhere set {VARIABLE} to its data folder."
        )
    return data / "checkpoints" / name
