"""Features of frozen models."""

import errno
import json
import threading
import time
from dataclasses import replace

import mne
import numpy as np
import pytest
import torch
from filelock import FileLock

from eeglab_models import EEGDINO, EEGPT, CodeBrain, FBLightConvNet, prepare
from eeglab_models.features import embeddings, extract_features, extract_layers, layer_names
from eeglab_models.signals.windows import Windows

SIGNAL = {"n_outputs": 2, "n_chans": 3, "n_times": 400, "sfreq": 200.0}
BUILD = {
    "CodeBrain": lambda: CodeBrain(**SIGNAL, res_channels=4, num_res_layers=2, out_channels=6),
    "EEGDINO": lambda: EEGDINO(**SIGNAL, n_layer=2, n_global_tokens=2),
    "EEGPT": lambda: EEGPT(**SIGNAL | {"sfreq": 256.0, "n_times": 512}, embed_dim=16, depth=2),
    "FBLightConvNet": lambda: FBLightConvNet(**SIGNAL, win_len=200),
}
N_FEATURES = {"CodeBrain": 3 * 6, "EEGDINO": 3 * 200, "EEGPT": 4 * 16, "FBLightConvNet": 32}
FULL = {"precision": "float32", "device": "cpu"}


@pytest.fixture
def windows():
    data = np.random.default_rng(0).normal(0, 20, (5, 3, 400)).astype(np.float32)
    return Windows(data, mne.create_info(["C3", "Cz", "C4"], 200.0, "eeg"))


@pytest.fixture
def counted(monkeypatch):
    """An EEG-DINO, and the list of the batches that it has seen."""
    model, batches = BUILD["EEGDINO"](), []
    model.patch_embedding.register_forward_hook(lambda module, inputs, output: batches.append(len(inputs[0])))
    return model, batches


@pytest.mark.parametrize("name", BUILD)
def test_every_model_gives_one_row_per_window_whatever_the_batch(windows, name):
    model = BUILD[name]()
    prepared = prepare(windows, model)

    rows = extract_features(model, prepared, batch_size=2, **FULL)

    assert rows.shape == (5, N_FEATURES[name])
    np.testing.assert_allclose(rows, extract_features(model, prepared, **FULL), atol=1e-5)


@pytest.mark.parametrize("name", BUILD)
def test_by_default_features_of_the_encoder_are_averaged_over_time(windows, name):
    model = BUILD[name]().eval()
    prepared = prepare(windows, model)
    with torch.no_grad():
        features = model(torch.from_numpy(prepared.data), return_features=True)["features"]
    expected = {
        "CodeBrain": lambda: features.mean(2).flatten(1),
        "EEGDINO": lambda: features.unflatten(1, (3, 2)).mean(2).flatten(1),
        "EEGPT": lambda: features.mean(1),
        "FBLightConvNet": lambda: features,
    }[name]()

    np.testing.assert_allclose(extract_features(model, prepared, **FULL), expected, atol=1e-5)


def test_pooling_over_everything_and_not_at_all(windows):
    model = BUILD["EEGPT"]().eval()
    prepared = prepare(windows, model)
    with torch.no_grad():
        features = model(torch.from_numpy(prepared.data), return_features=True)["features"]

    none = extract_features(model, prepared, pool="none", **FULL)
    mean = extract_features(model, prepared, pool="mean", **FULL)

    np.testing.assert_allclose(none, features.flatten(1), atol=1e-6)
    np.testing.assert_allclose(mean, features.unflatten(2, (4, 16)).mean((1, 2)), atol=1e-6)


def test_features_keep_channels_apart(windows):
    model = BUILD["EEGDINO"]()
    rows = extract_features(model, prepare(windows, model))

    assert not np.allclose(rows[:, :200], rows[:, 200:400])


def output_of(model, name, prepared):
    """What a submodule puts out, by hand."""
    kept = []
    hook = model.get_submodule(name).register_forward_hook(lambda module, x, output: kept.append(output))
    with torch.no_grad():
        model.eval()(torch.from_numpy(prepared.data), return_features=True)
    hook.remove()
    return kept[0]


def test_a_block_of_eegdino_keeps_channels_apart(windows):
    model = BUILD["EEGDINO"]()
    prepared = prepare(windows, model)
    tokens = output_of(model, "encoder_layers.0", prepared).unflatten(
        1, (3, 2)
    )  # (5, n_chans, n_patches, 200)

    rows = extract_features(model, prepared, layer=0, **FULL)

    np.testing.assert_allclose(rows, tokens.mean(2).flatten(1), atol=1e-5)


def test_a_block_of_codebrain_keeps_channels_apart(windows):
    model = BUILD["CodeBrain"]()
    prepared = prepare(windows, model)
    tokens = output_of(model, "residual_layer.residual_blocks.0", prepared)[0].unflatten(2, (3, 2))

    rows = extract_features(model, prepared, layer=0, **FULL).reshape(5, 3, 4)

    np.testing.assert_allclose(rows, tokens.mean(3).transpose(1, 2), atol=1e-5)  # tokens: (5, 4, 3, 2)


def test_the_last_block_and_the_norm_after_it_are_the_encoder(windows):
    model = BUILD["EEGPT"]()
    prepared = prepare(windows, model)

    block = extract_features(model, prepared, layer=-1, pool="none", **FULL).reshape(5, -1, 4, 16)
    encoder = extract_features(model, prepared, pool="none", **FULL).reshape(5, -1, 4, 16)

    with torch.no_grad():
        normalised = model.target_encoder.norm(torch.from_numpy(block))
    np.testing.assert_allclose(normalised, encoder, atol=1e-5)


def test_the_last_block_of_eegdino_is_its_encoder_without_summary_tokens(windows):
    model = BUILD["EEGDINO"]()
    prepared = prepare(windows, model)

    block = extract_features(model, prepared, layer=1, **FULL)

    np.testing.assert_array_equal(block, extract_features(model, prepared, **FULL))


def test_a_named_layer_is_averaged_over_its_tokens(windows):
    model = BUILD["EEGDINO"]()
    prepared = prepare(windows, model)

    rows = extract_features(model, prepared, layer="encoder_layers.0.mlp", **FULL)

    expected = output_of(model, "encoder_layers.0.mlp", prepared).mean(1)
    np.testing.assert_allclose(rows, expected, atol=1e-6)


def test_a_layer_that_folds_time_into_the_batch_is_unfolded(windows):
    model = BUILD["EEGPT"]()

    rows = extract_features(model, prepare(windows, model), layer="target_encoder.blocks.0", batch_size=2)

    assert rows.shape == (5, 16)


def test_convolutions_have_their_features_on_the_second_axis(windows):
    model = BUILD["EEGDINO"]()

    rows = extract_features(model, prepare(windows, model), layer="patch_embedding.proj_in.0")

    assert rows.shape == (5, 25)


def test_logits_can_be_read(windows):
    model = BUILD["CodeBrain"]().eval()
    prepared = prepare(windows, model)
    with torch.no_grad():
        logits = model(torch.from_numpy(prepared.data))

    rows = extract_features(model, prepared, layer="final_layer", **FULL)
    np.testing.assert_allclose(rows, logits, atol=1e-6)


def test_all_layers_come_from_one_forward_pass(windows, counted):
    model, batches = counted
    prepared = prepare(windows, model)

    layers = extract_layers(model, prepared, batch_size=3, **FULL)

    assert list(layers) == layer_names(model) == [0, 1, "encoder"]
    assert batches == [3, 2]
    np.testing.assert_array_equal(layers[0], extract_features(model, prepared, layer=0, batch_size=3, **FULL))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": "encoder_layer.0"}, "no layer 'encoder_layer.0'. Did you mean 'encoder_layers.0'"),
        ({"layer": 2}, "has the blocks 0 to 1, got layer=2"),
        ({"layer": "encoder_layers.1.attn.attend.x"}, "Did you mean"),
        ({"pool": "max"}, "pool must be one of time, mean, none, got 'max'"),
        ({"precision": "float16"}, "precision must be one of auto, float32, bfloat16"),
        ({"layer": "patch_embedding.channel_embedding"}, "reads the weights of 'patch_embedding.channel_emb"),
    ],
)
def test_what_cannot_be_is_refused(windows, options, message):
    model = BUILD["EEGDINO"]()

    with pytest.raises(ValueError, match=message):
        extract_features(model, prepare(windows, model), **options)


def test_a_model_without_blocks_says_so(windows):
    model = BUILD["FBLightConvNet"]()

    with pytest.raises(ValueError, match="FBLightConvNet has no blocks to count, got layer=0"):
        extract_features(model, prepare(windows, model), layer=0)


def test_windows_that_are_not_prepared_are_refused(windows):
    with pytest.raises(ValueError, match="expects prepared windows, got windows in µV"):
        extract_features(BUILD["EEGDINO"](), windows)


def test_no_windows_are_refused(windows):
    model = BUILD["EEGDINO"]()

    with pytest.raises(ValueError, match="at least one window"):
        extract_features(model, prepare(windows, model)[:0])


def test_extraction_leaves_every_module_in_its_mode(windows):
    model = BUILD["EEGDINO"]().train()
    model.encoder_layers[0].eval()
    modes = [module.training for module in model.modules()]

    extract_features(model, prepare(windows, model), layer=0)

    assert [module.training for module in model.modules()] == modes
    assert all(not module._forward_hooks for module in model.modules())


def test_an_error_on_the_way_leaves_the_model_as_it_was(windows):
    model = BUILD["EEGDINO"]().train()
    fuse = model.encoder_layers[1].register_forward_hook(lambda *_: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        extract_features(model, prepare(windows, model), layer=0)

    fuse.remove()
    assert all(module.training for module in model.modules())
    assert all(not module._forward_hooks for module in model.modules())


def test_features_are_taken_in_evaluation_mode_without_gradients(windows):
    model = BUILD["EEGDINO"]().train()
    seen = []
    model.patch_embedding.register_forward_hook(
        lambda module, inputs, output: seen.append((module.training, torch.is_inference_mode_enabled()))
    )

    extract_features(model, prepare(windows, model))

    assert seen == [(False, True)]
    assert not torch.is_inference_mode_enabled()


def test_bfloat16_is_close_to_single_precision(windows):
    model = BUILD["EEGDINO"]()
    prepared = prepare(windows, model)

    low = extract_features(model, prepared, precision="bfloat16", device="cpu")

    assert low.dtype == np.float32
    full = extract_features(model, prepared, **FULL)
    assert 0 < np.abs(low - full).max() < 0.05 * np.abs(full).max()


@pytest.mark.parametrize(("gain", "precision"), [(2.5, "bfloat16"), (1.2, "float32"), (0.1, "float32")])
def test_precision_is_lowered_only_where_that_was_seen_to_pay(monkeypatch, gain, precision):
    monkeypatch.setattr(embeddings, "gain_of_bfloat16", lambda device: gain)

    assert embeddings.choose_precision("auto", "cpu") == precision


def test_other_devices_keep_single_precision():
    assert embeddings.choose_precision("auto", "mps") == "float32"


def test_the_encoder_and_the_head_are_not_read_at_once(windows):
    model = BUILD["EEGDINO"]()

    with pytest.raises(ValueError, match="need two forward passes"):
        extract_layers(model, prepare(windows, model), ["encoder", "final_layer"])


def test_automatic_batches_keep_to_the_memory_set_aside():
    def batch_for(n_chans, n_times):
        data = np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), (9, n_chans, n_times), (0, 0, 0))
        return embeddings.choose_batch_size(Windows(data, mne.create_info(["Cz"], 200.0)))

    assert batch_for(3, 400) == 256
    assert batch_for(64, 1024) == 2**30 // (200 * 4 * 64 * 1024)
    assert batch_for(256, 60_000) == 1


def test_channel_ids_reach_the_model(windows):
    model = BUILD["EEGDINO"]()
    prepared = prepare(windows, model)

    rows = extract_features(model, prepared, channel_ids=(4, 16, 5), **FULL)

    assert not np.allclose(rows, extract_features(model, prepared, **FULL))


def test_data_larger_than_memory_are_read_from_disk_batch_by_batch(windows, tmp_path):
    model = BUILD["EEGDINO"]()
    prepared = prepare(windows, model)
    np.save(tmp_path / "windows.npy", prepared.data)
    on_disk = replace(prepared, data=np.load(tmp_path / "windows.npy", mmap_mode="r"))

    rows = extract_features(model, on_disk, batch_size=2, **FULL)

    np.testing.assert_array_equal(rows, extract_features(model, prepared, batch_size=2, **FULL))


def test_progress_can_be_shown(windows, capsys):
    model = BUILD["EEGDINO"]()

    extract_features(model, prepare(windows, model), progress=True)

    assert "EEGDINO" in capsys.readouterr().out


def test_a_second_call_reads_the_file(windows, counted, tmp_path):
    model, batches = counted
    prepared = prepare(windows, model)

    first = extract_features(model, prepared, cache=tmp_path / "features", batch_size=3, **FULL)
    second = extract_features(model, prepared, cache=tmp_path / "features", batch_size=2, **FULL)

    assert batches == [3, 2]
    assert isinstance(second, np.memmap)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, extract_features(model, prepared, batch_size=3, **FULL))


def change_weight(model, windows):
    with torch.no_grad():
        model.encoder_layers[1].mlp.fc2.weight[7, 3] += 1e-6
    return {}


def change_sample(model, windows):
    windows.data[4, 2, 399] += 1e-3
    return {}


CHANGES = {
    "one weight": change_weight,
    "one sample": change_sample,
    "layer": lambda model, windows: {"layer": 0},
    "pool": lambda model, windows: {"pool": "mean"},
    "precision": lambda model, windows: {"precision": "bfloat16"},
    "channels": lambda model, windows: {"channel_ids": [1, 0, 2]},
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_the_features_is_computed_anew(windows, counted, tmp_path, change):
    model, batches = counted
    prepared = prepare(windows, model)
    extract_features(model, prepared, cache=tmp_path, **FULL)

    options = CHANGES[change](model, prepared)
    rows = extract_features(model, prepared, cache=tmp_path, **FULL | options)

    assert len(batches) == 2
    assert len(list(tmp_path.glob("*.npy"))) == 2
    np.testing.assert_array_equal(rows, extract_features(model, prepared, **FULL | options))


def test_a_projection_of_channels_counts_though_it_belongs_to_the_task(windows, tmp_path):
    model = BUILD["EEGPT"]()
    prepared = prepare(windows, model)
    first = extract_features(model, prepared, cache=tmp_path, **FULL)
    with torch.no_grad():
        next(model.chan_proj.parameters()).mul_(0.5)

    assert not np.allclose(first, extract_features(model, prepared, cache=tmp_path, **FULL))


def test_a_fresh_head_does_not_count_unless_it_is_read(windows, counted, tmp_path):
    model, batches = counted
    prepared = prepare(windows, model)
    for layer in ("encoder", "final_layer.classifier"):
        extract_features(model, prepared, cache=tmp_path, layer=layer)
    model.reset_head(2)

    extract_features(model, prepared, cache=tmp_path)
    n_before = len(batches)
    extract_features(model, prepared, cache=tmp_path, layer="final_layer.classifier")

    assert (n_before, len(batches)) == (2, 3)


def test_other_settings_of_the_same_weights_count(windows, tmp_path):
    model = BUILD["EEGDINO"]()
    other = EEGDINO(**SIGNAL, n_layer=2, n_global_tokens=2, nhead=4)
    other.load_state_dict(model.state_dict())

    for each in (model, other):
        extract_features(each, prepare(windows, each), cache=tmp_path)

    assert len(list(tmp_path.glob("*.npy"))) == 2


def test_an_interrupted_computation_leaves_no_file(windows, tmp_path):
    model = BUILD["EEGDINO"]()
    calls = []
    model.patch_embedding.register_forward_hook(
        lambda *_: calls.append(1) or (1 / 0 if len(calls) == 2 else None)
    )

    with pytest.raises(ZeroDivisionError):
        extract_features(model, prepare(windows, model), cache=tmp_path, batch_size=2)

    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


DAMAGE = {
    "zeros": lambda file: file.write_bytes(file.read_bytes()[:128] + bytes(len(file.read_bytes()) - 128)),
    "another array": lambda file: np.save(file, np.ones((5, 64), "float32")),
    "fewer rows": lambda file: np.save(file, np.load(file)[:3]),
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-9]),
    "empty": lambda file: file.write_bytes(b""),
    "one bit": lambda file: file.write_bytes(file.read_bytes()[:-1] + bytes([file.read_bytes()[-1] ^ 1])),
    "settings lost": lambda file: file.with_suffix(".json").unlink(),
    "settings damaged": lambda file: file.with_suffix(".json").write_text('{"sha256": 3}'),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_features_are_computed_anew_and_said_so(windows, counted, tmp_path, damage):
    model, batches = counted
    prepared = prepare(windows, model)
    first = np.array(extract_features(model, prepared, cache=tmp_path, **FULL))
    DAMAGE[damage](next(tmp_path.glob("*.npy")))

    with pytest.warns(UserWarning, match=r"The features in .*npy are computed anew"):
        again = extract_features(model, prepared, cache=tmp_path, **FULL)

    np.testing.assert_array_equal(first, again)
    assert len(batches) == 2
    extract_features(model, prepared, cache=tmp_path, **FULL)
    assert len(batches) == 2


def test_features_that_the_disk_has_no_room_for_are_one_sentence(windows, tmp_path, monkeypatch):
    def refuse(descriptor, start, n_bytes):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", refuse, raising=False)
    model = BUILD["EEGDINO"]()

    with pytest.raises(OSError, match=r"has no room for the 0\.0 MB of features\. Free some"):
        extract_features(model, prepare(windows, model), cache=tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


def test_features_that_another_process_is_at_are_waited_for(windows, tmp_path):
    model = BUILD["EEGDINO"]()
    prepared = prepare(windows, model)
    first = np.array(extract_features(model, prepared, cache=tmp_path))
    (path,) = tmp_path.glob("*.npy")
    whole = path.rename(tmp_path / "whole")
    held = threading.Event()

    def compute():
        with FileLock(path.with_suffix(".lock")):
            held.set()
            time.sleep(0.5)
            whole.rename(path)

    other = threading.Thread(target=compute)
    other.start()
    held.wait()
    np.testing.assert_array_equal(extract_features(model, prepared, cache=tmp_path), first)
    assert not whole.exists()
    other.join()


def test_room_is_set_aside_where_the_system_has_no_call_for_it(windows, tmp_path, monkeypatch):
    monkeypatch.delattr("os.posix_fallocate", raising=False)
    model = BUILD["EEGDINO"]()

    rows = extract_features(model, prepare(windows, model), cache=tmp_path)

    np.testing.assert_array_equal(rows, extract_features(model, prepare(windows, model)))


def test_settings_lie_beside_the_features(windows, tmp_path):
    model = BUILD["EEGDINO"]()
    extract_features(model, prepare(windows, model), cache=tmp_path, layer=1)

    (file,) = tmp_path.glob("*.json")
    settings = json.loads(file.read_text())

    assert settings["model"] == "EEGDINO"
    assert settings["layer"] == 1
    assert settings["data"]["shape"] == [5, 3, 400]
    assert file.with_suffix(".npy").exists()
