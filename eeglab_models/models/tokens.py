"""Tokens of all models in one form: their names and places, and one row of numbers from them.

Nothing here has parameters. Shapes use these names throughout:

    batch       windows in a batch
    n_places    tokens of one moment: channels, or EEGPT's summary tokens
    n_patches   tokens of one place that follow each other in time
    n_features  numbers that describe a token
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from torch import Tensor


@dataclass(frozen=True)
class Tokens:
    """Names and places of tokens, in the order in which they stand; no two share a name."""

    names: Shaped[np.ndarray, " n_tokens"]
    # Empty for summary tokens.
    channels: Shaped[np.ndarray, " n_tokens"]
    # Middle of the patch in seconds from the start of the window, not-a-number where a token has none.
    times: Float[np.ndarray, " n_tokens"]

    def choose(self, index: slice | Sequence[int]) -> "Tokens":
        """Keep some of the tokens, in the order of `index`."""
        return Tokens(self.names[index], self.channels[index], self.times[index])

    def __add__(self, others: "Tokens") -> "Tokens":
        """Put other tokens behind these."""
        return Tokens(
            np.concatenate([self.names, others.names]),
            np.concatenate([self.channels, others.channels]),
            np.concatenate([self.times, others.times]),
        )

    def coordinates(self, axis: str) -> dict[str, Any]:
        """Label an axis of a DataArray: names, then channels and, unless no token has one, times."""
        labels = {axis: self.names, f"{axis}_channel": (axis, self.channels)}
        if not np.isnan(self.times).all():
            labels[f"{axis}_time"] = (axis, self.times)
        return labels


def patch_tokens(channels: Sequence[str], times: Float[np.ndarray, " n_patches"]) -> Tokens:
    """Name the patches of all channels, channel by channel: ``"C3 1.5 s"``."""
    places = np.repeat(np.array(channels), len(times))
    times = np.tile(times, len(channels))
    return Tokens(name_moments(places, times), places, times)


def plain_tokens(
    names: Collection[str], channels: Collection[str] | None = None, times: Collection[float] | None = None
) -> Tokens:
    """Name tokens that stand for no channel or for no time of their own."""
    return Tokens(
        np.array(names),
        np.full(len(names), "") if channels is None else np.array(channels),
        np.full(len(names), np.nan) if times is None else np.array(times),
    )


def name_moments(names: Iterable[str], times: Iterable[float]) -> Shaped[np.ndarray, " n_tokens"]:
    """Add the time of each token to its name."""
    return np.array([f"{name} {time:g} s" for name, time in zip(names, times, strict=True)])


def summary_names(n_tokens: int) -> list[str]:
    """Name summary tokens."""
    return [f"summary {index}" for index in range(n_tokens)]


def pool_tokens(
    tokens: Float[Tensor, "batch n_places n_patches n_features"], pool: str
) -> Float[Tensor, "batch _"]:
    """Make one row: the average over ``"time"``, over all (``"mean"``), or moment by moment (``"none"``)."""
    if pool == "time":
        return tokens.mean(dim=2).flatten(1)  # (batch, n_places * n_features)
    if pool == "mean":
        return tokens.mean(dim=(1, 2))  # (batch, n_features)
    return tokens.transpose(1, 2).flatten(1)  # (batch, n_patches * n_places * n_features)
