"""A model that no room of the package has heard of goes through all of them."""

from dataclasses import replace

import mne
import numpy as np
import pandas as pd
import pytest
import torch
from experiment_stubs import EXPERIMENT, run_experiment
from fifth_model import FifthModel
from sklearn.model_selection import StratifiedKFold

import eeglab_models
from eeglab_models import Windows, prepare
from eeglab_models.experiments.grid import read_grid
from eeglab_models.features import extract_features, extract_layers, layer_names, linear_probe, probe_layers
from eeglab_models.finetuning import FineTuner
from eeglab_models.finetuning.regimes import REGIMES
from eeglab_models.interpreting import (
    ProbeScore,
    attention_maps,
    attribute,
    global_kernels,
    receptive_field,
    rollout,
    spatial_filters,
)
from eeglab_models.plotting.style import MODEL_COLORS, color_of

EXACT = {"precision": "float32", "device": "cpu"}


@pytest.fixture
def windows():
    generator = np.random.default_rng(0)
    labels = np.tile(["left", "right"], 10)
    data = generator.normal(0, 20, (20, 3, 200)).astype(np.float32)
    # What tells the classes apart: one channel is slow in one of them.
    data[labels == "left", 0] += 40 * np.sin(np.arange(200) / 200 * 12 * np.pi)
    return Windows(data, mne.create_info(["C3", "Cz", "C4"], 100.0, "eeg"), labels=labels)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return FifthModel(n_outputs=2, n_chans=3, n_times=200, sfreq=100.0)


def test_features_of_all_layers_and_probes(model, windows):
    prepared = prepare(windows, model)
    with torch.no_grad():
        tokens = model.encode(torch.from_numpy(prepared.data))  # (20, 3, 4, 8)

    rows = extract_features(model, prepared, **EXACT)
    layers = extract_layers(model, prepared, pool="none", **EXACT)
    scores = probe_layers(model, prepared, windows.labels, StratifiedKFold(2), **EXACT)

    assert layer_names(model) == [0, 1, "encoder"]
    np.testing.assert_allclose(rows, tokens.mean(2).flatten(1), atol=1e-5)
    np.testing.assert_allclose(layers["encoder"], tokens.transpose(1, 2).flatten(1), atol=1e-5)
    np.testing.assert_array_equal(layers[1], layers["encoder"])
    assert sorted(scores["pipeline"].unique()) == ["layer 0", "layer 1", "layer encoder"]


def test_saving_and_loading(model, windows, tmp_path):
    model.save_pretrained(tmp_path)
    loaded = FifthModel.from_pretrained(tmp_path)
    other = FifthModel.from_pretrained(tmp_path, n_outputs=5)

    x = torch.from_numpy(windows.data)
    torch.testing.assert_close(loaded(x), model.eval()(x))
    torch.testing.assert_close(other.encode(x), model.encode(x))
    assert other.load_report.new == ("final_layer.bias", "final_layer.weight")


@pytest.mark.parametrize("regime", REGIMES)
def test_every_regime_trains_what_it_names(model, windows, regime):
    prepared = prepare(windows, model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    tuner = FineTuner(model, regime=regime, max_epochs=1, validation=None, seed=0, device="cpu", lora_rank=2)
    tuner.fit(prepared, windows.labels)

    after = tuner.model_.state_dict()
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    blocks = {name.rsplit(".", 1)[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {
        "head": {"final_layer"},
        "lora": {"blocks", "final_layer"},
        "last_n": {"blocks", "final_layer"},
    }.get(regime, {"embedding", "blocks", "final_layer"})
    assert ("blocks.0.norm" in blocks) == (regime in ("full", "scratch"))


def test_attention_fields_and_attribution(model, windows):
    prepared = prepare(windows, model)[:2]

    maps = attention_maps(model, prepared)
    field = receptive_field(model, prepared, ["Cz 0.25 s"])
    probe = linear_probe().fit(extract_features(model, prepared, **EXACT), prepared.labels)
    heat = attribute(ProbeScore(model, probe), prepared, "left")

    assert list(maps) == [0, 1]
    assert maps[1].sizes == {"window": 2, "head": 1, "query": 12, "key": 12}
    assert list(maps[0]["query"].values[:5]) == [
        "C3 0.25 s",
        "C3 0.75 s",
        "C3 1.25 s",
        "C3 1.75 s",
        "Cz 0.25 s",
    ]
    assert rollout(maps).sizes["key"] == 12
    assert field.argmax(["channel", "time"])["channel"].item() == 1
    assert heat.sizes["channel"] == 3
    with pytest.raises(TypeError, match="got FifthModel"):
        spatial_filters(model)
    with pytest.raises(TypeError, match="got FifthModel"):
        global_kernels(model)


def test_it_has_a_colour_that_no_baseline_has():
    assert color_of("FifthModel, head") not in (color_of("CSP + LDA"), *MODEL_COLORS.values())


def test_a_sweep_runs_it(tmp_path, windows, monkeypatch):
    who = pd.DataFrame({"subject": [1] * 20, "session": ["0"] * 20})
    # Simulating a subject would take most of the time; tests of sweeps do.
    monkeypatch.setattr(eeglab_models, "load_windows", lambda *names, **plan: replace(windows, metadata=who))
    grid = tmp_path / "grid.yaml"
    grid.write_text(
        f"notebook: {EXPERIMENT}\n"
        "grid: {model: [FifthModel], regime: [probe, head]}\n"
        "fixed: {n_folds: 2, max_epochs: 1}\n"
    )
    runs = read_grid(grid).runs

    for run in runs:
        row = run_experiment({**run.parameters, "output_folder": str(tmp_path)})
        assert 0 <= row["score"] <= 1
        assert row["parameters"]["model"] == "FifthModel"
        assert row["parameters"]["regime"] == run.parameters["regime"]
    assert len(runs) == 2
