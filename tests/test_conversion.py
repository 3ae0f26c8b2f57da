"""Checkpoints in their authors' layouts become folders that load with the same output."""

import os
import re
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from references.cases import BRAIN, CONVS, DINO, GPT
from safetensors.torch import save_file
from scipy.signal import cheby2, lfilter
from typer.testing import CliRunner

from eeglab_models import EEGDINO, EEGPT, CodeBrain, FBLightConvNet
from eeglab_models.__main__ import app
from eeglab_models.models.conversion import PAPER_BANDS, PAPER_FILTERS, convert_checkpoint
from eeglab_models.models.opening import find_state_dict
from eeglab_models.models.report import fingerprint


def perturb(model):
    """Move every tensor away from its initial value, where zeros and ones would hide mistakes."""
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point() and not name.startswith("spectral_filtering"):
                tensor.add_(0.1 * torch.rand_like(tensor))
    return model.eval()


def rename(state, *rules):
    """Give tensors the names of a published checkpoint."""
    renamed = {}
    for name, tensor in state.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return renamed


def without(state, *prefixes):
    return {name: tensor for name, tensor in state.items() if not name.startswith(prefixes)}


def publish_codebrain(model):
    return rename(
        model.state_dict(),
        (r"\.sgconv\.", ".S41."),
        (r"\.rms_norm\.", ".sn."),
        (r"\.skip_weight$", ".D"),
        (r"\.kernel_list\.(\d+)$", r".kernel_list.\1.kernel"),
        (r"\.parametrizations\.weight\.original0$", ".weight_g"),
        (r"\.parametrizations\.weight\.original1$", ".weight_v"),
        (r"^", "module."),
    )


def publish_eegpt(model):
    target = without(model.state_dict(), "chans_id", "final_layer", "chan_proj")
    online = rename({name: 2 * tensor for name, tensor in target.items()}, ("^target_", ""))
    others = {"predictor.mask_token": torch.ones(1), "reconstructor.time_embed.freqs": torch.ones(2)}
    return {"epoch": 3, "state_dict": {**target, **online, **others}, "optimizer_states": [{"lr": 1e-3}]}


def publish_eegdino(model):
    encoder = without(model.state_dict(), "final_layer")
    student = rename(encoder, ("^", "module.student."))
    teacher = rename({name: 2 * tensor for name, tensor in encoder.items()}, ("^", "module.teacher."))
    return {"state_dict": {**student, **teacher, "module.mask_projector.0.weight": torch.ones(2, 2)}}


def publish_finetuned_eegdino(model):
    return {
        "model": rename(
            model.state_dict(),
            (r"^final_layer\.token_proj\.0\.", "full_linear."),
            (r"^final_layer\.time_proj\.0\.", "channel_linear."),
            (r"^final_layer\.classifier\.", "classifier."),
            (r"^(global_tokens|patch_embedding|encoder_layers)", r"encoder.\1"),
        )
    }


def publish_lightconvnet(model):
    return rename(
        without(model.state_dict(), "spectral_filtering"),
        (r"^spatial_conv\.", "spacial_block."),
        (r"^attn_conv\.", "conv."),
        (r"^final_layer\.", "classify."),
    )


CHANNELS = [{"ch_name": name} for name in ("FP1", "FCZ", "C3")]
DINO = DINO | {"patch_size": 16, "n_times": 64, "channels_kernel_stride_padding_norm": CONVS}
GPT = GPT | {"chan_proj_type": "none", "n_chans": None, "chs_info": CHANNELS, "n_times": 96}
LIGHT = {
    "n_chans": 4,
    "n_outputs": 3,
    "n_times": 1000,
    "sfreq": 250.0,
    "n_filters_spat": 6,
    "heads": 3,
    "n_bands": PAPER_BANDS,
    "filter_parameters": PAPER_FILTERS,
}


@dataclass
class Layout:
    """A published layout: how its authors saved a model, and what no shape tells of it."""

    name: str
    model: type
    arguments: dict[str, Any]
    publish: Any
    unknown: tuple[str, ...]
    suffix: str
    has_head: bool = False
    config: dict[str, Any] = field(init=False)

    def __post_init__(self):
        self.config = {name: self.arguments[name] for name in self.unknown}


GPT_UNKNOWN = ("num_heads", "patch_stride", "chs_info", "chan_proj_type", "n_times")
DINO_UNKNOWN = ("nhead", "channels_kernel_stride_padding_norm", "n_chans", "n_times")
LAYOUTS = [
    Layout("codebrain", CodeBrain, BRAIN, publish_codebrain, ("n_chans", "proj_padding"), ".pth", True),
    Layout("eegpt", EEGPT, GPT, publish_eegpt, GPT_UNKNOWN, ".ckpt"),
    Layout("eegdino", EEGDINO, DINO, publish_eegdino, DINO_UNKNOWN, ".pt"),
    Layout("eegdino-tuned", EEGDINO, DINO, publish_finetuned_eegdino, DINO_UNKNOWN, ".pt", True),
    Layout("lightconvnet", FBLightConvNet, LIGHT, publish_lightconvnet, (), ".pth", True),
]


@pytest.fixture(params=LAYOUTS, ids=lambda layout: layout.name)
def layout(request):
    return request.param


@pytest.fixture
def model(layout):
    return perturb(layout.model(**layout.arguments))


@pytest.fixture
def checkpoint(layout, model, tmp_path):
    path = tmp_path / f"published{layout.suffix}"
    torch.save(layout.publish(model), path)
    return path


def describe(model, x):
    with torch.no_grad():
        return model(x, return_features=True)["features"]


def make(name, tmp_path):
    """Build a model and its checkpoint by the name of the layout."""
    layout = next(layout for layout in LAYOUTS if layout.name == name)
    model = perturb(layout.model(**layout.arguments))
    path = tmp_path / f"published{layout.suffix}"
    torch.save(layout.publish(model), path)
    return layout, model, path


def test_published_layouts_load_with_the_same_output(layout, model, checkpoint, tmp_path):
    x = torch.randn(2, model.n_chans, model.n_times)

    report = convert_checkpoint(checkpoint, tmp_path / "out", config=layout.config)

    loaded = layout.model.from_pretrained(tmp_path / "out")
    torch.testing.assert_close(describe(loaded, x), describe(model, x), rtol=0, atol=0)
    if layout.has_head:
        torch.testing.assert_close(loaded(x), model(x), rtol=0, atol=0)
    assert report.fingerprint == loaded.load_report.fingerprint == fingerprint(model)
    assert report.layout == "the authors' checkpoint"
    assert report.new == ()


def test_what_shapes_do_not_tell_is_assumed_and_named(tmp_path):
    layout, _, path = make("codebrain", tmp_path)

    report = convert_checkpoint(path, tmp_path / "out", config=layout.config)

    assert report.assumed == ("activation=ReLU", "conv_groups=5", "sfreq=200.0", "swa_window_size=1")
    assert "assumed  activation=ReLU" in str(report)


@pytest.mark.parametrize(
    ("name", "default", "other"),
    [("eegpt", "target_encoder", "encoder"), ("eegdino", "student", "teacher")],
)
def test_the_other_encoder_has_other_weights(name, default, other, tmp_path):
    layout, model, path = make(name, tmp_path)
    x = torch.randn(2, model.n_chans, model.n_times)
    with torch.no_grad():
        for tensor_name, tensor in model.state_dict().items():
            if not tensor_name.startswith(("final_layer", "chans_id")):
                tensor.mul_(2)

    first = convert_checkpoint(path, tmp_path / "first", config=layout.config, encoder=default)
    second = convert_checkpoint(path, tmp_path / "second", config=layout.config, encoder=other)

    loaded = layout.model.from_pretrained(tmp_path / "second")
    torch.testing.assert_close(describe(loaded, x), describe(model, x), rtol=0, atol=0)
    assert first.fingerprint != second.fingerprint
    assert first.ignored
    assert second.ignored
    with pytest.raises(ValueError, match="got encoder='codec'"):
        convert_checkpoint(path, tmp_path / "third", config=layout.config, encoder="codec")


def test_a_checkpoint_without_the_default_encoder_asks_for_the_other(tmp_path):
    layout, _, path = make("eegpt", tmp_path)
    torch.save(without(torch.load(path)["state_dict"], "target_encoder"), path)

    with pytest.raises(ValueError, match="no target_encoder of EEGPT, but its encoder"):
        convert_checkpoint(path, tmp_path / "out", config=layout.config)


def test_the_encoder_that_a_probe_keeps_without_prefix_is_found(tmp_path):
    layout, model, path = make("eegpt", tmp_path)
    target = without(model.state_dict(), "chans_id", "final_layer")
    torch.save(rename(target, (r"^target_encoder\.", "")), path)

    report = convert_checkpoint(path, tmp_path / "out", config=layout.config)

    assert report.fingerprint == fingerprint(model)


def test_the_filter_bank_of_lightconvnet_is_that_of_the_paper(tmp_path):
    _, _, path = make("lightconvnet", tmp_path)
    state = torch.load(path)
    x = 10 * torch.randn(2, 4, 1000)
    convert_checkpoint(path, tmp_path / "out")

    bands = []
    for low, high in zip(range(4, 40, 4), range(8, 44, 4), strict=True):
        b, a = cheby2(4, 30, (low - 2, high + 2), btype="bandpass", fs=250)
        bands.append(torch.from_numpy(lfilter(b, a, x.double().numpy())))
    maps = F.conv2d(
        torch.stack(bands, dim=1).float(), state["spacial_block.0.weight"], state["spacial_block.0.bias"]
    )
    norm = [state[f"spacial_block.1.{n}"] for n in ("running_mean", "running_var", "weight", "bias")]
    maps = F.elu(F.batch_norm(maps, *norm)).squeeze(2)  # (batch, n_filters, n_times)
    power = maps.unflatten(-1, (4, 250)).var(dim=-1).log()  # (batch, n_filters, n_patches)
    kernels = state["conv.weight"].softmax(-1)[torch.arange(6) % 3, 0]  # (n_filters, n_patches)
    expected = (power * kernels).sum(-1) @ state["classify.weight"].T + state["classify.bias"]

    output = FBLightConvNet.from_pretrained(tmp_path / "out")(x)

    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-4)


def test_published_sizes_need_no_configuration(tmp_path):
    model = perturb(EEGDINO(n_chans=19, n_times=6000, sfreq=200, n_layer=1, return_encoder_output=True))
    torch.save(publish_eegdino(model), tmp_path / "model.pt")

    report = convert_checkpoint(tmp_path / "model.pt", tmp_path / "out", n_outputs=5)

    loaded = EEGDINO.from_pretrained(tmp_path / "out")
    assert (loaded.n_chans, loaded.n_times, loaded.sfreq, loaded.n_outputs) == (19, 6000, 200, 5)
    assert report.fingerprint == fingerprint(model)
    assert {name.split(".")[0] for name in report.new} == {"final_layer"}
    assert "nhead=8" in report.assumed


def test_eegpt_without_a_projection_reads_the_channels_of_its_training(tmp_path):
    model = perturb(EEGPT(n_chans=58, n_times=1024, embed_dim=64, depth=1, num_heads=4, n_outputs=2))
    torch.save(publish_eegpt(model), tmp_path / "model.ckpt")

    report = convert_checkpoint(tmp_path / "model.ckpt", tmp_path / "out")

    loaded = EEGPT.from_pretrained(tmp_path / "out")
    assert loaded.n_chans == 58
    assert loaded.chs_info[3]["ch_name"] == "AF3"
    assert loaded(torch.randn(1, 58, 1024)).shape == (1, 16, 4, 64)
    assert {"num_heads=4", "patch_stride=64", "layer_norm_eps=1e-06"} <= set(report.assumed)


def test_converted_models_take_other_channels_and_a_head(tmp_path):
    layout, model, path = make("eegpt", tmp_path)
    convert_checkpoint(path, tmp_path / "out", config=layout.config)
    channels = [{"ch_name": name} for name in ("CZ", "PZ")]

    loaded = EEGPT.from_pretrained(tmp_path / "out", chs_info=channels, n_outputs=4)

    assert loaded(torch.randn(2, 2, 96)).shape == (2, 4)
    assert loaded.load_report.fingerprint == fingerprint(model)


def test_a_model_that_needs_a_head_asks_for_its_size(tmp_path):
    layout, _, path = make("codebrain", tmp_path)
    torch.save(without(torch.load(path), "module.final_layer"), path)
    config = layout.config | {"n_times": 100}

    with pytest.raises(ValueError, match="holds no head, and CodeBrain needs one. Pass n_outputs"):
        convert_checkpoint(path, tmp_path / "out", config=config)
    report = convert_checkpoint(path, tmp_path / "out", config=config, n_outputs=4)
    assert {name.split(".")[0] for name in report.new} == {"final_layer"}


def test_a_head_of_another_size_is_not_replaced(tmp_path):
    layout, _, path = make("codebrain", tmp_path)

    with pytest.raises(ValueError, match="has 3 outputs, got n_outputs=7"):
        convert_checkpoint(path, tmp_path / "out", config=layout.config, n_outputs=7)


def test_tensors_that_do_not_fit_are_named_and_nothing_is_written(tmp_path):
    layout, _, path = make("codebrain", tmp_path)
    state = torch.load(path)
    state["module.stranger"] = state.pop("module.init_conv.0.conv.bias")
    state["module.init_conv.0.conv.bias"] = torch.zeros(6)
    torch.save(state, path)

    with pytest.raises(ValueError, match="unknown to the model: stranger"):
        convert_checkpoint(path, tmp_path / "out", config=layout.config)
    assert list(tmp_path.iterdir()) == [path]


def test_a_configuration_that_contradicts_the_tensors_is_refused(tmp_path):
    layout, _, path = make("codebrain", tmp_path)

    with pytest.raises(ValueError, match=r"init_conv.0.conv.bias \(expected \(8,\), got \(6,\)\)"):
        convert_checkpoint(path, tmp_path / "out", config=layout.config | {"res_channels": 8})
    with pytest.raises(ValueError, match="CodeBrain has no argument n_legs"):
        convert_checkpoint(path, tmp_path / "out", config=layout.config | {"n_legs": 4})


def test_filters_that_the_assumed_settings_do_not_give_are_refused(tmp_path):
    bands = [(low + 0.5, high) for low, high in PAPER_BANDS]
    torch.save(FBLightConvNet(**LIGHT | {"n_bands": bands}).state_dict(), tmp_path / "model.pt")

    with pytest.raises(ValueError, match="not what the arguments give: spectral_filtering"):
        convert_checkpoint(tmp_path / "model.pt", tmp_path / "out")


def test_other_bands_than_the_published_ones_have_to_be_stated(tmp_path):
    model = FBLightConvNet(**LIGHT | {"n_bands": PAPER_BANDS[:2]})
    torch.save(publish_lightconvnet(model), tmp_path / "model.pt")

    with pytest.raises(ValueError, match="reads 2 bands, and LightConvNet was published with 9"):
        convert_checkpoint(tmp_path / "model.pt", tmp_path / "out")


def test_tensors_with_other_axes_are_named(layout, model, tmp_path):
    state = layout.publish(model)
    tensors = state.get("state_dict", state.get("model", state))
    own = [name for name in sorted(tensors) if re.search(r"norm.*weight|conv\.weight|proj.*weight", name)]
    for name in own:
        torch.save(tensors | {name: tensors[name].flatten()[:-1]}, tmp_path / "file.pt")
        if not re.search("teacher|^encoder|predictor|reconstructor|projector", name) or "model" in state:
            with pytest.raises(ValueError, match=r"file\.pt(?!.*unpack)"):
                convert_checkpoint(tmp_path / "file.pt", tmp_path / "out", config=layout.config)


def test_safetensors_convert_too(tmp_path):
    layout, model, path = make("codebrain", tmp_path)
    save_file(torch.load(path), tmp_path / "model.safetensors")

    report = convert_checkpoint(tmp_path / "model.safetensors", tmp_path / "out", config=layout.config)

    assert report.fingerprint == fingerprint(model)


# Recognition


def test_models_are_recognised_or_what_was_looked_for_is_named(tmp_path):
    torch.save({"weight": torch.zeros(2)}, tmp_path / "model.pt")

    with pytest.raises(ValueError, match=r"got none. Looked for CodeBrain: .* it holds weight"):
        convert_checkpoint(tmp_path / "model.pt", tmp_path / "out")


def test_two_models_in_one_checkpoint_are_refused(tmp_path):
    _, _, path = make("codebrain", tmp_path)
    both = torch.load(path) | publish_lightconvnet(FBLightConvNet(**LIGHT))
    torch.save(both, path)

    with pytest.raises(ValueError, match="got CodeBrain and FBLightConvNet"):
        convert_checkpoint(path, tmp_path / "out")
    with pytest.raises(ValueError, match="one of CodeBrain, EEGDINO, EEGPT, FBLightConvNet, got 'GPT'"):
        convert_checkpoint(path, tmp_path / "out", model="GPT")


def test_a_named_model_is_taken_at_its_word(tmp_path):
    _, _, path = make("codebrain", tmp_path)

    with pytest.raises(ValueError, match="holds no patch_embedding.channel_embedding.weight"):
        convert_checkpoint(path, tmp_path / "out", model="eegdino")


WRAPPERS = {
    "module": lambda state: before(state, "module."),
    "compiled": lambda state: before(state, "_orig_mod."),
    "a compiled part": lambda state: {re.sub(r"^(\w+)\.", r"\1._orig_mod.", k): v for k, v in state.items()},
    "compiled in parallel": lambda state: before(state, "module._orig_mod."),
    "lightning": lambda state: {"epoch": 3, "state_dict": before(state, "model."), "optimizer_states": [{}]},
    "net": lambda state: {"net": state},
    "backbone": lambda state: {"model": before(state, "backbone.") | {"other.weight": torch.ones(2)}},
    "unheard of": lambda state: {"a": {"b": before(state, "my.own.wrapper.")}},
    "average": lambda state: before(state, "module.") | {"n_averaged": torch.tensor(7)},
    "optimiser": lambda state: {"weights": state, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}},
}


def before(state, prefix):
    """Put words before every name."""
    return {prefix + name: tensor for name, tensor in state.items()}


# Whatever the model, the same names are looked for: one that comes with others, and one alone.
@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("name", ["eegpt", "lightconvnet"])
def test_wrapped_models_are_found_whatever_the_wrapper(name, wrapper, tmp_path):
    layout, model, path = make(name, tmp_path)
    state = torch.load(path)
    state = state.get("state_dict", state.get("model", state))
    torch.save(WRAPPERS[wrapper](state), path)

    report = convert_checkpoint(path, tmp_path / "out", config=layout.config)

    assert report.fingerprint == fingerprint(model)
    assert report.new == ()


@pytest.mark.parametrize("names", [("student", "teacher"), ("model", "model_ema"), ("net.a", "ema.module")])
@pytest.mark.parametrize("name", ["eegpt", "lightconvnet"])
def test_of_several_copies_one_has_to_be_named(name, names, tmp_path):
    layout, model, path = make(name, tmp_path)
    state = torch.load(path)
    state = state.get("state_dict", state.get("model", state))
    doubled = {key: 2 * tensor for key, tensor in state.items()}
    for number, wrap in enumerate((lambda own, word: {word: own}, lambda own, word: before(own, f"{word}."))):
        torch.save(wrap(doubled, names[0]) | wrap(state, names[1]), path)
        folder = tmp_path / str(number)

        with pytest.raises(ValueError, match=f"several copies of .*'{min(names)}' and '{max(names)}'"):
            convert_checkpoint(path, folder, config=layout.config)
        report = convert_checkpoint(path, folder, config=layout.config, encoder=names[1])

        assert report.fingerprint == fingerprint(model)


@pytest.mark.parametrize("checkpoint", [{}, {"epoch": 1}, {0: {"a": torch.zeros(1)}}, [1], 3])
def test_a_checkpoint_without_tensors_by_name_is_refused(checkpoint, tmp_path):
    with pytest.raises(ValueError, match="holds no tensors by name"):
        find_state_dict(checkpoint, tmp_path)


# Hostile files


class Command:
    """What a hostile pickle holds: a command that runs when it is opened."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(tmp_path):
    torch.save({"state_dict": Command(tmp_path / "touched")}, tmp_path / "model.ckpt")

    with pytest.raises(ValueError, match=r"model.ckpt holds \w+.system, .* nothing in it ran"):
        convert_checkpoint(tmp_path / "model.ckpt", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["model.ckpt"]


@pytest.mark.parametrize("content", [b"", b"\x80\x02garbage", b"PK\x03\x04 half a zip"])
def test_a_damaged_checkpoint_is_refused(content, tmp_path):
    (tmp_path / "model.pt").write_bytes(content)

    with pytest.raises(ValueError, match="model.pt cannot be read"):
        convert_checkpoint(tmp_path / "model.pt", tmp_path / "out")


def test_a_checkpoint_of_which_a_number_changed_is_refused(tmp_path):
    _, _, path = make("eegpt", tmp_path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 64
    path.write_bytes(content)

    with pytest.raises(ValueError, match="damaged"):
        convert_checkpoint(path, tmp_path / "out")


def test_a_tensor_that_claims_more_than_it_stores_is_refused(tmp_path):
    torch.save({"weight": torch.zeros(1).expand(10**9, 10)}, tmp_path / "model.pt")

    with pytest.raises(ValueError, match="holds no tensors by name"):
        convert_checkpoint(tmp_path / "model.pt", tmp_path / "out")


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no checkpoint"):
        convert_checkpoint(tmp_path / "model.pt", tmp_path / "out")
    (tmp_path / "model.py").touch()
    with pytest.raises(ValueError, match="or .safetensors files, got model.py"):
        convert_checkpoint(tmp_path / "model.py", tmp_path / "out")


def test_a_folder_that_holds_files_is_left_alone(tmp_path):
    _, _, path = make("lightconvnet", tmp_path)
    (tmp_path / "out").mkdir()
    convert_checkpoint(path, tmp_path / "out")
    before = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}

    with pytest.raises(FileExistsError, match="exists and is not empty"):
        convert_checkpoint(path, tmp_path / "out")
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == before


def test_a_folder_that_cannot_be_read_back_is_not_left_behind(tmp_path, monkeypatch):
    _, _, path = make("lightconvnet", tmp_path)
    monkeypatch.setattr("eeglab_models.models.conversion.fingerprint", lambda model: id(model))

    with pytest.raises(OSError, match="could not be read back"):
        convert_checkpoint(path, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [path]


# The command


def test_the_command_prints_the_report(tmp_path):
    _, model, path = make("lightconvnet", tmp_path)

    done = CliRunner().invoke(app, ["convert", str(path), str(tmp_path / "out")])

    assert done.exit_code == 0
    assert f"sha256   {fingerprint(model)[:12]}" in done.output
    assert FBLightConvNet.from_pretrained(tmp_path / "out").load_report.new == ()


def test_the_command_takes_a_configuration_and_an_encoder(tmp_path):
    _, _, path = make("eegpt", tmp_path)
    config = tmp_path / "arguments.json"
    config.write_text('{"num_heads": 3}')
    options = ["--config", str(config), "--encoder", "encoder", "--model", "EEGPT", "--n-outputs", "4"]

    done = CliRunner().invoke(app, ["convert", str(path), str(tmp_path / "out"), *options])

    assert done.exit_code == 0, done.output
    loaded = EEGPT.from_pretrained(tmp_path / "out")
    assert (loaded.arguments["num_heads"], loaded.n_outputs) == (3, 4)


def test_the_command_ends_in_one_sentence_where_it_cannot_convert(tmp_path):
    done = CliRunner().invoke(app, ["convert", str(tmp_path / "no.pt"), str(tmp_path / "out")])

    assert done.exit_code == 1
    assert done.output.strip() == f"There is no checkpoint {tmp_path / 'no.pt'}. Check its name."
