"""From a folder of recordings to a corpus: every recording prepared alike, broken ones listed."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import mne
import numpy as np
from rich.progress import track

from eeglab_models.files import UNFINISHED, locked
from eeglab_models.models.base import EEGModel
from eeglab_models.models.channels import EEGPT_TRAINED_CHANNELS, TEMPLE_CHANNELS
from eeglab_models.pretraining.corpus.reading import CorpusReport, report_of
from eeglab_models.pretraining.corpus.shards import (
    ShardWriter,
    describe_damage,
    read_manifest,
    recordings_by_shard,
    write_manifest,
)
from eeglab_models.signals.electrodes import spell_channel
from eeglab_models.signals.preparation import level_recordings, prepare, target_rate
from eeglab_models.signals.sources import Recording, find_recordings
from eeglab_models.signals.windows import Report, Stamp, Windows

__all__ = ["RECIPES", "build_corpus"]

RECIPES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "temple": MappingProxyType(
            {
                "length": 30.0,
                "ch_names": TEMPLE_CHANNELS,
                "amplitude": 100.0,
                "skip_start": 60.0,
                "skip_end": 60.0,
                "shortest": 300.0,
                "subject": r"([a-z0-9]{8})_s\d{3}_t\d{3}",
                "fmin": 0.3,
                "fmax": 75.0,
                "notch": 60.0,
            }
        ),
        "eegpt": MappingProxyType(
            {
                "length": 4.0,
                "ch_names": EEGPT_TRAINED_CHANNELS,
                "amplitude": None,
                "skip_start": 0.0,
                "skip_end": 0.0,
                "shortest": 0.0,
            }
        ),
    }
)
"""Arguments of `build_corpus` as the papers prepared their recordings.

``"temple"`` is the preprocessing of the Temple corpus that CodeBrain and EEG-DINO follow; names there are
subject_session_token. ``"eegpt"`` has the 58 channels and the 4 s of EEGPT, section 3.1, but takes recordings
from end to end where the authors took trials.
"""

# Annotation at the start of every window, where windows do not follow each other.
START = "start of a window"


def build_corpus(
    source: Any,
    folder: str | Path,
    model: type[EEGModel] | EEGModel,
    *,
    length: float | None = None,
    step: float | None = None,
    ch_names: Sequence[str] | None = None,
    amplitude: float | None = 100.0,
    level: float | None = None,
    skip_start: float = 60.0,
    skip_end: float = 60.0,
    shortest: float = 300.0,
    subject: str | None = None,
    dtype: str = "float32",
    bad_windows: str = "drop",
    shard_size: int = 10**9,
    n_processes: int = 1,
    retry: bool = True,
    progress: bool = True,
    **preparing: Any,
) -> CorpusReport:
    r"""Prepare recordings for a model and store their windows in a folder.

    Recordings that cannot be read or prepared are skipped and listed with the reason. Called again, a build
    that was interrupted goes on after its last finished file, recordings that are new in `source` are added,
    and files that were lost or damaged are written anew; an older one whose size is right counts as whole,
    unless it is deleted. One recording at a time is in memory, in each process.

    Defaults are the recipe of the Temple corpus, but for the channels' names and the mains filter;
    ``**RECIPES["temple"]`` and ``**RECIPES["eegpt"]`` hold the papers' settings in full.

    Parameters
    ----------
    source : str, pathlib.Path, mne.io.BaseRaw, Windows, or a list of these
        A folder of EDF, BDF, FIF, BrainVision, EEGLAB or GDF files, the root of a BIDS data set, files, raw
        recordings, or windows in microvolts as `load_windows` returns them. Recordings of a single folder are
        named by their place in it, those of a list by their whole path.
    folder : str or pathlib.Path
        Where the corpus goes.
    model : type or EEGModel
        A model, or its class, whose contract then states rate, unit, reference and filter.
    length : float or None
        Length of a window in seconds; None means that of the model, or of its contract.
    step : float or None
        Seconds from the start of a window of a continuous recording to that of the next, less than `length`
        where windows shall overlap; None puts one behind the other.
    ch_names : sequence of str or None
        Channels in their order; None means those of the model, or of its contract.
    amplitude : float or None
        Reject windows that reach this many microvolts after preparation and levelling; None keeps them.
    level : float or None
        Bring every recording to the average reference and to this standard deviation of its median channel,
        in microvolts, as `level_recordings` does; None leaves both.
    skip_start, skip_end : float
        Seconds to leave out at both ends of a continuous recording.
    shortest : float
        Seconds that a continuous recording has to last.
    subject : str or None
        Regular expression whose first group is the subject in the name of a recording, such as
        ``r"(S\d+)R\d+"``. BIDS data sets and windows with metadata know their subjects.
    dtype : {"float32", "float16"}
        Type in which windows are stored. Half precision needs half the space and rounds to 0.05 %.
    bad_windows : {"drop", "raise", "interpolate"}
        What `prepare` does about flat channels and samples that are no number.
    shard_size : int
        Bytes after which a new file begins; an interruption costs at most that much work.
    n_processes : int
        How many recordings are prepared at the same time.
    retry : bool
        Try recordings again that an earlier call skipped.
    progress : bool
        Show a progress bar.
    **preparing
        Further arguments of `prepare`, such as ``notch=50.0`` or ``missing="interpolate"``.

    Returns
    -------
    report : CorpusReport
        What the whole corpus holds and what was skipped; ``corpus.json`` in the folder says the same.

    Raises
    ------
    ValueError
        If there is no recording or two have the same name, if `dtype` is neither, if `step` is not above 0,
        if the folder holds a corpus with other settings, if the model leaves channels open, or if no
        recording gave a window.
    BlockingIOError
        If another process is building there.
    TypeError
        If `source` is none of the above.
    """
    if dtype not in ("float32", "float16"):
        raise ValueError(f"dtype must be float32 or float16, got {dtype!r}. Choose one of them.")
    if step is not None and not step > 0:
        raise ValueError(f"step must be above 0 s, got {step}. Pass None for windows that do not overlap.")
    folder = Path(folder)
    recordings = find_recordings(source, subject)
    target = Target.of(model, length, ch_names)
    rules = {
        "step": step,
        "amplitude": amplitude,
        "level": level,
        "skip_start": skip_start,
        "skip_end": skip_end,
        "shortest": shortest,
    }
    preparing = {"bad_windows": bad_windows, **preparing}
    settings = {"model": model.contract.model, "dtype": dtype, "stamp": target.stamp_as_json(), **rules}
    settings |= {
        name: list(value) if isinstance(value, tuple) else value for name, value in preparing.items()
    }
    take = partial(take_windows, target=target, dtype=dtype, rules=rules, preparing=preparing)

    def prepared(todo: Sequence[Recording]) -> Iterator[Outcome]:
        outcomes = run(take, todo, n_processes)
        return iter(track(outcomes, "Recordings", total=len(todo), disable=not progress))

    with locked(folder, "build the corpus"):
        manifest = resume(folder, settings)
        mend(folder, manifest, recordings, prepared)
        done = {item["recording"] for item in manifest["recordings"]}
        done |= set() if retry else set(manifest["skipped"])
        outcomes = prepared([recording for recording in recordings if recording.name not in done])
        while store(folder, manifest, outcomes, name_next(manifest), shard_size):
            pass
    report = report_of(folder, manifest)
    if not report.n_windows:
        name, reason = next(iter(report.skipped.items()), ("amplitude", "every window was rejected."))
        raise ValueError(f"None of {len(recordings)} recordings gave a window; {name}: {reason}")
    return report


class Expectation(EEGModel):
    """A model without layers: all that `prepare` asks a model for, without its weights."""

    stands_for: ClassVar[type[EEGModel]]

    def __init__(
        self,
        n_outputs: int | None = None,
        n_chans: int | None = None,
        chs_info: list[dict[str, Any]] | None = None,
        n_times: int | None = None,
        input_window_seconds: float | None = None,
        sfreq: float | None = None,
    ) -> None:
        super().__init__(locals())


@dataclass(frozen=True)
class Target:
    """What recordings are prepared to be, in a form that can be sent to other processes."""

    model_class: type[EEGModel]
    ch_names: tuple[str, ...]
    n_times: int
    sfreq: float

    @classmethod
    def of(
        cls, model: type[EEGModel] | EEGModel, length: float | None, ch_names: Sequence[str] | None
    ) -> "Target":
        """Take rate, length and channels from a model or from the contract of its class."""
        contract = model.contract
        if not isinstance(model, type):
            sfreq, n_times = target_rate(model), model.n_times
            own = None if model.arguments["chs_info"] is None else [c["ch_name"] for c in model.chs_info]
            if own is None and contract.ch_names and len(contract.ch_names) == model.n_chans:
                own = contract.ch_names
            n_wanted = n_times if length is None else round(length * sfreq)
            n_chans = model.n_chans if ch_names is None else len(ch_names)
            if (n_wanted, n_chans) != (n_times, model.n_chans):
                raise ValueError(
                    f"This {contract.model} reads {model.n_chans} channels and {n_times} samples, got "
                    f"{n_chans} and {n_wanted}. Leave length and ch_names out, or pass the class."
                )
            model_class = getattr(model, "stands_for", type(model))
        else:
            own, sfreq, model_class = contract.ch_names, contract.sfreq, model
            n_times = round((contract.window if length is None else length) * sfreq)
        names = own if ch_names is None else ch_names
        if names is None:
            raise ValueError(f"{contract.model} leaves channels open. Name those of the corpus by ch_names=.")
        return cls(model_class, tuple(spell_channel(name) for name in names), n_times, sfreq)

    @property
    def stamp(self) -> Stamp:
        """What `prepare` will certify."""
        contract = self.model_class.contract
        return Stamp(self.sfreq, contract.unit, contract.reference, self.ch_names, self.n_times)

    def stamp_as_json(self) -> dict[str, Any]:
        """Say the same in the values that JSON gives back."""
        return asdict(self.stamp) | {"ch_names": list(self.ch_names)}

    def expectation(self) -> EEGModel:
        """Build what stands for the model; messages call it by the model's name."""
        facts = {"contract": self.model_class.contract, "stands_for": self.model_class}
        stand_in = type(self.model_class.__name__, (Expectation,), facts)
        channels = [{"ch_name": name} for name in self.ch_names]
        return stand_in(chs_info=channels, n_times=self.n_times, sfreq=self.sfreq)


@dataclass(frozen=True)
class Outcome:
    """What became of one recording: its windows and facts, or the reason why there are none."""

    recording: str
    data: np.ndarray | None = None
    facts: Mapping[str, Any] | None = None
    report: Report = Report()
    problem: str = ""


def take_windows(
    recording: Recording, target: Target, dtype: str, rules: Mapping[str, Any], preparing: Mapping[str, Any]
) -> Outcome:
    """Prepare one recording; whatever is wrong with it becomes a sentence."""
    try:
        opened = recording.open()
        if isinstance(opened, Windows):
            loading = {}
            seconds = len(opened) * opened.data.shape[-1] / opened.sfreq
        else:
            loading = {"events": [] if rules["step"] is None else [START]}
            seconds = opened.n_times / opened.info["sfreq"]
            opened = crop(opened, seconds, target, rules)
        windows = prepare(opened, target.expectation(), **loading, **preparing)
        if rules["level"] is not None:
            windows = level_recordings(windows, rules["level"], by=())
        data = windows.data
        if rules["amplitude"] is not None:
            peak = np.maximum(data.max(axis=(1, 2)), -data.min(axis=(1, 2)))  # (n_windows,)
            data = data[peak < rules["amplitude"] * target.model_class.contract.scale]
        with np.errstate(over="ignore"):
            stored = data.astype(dtype, copy=False)
        if not np.isfinite(stored).all():
            raise ValueError("Some amplitudes are too large for half precision. Pass dtype='float32'.")
    # Files are broken in every way there is, and the others are still wanted.
    except Exception as error:
        return Outcome(recording.name, problem=in_one_line(error))
    facts = {"recording": recording.name, **recording.origin, "n_windows": len(stored)}
    facts |= {"n_rejected": len(windows) - len(stored), "seconds": round(float(seconds), 3)}
    return Outcome(recording.name, stored, facts, windows.report)


def crop(raw: mne.io.BaseRaw, seconds: float, target: Target, rules: Mapping[str, Any]) -> mne.io.BaseRaw:
    """Leave out both ends of a recording and mark where windows start, or refuse it as too short."""
    needed = rules["skip_start"] + target.n_times / target.sfreq + rules["skip_end"]
    needed = max(rules["shortest"], needed)
    if seconds < needed:
        raise ValueError(f"The recording lasts {seconds:g} s, less than the {needed:g} s asked for.")
    last = raw.times[-1] - rules["skip_end"]
    raw = raw.copy().crop(rules["skip_start"], last, verbose="error")
    if rules["step"] is not None:
        length = target.n_times / target.sfreq
        starts = np.arange(0.0, raw.n_times / raw.info["sfreq"] - length + 1e-6, rules["step"])
        # mne counts from the beginning of what was cropped.
        raw.annotations.append(raw.first_time + starts, 0.0, START)
    return raw


def in_one_line(error: Exception) -> str:
    """Say in one line what an error says; those of other libraries by their kind too."""
    text = " ".join(str(error).split())[:300]
    return text if type(error) is ValueError else f"{type(error).__name__}: {text}"


def run(take: Any, recordings: Sequence[Recording], n_processes: int) -> Iterator[Outcome]:
    """Prepare recordings in their order, several at a time in as many processes."""
    if n_processes == 1:
        return map(take, recordings)
    from joblib import Parallel, delayed

    parallel = Parallel(n_processes, return_as="generator", pre_dispatch="2*n_jobs")
    return parallel(delayed(take)(recording) for recording in recordings)


def resume(folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Read what earlier calls built with the same settings, and clear what they left unfinished."""
    for unfinished in folder.glob(f"{UNFINISHED}*"):
        unfinished.unlink()
    manifest = read_manifest(folder)
    if manifest is None:
        return {"settings": settings, "shards": [], "recordings": [], "skipped": {}, "preparation": []}
    built = manifest["settings"]
    names = [name for name in {**built, **settings} if built.get(name) != settings.get(name)]
    if names:
        differences = "; ".join(f"{name} {built.get(name)}, got {settings.get(name)}" for name in names)
        raise ValueError(
            f"The corpus in {folder} was built with {differences}. Build it in another folder, or with the "
            "same settings."
        )
    return manifest


def mend(
    folder: Path,
    manifest: dict[str, Any],
    recordings: Sequence[Recording],
    prepared: Callable[[Sequence[Recording]], Iterator[Outcome]],
) -> None:
    """Write shards that are lost or damaged anew, each in its place, so that windows keep their numbers."""
    parts = list(zip(manifest["shards"], recordings_by_shard(manifest), strict=True))
    # What a crash may have spoiled is the newest one; to read all of them would take hours.
    lost = [part for part in parts if describe_damage(folder, part[0], content=part is parts[-1])]
    whole = [part for part in parts if part not in lost]
    manifest["shards"] = [shard for shard, _ in whole]
    manifest["recordings"] = [item for _, own in whole for item in own]
    for shard, own in lost:
        names = {item["recording"] for item in own}
        todo = [recording for recording in recordings if recording.name in names]
        reason = f"It was in {shard['file']}, which was damaged, and source no longer has it."
        manifest["skipped"] |= dict.fromkeys(sorted(names - {item.name for item in todo}), reason)
        store(folder, manifest, prepared(todo), shard["file"])


def name_next(manifest: Mapping[str, Any]) -> str:
    """Name the shard that comes after all others."""
    numbers = [
        int(shard["file"].removesuffix(".arrow").removeprefix("shard-")) for shard in manifest["shards"]
    ]
    return f"shard-{max(numbers, default=-1) + 1:05d}.arrow"


def store(
    folder: Path,
    manifest: dict[str, Any],
    outcomes: Iterator[Outcome],
    file: str,
    shard_size: float = math.inf,
) -> bool:
    """Fill one shard with what is prepared and list it in the manifest; false if there was nothing."""
    writer, facts = None, []
    try:
        for outcome in outcomes:
            if outcome.problem:
                manifest["skipped"][outcome.recording] = outcome.problem
                continue
            manifest["skipped"].pop(outcome.recording, None)
            manifest["preparation"] = manifest["preparation"] or outcome.report.steps
            if writer is None:
                dtype = {"dtype": str(outcome.data.dtype)}
                writer = ShardWriter(folder / file, manifest["settings"]["stamp"] | dtype)
            writer.add(outcome.data, outcome.recording, outcome.facts["subject"])
            facts.append(outcome.facts)
            if writer.n_bytes >= shard_size:
                break
    finally:
        # What is prepared stays, also when someone stops the build.
        if writer is not None and not writer.file.closed:
            place = sum(shard["file"] < file for shard in manifest["shards"])
            first = sum(map(len, recordings_by_shard(manifest)[:place]))
            manifest["recordings"][first:first] = facts
            manifest["shards"].insert(place, writer.finish())
        write_manifest(folder, manifest)
    return writer is not None
