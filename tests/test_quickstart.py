"""The quickstart on other data than its own, with which it runs among the notebooks."""

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
        # Encoders of 64 channels would take most of the time, and find no more.
        "models": [],
        "n_epochs": 1,
        "output_folder": str(tmp_path),
    }

    papermill.execute_notebook(NOTEBOOK, tmp_path / "run.ipynb", parameters, cwd=tmp_path, progress_bar=False)

    scores = pd.read_csv(tmp_path / "scores.csv").set_index("pipeline")["accuracy"]
    assert scores["CSP + LDA"] >= 0.85
    assert scores["tangent space + LR"] >= 0.85
    assert len(scores) == 5


@pytest.mark.filterwarnings("default")
def test_simulated_eeg_is_one_parameter_apart(tmp_path):
    models = ["EEGDINO", "FBLightConvNet"]
    parameters = {"dataset": "SimulatedMotorImagery", "subjects": [2], "models": models, "n_epochs": 1}
    parameters["output_folder"] = str(tmp_path)

    papermill.execute_notebook(NOTEBOOK, tmp_path / "run.ipynb", parameters, cwd=tmp_path, progress_bar=False)

    scores = pd.read_csv(tmp_path / "scores.csv").set_index("pipeline")["accuracy"]
    assert len(scores) == 6
    assert scores["CSP + LDA"] >= 0.7
