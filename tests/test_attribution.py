"""Attribution: exact where it can be computed by hand, and the same interface for all models."""

from dataclasses import replace

import mne
import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from torch import nn

from eeglab_models import EEGDINO, EEGPT, CodeBrain, FBLightConvNet, prepare
from eeglab_models.features import extract_features
from eeglab_models.interpreting.attribution import METHODS, attribute, occlude_bands
from eeglab_models.interpreting.scores import ProbeScore, number_targets
from eeglab_models.signals.windows import Windows

SIGNAL = {"n_outputs": 2, "n_chans": 3, "n_times": 400, "sfreq": 200.0}
BUILD = {
    "CodeBrain": lambda: CodeBrain(**SIGNAL, res_channels=16, num_res_layers=2, out_channels=6),
    "EEGDINO": lambda: EEGDINO(**SIGNAL, n_layer=2, n_global_tokens=2),
    "EEGPT": lambda: EEGPT(**SIGNAL | {"sfreq": 256.0, "n_times": 512}, embed_dim=16, depth=2),
    "FBLightConvNet": lambda: FBLightConvNet(**SIGNAL, win_len=200),
}


class Linear(nn.Module):
    """Two outputs, each a weighted sum of all samples and a constant."""

    def __init__(self, n_chans=3, n_times=400):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, n_chans, n_times))
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        return torch.einsum("bct,oct->bo", self.dropout(x), self.weight) + 7


class Square(Linear):
    """Two outputs, each a weighted sum of squares."""

    def forward(self, x):
        return super().forward(x**2)


@pytest.fixture
def windows():
    data = np.random.default_rng(0).normal(0, 20, (5, 3, 400)).astype(np.float32)
    labels = np.array(["left", "right", "left", "right", "right"])
    return Windows(data, mne.create_info(["C3", "Cz", "C4"], 200.0, "eeg"), labels=labels)


def test_gradient_times_input_is_exact_for_a_linear_model(windows):
    model = Linear()

    values = attribute(model, windows, 1)

    np.testing.assert_allclose(values, windows.data * model.weight[1].detach().numpy(), rtol=1e-5)


def test_integrated_gradients_are_exact_for_squares(windows):
    model = Square()

    values = attribute(model, windows, 1, "integrated gradients", n_steps=8, batch_size=2)

    np.testing.assert_allclose(values, windows.data**2 * model.weight[1].detach().numpy(), rtol=1e-3)


def test_gradient_times_input_is_twice_too_large_for_squares(windows):
    model = Square()

    values = attribute(model, windows, 1)

    np.testing.assert_allclose(values, 2 * windows.data**2 * model.weight[1].detach().numpy(), rtol=1e-4)


def test_occlusion_spreads_the_loss_of_each_patch_over_it(windows):
    model = Linear()
    added = windows.data * model.weight[0].detach().numpy()

    values = attribute(model, windows, 0, "occlusion", patch_length=0.75, batch_size=4)

    # 400 samples are patches of 150, 150 and 100.
    for patch in (slice(0, 150), slice(150, 300), slice(300, 400)):
        expected = added[:, :, patch].mean(-1, keepdims=True).repeat(patch.stop - patch.start, axis=-1)
        np.testing.assert_allclose(values[:, :, patch], expected, atol=0.02)


def test_maps_are_labelled_with_names_seconds_and_labels(windows):
    values = attribute(Linear(), windows, 0, start=-0.5)

    assert values.dims == ("window", "channel", "time")
    assert list(values.sel(channel="C4").coords["label"]) == ["left", "right", "left", "right", "right"]
    assert values["time"][[0, 100]].values.tolist() == [-0.5, 0.0]


def test_every_window_can_have_a_target_of_its_own(windows):
    model = Linear()

    own = attribute(model, windows, windows.labels)

    for window, output in enumerate([0, 1, 0, 1, 1]):
        np.testing.assert_array_equal(own[window], attribute(model, windows, output)[window])


def test_without_names_outputs_are_the_sorted_labels(windows):
    labels = np.array(list("edcba"))

    numbers = number_targets(labels, replace(windows, labels=labels), None, n_outputs=5)

    assert numbers.tolist() == [4, 3, 2, 1, 0]


def test_names_follow_the_given_order_of_outputs(windows):
    model = Linear()

    named = attribute(model, windows, "left", classes=["right", "left"])

    np.testing.assert_array_equal(named, attribute(model, windows, 1))


def test_a_function_of_the_outputs_can_be_the_target(windows):
    model = Linear()
    difference = attribute(model, windows, 0) - attribute(model, windows, 1)

    values = attribute(model, windows, lambda outputs: outputs[:, 0] - outputs[:, 1])

    np.testing.assert_allclose(values, difference, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_the_batch_size_changes_nothing(windows, method):
    model = Square()

    few, many = (attribute(model, windows, 0, method, batch_size=size) for size in (2, 64))

    np.testing.assert_allclose(few, many, rtol=1e-3, atol=0.05)


@pytest.mark.parametrize("method", METHODS)
def test_no_pass_is_larger_than_the_batch_size(windows, method):
    model, sizes = Square(), []
    model.register_forward_hook(lambda module, inputs, output: sizes.append(len(inputs[0])))

    attribute(model, windows, 0, method, batch_size=3)

    assert max(sizes) == 3


def test_the_model_is_left_as_it_was(windows):
    model = Linear()
    model.dropout.eval()
    assert model.training

    attribute(model, windows, 0)

    assert model.training
    assert not model.dropout.training
    assert model.weight.grad is None


def test_the_model_is_left_as_it_was_after_an_error(windows):
    model = Linear().train()

    with pytest.raises(ValueError, match="n_steps must be 4"):
        attribute(model, windows, 0, "integrated gradients", n_steps=2)

    assert model.training


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", BUILD)
def test_every_model_can_be_explained(windows, name, method):
    model = BUILD[name]()
    prepared = prepare(windows, model)

    values = attribute(model, prepared, "right", method)

    assert values.shape == prepared.data.shape
    assert bool(np.isfinite(values).all())
    assert float(np.abs(values).sum()) > 0


@pytest.mark.parametrize("name", BUILD)
def test_integrated_gradients_add_up_to_the_change_of_the_score(windows, name):
    model = BUILD[name]().eval()
    prepared = prepare(windows, model)
    x = torch.from_numpy(prepared.data)
    with torch.no_grad():
        change = (model(x) - model(torch.zeros_like(x)))[:, 0].numpy()

    values = attribute(model, prepared, 0, "integrated gradients")

    gap = change - values.sum(("channel", "time"))
    np.testing.assert_allclose(values["gap"], gap, rtol=1e-3, atol=1e-5)
    assert np.abs(gap).sum() < 0.1 * np.abs(change).sum()


def test_integrated_gradients_that_miss_too_much_are_refused(windows):
    model = BUILD["FBLightConvNet"]()

    with pytest.raises(ValueError, match=r"may miss 0.1%.*with 4 steps. Raise n_steps"):
        attribute(model, prepare(windows, model), 0, "integrated gradients", n_steps=4, tolerance=0.001)


def test_channel_ids_reach_the_model(windows):
    model = BUILD["EEGDINO"]()
    prepared = prepare(windows, model)

    plain, moved = (attribute(model, prepared, 0, channel_ids=ids) for ids in (None, [2, 0, 1]))

    assert not np.allclose(plain, moved)
    np.testing.assert_array_equal(plain, attribute(model, prepared, 0, channel_ids=[0, 1, 2]))


@pytest.mark.parametrize("name", BUILD)
def test_a_probe_scores_as_it_decides(windows, name):
    model = BUILD[name]()
    prepared = prepare(windows, model)
    features = extract_features(model, prepared, precision="float32", device="cpu")
    probe = make_pipeline(StandardScaler(), LogisticRegression()).fit(features, windows.labels)

    with torch.no_grad():
        outputs = ProbeScore(model, probe).eval()(torch.from_numpy(prepared.data))

    decisions = probe.decision_function(features)
    np.testing.assert_allclose(outputs[:, 1] - outputs[:, 0], decisions, rtol=1e-3, atol=1e-3)


def test_a_probe_of_several_classes_scores_as_it_decides(windows):
    model = BUILD["FBLightConvNet"]()
    prepared = prepare(windows, model)
    features = extract_features(model, prepared, precision="float32", device="cpu")
    probe = LogisticRegression().fit(features, list("aabcc"))

    with torch.no_grad():
        outputs = ProbeScore(model, probe).eval()(torch.from_numpy(prepared.data))

    np.testing.assert_allclose(outputs, probe.decision_function(features), rtol=1e-3, atol=1e-3)


def test_a_probe_knows_the_names_of_its_outputs(windows):
    model = BUILD["FBLightConvNet"]()
    prepared = prepare(windows, model)
    probe = LogisticRegression().fit(extract_features(model, prepared), windows.labels)
    module = ProbeScore(model, probe)

    left = attribute(module, prepared[:1], "left")

    np.testing.assert_array_equal(left, attribute(module, prepared[:1], 0))


def test_a_probe_that_is_not_linear_is_refused():
    probe = make_pipeline(MinMaxScaler(), LogisticRegression()).fit([[0.0], [1.0]], [0, 1])

    with pytest.raises(TypeError, match="after a StandardScaler"):
        ProbeScore(BUILD["FBLightConvNet"](), probe)


def test_a_probe_of_other_features_is_refused(windows):
    model = BUILD["FBLightConvNet"]()
    probe = LogisticRegression().fit([[0.0], [1.0]], [0, 1])

    with pytest.raises(ValueError, match="reads 1 features, but the average over time"):
        attribute(ProbeScore(model, probe), prepare(windows, model), 0)


def test_a_band_without_signal_costs_nothing_and_the_right_one_everything(windows):
    time = np.arange(400) / 200.0
    rhythm = np.cos(2 * np.pi * 10 * (time + 0.0025)).astype(np.float32)  # falls on one cosine of the window
    data = np.tile(rhythm, (2, 3, 1))
    model = Linear()
    model.weight.data = torch.from_numpy(np.stack([data[0], -data[0]]))
    oscillating = Windows(data, windows.info)

    losses = occlude_bands(model, oscillating, 0, [(4, 8), (8, 13), (13, 30)])

    np.testing.assert_allclose(losses, [[0, 600, 0]] * 2, atol=1e-2)  # 3 channels, half of 400 samples each
    assert losses["low"].values.tolist() == [4, 8, 13]


def test_bands_that_touch_take_out_all_together(windows):
    model = Linear()
    edges = [(0, 4), (4, 30), (30, 100)]

    losses = occlude_bands(model, windows, 0, edges)

    expected = attribute(model, windows, 0).sum(("channel", "time"))
    np.testing.assert_allclose(losses.sum("band"), expected, rtol=1e-3)


def test_a_band_beyond_the_spectrum_is_refused(windows):
    with pytest.raises(ValueError, match="got the band 120 to 130 Hz"):
        occlude_bands(Linear(), windows, 0, [(120, 130)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": 2}, "or 0 to 1, got 2"),
        ({"target": -1}, "or 0 to 1, got -1"),
        ({"target": "up"}, "among 'left', 'right' or 0 to 1, got 'up'"),
        ({"target": ["left", "right"]}, "each of the 5 windows, got 2"),
        ({"target": "left", "classes": ["left"]}, "names of all 2 outputs, got left"),
        ({"target": lambda outputs: outputs}, r"got shape \(1, 2\)"),
        ({"target": 0, "method": "saliency"}, "method must be one of gradient"),
        ({"target": 0, "method": "occlusion", "patch_length": 0.001}, "a sample of 0.005 s"),
        ({"target": 0, "batch_size": 0}, "batch_size must be positive"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(windows, arguments, message):
    with pytest.raises(ValueError, match=message):
        attribute(Linear(), windows, **arguments)


def test_a_model_without_plain_outputs_needs_a_function(windows):
    model = EEGDINO(**SIGNAL, n_layer=1, n_global_tokens=1, return_encoder_output=False)
    prepared = prepare(windows, model)
    model.register_forward_hook(lambda module, inputs, output: {"features": output})

    with pytest.raises(ValueError, match="function that turns what it gives into scores"):
        attribute(model, prepared, 0)


def test_windows_of_another_model_are_refused(windows):
    with pytest.raises(ValueError, match="Pass them through prepare"):
        attribute(BUILD["EEGDINO"](), windows, 0)


def test_no_windows_are_refused(windows):
    with pytest.raises(ValueError, match="at least one window, got none"):
        attribute(Linear(), windows[:0], 0)
