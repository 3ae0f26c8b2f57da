"""What a sweep found: a table, a summary with intervals, and paired tests."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from eeglab_models.configs import read_record
from eeglab_models.experiments.exporting import draw, write_tables
from eeglab_models.experiments.grid import BASELINES, PROBE
from eeglab_models.experiments.rescoring import collect_predictions, is_kept, rescore
from eeglab_models.experiments.runs import DONE, FAILED, ROW
from eeglab_models.scores import METRICS, accuracy_interval, compare, mean_interval
from eeglab_models.scores.comparison import combine_data_sets, correct_holm

__all__ = ["compare_pipelines", "fold_scores", "read_results", "summarise_runs"]

# What the name of a pipeline is made of; parts that never vary are left out.
TRAINING = ("lr", "max_epochs", "batch_size", "weight_decay", "patience")
READING = ("layer", "pool")
# Whatever reads the windows.
DATA = ("tmin", "tmax", "fmin", "fmax", "notch", "channels", "reference", "align_by", "n_labels")
DATA += ("class_weight", "tune_threshold")
NAMING = ("model", "checkpoint", "regime", "options", *TRAINING, "precision", *READING, *DATA)
# Parameters that repeat a pipeline or say on what it is scored: never part of its name.
REPEATED = ("dataset", "subjects", "evaluation", "seed", "split_seed", "test_subjects", "metric")
# Lists and mappings, which tables in files hold as JSON.
NESTED = ("subjects", "test_subjects", "events", "channels", "options", "scores", "folds")
SETTING = ["dataset", "evaluation", "metric"]
# What a fold has to say, and what the row of a notebook of one's own may leave out.
FOLD = ("subject", "score", "n_trials")
UNSTATED = {
    "dataset": "own data",
    "evaluation": "own folds",
    "metric": "accuracy",
    "pipeline": "notebook",
    "seed": 0,
    "chance": np.nan,
}


@dataclass(frozen=True)
class State:
    """How many sets of parameters have a result, failed or were not run; older ones; damaged ones by name."""

    n_done: int
    n_failed: int
    n_missing: int
    n_outdated: int
    damaged: list[str]
    problems: dict[str, str]
    # Done, but no score of theirs is asked for: why, by name.
    others: dict[str, str] = field(default_factory=dict)


def read_results(source: str | Path, metric: str | None = None) -> pd.DataFrame:
    """Read the results of a folder, one row per run.

    Parameters
    ----------
    source : str or pathlib.Path
        Folder of a sweep, or the table of its runs that the command ``results`` wrote as Parquet.
    metric : str or None
        One of `eeglab_models.scores.METRICS`, computed from the predictions that the runs of a folder have
        kept; None means the metric of each run. Runs that it does not fit are left out.

    Returns
    -------
    table : pandas.DataFrame
        Parameters, `score`, `scores` of the folds, `pipeline`, times in seconds, memory in MB, versions,
        fingerprints and the folder of the run, `home`. Of the same parameters run by several versions of the
        code, the latest.

    Raises
    ------
    FileNotFoundError
        If there is nothing of the kind.
    ValueError
        If the metric is unknown, or fits no run.
    """
    source = Path(source)
    if source.is_file():
        if metric is not None:
            raise ValueError(
                f"{source} holds no predictions to compute {metric} from. Name the folder of the sweep."
            )
        table = pd.read_parquet(source)
        nested = [name for name in NESTED if name in table]
        return table.assign(**{name: table[name].map(json.loads) for name in nested})
    return survey(source, metric)[0]


def survey(folder: str | Path, metric: str | None = None) -> tuple[pd.DataFrame, State]:
    """Read the results of a folder, as `read_results` does, and what it lacks."""
    folder = Path(folder)
    homes = sorted(path for path in folder.glob("runs/*") if path.is_dir())
    if not homes:
        raise FileNotFoundError(f"{folder} holds no runs. Name the folder that a sweep wrote to.")
    rows: list[tuple[Path, dict[str, Any]]] = []
    failed: dict[str, str] = {}
    asked: set[str] = set()
    damaged: list[str] = []
    for home in homes:
        parameters = read_whole(home / "parameters.json", {"parameters": dict[str, Any]})
        key = None if parameters is None else json.dumps(parameters["parameters"], sort_keys=True)
        row = read_row(home) if (home / DONE).is_file() else None
        if row is not None:
            rows.append((home, row))
        elif (home / DONE).is_file():
            damaged.append(home.name)
        elif key is not None:
            asked.add(key)
            problem = read_whole(home / FAILED, {"problem": str})
            if problem is not None:
                failed[key] = problem["problem"]
    # Later ones replace earlier ones.
    latest = {}
    for home, row in sorted(rows, key=lambda pair: str(pair[1].get("finished", ""))):
        latest[json.dumps(row["parameters"], sort_keys=True)] = home, row
    missing = asked - set(latest)
    problems = {key: problem for key, problem in failed.items() if key in missing}
    n_missing, n_outdated = len(missing) - len(problems), len(rows) - len(latest)
    if not latest:
        hint = next(iter(failed.values()), "none has been started")
        raise FileNotFoundError(f"No run of {folder} is done yet: {hint}.")
    kept, others = (latest.values(), {}) if metric is None else rescore(latest.values(), metric)
    if not kept:
        raise ValueError(f"No run of {folder} has a score by {metric}: {next(iter(others.values()))}.")
    state = State(len(latest), len(problems), n_missing, n_outdated, damaged, problems, others)
    table = pd.DataFrame([flatten(row) | {"home": str(home)} for home, row in kept])
    own = dict.fromkeys(name for _, row in kept for name in row["parameters"] if name not in REPEATED)
    return table.assign(pipeline=name_pipelines(table, NAMING if "model" in table else list(own))), state


def read_whole(path: Path, kinds: Mapping[str, Any]) -> dict[str, Any] | None:
    """Read a file, None if it is missing, not whole, or holds something else."""
    try:
        return read_record(path, kinds)
    except (OSError, ValueError):
        return None


def read_row(home: Path) -> dict[str, Any] | None:
    """Read the row of results of a run, None if it is damaged."""
    row = read_whole(home / ROW, {"parameters": dict[str, Any]})
    if row is None:
        return None
    # What names and tables are made of; the rest of a row belongs to the notebook.
    is_whole = all(isinstance(row.get(name, {}), dict) for name in ("seconds", "versions")) and all(
        isinstance(row["parameters"].get(name, ""), str | None) for name in ("model", "checkpoint", "regime")
    )
    return row if is_whole and is_kept(home, row) else None


def flatten(row: dict[str, Any]) -> dict[str, Any]:
    """Put parameters, times and versions beside the rest."""
    rest = {name: value for name, value in row.items() if name not in ("parameters", "seconds", "versions")}
    seconds = {f"seconds_{name}": value for name, value in row.get("seconds", {}).items()}
    versions = {f"version_{name}": value for name, value in row.get("versions", {}).items()}
    return {**row["parameters"], **rest, **seconds, **versions}


def name_pipelines(table: pd.DataFrame, naming: Sequence[str] = NAMING) -> pd.Series:
    """Name what was scored by the parameters that vary and matter to it, model first."""
    varying = [name for name in naming if name in table and table[name].map(str).nunique() > 1]

    def name(row: pd.Series) -> str | None:
        model = row.get("model")
        parts = [] if model is None else [model]
        for part in varying:
            if part in ignored_by(row):
                continue
            if part == "checkpoint":
                parts.append(Path(row[part]).name or "random")
            elif part == "regime":
                parts.append(row[part])
            elif row[part] or model is None:
                parts.append(f"{part} {row[part]}")
        return ", ".join(parts) or None

    return pd.Series([name(row) for _, row in table.iterrows()], table.index, dtype=object)


def ignored_by(row: pd.Series) -> set[str]:
    """Name the parameters that do not matter to what a run scored."""
    if row.get("model") is None:
        return set()
    if row["model"] in BASELINES:
        return set(NAMING) - set(DATA)
    return {"model", *(TRAINING if row.get("regime") == PROBE else READING)}


def fold_scores(table: pd.DataFrame) -> pd.DataFrame:
    """Spread the folds of every run: the table that scores are summarised and compared from.

    Parameters
    ----------
    table : pandas.DataFrame
        As `read_results` returns it.

    Returns
    -------
    folds : pandas.DataFrame
        One row per run and fold: `dataset`, `evaluation`, `metric`, `pipeline`, `seed`, `subject`, `fold`,
        `score`, `n_correct`, `n_trials`, `chance` and the number of the `run`. The statistics of moabb read
        it.

    Raises
    ------
    ValueError
        If runs have no folds with a subject, a score and a number of trials.
    """
    parts = []
    for _, row in table.iterrows():
        folds = row.get("folds")
        lacking = [name for name in FOLD if not isinstance(folds, dict) or name not in folds]
        if lacking:
            raise ValueError(
                f"A summary needs folds with {', '.join(FOLD)} in every row of results, got one without "
                f"{', '.join(lacking)}. Let the notebook give write_row folds=table.to_dict('list'), with a "
                "table of score_folds."
            )
        stated = {name: row[name] for name in UNSTATED if pd.notna(row.get(name))}
        if "pipeline" in folds and "pipeline" in stated:
            # A notebook that scores several pipelines, in a grid that varies something else.
            stated["pipeline"] = [f"{name}, {stated['pipeline']}" for name in folds["pipeline"]]
        parts.append(pd.DataFrame({**UNSTATED, **folds, **stated, "run": len(parts)}))
    return pd.concat(parts, ignore_index=True)


def summarise_runs(table: pd.DataFrame, confidence: float = 0.95) -> pd.DataFrame:
    """Summarise every pipeline on every data set.

    Seeds and folds of a subject are averaged first: they repeat a person, and only persons are a sample of
    people. The interval says how far the mean of other subjects could be off; with a single subject it says
    how far the score of that one could be, from its trials, of which seeds are no new ones.

    Parameters
    ----------
    table : pandas.DataFrame
        As `read_results` returns it.
    confidence : float
        Coverage of the intervals over subjects, and of accuracies.

    Returns
    -------
    summary : pandas.DataFrame
        One row per data set, evaluation, metric and pipeline, the best first: `score`, `low`, `high`,
        `interval` (``"subjects"`` or ``"trials"``) and its `method` (``"t"``, ``"Wilson"`` or
        ``"bootstrap"``, as in `estimate`), `sd_subjects`, `sd_seeds`, `n_subjects`, `n_seeds`, `n_runs`,
        `chance`.
    """
    folds = fold_scores(table)
    rows = []
    for key, own in folds.groupby([*SETTING, "pipeline"], sort=False):
        subjects = own.groupby("subject")["score"].mean().to_numpy()
        per_seed = own.groupby(["subject", "seed"])["score"].mean()
        n_seeds = own["seed"].nunique()
        rows.append(
            {
                **dict(zip([*SETTING, "pipeline"], key, strict=True)),
                "score": float(subjects.mean()),
                **bound_subjects(own, subjects, confidence),
                "sd_subjects": float(subjects.std(ddof=1)) if len(subjects) > 1 else np.nan,
                "sd_seeds": float(per_seed.groupby("subject").std(ddof=1).mean()) if n_seeds > 1 else np.nan,
                "n_seeds": n_seeds,
                "n_runs": own["run"].nunique(),
                "chance": float(own["chance"].mean()),
            }
        )
    summary = pd.DataFrame(rows)
    best = summary["score"].where(~summary["metric"].map(is_error), -summary["score"])
    order = summary.assign(best=-best).sort_values([*SETTING, "best"]).index
    return summary.loc[order].reset_index(drop=True)


def bound_subjects(
    folds: pd.DataFrame, subjects: Float[np.ndarray, " n_subjects"], confidence: float
) -> dict[str, Any]:
    """Bound the mean score of a pipeline over subjects, or of one subject over its trials."""
    if len(subjects) > 1:
        low, high = mean_interval(subjects, confidence)
        told: tuple[Any, ...] = ("subjects", "t", len(subjects))
    elif "low" in folds and folds["low"].notna().all():
        # Seeds are no new trials: they do not make the interval narrower.
        low, high = folds["low"].mean(), folds["high"].mean()
        told = folds["interval"].iloc[0], folds["method"].iloc[0], int(folds["n_subjects"].iloc[0])
    else:
        n_trials = folds["n_trials"].sum() / folds["seed"].nunique()
        n_correct = round(float(subjects[0]) * n_trials)
        low, high = accuracy_interval(n_correct, round(float(n_trials)), confidence)
        told = "trials", "Wilson", 1
    return {"low": low, "high": high, "interval": told[0], "method": told[1], "n_subjects": told[2]}


def is_error(metric: str) -> bool:
    """Tell whether less of a metric is better; notebooks may have metrics of their own."""
    return metric in METRICS and METRICS[metric].smaller_is_better


def compare_pipelines(table: pd.DataFrame) -> pd.DataFrame:
    """Test every pair of pipelines on the subjects that both have.

    Parameters
    ----------
    table : pandas.DataFrame
        As `read_results` returns it.

    Returns
    -------
    comparisons : pandas.DataFrame
        One row per data set, evaluation, metric and pair `a`, `b`: mean `difference` of subjects with its
        95 % interval `low`, `high`; two-sided `p_value` of all swaps within subjects and `p_holm`,
        corrected for the number of tests (Holm); `effect`, moabb's standardised mean difference;
        `n_subjects`, and in how many of them `a` is better (`n_wins`). One row more per pair, data set
        ``"all"``, where there are several data sets: their combination (Stouffer, weighed by subjects).
        Pairs with fewer than two common subjects are left out.
    """
    folds = fold_scores(table)
    rows: list[dict[str, Any]] = []
    for (evaluation, metric), scores in folds.groupby(["evaluation", "metric"]):
        for a, b in combinations(scores["pipeline"].unique(), 2):
            pair = scores[scores["pipeline"].isin([a, b])]
            tested = [compare_on(dataset, own, a, b) for dataset, own in pair.groupby("dataset")]
            tested = [row for row in tested if row is not None]
            if len(tested) > 1:
                tested.append(combine_rows(tested))
            if is_error(metric):
                tested = [row | {"n_wins": row["n_subjects"] - row["n_wins"]} for row in tested]
            setting = {"evaluation": evaluation, "metric": metric}
            rows += [{**setting, "a": a, "b": b, **row} for row in tested]
    columns = [*SETTING, "a", "b", "difference", "low", "high", "p_value", "p_holm", "effect"]
    columns += ["n_subjects", "n_wins"]
    comparisons = pd.DataFrame(rows, columns=[name for name in columns if name != "p_holm"])
    comparisons["p_holm"] = correct_holm(comparisons["p_value"].to_numpy(dtype=float))
    return comparisons[columns]


def compare_on(dataset: str, scores: pd.DataFrame, a: str, b: str) -> dict[str, Any] | None:
    """Test a pair of pipelines on the subjects of one data set that both have, if there are two of them."""
    from moabb.analysis.meta_analysis import compute_effect

    means = scores.groupby(["pipeline", "subject"])["score"].mean().unstack("pipeline").dropna()
    if len(means.columns) < 2 or len(means) < 2:
        return None
    tested = compare(means.reset_index().melt("subject", value_name="score"), a, b)
    return {
        "dataset": dataset,
        "difference": tested.difference,
        "low": tested.low,
        "high": tested.high,
        "p_value": tested.p_value,
        "effect": compute_effect(means[[a, b]])[0, 1],
        "n_subjects": tested.n_pairs,
        "n_wins": tested.n_wins,
    }


def combine_rows(tested: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Combine what several data sets say about one pair."""
    from moabb.analysis.meta_analysis import combine_effects

    each = pd.DataFrame(list(tested))
    columns = (each[name].to_numpy() for name in ("difference", "p_value", "n_subjects"))
    return {
        "dataset": "all",
        "difference": float(np.average(each["difference"], weights=each["n_subjects"])),
        "low": np.nan,
        "high": np.nan,
        "p_value": combine_data_sets(*columns),
        "effect": combine_effects(each["effect"], each["n_subjects"]),
        "n_subjects": each["n_subjects"].sum(),
        "n_wins": each["n_wins"].sum(),
    }


def export(table: pd.DataFrame, folder: Path) -> list[Path]:
    """Write the runs, their summary and comparisons as tables, and the figures; each whole or not at all."""
    nested = [name for name in NESTED if name in table]
    plain = table.assign(**{name: table[name].map(json.dumps) for name in nested})
    # A table that is sent elsewhere finds no folders of runs there.
    plain = plain.drop(columns="home", errors="ignore")
    tables = {"runs": plain, "summary": summarise_runs(table), "comparisons": compare_pipelines(table)}
    paths = write_tables(tables, folder)
    predictions = collect_predictions(table)
    return paths + draw(fold_scores(table), tables["summary"], tables["comparisons"], predictions, folder)
