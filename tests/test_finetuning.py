"""Adapting models: what learns, what stays, and what a fit depends on."""

import copy
import pickle
import signal
import subprocess
import sys

import mne
import numpy as np
import pytest
import torch
from rich.progress import Progress
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from torch import nn

from eeglab_models import EEGDINO, EEGPT, CodeBrain, FBLightConvNet, Windows, prepare
from eeglab_models.files import locked
from eeglab_models.finetuning import FineTuner, eegpt_probe_recipe, lightconvnet_recipe
from eeglab_models.finetuning.regimes import apply_regime, group_parameters
from eeglab_models.finetuning.training import FineTuning, LearningModel
from eeglab_models.models.regularization import limit_norm

SIGNAL = {"n_outputs": 2, "n_chans": 3, "n_times": 200, "sfreq": 100.0}
MODELS = {
    "CodeBrain": lambda: CodeBrain(
        **SIGNAL | {"sfreq": 200.0, "n_times": 400},
        res_channels=4,
        num_res_layers=2,
        out_channels=6,
        s4_lmax=8,
    ),
    "EEGDINO": lambda: EEGDINO(
        **SIGNAL | {"sfreq": 200.0, "n_times": 400},
        n_layer=2,
        nhead=2,
        dim_feedforward=8,
        channels_kernel_stride_padding_norm=((4, 49, 25, 24, (2, 4)),),
    ),
    "EEGPT": lambda: EEGPT(**SIGNAL | {"sfreq": 256.0, "n_times": 256}, embed_dim=16, depth=2, num_heads=2),
    "FBLightConvNet": lambda: small(),
}
# Parts of each model that learn in a regime, by the beginning of their names.
HEADS = {
    "CodeBrain": ("final_layer.",),
    "EEGDINO": ("final_layer.",),
    "EEGPT": ("final_layer.", "chan_proj."),
    "FBLightConvNet": ("final_layer.",),
}
LAST = {
    "CodeBrain": ("residual_layer.residual_blocks.1.", "final_conv.", "norm."),
    "EEGDINO": ("encoder_layers.1.",),
    "EEGPT": ("target_encoder.blocks.1.", "target_encoder.norm."),
    "FBLightConvNet": ("attn_conv.",),
}
ADAPTED = {
    "CodeBrain": ("attention.out_proj.weight", "sgconv.output_linear.weight"),
    "EEGDINO": ("attn.qkv.weight", "attn.proj.weight", "mlp.fc1.weight", "mlp.fc2.weight"),
    "EEGPT": ("attn.qkv.weight", "attn.proj.weight", "mlp.fc1.weight", "mlp.fc2.weight"),
    "FBLightConvNet": ("spatial_conv.0.weight",),
}
NEVER = {
    "CodeBrain": (
        "patch_embedding.mask_encoding",
        "lm_head_",
        "residual_layer.residual_blocks.1.res_conv",
        "residual_layer.residual_blocks.1.rms_norm",
    ),
    "EEGDINO": (),
    "EEGPT": (),
    "FBLightConvNet": ("spectral_filtering.",),
}
QUICK = {"max_epochs": 2, "batch_size": 8, "device": "cpu"}


def small(**arguments):
    return FBLightConvNet(
        **SIGNAL | {"n_filters_spat": 8, "heads": 2, "win_len": 100, "n_bands": 2} | arguments
    )


def noise(n_windows=24, model=None, seed=0):
    model = small() if model is None else model
    shape = (n_windows, model.n_chans, model.n_times)
    data = np.random.default_rng(seed).normal(0, 20, shape) * model.contract.scale
    return data.astype(np.float32), np.tile(["feet", "hands"], n_windows)[:n_windows]


def planted(n_windows=48, seed=0):
    """Noise in which a rhythm in the second channel tells the classes apart."""
    x, y = noise(n_windows, seed=seed)
    phases = np.random.default_rng(seed + 1).uniform(0, 2 * np.pi, (n_windows, 1))
    rhythm = 40 * np.sin(2 * np.pi * 12 * np.arange(200) / 100 + phases)
    x[:, 1] += (y == "hands")[:, None] * rhythm
    return x.astype(np.float32), y


def states(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def moved(model, tuner):
    before, after = states(model), tuner.model_.state_dict()
    return {name for name in before if not torch.equal(before[name], after[name])}


def parameters_that(model, test):
    return {name for name, _ in model.named_parameters() if test(name)}


@pytest.mark.parametrize("name", MODELS)
def test_head_moves_the_head_alone(name):
    model = MODELS[name]()
    tuner = FineTuner(model, regime="head", **QUICK).fit(*noise(model=model))
    expected = parameters_that(model, lambda key: key.startswith(HEADS[name]))

    assert moved(model, tuner) == expected
    assert tuner.n_trainable_ == sum(model.get_parameter(key).numel() for key in expected)


@pytest.mark.parametrize("name", MODELS)
def test_last_n_moves_the_last_layers_and_the_head(name):
    model = MODELS[name]()
    tuner = FineTuner(model, regime="last_n", n_layers=1, **QUICK).fit(*noise(model=model))

    assert moved(model, tuner) == parameters_that(
        model,
        lambda key: key.startswith(HEADS[name] + LAST[name]) and not key.startswith(NEVER[name]),
    )


@pytest.mark.parametrize("name", MODELS)
def test_full_moves_all_that_classification_uses(name):
    model = MODELS[name]()
    tuner = FineTuner(model, regime="full", **QUICK).fit(*noise(model=model))
    parameters = set(dict(model.named_parameters()))

    assert moved(model, tuner) & parameters == parameters_that(
        model, lambda key: not key.startswith(NEVER[name])
    )
    assert tuner.n_trainable_ == sum(
        model.get_parameter(key).numel() for key in moved(model, tuner) & parameters
    )


@pytest.mark.parametrize("name", MODELS)
def test_lora_moves_projections_and_head_and_leaves_published_names(name):
    model = MODELS[name]()
    tuner = FineTuner(model, regime="lora", lora_rank=2, **QUICK).fit(*noise(model=model))

    assert moved(model, tuner) == parameters_that(
        model, lambda key: key.startswith(HEADS[name]) or key.endswith(ADAPTED[name])
    )
    assert list(tuner.model_.state_dict()) == list(model.state_dict())
    assert not any("lora" in type(module).__module__ for module in tuner.model_.modules())


@pytest.mark.parametrize("name", MODELS)
def test_an_adapter_changes_what_the_model_says(name):
    model = MODELS[name]().eval()
    x = torch.from_numpy(noise(4, model)[0])
    adapted = copy.deepcopy(model)
    _, adapters = apply_regime(adapted, "lora", lora_rank=2)
    adapted.eval()
    layers = [layer for layer in adapted.modules() if hasattr(layer, "lora_B")]
    untouched = adapted(x)
    outputs = []
    for layer in layers:
        nn.init.normal_(layer.lora_B["default"].weight)
        outputs.append(adapted(x))
        nn.init.zeros_(layer.lora_B["default"].weight)

    torch.testing.assert_close(untouched, model(x))
    assert all(not torch.allclose(output, untouched) for output in outputs)


@pytest.mark.parametrize("name", MODELS)
def test_merged_adapters_say_the_same_as_adapters(name):
    model = MODELS[name]()
    _, adapters = apply_regime(model, "lora", lora_rank=2)
    model.eval()
    for layer in model.modules():
        if hasattr(layer, "lora_B"):
            nn.init.normal_(layer.lora_B["default"].weight, std=0.1)
    x = torch.from_numpy(noise(4, model)[0])
    adapted = model(x)

    torch.testing.assert_close(adapters.merge_and_unload()(x), adapted, atol=1e-5, rtol=1e-4)


def test_scratch_starts_from_fresh_weights_of_the_seed():
    x, y = noise()
    first, second, other = small(), small(), small()

    def fit(model, seed):
        return states(FineTuner(model, regime="scratch", seed=seed, **QUICK).fit(x, y).model_)

    assert same(fit(first, 1), fit(second, 1))
    assert not same(fit(first, 1), fit(other, 2))


@pytest.mark.parametrize("regime", ["head", "lora", "last_n", "full", "scratch"])
def test_a_fit_leaves_model_and_random_numbers_alone(regime):
    model, windows = small().train(), noise()
    before, numbers = states(model), torch.get_rng_state()

    FineTuner(model, regime=regime, **QUICK).fit(*windows)

    assert same(before, model.state_dict())
    assert model.training
    assert torch.equal(torch.get_rng_state(), numbers)


@pytest.mark.parametrize("regime", ["head", "lora", "last_n"])
def test_frozen_parts_stay_in_evaluation_mode(regime):
    model = MODELS["EEGDINO"]()
    learning, _ = apply_regime(model, regime)
    module = LearningModel(model, learning, (), 200.0, nn.CrossEntropyLoss()).train()

    assert module.training
    assert model.final_layer.classifier.training
    assert not model.encoder_layers[0].attn.proj_drop.training
    assert model.encoder_layers[1].attn.proj_drop.training is (regime == "last_n")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_same_seed_repeats_a_fit_bit_for_bit(precision):
    x, y = planted()
    tuner = FineTuner(small(), regime="full", precision=precision, augment=[sign_flip], **QUICK)
    first, second = clone(tuner).fit(x, y), clone(tuner).fit(x, y)
    other = clone(tuner).set_params(seed=1).fit(x, y)

    assert same(states(first.model_), states(second.model_))
    assert not same(states(first.model_), states(other.model_))


def test_a_planted_class_is_learnt():
    tuner = FineTuner(small(), regime="scratch", lr=1e-2, max_epochs=30, device="cpu").fit(*planted(60))

    assert tuner.score(*planted(200, seed=5)) > 0.95


def test_labels_that_mean_nothing_are_not_learnt():
    x, y = noise(60)
    shuffled = np.random.default_rng(0).permutation(y)
    tuner = FineTuner(small(), regime="scratch", lr=1e-2, max_epochs=30, device="cpu").fit(x, shuffled)

    assert 0.38 < tuner.score(*noise(200, seed=5)) < 0.62


def test_the_best_epoch_is_kept_and_training_stops_without_a_better_one():
    x, y = noise(30)
    tuner = FineTuner(small(), regime="full", lr=0.05, max_epochs=60, patience=4, batch_size=8, device="cpu")
    history = tuner.fit(x, y).history_
    held_out = tuner.hold_out((y == "hands").astype(int), None)[1]
    best = int(history["valid_loss"].idxmin())

    assert len(history) == best + 1 + 4
    accuracy = tuner.score(x[held_out], y[held_out])
    assert accuracy == pytest.approx(history["valid_accuracy"][best])


def test_windows_predicted_later_never_reach_training(monkeypatch):
    x, y = planted(40)
    seen = []
    forward = FBLightConvNet.forward
    monkeypatch.setattr(
        FBLightConvNet, "forward", lambda self, batch: seen.extend(batch.clone()) or forward(self, batch)
    )
    test = x[30:] + 1000
    tuner = FineTuner(small(), regime="full", **QUICK).fit(x[:30], y[:30])
    n_before = len(seen)
    tuner.predict(test)

    trained = torch.stack(seen[:n_before])
    assert trained.mean(dim=(1, 2)).abs().max() < 100
    assert len(seen) == n_before + 10


def test_whole_groups_and_equal_shares_of_classes_are_held_out():
    _, y = noise(40)
    groups = np.repeat(np.arange(10), 4)
    tuner = FineTuner(small(), validation=0.2)
    learn, held_out = tuner.hold_out((y == "hands").astype(int), groups)

    assert set(groups[learn]).isdisjoint(groups[held_out])
    assert (len(held_out), (y[held_out] == "hands").sum()) == (8, 4)


@pytest.mark.parametrize(
    ("share", "n_groups", "n_held_out"), [(0.4, 10, 4), (0.3, 10, 3), (0.8, 10, 8), (0.2, 3, 1)]
)
def test_as_many_groups_are_held_out_as_the_share_asks_for(share, n_groups, n_held_out):
    groups = np.repeat(np.arange(n_groups), 4)
    learn, held_out = FineTuner(small(), validation=share).hold_out(np.tile([0, 1], 2 * n_groups), groups)

    assert len(np.unique(groups[held_out])) == n_held_out
    assert sorted([*learn, *held_out]) == list(range(4 * n_groups))


def test_a_single_group_cannot_be_held_out():
    with pytest.raises(ValueError, match="needs 2 groups and 2 windows of every class, got 1 groups"):
        FineTuner(small(), **QUICK).fit(*noise(), groups=[1] * 24)


def test_balanced_weights_move_predictions_to_the_rare_class():
    x, _ = noise(60)
    y = np.where(np.arange(60) % 6 == 0, "rare", "often")
    tuner = FineTuner(small(), regime="full", lr=1e-2, max_epochs=20, validation=None, label_smoothing=0.3)
    tuner.set_params(device="cpu")
    plain = clone(tuner).fit(x, y).predict_proba(x)[:, 1].mean()
    balanced = clone(tuner).set_params(class_weight="balanced").fit(x, y).predict_proba(x)[:, 1].mean()

    assert balanced > plain + 0.1


def test_limits_on_norms_hold_after_training():
    model = MODELS["EEGPT"]()
    tuner = FineTuner(model, regime="full", lr=0.5, **QUICK).fit(*noise(model=model))
    layer = tuner.model_.final_layer.probe2
    stored = layer.parametrizations["weight"]["original"]

    assert (stored.norm(dim=1) > layer.max_norm).any()
    torch.testing.assert_close(layer.weight, limit_norm(stored, layer.max_norm))


def test_rates_fall_from_layer_to_layer_and_norms_do_not_decay():
    model = MODELS["EEGDINO"]()
    apply_regime(model, "full")
    groups = group_parameters(model, lr=1.0, weight_decay=0.1, layer_decay=0.5)
    found = {
        name: (group["lr"], group["weight_decay"])
        for group in groups
        for parameter in group["params"]
        for name, other in model.named_parameters()
        if other is parameter
    }

    assert found["patch_embedding.proj_in.0.weight"] == (0.125, 0.1)
    assert found["global_tokens"] == (0.125, 0.0)
    assert found["encoder_layers.0.attn.qkv.weight"] == (0.25, 0.1)
    assert found["encoder_layers.1.norm1.weight"] == (0.5, 0.0)
    assert found["final_layer.classifier.6.weight"] == (1.0, 0.1)
    assert found["final_layer.classifier.6.bias"] == (1.0, 0.0)
    assert len(found) == len(dict(model.named_parameters()))


def test_rates_rise_in_a_line_and_fall_in_a_cosine(monkeypatch):
    rates = []
    step = torch.optim.AdamW.step

    def watch(self, *arguments):
        rates.append(self.param_groups[0]["lr"])
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", watch)
    tuner = FineTuner(
        small(), lr=1.0, warmup=1 / 3, max_epochs=4, batch_size=8, validation=None, device="cpu"
    )
    tuner.fit(*noise())

    assert rates[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rates[8] == pytest.approx(0.5)
    assert 0 < rates[-1] < 0.05


def test_gradients_are_shortened(monkeypatch):
    steps = []
    step = torch.optim.AdamW.step

    def watch(self, *arguments):
        gradients = [value.grad for group in self.param_groups for value in group["params"]]
        steps.append(nn.utils.get_total_norm(gradients).item())
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", watch)
    FineTuner(small(), regime="full", max_grad_norm=0.01, **QUICK).fit(*noise())

    assert max(steps) == pytest.approx(0.01, rel=1e-2)


def sign_flip(x, sfreq):
    return x * (2 * torch.randint(0, 2, (len(x), 1, 1)) - 1).to(x)


def test_augmentation_changes_training_and_not_prediction():
    x, y = noise()
    calls = []

    def mark(batch, sfreq):
        calls.append((len(batch), sfreq))
        return batch

    tuner = FineTuner(small(), regime="full", augment=[mark], **QUICK).fit(x, y)
    n_calls = len(calls)
    tuner.predict(x)

    assert sum(n_windows for n_windows, _ in calls) == 2 * 19
    assert {sfreq for _, sfreq in calls} == {100.0}
    assert len(calls) == n_calls


def test_searches_and_cross_validation_accept_it():
    x, y = planted(24)
    tuner = FineTuner(small(), regime="full", **QUICK)
    search = GridSearchCV(tuner, {"regime": ["head", "full"]}, cv=2).fit(x, y)

    assert set(search.cv_results_["param_regime"]) == {"head", "full"}
    assert cross_val_score(tuner, x, y, cv=2).shape == (2,)
    assert clone(tuner).get_params()["regime"] == "full"


def test_probabilities_follow_the_order_of_classes():
    x, y = planted(60)
    tuner = FineTuner(small(), regime="scratch", lr=1e-2, max_epochs=30, device="cpu").fit(x, y)
    probabilities = tuner.predict_proba(x)

    assert tuner.classes_.tolist() == ["feet", "hands"]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert probabilities[y == "hands", 1].mean() > 0.5 > probabilities[y == "feet", 1].mean()


def test_windows_bring_their_labels():
    x, y = noise()
    info = mne.create_info(["C3", "Cz", "C4"], 100.0, "eeg")
    model = small()
    windows = prepare(Windows(x, info, labels=y), model)
    tuner = FineTuner(model, **QUICK)

    np.testing.assert_array_equal(
        tuner.fit(windows).predict_proba(windows), clone(tuner).fit(x, y).predict_proba(x)
    )


def test_microvolts_are_prepared_where_info_is_given():
    model = MODELS["EEGPT"]()
    info = mne.create_info(["C3", "Cz", "C4"], 128.0, "eeg")
    x = np.random.default_rng(0).normal(0, 20, (16, 3, 129))
    y = np.tile([0, 1], 8)
    prepared = prepare(Windows(x.astype(np.float32), info), model)
    inside = FineTuner(model, info=info, **QUICK).fit(x, y)
    outside = FineTuner(model, **QUICK).fit(prepared, y)

    np.testing.assert_array_equal(inside.predict_proba(x), outside.predict_proba(prepared))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"regime": "most"},
            "regime of FineTuner should be 'head', 'lora', 'last_n', 'full' or 'scratch', got 'most'",
        ),
        ({"regime": "last_n", "n_layers": 3}, "This FBLightConvNet has 2 layers, got n_layers=3"),
        ({"precision": "int8"}, "precision of FineTuner should be 'float32', .*, got 'int8'"),
        ({"validation": 1.5}, "validation of FineTuner should be less than 1, got 1.5"),
        ({"max_epochs": 0}, "max_epochs of FineTuner should be greater than or equal to 1, got 0"),
        ({"lr": -1e-3}, "lr of FineTuner should be greater than 0, got -0.001"),
        ({"schedule": "cosin"}, "got 'cosin'. Did you mean 'cosine'"),
        ({"label_smoothing": 2}, "label_smoothing of FineTuner should be less than or equal to 1, got 2"),
        ({"n_more_epochs": 3, "validation": None}, "n_more_epochs=3 goes on from the best epoch"),
        ({"lr": 1e30, "regime": "full", "max_grad_norm": None}, "Training diverged"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        FineTuner(small(), **QUICK | settings).fit(*noise())


def test_windows_that_are_not_prepared_are_refused():
    x, y = noise()
    info = mne.create_info(["C3", "Cz", "C4"], 100.0, "eeg")

    with pytest.raises(ValueError, match="expects prepared windows, got windows in µV"):
        FineTuner(small()).fit(Windows(x, info), y)
    with pytest.raises(ValueError, match=r"shape \(n_windows, 3, 200\), got \(24, 3, 199\)"):
        FineTuner(small()).fit(x[..., 1:], y)
    with pytest.raises(ValueError, match="must be finite"):
        FineTuner(small()).fit(np.full_like(x, np.nan), y)


def test_microvolts_for_a_model_of_another_unit_are_refused():
    model = MODELS["EEGPT"]()
    x, y = noise(model=model)

    with pytest.raises(ValueError, match="EEGPT expects mV, got windows of 2e"):
        FineTuner(model).fit(x * 1000, y)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "needs a class for every window"),
        (["a", "b"], "24 windows need as many labels, got 2"),
        (24 * ["a"], "at least 2 classes, got 1"),
        (8 * ["a", "b", "c"], "should give 3 logits, one per class, and its output has shape"),
    ],
)
def test_labels_that_do_not_fit_are_refused(y, message):
    with pytest.raises(ValueError, match=message):
        FineTuner(small()).fit(noise()[0], y)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_fitted_classifier_can_be_pickled(precision):
    x, y = noise()
    tuner = FineTuner(small(), regime="lora", precision=precision, **QUICK).fit(x, y)
    other = pickle.loads(pickle.dumps(tuner))

    np.testing.assert_array_equal(other.predict_proba(x), tuner.predict_proba(x))


def test_windows_that_cannot_be_written_to_are_read():
    x, y = noise()
    x.flags.writeable = False

    assert FineTuner(small(), **QUICK).fit(x, y).predict(x).shape == (24,)


def test_predicting_before_fitting_is_refused():
    with pytest.raises(NotFittedError):
        FineTuner(small()).predict(noise()[0])


def test_the_recipe_of_lightconvnet_has_two_phases():
    x, y = planted(40)
    tuner = lightconvnet_recipe(small(), max_epochs=30, patience=3, n_more_epochs=4, device="cpu").fit(x, y)
    history = tuner.history_
    first = history[history["phase"] == 1]
    best = first["valid_accuracy"].max()

    assert len(first) == first.index[first["valid_accuracy"] == best][-1] + 1 + 3
    assert (history["phase"] == 2).sum() == 4
    assert history["valid_loss"].isna().sum() == 4


def test_the_recipe_of_the_probe_of_eegpt_leaves_the_encoder_and_holds_nothing_out():
    model = MODELS["EEGPT"]()
    x, y = noise(8, model)
    before = {name: weights.clone() for name, weights in model.state_dict().items()}

    tuner = eegpt_probe_recipe(model, max_epochs=3, device="cpu").fit(x, y)

    after = tuner.model_.state_dict()
    changed = {name for name, weights in after.items() if not torch.equal(weights, before[name])}
    assert {name.split(".")[0] for name in changed} == {"chan_proj", "final_layer"}
    assert len(tuner.history_) == 3
    assert tuner.history_["valid_loss"].isna().all()


def test_the_second_phase_goes_on_from_the_best_epoch_with_its_optimiser(monkeypatch):
    x, y = noise(40)
    n_steps = []
    load = torch.optim.AdamW.load_state_dict

    def watch(self, state):
        n_steps.append(state["state"][0]["step"].item())
        return load(self, state)

    monkeypatch.setattr(torch.optim.AdamW, "load_state_dict", watch)
    tuner = lightconvnet_recipe(
        small(), max_epochs=9, patience=3, n_more_epochs=1, batch_size=32, device="cpu"
    )
    history = tuner.fit(x, y).history_
    first = history[history["phase"] == 1]
    best = first.index[first["valid_accuracy"] == first["valid_accuracy"].max()][-1]

    assert n_steps == [best + 1]


def test_a_plateau_of_the_training_loss_lowers_the_rate(monkeypatch):
    settings = {"schedule": "plateau", "lr": 1e-3, "max_epochs": 200, "validation": None, "device": "cpu"}
    # Epochs whose loss stays what it is.
    monkeypatch.setattr(FineTuning, "read", lambda self: self.unread.clear() or [{"loss": 1.0}])
    rates = FineTuner(small(), **settings).fit(*noise(8)).history_["lr"].tolist()

    # 20 epochs without a better one are borne, the next lowers the rate.
    assert rates[20:22] == pytest.approx([1e-3, 6e-4])
    assert rates[-1] == 1e-4


# Lives of trainings, each a process of its own: the step in which it is killed, or None.
LIVES = {("lora", 0): (5, None), ("full", 3): (2, 8, None), ("scratch", 3): (14, None)}
TRAIN = f"""
import os, signal, sys
import numpy as np, torch
import eeglab_models.finetuning.training
from eeglab_models import FBLightConvNet
from eeglab_models.finetuning import FineTuner

def sign_flip(x, sfreq):
    return x * (2 * torch.randint(0, 2, (len(x), 1, 1)) - 1)

torch.set_num_threads(1)
step = torch.optim.AdamW.step

def live(regime, n_more, n_steps, folder, result):
    left = [n_steps]

    def die(self, *arguments):
        if left[0] is not None:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return step(self, *arguments)

    torch.optim.AdamW.step = die
    torch.manual_seed(0)
    model = FBLightConvNet(
        n_outputs=2, n_chans=3, n_times=200, sfreq=100.0, n_filters_spat=8, heads=2, win_len=100, n_bands=2
    )
    x = np.random.default_rng(0).normal(0, 20, (24, 3, 200)).astype(np.float32)
    settings = dict(regime=regime, n_more_epochs=n_more, schedule="plateau" if n_more else "cosine")
    settings |= dict(max_epochs=6, patience=2, batch_size=8, augment=[sign_flip], device="cpu")
    tuner = FineTuner(model, checkpoint=folder, **settings).fit(x, np.tile([0, 1], 12))
    torch.save([tuner.model_.state_dict(), tuner.history_.to_dict("list")], result)

# What is imported late is imported once, for all lives.
live("lora", 0, None, None, os.devnull)
for (regime, n_more), lives in {LIVES}.items():
    for name, steps in {{"whole": (None,), "killed": lives}}.items():
        for n_steps in steps:
            path = f"{{sys.argv[1]}}/{{regime}}-{{name}}"
            child = os.fork()
            if child == 0:
                live(regime, n_more, n_steps, path, path + ".result")
                os._exit(0)
            print(regime, name, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def trainings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trainings")
    done = subprocess.run([sys.executable, "-c", TRAIN, str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout.splitlines()


@pytest.mark.parametrize(("regime", "n_more"), LIVES)
def test_training_killed_in_the_middle_of_an_epoch_ends_with_the_same_weights(trainings, regime, n_more):
    folder, ends = trainings
    whole, killed = (torch.load(folder / f"{regime}-{name}.result") for name in ("whole", "killed"))
    expected = [-signal.SIGKILL if n_steps else 0 for n_steps in LIVES[regime, n_more]]

    assert [end for end in ends if end.startswith(f"{regime} killed")] == [
        f"{regime} killed {int(code)}" for code in expected
    ]
    assert same(whole[0], killed[0])
    np.testing.assert_equal(killed[1], whole[1])


def test_a_finished_training_is_read_and_not_repeated(tmp_path, monkeypatch):
    x, y = noise()
    tuner = FineTuner(small(), regime="lora", lr=np.float64(1e-3), checkpoint=tmp_path, **QUICK)
    first = clone(tuner).fit(x, y)
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda *arguments: pytest.fail("trained again"))
    second = clone(tuner).fit(x, y)

    assert same(states(first.model_), states(second.model_))
    assert first.history_.equals(second.history_)


@pytest.mark.parametrize("change", ["lr", "data", "weights", "labels", "augment"])
def test_a_checkpoint_of_another_training_is_not_taken(tmp_path, change):
    x, y = noise()
    model = small()
    FineTuner(model, checkpoint=tmp_path, **QUICK).fit(x, y)
    settings = QUICK | {"lr": {"lr": 0.5}, "augment": {"augment": [sign_flip]}}.get(change, {})
    if change == "data":
        x = x + 1
    if change == "labels":
        y = y[::-1]
    if change == "weights":
        model.final_layer.bias.data += 1
    FineTuner(model, checkpoint=tmp_path, **settings).fit(x, y)

    assert len(list(tmp_path.iterdir())) == 2


def test_an_interruption_is_passed_on_and_training_continues(tmp_path):
    x, y = noise()
    calls = []

    def interrupt(batch, sfreq):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return batch

    tuner = FineTuner(small(), regime="full", augment=[interrupt], checkpoint=tmp_path, **QUICK)
    with pytest.raises(KeyboardInterrupt):
        clone(tuner).fit(x, y)
    tuner.fit(x, y)

    assert len(calls) == 5 + 3


def test_a_training_has_one_writer(tmp_path):
    x, y = noise()
    tuner = FineTuner(small(), checkpoint=tmp_path, augment=[sign_flip], **QUICK)
    clone(tuner).fit(x, y)
    (folder,) = tmp_path.iterdir()

    with locked(folder, "train"), pytest.raises(BlockingIOError, match="holds .* to train"):
        clone(tuner).fit(x, y)


def test_a_training_that_diverges_stops_its_bar(monkeypatch):
    ends = []
    monkeypatch.setattr(Progress, "stop", lambda self, stop=Progress.stop: ends.append(1) or stop(self))
    with pytest.raises(ValueError, match="Training diverged"):
        FineTuner(small(), lr=1e30, regime="full", max_grad_norm=None, progress=True, **QUICK).fit(*noise())

    assert ends


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_device_trains_and_predicts(precision):
    x, y = planted()
    tuner = FineTuner(small(), regime="full", device="cuda", precision=precision, max_epochs=3).fit(x, y)

    assert tuner.predict_proba(x).shape == (48, 2)


@pytest.mark.parametrize("targets", [[0, 1, 0], [0, 0, 0, 0, 1]])
def test_too_few_windows_to_hold_some_out_are_named(targets):
    with pytest.raises(ValueError, match="Holding out 0.2 of .* leaves a class without any. Pass more"):
        FineTuner(small(), validation=0.2).hold_out(np.array(targets), None)
