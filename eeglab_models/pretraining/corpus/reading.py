"""A corpus: prepared windows of many recordings on disk, of which only the rows in use are in memory.

Shapes use these names throughout:

    n_windows  windows of the corpus
    batch      windows that are read at once
    n_chans    EEG channels
    n_times    samples of a window
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Integer
from torch import Tensor
from torch.utils.data import Dataset

from eeglab_models.models.base import EEGModel
from eeglab_models.pretraining.corpus.shards import describe_damage, map_shard, read_manifest
from eeglab_models.signals.preparation import check_prepared
from eeglab_models.signals.windows import Report, Stamp, Windows
from eeglab_models.text import to_html

__all__ = ["Corpus"]

# Rows that a report prints; the manifest lists them all.
N_SHOWN = 20
# Bytes of files that are held against their hashes unless it is asked for otherwise.
QUICKLY_READ = 1_000_000_000


@dataclass(frozen=True)
class CorpusReport:
    """What a corpus holds and what was left out; prints as a table and renders as one in a notebook.

    `recordings` has a row per recording, `skipped` the reasons by name; `hours` is the length of all windows,
    `size` counts bytes, and `preparation` tells what was done to the first recording.
    """

    folder: Path
    recordings: pd.DataFrame
    skipped: Mapping[str, str]
    hours: float
    size: int
    preparation: Report = field(default=Report(), repr=False)

    @property
    def n_windows(self) -> int:
        """Number of windows that were kept."""
        return int(self.recordings["n_windows"].sum())

    @property
    def n_rejected(self) -> int:
        """Number of windows that were left out for their amplitude."""
        return int(self.recordings["n_rejected"].sum())

    def as_report(self) -> Report:
        """Say the same step by step."""
        report = Report().add("corpus", f"{self.folder}, {self.size / 1e9:.3g} GB.")
        n_subjects = self.recordings["subject"].nunique()
        subjects = f"{n_subjects} subjects" if n_subjects else "subjects unknown"
        report = report.add("recordings", f"{len(self.recordings)}, {subjects}.")
        kept = f"{self.n_windows} kept, {self.hours:.3g} h; {self.n_rejected} rejected for their amplitude."
        report = report.add("windows", kept).add("preparation", "Of the first recording:")
        report = Report((*report.steps, *self.preparation.steps))
        report = report.add("skipped", f"{len(self.skipped)} recordings.")
        for name, reason in list(self.skipped.items())[:N_SHOWN]:
            report = report.add("", f"{name}: {reason}")
        if len(self.skipped) > N_SHOWN:
            report = report.add("", f"and {len(self.skipped) - N_SHOWN} more, listed in corpus.json.")
        return report

    def __str__(self) -> str:
        """Print a table of 100 columns."""
        return str(self.as_report())

    def _repr_html_(self) -> str:
        return to_html(self.as_report().steps, self.folder.name)


class Corpus(Dataset):
    """Windows that `build_corpus` prepared, read from disk as they are asked for.

    A `torch.utils.data.DataLoader` reads whole batches at once; ``collate_fn=torch.Tensor.contiguous`` spares
    it a second copy. A corpus can be sent to other processes: each opens the files anew.

    Parameters
    ----------
    folder : str or pathlib.Path
        Folder that `build_corpus` filled.
    model : EEGModel or None
        Refuse a corpus that was not prepared for this model.
    check : bool or None
        Read every file and compare it with the hash that was taken when it was written, or compare the sizes
        only. None reads corpora of up to 1 GB, which takes a second.

    Attributes
    ----------
    folder : pathlib.Path
        Where the windows lie.
    stamp : Stamp
        What the windows were prepared to be: rate, unit, reference, channels and length.
    dtype : str
        Type in which the windows are stored.
    recordings : pandas.DataFrame
        One row per recording: name, subject, session, task, run, `n_windows` and `first_window`, the number
        of its first window in this corpus.
    report : CorpusReport
        What the whole folder holds, and what was skipped.

    Raises
    ------
    ValueError
        If the folder holds no corpus, if files are missing or damaged, or if the corpus was prepared for
        another model.
    """

    def __init__(
        self, folder: str | Path, model: EEGModel | None = None, *, check: bool | None = None
    ) -> None:
        self.folder = Path(folder)
        manifest = read_manifest(self.folder)
        if manifest is None:
            raise ValueError(f"{self.folder} holds no corpus. Make one there with build_corpus.")
        if check is None:
            check = sum(shard["size"] for shard in manifest["shards"]) <= QUICKLY_READ
        problems = [describe_damage(self.folder, shard, check) for shard in manifest["shards"]]
        if any(problems):
            damage = "; ".join(problem for problem in problems if problem)
            raise ValueError(
                f"The corpus in {self.folder} is damaged: {damage}. Delete these files and build it again, "
                "which writes them anew, or copy it again."
            )
        settings = manifest["settings"]
        self.stamp = read_stamp(settings["stamp"])
        self.dtype = settings["dtype"]
        self.files = [shard["file"] for shard in manifest["shards"]]
        self.recordings = number_windows(table_of(manifest["recordings"]))
        self.report = report_of(self.folder, manifest)
        # Where each window of this corpus stands in the files: a choice of recordings has gaps.
        self.rows = np.arange(sum(shard["n_windows"] for shard in manifest["shards"]))
        self.open()
        if model is not None:
            check_prepared(self.windows([]), model)

    def open(self) -> None:
        """Map the files; nothing of them is read yet."""
        blocks = (map_shard(self.folder / file, self.dtype, self.stamp) for file in self.files)
        self.blocks = list(chain.from_iterable(blocks))
        self.starts = np.cumsum([0, *(len(block) for block in self.blocks)])

    @property
    def ch_names(self) -> list[str]:
        """Names of the channels, in the order of the data."""
        return list(self.stamp.ch_names)

    @property
    def sfreq(self) -> float:
        """Sampling frequency in Hz."""
        return self.stamp.sfreq

    @property
    def unit(self) -> str:
        """Unit of the windows."""
        return self.stamp.unit

    @property
    def metadata(self) -> pd.DataFrame:
        """One row per window: recording, subject, session, task and run."""
        origin = self.recordings[["recording", "subject", "session", "task", "run"]]
        return origin.loc[origin.index.repeat(self.recordings["n_windows"])].reset_index(drop=True)

    def __len__(self) -> int:
        """Count the windows."""
        return len(self.rows)

    def __repr__(self) -> str:
        """Say how much there is, and where."""
        hours = len(self) * self.stamp.n_times / self.sfreq / 3600
        return f"<Corpus in {self.folder}: {len(self)} windows, {hours:.3g} h>"

    def __getitem__(self, index: int) -> Float[Tensor, "n_chans n_times"]:
        """Read one window, by its number."""
        return self.__getitems__([index])[0]

    def __getitems__(
        self, indices: Sequence[int] | Integer[np.ndarray, " batch"] | Integer[Tensor, " batch"]
    ) -> Float[Tensor, "batch n_chans n_times"]:
        """Read several windows at once.

        Parameters
        ----------
        indices : sequence of int, length batch
            Numbers of the windows, in any order.

        Returns
        -------
        windows : torch.Tensor, shape (batch, n_chans, n_times)
            EEG in `unit`, float32.
        """
        rows = self.rows[np.asarray(indices, dtype=np.int64)]
        windows = torch.empty(len(rows), len(self.ch_names), self.stamp.n_times)
        numbers = np.searchsorted(self.starts, rows, side="right") - 1
        for target, block, row in zip(windows.numpy(), numbers, rows - self.starts[numbers], strict=True):
            target[:] = self.blocks[block][row]
        return windows

    def windows(self, indices: Sequence[int] | Integer[np.ndarray, " batch"]) -> Windows:
        """Read several windows with all that is known about them, ready for `extract_features` and probes.

        Parameters
        ----------
        indices : sequence of int, or numpy.ndarray, shape (batch,)
            Numbers of the windows.

        Returns
        -------
        windows : Windows
            With `stamp` and, as metadata, the origin of each window.
        """
        indices = np.asarray(indices, dtype=np.int64)
        info = mne.create_info(self.ch_names, self.sfreq, "eeg")
        metadata = self.metadata.iloc[indices].reset_index(drop=True)
        data = self.__getitems__(indices).numpy()
        return Windows(data, info, metadata=metadata, unit=self.unit, stamp=self.stamp)

    def choose(self, chosen: pd.Series) -> "Corpus":
        """Keep some of the recordings, without copying them.

        Parameters
        ----------
        chosen : pandas.Series of bool
            One value for every row of `recordings`.

        Returns
        -------
        corpus : Corpus
            The windows of these recordings.

        Raises
        ------
        ValueError
            If there is not one value for each recording.
        """
        if len(chosen) != len(self.recordings):
            raise ValueError(
                f"choose() needs one truth value for each of {len(self.recordings)} recordings, got "
                f"{len(chosen)}. Compare a column of corpus.recordings."
            )
        chosen = np.asarray(chosen, dtype=bool)
        corpus = copy.copy(self)
        corpus.rows = self.rows[np.repeat(chosen, self.recordings["n_windows"])]
        corpus.recordings = number_windows(self.recordings[chosen])
        return corpus

    def split(
        self, held_out: Sequence[Any] | float = 0.1, *, by: str = "subject", seed: int = 0
    ) -> tuple["Corpus", "Corpus"]:
        """Part the corpus so that no subject, session or recording is on both sides.

        Parameters
        ----------
        held_out : sequence of str, or float
            Values of the column `by` that are held out, or the share of its values to draw.
        by : str
            Column of `recordings`.
        seed : int
            What the draw depends on.

        Returns
        -------
        rest, held_out : Corpus
            Two corpora on the same files.

        Raises
        ------
        ValueError
            If the column is unknown or empty for some recordings, or if one side would be empty.
        """
        known = [column for column in self.recordings if column not in ("n_windows", "first_window")]
        if by not in known:
            raise ValueError(f"A corpus is split by one of {', '.join(known)}, got by={by!r}.")
        column = self.recordings[by]
        if column.isna().any():
            raise ValueError(
                f"The {by} of {column.isna().sum()} recordings is unknown, so they could be on both sides. "
                "Build the corpus with subject=, or split by='recording'."
            )
        values = sorted(set(column))
        if isinstance(held_out, float):
            order = np.random.default_rng(seed).permutation(len(values))
            held_out = [values[number] for number in order[: round(held_out * len(values))]]
        unknown = sorted(set(map(str, held_out)) - set(values))
        if unknown or not 0 < len(set(held_out)) < len(values):
            problem = f"{', '.join(unknown)} is none of them" if unknown else f"got {len(set(held_out))}"
            raise ValueError(
                f"Held out can be 1 to {len(values) - 1} of {len(values)} values of {by!r}; {problem}. Name "
                "others, or change the share."
            )
        outside = column.isin(list(map(str, held_out)))
        return self.choose(~outside), self.choose(outside)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the maps of the files behind: pickling would read all of them."""
        return {name: value for name, value in vars(self).items() if name not in ("blocks", "starts")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Map the files again, in the process that unpickles."""
        vars(self).update(state)
        self.open()


def report_of(folder: Path, manifest: Mapping[str, Any]) -> CorpusReport:
    """Summarise what a manifest lists."""
    stamp = manifest["settings"]["stamp"]
    n_windows = sum(shard["n_windows"] for shard in manifest["shards"])
    return CorpusReport(
        folder=folder,
        recordings=table_of(manifest["recordings"]),
        skipped=dict(manifest["skipped"]),
        hours=n_windows * stamp["n_times"] / stamp["sfreq"] / 3600,
        size=sum(shard["size"] for shard in manifest["shards"]),
        preparation=Report(tuple((about, finding) for about, finding in manifest["preparation"])),
    )


def table_of(recordings: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Make a table of the recordings that a manifest lists."""
    columns = ["recording", "subject", "session", "task", "run", "n_windows", "n_rejected", "seconds"]
    return pd.DataFrame(list(recordings), columns=columns)


def number_windows(recordings: pd.DataFrame) -> pd.DataFrame:
    """Give each recording the number of its first window, and leave out those without any."""
    recordings = recordings[recordings["n_windows"] > 0].reset_index(drop=True)
    ends = recordings["n_windows"].cumsum()
    return recordings.assign(first_window=ends - recordings["n_windows"])


def read_stamp(facts: Mapping[str, Any]) -> Stamp:
    """Read what windows were prepared to be from plain values."""
    return Stamp(**{**facts, "ch_names": tuple(facts["ch_names"])})
