"""The windows of a configuration: simulated subjects, recordings, a corpus, or several of them together."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge, Gt
from jaxtyping import Float
from torch import Tensor

from eeglab_models.configs import check_arguments
from eeglab_models.models.base import EEGModel
from eeglab_models.signals.electrodes import spell_channel
from eeglab_models.signals.preparation import prepare
from eeglab_models.training.batches import TensorWindows
from eeglab_models.training.processes import join_processes

SOURCES = ("simulated", "recordings", "corpus")


@dataclass(frozen=True)
class Data:
    """The part ``data`` of a configuration; the module `configuration` describes it."""

    seconds: Annotated[float, Gt(0)] | None = None
    channels: tuple[str, ...] | None = None
    held_out: Annotated[int, Ge(0)] | tuple[int | str, ...] = 0
    left_out: tuple[int | str, ...] = ()
    simulated: Mapping[str, Any] | None = None
    recordings: Mapping[str, Any] | None = None
    corpus: str | None = None

    def __post_init__(self) -> None:
        """Refuse data that cannot be found."""
        if all(getattr(self, name) is None for name in SOURCES):
            raise ValueError(f"'data' needs a source, one or more of {', '.join(SOURCES)}. Add one.")
        if self.seconds is None and self.corpus is None:
            raise ValueError("'data' needs the length of a window. Add 'seconds: 4.0' or another number.")
        if self.recordings is not None and "source" not in self.recordings:
            raise ValueError("'recordings' needs a 'source': a folder, or a list. Add it.")

    def channels_for(self, model: type[EEGModel]) -> tuple[str, ...]:
        """Name the channels of the windows, in the spelling of the 10-05 system."""
        names: Sequence[str] | None = self.channels
        if names is None and self.corpus is not None:
            names = self.opened.ch_names
        if names is None and self.simulated is not None:
            names = self.simulation.ch_names
        names = names or model.contract.ch_names
        return tuple(spell_channel(name) for name in names)

    def n_times_for(self, model: type[EEGModel]) -> int:
        """Count the samples of a window, at the rate of the model's contract."""
        if self.seconds is None:
            return self.opened.stamp.n_times
        return round(self.seconds * model.contract.sfreq)

    @cached_property
    def opened(self) -> Any:
        """The corpus."""
        from eeglab_models.pretraining.corpus.reading import Corpus

        return Corpus(self.corpus)

    @cached_property
    def simulation(self) -> Any:
        """The simulated data set."""
        from eeglab_models.signals.simulation import SimulatedMotorImagery

        return SimulatedMotorImagery(**check_arguments(SimulatedMotorImagery, self.simulated, "'simulated'"))

    def load(self, model: type[EEGModel], folder: Path) -> tuple[Any, Any]:
        """Prepare windows to learn from, and those of held-out subjects, or None."""
        parts = []
        if self.simulated is not None:
            parts.append(simulate(self, model))
        if self.recordings is not None:
            parts.append(split(self.build(model, folder / "corpus"), self.held_out, self.left_out))
        if self.corpus is not None:
            from eeglab_models.pretraining.corpus.reading import Corpus

            corpus = Corpus(self.corpus, self.stand_in(model))
            parts.append(split(corpus, self.held_out, self.left_out))
        learn = [own for own, _ in parts]
        held_out = [own for _, own in parts if own is not None]
        return join(learn), join(held_out) if held_out else None

    def stand_in(self, model: type[EEGModel]) -> EEGModel:
        """Build what stands for the model while windows are prepared; it computes nothing."""
        from eeglab_models.pretraining.corpus.building import Target

        n_times = self.n_times_for(model)
        return Target(model, self.channels_for(model), n_times, model.contract.sfreq).expectation()

    def build(self, model: type[EEGModel], folder: Path) -> Any:
        """Build the corpus of the recordings, once for all processes, and open it."""
        from eeglab_models.pretraining.corpus.building import build_corpus
        from eeglab_models.pretraining.corpus.reading import Corpus

        arguments = dict(self.recordings)
        source = arguments.pop("source")
        processes = join_processes()
        if processes.is_main_process:
            try:
                names = self.channels_for(model)
                build_corpus(source, folder, model, length=self.seconds, ch_names=names, **arguments)
            except TypeError as error:
                raise ValueError(f"'recordings' holds arguments of build_corpus: {error}.") from error
        processes.wait_for_everyone()
        return Corpus(folder)


def simulate(data: Data, model: type[EEGModel]) -> tuple[Any, Any]:
    """Simulate one subject after the other; return windows to learn from, and those of held-out subjects."""
    stand_in, windows = data.stand_in(model), {}
    for subject in data.simulation.subject_list:
        runs = data.simulation.get_data([subject])
        windows[str(subject)] = prepare(runs, stand_in, events=[]).data
    chosen = choose_subjects(list(windows), data.held_out)
    names = data.channels_for(model)
    parts = [[windows[name] for name in windows if (name in chosen) is out] for out in (False, True)]
    learn, held_out = (
        TensorWindows(torch.from_numpy(np.concatenate(part)), names) if part else None for part in parts
    )
    return learn, held_out


def split(
    corpus: Any, held_out: int | Collection[int | str], left_out: Collection[int | str] = ()
) -> tuple[Any, Any]:
    """Hold out subjects of a corpus, and leave out others; None if nobody is held out."""
    if left_out:
        there = set(corpus.recordings["subject"].dropna())
        # Whoever lacks these recordings may train all the same.
        named = sorted(there & set(map(str, left_out)))
        corpus = corpus.split(named)[0] if named else corpus
    if not held_out:
        return corpus, None
    subjects = sorted(set(corpus.recordings["subject"].dropna()))
    return corpus.split(sorted(choose_subjects(subjects, held_out)))


class JoinedWindows:
    """Windows of several sources with the same channels, one source after the other."""

    def __init__(self, parts: Sequence[Any]) -> None:
        self.parts = list(parts)
        self.ends = np.cumsum([len(part) for part in self.parts])
        self.ch_names = list(self.parts[0].ch_names)
        others = [list(part.ch_names) for part in self.parts[1:]]
        if any(names != self.ch_names for names in others):
            raise ValueError(
                f"Sources of one training need the same channels, got {self.ch_names} and {others}. Name "
                "them with 'channels', or leave one source out."
            )

    def __len__(self) -> int:
        """Count the windows."""
        return int(self.ends[-1])

    def __getitems__(self, numbers: Sequence[int]) -> Float[Tensor, "batch n_chans n_times"]:
        """Choose windows by their numbers."""
        numbers = np.asarray(numbers)
        owners = np.searchsorted(self.ends, numbers, side="right")  # (batch,)
        order = np.argsort(owners, kind="stable")
        starts = np.concatenate([[0], self.ends])
        windows = torch.cat(
            [
                part.__getitems__((numbers[owners == owner] - starts[owner]).tolist())
                for owner, part in enumerate(self.parts)
                if (owners == owner).any()
            ]
        )  # (batch, n_chans, n_times), by source
        return windows[torch.from_numpy(np.argsort(order))]


def join(parts: Sequence[Any]) -> Any:
    """Put windows behind each other; a single source stays what it is."""
    return parts[0] if len(parts) == 1 else JoinedWindows(parts)


def choose_subjects(subjects: Sequence[str], held_out: int | Collection[str]) -> set[str]:
    """Choose subjects to hold out: the last ones, or those with these names."""
    if isinstance(held_out, int):
        chosen = set(subjects[len(subjects) - held_out :]) if held_out else set()
    else:
        chosen = set(map(str, held_out))
    unknown = sorted(chosen.difference(subjects))
    if unknown or len(chosen) >= len(subjects) or (isinstance(held_out, int) and held_out < 0):
        raise ValueError(
            f"held_out has to leave some of the {len(subjects)} subjects {', '.join(subjects[:9])}, got "
            f"{held_out if not unknown else ', '.join(unknown)}. Hold out fewer, or others."
        )
    return chosen
