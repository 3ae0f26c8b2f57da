"""The checkpoints that come with the repository."""

import hashlib
from pathlib import Path

import pytest
import torch

from eeglab_models import EEGDINO, EEGPT, CodeBrain, FBLightConvNet
from eeglab_models.models.checkpoints import find_checkpoint, shipped_checkpoint

README = Path(__file__).parents[1] / "data" / "README.md"


SHIPPED = {
    "codebrain-toy": CodeBrain,
    "eegdino-toy": EEGDINO,
    "eegpt-toy": EEGPT,
    "fblightconvnet-simulated": FBLightConvNet,
}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_checkpoint_loads_whole_and_is_the_one_of_its_card(name):
    folder = shipped_checkpoint(name)

    model, report = SHIPPED[name].from_pretrained(folder, return_report=True)

    assert (report.new, report.ignored) == ((), ())
    assert f"`{report.fingerprint}`" in (folder / "README.md").read_text()
    assert len(model.eval()(torch.randn(1, 22, model.n_times))) == 1


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
