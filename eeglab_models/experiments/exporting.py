"""Tables and figures of a sweep as files, each whole or not at all."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from eeglab_models.files import replacing
from eeglab_models.scores.calibration import calibration_bins, confidences
from eeglab_models.scores.metrics import PROBABILITY, has_values

__all__: list[str] = []


def write_tables(tables: Mapping[str, pd.DataFrame], folder: Path) -> list[Path]:
    """Write tables in every format."""
    paths = []
    for name, content in tables.items():
        for ending in ("csv", "html", "tex", "parquet"):
            paths.append(folder / f"{name}.{ending}")
            with replacing(paths[-1]) as unfinished:
                write_table(content, unfinished, ending)
    return paths


def write_table(content: pd.DataFrame, path: Path, ending: str) -> None:
    """Write one table in one format."""
    if ending == "csv":
        content.to_csv(path, index=False)
    elif ending == "parquet":
        content.to_parquet(path)
    elif ending == "html":
        page = content.to_html(index=False, float_format="{:.3f}".format)
        path.write_text(f"<!doctype html><meta charset='utf-8'>{page}", encoding="utf-8")
    else:
        # Names hold underscores, which LaTeX takes for subscripts.
        style = content.style.format(precision=3, escape="latex", na_rep="").hide(axis="index")
        text = style.format_index(escape="latex", axis=1).to_latex(hrules=True)
        path.write_text(text, encoding="utf-8")


def draw(
    folds: pd.DataFrame,
    summary: pd.DataFrame,
    comparisons: pd.DataFrame,
    predictions: pd.DataFrame,
    folder: Path,
) -> list[Path]:
    """Draw all figures into a folder."""
    import matplotlib.pyplot as plt

    from eeglab_models import plotting

    figures = {"scores": plotting.plot_run_scores(folds), "forest": plotting.plot_forest(summary)}
    if len(comparisons):
        figures["differences"] = plotting.plot_differences(comparisons)
    figures |= draw_predictions(predictions)
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.png")
        with replacing(paths[-1]) as unfinished:
            figure.savefig(unfinished, format="png", dpi=150)
        plt.close(figure)
    return paths


def draw_predictions(predictions: pd.DataFrame) -> dict[str, Any]:
    """Draw what classifiers take for what and how sure they are, data set by data set."""
    from eeglab_models import plotting

    figures: dict[str, Any] = {}
    if "dataset" not in predictions:
        return figures
    for number, (_, own) in enumerate(predictions.groupby(["dataset", "evaluation"], sort=False), 1):
        own = own.dropna(axis="columns", how="all")
        if has_values(own):
            continue
        figures[f"confusion-{number}"] = plotting.plot_confusion(own)
        # Those that only name classes have no confidence.
        columns = [name for name in own if name.startswith(PROBABILITY)]
        sure = own.dropna(subset=columns) if columns else own.iloc[:0]
        bins = {name: calibration_bins(*confidences(part), 10) for name, part in sure.groupby("pipeline")}
        if bins:
            figures[f"calibration-{number}"] = plotting.plot_calibration(bins)
    return figures
