"""What EEGPT alone promises."""

import json
import pickle

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from eeglab_models.models.eegpt import (
    EEGPT,
    EEGPT_19_CHANNELS,
    EEGPT_CHANNELS,
    EncoderLayer,
    FeedForward,
    MaxNormLinear,
    PatchEmbed,
    PatchNormEmbed,
    Probe,
)

SMALL = {
    "n_outputs": 3,
    "n_chans": 5,
    "n_times": 96,
    "patch_size": 16,
    "patch_stride": None,
    "embed_num": 2,
    "embed_dim": 12,
    "depth": 2,
    "num_heads": 3,
}
UNPROJECTED = SMALL | {"n_chans": None, "chan_proj_type": "none"}


def name_channels(*names):
    return [{"ch_name": name} for name in names]


def perturb(model):
    """Move every weight away from its initial value, where zero biases would hide mistakes."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


@pytest.fixture
def model():
    return perturb(EEGPT(**SMALL))


@pytest.fixture
def encoder():
    """Encoder of three named channels, without a head."""
    channels = name_channels("Fp1", "Cz", "O2")
    return perturb(EEGPT(**UNPROJECTED, chs_info=channels, return_encoder_output=True))


def test_vocabulary_holds_every_name_once():
    assert len(EEGPT_CHANNELS) == len(set(EEGPT_CHANNELS)) == 62
    assert len(EEGPT_19_CHANNELS) == 19
    assert set(EEGPT_19_CHANNELS) < set(EEGPT_CHANNELS)


def test_named_channels_take_their_published_row():
    model = EEGPT(**UNPROJECTED, chs_info=name_channels("Fp1", "cz", "FCZ.", "..O2."))

    assert model.chans_id.tolist() == [[0, 29, 20, 61]]


def test_unknown_channels_take_the_row_of_their_position_and_one_warning_names_them():
    with pytest.warns(UserWarning, match=r"no embedding for the channels EOG1, X7\b") as warnings:
        model = EEGPT(**UNPROJECTED, chs_info=name_channels("EOG1", "C3", "X7"))

    assert len(warnings) == 1
    assert model.chans_id.tolist() == [[0, 27, 2]]


def test_channels_without_names_are_counted():
    model = EEGPT(**UNPROJECTED | {"n_chans": 4})

    assert model.chans_id.tolist() == [0, 1, 2, 3]


def test_every_one_of_many_channels_has_a_row():
    model = EEGPT(**UNPROJECTED | {"n_chans": 65})

    assert model.target_encoder.chan_embed.num_embeddings == 65
    assert model(torch.randn(1, 65, 96)).shape == (1, 3)


def test_projected_channels_are_the_nineteen_whatever_the_recording_names():
    model = EEGPT(**SMALL, chs_info=name_channels("E1", "E2", "E3", "E4", "E5"))

    assert [EEGPT_CHANNELS[row] for row in model.chans_id[0]] == list(EEGPT_19_CHANNELS)


def test_order_of_named_channels_does_not_matter(encoder):
    x = torch.randn(2, 3, 96)
    expected = encoder(x)
    encoder.chans_id = encoder.chans_id[:, [2, 0, 1]]

    torch.testing.assert_close(encoder(x[:, [2, 0, 1]]), expected)


def test_names_of_channels_matter(encoder):
    x = torch.randn(2, 3, 96)
    expected = encoder(x)
    encoder.chans_id = encoder.chans_id[:, [2, 0, 1]]

    assert (encoder(x) - expected).abs().max() > 1e-3


def test_every_moment_is_encoded_on_its_own(encoder):
    x = torch.randn(2, 3, 96)
    changed = x.clone()
    changed[..., 32:48] += 1.0

    difference = (encoder(changed) - encoder(x)).abs().amax(dim=(0, 2, 3))

    assert (difference > 1e-4).tolist() == [False, False, True, False, False, False]


def test_moments_can_be_summarised_from_some_channels(encoder):
    fewer = EEGPT(**UNPROJECTED, chs_info=name_channels("Fp1", "O2"), return_encoder_output=True)
    state = encoder.state_dict() | {"chans_id": fewer.chans_id}
    fewer.eval().load_state_dict(state)
    x = torch.randn(2, 3, 96)
    patches = x.unflatten(-1, (6, 16)).transpose(1, 2)

    tokens = encoder.target_encoder.embed(patches, encoder.chans_id)

    torch.testing.assert_close(encoder.target_encoder.summarise(tokens[:, :, [0, 2]]), fewer(x[:, [0, 2]]))


def test_refining_some_tokens_equals_refining_all():
    layer = perturb(EncoderLayer(12, 3, 20, True, nn.LayerNorm, 0.0, 0.0, 0.0))
    tokens = torch.randn(4, 7, 12)

    torch.testing.assert_close(layer(tokens, n_read_only=5), layer(tokens)[:, 5:])


def test_patches_may_overlap():
    model = perturb(EEGPT(**SMALL | {"patch_stride": 8, "return_encoder_output": True}))
    x = torch.randn(2, 5, 96)

    summary = model(x)

    assert summary.shape == (2, 11, 2, 12)
    torch.testing.assert_close(summary[:, 3:4], model(x[..., 24:40]))


@pytest.mark.parametrize(
    ("stride", "n_times", "n_zeros"), [(None, 90, 6), (16, 90, 6), (20, 100, 16), (7, 90, 3)]
)
def test_incomplete_windows_are_padded_with_zeros_and_say_so(stride, n_times, n_zeros):
    with pytest.warns(UserWarning, match=f"padded with zeros: {n_zeros} samples") as warnings:
        model = EEGPT(**SMALL | {"patch_stride": stride, "n_times": n_times}, chan_proj_type="none")
    perturb(model)
    x = torch.randn(2, 5, n_times)

    torch.testing.assert_close(model(x), model(F.pad(x, (0, n_zeros))))
    assert len(warnings) == 1


def test_embedding_patches_is_a_convolution():
    embed = PatchEmbed(16, 12)
    x = torch.randn(2, 5, 96)

    tokens = embed(x.unflatten(-1, (6, 16)).transpose(1, 2))

    maps = F.conv2d(x.unsqueeze(1), embed.proj.weight, embed.proj.bias, stride=(1, 16))
    torch.testing.assert_close(tokens, maps.permute(0, 3, 2, 1))


def test_normalised_patches_hide_offset_and_amplitude():
    embed = PatchNormEmbed(16, 12)
    patches = torch.randn(2, 6, 5, 16)

    torch.testing.assert_close(embed(7 * patches + 3), embed(patches), rtol=1e-3, atol=1e-4)


def test_weights_are_limited_where_they_are_used_and_stay_where_they_are_stored():
    layer = MaxNormLinear(nn.Linear(2, 2, bias=True), max_norm=1.0)
    stored = layer.parametrizations["weight"]["original"]
    with torch.no_grad():
        stored.copy_(torch.tensor([[3.0, 4.0], [0.3, 0.4]]))  # norms: 5 and 0.5
        layer.bias.zero_()

    output = layer(torch.eye(2))

    torch.testing.assert_close(output.T, torch.tensor([[0.6, 0.8], [0.3, 0.4]]))
    assert stored.tolist() == torch.tensor([[3.0, 4.0], [0.3, 0.4]]).tolist()


def test_limited_weights_learn_their_direction_only():
    layer = MaxNormLinear(nn.Linear(6, 4), max_norm=1.0)
    stored = layer.parametrizations["weight"]["original"]
    with torch.no_grad():
        stored.mul_(100)

    layer(torch.randn(3, 6)).square().sum().backward()

    assert stored.grad.abs().max() > 1e-4
    torch.testing.assert_close((stored.grad * stored).sum(1), torch.zeros(4), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("projection", "limit"), [("conv1d_constraint", 0.25), ("linear", None)])
def test_channels_are_mixed_the_same_in_every_sample(projection, limit):
    model = perturb(EEGPT(**SMALL, chan_proj_type=projection, chan_conv_max_norm=0.25))
    x = torch.randn(2, 5, 96)
    mixing = model.chan_proj.proj.weight.flatten(1)

    mixed = model.chan_proj(x)

    expected = torch.einsum("tc,bcn->btn", mixing, x) + model.chan_proj.proj.bias[:, None]
    torch.testing.assert_close(mixed, expected)
    assert (mixing.norm(dim=1).max() <= 0.2501) == (limit is not None)


def test_published_names_of_limited_weights_survive_pickling(model):
    keys = {key for key in pickle.loads(pickle.dumps(model)).state_dict() if "original" in key}

    assert keys == {
        "chan_proj.proj.parametrizations.weight.original",
        "final_layer.probe1.parametrizations.weight.original",
        "final_layer.probe2.parametrizations.weight.original",
    }


def test_features_are_the_summary_tokens_side_by_side(model, encoder):
    features = model(torch.randn(2, 5, 96), return_features=True)

    assert features["features"].shape == (2, 6, 24)
    assert features["cls_token"] is None
    assert encoder(torch.randn(2, 3, 96)).shape == (2, 6, 2, 12)


def test_windows_of_any_length_can_be_described_but_not_classified(model):
    x = torch.randn(2, 5, 144)

    assert model(x, return_features=True)["features"].shape == (2, 9, 24)
    with pytest.raises(ValueError, match="windows of 96 samples, got 144"):
        model(x)


def test_an_encoder_needs_no_outputs():
    model = EEGPT(**SMALL | {"n_outputs": None}, return_encoder_output=True)

    assert isinstance(model.final_layer, nn.Identity)


def test_own_head_reads_flat_summary_tokens():
    model = EEGPT(**SMALL | {"n_outputs": None}, final_layer=nn.Identity)

    assert model(torch.randn(2, 5, 96)).shape == (2, 6 * 2 * 12)


@pytest.mark.parametrize("head", [{"return_encoder_output": True}, {"final_layer": nn.Identity}])
def test_a_new_head_is_a_probe_whatever_the_old_one_was(head):
    model = EEGPT(**SMALL, **head)

    model.reset_head(7)

    again = EEGPT.from_config(model.get_config())
    assert isinstance(model.final_layer, Probe)
    assert model(torch.randn(2, 5, 96)).shape == again(torch.randn(2, 5, 96)).shape == (2, 7)


def test_sizes_for_a_probe_are_known(model):
    assert model.get_probe_params() == {"n_patches": 6, "embed_num": 2, "embed_dim": 12}


def test_classes_of_published_configurations_are_understood():
    config = EEGPT(**SMALL).get_config() | {
        "patch_module": "braindecode.models.eegpt._PatchNormEmbed",
        "norm_layer": "torch.nn.modules.normalization.RMSNorm",
    }

    model = EEGPT.from_config(config)

    assert isinstance(model.target_encoder.patch_embed, PatchNormEmbed)
    assert isinstance(model.target_encoder.norm, nn.RMSNorm)
    assert model.get_config() == config


def test_weights_of_the_authors_fill_the_encoder(tmp_path, model):
    theirs = {key: value for key, value in model.state_dict().items() if key.startswith("target_encoder.")}
    unused = ("encoder.summary_token", "predictor.mask_token", "reconstructor.mask_token")
    theirs |= {key: torch.zeros(1, 2, 12) for key in unused}
    save_file(theirs, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(model.get_config()))

    with pytest.warns(UserWarning, match="no fitting weights for chan_proj"):
        loaded, report = EEGPT.from_pretrained(tmp_path, return_report=True)

    x = torch.randn(2, 6, 19, 16)
    torch.testing.assert_close(
        loaded.target_encoder(x, loaded.chans_id), model.target_encoder(x, model.chans_id)
    )
    assert report.ignored == unused
    assert {key.split(".")[0] for key in report.new} == {"chan_proj", "final_layer"}


def test_deeper_layers_begin_as_smaller_changes():
    model = EEGPT(**SMALL | {"embed_dim": 96, "depth": 3})

    stds = torch.tensor([block.mlp.fc2.weight.std().item() for block in model.target_encoder.blocks])

    torch.testing.assert_close(stds, 0.02 / torch.tensor([2.0, 4.0, 6.0]).sqrt(), rtol=0.02, atol=0)


def test_hidden_width_is_rounded_down():
    model = EEGPT(**SMALL, mlp_ratio=1.3)

    assert model.target_encoder.blocks[0].mlp.fc1.out_features == 15  # of 15.6


def test_activations_and_attention_weights_have_their_own_drop_probability():
    layer = EEGPT(**SMALL, drop_prob=0.1, attn_drop_rate=0.2).target_encoder.blocks[0]

    assert (layer.attn.proj_drop.p, layer.mlp.drop.p, layer.attn.attend.drop_prob) == (0.1, 0.1, 0.2)


def test_deeper_layers_are_dropped_more_often():
    model = EEGPT(**SMALL | {"depth": 3}, drop_path_rate=0.4)

    assert [block.drop_path.drop_prob for block in model.target_encoder.blocks] == [0.0, 0.2, 0.4]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embed_dim": 13}, "multiple of num_heads=3, got 13"),
        ({"n_times": 15}, "one patch of 16 samples, got n_times=15"),
        ({"patch_stride": 0}, "patch_stride must be at least 1, got 0"),
        ({"depth": 0}, "depth must be at least 1, got 0"),
        ({"mlp_ratio": 0.0}, "mlp_ratio must be positive, got 0"),
        ({"drop_path_rate": 1.5}, "drop_path_rate is a probability between 0 and 1, got 1.5"),
        ({"n_chans_target": 22}, "n_chans_target=22. Pass 19"),
        ({"patch_module": nn.Linear}, "PatchEmbed or a class derived from it, got Linear"),
        ({"return_encoder_output": True, "final_layer": nn.Identity}, "final_layer must be None"),
    ],
)
def test_options_that_make_no_model_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        EEGPT(**SMALL | change)


def test_layers_instead_of_classes_are_refused():
    with pytest.raises(TypeError, match="norm_layer must be a class, got a layer of LayerNorm"):
        EEGPT(**SMALL, norm_layer=nn.LayerNorm(12))


def test_computing_hidden_activations_again_changes_no_gradient():
    layer, tokens, gradients = FeedForward(12, 20, drop_prob=0.0), torch.randn(3, 5, 12), []
    for training in (True, False):
        layer.zero_grad()
        layer.train(training)(tokens).square().sum().backward()
        gradients.append([value.grad.clone() for value in layer.parameters()])

    torch.testing.assert_close(gradients[0], gradients[1])
