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

__all__: list[str] = []

ORDER = "order of the windows"


class TensorWindows:
    """Windows in memory, by their numbers."""

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
    """Give windows of any kind a length and ``__getitems__``, or refuse them."""
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


def summarise_data(data: Any) -> dict[str, Any]:
    """Tell data from others, shortly: number, form and channels, and a hash of windows from all over."""
    numbers = np.unique(np.linspace(0, len(data) - 1, 32).astype(int)).tolist()
    sample = data.__getitems__(numbers).contiguous()  # (n_sampled, n_chans, n_times)
    ch_names = getattr(data, "ch_names", None)
    return {
        "n_windows": len(data),
        "shape": list(sample.shape[1:]),
        "ch_names": None if ch_names is None else list(ch_names),
        "windows": hashlib.sha256(sample.numpy().tobytes()).hexdigest()[:12],
    }


def seed_of(seed: int, purpose: str, *numbers: int) -> int:
    """Mix a seed for one purpose at one place, a step or a process; neighbours share nothing."""
    text = repr((seed, purpose, numbers)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=7).digest())


@lru_cache(maxsize=2)
def shuffle(n_windows: int, seed: int, epoch: int) -> Int[np.ndarray, " n_windows"]:
    """Put the windows of an epoch into their order."""
    return np.random.default_rng(seed_of(seed, ORDER, epoch)).permutation(n_windows)


def batch_numbers(n_windows: int, batch_size: int, seed: int, step: int) -> list[int]:
    """Choose the windows of a step.

    In an epoch no window comes twice; those that do not fill a last batch are left out, in each epoch others.
    """
    epoch, place = divmod(step, n_windows // batch_size)
    return shuffle(n_windows, seed, epoch)[place * batch_size :][:batch_size].tolist()


def read_ahead(
    data: Any, batch_size: int, seed: int, steps: range, share: slice, n_workers: int
) -> Iterator[Float[Tensor, "share n_chans n_times"]]:
    """Read this process's share of the windows of every step that is left."""
    order = (batch_numbers(len(data), batch_size, seed, step)[share] for step in steps)
    # Batches come whole: nothing is to be put together.
    yield from DataLoader(data, batch_sampler=order, num_workers=n_workers, collate_fn=Tensor.contiguous)
