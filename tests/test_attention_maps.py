"""Attention maps are the weights of the real forward pass, named and within bounds of memory."""

import copy
import weakref
from functools import partial

import mne
import numpy as np
import pytest
import small_models
import torch
import xarray as xr

from eeglab_models import EEGDINO, EEGPT, CodeBrain, FBLightConvNet, Windows
from eeglab_models.interpreting.attention import attention_maps, record_attention
from eeglab_models.interpreting.summaries import entropy, marginal
from eeglab_models.models.codebrain import WindowAttention
from eeglab_models.models.global_convolution import project as apply_linear
from eeglab_models.signals.windows import Stamp

NAMES = ["Fp1", "C3", "Cz"]
CHANNELS = [{"ch_name": name} for name in NAMES]
SIGNAL = {"n_outputs": 2, "chs_info": CHANNELS, "n_times": 80, "sfreq": 20.0}
EEGPT_SMALL = {
    "patch_size": 20,
    "patch_stride": 10,
    "embed_num": 2,
    "embed_dim": 12,
    "depth": 3,
    "num_heads": 4,
}
EEGDINO_SMALL = {
    "patch_size": 20,
    "n_layer": 3,
    "nhead": 2,
    "dim_feedforward": 8,
    "channels_kernel_stride_padding_norm": [(4, 9, 5, 4, (2, 4))],
    "n_global_tokens": 2,
}
CODEBRAIN_SMALL = {
    "patch_size": 20,
    **small_models.CODEBRAIN,
    "codebook_size_t": 3,
    "codebook_size_f": 3,
}
FILTERS_SMALL = {"win_len": 20, "n_filters_spat": 6, "heads": 3, "n_bands": [(2, 4), (4, 8)]}
BUILD = {
    "EEGPT": partial(EEGPT, **SIGNAL, **EEGPT_SMALL, chan_proj_type="none"),
    "EEGDINO": partial(EEGDINO, **SIGNAL, **EEGDINO_SMALL),
    "CodeBrain": partial(CodeBrain, **SIGNAL, **CODEBRAIN_SMALL),
    "CodeBrain, window 3": partial(CodeBrain, **SIGNAL, **CODEBRAIN_SMALL, swa_window_size=3),
    "FBLightConvNet": partial(FBLightConvNet, **SIGNAL, **FILTERS_SMALL),
}
ATTENTIVE = [name for name in BUILD if name != "FBLightConvNet"]


def build(name):
    """Build a model in evaluation mode, every weight moved away from its initial value."""
    model = BUILD[name]()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


@pytest.fixture
def x():
    return torch.randn(5, 3, 80)


# Exactness


@pytest.mark.parametrize("name", ["EEGPT", "EEGDINO"])
def test_weights_times_values_are_what_a_layer_puts_out(name, x):
    model = build(name)
    layers = model.target_encoder.blocks if name == "EEGPT" else model.encoder_layers
    values, heads = {}, {}
    for number, layer in enumerate(layers):
        attn = layer.attn
        bias = 0 if name == "EEGPT" else torch.cat([0 * attn.q_bias, 0 * attn.q_bias, attn.v_bias])

        def keep(module, inputs, output, number=number, bias=bias, n_heads=attn.n_heads):
            values[number] = (output + bias).unflatten(-1, (3, n_heads, -1))[:, :, 2].transpose(1, 2)

        attn.qkv.register_forward_hook(keep)
        attn.proj.register_forward_pre_hook(
            lambda module, inputs, number=number: heads.update({number: inputs[0]})
        )

    with torch.no_grad():
        maps = attention_maps(model, x)

    for number in range(3):
        weights = torch.tensor(maps[number].values).flatten(0, -4)  # (n_maps, n_heads, n_queries, n_keys)
        recombined = (weights @ values[number]).transpose(1, 2).flatten(2)
        torch.testing.assert_close(recombined, heads[number])


@pytest.mark.parametrize("name", ["CodeBrain", "CodeBrain, window 3"])
def test_weights_times_values_are_what_a_window_puts_out(name, x):
    model = build(name)
    layers = [module for module in model.modules() if isinstance(module, WindowAttention)]
    seen = [[], []]
    for number, layer in enumerate(layers):
        layer.register_forward_hook(
            lambda module, inputs, output, number=number: seen[number].extend([inputs[0], output])
        )

    with torch.no_grad():
        maps = attention_maps(model, x)

    for number, layer in enumerate(layers):
        tokens, output = seen[number]
        values = layer.in_proj_weight[24:] @ tokens + layer.in_proj_bias[24:, None]  # (5, 12, n_tokens)
        weights = torch.tensor(maps[number].values)
        heads = torch.einsum("bhqk,bhdk->bhdq", weights, values.unflatten(1, (4, -1))).flatten(1, 2)
        torch.testing.assert_close(apply_linear(heads, layer.out_proj), output)


def test_temporal_weights_average_the_patches_of_every_filter(x):
    model = build("FBLightConvNet")
    seen = []
    model.attn_conv.register_forward_hook(lambda module, inputs, output: seen.extend([inputs[0], output]))

    weights = torch.tensor(attention_maps(model, x)[0].values)
    model(x)

    power, features = seen
    torch.testing.assert_close((power * weights[torch.arange(6) % 3]).sum(-1), features)


@pytest.mark.parametrize("name", BUILD)
def test_weights_sum_to_one(name, x):
    for attention in attention_maps(build(name), x).values():
        np.testing.assert_allclose(attention.sum("key"), 1, rtol=1e-5)


# The model stays as it is


@pytest.mark.parametrize("name", ATTENTIVE)
def test_recording_changes_neither_the_output_nor_the_state(name, x):
    model = build(name)
    expected, state = model(x), copy.deepcopy(model.state_dict())

    with record_attention(model) as weights:
        recorded = model(x)
        inside = model.state_dict()

    torch.testing.assert_close(recorded, expected)
    torch.testing.assert_close(inside, state, rtol=0, atol=0)
    assert sorted(weights) == list(range(len(weights)))


@pytest.mark.parametrize("name", ATTENTIVE)
def test_nothing_is_recorded_after_the_context_or_an_error(name, x):
    model = build(name)

    with pytest.raises(RuntimeError), record_attention(model) as weights:
        raise RuntimeError

    model(x)
    assert weights == {}
    assert not any(getattr(module, "recording", False) for module in model.modules())


def test_every_module_is_in_its_mode_again():
    model = build("EEGDINO").train()
    model.encoder_layers[1].eval()
    modes = [module.training for module in model.modules()]

    attention_maps(model, torch.randn(1, 3, 80))

    assert [module.training for module in model.modules()] == modes


@pytest.mark.parametrize("name", ["EEGPT", "EEGDINO"])
def test_every_layer_runs_once_and_the_head_not_at_all(name, x):
    model = build(name)
    calls = []
    for module_name, module in model.named_modules():
        if module_name.endswith("qkv") or module_name == "final_layer":
            module.register_forward_hook(lambda *_, module_name=module_name: calls.append(module_name))

    attention_maps(model, x)

    assert len(calls) == len(set(calls)) == 3
    assert "final_layer" not in calls


def test_training_mode_is_refused():
    with pytest.raises(ValueError, match=r"EEGDINO is in training mode. Call model.eval\(\) first"):
        record_attention(build("EEGDINO").train()).__enter__()


def test_a_model_that_starts_to_train_falls_silent(x):
    model = build("CodeBrain")

    with record_attention(model) as weights:
        model.train()(x)

    assert weights == {}


def test_contexts_may_be_nested(x):
    model = build("EEGPT")

    with record_attention(model) as outer:
        with record_attention(model, layers=[0]) as inner:
            model(x)
        assert (list(inner), list(outer)) == ([0], [1, 2])
        model(x)

    assert sorted(outer) == [0, 1, 2]


def test_gradients_flow_through_recorded_weights(x):
    model = build("EEGDINO")

    with record_attention(model, layers=[0]) as weights:
        output = model(x)

    (gradient,) = torch.autograd.grad(output.sum(), weights[0])
    assert gradient.abs().max() > 0


# Names


def test_eegpt_looks_at_the_channels_and_summary_tokens_of_a_moment(x):
    maps = attention_maps(build("EEGPT"), x)

    assert maps[0].dims == ("window", "moment", "head", "query", "key")
    assert maps[0].shape == (5, 7, 4, 5, 5)
    assert maps[0]["key"].values.tolist() == [*NAMES, "summary 0", "summary 1"]
    assert maps[0]["key_channel"].values.tolist() == [*NAMES, "", ""]
    assert maps[0]["moment"].values.tolist() == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5]
    assert maps[2]["query"].values.tolist() == ["summary 0", "summary 1"]
    assert maps[2]["key"].values.tolist() == maps[0]["key"].values.tolist()


def test_projected_channels_have_the_names_of_the_encoder(x):
    model = EEGPT(**SIGNAL, **EEGPT_SMALL).eval()

    keys = attention_maps(model, x, layers=[0])[0]["key"].values

    assert len(keys) == 21
    assert keys[:2].tolist() == ["Fp1", "Fp2"]


def test_summary_tokens_of_eegdino_join_after_the_first_layer(x):
    maps = attention_maps(build("EEGDINO"), x[..., :50])

    patches = [f"{name} {time} s" for name in NAMES for time in (0.5, 1.5, 2.5)]
    assert maps[0]["query"].values.tolist() == maps[0]["key"].values.tolist() == patches
    assert maps[1]["query"].values.tolist() == ["summary 0", "summary 1", *patches]
    assert maps[1]["key_channel"].values.tolist()[:4] == ["", "", "Fp1", "Fp1"]
    np.testing.assert_equal(maps[1]["query_time"].values[1:4], [np.nan, 0.5, 1.5])


def test_a_token_of_published_codebrain_attends_to_itself_only(x):
    maps = attention_maps(build("CodeBrain"), x)

    for attention in maps.values():
        np.testing.assert_array_equal(attention, np.broadcast_to(np.eye(12), (5, 4, 12, 12)))
        assert attention.attrs["window_size"] == 1


def test_windows_of_codebrain_end_where_they_should(x):
    (attention,) = attention_maps(build("CodeBrain, window 3"), x, layers=[-1]).values()

    distance = np.abs(np.subtract.outer(np.arange(12), np.arange(12)))
    assert (attention.values[..., distance <= 1] > 0).all()
    assert (attention.values[..., distance > 1] == 0).all()


@pytest.mark.parametrize("name", ["EEGDINO", "CodeBrain, window 3"])
def test_tokens_keep_their_names_whatever_the_order_of_channels(name, x):
    model = build(name)
    places = [0, 4, 17]  # Fp1, C3 and Cz in the published montage
    order = [2, 0, 1]

    expected = attention_maps(model, x, channel_ids=places)
    maps = attention_maps(model, x[:, order], channel_ids=torch.tensor(places)[order])

    for layer, attention in maps.items():
        sorted_alike = attention.sel(query=expected[layer]["query"], key=expected[layer]["key"])
        np.testing.assert_allclose(sorted_alike, expected[layer], atol=1e-6)


def test_unnamed_channels_are_counted():
    model = EEGDINO(**SIGNAL | {"chs_info": None, "n_chans": 2}, **EEGDINO_SMALL)

    keys = attention_maps(model, torch.randn(1, 2, 80), layers=[0])[0]["key"].values

    assert keys[[0, -1]].tolist() == ["channel 0 0.5 s", "channel 1 3.5 s"]


def test_temporal_weights_are_named_by_the_middle_of_their_patch(x):
    weights = attention_maps(build("FBLightConvNet"), x)[0]

    assert weights.dims == ("head", "key")
    assert weights["key"].values.tolist() == ["0.5 s", "1.5 s", "2.5 s", "3.5 s"]
    assert weights.attrs["softmax"]


@pytest.fixture
def windows():
    """Prepared windows for EEGDINO."""
    stamp = Stamp(sfreq=20.0, unit="µV/100", reference="any", ch_names=tuple(NAMES), n_times=80)
    data = np.random.default_rng(0).normal(size=(3, 3, 80)).astype(np.float32)
    return Windows(
        data, mne.create_info(NAMES, 20.0, "eeg"), np.array(["a", "b", "a"]), unit="µV/100", stamp=stamp
    )


def test_maps_of_windows_know_what_they_belong_to(windows):
    maps = attention_maps(build("EEGDINO"), windows, batch_size=2)

    assert maps[1]["label"].values.tolist() == ["a", "b", "a"]
    assert maps[1]["window"].values.tolist() == [0, 1, 2]


def test_windows_of_another_model_are_refused(windows):
    with pytest.raises(ValueError, match=r"unit µV, got µV/100"):
        attention_maps(build("FBLightConvNet"), windows)


# Layers, reductions and memory


@pytest.mark.parametrize("reduce", [None, "head", ("head", "window"), partial(marginal, to="channels")])
@pytest.mark.parametrize("name", ATTENTIVE)
def test_batches_and_reductions_change_nothing_but_the_memory(name, reduce, x):
    model = build(name)
    whole = attention_maps(model, x)

    maps = attention_maps(model, x, reduce=reduce, batch_size=2)

    for layer, attention in maps.items():
        expected = reduce(whole[layer]) if callable(reduce) else whole[layer].mean(reduce or [])
        xr.testing.assert_allclose(attention, expected, atol=1e-6)


class Peak:
    """Count how many whole maps exist at a time."""

    def __init__(self):
        self.maps, self.most = [], 0

    def __call__(self, attention):
        self.maps.append(weakref.ref(attention.values))
        self.most = max(self.most, sum(reference() is not None for reference in self.maps))
        return entropy(attention)


def test_whole_maps_never_pile_up(x):
    peak = Peak()

    attention_maps(build("EEGDINO"), x, reduce=peak, batch_size=2)

    assert peak.most == 1


def test_chosen_layers_and_averages_are_all_that_is_kept(x):
    maps = attention_maps(build("EEGDINO"), x, layers=[-1, 0], reduce=("window", "head"), batch_size=2)

    assert list(maps) == [0, 2]
    assert [attention.nbytes for attention in maps.values()] == [4 * 12 * 12, 4 * 14 * 14]


@pytest.mark.parametrize("layer", [3, -4])
def test_layers_that_do_not_exist_are_refused(layer, x):
    with pytest.raises(ValueError, match=f"has the attention layers 0 to 2, got {layer}"):
        attention_maps(build("EEGPT"), x, [layer])


def test_axes_that_cannot_be_averaged_are_refused(x):
    with pytest.raises(ValueError, match="among window, moment, head, query, .* got 'key'"):
        attention_maps(build("EEGPT"), x, reduce="key")


def test_models_without_attention_layers_are_refused():
    with pytest.raises(ValueError, match="FBLightConvNet has no attention layers to record"):
        record_attention(build("FBLightConvNet")).__enter__()


def test_channel_ids_are_refused_by_models_that_take_none(x):
    with pytest.raises(ValueError, match="EEGPT takes no channel_ids"):
        attention_maps(build("EEGPT"), x, channel_ids=[0, 1, 2])


def test_no_window_is_refused(x):
    with pytest.raises(ValueError, match="At least one window is needed, got none"):
        attention_maps(build("EEGPT"), x[:0])
