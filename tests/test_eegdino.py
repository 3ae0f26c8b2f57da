"""What only EEG-DINO promises."""

import copy

import pytest
import torch
import torch.nn.functional as F

from eeglab_models import EEGDINO
from eeglab_models.models.eegdino import EncoderLayer

SMALL = {"n_outputs": 3, "n_chans": 5, "n_times": 400, "n_layer": 3}

TINY_TOKENS = {"channels_kernel_stride_padding_norm": [(4, 9, 5, 4, (2, 4))]}


@pytest.fixture
def model():
    return EEGDINO(**SMALL).eval()


def test_more_channels_than_slots_are_refused_with_the_remedy():
    with pytest.raises(ValueError, match="19 channel slots, got 22 channels. Pass n_channel_embeddings=22"):
        EEGDINO(**SMALL | {"n_chans": 22})
    EEGDINO(**SMALL | {"n_chans": 22, "n_channel_embeddings": 22})


@pytest.mark.parametrize("layer", [0, 4])
def test_global_tokens_join_after_one_of_the_layers(layer):
    with pytest.raises(ValueError, match=f"one of the layers 1 to 3, got {layer}"):
        EEGDINO(**SMALL, global_token_layer=layer)


def test_at_least_one_global_token_is_needed():
    with pytest.raises(ValueError, match="n_global_tokens must be at least 1, got 0"):
        EEGDINO(**SMALL, n_global_tokens=0)


def test_too_many_heads_are_refused():
    with pytest.raises(ValueError, match="between 1 and the token width 200, got 201"):
        EEGDINO(**SMALL, nhead=201)


def test_convolutions_that_leave_nothing_of_a_patch_are_refused():
    with pytest.raises(ValueError, match="leave nothing of a patch of 20 samples"):
        EEGDINO(**SMALL | {"patch_size": 20}, channels_kernel_stride_padding_norm=[(4, 49, 25, 0, (2, 4))])


def test_zeros_fill_the_last_patch(model):
    x = torch.randn(2, 5, 350)

    features = model(x, return_features=True)["features"]

    expected = model(F.pad(x, (0, 50)), return_features=True)["features"]
    torch.testing.assert_close(features, expected)


def test_windows_may_be_longer_than_those_the_model_was_built_for(model):
    assert model(torch.randn(2, 5, 1000)).shape == (2, 3)
    assert model(torch.randn(2, 5, 1000), return_features=True)["features"].shape == (2, 25, 200)


def test_the_order_of_channels_matters_to_their_slots(model):
    x = torch.randn(1, 5, 400)

    assert not torch.allclose(model(x), model(x.flip(1)))


def test_permuting_tokens_permutes_the_output_of_a_layer():
    layer = EncoderLayer(
        embed_dim=20, n_heads=5, hidden_dim=32, activation=torch.nn.GELU, drop_prob=0.1
    ).eval()
    tokens = torch.randn(2, 7, 20)
    order = torch.randperm(7)

    torch.testing.assert_close(layer(tokens[:, order]), layer(tokens)[:, order])


def test_features_can_be_the_default_and_still_be_refused():
    model = EEGDINO(**SMALL, return_features=True).eval()
    x = torch.randn(2, 5, 400)

    assert set(model(x)) == {"features", "cls_token"}
    assert model(x, return_features=False).shape == (2, 3)
    assert model.get_output_shape() == (1, 10, 200)


def test_a_model_without_a_head_becomes_a_classifier():
    model = EEGDINO(**SMALL | {"n_outputs": None}, return_encoder_output=True).eval()
    x = torch.randn(2, 5, 400)
    assert model(x).shape == (2, 200)

    model.reset_head(4)

    assert model(x).shape == (2, 4)
    assert model.get_config()["return_encoder_output"] is False


# Channel ids


@pytest.fixture
def x():
    return torch.randn(2, 5, 400)


@pytest.mark.parametrize("ids", [range(5), torch.arange(5)])
def test_slots_in_order_are_the_default(model, x, ids):
    torch.testing.assert_close(model(x, channel_ids=ids), model(x), rtol=0, atol=0)


def test_channels_with_their_slots_may_come_in_any_order(model, x):
    order = [3, 0, 4, 1, 2]

    output = model(x[:, order], return_features=True, channel_ids=order)

    expected = model(x, return_features=True)
    features = expected["features"].unflatten(1, (5, 2))[:, order].flatten(1, 2)
    torch.testing.assert_close(output["features"], features, rtol=0, atol=1e-5)
    torch.testing.assert_close(output["cls_token"], expected["cls_token"], rtol=0, atol=1e-5)


def test_slots_name_the_columns_of_the_channel_embedding(model, x):
    moved = [18, 0, 7, 2, 11]
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.patch_embedding.channel_embedding.weight[:, :5] = (
            model.patch_embedding.channel_embedding.weight[:, moved]
        )

    torch.testing.assert_close(model(x, channel_ids=moved), other(x))


@pytest.mark.parametrize("ids", [[4], list(range(19))])
def test_slots_free_the_number_of_channels(model, ids):
    x = torch.randn(2, len(ids), 400)

    assert model(x, channel_ids=ids).shape == (2, 3)
    assert model(x, return_features=True, channel_ids=ids)["features"].shape == (2, 2 * len(ids), 200)


def test_slots_that_the_weights_lack_are_refused(model, x):
    with pytest.raises(ValueError, match="from 0 to 18"):
        model(x, channel_ids=[0, 1, 2, 3, 19])


# Memory


def largest_allocation(call):
    """Bytes that the hungriest single operation takes, forward or backward."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as p:
        call()
    return max(event.self_cpu_memory_usage for event in p.events())


@pytest.mark.parametrize("training", [False, True])
def test_tensors_grow_linearly_with_the_window(training):
    model = EEGDINO(**SMALL | {"n_layer": 1, "patch_size": 20, "nhead": 4}, **TINY_TOKENS).train(training)
    sizes = []
    for n_patches in (64, 512):
        x = torch.randn(1, 5, 20 * n_patches)
        call = lambda x=x: model(x, return_features=True)["features"].sum().backward()  # noqa: E731
        sizes.append(largest_allocation(call))

    assert sizes[1] < 10 * sizes[0]
