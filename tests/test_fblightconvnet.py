"""What FBLightConvNet alone promises."""

import copy
import math

import numpy as np
import pytest
import scipy.signal
import torch
from torch import nn

from eeglab_models.models.fblightconvnet import (
    FEW_WINDOWS,
    FBLightConvNet,
    FilterBank,
    LightweightConv,
    filter_and_mix,
    log_variance,
)

SMALL = {
    "n_chans": 4,
    "n_outputs": 3,
    "n_times": 200,
    "sfreq": 100,
    "win_len": 40,
    "n_filters_spat": 6,
    "heads": 3,
    "n_bands": [(6, 12), (10, 20)],
}
BUTTERWORTH = {"method": "iir"}
CAUSAL_BUTTERWORTH = {"method": "iir", "phase": "causal"}
CAUSAL_FIR = {"phase": "forward"}


def impulse():
    x = torch.zeros(1, 1, 401, dtype=torch.float64)
    x[..., 200] = 1
    return x


def test_a_rhythm_passes_its_own_band_only():
    time = torch.arange(1000) / 250
    alpha = torch.sin(2 * math.pi * 10 * time).view(1, 1, -1)

    power = FilterBank([(4, 6), (8, 12), (20, 30)], 250)(alpha)[0, :, 0, 300:700].square().mean(-1)

    torch.testing.assert_close(power, torch.tensor([0.0, 0.5, 0.0]), atol=0.01, rtol=0)


@pytest.mark.parametrize("parameters", [None, BUTTERWORTH], ids=["fir", "iir"])
def test_zero_phase_filters_do_not_shift(parameters):
    response = FilterBank([(10, 20)], 100, parameters)(impulse())[0, 0, 0]

    torch.testing.assert_close(response, response.flip(-1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("parameters", [CAUSAL_FIR, CAUSAL_BUTTERWORTH], ids=["fir", "iir"])
def test_causal_filters_know_nothing_of_the_future(parameters):
    response = FilterBank([(10, 20)], 100, parameters)(impulse())[0, 0, 0]

    assert response[:200].abs().max() < 1e-12
    assert response[200:].abs().max() > 0.01


def test_recursive_filters_run_forward_and_then_backward_from_rest():
    x = np.random.default_rng(0).normal(size=(2, 3, 150))
    b, a = scipy.signal.butter(4, (10, 20), "bandpass", fs=100)
    forward = scipy.signal.lfilter(b, a, x)
    expected = scipy.signal.lfilter(b, a, forward[..., ::-1])[..., ::-1].copy()

    bands = FilterBank([(10, 20)], 100, BUTTERWORTH)(torch.tensor(x))

    torch.testing.assert_close(bands, torch.tensor(expected).unsqueeze(1))


@pytest.mark.parametrize("n_times", [100, 150, 400])
def test_windows_of_any_length_are_filtered_by_the_coefficients_that_were_loaded(n_times):
    prepared = FilterBank([(10, 20)], 100, CAUSAL_BUTTERWORTH, n_times=150)
    other = FilterBank([(4, 8)], 100, CAUSAL_BUTTERWORTH, n_times=400)
    x = torch.randn(2, 3, n_times, dtype=torch.float64)

    prepared.load_state_dict(other.state_dict())

    torch.testing.assert_close(prepared(x), other(x))


def test_filters_survive_a_model_that_was_built_without_values():
    with torch.device("meta"):
        empty = FilterBank([(10, 20)], 100, CAUSAL_BUTTERWORTH, n_times=150)
    filled = FilterBank([(10, 20)], 100, CAUSAL_BUTTERWORTH, n_times=150)
    x = torch.randn(2, 3, 150)

    empty.to_empty(device="cpu").load_state_dict(filled.state_dict())

    torch.testing.assert_close(empty(x), filled(x))


def test_the_causal_chebyshev_bank_of_the_paper_is_scipys():
    x = np.random.default_rng(0).normal(size=(1, 2, 400))
    parameters = {
        "method": "iir",
        "phase": "forward",
        "iir_params": {"ftype": "cheby2", "order": 4, "rs": 30},
    }
    b, a = scipy.signal.cheby2(4, 30, (6, 14), "bandpass", fs=250)

    bands = FilterBank([(6, 14)], 250, parameters)(torch.tensor(x))

    torch.testing.assert_close(bands[:, 0], torch.tensor(scipy.signal.lfilter(b, a, x)))


def test_filters_are_not_trained():
    bank = FilterBank(3, 100)

    assert [parameter for parameter in bank.parameters() if parameter.requires_grad] == []


@pytest.mark.parametrize("parameters", [None, BUTTERWORTH], ids=["fir", "iir"])
def test_filters_keep_their_precision_when_the_model_is_cast(parameters):
    model = FBLightConvNet(**SMALL, filter_parameters=parameters)
    expected = copy.deepcopy(model.spectral_filtering.state_dict())

    model.bfloat16()

    for key, taps in model.spectral_filtering.state_dict().items():
        assert torch.equal(taps, expected[key]), key
    assert model.spatial_conv[0].weight.dtype == torch.bfloat16


@pytest.mark.parametrize("parameters", [None, BUTTERWORTH, CAUSAL_BUTTERWORTH], ids=["fir", "iir", "causal"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=["bfloat16", "float64"])
def test_cast_models_answer_in_their_precision_with_a_new_head_too(parameters, dtype):
    model = FBLightConvNet(**SMALL, filter_parameters=parameters).eval().to(dtype)
    model.reset_head(5)

    output = model(torch.randn(2, 4, 200, dtype=dtype))

    assert (output.shape, output.dtype) == ((2, 5), dtype)


def test_a_new_head_of_a_model_with_recursive_filters_is_single_precision():
    model = FBLightConvNet(**SMALL, filter_parameters=BUTTERWORTH)
    model.reset_head(5)

    assert model(torch.randn(2, 4, 200)).dtype == torch.float32


@pytest.mark.parametrize("parameters", [None, CAUSAL_FIR, {"phase": "minimum"}, CAUSAL_BUTTERWORTH], ids=str)
def test_filtering_and_mixing_at_once_is_filtering_and_then_mixing(parameters):
    model = FBLightConvNet(**SMALL, filter_parameters=parameters, activation=nn.Tanh).double().eval()
    x = torch.randn(FEW_WINDOWS, 4, 200, dtype=torch.float64)

    maps = filter_and_mix(x, model.spectral_filtering, model.spatial_conv)

    torch.testing.assert_close(maps, model.spatial_conv(model.spectral_filtering(x)))


@pytest.mark.parametrize("n_windows", [1, FEW_WINDOWS])
@pytest.mark.parametrize("name", ["spectral_filtering", "spatial_conv", "spatial_conv.0", "spatial_conv.1"])
@pytest.mark.parametrize("kind", ["forward", "forward_pre", "full_backward", "full_backward_pre"])
def test_hooks_are_called_for_any_number_of_windows(name, n_windows, kind):
    model, calls = FBLightConvNet(**SMALL).eval(), []
    x = torch.randn(n_windows, 4, 200, requires_grad=True)
    expected = model(x)
    getattr(model.get_submodule(name), f"register_{kind}_hook")(lambda *args: calls.append(name))

    output = model(x)
    output.sum().backward()

    torch.testing.assert_close(output, expected)
    assert calls == [name]


def test_an_adapter_in_the_place_of_the_convolution_is_called():
    class Silent(nn.Conv2d):
        def forward(self, bands):
            return 0 * super().forward(bands)

    model = FBLightConvNet(**SMALL).eval()
    model.spatial_conv[0] = Silent(2, 6, (4, 1))
    logits = model(torch.randn(FEW_WINDOWS, 4, 200))

    assert torch.equal(logits, logits[:1].expand_as(logits))


def test_log_variance_of_a_patch():
    patches = torch.tensor([[0.0, 2.0], [1.0, 1.0], [-3e4, 3e4]]).view(1, 1, 3, 2)

    power = log_variance(patches)

    expected = torch.tensor([2.0, 1e-6, 1e6]).log().view(1, 1, 3)
    torch.testing.assert_close(power, expected)


def test_log_variance_is_unbiased():
    patches = 5 * torch.randn(2, 3, 7, 11)

    torch.testing.assert_close(log_variance(patches), patches.var(-1).log())


def test_log_variance_of_half_precision_maps_is_summed_in_single_precision():
    patches = (10 + torch.randn(2, 3, 7, 250)).bfloat16()

    assert torch.equal(log_variance(patches), log_variance(patches.float()).bfloat16())


def test_maps_take_turns_with_the_kernels():
    conv = LightweightConv(n_filters=4, n_patches=3, n_heads=2, weight_softmax=False, bias=False)
    conv.weight.data = torch.tensor([[[1.0, 0.0, 0.0]], [[0.0, 0.0, 2.0]]])
    power = torch.arange(12.0).view(1, 4, 3)

    assert conv(power).tolist() == [[0, 10, 6, 22]]


def test_softmax_makes_a_kernel_an_average():
    conv = LightweightConv(n_filters=2, n_patches=3, n_heads=1, weight_softmax=True, bias=True)
    conv.weight.data = torch.tensor([[[0.0, 0.0, math.log(2)]]])  # 1/4, 1/4 and 1/2
    conv.bias.data = torch.tensor([0.0, 10.0])

    averages = conv(torch.tensor([[[4.0, 8.0, 2.0], [4.0, 8.0, 2.0]]]))

    torch.testing.assert_close(averages, torch.tensor([[4.0, 14.0]]))


def test_features_are_what_the_head_reads():
    model = FBLightConvNet(**SMALL).eval()
    x = torch.randn(2, 4, 200)

    output = model(x, return_features=True)

    assert output["features"].shape == (2, 6)
    assert output["cls_token"] is None
    torch.testing.assert_close(model.final_layer(output["features"]), model(x))


def test_a_patch_speaks_through_its_weight_alone():
    model = FBLightConvNet(**SMALL, weight_softmax=False).eval()
    model.attn_conv.weight.data[..., 2] = 0
    x = torch.randn(1, 4, 200)
    maps = model.spatial_conv(model.spectral_filtering(x)).squeeze(2)
    power = log_variance(maps.unflatten(-1, (5, 40)))
    others = model.attn_conv(power.index_fill(2, torch.tensor([2]), 7.0))

    torch.testing.assert_close(others, model(x, return_features=True)["features"])


def test_the_stride_factor_has_no_effect():
    models = []
    for stride_factor in (4, None, 7):
        torch.manual_seed(1)
        models.append(FBLightConvNet(**SMALL, stride_factor=stride_factor).eval())
    x = torch.randn(2, 4, 200)

    assert torch.equal(models[0](x), models[1](x))
    assert torch.equal(models[0](x), models[2](x))


def test_left_over_samples_are_filtered_but_take_no_part():
    with pytest.warns(UserWarning, match="211 samples.*11 samples are left over.*truncated after filtering"):
        model = FBLightConvNet(**SMALL | {"n_times": 211, "filter_parameters": CAUSAL_FIR})
    model.eval()
    x = torch.randn(1, 4, 211)
    other_end = torch.cat([x[..., :200], torch.randn(1, 4, 11)], dim=-1)

    torch.testing.assert_close(model(other_end), model(x))


def test_the_scale_of_the_input_matters_to_a_trained_model_only():
    model = FBLightConvNet(**SMALL)
    x = 10 * torch.randn(16, 4, 200)
    torch.testing.assert_close(model(100 * x), model(x), rtol=1e-3, atol=1e-3)

    model.eval()

    assert not torch.allclose(model(100 * x), model(x), rtol=0.1, atol=0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"heads": 4}, "divide n_filters_spat=6, got 4"),
        ({"win_len": 201}, "between 2 and the window's 200 samples, got 201"),
        ({"win_len": 1}, "between 2 and the window's 200 samples, got 1"),
        ({"n_dim": 2}, "n_dim must be 3.*got 2"),
        ({"sfreq": 30}, r"high < 15 Hz.*got \(10, 20\)"),
        ({"filter_parameters": {"order": 4}}, "cannot be designed.*'order'"),
    ],
)
def test_impossible_options_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        FBLightConvNet(**SMALL | arguments)


@pytest.mark.parametrize("n_times", [160, 199, 240])
def test_windows_of_another_length_are_refused(n_times):
    model = FBLightConvNet(**SMALL)

    with pytest.raises(ValueError, match=f"built for windows of 200 samples, got {n_times}"):
        model(torch.randn(2, 4, n_times))


def test_windows_shorter_than_a_patch_are_refused_like_any_other_length():
    with pytest.raises(ValueError, match="built for windows of 200 samples, got 30"):
        FBLightConvNet(**SMALL)(torch.randn(2, 4, 30))


def test_the_arguments_of_the_caller_stay_as_they_are():
    parameters = {"method": "iir", "iir_params": {"ftype": "butter", "order": 2, "output": "sos"}}
    before = copy.deepcopy(parameters)
    FBLightConvNet(**SMALL, filter_parameters=parameters)

    assert parameters == before


def test_weights_keep_the_filters_that_they_were_trained_with(tmp_path):
    FBLightConvNet(**SMALL).save_pretrained(tmp_path)

    with pytest.raises(ValueError, match="trained with filter_parameters=None, got"):
        FBLightConvNet.from_pretrained(tmp_path, filter_parameters=BUTTERWORTH)
