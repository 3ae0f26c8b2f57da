"""Kernels, receptive fields, filters and patterns are those that the models use."""

from functools import partial

import numpy as np
import pytest
import small_models
import torch

from eeglab_models import EEGDINO, EEGPT, CodeBrain, FBLightConvNet
from eeglab_models.interpreting.patterns import spatial_filters, spatial_patterns
from eeglab_models.interpreting.responses import global_kernels, receptive_field

CHANNELS = [{"ch_name": name} for name in ("C3", "Cz", "C4")]
SIGNAL = {"n_outputs": 2, "chs_info": CHANNELS, "n_times": 80, "sfreq": 20.0}
CODEBRAIN_SMALL = {
    "patch_size": 20,
    **small_models.CODEBRAIN,
    "codebook_size_t": 3,
    "codebook_size_f": 3,
}
EEGDINO_SMALL = {
    "patch_size": 20,
    "n_layer": 1,
    "nhead": 2,
    "dim_feedforward": 8,
    "channels_kernel_stride_padding_norm": [(4, 9, 5, 4, (2, 4))],
}
EEGPT_SMALL = {
    "patch_size": 20,
    "patch_stride": 20,
    "embed_num": 2,
    "embed_dim": 8,
    "depth": 2,
    "num_heads": 2,
    "chan_proj_type": "none",
}
FILTERS_SMALL = {"win_len": 20, "n_filters_spat": 4, "heads": 2, "n_bands": [(2, 4), (5, 8)]}


# Global kernels


@pytest.mark.parametrize("bidirectional", [True, False])
def test_kernels_are_what_a_convolution_answers_to_a_single_token(bidirectional):
    model = CodeBrain(**SIGNAL, **CODEBRAIN_SMALL, s4_bidirectional=bidirectional)
    conv = model.residual_layer.residual_blocks[1].sgconv
    impulse = torch.zeros(1, 12, 12)
    impulse[..., 5] = 1

    kernels = global_kernels(model, layers=[1])

    assert kernels.dims == ("layer", "filter", "feature", "lag")
    answer = conv.convolve(impulse)[0].unflatten(0, (4, 12)).detach()
    expected = kernels.sel(layer=1, lag=slice(-5, 6))
    np.testing.assert_allclose(expected, answer, atol=1e-6)
    assert bool((abs(kernels.sel(lag=slice(-11, -1))) > 1e-6).any()) is bidirectional


def test_lags_are_told_in_tokens_and_seconds():
    kernels = global_kernels(CodeBrain(**SIGNAL, **CODEBRAIN_SMALL), n_tokens=3)

    assert kernels["layer"].values.tolist() == [0, 1]
    assert kernels["lag"].values.tolist() == [-2, -1, 0, 1, 2]
    assert kernels["seconds"].values.tolist() == [-2.0, -1.0, 0.0, 1.0, 2.0]


def test_kernels_need_global_convolutions():
    with pytest.raises(TypeError, match="Only CodeBrain has global convolutions, got EEGDINO"):
        global_kernels(EEGDINO(**SIGNAL, **EEGDINO_SMALL))


def test_blocks_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="has the blocks 0 to 1, got 2"):
        global_kernels(CodeBrain(**SIGNAL, **CODEBRAIN_SMALL), layers=[2])


# Receptive fields


def test_a_summary_of_eegpt_hears_its_own_moment_only():
    field = receptive_field(EEGPT(**SIGNAL, **EEGPT_SMALL), torch.randn(2, 3, 80))

    assert field.dims == ("token", "channel", "time")
    assert field["token"].values.tolist()[:3] == ["summary 0 0.5 s", "summary 1 0.5 s", "summary 0 1.5 s"]
    own = field["token_time"].values[:, None] == field["time"].values
    np.testing.assert_allclose(field.sum("channel"), own, atol=1e-12)


def test_a_token_of_eegdino_hears_all_channels_and_itself_most():
    field = receptive_field(EEGDINO(**SIGNAL, **EEGDINO_SMALL), torch.randn(2, 3, 80))

    np.testing.assert_allclose(field.sum(["channel", "time"]), 1)
    assert (field.values > 0).all()
    own = field.sel(token="Cz 1.5 s")
    assert own.argmax(...) == {"channel": 1, "time": 1}


def test_filters_of_fblightconvnet_hear_their_channels():
    model = FBLightConvNet(**SIGNAL, **FILTERS_SMALL).eval()
    with torch.no_grad():
        model.spatial_conv[0].weight[2, :, [0, 2]] = 0

    field = receptive_field(model, torch.randn(2, 3, 80), tokens=["filter 2"], n_draws=1)

    np.testing.assert_allclose(field.sel(token="filter 2").sum("time"), [0, 1, 0], atol=1e-12)


@pytest.mark.parametrize(
    ("build", "token", "number"),
    [
        (partial(EEGPT, **SIGNAL, **EEGPT_SMALL), "summary 1 1.5 s", 3),
        (partial(EEGDINO, **SIGNAL, **EEGDINO_SMALL), "Cz 1.5 s", 5),
        (partial(CodeBrain, **SIGNAL, **CODEBRAIN_SMALL), "Cz 1.5 s", 5),
    ],
    ids=["EEGPT", "EEGDINO", "CodeBrain"],
)
def test_a_field_sums_the_squared_gradients_of_all_features(build, token, number):
    model, x = build().eval(), torch.randn(1, 3, 80)

    def features(x):
        # Both of EEGPT's summary tokens stand side by side.
        flat = model(x, return_features=True)["features"].flatten()
        return flat.unflatten(0, (8 if isinstance(model, EEGPT) else 12, -1))[number]

    energy = torch.autograd.functional.jacobian(features, x)[:, 0].unflatten(-1, (4, 20)).square()
    expected = energy.sum(dim=(0, 3)) / energy.sum()

    field = receptive_field(model, x.expand(10, -1, -1), tokens=[token], n_draws=10)[0]

    np.testing.assert_allclose(field, expected, atol=0.07)


def test_fields_leave_the_model_as_it_is():
    model = EEGDINO(**SIGNAL, **EEGDINO_SMALL).train()

    receptive_field(model, torch.randn(1, 3, 80), tokens=["C3 0.5 s"])

    assert model.training
    assert [parameter.grad for parameter in model.parameters() if parameter.grad is not None] == []


def test_seeds_repeat_a_field():
    model, x = EEGDINO(**SIGNAL, **EEGDINO_SMALL), torch.randn(1, 3, 80)
    fields = [receptive_field(model, x, ["C3 0.5 s"], seed=seed) for seed in (1, 1, 2)]

    np.testing.assert_array_equal(fields[0], fields[1])
    assert not np.allclose(fields[0], fields[2])


def test_unknown_tokens_are_refused():
    with pytest.raises(ValueError, match="tokens C3 0.5 s to C4 3.5 s, got C3 0.7 s"):
        receptive_field(EEGDINO(**SIGNAL, **EEGDINO_SMALL), torch.randn(1, 3, 80), ["C3 0.7 s"])


# Filters and patterns


@pytest.fixture
def model():
    return FBLightConvNet(**SIGNAL, **FILTERS_SMALL).eval()


def test_filters_are_the_weights_with_their_names(model):
    filters = spatial_filters(model)

    assert filters.dims == ("filter", "band", "channel")
    assert filters["band"].values.tolist() == ["2-4 Hz", "5-8 Hz"]
    assert filters["channel"].values.tolist() == ["C3", "Cz", "C4"]
    assert filters["head"].values.tolist() == [0, 1, 0, 1]
    expected = model.spatial_conv[0].weight[3, 1, 2].item()
    assert filters.sel(filter=3, band="5-8 Hz", channel="C4") == pytest.approx(expected)


def mix(topography, noise, n_windows=200, sfreq=20.0):
    """Windows of a 6 Hz source with a topography, and a 3 Hz disturbance with another."""
    time = np.arange(80) / sfreq
    phases = np.random.default_rng(0).uniform(0, 2 * np.pi, (2, n_windows, 1))
    source, disturbance = (np.sin(2 * np.pi * f * time + p) for f, p in zip((6, 6.5), phases, strict=True))
    data = np.einsum("c,nt->nct", topography, source) + np.einsum("c,nt->nct", noise, disturbance)
    return torch.tensor(data, dtype=torch.float32)


def test_patterns_find_the_topography_where_filters_cancel_a_disturbance(model):
    topography, disturbance = np.array([3.0, 1.0, 0.0]), np.array([1.0, 0.0, 2.0])
    # Deaf to the disturbance and hears the source, with a large weight where the source is absent.
    weights = np.array([0.5, -1.0, -0.25])
    assert weights @ disturbance == 0
    with torch.no_grad():
        model.spatial_conv[0].weight[0, 1, :, 0] = torch.tensor(weights)

    pattern = spatial_patterns(model, mix(topography, disturbance)).sel(filter=0, band="5-8 Hz")

    correlation = pattern.values @ topography / np.linalg.norm(pattern) / np.linalg.norm(topography)
    assert correlation > 0.99
    assert abs(weights @ topography) / np.linalg.norm(weights) / np.linalg.norm(topography) < 0.2


def test_patterns_are_microvolts_per_standard_deviation(model):
    x = 2 * torch.randn(50, 3, 80)
    bands = model.spectral_filtering(x).double()  # (50, 2, 3, 80)
    bands = bands - bands.mean(dim=-1, keepdim=True)
    weights = model.spatial_conv[0].weight[1, 0, :, 0].double()
    output = torch.einsum("c,nct->nt", weights, bands[:, 0])

    pattern = spatial_patterns(model, x, batch_size=7).sel(filter=1, band="2-4 Hz")

    slopes = torch.einsum("nct,nt->c", bands[:, 0], output) / output.square().sum()
    expected = (slopes * output.square().sum().div(50 * 79).sqrt()).detach().numpy()
    np.testing.assert_allclose(pattern, expected * np.sign(expected[np.abs(expected).argmax()]), rtol=1e-4)
    assert pattern.attrs["unit"] == "µV"


def test_the_largest_value_of_a_pattern_is_positive(model):
    patterns = spatial_patterns(model, torch.randn(10, 3, 80))

    np.testing.assert_allclose(patterns.max("channel"), np.abs(patterns).max("channel"))


def test_a_filter_that_ignores_a_band_has_no_pattern_there(model):
    with torch.no_grad():
        model.spatial_conv[0].weight[0, 0] = 0

    patterns = spatial_patterns(model, torch.randn(4, 3, 80))

    np.testing.assert_array_equal(patterns.sel(filter=0, band="2-4 Hz"), 0)


def test_other_models_have_no_spatial_filters():
    with pytest.raises(TypeError, match="Only FBLightConvNet has spatial filters, got EEGPT"):
        spatial_patterns(EEGPT(**SIGNAL, **EEGPT_SMALL), torch.randn(1, 3, 80))
