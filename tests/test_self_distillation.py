"""What pretraining by self-distillation promises: views, losses, teacher, and signs of collapse."""

import copy
import math

import pytest
import torch

from eeglab_models import EEGDINO
from eeglab_models.pretraining.eegdino.assignments import Centre, cross_entropies, measure_crowding, watch
from eeglab_models.pretraining.eegdino.self_distillation import SelfDistillation, cut_views
from eeglab_models.pretraining.eegdino.views import cut_crop, draw_hidden, hide_patches

N_CHANS, N_PATCHES, PATCH_SIZE = 5, 6, 20
HEADS = {"hidden_dim": 12, "bottleneck_dim": 6, "n_prototypes": 7}


def make_encoder(**arguments):
    tiny = {
        "n_outputs": 3,
        "n_chans": N_CHANS,
        "n_times": N_PATCHES * PATCH_SIZE,
        "patch_size": PATCH_SIZE,
        "n_layer": 2,
        "nhead": 2,
        "dim_feedforward": 10,
        "channels_kernel_stride_padding_norm": [(4, 9, 10, 4, (2, 4))],
        "drop_prob": 0.0,
    }
    return EEGDINO(**tiny | arguments)


def make_objective(encoder=None, **arguments):
    return SelfDistillation(encoder or make_encoder(), **HEADS | {"n_local": 3} | arguments)


def take_step(objective, windows, drawn, progress=0.5):
    """One step of plain gradient descent."""
    losses = objective(windows, drawn)
    objective.zero_grad()
    losses["loss"].backward()
    with torch.no_grad():
        for parameter in objective.parameters():
            if parameter.requires_grad:
                parameter -= 0.1 * parameter.grad
    objective.update(progress)
    return losses


@pytest.fixture
def windows():
    return torch.randn(4, N_CHANS, N_PATCHES * PATCH_SIZE)


# Views


@pytest.mark.parametrize(
    ("seconds", "n_global_patches", "n_local_patches"), [(4, 3, 2), (10, 8, 5), (30, 24, 15)]
)
def test_views_have_their_share_of_channels_and_seconds(seconds, n_global_patches, n_local_patches):
    encoder = make_encoder(n_chans=19, n_times=seconds * PATCH_SIZE)
    objective = SelfDistillation(encoder, **HEADS)

    drawn = objective.draw(torch.zeros(3, 19, seconds * PATCH_SIZE))

    assert drawn["global_channels"].shape == (1, 2, 14)
    assert drawn["local_channels"].shape == (1, 8, 5)
    assert drawn["mask"].shape == (3, 2, 14, n_global_patches)
    local, _ = cut_views(objective, torch.zeros(3, 19, seconds * PATCH_SIZE), drawn, "local")[0]
    assert local.shape == (3, 5, n_local_patches * PATCH_SIZE)


def test_views_never_leave_the_window_and_reach_its_ends():
    objective = make_objective(n_local=300)

    starts = objective.draw(torch.zeros(1, N_CHANS, N_PATCHES * PATCH_SIZE))["local_starts"]

    assert set(starts.flatten().tolist()) == {0, 1, 2, 3}


def test_every_channel_of_a_view_is_another_one():
    objective = make_objective(n_local=50, local_channels=0.6)

    channels = objective.draw(torch.zeros(1, N_CHANS, N_PATCHES * PATCH_SIZE))["local_channels"][0]

    assert all(len(set(view.tolist())) == 3 for view in channels)
    assert channels.unique().tolist() == list(range(N_CHANS))


def test_the_generator_decides_what_is_drawn(windows):
    objective = make_objective()

    first, again, other = (objective.draw(windows, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))

    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_masked_views_are_the_global_ones_in_turn(windows):
    drawn = make_objective(n_masked=3).draw(windows)

    assert torch.equal(drawn["masked_channels"], drawn["global_channels"][:, [0, 1, 0]])
    assert torch.equal(drawn["masked_starts"], drawn["global_starts"][:, [0, 1, 0]])


def test_masked_views_to_compare_by_position_have_crops_of_their_own(windows):
    drawn = make_objective(n_masked=40, n_global=40, patch_alignment="position").draw(windows)

    assert not torch.equal(drawn["masked_starts"], drawn["global_starts"])
    assert not torch.equal(drawn["masked_channels"], drawn["global_channels"])


def test_masks_hide_whole_channels_and_whole_moments():
    objective = SelfDistillation(make_encoder(n_chans=19), **HEADS)

    mask = objective.draw(torch.zeros(3000, 19, 10 * PATCH_SIZE))["mask"].float()

    hidden_channels = mask.amin(dim=-1)
    hidden_moments = mask.amin(dim=-2)
    assert torch.equal(mask, torch.maximum(hidden_channels.unsqueeze(-1), hidden_moments.unsqueeze(-2)))
    assert hidden_channels.sum(-1).unique().tolist() == [7]
    assert hidden_moments.sum(-1).unique().tolist() == [1, 2]
    # 0.15 * 8 moments are 1.2; six standard deviations of the mean of 6000 draws.
    assert hidden_moments.sum(-1).mean().item() == pytest.approx(1.2, abs=6 * 0.4 / math.sqrt(6000))
    assert mask.mean().item() == pytest.approx(1 - 0.5 * 0.85, abs=0.005)


@pytest.mark.parametrize(("n_items", "most"), [(1, 0), (2, 1), (3, 2)])
def test_one_item_always_stays(n_items, most):
    assert draw_hidden((500,), n_items, 0.9).sum(-1).max() == most


def test_a_view_is_cut_out_between_patches():
    windows = torch.arange(2 * 3 * 8.0).view(2, 3, 8)

    view = cut_crop(windows, torch.tensor([0, 2]), start=2, n_samples=4)

    assert view[0].tolist() == [[2, 3, 4, 5], [18, 19, 20, 21]]
    assert view[1].tolist() == [[26, 27, 28, 29], [42, 43, 44, 45]]


def test_hidden_patches_are_zero_and_the_others_stay():
    view = torch.arange(1.0, 9.0).view(1, 2, 4)
    hidden = torch.tensor([[[True, False], [False, True]]])

    masked = hide_patches(view, hidden)

    assert masked.tolist() == [[[0, 0, 3, 4], [5, 6, 0, 0]]]


# Losses


def test_cross_entropies_of_all_pairs_of_views():
    certain, torn = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 0.5]])
    guess = torch.tensor([[0.25, 0.75]]).log()

    losses = cross_entropies(torch.stack([certain, torn]), torch.stack([guess, torn.log()]))

    expected = [[math.log(4), math.log(2)], [0.5 * math.log(16 / 3), math.log(2)]]
    torch.testing.assert_close(losses, torch.tensor(expected))


def test_no_items_cost_nothing():
    nothing = torch.zeros(1, 0, 7)

    assert cross_entropies(nothing, nothing).item() == 0


def cross_entropy(teacher, centre, temperature, student):
    """Mean cross-entropy of scores, shape (..., n_prototypes), written plainly."""
    targets = ((teacher - centre) / temperature).exp()
    targets = targets / targets.sum(-1, keepdim=True)
    guesses = (student / 0.02).exp()
    guesses = guesses / guesses.sum(-1, keepdim=True)
    return -(targets * guesses.log()).sum(-1).mean()


def look(branch, windows, drawn, kind, view, n_patches, mask=None):
    """Scores of one view's windows and patches."""
    start = drawn[f"{kind}_starts"][0, view] * PATCH_SIZE
    channels = drawn[f"{kind}_channels"][0, view]
    x = windows[:, channels, start : start + n_patches * PATCH_SIZE]
    if mask is not None:
        x = x * ~mask.repeat_interleave(PATCH_SIZE, dim=-1)
    features = branch.encoder(x, return_features=True, channel_ids=channels)
    return branch.signal_head(features["cls_token"]), branch.patch_head(features["features"])


@pytest.mark.parametrize("alignment", ["same crop", "position"])
def test_losses_are_the_means_over_pairs_of_views(windows, alignment):
    objective = make_objective(
        n_global=3,
        n_masked=4,
        patch_alignment=alignment,
        student_temperature=0.02,
        signal_weight=0.5,
        patch_weight=3.0,
    ).eval()
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
        objective.signal_centre.mean.normal_(std=0.1)
        objective.patch_centre.mean.normal_(std=0.1)
        objective.temperature.fill_(0.05)
    drawn = objective.draw(windows)
    masks = drawn["mask"].transpose(0, 1)

    with torch.no_grad():
        losses = objective(windows, drawn)
        teacher = [look(objective.teacher, windows, drawn, "global", view, 5) for view in range(3)]
        student = {
            "global": [look(objective.student, windows, drawn, "global", view, 5) for view in range(3)],
            "local": [look(objective.student, windows, drawn, "local", view, 3) for view in range(3)],
            "masked": [look(objective.student, windows, drawn, "masked", v, 5, masks[v]) for v in range(4)],
        }

    def compare(teacher_scores, student_scores, centre):
        return cross_entropy(teacher_scores, centre.mean, 0.05, student_scores)

    expected = {
        f"{kind}_loss": [
            compare(taught[0], seen[0], objective.signal_centre)
            for i, taught in enumerate(teacher)
            for j, seen in enumerate(student[kind])
            if kind != "global" or i != j
        ]
        for kind in student
    }
    assert [len(pairs) for pairs in expected.values()] == [6, 9, 12]
    if alignment == "position":
        patches = [
            compare(taught[1], seen[1], objective.patch_centre)
            for taught in teacher
            for seen in student["masked"]
        ]
    else:
        rows = [masks[view].flatten(1) for view in range(4)]
        taught = torch.cat([teacher[view % 3][1][rows[view]] for view in range(4)])
        seen = torch.cat([student["masked"][view][1][rows[view]] for view in range(4)])
        patches = [compare(taught, seen, objective.patch_centre)]
    expected = {
        name: torch.stack(pairs).mean() for name, pairs in (expected | {"patch_loss": patches}).items()
    }
    expected["loss"] = 0.5 * sum(expected[f"{kind}_loss"] for kind in student) + 3 * expected["patch_loss"]
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value)


def test_a_student_without_a_preference_pays_the_trivial_loss(windows):
    objective = make_objective()
    with torch.no_grad():
        for head in (objective.student.signal_head, objective.student.patch_head):
            head.prototypes.copy_(head.prototypes[:1].expand_as(head.prototypes))

    losses = objective(windows)

    for name, value in objective.trivial_loss().items():
        assert losses[name].item() == pytest.approx(value, rel=1e-5)


def test_only_the_loss_has_a_gradient(windows):
    losses = make_objective(koleo_weight=0.1)(windows)

    assert [name for name, value in losses.items() if value.requires_grad] == ["loss"]
    assert all(value.shape == () and value.dtype == torch.float32 for value in losses.values())


def test_crowding_is_the_logarithm_of_the_nearest_distance():
    # At 0, 60 and 150 degrees: the nearest neighbours are 60, 60 and 90 degrees away.
    angles = torch.tensor([0.0, 60.0, 150.0]).deg2rad()
    rows = 3 * torch.stack([angles.cos(), angles.sin()], dim=-1)

    crowding = measure_crowding(rows.unsqueeze(0))

    assert crowding.item() == pytest.approx(-math.log(math.sqrt(2)) / 3, abs=1e-5)


def test_crowding_joins_the_loss_with_its_weight(windows):
    objective = make_objective(koleo_weight=0.25).eval()
    losses = objective(windows, objective.draw(windows))

    terms = sum(losses[f"{kind}_loss"] for kind in ("global", "local", "masked", "patch"))

    torch.testing.assert_close(losses["loss"].detach(), terms + 0.25 * losses["koleo_loss"])


def test_channels_keep_their_slots(windows):
    encoder = make_encoder(n_chans=9)
    slots = [8, 2, 6, 0, 4]
    objective = make_objective(encoder, channel_ids=slots)
    drawn = objective.draw(windows)

    for (_, ids), channels in zip(
        cut_views(objective, windows, drawn, "local"), drawn["local_channels"][0], strict=True
    ):
        assert ids.tolist() == [slots[channel] for channel in channels]


def test_samples_that_fill_no_patch_are_left_out(windows):
    objective = make_objective().eval()
    drawn = objective.draw(windows)

    longer = objective(torch.cat([windows, torch.full((4, N_CHANS, 7), 100.0)], dim=-1), drawn)

    torch.testing.assert_close(longer["loss"], objective(windows, drawn)["loss"])


def test_half_precision_changes_the_losses_little(windows):
    objective = make_objective().eval()
    drawn = objective.draw(windows)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = objective(windows, drawn)
    losses["loss"].backward()

    assert losses["loss"].dtype == torch.float32
    torch.testing.assert_close(losses["loss"], objective(windows, drawn)["loss"], rtol=0.02, atol=0)


# Teacher


def test_the_teacher_starts_as_the_student_and_gets_no_gradient(windows):
    objective = make_objective()

    objective(windows)["loss"].backward()

    for taught, seen in zip(objective.teacher.parameters(), objective.student.parameters(), strict=True):
        assert torch.equal(taught, seen)
    assert not any(parameter.requires_grad for parameter in objective.teacher.parameters())


def test_every_parameter_of_the_student_but_the_classifier_gets_a_gradient(windows):
    objective = make_objective()

    objective(windows)["loss"].backward()

    trained = {name: p.grad for name, p in objective.student.named_parameters() if p.requires_grad}
    frozen = [name for name, p in objective.student.named_parameters() if not p.requires_grad]
    assert frozen
    assert all(name.startswith("encoder.final_layer.") for name in frozen)
    assert [name for name, grad in trained.items() if grad is None or not grad.any()] == []


@pytest.mark.parametrize(
    ("progress", "kept"), [(1e-9, 0.9), (0.25, 0.95 - 0.05 * math.sqrt(0.5)), (0.5, 0.95), (1.0, 1.0)]
)
def test_the_teacher_follows_more_and_more_slowly(progress, kept):
    objective = make_objective(momentum=(0.9, 1.0))
    with torch.no_grad():
        objective.teacher.signal_head.prototypes.fill_(1.0)
        objective.student.signal_head.prototypes.fill_(2.0)

    objective.update(progress)

    expected = torch.full((7, 6), 2 - kept)
    torch.testing.assert_close(objective.teacher.signal_head.prototypes.data, expected)


@pytest.mark.parametrize(("progress", "temperature"), [(0.15, 0.055), (0.3, 0.07), (1.0, 0.07)])
def test_the_temperature_of_the_teacher_grows_and_stays(progress, temperature):
    objective = make_objective()
    assert objective.temperature.item() == pytest.approx(0.04)

    objective.update(progress)

    assert objective.temperature.item() == pytest.approx(temperature)


def test_the_teacher_drops_nothing_while_the_student_does(windows):
    objective = make_objective(make_encoder(drop_prob=0.5)).train()
    drawn = objective.draw(windows)
    views = cut_views(objective, windows, drawn, "global")

    assert torch.equal(objective.teacher(views)[0], objective.teacher(views)[0])
    assert not torch.equal(objective.student(views)[0], objective.student(views)[0])


def test_the_encoder_is_the_teachers_and_can_be_trained(windows, tmp_path):
    objective = make_objective()
    take_step(objective, windows, objective.draw(windows))

    objective.encoder.save_pretrained(tmp_path)

    loaded = EEGDINO.from_pretrained(tmp_path).state_dict()
    teacher, student = objective.teacher.encoder, objective.student.encoder
    assert all(torch.equal(loaded[name], tensor) for name, tensor in teacher.state_dict().items())
    assert torch.equal(objective.student_encoder.global_tokens, student.global_tokens)
    assert not torch.equal(student.global_tokens, teacher.global_tokens)
    assert all(parameter.requires_grad for parameter in objective.encoder.parameters())


def test_the_given_encoder_stays_as_it_is(windows):
    given = make_encoder()
    before = copy.deepcopy(given.state_dict())
    objective = make_objective(given)

    take_step(objective, windows, objective.draw(windows))

    assert all(torch.equal(before[name], tensor) for name, tensor in given.state_dict().items())
    assert all(parameter.requires_grad for parameter in given.parameters())


# Centre


def test_the_centre_moves_to_the_mean_of_all_parts_of_a_step():
    centre = Centre(2, momentum=0.9)
    centre.see(torch.tensor([[[1.0, 0.0]]]))
    centre.see(torch.tensor([[[2.0, 3.0], [3.0, 0.0]]]))

    centre.move()

    torch.testing.assert_close(centre.mean, torch.tensor([0.2, 0.1]))
    centre.move()
    torch.testing.assert_close(centre.mean, torch.tensor([0.2, 0.1]))


def test_a_step_that_was_not_finished_leaves_nothing_behind():
    centre = Centre(2, momentum=0.9)
    centre.see(torch.tensor([[[1.0, 0.0]]]))
    centre.train().move()

    assert not centre.mean.any()


def test_the_centre_is_that_of_the_teachers_scores(windows):
    objective = make_objective(centre_momentum=0.0)
    drawn = objective.draw(windows)
    scores = [look(objective.teacher, windows, drawn, "global", view, 5)[0] for view in range(2)]

    take_step(objective, windows, drawn)

    torch.testing.assert_close(objective.signal_centre.mean, torch.cat(scores).mean(dim=0))


@pytest.mark.parametrize(("training", "centring"), [(False, True), (True, False)])
def test_the_centre_stays_in_evaluation_and_without_centring(windows, training, centring):
    objective = make_objective(centring=centring).train(training)

    objective(windows)
    objective.update(0.5)

    assert not objective.signal_centre.mean.any()
    assert not objective.patch_centre.mean.any()


def test_the_state_holds_all_that_the_next_step_needs(windows):
    objective = make_objective()
    take_step(objective, windows, objective.draw(windows))
    resumed = make_objective()
    resumed.load_state_dict(objective.state_dict())
    drawn = objective.draw(windows)

    take_step(objective, windows, drawn, progress=0.6)
    take_step(resumed, windows, drawn, progress=0.6)

    for name, tensor in objective.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


# Monitors


def test_monitors_of_items_that_are_told_apart():
    targets = torch.eye(4)[:2].unsqueeze(0)
    scores = torch.tensor([[[1.0, 0.0, 0.0, -1.0], [-1.0, 0.0, 0.0, 1.0]]])

    monitors = watch(targets, scores)

    expected = {"entropy": 0.0, "mean_entropy": 0.5, "top_share": 0.5, "spread": 0.5}
    assert {name: value.item() for name, value in monitors.items()} == pytest.approx(expected)


def test_monitors_of_one_answer_to_everything():
    targets = torch.tensor([0.7, 0.1, 0.1, 0.1]).expand(1, 5, 4)

    monitors = watch(targets, targets)

    assert monitors["top_share"] == 1
    assert monitors["spread"].item() == pytest.approx(0, abs=1e-4)
    assert monitors["entropy"].item() == pytest.approx(monitors["mean_entropy"].item())


def test_monitors_look_at_each_view_on_its_own():
    targets = torch.eye(4)[:2].unsqueeze(1).expand(2, 3, 4)

    monitors = watch(targets, targets)

    assert monitors["mean_entropy"] == 0
    assert monitors["spread"] == 0


def draw_rhythms(n_windows):
    """Windows of one rhythm each, of another strength in every channel, in noise."""
    time = torch.arange(N_PATCHES * PATCH_SIZE) / PATCH_SIZE
    cycles = torch.randint(1, 6, (n_windows, 1, 1)) * time + torch.rand(n_windows, 1, 1)
    strengths = torch.rand(n_windows, N_CHANS, 1)
    return strengths * (2 * math.pi * cycles).sin() + 0.3 * torch.randn(n_windows, N_CHANS, len(time))


def learn_rhythms(**arguments):
    """Monitors on new windows after 40 steps."""
    objective = make_objective(n_local=1, n_masked=1, n_prototypes=32, **arguments)
    optimizer = torch.optim.AdamW((p for p in objective.parameters() if p.requires_grad), lr=3e-3)
    for step in range(40):
        optimizer.zero_grad()
        objective(draw_rhythms(32))["loss"].backward()
        optimizer.step()
        objective.update((step + 1) / 40)
    with torch.no_grad():
        return objective.eval()(draw_rhythms(128))


def test_windows_are_told_apart_with_centring_and_a_slow_teacher():
    monitors = learn_rhythms(momentum=(0.9, 1.0))

    assert monitors["signal_mean_entropy"] - monitors["signal_entropy"] > 0.02
    assert monitors["signal_top_share"] < 0.7


def test_all_windows_get_one_answer_without_centring_and_a_slow_teacher():
    monitors = learn_rhythms(momentum=(0.0, 0.0), centring=False)

    assert monitors["signal_mean_entropy"] - monitors["signal_entropy"] < 0.005
    assert monitors["signal_top_share"] > 0.95
    # A low loss proves nothing: it is lowest when there is nothing left to guess.
    assert monitors["global_loss"] < 0.1


# Refusals


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_global": 1}, "n_global of SelfDistillation should be greater than or equal to 2, got 1"),
        ({"n_local": 0}, "n_local of SelfDistillation should be greater than or equal to 1, got 0"),
        ({"global_time": 1.5}, "global_time of SelfDistillation should be less than or equal to 1, got 1.5"),
        ({"masked_channels": 1.0}, "masked_channels of SelfDistillation should be less than 1, got 1.0"),
        (
            {"momentum": [0.9, 1.1]},
            r"momentum of SelfDistillation\[1\] should be less than .* 1, got 1.1",
        ),
        ({"momentum": [0.9]}, "momentum of SelfDistillation should be longer, got"),
        (
            {"teacher_temperature": (0.0, 0.07)},
            r"teacher_temperature .*\[0\] should be greater than 0",
        ),
        ({"patch_alignment": "random"}, "no patch_alignment 'random'.* There are: same crop, position"),
        ({"channel_ids": [0, 1, 2, 3, 19]}, "numbers from 0 to 18"),
        ({"channel_ids": [0, 1, 2, 3, 3]}, "a slot of its own"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_objective(**arguments)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 6, 120), "built for 5 channels, got 6. Pass channel_ids"),
        ((2, 5, 19), "at least one patch of 20 samples, got 19"),
    ],
)
def test_wrong_windows_are_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        make_objective()(torch.zeros(shape))
