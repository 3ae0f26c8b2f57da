"""Predictions that runs have kept: read again, and scored by any metric without running anything."""

from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd

from eeglab_models.configs import read_record
from eeglab_models.experiments.runs import ROW
from eeglab_models.files import hash_file, replacing
from eeglab_models.scores.estimates import chance_of, estimate, score_units
from eeglab_models.scores.metrics import find_metric, has_values

__all__ = ["read_predictions"]

PREDICTIONS, HASH = "predictions.parquet", "predictions_hash"
BOUNDS = ["low", "high", "interval", "method", "n_subjects"]


def write_predictions(folder: Path, predictions: pd.DataFrame) -> str:
    """Write the predictions of a run whole or not at all, and give their hash."""
    path = folder / PREDICTIONS
    # Subjects are numbers in some data sets and names in others.
    plain = predictions.assign(subject=predictions["subject"].map(str))
    with replacing(path) as unfinished:
        plain.to_parquet(unfinished, index=False)
    return hash_file(path)


def is_kept(home: Path, row: dict[str, Any]) -> bool:
    """Tell whether the predictions that a row of results names are as they were written."""
    path = home / PREDICTIONS
    return HASH not in row or (path.is_file() and hash_file(path) == row[HASH])


def read_predictions(home: str | Path) -> pd.DataFrame:
    """Read every prediction of a run.

    Parameters
    ----------
    home : str or pathlib.Path
        Folder of the run, as the column `home` of `read_results` names it.

    Returns
    -------
    predictions : pandas.DataFrame
        One row per tested trial, as `predict_folds` returns it.

    Raises
    ------
    FileNotFoundError
        If the run has kept none.
    ValueError
        If they are not those that the row of results was computed from.
    """
    path = Path(home) / PREDICTIONS
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: its notebook kept no predictions. Let it give them to write_row."
        )
    row = Path(home) / ROW
    if row.is_file() and not is_kept(Path(home), read_record(row, {})):
        raise ValueError(f"{path} was altered or damaged. Delete {home}, and run the sweep again.")
    # Not by its name: pandas would take a folder like subject=1 for a column.
    return pd.read_parquet(BytesIO(path.read_bytes()))


def collect_predictions(table: pd.DataFrame) -> pd.DataFrame:
    """Put the predictions that the runs of a table have kept together, with the names of pipelines."""
    parts = []
    for _, row in table.iterrows():
        if pd.isna(row.get(HASH)):
            continue
        own = read_predictions(row["home"])
        # A notebook that scores several pipelines names them; else the parameters do.
        names = own["pipeline"] if own["pipeline"].nunique() > 1 else row["pipeline"]
        facts = {name: row[name] for name in ("dataset", "evaluation", "seed") if name in row}
        parts.append(own.assign(pipeline=names, run=len(parts), **facts))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def score_run(predictions: pd.DataFrame, metric: str, bounded: bool = True) -> dict[str, Any]:
    """Score the predictions of a run: what its row of results says of them."""
    named = predictions["pipeline"].nunique() > 1
    parts = []
    for name, own in predictions.groupby("pipeline", sort=False):
        folds = score_units(own, metric)[0]
        if folds["subject"].nunique() == 1 and bounded:
            folds = folds.merge(estimate(own, metric)[["pipeline", *BOUNDS]], on="pipeline")
        parts.append(folds.assign(pipeline=name))
    folds = pd.concat(parts, ignore_index=True).drop(columns="metric")
    folds["subject"] = folds["subject"].map(str)
    people = folds.groupby(["pipeline", "subject"])["score"].mean()
    return {
        "metric": metric,
        "score": float(people.mean()),
        "scores": folds["score"].tolist(),
        "chance": chance_of(predictions, metric),
        "folds": (folds if named else folds.drop(columns="pipeline")).to_dict("list"),
    }


def rescore(
    kept: Iterable[tuple[Path, dict[str, Any]]], metric: str
) -> tuple[list[tuple[Path, dict[str, Any]]], dict[str, str]]:
    """Score runs by another metric; name those that it does not fit, with the reason."""
    takes_values = find_metric(metric).reads == "values"
    scored, as_they_are, people, others = [], [], {}, {}
    for home, row in kept:
        if HASH not in row and row.get("metric", "accuracy") == metric:
            as_they_are.append((home, row))
            continue
        if HASH not in row:
            others[home.name] = "its notebook kept no predictions"
            continue
        predictions = read_predictions(home)
        if has_values(predictions) != takes_values:
            others[home.name] = f"{metric} is no score of {'classes' if takes_values else 'values'}"
            continue
        try:
            found = score_run(predictions, metric, bounded=False)
        except ValueError as error:
            others[home.name] = str(error)
            continue
        where = tuple(row["parameters"].get(name) for name in ("dataset", "evaluation"))
        people.setdefault(where, set()).update(found["folds"]["subject"])
        scored.append((home, row | found, where))
    # Only where there is one person, trials are what the interval is over.
    alone = {where for where, whom in people.items() if len(whom) == 1}
    bounded = [
        (home, row | score_run(read_predictions(home), metric) if where in alone else row)
        for home, row, where in scored
    ]
    return bounded + as_they_are, others
