"""What the pretraining of EEGPT promises: its mask, its two losses, its two encoders."""

import math

import pytest
import small_models
import torch
from torch import nn

from eeglab_models.models.eegpt import EEGPT, EEGPT_CHANNELS
from eeglab_models.pretraining.eegpt.alignment import MaskedAlignment, locate, log_spectrum, spread
from eeglab_models.pretraining.eegpt.rotary import (
    Predictor,
    Reconstructor,
    RotaryAttention,
    TimeEmbed,
    rotate,
)

SMALL = {**small_models.EEGPT, "return_encoder_output": True}
PUBLISHED = SMALL | {
    "n_chans": 58,
    "n_times": 1024,
    "patch_size": 64,
    "embed_num": 4,
    "embed_dim": 512,
    "depth": 8,
    "num_heads": 8,
}


def perturb(module):
    """Move every weight away from its initial value, where zero biases would hide mistakes."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module


def build(**options):
    encoder = EEGPT(**SMALL | options.pop("encoder", {}))
    return MaskedAlignment(encoder, **{"n_visible_channels": 3} | options)


@pytest.fixture
def objective():
    return perturb(build())


@pytest.fixture
def windows():
    return torch.randn(4, 7, 96)


@pytest.fixture
def mask(objective, windows):
    return objective.draw(windows, torch.Generator().manual_seed(1))


def take_step(objective, windows, mask):
    """One step of plain gradient descent; returns all losses as numbers."""
    losses = objective(windows, mask)
    losses["loss"].backward()
    with torch.no_grad():
        for parameter in objective.parameters():
            if parameter.requires_grad:
                parameter -= 0.1 * parameter.grad
                parameter.grad = None
    objective.update(0.5)
    return {name: value.item() for name, value in losses.items()}


# The mask.


def test_mask_has_the_published_statistics():
    objective = build(encoder={"n_chans": 58}, n_visible_channels=None)
    generator = torch.Generator().manual_seed(0)
    masks = [objective.draw(torch.empty(1, 58, 256), generator) for _ in range(1000)]
    n_seen = torch.tensor([12.0 * mask["visible"].sum() for mask in masks])
    n_targets = torch.tensor([mask["targets"].sum() for mask in masks]).float()

    # 16 moments: 8 * 12 patches seen; 8 * 58 hidden and 20 % of 8 * 46 left out.
    assert n_seen.mean().item() == pytest.approx(96.0, abs=2.5)
    assert n_targets.mean().item() == pytest.approx(537.6, abs=10.0)
    assert n_seen.std().item() == pytest.approx(12 * 2.0, rel=0.1)  # 16 coins


def test_mask_is_shared_by_all_windows(mask):
    assert {name: tuple(value.shape) for name, value in mask.items()} == {
        "visible": (1, 6),
        "kept": (1, 6, 3),
        "targets": (1, 6, 7),
    }


def test_every_moment_keeps_channels_of_its_own(objective, windows):
    kept = objective.draw(windows)["kept"][0]

    assert all(len(set(chans)) == 3 for chans in kept.tolist())
    assert len({frozenset(chans) for chans in kept.tolist()}) > 1


def test_targets_are_all_of_hidden_moments_and_never_what_was_seen(objective, windows):
    for _ in range(50):
        mask = {name: value[0] for name, value in objective.draw(windows).items()}
        seen = mask["targets"][mask["visible"]].gather(1, mask["kept"][mask["visible"]])

        assert mask["targets"][~mask["visible"]].all()
        assert not seen.any()


def test_something_is_always_seen_and_something_of_it_reconstructed(windows):
    objective = build(hidden_prob=0.9, reconstruct_prob=0.05)

    for _ in range(50):
        mask = objective.draw(windows)
        assert mask["targets"][mask["visible"]].any()


def test_same_generator_draws_the_same_mask(objective, windows, mask):
    again = objective.draw(windows[:1], torch.Generator().manual_seed(1))

    assert all(torch.equal(again[name], mask[name]) for name in mask)


@pytest.mark.parametrize(("n_chans", "n_visible"), [(58, 12), (22, 5), (19, 4), (3, 1), (2, 1)])
def test_other_montages_show_the_published_share(n_chans, n_visible):
    assert build(encoder={"n_chans": n_chans}, n_visible_channels=None).n_visible_channels == n_visible


def test_mask_is_listed_as_numbers():
    mask = {
        "visible": torch.tensor([[True, False, True]]),
        "kept": torch.tensor([[[1], [0], [0]]]),
        "targets": torch.tensor([[[True, False], [True, True], [False, False]]]),
    }

    numbers = [list_.tolist() for list_ in locate(mask, torch.device("cpu"))]

    assert numbers == [[0, 2], [[1], [0]], [0, 1, 1], [0, 0, 1]]


# The losses.


def test_student_reads_nothing_but_what_is_kept(objective, windows, mask):
    steps, chans, *_ = locate(mask, windows.device)
    changed = torch.randn(4, 6, 7, 16)
    patches = windows.unflatten(-1, (6, 16)).transpose(1, 2)
    changed[:, steps[:, None], chans] = patches[:, steps[:, None], chans]
    read = []
    objective.reconstructor.register_forward_hook(lambda _, __, output: read.append(output))

    objective(windows, mask)
    objective(changed.transpose(1, 2).flatten(2), mask)

    torch.testing.assert_close(read[0], read[1])


def test_student_knows_the_names_of_the_channels_it_sees(objective, windows, mask):
    steps, chans, *_ = locate(mask, windows.device)
    read = []
    objective.student.register_forward_hook(lambda _, __, output: read.append(output))
    objective(windows, mask)
    fewer = windows.unflatten(-1, (6, 16))[:, chans[1], steps[1], None].transpose(1, 2)
    # fewer: (batch, 1, n_kept, patch_size)

    torch.testing.assert_close(
        objective.student(fewer, objective.encoder.chans_id[chans[1]])[:, 0], read[0][:, 1]
    )


def test_alignment_is_the_squared_distance_from_normalised_summaries_of_everything(objective, windows, mask):
    predicted = []
    objective.predictor.register_forward_hook(lambda _, __, output: predicted.append(output))
    losses = objective(windows, mask)

    anchor = objective.encoder(windows)
    anchor = (anchor - anchor.mean(-1, keepdim=True)) / (
        anchor.var(-1, correction=0, keepdim=True) + 1e-5
    ).sqrt()

    assert losses["alignment"].item() == pytest.approx(
        (predicted[0] - anchor).square().mean().item(), rel=1e-5
    )


def test_reconstruction_is_the_squared_distance_from_normalised_patches(objective, windows, mask):
    rebuilt = []
    objective.reconstructor.register_forward_hook(lambda _, __, output: rebuilt.append(output))
    losses = objective(windows, mask)

    _, _, steps, chans = locate(mask, windows.device)
    patches = torch.stack(
        [windows[:, chan, 16 * step : 16 * step + 16] for step, chan in zip(steps, chans, strict=True)], dim=1
    )
    patches = (patches - patches.mean(-1, keepdim=True)) / (
        patches.var(-1, correction=0, keepdim=True) + 1e-5
    ).sqrt()

    assert losses["reconstruction"].item() == pytest.approx(
        (rebuilt[0] - patches).square().mean().item(), rel=1e-5
    )


def test_queries_name_the_moment_and_the_channel_of_their_patch(windows, mask):
    names = ("Fp1", "Cz", "O2", "C3", "C4", "Pz", "Oz")
    channels = [{"ch_name": name} for name in names]
    objective = build(encoder={"n_chans": None, "chs_info": channels})
    asked = []
    objective.reconstructor.register_forward_pre_hook(lambda _, inputs: asked.extend(inputs[1:]))

    objective(windows, mask)

    wanted = mask["targets"][0].nonzero().tolist()
    rows = [EEGPT_CHANNELS.index(name.upper()) for name in names]
    assert torch.stack(asked, dim=1).tolist() == [[step, rows[chan]] for step, chan in wanted]


def test_predictor_knows_which_moments_were_seen(objective, windows, mask):
    told = []
    objective.predictor.register_forward_pre_hook(lambda _, inputs: told.extend(inputs[1:]))

    objective(windows, mask)

    assert told[0].tolist() == [step for step in range(6) if mask["visible"][0, step]]
    assert told[1] == 6


def test_predicting_zero_costs_the_trivial_loss(windows, mask):
    objective = build()
    for layer in (objective.predictor.predictor_proj, objective.reconstructor.reconstructor_proj):
        nn.init.zeros_(layer.weight)

    losses = objective(windows, mask)

    assert {name: losses[name].item() for name in objective.trivial_loss()} == pytest.approx(
        {"alignment": 1.0, "reconstruction": 1.0}, abs=1e-2
    )


def test_terms_without_normalisation_have_no_trivial_value():
    assert build(normalise_patches=False).trivial_loss() == {"alignment": 1.0}
    assert build(normalise_targets=False).trivial_loss() == {"reconstruction": 1.0}


def test_loss_is_the_weighted_sum_of_its_terms(windows):
    objective = build(alignment_weight=2.0, reconstruction_weight=0.5)

    losses = objective(windows)

    assert losses["loss"].item() == pytest.approx(
        2.0 * losses["alignment"].item() + 0.5 * losses["reconstruction"].item()
    )
    assert [name for name, value in losses.items() if value.requires_grad] == ["loss"]


def test_spread_is_the_loss_of_the_best_constant():
    targets = torch.tensor([[[1.0, 5.0]], [[3.0, 5.0]]])  # two windows, one position, two values

    assert spread(targets).item() == pytest.approx(0.5)


def test_log_spectrum_finds_a_rhythm_and_its_amplitude():
    time = torch.arange(320) / 128
    rhythm = 0.02 * torch.sin(2 * math.pi * 12 * time)

    spectrum = log_spectrum(rhythm.expand(1, 2, -1), 128.0)

    assert spectrum.shape == (1, 2, 40)
    assert (spectrum.argmax(dim=-1) == 11).all()  # the first value is that of 1 Hz
    # A sine of a whole number of cycles under a Hann taper, whose mean is a half.
    assert spectrum[0, 0, 11].item() == pytest.approx(math.log(0.02 * 128 / 2 / 2), rel=1e-4)


def test_log_spectrum_averages_power_over_seconds():
    once = torch.cat([torch.zeros(128), torch.randn(128)])[None, None]

    half = log_spectrum(once, 128.0)[0, 0]

    segments = torch.stack([once[0, 0, start : start + 128] for start in (0, 64, 128)])
    power = torch.fft.rfft(segments * torch.hann_window(128)).abs().square().mean(0)
    torch.testing.assert_close(half, power[1:41].log() / 2)


def test_log_spectrum_ends_at_half_the_sampling_frequency():
    assert log_spectrum(torch.randn(1, 1, 64), 32.0).shape == (1, 1, 16)


def test_silent_channels_have_a_finite_spectrum():
    assert log_spectrum(torch.zeros(1, 1, 16), 16.0).isfinite().all()


def test_windows_shorter_than_a_second_have_no_spectrum():
    with pytest.raises(ValueError, match="need windows of 128 samples, got 100"):
        log_spectrum(torch.zeros(1, 1, 100), 128.0)


# Switches.


def test_without_skip_the_reconstructor_reads_predictions_only(windows, mask):
    torch.manual_seed(0)
    objective = perturb(build(skip=False))
    said, read = [], []
    objective.predictor.register_forward_hook(lambda _, __, output: said.append(output))
    objective.reconstructor.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))

    objective(windows, mask)

    torch.testing.assert_close(read[0], said[0])


def test_skip_hands_over_what_the_student_says_about_visible_moments(objective, windows, mask):
    said, read = {}, []
    for name in ("student", "predictor"):
        objective.get_submodule(name).register_forward_hook(
            lambda _, __, output, name=name: said.update({name: output})
        )
    objective.reconstructor.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))

    objective(windows, mask)

    visible = mask["visible"][0]
    torch.testing.assert_close(read[0][:, visible], said["student"])
    torch.testing.assert_close(read[0][:, ~visible], said["predictor"][:, ~visible])


def test_without_alignment_the_predictor_still_learns_from_hidden_moments(windows, mask):
    objective = build(alignment_weight=0.0)

    losses = objective(windows, mask)
    losses["loss"].backward()

    assert losses["loss"].item() == pytest.approx(losses["reconstruction"].item())
    assert objective.predictor.mask_token.grad.abs().max() > 0


@pytest.mark.parametrize("option", ["normalise_targets", "normalise_patches"])
def test_normalisation_can_be_switched_off(windows, mask, option):
    term = {"normalise_targets": "alignment", "normalise_patches": "reconstruction"}[option]
    losses = []
    for switch in (True, False):
        torch.manual_seed(0)
        losses.append(perturb(build(**{option: switch}))(3.0 * windows, mask)[term].item())

    assert abs(losses[0] - losses[1]) > 1e-2


def test_spectra_can_be_the_target(windows, mask):
    objective = build(target="log-spectrum", normalise_patches=False, encoder={"sfreq": 48.0})
    nn.init.zeros_(objective.reconstructor.reconstructor_proj.weight)

    losses = objective(windows, mask)

    _, _, _, chans = locate(mask, windows.device)
    expected = log_spectrum(windows, 48.0)[:, chans].square().mean()  # whatever the moment
    assert losses["reconstruction"].item() == pytest.approx(expected.item(), rel=1e-5)


# The two encoders.


def test_target_encoder_is_the_moving_average_of_the_student(objective, windows, mask):
    before = [value.clone() for value in objective.encoder.target_encoder.parameters()]
    objective.update(0.25)  # momentum 0.996 + 0.25 * 0.004

    for old, new, own in zip(
        before, objective.encoder.target_encoder.parameters(), objective.student.parameters(), strict=True
    ):
        torch.testing.assert_close(new, 0.997 * old + 0.003 * own)


def test_target_encoder_stands_still_at_the_end(objective):
    before = [value.clone() for value in objective.encoder.parameters()]
    objective.update(1.0)

    assert all(torch.equal(old, new) for old, new in zip(before, objective.encoder.parameters(), strict=True))


def test_student_begins_as_the_target_encoder():
    objective = build()
    target = objective.encoder.target_encoder.state_dict()

    assert all(torch.equal(value, target[name]) for name, value in objective.student.state_dict().items())


def test_everything_but_the_model_itself_gets_a_gradient(objective, windows, mask):
    objective(windows, mask)["loss"].backward()

    without = {name.split(".")[0] for name, value in objective.named_parameters() if value.grad is None}
    assert without == {"encoder"}
    assert not any(value.requires_grad for value in objective.encoder.parameters())


def test_target_encoder_drops_nothing_while_training():
    objective = build(encoder={"drop_prob": 0.5}).train()

    assert objective.student.training
    assert not any(module.training for module in objective.encoder.modules())


def test_encoder_is_the_model_itself_and_can_be_saved(tmp_path, windows):
    encoder = EEGPT(**SMALL)
    objective = MaskedAlignment(encoder, n_visible_channels=3)
    take_step(objective, windows, None)
    objective.encoder.save_pretrained(tmp_path)

    assert objective.encoder is encoder
    torch.testing.assert_close(EEGPT.from_pretrained(tmp_path).eval()(windows), encoder(windows))


def test_state_dict_holds_all_that_the_next_step_needs(objective, windows, mask):
    take_step(objective, windows, mask)
    other = build()
    other.load_state_dict(objective.state_dict())

    assert take_step(other, windows, mask) == take_step(objective, windows, mask)
    assert take_step(other, windows, mask) == take_step(objective, windows, mask)


def test_training_lowers_the_losses_below_what_a_constant_reaches(mask):
    # One rhythm in all channels, with a phase of its own in every window: what is hidden can be known.
    time, phases = torch.arange(96) / 3, 2 * math.pi * torch.rand(16, 1, 1)
    windows = torch.sin(time + phases).expand(-1, 7, -1) + 0.1 * torch.randn(16, 7, 96)
    objective = build(encoder={"embed_dim": 24, "depth": 1, "init_std": 0.1}, momentum=(0.9, 1.0))
    optimizer = torch.optim.AdamW([value for value in objective.parameters() if value.requires_grad], lr=5e-3)
    for number in range(50):
        optimizer.zero_grad()
        objective(windows, mask)["loss"].backward()
        optimizer.step()
        objective.update((number + 1) / 50)

    losses = objective(windows, mask)
    assert losses["reconstruction"] < 0.5 * losses["reconstruction_spread"]
    assert losses["alignment"] < 0.5 * losses["alignment_spread"]


# Precision, devices, sizes.


def test_runs_under_bfloat16(objective, windows, mask):
    exact = objective(windows, mask)
    with torch.autocast("cpu", torch.bfloat16):
        losses = objective(windows, mask)
    losses["loss"].backward()

    assert all(value.dtype == torch.float32 for value in losses.values())
    assert losses["loss"].item() == pytest.approx(exact["loss"].item(), rel=2e-2)


def test_runs_where_normalisation_stays_in_full_precision(objective, windows, mask):
    # Accelerators normalise in float32 under autocast, processors in bfloat16.
    objective.student.register_forward_hook(lambda _, __, output: output.float())

    with torch.autocast("cpu", torch.bfloat16):
        assert objective(windows, mask)["loss"].isfinite()


def test_masks_follow_the_windows_to_their_device(windows, mask):
    with torch.device("meta"):
        objective = build()

    assert objective(windows.to("meta"), mask)["loss"].device.type == "meta"


def test_windows_of_other_lengths_are_welcome(objective):
    assert objective(torch.randn(2, 7, 160))["loss"].isfinite()


def test_published_sizes():
    with torch.device("meta"):
        objective = MaskedAlignment(EEGPT(**PUBLISHED))
    parts = (objective.student, objective.predictor, objective.reconstructor)

    # Frequencies count, although they are not trained.
    assert [sum(tensor.numel() for tensor in part.state_dict().values()) for part in parts] == [
        25_287_168,
        25_747_472,
        25_547_856,
    ]


def test_published_names():
    with torch.device("meta"):
        objective = MaskedAlignment(EEGPT(**PUBLISHED))
    layer = {"norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"}
    names = {
        "predictor": {"mask_token": (1, 1, 4, 512), "time_embed.freqs": (16,)},
        "reconstructor": {
            "mask_token": (1, 1, 512),
            "time_embed.freqs": (16,),
            "chan_embed.weight": (62, 512),
        },
    }
    for part, tensors in names.items():
        state = objective.get_submodule(part).state_dict()
        linear = {f"{part}_embed", f"{part}_norm", f"{part}_proj"}
        linear |= {f"{part}_blocks.{number}.{name}" for number in range(8) for name in layer}

        assert set(state) == set(tensors) | {
            f"{name}.{kind}" for name in linear for kind in ("weight", "bias")
        }
        assert {name: tuple(state[name].shape) for name in tensors} == tensors
    assert tuple(objective.reconstructor.reconstructor_proj.weight.shape) == (64, 512)


# Rotary positions.


def test_rotation_turns_the_first_half_of_a_head_by_half_the_time():
    angles = TimeEmbed(8)(torch.tensor([0, 2]))  # frequencies 1 and 1/100
    head = torch.tensor([1.0, 0.0, 0.0, 1.0, 5.0, 6.0, 7.0, 8.0]).expand(2, 8)

    expected = [math.cos(1), math.sin(1), -math.sin(0.01), math.cos(0.01), 5.0, 6.0, 7.0, 8.0]
    torch.testing.assert_close(rotate(head, angles), torch.stack([head[0], torch.tensor(expected)]))


def test_rotation_keeps_the_precision_of_the_heads():
    heads = torch.randn(2, 8)

    turned = rotate(heads.bfloat16(), TimeEmbed(8)(torch.arange(2)))

    assert turned.dtype == torch.bfloat16
    torch.testing.assert_close(
        turned.float(), rotate(heads, TimeEmbed(8)(torch.arange(2))), atol=2e-2, rtol=2e-2
    )


def test_published_frequencies():
    expected = [10000 ** (-2 * k / 32) for k in range(16)]

    torch.testing.assert_close(TimeEmbed(64).freqs, torch.tensor(expected))


def test_rotary_attention_knows_distances_only():
    attention = perturb(RotaryAttention(embed_dim=24, n_heads=3))
    tokens, steps, time = torch.randn(2, 5, 24), torch.tensor([0, 0, 1, 3, 7]), TimeEmbed(8)

    early, late, other = (
        attention(tokens, time(steps * pace + start)) for pace, start in ((1, 0), (1, 9), (2, 0))
    )

    torch.testing.assert_close(early, late)
    assert (early - other).abs().max() > 1e-4


def test_rotary_attention_without_time_is_plain_attention():
    attention = perturb(RotaryAttention(embed_dim=12, n_heads=1))
    tokens = torch.randn(2, 5, 12)
    q, k, v = attention.qkv(tokens).chunk(3, dim=-1)
    expected = attention.proj((q @ k.mT / 12**0.5).softmax(-1) @ v)

    torch.testing.assert_close(attention(tokens, TimeEmbed(12)(torch.full((5,), 4))), expected)


def test_predictor_puts_moments_where_they_belong():
    predictor = perturb(Predictor(embed_dim=12, n_heads=3, hidden_dim=20, n_layers=2, n_summary_tokens=2))
    summary = torch.randn(4, 2, 2, 12)

    ordered = predictor(summary, torch.tensor([1, 4]), 6)

    assert ordered.shape == (4, 6, 2, 12)
    torch.testing.assert_close(predictor(summary[:, [1, 0]], torch.tensor([4, 1]), 6), ordered)
    assert (predictor(summary, torch.tensor([1, 5]), 6) - ordered).abs().max() > 1e-3


def test_predictor_tells_hidden_moments_apart_by_time_alone():
    predictor = perturb(Predictor(embed_dim=12, n_heads=3, hidden_dim=20, n_layers=2, n_summary_tokens=2))

    predicted = predictor(torch.randn(1, 1, 2, 12), torch.tensor([0]), 4)[0]

    assert (predicted[1] - predicted[2]).abs().max() > 1e-4


def test_reconstructor_answers_queries_in_their_order():
    reconstructor = perturb(
        Reconstructor(embed_dim=12, n_heads=3, hidden_dim=20, n_layers=2, n_channel_names=9, n_values=5)
    )
    mixed, steps, chans = torch.randn(4, 6, 2, 12), torch.tensor([0, 0, 3]), torch.tensor([2, 8, 2])

    patches = reconstructor(mixed, steps, chans)
    order = torch.tensor([2, 0, 1])

    assert patches.shape == (4, 3, 5)
    torch.testing.assert_close(reconstructor(mixed, steps[order], chans[order]), patches[:, order])
    assert (patches[:, 0] - patches[:, 1]).abs().max() > 1e-4  # another channel
    assert (patches[:, 0] - patches[:, 2]).abs().max() > 1e-4  # another time


def test_deeper_layers_begin_smaller():
    blocks = Predictor(
        embed_dim=64, n_heads=4, hidden_dim=256, n_layers=4, n_summary_tokens=2
    ).predictor_blocks

    ratio = blocks[0].mlp.fc2.weight.std() / blocks[3].mlp.fc2.weight.std()
    assert ratio.item() == pytest.approx(2.0, rel=0.05)


# Refusals.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": {"chan_proj_type": "linear"}}, "chan_proj_type='linear'"),
        ({"encoder": {"patch_stride": 8}}, "patch_stride=8"),
        ({"encoder": {"embed_dim": 18}}, "multiple of 4, got 6"),
        ({"n_visible_channels": 7}, r"n_chans - 1 = 6, got 7"),
        ({"n_visible_channels": 0}, "greater than or equal to 1, got 0"),
        ({"hidden_prob": 1.0}, "hidden_prob of MaskedAlignment should be less than 1, got 1.0"),
        ({"reconstruct_prob": 0.0}, "reconstruct_prob of MaskedAlignment should be greater than 0"),
        ({"momentum": (0.9, 1.1)}, r"momentum of MaskedAlignment\[1\] should be less than or equal to 1"),
        (
            {"n_predictor_layers": 0},
            "n_predictor_layers .* should be greater than or equal to 1",
        ),
    ],
)
def test_options_that_make_no_objective_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        build(**changes)


def test_incomplete_patches_are_refused_with_the_length_to_cut_to(objective):
    with pytest.raises(ValueError, match=r"got 100 samples\. Cut them to 96"):
        objective(torch.randn(2, 7, 100))


def test_other_channels_are_refused(objective):
    with pytest.raises(ValueError, match="built for 7 channels, got 5"):
        objective.draw(torch.randn(2, 5, 96))
