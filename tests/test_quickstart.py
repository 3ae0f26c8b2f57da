"""The quickstart on recordings of people and on simulated EEG."""

import os
from pathlib import Path

import pandas as pd
import papermill
import pytest

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "00_quickstart.ipynb"
RECORDINGS = Path(os.environ.get("MNE_DATA", "nowhere")) / "MNE-eegbci-data" / "files" / "eegmmidb"


@pytest.mark.skipif(
    not RECORDINGS.is_dir(), reason="MNE_DATA does not hold PhysioNet's motor imagery recordings"
)
@pytest.mark.filterwarnings("default")  # of the notebook's libraries, which run in a kernel of their own
def test_real_recordings_reach_the_known_accuracy(tmp_path):
    parameters = {
        "dataset": "PhysionetMI",
        "subjects": [1],
        "events": ["hands", "feet"],
        # The other models at full size would take most of the time, and find no more.
        "models": ["EEGDINO", "FBLightConvNet"],
        "n_epochs": 2,
        "output_folder": str(tmp_path),
    }

    papermill.execute_notebook(NOTEBOOK, tmp_path / "run.ipynb", parameters, cwd=tmp_path, progress_bar=False)

    scores = pd.read_csv(tmp_path / "scores.csv").set_index("pipeline")["accuracy"]
    assert scores["CSP + LDA"] >= 0.85
    assert scores["tangent space + LR"] >= 0.85
    assert len(scores) == 8


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("dataset", "subjects", "known", "count"),
    [("RealMotorImagery", [2, 7], "eyes alone, from 0.5 Hz", 12), ("SimulatedMotorImagery", [2], None, 10)],
)
def test_people_and_simulated_eeg_are_one_parameter_apart(tmp_path, dataset, subjects, known, count):
    parameters = {"dataset": dataset, "subjects": subjects, "n_epochs": 1, "output_folder": str(tmp_path)}

    papermill.execute_notebook(NOTEBOOK, tmp_path / "run.ipynb", parameters, cwd=tmp_path, progress_bar=False)

    scores = pd.read_csv(tmp_path / "scores.csv").set_index("pipeline")["accuracy"]
    assert len(scores) == count
    assert scores["CSP + LDA"] >= 0.7
    assert known is None or scores[known] > scores["eyes alone, from 4 Hz"]
