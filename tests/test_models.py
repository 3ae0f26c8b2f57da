"""The contract: every promise, every model."""

import copy
import inspect
import json
import pickle

import numpy as np
import pytest
import torch
from references.cases import CASES
from references.compare import build

import eeglab_models

DEFAULTS = {case.model: case for case in CASES if case.name == "default"}
MODELS = sorted(DEFAULTS)

SIGNAL = "n_outputs=None, n_chans=None, chs_info=None, n_times=None, input_window_seconds=None, sfreq=None, "
SIGNATURES = {
    "CodeBrain": SIGNAL + "patch_size=200, res_channels=200, skip_channels=200, out_channels=200, "
    "num_res_layers=8, drop_prob=0.1, s4_bidirectional=True, s4_layernorm=False, s4_lmax=570, s4_d_state=64, "
    "conv_out_chans=25, conv_groups=5, proj_kernel_size=49, proj_padding=24, proj_refine_kernel=3, "
    "pos_kernel=(19, 7), spectral_dropout=0.1, mlp_hidden_multiplier=4, swa_window_size=1, "
    "codebook_size_t=4096, codebook_size_f=4096, pretrain_mode=False, activation=ReLU",
    "EEGPT": SIGNAL + "patch_size=64, patch_stride=32, embed_num=4, embed_dim=512, depth=8, num_heads=8, "
    "mlp_ratio=4.0, drop_prob=0.0, attn_drop_rate=0.0, drop_path_rate=0.0, init_std=0.02, qkv_bias=True, "
    "patch_module=None, norm_layer=None, layer_norm_eps=1e-06, return_encoder_output=False, "
    "chan_proj_type='conv1d_constraint', n_chans_target=19, chan_conv_max_norm=1.0, final_layer=None",
    "EEGDINO": SIGNAL + "patch_size=200, n_layer=12, nhead=8, dim_feedforward=512, "
    "channels_kernel_stride_padding_norm=((25, 49, 25, 24, (5, 25)), (25, 3, 1, 1, (5, 25)), "
    "(25, 3, 1, 1, (5, 25))), n_channel_embeddings=19, n_global_tokens=1, global_token_layer=1, "
    "activation=GELU, patch_activation=GELU, drop_prob=0.1, return_features=False, "
    "return_encoder_output=False",
    "FBLightConvNet": "n_chans=None, n_outputs=None, chs_info=None, n_times=None, input_window_seconds=None, "
    "sfreq=None, n_bands=9, n_filters_spat=32, n_dim=3, stride_factor=4, win_len=250, heads=8, "
    "weight_softmax=True, bias=False, activation=ELU, verbose=False, filter_parameters=None",
}
# Heads of the pretraining, and the residual branch of the last of two blocks, which no block reads.
LAST_BLOCK = "residual_layer.residual_blocks.1."
IDLE = {"CodeBrain": ("lm_head_", f"{LAST_BLOCK}res_conv", f"{LAST_BLOCK}rms_norm")}


@pytest.fixture(params=MODELS)
def case(request):
    return DEFAULTS[request.param]


@pytest.fixture
def model(case):
    return build(case)


@pytest.fixture
def x(case, model):
    return case.scale * torch.randn(2, model.n_chans, model.n_times)


def clone_state(model):
    return {key: value.clone() for key, value in model.state_dict().items()}


def assert_same_state(model, state, but=()):
    for key, value in model.state_dict().items():
        if not key.startswith(tuple(but) or ("\0",)):
            assert torch.equal(value, state[key]), key


def train_one_step(model, x):
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    torch.nn.functional.cross_entropy(model(x), torch.arange(len(x)) % model.n_outputs).backward()
    optimizer.step()


@pytest.mark.parametrize("name", MODELS)
def test_constructors_are_those_of_the_specification(name):
    parameters = list(inspect.signature(getattr(eeglab_models, name).__init__).parameters.values())[1:]

    shown = [
        f"{p.name}={p.default.__name__ if isinstance(p.default, type) else repr(p.default)}"
        for p in parameters
    ]

    assert ", ".join(shown) == SIGNATURES[name]


def test_logits_have_one_row_per_window(model, x):
    assert model(x).shape == (2, model.n_outputs)
    assert model.get_output_shape() == (1, model.n_outputs)


def test_windows_of_a_batch_do_not_know_each_other(model, x):
    torch.testing.assert_close(model(x)[1:], model(x[1:]))


def test_windows_have_the_name_that_is_documented(model, x):
    name = "inputs" if type(model).__name__ == "CodeBrain" else "x"

    assert torch.equal(model(**{name: x}), model(x))


def test_features_come_in_a_dictionary(model, x):
    output = model(x, return_features=True)

    assert set(output) == {"features", "cls_token"}
    assert output["features"].shape[0] == 2


def test_evaluation_repeats_itself_and_changes_nothing(model, x):
    state = clone_state(model)

    torch.testing.assert_close(model(x), model(x), rtol=0, atol=0)

    assert_same_state(model, state)


def test_every_trainable_parameter_of_the_task_gets_a_gradient(model, x):
    model.train()
    model(x).square().sum().backward()

    idle = {name for name, p in model.named_parameters() if p.requires_grad and p.grad is None}
    assert {name for name in idle if not name.startswith(IDLE.get(type(model).__name__, "-"))} == set()


def test_a_batch_of_one_trains(model, x):
    state = clone_state(model)

    train_one_step(model, x[:1])

    assert all(value.isfinite().all() for value in model.state_dict().values())
    assert any(not torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_training_follows_inference_mode(model, x):
    with torch.inference_mode():
        model(x)

    train_one_step(model, x)


def test_double_precision_runs_and_agrees(model, x):
    expected = model(x)

    output = model.double()(x.double())

    assert output.dtype == torch.float64
    torch.testing.assert_close(output.float(), expected, rtol=1e-3, atol=1e-4)


def test_bfloat16_autocast_runs_and_agrees_roughly(model, x):
    expected = model(x)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(x)
        output.sum().backward()

    error = (output.float() - expected).abs().max() / expected.abs().max()
    assert error < 0.1


def test_windows_need_not_be_contiguous(model, x):
    strided = x.transpose(1, 2).contiguous().transpose(1, 2)

    torch.testing.assert_close(model(strided), model(x))


def test_models_copy_and_pickle(model, x):
    expected = model(x)

    torch.testing.assert_close(copy.deepcopy(model)(x), expected, rtol=0, atol=0)
    torch.testing.assert_close(pickle.loads(pickle.dumps(model))(x), expected, rtol=0, atol=0)


@pytest.mark.parametrize("change", [-1, 1])
def test_another_number_of_channels_is_refused(model, x, change):
    n_chans = model.n_chans + change
    wrong = torch.zeros(2, n_chans, model.n_times)

    with pytest.raises(ValueError, match=f"built for {model.n_chans} channels, got {n_chans}"):
        model(wrong)


def test_too_short_a_window_is_refused(case, model):
    if case.model == "EEGDINO":
        pytest.skip("pads windows of any length")
    wrong = torch.zeros(2, model.n_chans, 3)

    with pytest.raises(ValueError, match="samples, got 3"):
        model(wrong)


@pytest.mark.parametrize("missing", ["n_chans", "n_times", "n_outputs"])
def test_a_missing_signal_argument_is_named(case, missing):
    arguments = {name: value for name, value in case.arguments.items() if name != missing}

    with pytest.raises(ValueError, match=f"{case.model} needs {missing}"):
        getattr(eeglab_models, case.model)(**arguments)


def test_signal_arguments_follow_from_each_other(case):
    arguments = {k: v for k, v in case.arguments.items() if k not in ("n_chans", "n_times", "sfreq")}
    channels = [{"ch_name": f"E{i}"} for i in range(case.arguments["n_chans"])]
    seconds = case.arguments["n_times"] / 100

    model = getattr(eeglab_models, case.model)(
        **arguments, chs_info=channels, sfreq=100.0, input_window_seconds=seconds
    )

    assert (model.n_chans, model.n_times) == (case.arguments["n_chans"], case.arguments["n_times"])
    assert model.input_shape == (1, model.n_chans, model.n_times)


def test_contradicting_signal_arguments_are_refused(case):
    with pytest.raises(ValueError, match="contradicts input_window_seconds=9"):
        getattr(eeglab_models, case.model)(**case.arguments | {"input_window_seconds": 9, "sfreq": 100})
    with pytest.raises(ValueError, match="contradicts chs_info, which describes 1 channels"):
        getattr(eeglab_models, case.model)(**case.arguments, chs_info=[{"ch_name": "Cz"}])


def test_a_new_head_leaves_the_encoder_alone(model, x):
    state = clone_state(model)

    model.reset_head(7)

    assert model(x).shape == (2, 7)
    assert model.n_outputs == model.get_config()["n_outputs"] == 7
    assert_same_state(model, state, but=["final_layer."])


@pytest.mark.parametrize(("name", "option"), [("EEGDINO", "return_features"), ("CodeBrain", "pretrain_mode")])
def test_a_new_head_makes_a_plain_classifier(name, option):
    case = DEFAULTS[name]
    model = getattr(eeglab_models, name)(**case.arguments, **{option: True})

    model.reset_head(7)

    x = torch.randn(2, model.n_chans, model.n_times)
    assert model(x).shape == type(model).from_config(model.get_config())(x).shape == (2, 7)


COUNTS = {
    "CodeBrain": ["patch_size", "res_channels", "out_channels", "num_res_layers", "conv_groups"],
    "EEGDINO": ["patch_size", "n_layer", "nhead", "dim_feedforward", "n_global_tokens"],
    "EEGPT": ["patch_size", "patch_stride", "embed_num", "embed_dim", "depth", "num_heads"],
    "FBLightConvNet": ["win_len", "n_filters_spat", "heads", "n_bands"],
}


@pytest.mark.parametrize(("name", "argument"), [(name, one) for name in MODELS for one in COUNTS[name]])
def test_a_count_of_zero_is_refused_by_its_name(name, argument):
    with pytest.raises(ValueError, match=rf"\b{argument} must .*got 0"):
        getattr(eeglab_models, name)(**DEFAULTS[name].arguments | {argument: 0})


def test_configurations_survive_json(case):
    channels = [
        {"ch_name": f"E{i}", "kind": 2, "coil_type": 1, "unit": 107, "cal": 1.0, "loc": np.arange(12.0)}
        for i in range(case.arguments["n_chans"])
    ]
    model = getattr(eeglab_models, case.model)(**case.arguments, chs_info=channels)

    config = json.loads(json.dumps(model.get_config()))
    again = type(model).from_config(config)

    assert again.get_config() == config
    assert again.chs_info[-1]["loc"].tolist() == list(range(12))
    assert {k: v.shape for k, v in again.state_dict().items()} == {
        k: v.shape for k, v in model.state_dict().items()
    }


def test_arguments_of_the_caller_stay_as_they_are(case):
    arguments = copy.deepcopy(case.arguments)

    getattr(eeglab_models, case.model)(**case.arguments)

    assert case.arguments == arguments


def test_configurations_never_import_classes(case, model):
    config = model.get_config()
    argument = "activation" if "activation" in config else "norm_layer"

    with pytest.raises(ValueError, match="configurations never import any"):
        type(model).from_config(config | {argument: "os.system"})


def test_unknown_arguments_of_a_configuration_are_named(model):
    with pytest.raises(ValueError, match="no argument n_legs"):
        type(model).from_config(model.get_config() | {"n_legs": 4})


@pytest.mark.parametrize("training", [False, True])
def test_no_windows_have_no_outputs(model, x, training):
    model.train(training)

    assert model(x[:0]).shape == (0, model.n_outputs)
    assert model(x[:0], return_features=True)["features"].shape[0] == 0
