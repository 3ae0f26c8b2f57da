"""A grid becomes the runs that it means, or one sentence about what is wrong with it."""

import json
from pathlib import Path

import pytest
from experiment_stubs import write_grid, write_notebook

from eeglab_models.experiments import grid, runs
from eeglab_models.experiments.grid import notebook_parameters, read_grid
from eeglab_models.features import baselines

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
SIMULATED = """
dataset = "SimulatedMotorImagery"
subjects = [1]
evaluation = "within_session"
n_folds = 5
model = "EEGPT"
checkpoint = ""
regime = "probe"
lr = 0.001
output_folder = ""
"""


@pytest.fixture
def settings(tmp_path):
    """Read a grid and give the parameters of its runs."""

    def expand(text, parameters=None):
        write_notebook(tmp_path, **({"parameters": parameters} if parameters else {}))
        return [run.parameters for run in read_grid(write_grid(tmp_path, text)).runs]

    return expand


def test_a_grid_combines_every_value_and_keeps_what_is_fixed(settings):
    runs = settings("fixed: {seconds: 2}\ngrid: {number: [1, 2], problem: [a, b]}")

    assert [(run["number"], run["problem"]) for run in runs] == [(1, "a"), (1, "b"), (2, "a"), (2, "b")]
    assert {run["seconds"] for run in runs} == {2.0}


def test_runs_are_excluded_and_included_and_none_is_there_twice(settings):
    runs = settings(
        "grid: {number: [1, 2, 3], problem: [a, b]}\n"
        "exclude: [{number: [2, 3, 5], problem: a}]\n"
        "include: [{number: [3, 4], problem: b}, {number: 5, problem: [a, b]}]"
    )

    found = [(run["number"], run["problem"]) for run in runs]
    assert found == [(1, "a"), (1, "b"), (2, "b"), (3, "b"), (4, "b"), (5, "b")]


def test_subjects_are_written_out_for_the_data_set(settings):
    each = settings("grid: {subjects: each}", SIMULATED)
    everyone = settings("grid: {subjects: all, evaluation: cross_subject}", SIMULATED)
    some = settings("grid: {subjects: [1, [2, 3]]}", SIMULATED)

    assert [run["subjects"] for run in each] == [[number] for number in range(1, 10)]
    assert [run["subjects"] for run in everyone] == [list(range(1, 10))]
    assert [run["subjects"] for run in some] == [[1], [2, 3]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gird: {number: [1]}", "grid.yaml: the grid file has no 'gird'. Did you mean 'grid'"),
        ("grid: {nubmer: [1]}", "no parameter 'nubmer'. Did you mean 'number'"),
        ("fixed: {nubmer: 1}\ngrid: {number: [1]}", "Did you mean 'number'"),
        ("grid: {number: [1]}\nexclude: [{problme: a}]", "Did you mean 'problem'"),
        ("grid: {number: [one]}", "number should be a whole number, got 'one'"),
        ("grid: {number: [true]}", "number should be a whole number"),
        ("grid: {seconds: [soon]}", "seconds should be a number"),
        ("grid: {problem: [7]}", "problem should be text"),
        ("grid: {number: []}", "number has no values"),
        ("grid: [number]", "grid of the grid file should be 'name: value' pairs"),
        ("grid: {number: [1]}\ninclude: {number: 2}", "include of the grid file should be a list"),
        ("fixed: {number: 1}", "has no runs"),
        ("fixed: [number]", "fixed of the grid file should be 'name: value' pairs"),
        (
            "grid: {number: [1]}\nexclude: [3]",
            "exclude of the grid file\\[0\\] should be 'name: value' pairs",
        ),
        ("grid: {number: [1, 2]}\nexclude: [{number: 3}]", "fits no run of the grid"),
        ("grid: {number: [1]}\nexclude: [{number: 1}]", "leaves no run"),
        ("grid: {output_folder: [x]}", "output_folder is set by the sweep"),
        ("grid: {number: [1], number: [2]}", "'number' is there twice"),
        ("fixed: {problem: !!pairs [a: b]}", "pairs' is not allowed"),
        ("grid: {number: [1}", "line 2, column"),
        ("grid: !!python/object/apply:os.system ['exit']", "line 2"),
    ],
)
def test_a_wrong_grid_is_refused_with_the_nearest_right_word(settings, text, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        settings(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("grid: {model: [EEGTP]}", "model should be .* got 'EEGTP'. Did you mean 'EEGPT'"),
        ("grid: {regime: [scrach]}", "regime should be .* got 'scrach'. Did you mean 'scratch'"),
        ("grid: {evaluation: [cross_subjects]}", "Did you mean 'cross_subject'"),
        ("grid: {lr: [0]}", "lr should be greater than 0, got 0"),
        ("grid: {lr: [.nan]}", "lr should be a finite number"),
        ("fixed: {n_folds: 0}\ngrid: {lr: [1]}", "n_folds should be greater than or equal to 1, got 0"),
        ("grid: {dataset: [SimulatedMotorImagry]}", "Did you mean 'SimulatedMotorImagery'"),
        ("grid: {subjects: [11]}", "has no subjects 11; the nearest is 1"),
        ("grid: {evaluation: [cross_subject]}", "cross_subject needs two subjects or more"),
        ("grid: {model: [CSP + LDA], regime: [full]}", "CSP . LDA knows only the regime 'probe'"),
    ],
)
def test_words_without_a_meaning_are_refused_before_anything_starts(settings, text, message):
    with pytest.raises(ValueError, match=message):
        settings(text, SIMULATED)


def test_a_default_of_the_notebook_without_a_meaning_is_refused_too(settings):
    with pytest.raises(ValueError, match="regime should be .* got 'prob'. Did you mean 'probe'"):
        settings("grid: {subjects: [1]}", SIMULATED.replace('"probe"', '"prob"'))


def test_a_grid_of_a_billion_runs_is_refused_before_it_is_written_out(settings):
    values = {"number": [*range(1000)], "seconds": [*range(1000)], "problem": [*map(str, range(1000))]}

    with pytest.raises(ValueError, match="more than 100,000 runs"):
        settings(f"grid: {values}")


def test_a_checkpoint_that_is_not_there_is_named(settings):
    with pytest.raises(FileNotFoundError, match="Did you mean 'fblightconvnet-simulated'"):
        settings("grid: {checkpoint: [fblightconvnet-simulted]}", SIMULATED)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ("number = 1 + 1", "may hold only 'name = constant', got 'number = 1 \\+ 1'"),
        ("number = 1", "needs a parameter output_folder"),
    ],
)
def test_a_notebook_that_cannot_be_swept_is_refused(settings, parameters, message):
    with pytest.raises(ValueError, match=message):
        settings("grid: {number: [1]}", parameters)


def test_a_notebook_without_the_tag_is_refused(tmp_path):
    path = write_notebook(tmp_path)
    path.write_text(path.read_text().replace('"parameters"', '"other"'))

    with pytest.raises(ValueError, match="exactly one cell tagged 'parameters', got 0"):
        notebook_parameters(path)


def test_a_missing_file_names_one_that_is_there(tmp_path):
    write_grid(tmp_path, "", name="quick.yaml")

    with pytest.raises(FileNotFoundError, match="Did you mean .*quick.yaml"):
        read_grid(tmp_path / "qiuck.yaml")


def test_the_baselines_of_grids_are_those_that_there_are():
    assert set(grid.BASELINES) >= set(baselines(250.0))


@pytest.mark.parametrize(
    ("name", "n_runs"), [("quick", 12), ("mi_benchmark", 14560), ("pretraining_ablation", 168), ("tasks", 11)]
)
def test_the_ready_sweeps_are_right(name, n_runs):
    assert len(read_grid(NOTEBOOKS / "sweeps" / f"{name}.yaml").runs) == n_runs


def test_papermill_is_given_plain_values_only(tmp_path, monkeypatch):
    class Code(str):
        def __repr__(self):
            return "print('executed')"

    given = {}
    monkeypatch.setattr("papermill.execute_notebook", lambda *paths, **_: given.update(paths[2]))
    run = runs.Run(write_notebook(tmp_path), {"options": {"pairs": (Code("a"), 1)}}, "version")
    runs.execute(run, tmp_path / "out", runs.Limits())

    assert given["options"] == {"pairs": ["a", 1]}
    assert type(given["options"]["pairs"][0]) is str


@pytest.mark.parametrize(
    "cell",
    [
        {"source": "a = ("},
        {"source": None},
        {"source": "a = \0"},
        {"metadata": []},
        {"metadata": {"tags": 5}},
        {"cell_type": 1},
    ],
)
def test_a_notebook_that_is_damaged_is_named(tmp_path, cell):
    path = write_notebook(tmp_path)
    notebook = json.loads(path.read_text())
    notebook["cells"][0] |= cell
    path.write_text(json.dumps(notebook))

    with pytest.raises(ValueError, match=r"stub\.ipynb"):
        read_grid(write_grid(tmp_path, "grid: {number: [1, 2]}"))
