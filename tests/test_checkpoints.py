"""The checkpoints that come with the repository."""

import hashlib
import json
import shutil
from pathlib import Path

import mne
import numpy as np
import pytest
import torch

from eeglab_models import EEGDINO, EEGPT, CodeBrain, FBLightConvNet, load_windows
from eeglab_models.features import centre, features_of
from eeglab_models.models.checkpoints import find_checkpoint, shipped_checkpoint

README = Path(__file__).parents[1] / "data" / "README.md"


SHIPPED = {
    "codebrain-real": CodeBrain,
    "codebrain-toy": CodeBrain,
    "eegdino-real": EEGDINO,
    "eegdino-toy": EEGDINO,
    "eegpt-real": EEGPT,
    "eegpt-toy": EEGPT,
    "fblightconvnet-simulated": FBLightConvNet,
}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_checkpoint_loads_whole_and_is_the_one_of_its_card(name):
    folder = shipped_checkpoint(name)

    model, report = SHIPPED[name].from_pretrained(folder, return_report=True)

    assert (report.new, report.ignored) == ((), ())
    assert f"`{report.fingerprint}`" in (folder / "README.md").read_text()
    assert len(model.eval()(torch.randn(1, model.n_chans, model.n_times))) == 1


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_checkpoints_are_small_and_those_of_the_data_readme(name):
    weights = (shipped_checkpoint(name) / "model.safetensors").read_bytes()

    assert hashlib.sha256(weights).hexdigest() in README.read_text()
    assert len(weights) <= 4_000_000


def test_a_misspelt_checkpoint_is_answered_with_the_nearest_name():
    with pytest.raises(FileNotFoundError, match="Did you mean 'fblightconvnet-simulated'"):
        shipped_checkpoint("FBLightConvNet-simulated".lower() + "s")


def test_another_data_folder_can_be_named(monkeypatch, tmp_path):
    monkeypatch.setenv("EEGLAB_MODELS_DATA", str(tmp_path))

    with pytest.raises(FileNotFoundError, match="There are: none"):
        shipped_checkpoint("fblightconvnet-simulated")


def test_folders_and_repositories_are_left_as_they_are(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()

    assert [find_checkpoint(name) for name in ("mine", "user/model")] == ["mine", "user/model"]
    assert find_checkpoint("eegpt-toy") == shipped_checkpoint("eegpt-toy")


@pytest.mark.parametrize("name", ["codebrain-real", "eegdino-real", "eegpt-real"])
def test_features_of_a_shipped_encoder_are_one_call_that_no_gain_changes(name):
    names = ["Fp1", "Fp2", "F7", "F3", "Fz", "F4", "F8", "T7", "C3", "Cz", "C4", "T8"]
    names += ["P7", "P3", "Pz", "P4", "P8", "O1", "O2"]
    signal = np.random.default_rng(0).normal(scale=1e-5, size=(19, 200 * 13))
    quiet, loud = (
        mne.io.RawArray(signal * gain, mne.create_info(names, 200.0, "eeg"), verbose="error")
        for gain in (1, 3)
    )
    features, windows = features_of(name, quiet, events=[])

    assert len(features) == len(windows) == 3
    np.testing.assert_allclose(features_of(name, loud, events=[])[0], features, rtol=1e-3, atol=1e-3)


def test_a_checkpoint_without_a_readout_is_refused():
    with pytest.raises(FileNotFoundError, match=r"readout\.json"):
        features_of("eegdino-toy", None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"model": "prepare"}, "unknown model 'prepare'"), ({"level": "x"}, "level"), ({"band": None}, "band")],
)
def test_a_readout_that_holds_something_else_is_named(tmp_path, changes, message):
    shutil.copytree(shipped_checkpoint("eegdino-real"), tmp_path, dirs_exist_ok=True)
    path = tmp_path / "readout.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    with pytest.raises(ValueError, match=message):
        features_of(tmp_path, None)


def test_centred_features_average_to_nothing_in_every_group():
    features = np.arange(12, dtype=np.float32).reshape(6, 2)
    centred = centre(features, ["a", "b", None, "a", "b", None])

    assert centred.dtype == np.float32
    np.testing.assert_array_equal(
        centred, np.repeat([[-3.0], [-3.0], [-3.0], [3.0], [3.0], [3.0]], 2, axis=1)
    )
    with pytest.raises(ValueError, match="got 2 for 6"):
        centre(features, ["a", "b"])


@pytest.mark.parametrize(
    "changes", [{"level": -1.0}, {"level": 1e40}, {"layer": 99}, {"layer": ""}, {"pool": "x"}]
)
def test_a_readout_that_cannot_be_followed_is_named(tmp_path, changes):
    shutil.copytree(shipped_checkpoint("eegdino-real"), tmp_path, dirs_exist_ok=True)
    path = tmp_path / "readout.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    with pytest.raises(ValueError, match=r"readout\.json"):
        features_of(tmp_path, load_windows("RealEyes", subjects=[1]))
