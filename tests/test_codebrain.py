"""What CodeBrain alone promises."""

import pytest
import small_models
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from torch.utils._python_dispatch import TorchDispatchMode

from eeglab_models.models.codebrain import (
    CodeBrain,
    RMSNorm,
    WeightNormConv1d,
    WindowAttention,
)
from eeglab_models.models.global_convolution import GlobalConv
from eeglab_models.models.hub import fill_model

SMALL = small_models.CODEBRAIN | {
    "n_outputs": 3,
    "n_chans": 2,
    "n_times": 150,
    "patch_size": 30,
    "pos_kernel": (3, 5),
    "codebook_size_t": 11,
    "codebook_size_f": 13,
}
CONV = "residual_layer.residual_blocks.1.sgconv."


def perturb(module):
    """Move every weight away from its initial value, where zero biases would hide mistakes."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module.eval()


@pytest.fixture
def model():
    return perturb(CodeBrain(**SMALL))


@pytest.fixture
def x():
    return torch.randn(4, 2, 150)


@pytest.fixture
def mask():
    return (torch.rand(4, 2, 5) < 0.5).long()


# Convolutions


def lay_out_filters(conv):
    """Stretch and join the pieces one by one, as the paper draws them."""
    n_pieces = len(conv.kernel_list)
    pieces = [
        F.interpolate(piece, scale_factor=2 ** max(i - 1, 0), mode="linear") * 2 ** (n_pieces - 1 - i)
        for i, piece in enumerate(conv.kernel_list)
    ]
    return torch.cat(pieces, dim=-1)  # (n_rows, embed_dim, length)


def convolve_one_by_one(conv, tokens):
    """Add up, for every output, what every token contributes."""
    filters = lay_out_filters(conv) / conv.kernel_norm
    filters = F.pad(filters, (0, tokens.shape[-1]))  # (n_rows, embed_dim, length + n_tokens)
    out = conv.skip_weight[None, :, :, None] * tokens[:, None]  # (batch, n_filters, embed_dim, n_tokens)
    for i in range(tokens.shape[-1]):
        for j in range(tokens.shape[-1]):
            if j <= i:
                out[..., i] += filters[:4, :, i - j] * tokens[:, None, :, j]
            elif conv.bidirectional:
                out[..., i] += filters[4:, :, j - i - 1] * tokens[:, None, :, j]
    return out.flatten(1, 2)  # (batch, n_filters * embed_dim, n_tokens)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("n_tokens", [1, 2, 7, 16, 21])
def test_global_convolution_equals_its_sum(n_tokens, bidirectional):
    # Filters of 16 samples: shorter than, as long as and longer than the sequence.
    conv = perturb(GlobalConv(3, 12, bidirectional, False, 0.0)).double()
    tokens = torch.randn(2, 3, n_tokens, dtype=torch.float64)

    with torch.no_grad():
        expected = convolve_one_by_one(conv, tokens)
        torch.testing.assert_close(conv.convolve(tokens), expected)
        torch.testing.assert_close(conv.convolve_plainly(tokens), expected)


@pytest.mark.parametrize(("n_tokens_most", "length"), [(2, 2), (3, 4), (512, 512), (513, 1024), (570, 1024)])
def test_filters_are_as_long_as_the_next_power_of_two(n_tokens_most, length):
    assert lay_out_filters(GlobalConv(1, n_tokens_most, True, False, 0.0)).shape == (8, 1, length)


def test_new_filters_have_unit_norm():
    conv = GlobalConv(3, 12, True, False, 0.0)

    norms = (lay_out_filters(conv) / conv.kernel_norm).norm(dim=-1)

    torch.testing.assert_close(norms, torch.ones(8, 3))


def test_weight_norm_equals_that_of_torch():
    conv, oracle = WeightNormConv1d(3, 4, 3), weight_norm(nn.Conv1d(3, 4, 3, padding=1))
    oracle.load_state_dict(conv.state_dict())
    tokens = torch.randn(2, 3, 7)

    torch.testing.assert_close(conv(tokens), oracle(tokens))


def test_a_token_of_zeros_keeps_gradients_finite():
    tokens = torch.zeros(1, 3, 2, requires_grad=True)

    RMSNorm(3)(tokens).sum().backward()

    assert tokens.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_normalised_in_single(dtype):
    tokens = torch.tensor([0.0, 1e-3, 300.0, 6e4], dtype=dtype).expand(1, 3, 4)

    normalised = RMSNorm(3).to(dtype)(tokens)

    assert normalised.dtype == dtype
    torch.testing.assert_close(normalised[0, 0].float(), torch.tensor([0.0, 1, 1, 1]), rtol=0, atol=0.01)


# Attention


@pytest.mark.parametrize("window_size", [1, 3, 21])
def test_window_attention_equals_masked_attention(window_size):
    attention = perturb(WindowAttention(8, window_size, 0.1))
    oracle = nn.MultiheadAttention(8, 4, batch_first=True)
    oracle.load_state_dict(attention.state_dict())
    tokens, position = torch.randn(2, 8, 10), torch.arange(10)
    far = (position[:, None] - position).abs() > window_size // 2
    rows = tokens.transpose(1, 2)

    expected = oracle(rows, rows, rows, attn_mask=far)[0].transpose(1, 2)

    torch.testing.assert_close(attention(tokens), expected)


def test_the_value_of_a_token_equals_attention_to_itself():
    attention = perturb(WindowAttention(8, 1, 0.1))
    tokens = torch.randn(2, 8, 10)

    torch.testing.assert_close(attention.attend_to_itself(tokens), attention.attend(tokens))


def test_training_drops_or_rescales_the_weight_of_a_head():
    attention = WindowAttention(8, 1, 0.2)
    tokens = torch.randn(2, 8, 500)
    values = attention.eval().attend_to_itself(tokens)

    weights = (attention.train().attend_to_itself(tokens) / values).unflatten(1, (4, 2))

    torch.testing.assert_close(weights[:, :, 0], weights[:, :, 1])
    torch.testing.assert_close(weights.unique().round(decimals=3).unique(), torch.tensor([0.0, 1.25]))


class LargestTensor(TorchDispatchMode):
    """Watch how large the largest tensor gets."""

    size = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        output = function(*args, **kwargs or {})
        for tensor in output if isinstance(output, tuple | list) else [output]:
            if isinstance(tensor, torch.Tensor):
                self.size = max(self.size, tensor.numel())
        return output


@pytest.mark.parametrize("window_size", [1, 3])
def test_tensors_grow_linearly_with_the_sequence(window_size):
    model = CodeBrain(**SMALL | {"n_times": 30 * 64, "swa_window_size": window_size})
    sizes = []
    for n_patches in (64, 512):
        with LargestTensor() as largest:
            output = model(torch.randn(1, 2, 30 * n_patches), return_features=True)
            output["features"].sum().backward()
        sizes.append(largest.size)

    assert sizes[1] < 10 * sizes[0]


# Masks, codes and lengths


def test_codes_are_scored_for_masked_patches_in_their_order(model, x, mask):
    model.pretrain_mode = True
    features = model(x, mask=mask, return_features=True)["features"]

    scores_t, scores_f = model(x, mask=mask)

    places = mask.nonzero().tolist()
    features = torch.stack([features[b, c, p] for b, c, p in places])
    torch.testing.assert_close(scores_t, features @ model.lm_head_t.weight.T)
    torch.testing.assert_close(scores_f, features @ model.lm_head_f.weight.T)


def test_codes_are_scored_for_all_patches_without_a_mask(model, x):
    model.pretrain_mode = True

    assert [tuple(scores.shape) for scores in model(x)] == [(4, 2, 5, 11), (4, 2, 5, 13)]


def test_masked_samples_stay_hidden(model, x, mask):
    other = x + mask.repeat_interleave(30, dim=-1) * torch.randn_like(x)

    torch.testing.assert_close(model(other, mask=mask), model(x, mask=mask), rtol=0, atol=0)


def test_boolean_masks_mean_the_same(model, x, mask):
    torch.testing.assert_close(model(x, mask=mask.bool()), model(x, mask=mask), rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(4, 2), (4, 5, 2), (1, 2, 5), (4, 2, 5, 1)])
def test_masks_of_another_shape_are_refused(model, x, shape):
    with pytest.raises(ValueError, match=r"one number per patch, shape \(4, 2, 5\), got"):
        model(x, mask=torch.ones(shape))


def test_masks_need_tokens_as_wide_as_patches(x, mask):
    model = CodeBrain(**SMALL | {"proj_padding": 10})

    with pytest.raises(ValueError, match="got 50 features for 30 samples"):
        model(x, mask=mask)


def test_features_are_available_for_windows_of_any_length(model):
    assert model(torch.randn(1, 2, 95), return_features=True)["features"].shape == (1, 2, 3, 7)


def test_the_head_refuses_another_number_of_patches(model):
    with pytest.raises(ValueError, match="reads 5 patches per channel, got 3"):
        model(torch.randn(1, 2, 95))


def test_a_tail_is_announced_at_construction():
    with pytest.warns(UserWarning, match="7 samples are left over, so every window is cut to 150 samples"):
        CodeBrain(**SMALL | {"n_times": 157})


# Channel ids


def features_of(model, x, **arguments):
    return model(x, return_features=True, **arguments)["features"]


@pytest.mark.parametrize("ids", [range(2), torch.arange(2)])
def test_places_in_order_are_the_default(model, x, mask, ids):
    torch.testing.assert_close(model(x, channel_ids=ids), model(x), rtol=0, atol=0)
    torch.testing.assert_close(
        features_of(model, x, mask=mask, channel_ids=ids), features_of(model, x, mask=mask), rtol=0, atol=0
    )


def test_channels_with_their_places_may_come_in_any_order(model):
    x, mask, ids = torch.randn(2, 4, 150), (torch.rand(2, 4, 5) < 0.5).long(), torch.tensor([5, 0, 18, 4])
    order = torch.tensor([2, 0, 3, 1])

    features = features_of(model, x[:, order], mask=mask[:, order], channel_ids=ids[order])

    expected = features_of(model, x, mask=mask, channel_ids=ids)[:, order]
    torch.testing.assert_close(features, expected, rtol=0, atol=1e-5)


def test_an_absent_channel_leaves_a_gap_in_space(model, x):
    near, far = features_of(model, x, channel_ids=[0, 1]), features_of(model, x, channel_ids=[0, 2])

    assert not torch.allclose(near, far)
    # The positional convolution reaches one channel to either side here.
    torch.testing.assert_close(features_of(model, x, channel_ids=[0, 9]), far, rtol=0, atol=0)


def test_a_channel_sees_zeros_where_others_are_absent(model):
    tokens = torch.randn(2, 2, 5, 30)
    present = torch.stack([tokens[:, 0], torch.zeros_like(tokens[:, 0]), tokens[:, 1]], dim=1)

    seen = model.patch_embedding.look_around(tokens, torch.tensor([0, 2]))

    expected = model.patch_embedding.look_around(present, None)[:, [0, 2]]
    torch.testing.assert_close(seen, expected)


def test_codes_of_masked_patches_come_in_the_order_of_the_windows(model, x, mask):
    model.pretrain_mode = True

    scores, _ = model(x, mask=mask, channel_ids=[7, 3])

    features = features_of(model, x, mask=mask, channel_ids=[7, 3])
    torch.testing.assert_close(scores, features[mask == 1] @ model.lm_head_t.weight.T)


def test_codes_need_no_certain_number_of_channels(model):
    model.pretrain_mode = True

    assert model(torch.randn(1, 3, 150), channel_ids=[6, 2, 4])[0].shape == (1, 3, 5, 11)


def test_the_head_refuses_another_number_of_channels(model):
    with pytest.raises(ValueError, match="head of this CodeBrain reads 2 channels, got 1. Build it"):
        model(torch.randn(1, 1, 150), channel_ids=[0])


def test_places_outside_the_published_montage_are_refused(model, x):
    with pytest.raises(ValueError, match="from 0 to 18"):
        model(x, channel_ids=[0, 19])


# Options that cannot be built


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_times": 29}, "patch_size must lie between 1 and the window's 29 samples, got 30"),
        ({"patch_size": 0}, "patch_size must lie between 1"),
        ({"num_res_layers": 0}, "num_res_layers must be at least 1"),
        ({"res_channels": 5}, "res_channels must be even.* got 5"),
        ({"s4_lmax": 1}, "s4_lmax must be at least 2"),
        ({"swa_window_size": 4}, "must be odd and positive, got 4"),
        ({"proj_kernel_size": 39}, "leave nothing of a patch of 30 samples"),
        ({"proj_refine_kernel": 2}, "proj_refine_kernel must be odd"),
        ({"pos_kernel": (3, 4)}, "pos_kernel must be odd"),
    ],
)
def test_options_that_cannot_be_built_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        CodeBrain(**SMALL | change)


# Weights of others


def test_norms_are_set_at_construction_and_stay(model, x):
    norm = model.get_buffer(f"{CONV}kernel_norm").clone()

    model.train()(x).sum().backward()
    model.eval()(x)

    assert model.get_buffer(f"{CONV}kernel_norm_initialized")
    assert torch.equal(model.get_buffer(f"{CONV}kernel_norm"), norm)


def make_state(model, **changes):
    """Weights with 3.0 as the norm; None leaves a tensor out."""
    changes = {"kernel_norm": torch.full((8, 12, 1), 3.0)} | changes
    state = model.state_dict() | {CONV + name: tensor for name, tensor in changes.items()}
    return {name: tensor for name, tensor in state.items() if tensor is not None}


@pytest.mark.parametrize("flag", [torch.tensor(True), None])
def test_a_norm_without_a_flag_is_trusted(model, flag):
    fresh = CodeBrain(**SMALL)

    fresh.load_state_dict(make_state(model, kernel_norm_initialized=flag))

    assert fresh.get_buffer(f"{CONV}kernel_norm").unique() == 3.0
    assert fresh.get_buffer(f"{CONV}kernel_norm_initialized")


@pytest.mark.parametrize(
    "changes",
    [
        {"kernel_norm_initialized": torch.tensor(False)},
        {"kernel_norm_initialized": torch.tensor(False), "kernel_norm": None},
        {"kernel_norm_initialized": None, "kernel_norm": None},
    ],
)
def test_a_norm_that_was_never_set_is_measured(model, changes):
    state = make_state(model, **changes)
    names = set(state)
    fresh = CodeBrain(**SMALL)

    fresh.load_state_dict(state)

    norm = lay_out_filters(model.get_submodule(CONV[:-1])).norm(dim=-1, keepdim=True)
    torch.testing.assert_close(fresh.get_buffer(f"{CONV}kernel_norm"), norm)
    assert fresh.get_buffer(f"{CONV}kernel_norm_initialized")
    assert set(state) == names


@pytest.mark.parametrize("part", ["kernel_list.1", "kernel_norm_initialized", "multiplier"])
@pytest.mark.parametrize(
    "damaged", [torch.zeros(0), torch.tensor([True, False]), torch.tensor(3), torch.zeros(8, 12, 3)]
)
@pytest.mark.parametrize("flag", [torch.tensor(True), torch.tensor(False)])
def test_damaged_filters_are_named(model, part, damaged, flag):
    state = make_state(model, **{"kernel_norm_initialized": flag, part: damaged})

    with pytest.raises(ValueError, match=part):
        fill_model(CodeBrain(**SMALL), state, "a file")


def test_parts_of_the_weights_leave_the_norms_alone(model):
    norm = model.get_buffer(f"{CONV}kernel_norm").clone()

    model.load_state_dict({f"{CONV}multiplier": torch.full((1, 12, 1), 2.0)}, strict=False)

    assert torch.equal(model.get_buffer(f"{CONV}kernel_norm"), norm)


def test_everything_but_the_head_has_the_published_size():
    parameters = CodeBrain(n_outputs=2, n_chans=1, n_times=200).named_parameters()
    sizes = [parameter.numel() for name, parameter in parameters if not name.startswith("final_layer.")]

    assert sum(sizes) == 15_167_600


PUBLISHED_NAMES = {
    "sgconv.skip_weight": "S41.D",
    "sgconv.": "S41.",
    "rms_norm.": "sn.",
    "parametrizations.weight.original0": "weight_g",
    "parametrizations.weight.original1": "weight_v",
}


def publish(state):
    """Name tensors as the authors' checkpoint does."""
    published = {}
    for name, tensor in state.items():
        for ours, theirs in PUBLISHED_NAMES.items():
            name = name.replace(ours, theirs)
        published[f"module.{name}.kernel" if "kernel_list" in name else f"module.{name}"] = tensor
    return published


def test_names_of_the_authors_checkpoint_are_understood(model, x):
    published = publish(model.state_dict())
    assert "module.residual_layer.residual_blocks.1.S41.kernel_list.3.kernel" in published
    assert "module.residual_layer.residual_blocks.1.conv_layer.conv.weight_g" in published
    assert "module.residual_layer.residual_blocks.1.S41.D" in published
    fresh = CodeBrain(**SMALL).eval()

    fresh.load_state_dict(published)

    torch.testing.assert_close(fresh(x), model(x), rtol=0, atol=0)


def test_from_pretrained_reads_the_authors_encoder_without_head_and_norms(model, x, tmp_path):
    state = publish(model.state_dict())
    state = {k: v for k, v in state.items() if "kernel_norm" not in k and "final_layer" not in k}
    model.save_pretrained(tmp_path)
    save_file(state, tmp_path / "model.safetensors")

    loaded, report = CodeBrain.from_pretrained(tmp_path, n_outputs=2, return_report=True)

    model.load_state_dict({k: v for k, v in model.state_dict().items() if "kernel_norm" not in k})
    torch.testing.assert_close(
        loaded(x, return_features=True)["features"], model(x, return_features=True)["features"]
    )
    assert {name.split(".")[0] for name in report.new} == {"final_layer"}


def test_a_missing_piece_of_a_filter_is_named(model, tmp_path):
    state = {k: v for k, v in model.state_dict().items() if not k.endswith("kernel_list.1")}
    model.save_pretrained(tmp_path)
    save_file(state, tmp_path / "model.safetensors")

    with pytest.raises(ValueError, match=r"missing: .*sgconv\.kernel_list\.1 \(8, 12, 2\)"):
        CodeBrain.from_pretrained(tmp_path)


def test_filtering_a_long_sequence_again_changes_no_gradient(model, x, monkeypatch):
    gradients = []
    for n_tokens_kept in (0, 10**9):
        monkeypatch.setattr("eeglab_models.models.global_convolution.N_TOKENS_KEPT", n_tokens_kept)
        model.zero_grad()
        torch.manual_seed(3)  # of dropout, which has to be the same when it is drawn again
        model.train()(x).square().sum().backward()
        gradients.append([value.grad.clone() for value in model.parameters() if value.grad is not None])

    torch.testing.assert_close(gradients[0], gradients[1])
