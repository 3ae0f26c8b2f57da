"""What sweeps and their results look like in a terminal."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Column, Table
from rich.text import Text

from eeglab_models.experiments.grid import Grid, notebook_parameters
from eeglab_models.experiments.results import State
from eeglab_models.experiments.sweep import Progress
from eeglab_models.text import plain

__all__: list[str] = []

N_LISTED = 20


def write_seconds(seconds: float) -> str:
    """Write a duration as people do."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def describe(parameters: dict[str, Any], varying: Sequence[str]) -> str:
    """Write what tells a run from the others."""
    return ", ".join(f"{name}={parameters[name]}" for name in varying if name in parameters)


def varying_parameters(grid: Grid) -> list[str]:
    """Name the parameters that differ between runs."""
    names = grid.runs[0].parameters
    return [name for name in names if len({str(run.parameters[name]) for run in grid.runs}) > 1]


def list_runs(console: Console, grid: Grid, n_done: int, seconds: float | None, n_workers: int) -> None:
    """Print the runs of a grid and how long they may take."""
    varying = varying_parameters(grid)
    console.print(f"{grid.name}: {len(grid.runs)} runs of {grid.notebook.name}")
    defaults, first = notebook_parameters(grid.notebook), grid.runs[0].parameters
    same = [name for name, value in first.items() if name not in varying and value != defaults.get(name)]
    if same:
        console.print(f"  all with {describe(first, same)}")
    for run in grid.runs[:N_LISTED]:
        console.print(f"  {run.id}  {describe(run.parameters, varying)}")
    if len(grid.runs) > N_LISTED:
        console.print(f"  and {len(grid.runs) - N_LISTED} more")
    left = len(grid.runs) - n_done
    time_left = "unknown until a run is done" if seconds is None else f"about {write_seconds(seconds)}"
    console.print(f"{n_done} done, {left} to run, {n_workers} at a time: {time_left}.")


@contextmanager
def live_progress(console: Console, grid: Grid) -> Iterator[Callable[[Progress], None]]:
    """Show what runs, what failed, what remains and how long it may take."""
    varying = varying_parameters(grid)
    name = TextColumn("{task.description}", markup=False)
    bar = Bar(name, BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[counts]}"))
    task = bar.add_task(plain(grid.name), total=len(grid.runs), counts="")

    def picture(progress: Progress) -> Table:
        left = progress.seconds_left
        counts = f"{len(progress.running)} running, {progress.failed} failed, {progress.remaining} remaining"
        counts += f", {progress.retried} retried" if progress.retried else ""
        counts += f", {progress.waiting} at another sweep" if progress.waiting else ""
        counts += "" if left is None else f", about {write_seconds(left)}"
        bar.update(task, completed=progress.n_runs - progress.remaining, counts=counts)
        rows = Table.grid()
        rows.add_row(bar)
        for start, parameters in list(progress.running.values())[:8]:
            elapsed = write_seconds(time.monotonic() - start)
            line = plain(f"  {elapsed:>10}  {describe(parameters, varying)}")
            rows.add_row(Text(line, overflow="ellipsis"))
        return rows

    with Live(console=console, auto_refresh=False, transient=True) as live:
        # Where nobody looks, every refresh would be a new line.
        yield lambda progress: live.update(picture(progress), refresh=console.is_terminal)


def show_outcome(console: Console, progress: Progress, folder: Path) -> None:
    """Print what came of a sweep."""
    console.print(
        f"{progress.n_runs} runs: {progress.done} executed, {progress.resumed} done before, "
        f"{progress.elsewhere} done by another sweep, {progress.failed} failed, "
        f"{progress.remaining} not run; {progress.retried} lost with their worker and retried."
    )
    for name, problem in list(progress.problems.items())[:N_LISTED]:
        console.print(f"Failed: {folder / 'runs' / name / 'failed.ipynb'}: {problem}")
    if progress.failed or progress.remaining:
        console.print("Run the same command again to try these once more; what is done stays done.")


def show_results(console: Console, state: State, summary: pd.DataFrame, comparisons: pd.DataFrame) -> None:
    """Print the summary and the paired tests."""
    console.print(
        f"{state.n_done} runs done, {state.n_failed} failed, {state.n_missing} not run"
        + (f", {state.n_outdated} older ones of other code left out" if state.n_outdated else "")
        + (f", {len(state.damaged)} damaged" if state.damaged else "")
        + "."
    )
    for name in state.damaged[:N_LISTED]:
        console.print(f"Damaged: runs/{name}. Delete this folder, and run the sweep again.")
    for name, reason in list(state.others.items())[:N_LISTED]:
        console.print(f"Left out: runs/{name}: {reason}.")
    for (dataset, evaluation, metric), own in summary.groupby(
        ["dataset", "evaluation", "metric"], sort=False
    ):
        pipeline = Column("pipeline", overflow="fold")
        title = f"{dataset}, {evaluation}"
        table = Table(pipeline, metric.replace("_", " "), "95 % interval", "over", "chance", title=title)
        for row in own.itertuples():
            over = f"{row.n_subjects} subjects" if row.interval == "subjects" else "trials of 1 subject"
            over += f" ({row.method})"
            bounds = f"{row.low:.3f} to {row.high:.3f}"
            table.add_row(row.pipeline, f"{row.score:.3f}", bounds, over, f"{row.chance:.2f}")
        console.print(table)
    if comparisons.empty:
        console.print("No paired test: it needs two pipelines on the same two or more subjects.")
        return
    for (dataset, evaluation, metric), own in comparisons.groupby(
        ["dataset", "evaluation", "metric"], sort=False
    ):
        pair = Column("pair", overflow="fold")
        table = Table(
            pair,
            f"difference of {metric.replace('_', ' ')}",
            "p",
            "p (Holm)",
            "better in",
            title=plain(f"{dataset}, {evaluation}"),
        )
        for row in own.itertuples():
            values = (f"{row.difference:+.3f}", f"{row.p_value:.3f}", f"{row.p_holm:.3f}")
            table.add_row(f"{row.a} - {row.b}", *values, f"{row.n_wins} of {row.n_subjects}")
        console.print(table)
