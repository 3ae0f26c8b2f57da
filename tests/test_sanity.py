"""Sanity checks of attributions."""

import mne
import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from eeglab_models import EEGDINO, EEGPT, CodeBrain, FBLightConvNet, prepare
from eeglab_models.interpreting.attribution import attribute
from eeglab_models.interpreting.sanity import (
    area_under,
    deletion_curve,
    insertion_curve,
    list_layers,
    randomise,
    similarity_to_randomised,
)
from eeglab_models.signals.windows import Windows

SIGNAL = {"n_outputs": 2, "n_chans": 3, "n_times": 400, "sfreq": 200.0}
BUILD = {
    "CodeBrain": lambda: CodeBrain(**SIGNAL, res_channels=16, num_res_layers=2, out_channels=6),
    "EEGDINO": lambda: EEGDINO(**SIGNAL, n_layer=2, n_global_tokens=2),
    "EEGPT": lambda: EEGPT(**SIGNAL | {"sfreq": 256.0, "n_times": 512}, embed_dim=16, depth=2),
    "FBLightConvNet": lambda: FBLightConvNet(**SIGNAL, win_len=200),
}
BLOCKS = {
    "CodeBrain": "residual_layer.residual_blocks.1",
    "EEGDINO": "encoder_layers.1",
    "EEGPT": "target_encoder.blocks.1",
    "FBLightConvNet": "spatial_conv",
}


class Linear(nn.Module):
    """One output: the weighted sum of all samples."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 400))

    def forward(self, x):
        return torch.einsum("bct,ct->b", x, self.weight)[:, None]


@pytest.fixture
def windows():
    data = np.random.default_rng(0).normal(0, 20, (5, 3, 400)).astype(np.float32)
    return Windows(data, mne.create_info(["C3", "Cz", "C4"], 200.0, "eeg"))


@pytest.mark.parametrize("name", BUILD)
def test_layers_are_listed_from_the_head_and_hold_every_weight_once(name):
    model = BUILD[name]()

    layers = list_layers(model)

    assert layers[0] == "final_layer"
    assert BLOCKS[name] in layers
    for parameter, _ in model.named_parameters():
        assert sum(f"{parameter}.".startswith(f"{layer}.") for layer in layers) == 1, parameter


def test_randomised_weights_are_the_same_values_in_another_order():
    model = BUILD["EEGPT"]()
    before = {name: weights.clone() for name, weights in model.named_parameters()}

    randomised = dict(randomise(model, seed=1).named_parameters())

    for name, weights in before.items():
        torch.testing.assert_close(randomised[name].flatten().sort()[0], weights.flatten().sort()[0])
        assert torch.equal(model.get_parameter(name), weights)
    name = "target_encoder.blocks.0.attn.qkv.weight"
    assert not torch.equal(randomised[name], before[name])


def test_only_the_named_layers_are_randomised():
    model = BUILD["EEGDINO"]()
    before = dict(model.named_parameters())

    randomised = randomise(model, seed=1, layers=["final_layer", "encoder_layers.1"])

    changed = {name for name, weights in randomised.named_parameters() if not weights.equal(before[name])}
    assert {name.split(".")[0] for name in changed} == {"final_layer", "encoder_layers"}
    assert not any(name.startswith("encoder_layers.0") for name in changed)


def test_a_layer_is_randomised_alike_whatever_else_is():
    model = BUILD["EEGDINO"]()
    name = "final_layer.token_proj.0.weight"

    alone, all_of_it = randomise(model, 1, ["final_layer"]), randomise(model, 1)

    assert torch.equal(alone.get_parameter(name), all_of_it.get_parameter(name))


def test_an_unknown_layer_is_refused():
    with pytest.raises(ValueError, match="no parameters in 'head'. Take names from list_layers"):
        randomise(Linear(), 0, ["head"])


def test_maps_of_a_linear_model_are_destroyed_but_their_sizes_are_the_input(windows):
    table = similarity_to_randomised(Linear(), windows, 0)

    assert table["similarity"].abs().max() < 0.1  # standard error 0.03 with 1200 samples
    assert table["similarity_of_sizes"].min() > 0.3


def test_layers_are_randomised_one_after_the_other(windows):
    model = BUILD["FBLightConvNet"]()
    layers = list_layers(model)

    prepared = prepare(windows, model)
    changed = attribute(randomise(model, 0), prepared, 0)[0].to_numpy().ravel()
    last, _ = spearmanr(attribute(model, prepared, 0)[0].to_numpy().ravel(), changed)

    table = similarity_to_randomised(model, prepared, 0)

    assert table[table["layer"] == layers[-1]]["similarity"].iloc[0] == pytest.approx(last)
    assert table.groupby("layer", sort=False)["n_layers"].first().to_dict() == {
        layer: number for number, layer in enumerate(layers, start=1)
    }
    assert len(table) == 5 * len(layers)


def test_a_map_that_ignores_the_weights_is_caught(windows):
    class Deaf(Linear):
        def forward(self, x):
            return x.sum((1, 2))[:, None]

    table = similarity_to_randomised(Deaf(), windows, 0)

    np.testing.assert_allclose(table["similarity"], 1)


@pytest.fixture
def parts():
    """A linear model, one window of ones, and what each of its 12 patches of half a second adds."""
    model = Linear()
    windows = Windows(np.ones((1, 3, 400), np.float32), mne.create_info(["C3", "Cz", "C4"], 200.0, "eeg"))
    added = model.weight.detach().numpy().reshape(3, 4, 100).sum(-1).ravel()
    return model, windows, attribute(model, windows, 0), added


def test_deletion_removes_the_largest_patch_first(parts):
    model, windows, values, added = parts

    curve = deletion_curve(model, windows, values, 0, n_steps=12, patch_length=0.5)

    own = curve[curve["order"] == "attribution"]
    expected = added.sum() - np.concatenate([[0], np.sort(added)[::-1].cumsum()])
    np.testing.assert_allclose(own["score"], expected, atol=1e-3)
    np.testing.assert_allclose(own["share"], np.arange(13) / 12)


def test_insertion_adds_the_largest_patch_first(parts):
    model, windows, values, added = parts

    curve = insertion_curve(model, windows, values, 0, n_steps=12, patch_length=0.5)

    own = curve[curve["order"] == "attribution"]
    expected = np.concatenate([[0], np.sort(added)[::-1].cumsum()])
    np.testing.assert_allclose(own["score"], expected, atol=1e-3)


def test_the_right_order_beats_a_random_one(windows):
    model = Linear()
    values = attribute(model, windows, 0)

    deleted = area_under(deletion_curve(model, windows, values, 0)).groupby("order")["area"].mean()
    inserted = area_under(insertion_curve(model, windows, values, 0)).groupby("order")["area"].mean()

    assert deleted["attribution"] < deleted["random"]
    assert inserted["attribution"] > inserted["random"]


def test_curves_count_windows_whose_last_patch_is_shorter(parts):
    model, windows, values, _ = parts

    curve = deletion_curve(model, windows, values, 0, n_steps=3, patch_length=0.75)

    # Patches of 150, 150 and 100 samples: 3 of 9 patches are not exactly a third of the samples.
    assert curve["share"].between(0, 1).all()
    assert curve.groupby("order")["share"].last().tolist() == [1, 1]
    assert set((curve["share"] * 1200).round().astype(int) % 50) == {0}


def test_the_area_of_a_straight_line_is_its_middle(parts):
    model, windows, values, _ = parts
    curve = deletion_curve(model, windows, values, 0, n_steps=4)
    straight = curve.assign(score=10 - 4 * curve["share"])

    np.testing.assert_allclose(area_under(straight)["area"], 8)


def test_a_random_order_is_the_same_with_the_same_seed(parts):
    model, windows, values, _ = parts

    first, again, other = (deletion_curve(model, windows, values, 0, seed=seed) for seed in (1, 1, 2))

    assert first.equals(again)
    assert not first.equals(other)


def test_an_attribution_of_other_windows_is_refused(windows):
    model = Linear()
    values = attribute(model, windows[:2], 0)

    with pytest.raises(ValueError, match=r"shape \(5, 3, 400\), got .* and \(2, 3, 400\)"):
        deletion_curve(model, windows, values, 0)
