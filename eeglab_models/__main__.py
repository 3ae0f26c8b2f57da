"""The command line: ``python -m eeglab_models``."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)
NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


@app.callback()
def main() -> None:
    """Run the main jobs of eeglab_models."""


@app.command()
def demo(
    output: Annotated[
        Path, typer.Option(help="Folder for the executed notebook, its page and the table.")
    ] = Path("outputs"),
) -> None:
    """Run the quickstart notebook on simulated EEG and print its table."""
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
    papermill.execute_notebook(source, executed, {"output_folder": str(output)}, cwd=output)
    page, _ = HTMLExporter().from_filename(str(executed))
    (output / "quickstart.html").write_text(page, encoding="utf-8")

    table = Table("pipeline", "accuracy", "95 % interval", title="Left or right hand? Simulated EEG")
    for row in pd.read_csv(output / "scores.csv").itertuples():
        table.add_row(row.pipeline, f"{row.accuracy:.2f}", f"{row.low:.2f} to {row.high:.2f}")
    console = Console()
    console.print(table)
    console.print(f"Notebook: {executed}\nPage:     {output / 'quickstart.html'}")


if __name__ == "__main__":
    app()
