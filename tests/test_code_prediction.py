"""Masked code prediction, and the tokenizers that it refuses."""

import math

import pretraining_stubs
import pytest
import small_models
import torch
import torch.nn.functional as F

from eeglab_models.models.codebrain import CodeBrain
from eeglab_models.pretraining.codebrain.code_prediction import CodePrediction, check_codebooks
from eeglab_models.pretraining.codebrain.codebook import describe_codes
from eeglab_models.pretraining.codebrain.tokenizer import TFDualTokenizer

TOKENIZER = {**pretraining_stubs.TOKENIZER, "n_times": 150}
N_CODES = TOKENIZER["n_codes"]
ENCODER = {
    "n_outputs": 2,
    "n_chans": 3,
    "n_times": 150,
    "patch_size": 30,
    **small_models.CODEBRAIN,
    "s4_lmax": 15,
    "drop_prob": 0.0,
    "spectral_dropout": 0.0,
    "codebook_size_t": N_CODES,
    "codebook_size_f": N_CODES,
    "pretrain_mode": True,
}


def draw_windows(n_windows=6):
    return 0.2 * torch.randn(n_windows, 3, 150)


@pytest.fixture
def tokenizer():
    """A tokenizer whose codes differ from patch to patch."""
    tokenizer = TFDualTokenizer(**TOKENIZER)
    with torch.no_grad():
        for parameter in tokenizer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    tokenizer.start(draw_windows(20))
    return tokenizer


@pytest.fixture
def objective(tokenizer):
    return CodePrediction(CodeBrain(**ENCODER), tokenizer)


@pytest.fixture
def windows():
    return draw_windows()


def collapse(stream):
    """Let all tokens choose the same code."""
    stream.to_code[2].weight.data.zero_()
    stream.to_code[2].bias.data.fill_(1.0)


# Masks


def test_every_patch_is_hidden_with_the_same_probability(objective):
    objective.mask_prob = 0.3
    hidden = objective.draw(torch.zeros(4000, 3, 150))["hidden"]

    assert hidden.shape == (4000, 3, 5)
    torch.testing.assert_close(hidden.float().mean(dim=0), torch.full((3, 5), 0.3), rtol=0, atol=0.04)


def test_half_of_the_patches_are_hidden_as_published(objective):
    assert abs(objective.draw(torch.zeros(4000, 3, 150))["hidden"].float().mean() - 0.5) < 0.01


def test_patches_are_hidden_independently(objective):
    hidden = objective.draw(torch.zeros(4000, 3, 150))["hidden"].flatten(1).T.float()

    assert (torch.corrcoef(hidden) - torch.eye(15)).abs().max() < 0.08  # 5 standard errors


def test_draws_repeat_with_their_generator(objective, windows):
    first, second = (objective.draw(windows, torch.Generator().manual_seed(5)) for _ in range(2))

    assert torch.equal(first["hidden"], second["hidden"])


# Losses


def test_losses_are_cross_entropies_over_the_hidden_patches(objective, windows):
    drawn = objective.draw(windows)
    losses = objective(windows, drawn)
    objective.encoder.pretrain_mode = True
    scores = objective.encoder(windows, drawn["hidden"])
    codes = [ids[drawn["hidden"]] for ids in objective.tokenizer.codes(windows)]

    temporal, frequency = (F.cross_entropy(s, c) for s, c in zip(scores, codes, strict=True))
    torch.testing.assert_close(losses["temporal"], temporal)
    torch.testing.assert_close(losses["frequency"], frequency)
    torch.testing.assert_close(losses["loss"], temporal + frequency)


def test_equal_scores_have_the_trivial_loss(objective, windows):
    for head in (objective.encoder.lm_head_t, objective.encoder.lm_head_f):
        head.weight.data.zero_()
    losses = objective(windows)

    trivial = objective.trivial_loss()
    assert {name: losses[name].item() for name in trivial} == pytest.approx(trivial)
    assert trivial["loss"] == pytest.approx(2 * math.log(N_CODES))


def test_what_is_hidden_is_not_seen(objective, windows):
    codes = objective.tokenizer.codes(windows)
    objective.tokenizer.codes = lambda windows: codes
    drawn = objective.draw(windows)
    noise = torch.randn_like(windows) * drawn["hidden"].repeat_interleave(30, dim=-1)

    assert objective(windows, drawn)["loss"] == objective(windows + noise, drawn)["loss"]


def test_the_tokenizer_sees_everything(objective, windows):
    everything = {"hidden": torch.ones(6, 3, 5, dtype=torch.bool)}
    losses = objective(windows, everything)

    expected = describe_codes(objective.tokenizer.codes(windows)[0], N_CODES)["entropy"]
    torch.testing.assert_close(losses["temporal_entropy"], expected)
    assert expected > 1


def test_accuracy_is_the_share_of_right_guesses(objective, windows):
    drawn = objective.draw(windows)
    objective.encoder.lm_head_f.weight.data.zero_()  # always guesses the first code
    losses = objective(windows, drawn)

    expected = (objective.tokenizer.codes(windows)[1][drawn["hidden"]] == 0).float().mean()
    torch.testing.assert_close(losses["frequency_accuracy"], expected)
    assert losses["frequency_perplexity"] == 1.0


def test_only_the_loss_carries_a_gradient(objective, windows):
    losses = objective(windows)

    assert {name for name, value in losses.items() if value.requires_grad} == {"loss"}
    assert all(value.shape == () and value.dtype == torch.float32 for value in losses.values())


def test_every_parameter_that_leads_to_the_codes_gets_a_gradient(objective, windows):
    objective(windows)["loss"].backward()

    # What the last block hands on to the next leads nowhere, and neither does the classifier.
    aside = ("final_layer.", "residual_layer.residual_blocks.1.r", "patch_embedding.mask_encoding")
    without = [name for name, p in objective.encoder.named_parameters() if p.grad is None]
    assert [name for name in without if not name.startswith(aside)] == []


def test_a_draw_that_hides_nothing_has_no_loss(objective, windows):
    losses = objective(windows, {"hidden": torch.zeros(6, 3, 5, dtype=torch.bool)})
    losses["loss"].backward()

    assert losses["loss"] == 0
    assert all(value.isfinite() for value in losses.values())


# The tokenizer


def test_the_tokenizer_stays_as_it_is(objective, windows):
    before = {name: value.clone() for name, value in objective.tokenizer.state_dict().items()}
    objective.train()(windows)["loss"].backward()

    assert not objective.tokenizer.training
    assert not any(parameter.requires_grad for parameter in objective.tokenizer.parameters())
    assert all(parameter.grad is None for parameter in objective.tokenizer.parameters())
    after = objective.tokenizer.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("stream", ["temporal", "frequency"])
def test_a_collapsed_codebook_is_refused_with_its_numbers(objective, windows, stream):
    collapse(getattr(objective.tokenizer, stream))

    with pytest.raises(ValueError, match=rf"The {stream} codebook has collapsed: .* got 1 of 8 codes"):
        objective.start(windows)


def test_a_tokenizer_in_use_is_described(tokenizer, windows):
    facts = check_codebooks(tokenizer, windows)

    expected = describe_codes(tokenizer.codes(windows)[1], N_CODES)
    assert facts["frequency"] == {name: value.item() for name, value in expected.items()}


@pytest.mark.parametrize("limit", [{"n_used_least": 9}, {"perplexity_least": 8.1}, {"dominant_most": 0.01}])
def test_limits_can_be_stricter(tokenizer, windows, limit):
    with pytest.raises(ValueError, match="restart_dead=True"):
        check_codebooks(tokenizer, windows, **limit)


def test_many_codes_have_the_published_limits(windows):
    tokenizer = TFDualTokenizer(**TOKENIZER | {"n_codes": 100})
    collapse(tokenizer.temporal)

    with pytest.raises(
        ValueError, match="at least 16 codes with a perplexity of at least 8, none for more than 95%"
    ):
        check_codebooks(tokenizer, windows)


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        ({"codebook_size_f": 9}, "codes, got"),
        ({"n_times": 300, "patch_size": 60, "proj_padding": 4}, "samples a patch, got 60"),
        ({"n_chans": 2}, "channels, got 2 for the encoder and 3"),
    ],
)
def test_an_encoder_and_a_tokenizer_have_to_fit(tokenizer, arguments, fact):
    with pytest.raises(ValueError, match=f"must agree on the number of {fact}"):
        CodePrediction(CodeBrain(**ENCODER | arguments), tokenizer)


@pytest.mark.parametrize("mask_prob", [0.0, 1.1])
def test_impossible_mask_probabilities_are_refused(tokenizer, mask_prob):
    with pytest.raises(ValueError, match="mask_prob must be above 0"):
        CodePrediction(CodeBrain(**ENCODER), tokenizer, mask_prob)


# The encoder, precision and state


def test_the_encoder_comes_back_as_a_classifier(objective, windows, tmp_path):
    objective.encoder.save_pretrained(tmp_path)
    loaded = CodeBrain.from_pretrained(tmp_path)

    assert loaded(windows).shape == (6, 2)
    torch.testing.assert_close(loaded(windows), objective.encoder.eval()(windows))


def test_half_precision_runs_and_scores_in_full_precision(objective, windows):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = objective(windows)
    losses["loss"].backward()

    assert all(value.dtype == torch.float32 and value.isfinite() for value in losses.values())


def test_a_restored_objective_takes_the_same_next_step(objective, windows):
    other = CodePrediction(CodeBrain(**ENCODER), TFDualTokenizer(**TOKENIZER))
    other.load_state_dict(objective.state_dict())
    drawn = objective.draw(windows)

    assert objective(windows, drawn) == other(windows, drawn)
