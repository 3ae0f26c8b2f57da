"""A folder of runs becomes a table, a summary and tests that say what the scores say."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from eeglab_models.__main__ import app
from eeglab_models.experiments import results, runs
from eeglab_models.experiments.rescoring import read_predictions
from eeglab_models.files import write_json, write_record
from eeglab_models.scores import measure

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def write_run(folder, model, subject, score, seed=0, dataset="A", name=None, **others):
    """Write a complete run of one fold of 20 trials."""
    home = folder / "runs" / (name or f"{dataset}-{model}-{subject}-{seed}")
    home.mkdir(parents=True)
    parameters = {"dataset": dataset, "subjects": [subject], "evaluation": "cross_session", "model": model}
    parameters |= {"regime": "probe", "checkpoint": "", "seed": seed}
    write_json(home / "parameters.json", {"parameters": parameters, "code_version": "1"})
    folds = {"subject": [str(subject)], "fold": [0], "score": [score], "n_correct": [round(20 * score)]}
    row = {
        "parameters": parameters,
        "score": score,
        "scores": [score],
        "folds": folds | {"n_trials": [20], "n_train": [20]},
        "chance": 0.5,
        "seconds": {"imports": 1.0},
        "versions": {"torch": "2"},
        "finished": "2026-01-01",
        **others,
    }
    write_json(home / "result.json", row)
    write_json(home / "DONE", {})
    return home


@pytest.fixture
def folder(tmp_path):
    """Six people; EEGPT is always 0.1 better than the baseline, two seeds each."""
    for subject in range(1, 7):
        for seed in (0, 1):
            write_run(tmp_path, "CSP + LDA", subject, 0.5 + 0.05 * subject, seed)
            write_run(tmp_path, "EEGPT", subject, 0.6 + 0.05 * subject, seed)
    return tmp_path


def test_every_run_is_one_row_with_parameters_times_and_versions(folder):
    table = results.read_results(folder)

    assert len(table) == 24
    assert table["pipeline"].unique().tolist() == ["CSP + LDA", "EEGPT"]
    assert {"model", "seed", "score", "seconds_imports", "version_torch"} <= set(table)


def test_only_what_is_marked_as_done_counts(folder):
    homes = sorted((folder / "runs").iterdir())
    (homes[0] / "DONE").unlink()
    write_json(homes[0] / "FAILED.json", {"problem": "ValueError: bad subject"})
    (homes[1] / "DONE").unlink()
    (homes[2] / "result.json").write_text('{"half')

    table, state = results.survey(folder)

    assert len(table) == 21
    assert (state.n_done, state.n_failed, state.n_missing, len(state.damaged)) == (21, 1, 1, 1)
    assert list(state.problems.values()) == ["ValueError: bad subject"]


@pytest.mark.parametrize(
    "content",
    [b"[]", b"3", b"", b"\xff", b'{"parameters": 1}', b'{"parameters": {}, "seconds": [1]}', b"[" * 10**5],
)
def test_a_row_of_results_that_is_something_else_is_damaged(folder, content):
    home = min((folder / "runs").iterdir())
    (home / "result.json").write_bytes(content)

    assert results.survey(folder)[1].damaged == [home.name]
    (home / "parameters.json").write_bytes(content)
    assert len(results.read_results(folder)) == 23


def test_a_score_that_was_altered_is_damaged(folder):
    path = min((folder / "runs").iterdir()) / "result.json"
    row = json.loads(path.read_text())
    write_record(path, row)
    assert results.survey(folder)[1].damaged == []

    path.write_text(path.read_text().replace(f'"score": {row["score"]}', '"score": 0.99'))

    assert results.survey(folder)[1].damaged == [path.parent.name]


def test_of_several_versions_of_the_code_the_latest_counts(folder):
    write_run(folder, "EEGPT", 1, 0.99, name="newer", finished="2026-02-01")

    table, state = results.survey(folder)

    own = table[(table["model"] == "EEGPT") & (table["subjects"].map(str) == "[1]") & (table["seed"] == 0)]
    assert own["score"].tolist() == [0.99]
    assert (state.n_done, state.n_outdated) == (24, 1)


def test_pipelines_are_named_by_what_varies_and_matters_to_them():
    table = pd.DataFrame(
        {
            "model": ["EEGPT", "EEGPT", "EEGPT", "CSP + LDA"],
            "regime": ["probe", "full", "full", "probe"],
            "max_epochs": [50, 20, 50, 50],
            "checkpoint": ["", "user/eegpt", "", ""],
        }
    )

    names = results.name_pipelines(table).tolist()

    assert names == [
        "EEGPT, random, probe",
        "EEGPT, eegpt, full, max_epochs 20",
        "EEGPT, random, full, max_epochs 50",
        "CSP + LDA",
    ]


def test_intervals_are_over_people_whose_seeds_are_averaged_first(folder):
    summary = results.summarise_runs(results.read_results(folder)).set_index("pipeline")

    best = summary.loc["EEGPT"]
    half = 2.5706 * np.std(0.05 * np.arange(1, 7), ddof=1) / np.sqrt(6)
    assert (best["n_subjects"], best["n_seeds"], best["interval"]) == (6, 2, "subjects")
    assert best["score"] == pytest.approx(0.775)
    assert best["high"] - best["score"] == pytest.approx(half, rel=1e-3)
    assert best["sd_seeds"] == 0


def test_with_one_person_the_interval_is_over_trials_and_seeds_add_none(tmp_path):
    for seed in range(5):
        write_run(tmp_path, "EEGPT", 1, 0.5, seed)

    summary = results.summarise_runs(results.read_results(tmp_path)).iloc[0]

    assert summary["interval"] == "trials"
    # Wilson's interval of 10 of 20.
    assert (summary["low"], summary["high"]) == pytest.approx((0.2993, 0.7007), abs=1e-3)


def test_pairs_are_tested_on_the_people_that_both_have(folder):
    write_run(folder, "EEGPT", 7, 0.1)

    comparison = results.compare_pipelines(results.read_results(folder)).iloc[0]

    assert (comparison["a"], comparison["b"], comparison["n_subjects"]) == ("CSP + LDA", "EEGPT", 6)
    assert comparison["difference"] == pytest.approx(-0.1)
    # Six people can be swapped in 64 ways, of which two are as extreme.
    assert comparison["p_value"] == pytest.approx(2 / 64)
    assert comparison["n_wins"] == 0


def test_several_data_sets_are_combined(folder):
    for subject in range(1, 6):
        write_run(folder, "CSP + LDA", subject, 0.5, dataset="B")
        write_run(folder, "EEGPT", subject, 0.6 + 0.01 * subject, dataset="B")

    comparisons = results.compare_pipelines(results.read_results(folder)).set_index("dataset")

    assert comparisons.index.tolist() == ["A", "B", "all"]
    assert comparisons.loc["all", "p_value"] < comparisons.loc["A", "p_value"]
    assert comparisons.loc["all", "n_subjects"] == 11


def people(folder, scores, dataset):
    """Runs of CSP + LDA and EEGPT, one person after the other."""
    for subject, (a, b) in enumerate(scores):
        write_run(folder, "CSP + LDA", subject, a, dataset=dataset)
        write_run(folder, "EEGPT", subject, b, dataset=dataset)


def test_identical_pipelines_do_not_differ_on_any_number_of_data_sets(tmp_path):
    for dataset in "ABCDE":
        people(tmp_path, [(0.5, 0.5), (0.6, 0.6), (0.7, 0.7)], dataset)

    comparisons = results.compare_pipelines(results.read_results(tmp_path)).set_index("dataset")

    assert comparisons.loc["all", ["difference", "p_value"]].tolist() == [0, 1]


def test_which_pipeline_is_named_first_changes_no_p_value(tmp_path):
    """One person in four is better with one of them, the others are alike: ties count in both directions."""
    for dataset in "ABCDE":
        people(tmp_path / "one", [(0.5, 0.6), (0.5, 0.5), (0.6, 0.6), (0.7, 0.7)], dataset)
        people(tmp_path / "other", [(0.6, 0.5), (0.5, 0.5), (0.6, 0.6), (0.7, 0.7)], dataset)

    one, other = (
        results.compare_pipelines(results.read_results(tmp_path / name)).set_index("dataset").loc["all"]
        for name in ("one", "other")
    )

    assert one["difference"] == -other["difference"] == pytest.approx(-0.025)
    assert one["p_value"] == pytest.approx(other["p_value"])
    assert one["p_value"] > 0.05


def test_tables_are_written_in_every_format_and_read_again(folder, tmp_path):
    table = results.read_results(folder)

    paths = results.export(table, tmp_path / "results")

    names = {path.name for path in paths}
    assert {"runs.csv", "summary.html", "comparisons.tex", "scores.png", "differences.png"} <= names
    again = results.read_results(tmp_path / "results" / "runs.parquet")
    pd.testing.assert_frame_equal(results.summarise_runs(again), results.summarise_runs(table))
    assert r"n\_subjects" in (tmp_path / "results" / "summary.tex").read_text()


def test_the_command_prints_summary_and_tests(folder):
    answer = CliRunner().invoke(app, ["results", str(folder)], env={"COLUMNS": "200"})

    assert answer.exit_code == 0, answer.output
    assert "24 runs done, 0 failed, 0 not run." in answer.output
    assert "CSP + LDA - EEGPT" in answer.output
    assert (folder / "results" / "forest.png").is_file()


def test_a_folder_without_runs_is_named(tmp_path):
    answer = CliRunner().invoke(app, ["results", str(tmp_path)])

    assert answer.exit_code == 1
    assert "holds no runs" in answer.stderr


def test_a_folder_whose_runs_all_failed_says_why(tmp_path):
    home = tmp_path / "runs" / "x"
    home.mkdir(parents=True)
    (home / "parameters.json").write_text(json.dumps({"parameters": {}}))
    write_json(home / "FAILED.json", {"problem": "ValueError: bad subject"})

    with pytest.raises(FileNotFoundError, match="is done yet: ValueError: bad subject"):
        results.read_results(tmp_path)


OWN = {"subject": ["1", "2"], "score": [0.5, 0.7], "n_trials": [10, 10]}


def write_own(folder, number, **facts):
    """Write a run of a notebook that has other parameters than ours."""
    home = folder / "runs" / f"own-{number}"
    home.mkdir(parents=True)
    write_json(home / "result.json", {"parameters": {"number": number}, "score": 0.6, **facts})
    write_json(home / "parameters.json", {"parameters": {"number": number}})
    write_json(home / "DONE", {})


def test_runs_of_a_notebook_of_ones_own_are_named_by_what_varies_and_compared(tmp_path):
    write_own(tmp_path, 1, folds=OWN)
    write_own(tmp_path, 2, folds=OWN)

    answer = CliRunner().invoke(app, ["results", str(tmp_path)], env={"COLUMNS": "200"})

    assert answer.exit_code == 0, answer.output
    assert "own data, own folds" in answer.output
    assert "number 1 - number 2" in answer.output


def test_pipelines_that_one_run_scores_are_told_apart(tmp_path):
    both = {name: values * 2 for name, values in OWN.items()} | {"pipeline": ["a", "a", "b", "b"]}
    write_own(tmp_path, 1, folds=both)
    alone = results.summarise_runs(results.read_results(tmp_path))
    write_own(tmp_path, 2, folds=both)

    varied = results.summarise_runs(results.read_results(tmp_path))

    assert alone["pipeline"].tolist() == ["a", "b"]
    assert sorted(varied["pipeline"]) == ["a, number 1", "a, number 2", "b, number 1", "b, number 2"]


@pytest.mark.parametrize("facts", [{}, {"folds": {"score": [0.5]}}])
def test_runs_without_folds_are_a_table_and_one_sentence_says_what_lacks(tmp_path, facts):
    write_own(tmp_path, 1, **facts)

    answer = CliRunner().invoke(app, ["results", str(tmp_path)])

    assert answer.exit_code == 1
    assert "A summary needs folds with subject, score, n_trials" in answer.stderr
    assert results.read_results(tmp_path)["score"].tolist() == [0.6]


def test_square_brackets_in_names_are_printed_as_they_are(tmp_path):
    write_own(tmp_path, 1, folds={**OWN, "pipeline": ["[red]one[/]", "[red]one[/]"]})

    answer = CliRunner().invoke(app, ["results", str(tmp_path)], env={"COLUMNS": "200"})

    assert "[red]one[/]" in answer.output


def write_predicted(folder, subject, dataset="A", truth=("left", "right") * 10, **others):
    """Write a run with its predictions; a classifier is right eight times in ten."""
    home = folder / "runs" / f"{dataset}-{subject}"
    home.mkdir(parents=True)
    predictions = pd.DataFrame(
        {
            "pipeline": "one",
            "subject": subject,
            "session": "0",
            "fold": 0,
            "n_train": 20,
            "trial": range(20),
            "truth": truth,
        }
    )
    if isinstance(truth[0], str):
        p = np.random.default_rng(subject).permutation([*np.linspace(0.55, 0.95, 16), 0.4, 0.3, 0.2, 0.1])
        p = np.where(predictions["truth"] == "right", p, 1 - p)
        predictions = predictions.assign(
            predicted=np.where(p > 0.5, "right", "left"), p_left=1 - p, p_right=p
        )
    else:
        predictions = predictions.assign(predicted=np.arange(20.0))
    parameters = {"dataset": dataset, "subjects": [subject], "evaluation": "within_session", "model": "EEGPT"}
    parameters |= {"regime": "probe", "checkpoint": "", "seed": 0}
    write_json(home / "parameters.json", {"parameters": parameters, "code_version": "1"})
    runs.write_row(home, parameters, predictions, **others)
    write_json(home / "DONE", {})
    return home


def test_any_metric_is_computed_from_the_predictions_that_runs_have_kept(tmp_path):
    homes = [write_predicted(tmp_path, subject) for subject in (1, 2, 3)]
    kept = [read_predictions(home) for home in homes]

    table = results.read_results(tmp_path, "roc_auc")
    summary = results.summarise_runs(table).iloc[0]

    assert results.read_results(tmp_path)["score"].tolist() == pytest.approx([0.8] * 3)
    assert table["score"].tolist() == [measure(own, "roc_auc") for own in kept]
    assert {"session", "trial", "truth", "predicted", "p_left"} <= set(kept[0])
    assert (summary["metric"], summary["chance"], summary["interval"]) == ("roc_auc", 0.5, "subjects")
    assert summary["low"] < summary["score"] < summary["high"]


def test_the_interval_of_one_person_is_drawn_from_the_trials_that_were_kept(tmp_path):
    write_predicted(tmp_path, 1)

    summary = results.summarise_runs(results.read_results(tmp_path, "kappa")).iloc[0]

    assert (summary["interval"], summary["method"], summary["n_subjects"]) == ("trials", "bootstrap", 1)
    assert summary["score"] == pytest.approx(0.6)
    assert summary["low"] < 0.6 < summary["high"]


@pytest.mark.parametrize(
    "damage", [lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:-1])]
)
def test_damaged_predictions_are_named(tmp_path, damage):
    home = write_predicted(tmp_path, 1)
    write_predicted(tmp_path, 2)
    damage(home / "predictions.parquet")

    with pytest.raises((ValueError, FileNotFoundError), match=r"A-1.predictions.parquet (was|is)"):
        read_predictions(home)
    answer = CliRunner().invoke(app, ["results", str(tmp_path), "--metric", "f1"], env={"COLUMNS": "200"})

    assert answer.exit_code == 0, answer.output
    assert "1 damaged." in answer.output
    assert "Damaged: runs/A-1. Delete this folder" in answer.output


def test_runs_that_a_metric_does_not_fit_are_left_out_by_name(tmp_path):
    for subject in (1, 2):
        write_predicted(tmp_path, subject)
        write_predicted(tmp_path, subject, "B", np.arange(20.0), metric="mae")
    write_run(tmp_path, "EEGPT", 1, 0.5, dataset="C")

    everything = results.summarise_runs(results.read_results(tmp_path))
    answer = CliRunner().invoke(
        app, ["results", str(tmp_path), "--metric", "roc_auc"], env={"COLUMNS": "200"}
    )

    assert everything["metric"].tolist() == ["accuracy", "mae", "accuracy"]
    assert "Left out: runs/B-1: roc_auc is no score of values." in answer.output
    assert "Left out: runs/C-EEGPT-1-0: its notebook kept no predictions." in answer.output
    written = {path.name for path in (tmp_path / "results-roc_auc").iterdir()}
    assert {"summary.csv", "confusion-1.png", "calibration-1.png"} <= written
    assert len(results.read_results(tmp_path, "accuracy")) == 3
    with pytest.raises(ValueError, match="Did you mean 'roc_auc'"):
        results.read_results(tmp_path, "rocauc")


def test_smaller_errors_are_better(tmp_path):
    for subject in (1, 2):
        for model, error in (("CSP + LDA", 2.0), ("EEGPT", 1.0)):
            write_run(tmp_path, model, subject, error + subject / 10, metric="mae")

    table = results.read_results(tmp_path)

    assert results.summarise_runs(table)["pipeline"].tolist() == ["EEGPT", "CSP + LDA"]
    assert results.compare_pipelines(table).loc[0, "n_wins"] == 0
