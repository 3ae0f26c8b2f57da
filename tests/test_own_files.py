"""A sweep takes files and a table wherever it takes the name of a data set."""

import mne
import numpy as np
import pandas as pd
import pytest
from experiment_stubs import run_experiment

from eeglab_models.experiments.grid import locate, read_grid
from eeglab_models.signals.sources import is_path

NAMES = ["Fp1", "F3", "Fz", "C3", "Cz", "C4", "P3", "Pz"]
CELL = (
    "fixed: {{dataset: {dataset}, events: [rest, task], tmax: 2, n_folds: 2, model: band power + LR{more}}}\n"
    "grid: {{subjects: {subjects}}}"
)


@pytest.fixture
def folder(tmp_path):
    """Two people, each with a recording of rest and one of a task, as EDF files."""
    generator, rows = np.random.default_rng(0), []
    for person in ("01", "02"):
        for label, frequency in (("rest", 10), ("task", 20)):
            wave = 20e-6 * np.sin(2 * np.pi * frequency * np.arange(128 * 30) / 128)
            data = 10e-6 * generator.normal(size=(8, 128 * 30)) + wave * generator.random((8, 1))
            raw = mne.io.RawArray(data, mne.create_info(NAMES, 128.0, "eeg"), verbose="error")
            (tmp_path / "recordings").mkdir(exist_ok=True)
            raw.export(tmp_path / "recordings" / f"{person}{label}.edf", verbose="error")
            rows.append({"file": f"{person}{label}.edf", "label": label, "subject": person})
    pd.DataFrame(rows).to_csv(tmp_path / "labels.csv", index=False)
    return tmp_path


def grid_of(folder, more=", table: labels.csv", subjects="all", dataset="recordings"):
    (folder / "grid.yaml").write_text(CELL.format(dataset=dataset, subjects=subjects, more=more))
    return read_grid(folder / "grid.yaml").runs


def test_a_grid_finds_files_their_table_and_their_subjects(folder):
    (everyone,) = grid_of(folder)
    each = grid_of(folder, subjects="each")

    assert everyone.parameters["dataset"] == str(folder / "recordings")
    assert everyone.parameters["subjects"] == ["01", "02"]
    assert [run.parameters["subjects"] for run in each] == [["01"], ["02"]]
    assert grid_of(folder, subjects="[[1]]")[0].parameters["subjects"] == [1]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"more": ""}, "does not tell whose its 4 recordings are.*subject"),
        ({"subjects": "[[3]]"}, "has no subjects 3; the nearest is 02"),
        ({"dataset": "recordngs/"}, "There is no file"),
        ({"more": ", table: labls.csv"}, "There is no table"),
    ],
)
def test_what_files_do_not_tell_is_asked_for_before_anything_runs(folder, changes, problem):
    with pytest.raises((ValueError, FileNotFoundError), match=problem):
        grid_of(folder, **changes)


def test_the_experiment_runs_on_files_with_a_table(folder):
    (run,) = grid_of(folder)

    row = run_experiment(run.parameters | {"output_folder": str(folder)})

    assert row["score"] > 0.9
    assert row["n_windows"] == 60
    assert set(row["folds"]["subject"]) == {"01", "02"}


def test_a_folder_that_is_called_like_a_data_set_is_written_with_a_dot(folder, monkeypatch):
    (folder / "recordings").rename(folder / "BNCI2014_001")
    monkeypatch.chdir(folder)

    assert [is_path(name) for name in ("BNCI2014_001", "./BNCI2014_001", "labels.csv")] == [False, True, True]
    (one,) = grid_of(folder, dataset="./BNCI2014_001")
    assert one.parameters["dataset"] == str(folder / "BNCI2014_001")
    assert locate({"dataset": "BNCI2014_001"}, folder) == {"dataset": "BNCI2014_001"}
