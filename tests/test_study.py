"""Studies: every task, and every parameter that one varies, checked before anything starts."""

import mne
import numpy as np
import pandas as pd
import pytest
from experiment_stubs import write_grid
from sklearn.base import clone, is_regressor
from sklearn.model_selection import StratifiedKFold
from typer.testing import CliRunner

from eeglab_models import FBLightConvNet
from eeglab_models.__main__ import app
from eeglab_models.experiments import results
from eeglab_models.experiments.grid import EXPERIMENT, notebook_parameters, read_grid
from eeglab_models.experiments.rescoring import read_predictions
from eeglab_models.experiments.runs import Limits, execute
from eeglab_models.experiments.study import STUDY
from eeglab_models.features.baselines import ridge_baselines
from eeglab_models.finetuning import FineTuneRegressor
from eeglab_models.scores import FewLabels


@pytest.fixture
def settings(tmp_path):
    """Read a grid of the experiment and give the parameters of its runs."""

    def expand(text):
        path = write_grid(tmp_path, text)
        path.write_text(path.read_text().replace("notebook: stub.ipynb\n", ""))
        return [run.parameters for run in read_grid(path).runs]

    return expand


def test_everything_that_one_varies_is_a_parameter_of_the_experiment():
    assert set(STUDY) <= set(notebook_parameters(EXPERIMENT))


def test_all_parameters_of_a_study_are_taken(settings):
    (one,) = settings(
        "grid: {fmin: 4, fmax: null, notch: 50.0, channels: [[C3, C4]], events: [[]], reference: average, "
        "align_by: session, layer: -1, pool: mean, class_weight: balanced, n_labels: 5, batch_size: 8, "
        "weight_decay: 0, patience: null, split_seed: 3, tmax: 2, metric: kappa}"
    )

    assert (one["fmin"], one["fmax"], one["notch"], one["layer"]) == (4.0, None, 50.0, -1)
    assert (one["channels"], one["patience"], one["split_seed"]) == (["C3", "C4"], None, 3)


def test_each_model_of_a_grid_has_weights_of_its_own(settings):
    runs = settings(
        "grid: {model: [FBLightConvNet, EEGDINO, CSP + LDA], "
        "checkpoint: [{FBLightConvNet: fblightconvnet-simulated, EEGDINO: eegdino-real}]}"
    )

    assert [run["checkpoint"] for run in runs] == ["fblightconvnet-simulated", "eegdino-real", ""]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("grid: {metric: [roc]}", "metric should be .* got 'roc'. Did you mean 'roc_auc'"),
        ("grid: {pool: [max]}", "pool should be"),
        ("grid: {fmin: [-1]}", "fmin should be greater than 0"),
        ("grid: {fmin: [0]}", "fmin should be greater than 0"),
        ("grid: {tmin: [3], tmax: [2]}", "A window ends after it begins, got tmin=3 and tmax=2"),
        ("grid: {align_by: [run]}", "align_by should be"),
        (
            "grid: {metric: [r2], model: [CSP + LDA]}",
            "CSP . LDA predicts classes, and r2 is a score of values",
        ),
        ("grid: {model: [log power + ridge]}", "predicts values, and accuracy is a score of classes"),
        ("grid: {metric: [mae], class_weight: [balanced]}", "class_weight and tune_threshold are of classes"),
        ("grid: {model: [CSP + LDA], class_weight: [balanced]}", "CSP . LDA takes no class_weight"),
        ("grid: {tune_threshold: [true], regime: [full]}", "for the regime 'probe' only, got 'full'"),
        ("grid: {tune_threshold: [true], events: [[left_hand]]}", "A threshold parts two classes"),
        ("grid: {test_subjects: [1]}", "test_subjects are tested by a model of the others"),
        (
            "grid: {subjects: [[1, 2]], test_subjects: [3], evaluation: cross_subject}",
            "test_subjects are some of the subjects",
        ),
        (
            "grid: {subjects: [[]], test_subjects: [33], evaluation: cross_subject}",
            "has no test_subjects 33; the nearest is 3",
        ),
        ("grid: {checkpoint: [{EEGTP: x}]}", "EEGTP"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_starts(settings, text, message):
    with pytest.raises(ValueError, match=message):
        settings(text)


def test_what_reads_the_windows_names_baselines_too():
    table = pd.DataFrame(
        {
            "model": ["EEGPT", "EEGPT", "CSP + LDA", "CSP + LDA"],
            "regime": "probe",
            "n_labels": [5, 10, 5, 10],
            "layer": ["encoder", -1, "encoder", "encoder"],
            "patience": [10, 5, 10, 10],
        }
    )

    assert results.name_pipelines(table).tolist() == [
        "EEGPT, layer encoder, n_labels 5",
        "EEGPT, layer -1, n_labels 10",
        "CSP + LDA, n_labels 5",
        "CSP + LDA, n_labels 10",
    ]


def test_a_dry_run_shows_what_all_runs_have_and_what_varies(tmp_path):
    path = write_grid(tmp_path, "fixed: {n_labels: 5, fmin: 8}\ngrid: {model: [CSP + LDA, band power + LR]}")
    path.write_text(path.read_text().replace("notebook: stub.ipynb\n", ""))

    answer = CliRunner().invoke(app, ["sweep", str(path), "--dry-run"], env={"COLUMNS": "200"})

    assert "all with fmin=8.0, n_labels=5" in answer.output, answer.output
    assert "model=CSP + LDA" in answer.output


def test_few_labels_are_as_many_of_each_class_and_smaller_numbers_are_parts_of_larger_ones():
    labels = np.repeat(["a", "b"], [30, 10])
    cv = StratifiedKFold(5)

    three, five = (list(FewLabels(cv, n).split(labels, labels)) for n in (3, 5))

    assert all(sorted(labels[train]) == ["a"] * 3 + ["b"] * 3 for train, _ in three)
    assert all(set(few) < set(more) for (few, _), (more, _) in zip(three, five, strict=True))
    assert sorted(np.concatenate([test for _, test in three])) == list(range(40))
    assert len(next(FewLabels(cv, 7).split(labels, labels))[0]) == 14
    values = list(FewLabels(StratifiedKFold(5), 7).split(labels, labels == "a"))
    assert len(values) == 5


@pytest.mark.parametrize("name", ["log power + ridge", "tangent space + ridge"])
def test_ridge_baselines_find_a_value_that_is_in_the_power(name):
    rng = np.random.default_rng(0)
    value = rng.uniform(1, 3, 60)
    X = rng.normal(size=(60, 3, 400)) * 10
    X[:, 1] += value[:, None] * 10 * np.sin(2 * np.pi * 10 * np.arange(400) / 200)

    fitted = ridge_baselines(200.0)[name].fit(X[:40], value[:40])

    assert np.corrcoef(fitted.predict(X[40:]), value[40:])[0, 1] > 0.9


@pytest.fixture
def loud():
    """Windows whose value is in their amplitude, and a model with one output for them."""
    value = np.random.default_rng(0).uniform(20, 60, 48)
    data = np.random.default_rng(1).normal(size=(48, 3, 200)) * value[:, None, None] / 2
    signal = {"n_outputs": 1, "n_chans": 3, "n_times": 200, "sfreq": 100.0}
    return FBLightConvNet(**signal, n_filters_spat=8, heads=2, win_len=100, n_bands=2), data, value


def test_models_learn_values_in_their_own_unit(loud):
    model, data, value = loud
    tuner = FineTuneRegressor(model, regime="scratch", max_epochs=20, batch_size=8, patience=None)

    fitted = tuner.fit(data[:36], value[:36])
    predicted = fitted.predict(data[36:])

    assert is_regressor(tuner)
    assert not hasattr(fitted, "predict_proba")
    assert predicted.shape == (12,)
    assert np.corrcoef(predicted, value[36:])[0, 1] > 0.7
    assert fitted.history_["valid_accuracy"].isna().all()
    again = clone(tuner).fit(data[:36], value[:36] * 10 + 5)
    assert again.predict(data[36:]) == pytest.approx(predicted * 10 + 5, rel=1e-3)


def test_people_stay_together_where_values_find_the_best_epoch(loud):
    model, _, value = loud
    people = np.repeat(np.arange(8), 6)

    fit, valid = FineTuneRegressor(model).hold_out(value, people)

    assert len(fit) + len(valid) == 48
    assert not set(people[fit]) & set(people[valid])


@pytest.mark.parametrize(
    ("settings", "change", "message"),
    [
        ({"class_weight": "balanced"}, {}, "are of classes, got one of them for values"),
        ({"monitor": "accuracy"}, {}, "are of classes"),
        ({}, {"n_outputs": 2}, "a model needs one output, got shape \\(1, 2\\)"),
        ({}, {"y": np.full(48, np.nan)}, "Values are finite numbers"),
        ({}, {"y": np.repeat(["old", "young"], 24)}, "take FineTuner for classes"),
    ],
)
def test_values_that_no_model_can_learn_are_refused(loud, settings, change, message):
    model, data, value = loud
    model.reset_head(change.get("n_outputs", 1))

    with pytest.raises(ValueError, match=message):
        FineTuneRegressor(model, **settings).fit(data, change.get("y", value))


def test_the_experiment_predicts_a_value_of_people_in_files(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for person in range(6):
        info = mne.create_info(["C3", "Cz", "C4"], 100.0, "eeg")
        raw = mne.io.RawArray(rng.normal(0, 1e-5 * (1 + person), (3, 800)), info, verbose="error")
        raw.save(tmp_path / f"p{person}_raw.fif", verbose="error")
        rows.append({"file": f"p{person}_raw.fif", "subject": f"p{person}", "label": 20.0 + person})
    pd.DataFrame(rows).to_csv(tmp_path / "ages.csv", index=False)
    (tmp_path / "grid.yaml").write_text(
        f"fixed: {{dataset: {tmp_path}, table: ages.csv, subjects: [], events: [], tmax: 2, fmax: 45}}\n"
        "grid: {model: log power + ridge, metric: pearson, evaluation: cross_subject}"
    )
    (one,) = read_grid(tmp_path / "grid.yaml").runs

    outcome = execute(one, tmp_path, Limits())

    assert outcome.status == "done", outcome.problem
    predictions = read_predictions(one.home(tmp_path))
    assert predictions.groupby("subject")["truth"].first().tolist() == [20.0, 21.0, 22.0, 23.0, 24.0, 25.0]
    summary = results.summarise_runs(results.read_results(tmp_path)).iloc[0]
    assert (summary["metric"], summary["n_subjects"], summary["method"]) == ("pearson", 6, "bootstrap")
    assert summary["score"] > 0.7
