"""The command line: ``python -m eeglab_models``."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eeglab_models.text import plain

if TYPE_CHECKING:
    from rich.console import Console

# Tracebacks with local variables would print tokens.
app = typer.Typer(
    help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_show_locals=False
)
NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def ends_in_a_sentence(command: Callable[..., None]) -> Callable[..., None]:
    """Let errors of a command, and its interruption, end in one sentence and an exit code."""

    @wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except (OSError, ValueError) as error:
            typer.echo(plain(error), err=True)
            raise typer.Exit(1) from error
        except KeyboardInterrupt:
            typer.echo("Interrupted. Run the same command again to go on; what is done stays done.", err=True)
            raise typer.Exit(130) from None

    return run


def open_console() -> "Console":
    """Open a console that takes no text for markup or control, whatever a file or a run is called or says."""
    from rich.console import Console

    class PlainConsole(Console):
        def render_str(self, text: str, **options: Any) -> Any:
            return super().render_str(plain(text), **options)

    return PlainConsole(soft_wrap=True, highlight=False, markup=False)


@app.callback()
def main() -> None:
    """Run the main jobs of eeglab_models."""


@app.command()
def demo(
    output: Annotated[
        Path, typer.Option(help="Folder for the executed notebook, its page and the table.")
    ] = Path("outputs"),
    simulated: Annotated[bool, typer.Option("--simulated", help="One simulated subject.")] = False,
) -> None:
    """Run the quickstart notebook on EEG of people, or on simulated EEG, and print its table."""
    import pandas as pd
    import papermill
    from nbconvert import HTMLExporter
    from rich.console import Console
    from rich.table import Table

    source = NOTEBOOKS / "00_quickstart.ipynb"
    if not source.is_file():
        raise typer.BadParameter(f"{source} is missing. Run the demo from a clone of the repository.")
    output = output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    executed = output / "quickstart.ipynb"
    data = {"dataset": "SimulatedMotorImagery", "subjects": [2]} if simulated else {}
    papermill.execute_notebook(source, executed, {"output_folder": str(output), **data}, cwd=output)
    page, _ = HTMLExporter().from_filename(str(executed))
    (output / "quickstart.html").write_text(page, encoding="utf-8")

    whose = "Simulated EEG" if simulated else "EEG of people who are new"
    table = Table("pipeline", "accuracy", "95 % interval", title=f"Left or right hand? {whose}")
    for row in pd.read_csv(output / "scores.csv").itertuples():
        table.add_row(row.pipeline, f"{row.accuracy:.2f}", f"{row.low:.2f} to {row.high:.2f}")
    console = Console()
    console.print(table)
    console.print(f"Notebook: {executed}\nPage:     {output / 'quickstart.html'}")


@app.command()
@ends_in_a_sentence
def convert(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="Checkpoint: .ckpt, .pt, .pth, .bin, .safetensors.")
    ],
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="New folder for the converted model.")],
    model: Annotated[str | None, typer.Option(help="Model, if its tensors do not tell.")] = None,
    encoder: Annotated[
        str | None, typer.Option(help="target_encoder or encoder (EEGPT), student or teacher (EEGDINO).")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="JSON file of constructor arguments.")] = None,
    n_outputs: Annotated[int | None, typer.Option(help="Outputs of a new head.")] = None,
) -> None:
    """Convert a checkpoint of a model's authors to a folder that from_pretrained reads."""
    from eeglab_models.models.conversion import convert_checkpoint
    from eeglab_models.models.download import read_config

    arguments = None if config is None else read_config(config)
    report = convert_checkpoint(
        source, folder, model=model, encoder=encoder, config=arguments, n_outputs=n_outputs
    )
    typer.echo(plain(f"{report}\nWritten to {folder}"))


@app.command()
@ends_in_a_sentence
def prefetch(
    folder: Annotated[Path, typer.Option(help="Folder to fill; only pip caches elsewhere.")] = Path("kit"),
    weights: Annotated[list[str] | None, typer.Option(help="USER/MODEL[@REVISION]; repeatable.")] = None,
    datasets: Annotated[list[str] | None, typer.Option(help="NAME[:1,2,3]; repeatable.")] = None,
    workshop: Annotated[
        bool, typer.Option("--workshop", help="Add this repository, wheels, and install.py for laptops.")
    ] = False,
    platform: Annotated[
        list[str] | None,
        typer.Option(help="Wheels for which computers, as win_amd64; repeatable. [default: this one]"),
    ] = None,
    python_version: Annotated[
        str | None, typer.Option(help="Of the other computers, as 3.12. [default: that of this one]")
    ] = None,
    check: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Verify this folder instead.")] = None,
) -> None:
    """Fill a folder with weights, recordings and wheels for use without a network."""
    from rich.table import Table

    from eeglab_models.workshop import install, kit

    console = open_console()
    if check is not None:
        problems = install.check(check)
        console.print("\n".join(problems) or f"{check} is complete.")
        raise typer.Exit(bool(problems))
    if not weights and not datasets and not workshop:
        raise typer.BadParameter("Name what to fetch: --workshop, --weights USER/MODEL, --datasets NAME:1,2.")
    if platform and not workshop:
        raise typer.BadParameter("--platform says which wheels to fetch: add --workshop.")
    if python_version and not platform:
        raise typer.BadParameter("--python-version is that of other computers: name them with --platform.")
    items = kit.prefetch(
        folder,
        weights or [],
        datasets or [],
        workshop=workshop,
        platforms=platform or [kit.HERE],
        python_version=python_version,
    )
    table = Table("item", "status", "commit", "MB", title=str(folder))
    for item in items:
        table.add_row(item.name, item.status, item.commit[:7], f"{item.n_bytes / 1e6:.1f}")
    console.print(table)
    if workshop:
        console.print(f"To set a laptop up, copy the folder there: python {folder / 'install.py'}")
    console.print(f"To use it, source {folder / 'activate.sh'} or set, before Python starts:")
    for name, value in install.settings(folder).items():
        console.print(f"  {name}={value}")
    failed = [item for item in items if item.status == "failed"]
    for item in failed:
        console.print(f"Failed: {item.name}: {item.problem}")
    raise typer.Exit(bool(failed))


@app.command()
@ends_in_a_sentence
def sweep(
    grid: Annotated[Path, typer.Argument(help="YAML file, as those in notebooks/sweeps.")],
    folder: Annotated[Path | None, typer.Option(help="Folder of results. [default: outputs/NAME]")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the runs and stop.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Runs at a time.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of a run.")] = None,
    memory_limit: Annotated[str | None, typer.Option(help="Of a run, as 4GB.")] = None,
    time_limit: Annotated[float | None, typer.Option(min=0, help="Of a run, in seconds.")] = None,
    max_failures: Annotated[int | None, typer.Option(min=1, help="Stop after so many.")] = None,
    scheduler: Annotated[str | None, typer.Option(help="tls://... of a dask scheduler.")] = None,
    slurm: Annotated[Path | None, typer.Option(help="YAML of dask_jobqueue.SLURMCluster.")] = None,
    warm: Annotated[bool, typer.Option(help="Share imports between runs (Linux).")] = True,
) -> None:
    """Run a grid of notebooks; run it again for what is missing or failed."""
    from dask.utils import parse_bytes

    from eeglab_models.experiments import cluster, terminal
    from eeglab_models.experiments import sweep as sweeping
    from eeglab_models.experiments.grid import read_grid
    from eeglab_models.experiments.runs import is_done

    console = open_console()
    runs = read_grid(grid)
    folder = (folder or Path("outputs") / runs.name).resolve()
    limit = None if memory_limit is None else parse_bytes(memory_limit)
    job = None if slurm is None else cluster.read_slurm(slurm)
    n_workers = workers or cluster.default_workers(len(runs.runs))
    if dry_run:
        n_done = sum(is_done(run.home(folder)) for run in runs.runs)
        seconds = sweeping.estimate(runs, folder, n_workers)
        terminal.list_runs(console, runs, n_done, seconds, n_workers)
        if job is not None:
            console.print(cluster.job_script(job, threads or 1))
        return
    with terminal.live_progress(console, runs) as report:
        progress = sweeping.sweep(
            runs,
            folder,
            workers=n_workers,
            threads=threads,
            memory_limit=limit,
            time_limit=time_limit,
            max_failures=max_failures,
            scheduler=scheduler,
            slurm=job,
            warm=warm,
            report=report,
        )
    terminal.show_outcome(console, progress, folder)
    raise typer.Exit(bool(progress.failed or progress.remaining))


@app.command()
@ends_in_a_sentence
def results(
    folder: Annotated[Path, typer.Argument(help="Folder that a sweep wrote to.")],
    output: Annotated[Path | None, typer.Option(help="Folder for tables and figures.")] = None,
    metric: Annotated[
        str | None, typer.Option(help="As roc_auc, from kept predictions. [default: that of the runs]")
    ] = None,
) -> None:
    """Summarise a sweep, test its pipelines pair by pair, and write tables and figures."""
    from eeglab_models.experiments import results as found
    from eeglab_models.experiments import terminal

    console = open_console()
    table, state = found.survey(folder, metric)
    terminal.show_results(console, state, found.summarise_runs(table), found.compare_pipelines(table))
    output = output or folder / ("results" if metric is None else f"results-{metric}")
    found.export(table, output)
    console.print(f"Tables (CSV, HTML, LaTeX, Parquet) and figures: {output}")


@app.command()
@ends_in_a_sentence
def embed(
    source: Annotated[str, typer.Argument(help="File, folder, BIDS data set, or moabb data set.")],
    model: Annotated[str, typer.Option(help="Class of the model, as EEGPT.")],
    out: Annotated[Path, typer.Option(help="Table to write: .parquet or .npz.")],
    weights: Annotated[str, typer.Option(help="Checkpoint, folder, USER/MODEL. [default: random]")] = "",
    revision: Annotated[str | None, typer.Option(help="Commit of the Hub's repository.")] = None,
    table: Annotated[Path | None, typer.Option(help="CSV or TSV of labels: file, label, subject.")] = None,
    subjects: Annotated[list[str] | None, typer.Option(help="Repeatable. [default: all]")] = None,
    events: Annotated[list[str] | None, typer.Option(help="Repeatable. [default: none of files]")] = None,
    tmin: Annotated[float, typer.Option(help="Start of a window, in seconds.")] = 0.0,
    tmax: Annotated[float | None, typer.Option(help="Its end. [default: the length of the model]")] = None,
    layer: Annotated[str, typer.Option(help="encoder, the number of a block, or a name.")] = "encoder",
    pool: Annotated[str, typer.Option(help="time, mean or none.")] = "time",
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
) -> None:
    """Write what a frozen model says of every window; run it again to go on after an interruption."""
    from eeglab_models.features.tabulating import embed as write_features

    given = {"events": events or None, "tmax": tmax}
    found = write_features(
        source,
        model,
        out,
        weights=weights,
        revision=revision,
        table=table,
        subjects=subjects or None,
        layer=int(layer) if layer.lstrip("-").isdigit() else layer,
        pool=pool,
        device=device,
        tmin=tmin,
        **{name: value for name, value in given.items() if value is not None},
    )
    console = open_console()
    before = f", {found.n_before} of them done before" if found.n_before else ""
    console.print(f"{found.n_windows} windows of {found.n_recordings} recordings{before}: {found.path}")
    for name, reason in found.skipped.items():
        console.print(f"Left out: {name}: {reason}")
    raise typer.Exit(bool(found.skipped))


@app.command()
@ends_in_a_sentence
def pretrain(
    config: Annotated[str, typer.Argument(help="YAML file, or the name of a ready one, as eegpt-toy.")],
    output: Annotated[Path | None, typer.Option(help="Folder of results. [default: outputs/NAME]")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps, in place of those of the file.")] = None,
) -> None:
    """Pretrain a model without labels; run it again to go on where it was interrupted."""
    import os

    from eeglab_models.pretraining.configuration import read_configuration

    console = open_console()
    configuration = read_configuration(config)
    if steps is not None:
        configuration = configuration.with_steps(steps)
    folder = output or Path("outputs") / configuration.name
    history = configuration.run(folder)
    if os.environ.get("RANK", "0") != "0":
        return
    last = history.iloc[-1]
    held_out = f", {last.valid_loss:.4f} on held-out windows" if "valid_loss" in history else ""
    console.print(f"{configuration.objective}: {last.step:.0f} steps, loss {last.loss:.4f}{held_out}")
    console.print(f"Encoder: {folder / 'encoder'}\nCurves:  {folder / 'progress.png'}, metrics.csv")


@app.command()
def doctor() -> None:
    """Check this computer and say what to mend; the exit code is 1 if something is broken."""
    try:
        from eeglab_models.workshop.doctor import diagnose, show_findings
    except ImportError as error:
        typer.echo(f"{error}. Install the packages anew: pip install -e '.[notebooks]' -c constraints.txt")
        raise typer.Exit(1) from error
    findings = diagnose()
    show_findings(open_console(), findings)
    raise typer.Exit(any(finding.status == "broken" for finding in findings))


if __name__ == "__main__":
    app()
