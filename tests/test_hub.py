"""Saving, loading and what is known afterwards."""

import json

import pytest
import torch
from references.cases import CASES
from references.compare import build
from safetensors.torch import load_file, save_file

from eeglab_models import EEGPT
from eeglab_models.models.download import read_weights

DEFAULTS = [case for case in CASES if case.name == "default"]


@pytest.fixture(params=DEFAULTS, ids=lambda case: case.model)
def case(request):
    return request.param


@pytest.fixture
def model(case):
    return build(case)


@pytest.fixture
def folder(model, tmp_path):
    model.save_pretrained(tmp_path)
    return tmp_path


def edit(folder, change):
    """Apply a change to the weights of a folder."""
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


def encoder_key(weights):
    return next(key for key in sorted(weights) if not key.startswith(("final", "lm_", "chan", "spectral")))


def test_a_saved_model_loads_with_the_same_output(case, model, folder):
    x = case.scale * torch.randn(2, model.n_chans, model.n_times)

    loaded, report = type(model).from_pretrained(folder, return_report=True)

    torch.testing.assert_close(loaded(x), model(x), rtol=0, atol=0)
    assert set(report.loaded) == set(model.state_dict())
    assert (report.new, report.ignored) == ((), ())
    assert loaded.load_report == report
    assert not loaded.training


def test_a_missing_weight_of_the_encoder_is_named(model, folder):
    lost = []
    edit(folder, lambda weights: lost.append(encoder_key(weights)) or weights.pop(lost[0]))

    with pytest.raises(ValueError, match=f"missing: {lost[0]}"):
        type(model).from_pretrained(folder)


def test_a_weight_of_another_shape_is_named_with_both_shapes(model, folder):
    keys = []

    def widen(weights):
        keys.append(encoder_key(weights))
        weights[keys[0]] = torch.zeros(*weights[keys[0]].shape, 2)

    edit(folder, widen)

    with pytest.raises(ValueError, match=rf"of another shape: {keys[0]} \(expected"):
        type(model).from_pretrained(folder, n_outputs=5)


def test_an_unknown_weight_is_named(model, folder):
    edit(folder, lambda weights: weights.update(stranger=torch.zeros(1)))

    with pytest.raises(ValueError, match="unknown to the model: stranger"):
        type(model).from_pretrained(folder)


def test_another_number_of_outputs_gives_a_fresh_head_and_says_so(model, folder):
    loaded, report = type(model).from_pretrained(folder, n_outputs=7, return_report=True)

    assert loaded.n_outputs == loaded.get_config()["n_outputs"] == 7
    assert report.new
    assert all(key.startswith("final_layer.") for key in report.new + report.ignored)
    assert set(report.loaded) | set(report.new) == set(loaded.state_dict())
    for key in report.loaded:
        assert torch.equal(loaded.state_dict()[key], model.state_dict()[key])


def test_weights_without_a_head_warn_that_it_is_random(model, folder):
    def behead(weights):
        for key in [key for key in weights if key.startswith("final_layer.")]:
            del weights[key]

    edit(folder, behead)

    with pytest.warns(UserWarning, match=r"these are new \(random\)"):
        loaded = type(model).from_pretrained(folder)
    assert all(key.startswith("final_layer.") for key in loaded.load_report.new)
    type(model).from_pretrained(folder, n_outputs=loaded.n_outputs)


@pytest.fixture
def eegpt_folder(tmp_path):
    model = build(next(case for case in DEFAULTS if case.model == "EEGPT"))
    model.save_pretrained(tmp_path)
    return tmp_path


def test_a_projection_for_other_channels_starts_fresh_as_a_whole_and_warns(eegpt_folder):
    with pytest.warns(UserWarning, match="no fitting weights for chan_proj.proj.bias, chan_proj"):
        _, report = EEGPT.from_pretrained(eegpt_folder, n_chans=3, n_outputs=7, return_report=True)

    assert {key.split(".")[0] for key in report.new} == {"chan_proj", "final_layer"}
    assert not [key for key in report.loaded if key.startswith(("chan_proj", "final_layer"))]


def test_a_projection_that_the_model_does_not_have_is_ignored(eegpt_folder):
    _, report = EEGPT.from_pretrained(
        eegpt_folder, chan_proj_type="none", n_chans=5, return_encoder_output=True, return_report=True
    )

    assert {key.split(".")[0] for key in report.ignored} == {"chan_proj", "final_layer", "chans_id"}


def test_the_report_prints_what_happened(model, folder):
    report = type(model).from_pretrained(folder, n_outputs=7).load_report

    assert f"loaded   {len(report.loaded)} tensors" in str(report)
    assert f"new      {report.new[0]}" in str(report)


def test_a_configuration_of_another_library_version_loads(model, folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"braindecode_version": "1.8.1"}))

    assert type(model).from_pretrained(folder).get_config() == config


def test_a_pickle_is_refused_with_the_way_out(model, folder):
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")

    with pytest.raises(
        FileNotFoundError, match=r"pytorch_model.bin can run code .* Convert pickled weights once"
    ):
        type(model).from_pretrained(folder)
    with pytest.raises(ValueError, match="safetensors files only, got 'pytorch_model.bin'"):
        type(model).from_pretrained(folder, filename="pytorch_model.bin")


def test_a_missing_configuration_is_an_error(model, folder):
    (folder / "config.json").unlink()

    with pytest.raises(FileNotFoundError, match="holds no config.json"):
        type(model).from_pretrained(folder)


def test_a_folder_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="neither a folder nor a readable Hub repository"):
        EEGPT.from_pretrained(tmp_path / "nowhere")


def test_without_a_network_the_cache_is_asked_and_the_way_out_is_named():
    with pytest.raises(FileNotFoundError, match="Load it once with a network, or pass a folder"):
        EEGPT.from_pretrained("nobody/nothing")


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_a_broken_configuration_is_an_error(model, folder, text):
    (folder / "config.json").write_text(text)

    with pytest.raises(ValueError, match="config.json"):
        type(model).from_pretrained(folder)


def test_broken_weights_are_an_error(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"\x10\0\0\0\0\0\0\0{ half a header")

    with pytest.raises(ValueError, match="no complete safetensors file"):
        read_weights(path)
