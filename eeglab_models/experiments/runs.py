"""One run of a grid: its name, its folder, and the marker that says it is complete.

A folder of results holds the notebook as it was when the sweep started, and ``runs/<id>/`` with

    parameters.json   what is to be run
    attempts.log      a line for every start
    result.json       the row of results
    predictions.parquet   every prediction, known to the row by its hash
    run.ipynb         the executed notebook, the lab record
    DONE              written last: only then the run counts
    failed.ipynb      notebook and traceback of the latest failure, with its sentence in FAILED.json
"""

import contextlib
import errno
import hashlib
import json
import logging
import os
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from eeglab_models.configs import read_record
from eeglab_models.experiments.versions import PACKAGE, code_version
from eeglab_models.files import locked, write_record

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["write_row"]

ROW, DONE, FAILED, NOTEBOOK = "result.json", "DONE", "FAILED.json", "run.ipynb"
# Parameters of a notebook that say where things go: the runner sets them, and they name no other run.
PLACES = ("output_folder", "checkpoint_folder")
DISK_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
LIBRARIES = ("eeglab_models", "torch", "mne", "moabb", "numpy", "scipy", "scikit-learn")


@dataclass(frozen=True)
class Run:
    """One notebook with one value of every parameter, but for the `places` that the runner sets."""

    notebook: Path
    parameters: dict[str, Any]
    version: str
    places: tuple[str, ...] = PLACES

    @property
    def id(self) -> str:
        """Name that the same parameters and the same code always get, and no others."""
        text = json.dumps({"parameters": self.parameters, "code": self.version}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def home(self, folder: Path) -> Path:
        """Folder of this run in a folder of results; it need not exist yet."""
        return folder / "runs" / self.id


@dataclass(frozen=True)
class Limits:
    """What a run may use: seconds from the start of the kernel, bytes with its children, threads, forks."""

    seconds: float | None = None
    n_bytes: int | None = None
    n_threads: int = 1
    warm: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of an attempt: ``done``, ``failed``, ``disk full``, or ``there`` or ``locked`` by another."""

    id: str
    status: str
    seconds: float = 0.0
    problem: str = ""


def is_done(home: Path) -> bool:
    """Tell whether the run of a folder is complete."""
    return (home / DONE).is_file()


def write_row(
    folder: str | Path,
    parameters: Mapping[str, Any],
    predictions: "pd.DataFrame | None" = None,
    metric: str = "accuracy",
    **facts: Any,
) -> dict[str, Any]:
    """Write the row of results of a run, with what is needed to judge and to repeat it.

    Parameters
    ----------
    folder : str or pathlib.Path
        Folder of the run; ``""`` writes nothing.
    parameters : dict
        Parameters of the notebook.
    predictions : pandas.DataFrame or None
        As `predict_folds` returns it. It is scored, and kept beside the row, which states its hash: any
        other metric can be computed later.
    metric : str
        One of `METRICS`, by which predictions are scored.
    **facts
        Plain values: scores, times, fingerprints.

    Returns
    -------
    row : dict
        Parameters, facts, peak memory in MB, versions, git commit and machine; of predictions their `metric`,
        `score`, `scores` and `folds`, and the score of `chance`.

    Raises
    ------
    ValueError
        If the metric is unknown or does not fit the predictions.
    """
    # Workers of a sweep start often, and score nothing themselves.
    from eeglab_models.experiments.rescoring import HASH, score_run, write_predictions

    scored = {} if predictions is None else score_run(predictions, metric)
    row = {
        "parameters": {name: value for name, value in parameters.items() if name not in PLACES},
        **scored,
        **facts,
        "peak_memory": peak_memory(),
        "versions": versions(),
        **git_state(),
        "machine": socket.gethostname(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    if folder and predictions is not None:
        row[HASH] = write_predictions(Path(folder), predictions)
    if folder:
        write_record(Path(folder) / ROW, row)
    return row


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that decide a result."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": sys.version.split()[0]}
    for name in LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def git_state() -> dict[str, Any]:
    """Commit of the repository, and whether the package differs from it; empty without a repository."""
    import subprocess

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(PACKAGE), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "uncommitted": bool(git("status", "--porcelain", "."))}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": "", "uncommitted": False}


def peak_memory() -> float:
    """Largest memory of this process so far, in MB."""
    try:
        import resource
    except ImportError:
        return psutil.Process().memory_info().peak_wset / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def execute(run: Run, folder: Path, limits: Limits) -> Outcome:
    """Execute a run unless it is done or another process is at it; errors of notebook and disk are outcomes.

    The lock is the operating system's: it ends with the process that holds it, however that ends.
    """
    home = run.home(folder)
    try:
        with locked(home, "execute the run"):
            return Outcome(run.id, "there") if is_done(home) else attempt(run, home, limits)
    except BlockingIOError:
        return Outcome(run.id, "locked")
    except OSError as error:
        status = "disk full" if error.errno in DISK_FULL else "failed"
        return Outcome(run.id, status, problem=str(error))


def attempt(run: Run, home: Path, limits: Limits) -> Outcome:
    """Execute the notebook in a folder of its own, and move what came of it to the run's folder."""
    for abandoned in home.glob("attempt-*"):
        shutil.rmtree(abandoned, ignore_errors=True)
    with (home / "attempts.log").open("a") as log:
        print(
            json.dumps({"started": time.time(), "pid": os.getpid(), "host": socket.gethostname()}), file=log
        )
    # A kernel that outlives its worker for a moment writes here, where nobody looks any more.
    work = Path(tempfile.mkdtemp(prefix="attempt-", dir=home))
    start = time.perf_counter()
    try:
        problem, full = call_papermill(run, work, home, limits)
        seconds = time.perf_counter() - start
        if full:
            return Outcome(run.id, "disk full", seconds, problem)
        if problem:
            fail(run, home, work, problem)
            return Outcome(run.id, "failed", seconds, problem)
        complete(run, home, work, seconds)
        return Outcome(run.id, "done", seconds)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def call_papermill(run: Run, work: Path, home: Path, limits: Limits) -> tuple[str, bool]:
    """Execute the notebook; say what went wrong, if anything did, and whether the disk was full."""
    import papermill

    from eeglab_models.experiments.warm import fork_kernels

    logging.getLogger("papermill").setLevel(logging.CRITICAL)
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(limits.n_threads)))
    places = {"output_folder": work, "checkpoint_folder": home / "checkpoints"}
    parameters = run.parameters | {name: str(places[name]) for name in run.places}
    # Papermill writes values into code: what has been through JSON can be nothing but a value there.
    parameters = json.loads(json.dumps(parameters))
    fork_kernels(limits.warm and sys.platform == "linux")
    with Watch(limits, work) as watch:
        try:
            papermill.execute_notebook(
                run.notebook,
                work / NOTEBOOK,
                parameters,
                kernel_name="python3",
                cwd=work,
                progress_bar=False,
                log_output=False,
                # Kernels warn about plain sockets, which every run of a sweep would repeat.
                extra_arguments=["--IPKernelApp.log_level=50"],
            )
        except papermill.PapermillExecutionError as error:
            full = any(f"[Errno {code}]" in error.evalue for code in DISK_FULL) or no_space(home)
            return f"{error.ename}: {error.evalue}".splitlines()[0], full
        except Exception as error:
            if isinstance(error, OSError) and error.errno in DISK_FULL:
                raise
            died = (
                type(error).__name__ == "DeadKernelError" and "The kernel died, perhaps for lack of memory."
            )
            return watch.reason or died or f"{type(error).__name__}: {error}".splitlines()[0], False
    # After its kernel was killed, papermill's notebook claims that every cell is complete: ask the row.
    if not (work / ROW).is_file():
        return f"{run.notebook.name} ended without a row of results; it has to call write_row.", False
    return "", False


def no_space(folder: Path) -> bool:
    """Tell whether less than a megabyte is left: libraries name a full disk in many ways."""
    return shutil.disk_usage(folder).free < 2**20


def complete(run: Run, home: Path, work: Path, seconds: float) -> None:
    """Move the results to the run's folder, then mark it as done."""
    row = read_record(work / ROW, {})
    row |= {
        "id": run.id,
        "code_version": run.version,
        "parameters": run.parameters,
        # Whoever edits the package during a sweep should know which rows are of either version.
        "code_changed": code_version(run.notebook) != run.version,
        "seconds_in_all": seconds,
        "n_attempts": len((home / "attempts.log").read_text().splitlines()),
    }
    (work / ROW).unlink()
    shutil.rmtree(home / "checkpoints", ignore_errors=True)
    for path in work.iterdir():
        if (home / path.name).is_dir():
            # Of an attempt that was interrupted just here.
            shutil.rmtree(home / path.name)
        os.replace(path, home / path.name)
    write_record(home / ROW, row)
    write_record(home / DONE, {"id": run.id, "seconds": seconds})
    for name in (FAILED, "failed.ipynb"):
        (home / name).unlink(missing_ok=True)


def fail(run: Run, home: Path, work: Path, problem: str) -> None:
    """Keep the notebook of a failed run, and the reason."""
    if (work / NOTEBOOK).is_file():
        os.replace(work / NOTEBOOK, home / "failed.ipynb")
    write_record(home / FAILED, {"id": run.id, "problem": problem, "parameters": run.parameters})


class Watch:
    """Ends the kernel of a run that takes too long or too much memory, and remembers why.

    Memory of a worker says nothing about a notebook, which runs in a process of its own.
    """

    def __init__(self, limits: Limits, work: Path) -> None:
        self.limits = limits
        self.work = work.resolve()
        self.kernel: list[psutil.Process] = []
        self.reason = ""
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)

    def __enter__(self) -> "Watch":
        self.start = time.monotonic()
        if self.limits.seconds is not None or self.limits.n_bytes is not None:
            self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.over.set()

    def look(self) -> None:
        """Look twice a second until the run is over."""
        while not self.over.wait(0.5):
            if not self.kernel:
                # It is known by the folder that it starts in.
                children = psutil.Process().children(recursive=True)
                self.kernel = [child for child in children if ask(child.cwd, "") == str(self.work)]
            family = [*self.kernel, *(child for one in self.kernel for child in ask(one.children, [], True))]
            n_bytes = sum(memory.rss for one in family if (memory := ask(one.memory_info, None)))
            self.judge(time.monotonic() - self.start, n_bytes)
            if self.reason:
                for process in family:
                    ask(process.kill, None)

    def judge(self, seconds: float, n_bytes: int) -> None:
        """Compare with the limits."""
        limits = self.limits
        if limits.seconds is not None and seconds > limits.seconds:
            self.reason = f"Stopped after {limits.seconds:g} s. Raise --time-limit if it needs longer."
        elif limits.n_bytes is not None and n_bytes > limits.n_bytes:
            self.reason = (
                f"Stopped at {n_bytes / 1e9:.2f} GB of memory, allowed are {limits.n_bytes / 1e9:.2f} GB. "
                "Raise --memory-limit, or run fewer workers."
            )


def ask(question: Callable[..., Any], otherwise: Any, *arguments: Any) -> Any:
    """Ask one process, which may be over meanwhile or not to be asked: the others are asked all the same."""
    try:
        return question(*arguments)
    except psutil.Error:
        return otherwise
