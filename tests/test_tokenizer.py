"""TFDual-Tokenizer: what it predicts, how it is scored, and how it is kept."""

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from eeglab_models.pretraining.codebrain.neural_encoder import TFConv, Transformer
from eeglab_models.pretraining.codebrain.tokenizer import (
    TFDualTokenizer,
    contrast_halves,
    contrastive_loss,
    cut_windows,
    spectral_targets,
    standardise,
)
from eeglab_models.training import Settings, pretrain

SMALL = {
    "n_chans": 3,
    "n_times": 150,
    "patch_size": 30,
    "embed_dim": 12,
    "n_layers": 2,
    "n_heads": 3,
    "n_decoder_layers": 1,
    "conv_stride": 10,
    "n_codes": 7,
    "code_dim": 4,
}
TERMS = ("signal", "amplitude", "phase", "temporal_commitment", "frequency_commitment", "contrastive")


@pytest.fixture
def tokenizer():
    return TFDualTokenizer(**SMALL)


@pytest.fixture
def windows():
    return 0.2 * torch.randn(4, 3, 150)


def drift(tokenizer):
    """Move every weight away from its initial value."""
    with torch.no_grad():
        for parameter in tokenizer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return tokenizer


# Losses


def test_the_loss_is_the_weighted_sum_of_its_terms(windows):
    weights = {"signal_weight": 2.0, "amplitude_weight": 3.0, "phase_weight": 5.0, "commitment_weight": 0.5}
    losses = TFDualTokenizer(**SMALL, **weights, contrastive_weight=7.0)(windows)

    expected = sum(w * losses[term] for w, term in zip((2, 3, 5, 0.5, 0.5, 7), TERMS, strict=True))
    torch.testing.assert_close(losses["loss"], expected)


def test_all_weights_are_one_as_published(tokenizer, windows):
    losses = tokenizer(windows)

    torch.testing.assert_close(losses["loss"], sum(losses[term] for term in TERMS))


def test_only_the_loss_carries_a_gradient(tokenizer, windows):
    losses = tokenizer(windows)

    assert {name for name, value in losses.items() if value.requires_grad} == {"loss"}
    assert all(value.shape == () and value.dtype == torch.float32 for value in losses.values())


def test_every_parameter_gets_a_gradient(tokenizer, windows):
    tokenizer(windows)["loss"].backward()

    assert [name for name, p in tokenizer.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_every_output_is_compared_with_its_own_target(tokenizer, windows):
    patches = cut_windows(tokenizer, windows)
    targets = patches, *spectral_targets(patches)
    outputs = *tokenizer.temporal.outputs, *tokenizer.frequency.outputs
    for output in outputs:  # always the same answer
        output[2].weight.data.zero_()
        output[2].bias.data.normal_()
    losses = tokenizer(windows)

    for term, output, target in zip(TERMS, outputs, targets, strict=False):
        torch.testing.assert_close(losses[term], (output[2].bias - target).square().mean())


def test_standardised_samples_have_a_trivial_loss_of_one(windows):
    tokenizer = TFDualTokenizer(**SMALL, standardise_signal=True)
    for parameter in tokenizer.temporal.outputs[0][2].parameters():
        parameter.data.zero_()

    assert tokenizer(windows)["signal"].item() == pytest.approx(tokenizer.trivial_loss()["signal"])


def test_decoders_that_know_nothing_have_the_trivial_loss(tokenizer, windows):
    for stream in (tokenizer.temporal, tokenizer.frequency):
        for output in stream.outputs:
            for parameter in output[2].parameters():
                parameter.data.zero_()
    losses = tokenizer(windows)

    trivial = tokenizer.trivial_loss()
    assert {name: losses[name].item() for name in trivial} == pytest.approx(trivial, abs=1e-5)


def test_spectral_targets_are_the_standardised_amplitudes_and_phases_of_the_full_transform():
    patches = torch.randn(2, 3, 4, 30)
    spectra = np.fft.fft(patches.numpy())
    spectra[..., 15] = spectra[..., 15].real  # numpy leaves a zero of either sign: phases pi and -pi

    for target, raw in zip(spectral_targets(patches), (np.abs(spectra), np.angle(spectra)), strict=True):
        mean, std = raw.mean(axis=(1, 2, 3), keepdims=True), raw.std(axis=(1, 2, 3), keepdims=True)
        np.testing.assert_allclose(target.numpy(), (raw - mean) / std, atol=1e-4)


def test_a_decoder_that_knows_the_mean_spectrum_is_reported_for_comparison(tokenizer, windows):
    amplitudes, _ = spectral_targets(cut_windows(tokenizer, windows))

    expected = amplitudes.flatten(0, 2).var(dim=0, correction=0).mean()
    torch.testing.assert_close(tokenizer(windows)["amplitude_of_mean_spectrum"], expected)


def test_a_flat_window_has_targets_of_zero():
    assert torch.equal(standardise(torch.full((1, 2, 3, 5), 4.0)), torch.zeros(1, 2, 3, 5))


def test_the_contrastive_loss_is_a_softmax_over_the_other_views():
    first = torch.tensor([[3.0, 0.0], [0.0, 2.0]])
    second = torch.tensor([[1.0, 0.0], [0.0, 5.0]])  # the same directions: similarity 1, to others 0

    expected = -math.log(math.exp(1 / 0.5) / (math.exp(1 / 0.5) + 2))
    assert contrastive_loss(first, second, temperature=0.5).item() == pytest.approx(expected)


def test_views_that_are_all_alike_are_found_by_chance():
    views = torch.ones(5, 3)

    assert contrastive_loss(views, views, temperature=0.1).item() == pytest.approx(math.log(9))


def test_halves_are_encoded_as_windows_of_their_own(tokenizer):
    half = torch.randn(4, 3, 60)
    tokenizer = drift(tokenizer)
    tokens = tokenizer.encoder(cut_windows(tokenizer, half)).flatten(1)
    middle = torch.randn(4, 3, 30)  # of five patches, the third belongs to no half
    windows = torch.cat([half, middle, half], dim=-1)

    torch.testing.assert_close(
        contrast_halves(tokenizer.encoder, cut_windows(tokenizer, windows), 0.1),
        contrastive_loss(tokens, tokens, 0.1),
    )


def test_without_the_contrastive_term_one_patch_is_enough():
    tokenizer = TFDualTokenizer(**SMALL | {"n_times": 30}, contrastive_weight=0.0)

    assert "contrastive" not in tokenizer(torch.randn(2, 3, 30))


# Codes


def test_decoders_see_nothing_but_the_codes(tokenizer):
    stream = drift(tokenizer).eval().temporal
    (predicted,), ids, _ = stream(torch.randn(2, 3, 5, 12))

    decoded = stream.decoder(stream.from_code(stream.codebook.codes[ids]))
    torch.testing.assert_close(predicted, stream.outputs[0](decoded), rtol=0, atol=1e-5)


def test_every_patch_has_two_codes(tokenizer, windows):
    temporal, frequency = drift(tokenizer).codes(windows)

    assert temporal.shape == frequency.shape == (4, 3, 5)
    assert not torch.equal(temporal, frequency)
    assert {*temporal.unique().tolist(), *frequency.unique().tolist()} <= set(range(7))


def test_asking_for_codes_changes_nothing(tokenizer, windows):
    before = {name: value.clone() for name, value in tokenizer.state_dict().items()}
    tokenizer.train().codes(windows)

    assert all(torch.equal(before[name], value) for name, value in tokenizer.state_dict().items())


def test_codebooks_learn_in_training_mode_only(tokenizer, windows):
    changed = []
    for mode in (False, True):
        before = tokenizer.temporal.codebook.codes.clone(), tokenizer.frequency.codebook.codes.clone()
        tokenizer.train(mode)(windows)
        tokenizer.update(0.5)
        after = tokenizer.temporal.codebook.codes, tokenizer.frequency.codebook.codes
        changed.append([not torch.equal(old, new) for old, new in zip(before, after, strict=True)])

    assert changed == [[False, False], [True, True]]


def test_dead_codes_restart_where_the_draw_says(windows):
    tokenizer = TFDualTokenizer(**SMALL, restart_dead=True)
    for stream in (tokenizer.temporal, tokenizer.frequency):
        stream.codebook.n_idle_steps.fill_(1000)
    drawn = tokenizer.draw(windows, torch.Generator().manual_seed(1))
    vectors = F.normalize(
        tokenizer.frequency.to_vectors(tokenizer.encoder(cut_windows(tokenizer, windows))), dim=-1
    )
    unused = sorted(set(range(7)) - set(tokenizer.codes(windows)[1].unique().tolist()))
    tokenizer(windows, drawn)
    tokenizer.update(0.5)

    rows = (drawn["restarts"][0, 1, unused] * vectors[..., 0].numel()).long()
    torch.testing.assert_close(
        tokenizer.frequency.codebook.codes[unused], vectors.flatten(0, -2)[rows], rtol=0, atol=1e-6
    )


def test_a_batch_in_parts_teaches_the_codebooks_what_the_whole_does(tmp_path):
    # The contrastive term compares the windows of a part, so that parts have fewer to tell apart.
    options = {"contrastive_weight": 0.0, "restart_dead": True, "dead_after": 4}
    settings = {"n_steps": 6, "batch_size": 8, "lr": 0.01, "eps": 1e-3, "figure_every": None, "cpu": True}
    states = []
    for n_parts in (1, 4):
        torch.manual_seed(3)
        tokenizer = TFDualTokenizer(**SMALL, **options)
        data = 0.2 * torch.randn(24, 3, 150, generator=torch.Generator().manual_seed(5))
        folder = tmp_path / str(n_parts)
        pretrain(tokenizer, data, Settings(**settings, n_parts=n_parts), folder, progress=False)
        states.append(tokenizer.state_dict())

    torch.testing.assert_close(states[1], states[0], rtol=0, atol=1e-5)
    assert states[0]["temporal.codebook.n_idle_steps"].any()


def test_a_start_with_k_means_is_the_same_every_time_and_uses_more_codes(windows):
    books = []
    for k_means in (False, True, True):
        torch.manual_seed(3)
        tokenizer = TFDualTokenizer(**SMALL, k_means=k_means)
        torch.manual_seed(len(books))
        tokenizer.start(windows)
        books.append((tokenizer.frequency.codebook.codes, tokenizer(windows)["frequency_used"]))

    assert torch.equal(books[1][0], books[2][0])
    assert books[0][1] < books[1][1] == 7


def test_a_start_without_k_means_changes_nothing(windows):
    tokenizer = TFDualTokenizer(**SMALL, k_means=False)
    before = tokenizer.temporal.codebook.codes.clone()
    tokenizer.start(windows)

    assert torch.equal(tokenizer.temporal.codebook.codes, before)


def test_draws_repeat_with_their_generator_and_are_shared_by_the_batch(tokenizer, windows):
    first, second = (tokenizer.draw(windows, torch.Generator().manual_seed(5)) for _ in range(2))

    assert torch.equal(first["restarts"], second["restarts"])
    assert first["restarts"].shape == (1, 2, 7)


# The encoder


def test_a_patch_embedding_holds_samples_and_spectrum_side_by_side():
    embedding = TFConv(patch_size=30, embed_dim=12, stride=10)
    x = torch.randn(1, 2, 3, 30)
    shifted = x.roll(7, dims=-1)  # the same amplitudes
    difference = (embedding(x) - embedding(shifted)).abs().amax(dim=(0, 1, 2))

    assert (difference[:6] > 1e-3).all()
    assert (difference[6:] < 1e-5).all()


def test_the_published_size_has_25_steps_and_8_features_a_step():
    embedding = TFConv(patch_size=200, embed_dim=200, stride=8)
    steps = embedding.time_branch(torch.randn(1, 1, 1, 200))

    assert steps.shape == (1, 4, 1, 25)
    assert sum(p.numel() for p in embedding.parameters()) <= 5e4


def test_tokens_know_their_channel_and_their_time():
    tokens = Transformer(n_chans=3, n_patches=4, embed_dim=6, n_layers=1, n_heads=2)(torch.zeros(1, 3, 4, 6))

    assert len(tokens.flatten(0, 2).round(decimals=5).unique(dim=0)) == 12


def test_deep_layers_add_less_at_the_start():
    tokenizer = TFDualTokenizer(**SMALL | {"embed_dim": 60, "n_layers": 8})
    first, *_, last = tokenizer.encoder.transformer.layers

    spread = [layer.mlp.fc2.weight.std().item() for layer in (first, last)]
    assert spread == pytest.approx([0.02 / math.sqrt(2), 0.02 / math.sqrt(16)], rel=0.05)


# Precision, state and files


def test_half_precision_runs_and_scores_in_full_precision(tokenizer, windows):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = tokenizer(windows)
    losses["loss"].backward()

    assert all(value.dtype == torch.float32 and value.isfinite() for value in losses.values())
    assert tokenizer.temporal.codebook.codes.dtype == torch.float32


def test_a_restored_tokenizer_takes_the_same_next_step(windows):
    tokenizers = [TFDualTokenizer(**SMALL, restart_dead=True, dead_after=1) for _ in range(2)]
    tokenizers[0](windows)
    tokenizers[0].update(0.5)
    tokenizers[1].load_state_dict(tokenizers[0].state_dict())
    drawn = tokenizers[0].draw(windows)
    losses = [each(windows, drawn) for each in tokenizers]
    for each in tokenizers:
        each.update(0.6)

    assert losses[0] == losses[1]
    first, second = (each.state_dict() for each in tokenizers)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_saved_tokenizer_gives_the_same_codes(tokenizer, windows, tmp_path):
    drift(tokenizer).save_pretrained(tmp_path / "new")
    loaded = TFDualTokenizer.from_pretrained(tmp_path / "new")

    assert not loaded.training
    assert loaded.arguments == tokenizer.arguments
    for own, other in zip(tokenizer.codes(windows), loaded.codes(windows), strict=True):
        assert torch.equal(own, other)


def test_a_missing_tensor_is_named(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["temporal.codebook.codes"]
    save_file(weights, tmp_path / "model.safetensors")

    with pytest.raises(ValueError, match=r"missing: temporal\.codebook\.codes"):
        TFDualTokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda codes: codes[1:], r"expected \(7, 4\), got \(6, 4\)"),
        (lambda codes: codes + torch.nan, "values are no finite numbers"),
        (lambda codes: codes.to(torch.int8), "expected float32, got int8"),
    ],
)
def test_a_tensor_that_is_of_no_use_is_named(tokenizer, tmp_path, spoil, problem):
    tokenizer.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["temporal.codebook.codes"] = spoil(weights["temporal.codebook.codes"])
    save_file(weights, tmp_path / "model.safetensors")

    with pytest.raises(ValueError, match=rf"of no use: temporal\.codebook\.codes \(.*{problem}"):
        TFDualTokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "changes", [{"n_codes": 10**9}, {"n_layers": 10**9}, {"n_codes": -8}, {"decay": "x"}]
)
def test_arguments_that_no_tokenizer_has_are_refused_before_it_is_built(tokenizer, tmp_path, changes):
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(tokenizer.arguments | changes))

    with pytest.raises(ValueError, match=str(tmp_path)):
        TFDualTokenizer.from_pretrained(tmp_path)


def test_the_folder_of_something_else_is_refused(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"n_outputs": 4}))

    with pytest.raises(ValueError, match=r"config\.json: the tokenizer has no 'n_outputs'"):
        TFDualTokenizer.from_pretrained(tmp_path)


# Refusals


@pytest.mark.parametrize("shape", [(2, 4, 150), (2, 3, 40), (2, 3, 180)])
def test_other_windows_are_refused(tokenizer, shape):
    with pytest.raises(ValueError, match="built for windows of 3 channels and 2 to 5 patches of 30 samples"):
        tokenizer(torch.randn(shape))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_times": 40}, "needs at least 2 patches"),
        ({"embed_dim": 14}, r"multiple of the 3 steps .* Pass embed_dim=12"),
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"conv_stride": 0}, "conv_stride must be at least 1"),
        ({"n_heads": -3}, "n_heads must be at least 1"),
        ({"decay": 1.5}, "decay is a probability"),
    ],
)
def test_impossible_sizes_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        TFDualTokenizer(**SMALL | arguments)


def test_shorter_windows_are_read(tokenizer):
    assert tokenizer.codes(torch.randn(2, 3, 90))[0].shape == (2, 3, 3)
