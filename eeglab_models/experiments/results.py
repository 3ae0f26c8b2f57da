"""What a sweep found: a table, a summary with intervals, paired tests, figures and files."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eeglab_models.experiments.grid import BASELINES, PROBE
from eeglab_models.experiments.runs import DONE, FAILED, ROW
from eeglab_models.scores.scoring import accuracy_interval, compare, mean_interval

__all__ = ["State", "compare_pipelines", "export", "fold_scores", "read_results", "summarise_runs", "survey"]

# What the name of a pipeline is made of; parts that never vary are left out.
NAMING = ("model", "checkpoint", "regime", "options", "lr", "max_epochs", "precision")
# Lists and mappings, which tables in files hold as JSON.
NESTED = ("subjects", "events", "options", "scores", "folds")
SETTING = ["dataset", "evaluation"]


@dataclass(frozen=True)
class State:
    """How far a folder of results is.

    Attributes
    ----------
    n_done, n_failed, n_missing : int
        Sets of parameters with a result, those whose latest attempt failed, and those not run yet.
    n_outdated : int
        Further results of the same parameters by other versions of the code; the latest counts.
    n_damaged : int
        Runs marked as done whose row cannot be read.
    problems : dict
        Why runs failed, by id.
    """

    n_done: int
    n_failed: int
    n_missing: int
    n_outdated: int
    n_damaged: int
    problems: dict[str, str]


def read_results(source: str | Path) -> pd.DataFrame:
    """Read the results of a folder, one row per run.

    Parameters
    ----------
    source : str or pathlib.Path
        Folder of a sweep, or a table that `export` wrote as Parquet.

    Returns
    -------
    table : pandas.DataFrame
        Parameters, the accuracy `score`, `scores` of the folds, `pipeline`, times in seconds, memory in MB,
        versions and fingerprints. Of the same parameters run by several versions of the code, the latest.

    Raises
    ------
    FileNotFoundError
        If there is nothing of the kind.
    """
    source = Path(source)
    if source.is_file():
        table = pd.read_parquet(source)
        nested = [name for name in NESTED if name in table]
        return table.assign(**{name: table[name].map(json.loads) for name in nested})
    return survey(source)[0]


def survey(folder: str | Path) -> tuple[pd.DataFrame, State]:
    """Read the results of a folder, and what it lacks.

    Parameters
    ----------
    folder : str or pathlib.Path
        Folder of a sweep.

    Returns
    -------
    table : pandas.DataFrame
        As `read_results` returns it.
    state : State
        What is done, failed and missing.

    Raises
    ------
    FileNotFoundError
        If no sweep has used this folder, or if no run is done yet.
    """
    folder = Path(folder)
    homes = sorted(path for path in folder.glob("runs/*") if path.is_dir())
    if not homes:
        raise FileNotFoundError(f"{folder} holds no runs. Name the folder that a sweep wrote to.")
    rows: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    asked: set[str] = set()
    n_damaged = 0
    for home in homes:
        parameters = read_json(home / "parameters.json")
        key = None if parameters is None else json.dumps(parameters["parameters"], sort_keys=True)
        row = read_json(home / ROW) if (home / DONE).is_file() else None
        if row is not None:
            rows.append(row)
        elif (home / DONE).is_file():
            n_damaged += 1
        elif key is not None:
            asked.add(key)
            problem = read_json(home / FAILED)
            if problem is not None:
                failed[key] = problem["problem"]
    # Later ones replace earlier ones.
    latest = {}
    for row in sorted(rows, key=lambda row: str(row.get("finished", ""))):
        latest[json.dumps(row["parameters"], sort_keys=True)] = row
    missing = asked - set(latest)
    problems = {key: problem for key, problem in failed.items() if key in missing}
    state = State(
        n_done=len(latest),
        n_failed=len(problems),
        n_missing=len(missing) - len(problems),
        n_outdated=len(rows) - len(latest),
        n_damaged=n_damaged,
        problems=problems,
    )
    if not latest:
        hint = next(iter(failed.values()), "none has been started")
        raise FileNotFoundError(f"No run of {folder} is done yet: {hint}.")
    table = pd.DataFrame([flatten(row) for row in latest.values()])
    if "model" in table:
        table["pipeline"] = name_pipelines(table)
    return table, state


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a file, None if it is missing or not whole."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def flatten(row: dict[str, Any]) -> dict[str, Any]:
    """Put parameters, times and versions beside the rest."""
    rest = {name: value for name, value in row.items() if name not in ("parameters", "seconds", "versions")}
    seconds = {f"seconds_{name}": value for name, value in row.get("seconds", {}).items()}
    versions = {f"version_{name}": value for name, value in row.get("versions", {}).items()}
    return {**row["parameters"], **rest, **seconds, **versions}


def name_pipelines(table: pd.DataFrame) -> pd.Series:
    """Name what was scored by the parameters that vary and matter to it, model first."""
    varying = {name for name in NAMING[1:] if name in table and table[name].map(str).nunique() > 1}

    def name(row: pd.Series) -> str:
        parts = [row["model"]]
        if row["model"] in BASELINES:
            return row["model"]
        if "checkpoint" in varying:
            parts.append(Path(row["checkpoint"]).name or "random")
        if "regime" in varying:
            parts.append(row["regime"])
        trained = {"lr", "max_epochs"} if row["regime"] == PROBE else set()
        others = [part for part in NAMING if part in varying - trained - {"checkpoint", "regime"}]
        return ", ".join([*parts, *(f"{part} {row[part]}" for part in others if row[part])])

    return table.apply(name, axis=1)


def fold_scores(table: pd.DataFrame) -> pd.DataFrame:
    """Spread the folds of every run: the table that scores are summarised and compared from.

    Parameters
    ----------
    table : pandas.DataFrame
        As `read_results` returns it.

    Returns
    -------
    folds : pandas.DataFrame
        One row per run and fold: `dataset`, `evaluation`, `pipeline`, `seed`, `subject`, `fold`, `score`,
        `n_correct`, `n_trials` and `chance`. The statistics of moabb read it as it is.
    """
    parts = []
    for _, row in table.iterrows():
        same = {name: row[name] for name in (*SETTING, "pipeline", "seed", "chance")}
        parts.append(pd.DataFrame(dict(row["folds"])).assign(**same))
    return pd.concat(parts, ignore_index=True)


def summarise_runs(table: pd.DataFrame, confidence: float = 0.95) -> pd.DataFrame:
    """Summarise every pipeline on every data set.

    Seeds and folds of a subject are averaged first: they repeat a person, and only persons are a sample of
    people. The interval says how far the mean of other subjects could be off; with a single subject it says
    how far the accuracy of that one could be, from its trials, of which seeds are no new ones.

    Parameters
    ----------
    table : pandas.DataFrame
        As `read_results` returns it.
    confidence : float
        Coverage of the intervals.

    Returns
    -------
    summary : pandas.DataFrame
        One row per data set, evaluation and pipeline: `score`, `low`, `high`, `interval` (``"subjects"`` or
        ``"trials"``), `sd_subjects`, `sd_seeds`, `n_subjects`, `n_seeds`, `n_runs`, `chance`.
    """
    folds = fold_scores(table)
    rows = []
    for key, own in folds.groupby([*SETTING, "pipeline"], sort=False):
        subjects = own.groupby("subject")["score"].mean().to_numpy()
        per_seed = own.groupby(["subject", "seed"])["score"].mean()
        n_seeds = own["seed"].nunique()
        if len(subjects) > 1:
            low, high = mean_interval(subjects, confidence)
        else:
            n_trials = own["n_trials"].sum() / n_seeds
            low, high = accuracy_interval(
                round(float(subjects[0]) * n_trials), round(float(n_trials)), confidence
            )
        setting = table[(table[[*SETTING, "pipeline"]] == list(key)).all(axis=1)]
        rows.append(
            {
                **dict(zip([*SETTING, "pipeline"], key, strict=True)),
                "score": float(subjects.mean()),
                "low": low,
                "high": high,
                "interval": "subjects" if len(subjects) > 1 else "trials",
                "sd_subjects": float(subjects.std(ddof=1)) if len(subjects) > 1 else np.nan,
                "sd_seeds": float(per_seed.groupby("subject").std(ddof=1).mean()) if n_seeds > 1 else np.nan,
                "n_subjects": len(subjects),
                "n_seeds": n_seeds,
                "n_runs": len(setting),
                "chance": float(own["chance"].mean()),
            }
        )
    order = [*SETTING, "score"]
    return pd.DataFrame(rows).sort_values(order, ascending=[True, True, False], ignore_index=True)


def compare_pipelines(table: pd.DataFrame) -> pd.DataFrame:
    """Test every pair of pipelines on the subjects that both have.

    Parameters
    ----------
    table : pandas.DataFrame
        As `read_results` returns it.

    Returns
    -------
    comparisons : pandas.DataFrame
        One row per data set, evaluation and pair `a`, `b`: mean `difference` of subjects with its 95 %
        interval `low`, `high`; two-sided `p_value` of all swaps within subjects and `p_holm`, corrected for
        the number of tests (Holm); `effect`, moabb's standardised mean difference; `n_subjects`, and in how
        many of them `a` is better (`n_wins`). One row more per pair, data set ``"all"``, where there are
        several data sets: moabb's combination of them (Stouffer). Pairs with fewer than two common subjects
        are left out.
    """
    from moabb.analysis.meta_analysis import combine_effects, combine_pvalues, compute_dataset_statistics

    folds = fold_scores(table)
    rows: list[dict[str, Any]] = []
    for evaluation, scores in folds.groupby("evaluation"):
        for a, b in combinations(scores["pipeline"].unique(), 2):
            combined = []
            for dataset, own in scores[scores["pipeline"].isin([a, b])].groupby("dataset"):
                means = own.groupby(["pipeline", "subject"])["score"].mean().unstack("pipeline")
                if not {a, b} <= set(means) or len(means := means.dropna()) < 2:
                    continue
                pair = means.reset_index().melt("subject", value_name="score").assign(dataset=dataset)
                tested = compare(pair, a, b)
                one_sided = compute_dataset_statistics(pair).query("pipe1 == @a and pipe2 == @b").iloc[0]
                combined.append(one_sided)
                row = {"dataset": dataset, "evaluation": evaluation, "a": a, "b": b}
                row |= {"difference": tested.difference, "low": tested.low, "high": tested.high}
                row |= {"p_value": tested.p_value, "effect": one_sided["smd"]}
                rows.append(row | {"n_subjects": tested.n_pairs, "n_wins": tested.n_wins})
            if len(combined) > 1:
                several = pd.DataFrame(combined)
                p = combine_pvalues(several["p"], several["nsub"])
                own = [row for row in rows if (row["evaluation"], row["a"], row["b"]) == (evaluation, a, b)]
                counts = {name: sum(row[name] for row in own) for name in ("n_subjects", "n_wins")}
                mean = np.average(
                    [row["difference"] for row in own], weights=[row["n_subjects"] for row in own]
                )
                row = {"dataset": "all", "evaluation": evaluation, "a": a, "b": b, "difference": float(mean)}
                row |= {"low": np.nan, "high": np.nan, "p_value": float(2 * min(p, 1 - p))}
                rows.append(row | {"effect": combine_effects(several["smd"], several["nsub"]), **counts})
    columns = ["dataset", "evaluation", "a", "b", "difference", "low", "high", "p_value", "p_holm", "effect"]
    columns += ["n_subjects", "n_wins"]
    comparisons = pd.DataFrame(rows, columns=[name for name in columns if name != "p_holm"])
    comparisons["p_holm"] = correct(comparisons["p_value"].to_numpy(dtype=float))
    return comparisons[columns]


def correct(p_values: np.ndarray) -> np.ndarray:
    """Correct for the number of tests by Holm's method (1979, Scandinavian Journal of Statistics 6)."""
    order = np.argsort(p_values)
    raised = p_values[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty_like(p_values)
    corrected[order] = np.minimum(1, np.maximum.accumulate(raised))
    return corrected


def export(
    table: pd.DataFrame, folder: str | Path, formats: Sequence[str] = ("csv", "html", "tex", "parquet")
) -> list[Path]:
    """Write the table of runs, the summary, the comparisons and the figures.

    Parameters
    ----------
    table : pandas.DataFrame
        As `read_results` returns it.
    folder : str or pathlib.Path
        Where to; it is made if it is not there.
    formats : sequence of {"csv", "html", "tex", "parquet"}
        How to write tables. Only Parquet keeps the folds, and `read_results` reads it.

    Returns
    -------
    paths : list of pathlib.Path
        Files, each written whole or not at all.

    Raises
    ------
    ValueError
        If a format is unknown.
    """
    unknown = set(formats) - {"csv", "html", "tex", "parquet"}
    if unknown:
        raise ValueError(f"Formats are csv, html, tex and parquet, got {', '.join(sorted(unknown))}.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    nested = [name for name in NESTED if name in table]
    plain = table.assign(**{name: table[name].map(json.dumps) for name in nested})
    tables = {
        "runs": plain,
        "summary": summarise_runs(table),
        "comparisons": compare_pipelines(table),
    }
    paths = []
    for name, content in tables.items():
        for ending in formats:
            path = folder / f"{name}.{ending}"
            part = path.with_name(f".{path.name}")
            write_table(content, part, ending)
            os.replace(part, path)
            paths.append(path)
    return paths + draw(table, tables["summary"], tables["comparisons"], folder)


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


def draw(table: pd.DataFrame, summary: pd.DataFrame, comparisons: pd.DataFrame, folder: Path) -> list[Path]:
    """Draw all figures into a folder."""
    import matplotlib.pyplot as plt

    from eeglab_models import plotting

    figures = {
        "scores": plotting.plot_run_scores(fold_scores(table)),
        "forest": plotting.plot_forest(summary),
    }
    if len(comparisons):
        figures["differences"] = plotting.plot_differences(comparisons)
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.png")
        figure.savefig(paths[-1], dpi=150)
        plt.close(figure)
    return paths
