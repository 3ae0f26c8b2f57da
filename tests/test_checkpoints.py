"""The checkpoints that come with the repository."""

import hashlib

import pytest
import torch

from eeglab_models import FBLightConvNet
from eeglab_models.models.checkpoints import shipped_checkpoint


def test_a_shipped_checkpoint_loads_whole_and_is_the_one_of_its_card():
    folder = shipped_checkpoint("fblightconvnet-simulated")

    model, report = FBLightConvNet.from_pretrained(folder, return_report=True)

    assert (report.new, report.ignored) == ((), ())
    assert f"`{report.fingerprint}`" in (folder / "README.md").read_text()
    assert model(torch.randn(1, 22, 1000)).shape == (1, 2)


def test_shipped_checkpoints_are_those_of_the_data_readme():
    folder = shipped_checkpoint("fblightconvnet-simulated")
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()

    assert digest in (folder.parents[1] / "README.md").read_text()


def test_a_misspelt_checkpoint_is_answered_with_the_nearest_name():
    with pytest.raises(FileNotFoundError, match="Did you mean 'fblightconvnet-simulated'"):
        shipped_checkpoint("FBLightConvNet-simulated".lower() + "s")


def test_another_data_folder_can_be_named(monkeypatch, tmp_path):
    monkeypatch.setenv("EEGLAB_MODELS_DATA", str(tmp_path))

    with pytest.raises(FileNotFoundError, match="There are: none"):
        shipped_checkpoint("fblightconvnet-simulated")
