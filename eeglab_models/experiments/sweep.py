"""Run a grid on dask, as often as it takes: what is done stays done.

Only as many runs are handed out as there are threads of workers, so a worker that dies takes one run with it,
which dask gives to another worker.
"""

import contextlib
import json
import math
import statistics
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eeglab_models.configs import read_record
from eeglab_models.experiments.cluster import ALLOWED_LOSSES, default_workers, open_client
from eeglab_models.experiments.grid import Grid
from eeglab_models.experiments.runs import (
    DISK_FULL,
    DONE,
    ROW,
    Limits,
    Outcome,
    Run,
    execute,
    is_done,
)
from eeglab_models.files import write_json, write_record

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["sweep"]

# Seconds between looks at what has finished, and at a run that another sweep is at.
LOOK, LOOK_ELSEWHERE = 0.1, 2.0
# Seconds without any worker after which a sweep ends: one that died is replaced within a few.
WITHOUT_WORKERS = 60.0


class DiskFullError(OSError):
    """The folder of results is on a disk without space."""


@dataclass
class Progress:
    """How far a sweep is, in numbers of runs."""

    n_runs: int
    resumed: int = 0  # done before
    done: int = 0
    failed: int = 0
    elsewhere: int = 0  # done by another sweep meanwhile
    retried: int = 0  # attempts that were lost with their worker
    waiting: int = 0  # for another sweep
    # Start and parameters by id, seconds of every run that was completed, and sentences by id.
    running: dict[str, tuple[float, dict[str, Any]]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)
    n_workers: int = 1

    @property
    def remaining(self) -> int:
        """Runs that are neither done nor failed."""
        return self.n_runs - self.resumed - self.done - self.failed - self.elsewhere

    @property
    def seconds_left(self) -> float | None:
        """Estimate of the time to the end, None before the first run is complete."""
        if not self.seconds:
            return None
        return self.remaining * statistics.mean(self.seconds) / self.n_workers


def sweep(
    grid: Grid,
    folder: str | Path,
    *,
    workers: int | None = None,
    threads: int | None = None,
    memory_limit: int | None = None,
    time_limit: float | None = None,
    max_failures: int | None = None,
    scheduler: str | None = None,
    slurm: Mapping[str, Any] | None = None,
    warm: bool = True,
    report: Callable[[Progress], None] | None = None,
) -> Progress:
    """Run what is missing or has failed.

    Parameters
    ----------
    grid : Grid
        As `read_grid` returns it.
    folder : str or pathlib.Path
        Folder of results; several sweeps may share it, also at the same time.
    workers : int or None
        Runs at a time; None means as many as cores and memory allow. With `slurm`, number of jobs.
    threads : int or None
        Threads of a run; None shares the cores among the workers.
    memory_limit : int or None
        Bytes that a run may use before it is stopped.
    time_limit : float or None
        Seconds that a run may take before it is stopped.
    max_failures : int or None
        After so many failures no further run is started.
    scheduler : str or None
        Address of a dask scheduler that is there already: ``tls://``, with certificates in dask's
        configuration, or on this machine. Its workers need this package and this folder.
    slurm : dict or None
        Arguments of `dask_jobqueue.SLURMCluster`.
    warm : bool
        Fork the kernels of a worker from a process that has imported the libraries, on Linux. Saves the
        imports of every run but the first.
    report : callable or None
        Called with the progress whenever something changed, and twice a second.

    Returns
    -------
    progress : Progress
        What came of it. Runs that failed are tried again by the next call.

    Raises
    ------
    DiskFullError
        If the disk is full; what was done before is kept.
    ValueError
        If the scheduler is on a network without TLS.
    ConnectionError
        If there is no scheduler, if it does not answer any more, or if all workers are gone for a minute.
    """
    from dask.system import CPU_COUNT

    folder = Path(folder).resolve()
    progress = Progress(len(grid.runs))
    report = report or (lambda progress: None)
    with disk_full_is_one_sentence(folder):
        todo = prepare_folder(grid, folder, progress)
        if not todo:
            report(progress)
            return progress
        n_workers = workers or default_workers(len(todo))
        threads = threads or max(1, CPU_COUNT // n_workers)
        limits = Limits(time_limit, memory_limit, threads, warm)
        with open_client(n_workers, threads, scheduler, slurm, folder) as client:
            # Jobs of SLURM may wait in a queue for days before the first one comes.
            patience = math.inf if slurm else WITHOUT_WORKERS
            Dispatcher(client, folder, limits, max_failures, progress, report, patience).run(todo)
    return progress


def prepare_folder(grid: Grid, folder: Path, progress: Progress) -> list[Run]:
    """Note every run of the grid in the folder, and find those that are to be run."""
    todo = []
    for run in grid.runs:
        home = run.home(folder)
        if is_done(home):
            progress.resumed += 1
            continue
        run = replace(run, notebook=keep_notebook(run, folder))
        home.mkdir(parents=True, exist_ok=True)
        if not (home / "parameters.json").exists():
            write_record(
                home / "parameters.json", {"parameters": run.parameters, "code_version": run.version}
            )
        todo.append(run)
    return todo


def keep_notebook(run: Run, folder: Path) -> Path:
    """Copy the notebook, so that who edits it meanwhile changes no run of this sweep."""
    kept = folder / "notebooks" / f"{run.notebook.stem}-{run.version}.ipynb"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_json(kept, json.loads(run.notebook.read_text(encoding="utf-8")))
    return kept


class Dispatcher:
    """Hands out runs and collects what came of them."""

    def __init__(
        self,
        client: "Client",
        folder: Path,
        limits: Limits,
        max_failures: int | None,
        progress: Progress,
        report: Callable[[Progress], None],
        patience: float = WITHOUT_WORKERS,
    ) -> None:
        self.client = client
        self.folder = folder
        self.limits = limits
        self.max_failures = max_failures
        self.progress = progress
        self.report = report
        self.flying: dict[Future, Run] = {}
        self.attempts: Counter[str] = Counter()
        self.submitted = 0
        self.full = ""
        self.patience = patience
        self.last_worker = time.monotonic()

    def run(self, todo: Sequence[Run]) -> None:
        """Run all, until the end or until something stops the sweep."""
        waiting = deque(todo)
        locked: deque[tuple[float, Run]] = deque()
        next_look = 0.0
        while self.flying or ((waiting or locked) and not self.stopped()):
            if time.monotonic() > next_look:
                self.look_at_workers()
                self.report(self.progress)
                next_look = time.monotonic() + 0.5
            while locked and locked[0][0] < time.monotonic():
                waiting.append(locked.popleft()[1])
            while waiting and len(self.flying) < self.progress.n_workers and not self.stopped():
                self.submit(waiting.popleft())
            for future in [future for future in self.flying if future.done()]:
                run = self.flying.pop(future)
                outcome = read_outcome(future, run)
                if outcome.status == "locked":
                    locked.append((time.monotonic() + LOOK_ELSEWHERE, run))
                self.count(run, outcome)
                self.report(self.progress)
            self.progress.waiting = len(locked)
            time.sleep(LOOK)
        if self.full:
            raise OSError(28, self.full)

    def stopped(self) -> bool:
        """Tell whether no further run may start."""
        limit = self.max_failures
        return bool(self.full) or (limit is not None and self.progress.failed >= limit)

    def look_at_workers(self) -> None:
        """Count the threads of workers, which come and go on a cluster."""
        if self.client.status != "running":
            raise ConnectionError(
                "The dask scheduler does not answer any more. Start it, and run the same sweep again: what "
                "is done stays done."
            )
        n_threads = sum(self.client.nthreads().values())
        self.progress.n_workers = max(1, n_threads)
        if n_threads:
            self.last_worker, self.patience = time.monotonic(), WITHOUT_WORKERS
        elif time.monotonic() - self.last_worker > self.patience:
            progress = self.progress
            n_done = progress.resumed + progress.done + progress.elsewhere
            raise ConnectionError(
                f"No worker is left for {WITHOUT_WORKERS:g} s; {n_done} of {progress.n_runs} runs are done. "
                "Start workers, and run the same sweep again: what is done stays done."
            )

    def submit(self, run: Run) -> None:
        """Hand out one run."""
        self.submitted += 1
        key = f"run-{run.id}-{self.submitted}"
        future = self.client.submit(execute, run, self.folder, self.limits, key=key, pure=False)
        self.flying[future] = run
        self.attempts[run.id] = count_attempts(run.home(self.folder))
        self.progress.running[run.id] = (time.monotonic(), run.parameters)

    def count(self, run: Run, outcome: Outcome) -> None:
        """Add one outcome to the progress."""
        progress = self.progress
        progress.running.pop(run.id, None)
        # A worker that dies cannot say so; its lines in the log can.
        n_attempts = count_attempts(run.home(self.folder)) - self.attempts[run.id]
        if outcome.status in ("done", "failed"):
            progress.retried += max(0, n_attempts - 1)
        if outcome.status == "done":
            progress.done += 1
            progress.seconds.append(outcome.seconds)
        elif outcome.status == "there":
            progress.elsewhere += 1
        elif outcome.status == "failed":
            progress.failed += 1
            progress.problems[run.id] = outcome.problem
        elif outcome.status == "disk full":
            self.full = outcome.problem


def read_outcome(future: "Future", run: Run) -> Outcome:
    """Get what a worker answered, or say what became of it."""
    if future.status == "finished":
        return future.result()
    error = future.exception() if future.status == "error" else None
    if type(error).__name__ == "KilledWorker":
        problem = f"Its worker died {ALLOWED_LOSSES + 1} times while it ran, perhaps for lack of memory."
    else:
        problem = f"The worker could not run it: {error or future.status}."
    return Outcome(run.id, "failed", problem=problem)


def count_attempts(home: Path) -> int:
    """Count the starts of a run."""
    try:
        return len((home / "attempts.log").read_text().splitlines())
    except FileNotFoundError:
        return 0


@contextlib.contextmanager
def disk_full_is_one_sentence(folder: Path) -> Iterator[None]:
    """Say what to do about a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        n_done = len(list(folder.glob(f"runs/*/{DONE}")))
        raise DiskFullError(
            f"The disk of {folder} is full. {n_done} runs are done and kept; free some space and run the "
            "same sweep again for the rest."
        ) from error


def estimate(grid: Grid, folder: str | Path, workers: int) -> float | None:
    """Estimate the seconds that the rest of a grid takes from runs of its kind that are done, if any is."""
    folder = Path(folder)
    kinds: dict[Any, list[float]] = {}
    for marker in folder.glob(f"runs/*/{DONE}"):
        # A row that is damaged is counted where results are read.
        with contextlib.suppress(OSError, ValueError):
            row = read_record(marker.parent / ROW, {"parameters": dict[str, Any], "seconds_in_all": float})
            kinds.setdefault(kind_of(row["parameters"]), []).append(row["seconds_in_all"])
    if not kinds:
        return None
    overall = statistics.median([seconds for known in kinds.values() for seconds in known])
    medians = {kind: statistics.median(known) for kind, known in kinds.items()}
    todo = [run for run in grid.runs if not is_done(run.home(folder))]
    return sum(medians.get(kind_of(run.parameters), overall) for run in todo) / max(
        1, min(workers, len(todo))
    )


def kind_of(parameters: Mapping[str, Any]) -> tuple[Any, ...]:
    """Name what the time of a run depends on most."""
    return tuple(parameters.get(name) for name in ("model", "regime", "dataset", "evaluation"))
