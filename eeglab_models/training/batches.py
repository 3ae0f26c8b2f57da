"""Which windows a step sees, and with which random numbers: functions of the seed and of its number alone."""

import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import DataLoader

from eeglab_models.signals.windows import Windows

__all__ = ["TensorWindows", "as_dataset", "batch_numbers", "describe_data", "read_ahead", "seed_of"]

ORDER = "order of the windows"


class TensorWindows:
    """Windows in memory, by their numbers.

    Parameters
    ----------
    windows : torch.Tensor, shape (n_windows, n_chans, n_times)
        Prepared windows, in the unit of the encoder's contract.
    ch_names : sequence of str or None
        Channels in their order, where known.
    """

    def __init__(
        self, windows: Float[Tensor, "n_windows n_chans n_times"], ch_names: Sequence[str] | None = None
    ) -> None:
        self.windows = windows
        self.ch_names = ch_names

    def __len__(self) -> int:
        """Count the windows."""
        return len(self.windows)

    def __getitems__(self, numbers: Sequence[int]) -> Float[Tensor, "batch n_chans n_times"]:
        """Choose windows by their numbers."""
        return self.windows[torch.as_tensor(numbers)]


def as_dataset(data: Any) -> Any:
    """Give windows of any kind a length and ``__getitems__``.

    Parameters
    ----------
    data : Windows, torch.Tensor or dataset
        Prepared windows.

    Returns
    -------
    dataset : object
        What was given, if it has both already.

    Raises
    ------
    ValueError
        If windows were not prepared.
    TypeError
        If `data` is none of these.
    """
    if isinstance(data, Windows):
        if data.stamp is None:
            raise ValueError(
                f"Pretraining expects prepared windows, got windows in {data.unit} that prepare() has not "
                "seen. Pass them through prepare(windows, encoder) first."
            )
        return TensorWindows(torch.from_numpy(data.data), data.ch_names)
    if isinstance(data, Tensor):
        return TensorWindows(data)
    if hasattr(data, "__getitems__") and hasattr(data, "__len__"):
        return data
    raise TypeError(
        "Pretraining reads Windows, a tensor or a Corpus, got "
        f"{type(data).__name__}. Turn it into a tensor of shape (n_windows, n_chans, n_times)."
    )


def describe_data(data: Any) -> dict[str, Any]:
    """Tell data from others, shortly: number of windows, channels, and a fingerprint of the first window.

    Parameters
    ----------
    data : dataset
        Windows by ``__getitems__``, as of a `Corpus` or of `TensorWindows`.

    Returns
    -------
    description : dict
        ``"n_windows"``; ``"shape"`` of a window, channels and samples; ``"ch_names"``, None where they are
        not known; ``"first_window"``, the beginning of its SHA-256.
    """
    first = data.__getitems__([0])[0].contiguous()  # (n_chans, n_times)
    ch_names = getattr(data, "ch_names", None)
    return {
        "n_windows": len(data),
        "shape": list(first.shape),
        "ch_names": None if ch_names is None else list(ch_names),
        "first_window": hashlib.sha256(first.numpy().tobytes()).hexdigest()[:12],
    }


def seed_of(seed: int, purpose: str, *numbers: int) -> int:
    """Mix a seed for one purpose at one place.

    Parameters
    ----------
    seed : int
        Seed of the training.
    purpose : str
        What the random numbers are for.
    *numbers : int
        The place: number of the step, of the process.

    Returns
    -------
    mixed : int
        Seeds of neighbouring places share nothing.
    """
    text = repr((seed, purpose, numbers)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=7).digest())


@lru_cache(maxsize=2)
def shuffle(n_windows: int, seed: int, epoch: int) -> Int[np.ndarray, " n_windows"]:
    """Put the windows of an epoch into their order."""
    return np.random.default_rng(seed_of(seed, ORDER, epoch)).permutation(n_windows)


def batch_numbers(n_windows: int, batch_size: int, seed: int, step: int) -> list[int]:
    """Choose the windows of a step.

    In an epoch no window comes twice; those that do not fill a last batch are left out, in each epoch others.

    Parameters
    ----------
    n_windows : int
        Number of windows.
    batch_size : int
        Windows per step, at most `n_windows`.
    seed : int
        Seed of the training.
    step : int
        Number of the step, from 0.

    Returns
    -------
    numbers : list of int
        Numbers of the windows.
    """
    epoch, place = divmod(step, n_windows // batch_size)
    return shuffle(n_windows, seed, epoch)[place * batch_size :][:batch_size].tolist()


class StepOrder:
    """Numbers of the windows of every step that is left, of one process's share of the batch."""

    def __init__(self, n_windows: int, batch_size: int, seed: int, steps: range, share: slice) -> None:
        self.n_windows, self.batch_size, self.seed = n_windows, batch_size, seed
        self.steps, self.share = steps, share

    def __len__(self) -> int:
        """Count the steps."""
        return len(self.steps)

    def __iter__(self) -> Iterator[list[int]]:
        """Go through the steps."""
        for step in self.steps:
            yield batch_numbers(self.n_windows, self.batch_size, self.seed, step)[self.share]


def read_ahead(
    data: Any, batch_size: int, seed: int, steps: range, share: slice, n_workers: int
) -> Iterator[Float[Tensor, "share n_chans n_times"]]:
    """Read the windows of every step that is left.

    Parameters
    ----------
    data : dataset
        Windows, by ``__getitems__``.
    batch_size : int
        Windows per step, over all processes.
    seed : int
        Seed of the training.
    steps : range
        Steps that are left.
    share : slice
        What of a batch this process reads.
    n_workers : int
        Processes that read ahead; 0 reads when asked.

    Yields
    ------
    windows : torch.Tensor, shape (share, n_chans, n_times)
        This process's windows of a step, in the unit of `data`.
    """
    order = StepOrder(len(data), batch_size, seed, steps, share)
    yield from DataLoader(data, batch_sampler=order, num_workers=n_workers, collate_fn=keep)


def keep(windows: Tensor) -> Tensor:
    """Leave a batch as it is."""
    return windows
