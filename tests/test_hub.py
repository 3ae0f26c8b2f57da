"""Saving, loading and what is known afterwards."""

import contextlib
import json
import os

import pytest
import torch
from references.cases import CASES
from references.compare import build
from safetensors.torch import load_file, save_file
from torch import nn

import eeglab_models
from eeglab_models import EEGPT, FBLightConvNet
from eeglab_models.models.arguments import parameters_of
from eeglab_models.models.download import read_weights
from eeglab_models.models.report import fingerprint, keys_of, summarise

DEFAULTS = [case for case in CASES if case.name == "default"]


@pytest.fixture(params=DEFAULTS, ids=lambda case: case.model)
def case(request):
    return request.param


@pytest.fixture
def model(case):
    return build(case)


@pytest.fixture
def folder(model, tmp_path):
    model.save_pretrained(tmp_path)
    return tmp_path


def edit(folder, change):
    """Apply a change to the weights of a folder."""
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


def encoder_key(weights):
    return next(key for key in sorted(weights) if not key.startswith(("final", "lm_", "chan", "spectral")))


def test_a_saved_model_loads_with_the_same_output(case, model, folder):
    x = case.scale * torch.randn(2, model.n_chans, model.n_times)

    loaded, report = type(model).from_pretrained(folder, return_report=True)

    torch.testing.assert_close(loaded(x), model(x), rtol=0, atol=0)
    assert set(report.loaded) == set(model.state_dict())
    assert (report.new, report.ignored) == ((), ())
    assert loaded.load_report == report
    assert not loaded.training


def test_a_missing_weight_of_the_encoder_is_named(model, folder):
    lost = []
    edit(folder, lambda weights: lost.append(encoder_key(weights)) or weights.pop(lost[0]))

    with pytest.raises(ValueError, match=f"missing: {lost[0]}"):
        type(model).from_pretrained(folder)


def test_a_weight_of_another_shape_is_named_with_both_shapes(model, folder):
    keys = []

    def widen(weights):
        keys.append(encoder_key(weights))
        weights[keys[0]] = torch.zeros(*weights[keys[0]].shape, 2)

    edit(folder, widen)

    with pytest.raises(ValueError, match=rf"of another shape: {keys[0]} \(expected"):
        type(model).from_pretrained(folder, n_outputs=5)


def test_an_unknown_weight_is_named(model, folder):
    edit(folder, lambda weights: weights.update(stranger=torch.zeros(1)))

    with pytest.raises(ValueError, match="unknown to the model: stranger"):
        type(model).from_pretrained(folder)


def test_another_number_of_outputs_gives_a_fresh_head_and_says_so(model, folder):
    loaded, report = type(model).from_pretrained(folder, n_outputs=7, return_report=True)

    assert loaded.n_outputs == loaded.get_config()["n_outputs"] == 7
    assert report.new
    assert all(key.startswith("final_layer.") for key in report.new + report.ignored)
    assert set(report.loaded) | set(report.new) == set(loaded.state_dict())
    for key in report.loaded:
        assert torch.equal(loaded.state_dict()[key], model.state_dict()[key])


def test_weights_without_a_head_warn_that_it_is_random(model, folder):
    def behead(weights):
        for key in [key for key in weights if key.startswith("final_layer.")]:
            del weights[key]

    edit(folder, behead)

    with pytest.warns(UserWarning, match=r"these are new \(random\)"):
        loaded = type(model).from_pretrained(folder)
    assert all(key.startswith("final_layer.") for key in loaded.load_report.new)
    type(model).from_pretrained(folder, n_outputs=loaded.n_outputs)


@pytest.fixture
def eegpt_folder(tmp_path):
    model = build(next(case for case in DEFAULTS if case.model == "EEGPT"))
    model.save_pretrained(tmp_path)
    return tmp_path


def test_a_projection_for_other_channels_starts_fresh_as_a_whole_and_warns(eegpt_folder):
    with pytest.warns(UserWarning, match="no fitting weights for chan_proj.proj.bias, chan_proj"):
        _, report = EEGPT.from_pretrained(eegpt_folder, n_chans=3, n_outputs=7, return_report=True)

    assert {key.split(".")[0] for key in report.new} == {"chan_proj", "final_layer"}
    assert not [key for key in report.loaded if key.startswith(("chan_proj", "final_layer"))]


def test_a_projection_that_the_model_does_not_have_is_ignored(eegpt_folder):
    _, report = EEGPT.from_pretrained(
        eegpt_folder, chan_proj_type="none", n_chans=5, return_encoder_output=True, return_report=True
    )

    assert {key.split(".")[0] for key in report.ignored} == {"chan_proj", "final_layer", "chans_id"}


def test_the_report_prints_what_happened(model, folder):
    report = type(model).from_pretrained(folder, n_outputs=7).load_report

    assert f"loaded   {len(report.loaded)} tensors" in str(report)
    parts = summarise(report.new)
    assert "final_layer" in parts
    assert f"new      {parts}" in str(report)
    assert max(map(len, str(report).splitlines()[1:])) < 100


@pytest.mark.parametrize(
    ("names", "summary"),
    [
        ((), "none"),
        (("a.b", "c"), "a.b, c"),
        (("a.b.c", "a.b.d", "a.e.f"), "3 tensors of a.b, a.e"),
        (("a.b", "c.d", "c.e"), "3 tensors of a, c"),
        (("a.b", "a.c", "a.d", "a.e", "a.f"), "5 tensors of a.b, a.c, a.d, a.e and 1 more"),
    ],
)
def test_tensors_are_summed_up_by_their_modules(names, summary):
    assert summarise(names) == summary


def edit_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text()) | changes
    config = {name: value for name, value in config.items() if value != "absent"}
    (folder / "config.json").write_text(json.dumps(config))


def test_every_model_names_arguments_that_no_shape_reveals(model):
    assert model.layout.fixed_arguments
    assert set(model.layout.fixed_arguments) <= set(parameters_of(type(model)))


@pytest.mark.parametrize(
    ("name", "stated", "wrong"),
    [
        ("EEGPT", "num_heads=3", {"num_heads": 4}),
        ("EEGPT", "layer_norm_eps=1e-06", {"layer_norm_eps": 1e-5}),
        ("EEGDINO", "nhead=4", {"nhead": 3}),
        ("EEGDINO", "activation=GELU", {"activation": nn.ReLU}),
        ("CodeBrain", "swa_window_size=1", {"swa_window_size": 3}),
        ("FBLightConvNet", "weight_softmax=True", {"weight_softmax": False}),
        ("FBLightConvNet", "n_bands=9", {"n_bands": 8}),
    ],
)
def test_an_argument_that_no_shape_reveals_has_to_be_the_weights(name, stated, wrong, tmp_path):
    model = build(next(case for case in DEFAULTS if case.model == name))
    model.save_pretrained(tmp_path)
    argument, value = next(iter(wrong.items()))
    got = f"{argument}={getattr(value, '__name__', value)}"

    with pytest.raises(ValueError, match=f"trained with {stated}, got {got}: .* call load_state_dict"):
        type(model).from_pretrained(tmp_path, **wrong)


def test_the_same_value_may_be_said_again(model, folder):
    fixed = {name: model.arguments[name] for name in model.layout.fixed_arguments}

    assert type(model).from_pretrained(folder, **fixed).load_report.assumed == ()


def test_what_the_configuration_does_not_state_is_assumed_and_named(eegpt_folder):
    edit_config(eegpt_folder, layer_norm_eps="absent", num_heads="absent")

    report = EEGPT.from_pretrained(eegpt_folder, num_heads=3).load_report

    assert report.assumed == ("layer_norm_eps=1e-06",)
    assert "assumed  layer_norm_eps=1e-06" in str(report)


def test_new_channels_and_windows_replace_those_of_the_configuration(eegpt_folder):
    edit_config(eegpt_folder, sfreq=16, input_window_seconds=6)

    loaded = EEGPT.from_pretrained(
        eegpt_folder,
        chs_info=[{"ch_name": "CZ"}],
        chan_proj_type="none",
        n_times=116,
        n_outputs=3,
    )

    assert (loaded.n_chans, loaded.n_times, loaded.input_window_seconds) == (1, 116, 116 / 16)


def test_the_callers_channels_are_those_that_the_encoder_is_told(tmp_path):
    channels = {"n_times": 64, "embed_dim": 8, "depth": 1, "num_heads": 2, "chan_proj_type": "none"}
    model = EEGPT(**channels, chs_info=[{"ch_name": "FP1"}, {"ch_name": "FPZ"}], n_outputs=2)
    model.save_pretrained(tmp_path)

    loaded = EEGPT.from_pretrained(tmp_path, chs_info=[{"ch_name": "FP2"}, {"ch_name": "AF7"}])

    assert loaded.chans_id.tolist() == [[2, 3]]


def test_asking_for_outputs_adds_a_head_to_an_encoder(eegpt_folder):
    edit_config(eegpt_folder, return_encoder_output=True, n_outputs=None)

    loaded = EEGPT.from_pretrained(eegpt_folder, n_outputs=5)

    assert loaded(torch.randn(2, 5, 96)).shape == (2, 5)


# Less than all


def test_a_part_of_the_encoder_loads_if_asked_and_the_rest_is_named(model, folder):
    lost = []

    def damage(weights):
        keys = sorted(
            key for key in weights if not key.startswith((*model.layout.task_modules, "chans", "spectral"))
        )
        lost.extend([keys[0], keys[-1]])
        del weights[keys[0]]
        weights[keys[-1]] = torch.zeros(2, 3, 5, 7, 11)
        weights["stranger"] = torch.zeros(1)

    edit(folder, damage)

    outside = (*model.layout.task_modules, *model.layout.derived_modules)
    n_tensors = len([key for key in model.state_dict() if not key.startswith(outside)])
    with pytest.warns(UserWarning, match=f"^2 of {n_tensors} tensors of the encoder do not fit") as warned:
        loaded = type(model).from_pretrained(folder, allow_partial=True)
    assert len(warned) == 1
    assert loaded.load_report.new == tuple(lost)
    assert loaded.load_report.ignored == tuple(sorted([lost[1], "stranger"]))
    assert set(loaded.load_report.loaded) == set(model.state_dict()) - set(lost)
    for key in loaded.load_report.loaded:
        assert torch.equal(loaded.state_dict()[key], model.state_dict()[key])


def test_a_file_of_which_nothing_fits_is_refused_whatever_is_allowed(model, folder):
    def replace(weights):
        for key in list(weights):
            weights[f"{key}_other"] = weights.pop(key)

    edit(folder, replace)

    with pytest.raises(ValueError, match="do not fit; missing: "):
        type(model).from_pretrained(folder, allow_partial=True)


def test_several_tensors_for_one_are_refused(folder, case):
    names = {"CodeBrain": "module.norm.weight", "EEGPT": "norm.weight", "FBLightConvNet": "classify.weight"}
    name = names.get(case.model, "encoder.global_tokens")
    edit(folder, lambda weights: weights.update({name: torch.zeros(1)}))

    with pytest.raises(ValueError, match="several tensors for the same tensor"):
        getattr(eeglab_models, case.model).from_pretrained(folder)


# Fingerprints


def test_a_fingerprint_knows_the_encoder_and_nothing_else(model):
    before = fingerprint(model)

    model.train().requires_grad_(False)
    model.reset_head(7)

    assert len(before) == 64
    assert fingerprint(model) == before


def test_a_fingerprint_changes_with_every_tensor_of_the_encoder(model):
    before = fingerprint(model)
    encoder = [
        parameter
        for name, parameter in model.named_parameters()
        if not name.startswith((*model.layout.task_modules, *model.layout.derived_modules))
    ]

    seen = {before}
    for parameter in encoder:
        parameter.data.view(-1)[-1] += 1
        seen.add(fingerprint(model))

    assert len(seen) == 1 + len(encoder)


def test_a_fingerprint_is_that_of_the_compiled_model(model):
    assert fingerprint(torch.compile(model, backend="eager")) == fingerprint(model)


def test_a_fingerprint_stays_the_same_over_releases():
    model = EEGPT(
        n_chans=1, n_times=8, patch_size=8, embed_dim=2, embed_num=1, depth=1, num_heads=1, n_outputs=1
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.5)

    assert fingerprint(model).startswith("75d8309d9dfd")


def test_reports_hold_the_fingerprint_and_show_its_beginning(model, folder):
    report = type(model).from_pretrained(folder).load_report

    assert report.fingerprint == fingerprint(model)
    assert f"sha256   {report.fingerprint[:12]} (encoder)" in str(report)


# A single file


def test_a_single_file_loads_with_the_configuration_beside_it(model, folder):
    (folder / "model.safetensors").rename(folder / "best.safetensors")

    loaded = type(model).from_pretrained(folder / "best.safetensors")

    assert loaded.load_report.source == str(folder / "best.safetensors")
    assert fingerprint(loaded) == fingerprint(model)


def test_a_single_file_without_a_configuration_takes_the_callers_arguments(case, model, folder):
    (folder / "config.json").unlink()

    loaded = type(model).from_pretrained(folder / "model.safetensors", **case.arguments)

    assert set(loaded.load_report.loaded) == set(model.state_dict())
    stated = {name for name in model.layout.fixed_arguments if name in case.arguments}
    assert len(loaded.load_report.assumed) == len(model.layout.fixed_arguments) - len(stated)


def test_arguments_that_a_single_file_needs_are_named(model, folder):
    (folder / "config.json").unlink()

    with pytest.raises(ValueError, match="have to be given: got n_outputs, not n_chans, n_times. "):
        type(model).from_pretrained(folder / "model.safetensors", n_outputs=3)


def test_filters_of_a_single_file_have_to_be_those_of_the_arguments(tmp_path):
    case = next(case for case in DEFAULTS if case.model == "FBLightConvNet")
    build(case).save_pretrained(tmp_path)
    (tmp_path / "config.json").unlink()
    bands = [(4 * i + 4.01, 4 * i + 8) for i in range(9)]

    with pytest.raises(ValueError, match="spectral_filtering.fir_list.0"):
        FBLightConvNet.from_pretrained(tmp_path / "model.safetensors", **case.arguments | {"n_bands": bands})


def test_a_single_file_that_does_not_exist_or_is_a_pickle_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no file"):
        EEGPT.from_pretrained(tmp_path / "model.safetensors")
    (tmp_path / "model.pt").touch()
    with pytest.raises(ValueError, match="safetensors files only, got 'model.pt'"):
        EEGPT.from_pretrained(tmp_path / "model.pt")


def test_a_configuration_of_another_library_version_loads(model, folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"braindecode_version": "1.8.1"}))

    assert type(model).from_pretrained(folder).get_config() == config


def test_a_pickle_is_refused_with_the_way_out(model, folder):
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")

    with pytest.raises(
        FileNotFoundError, match=r"pytorch_model.bin can run code .* Convert pickled weights once"
    ):
        type(model).from_pretrained(folder)
    with pytest.raises(ValueError, match="safetensors files only, got 'pytorch_model.bin'"):
        type(model).from_pretrained(folder, filename="pytorch_model.bin")


def test_a_missing_configuration_is_an_error(model, folder):
    (folder / "config.json").unlink()

    with pytest.raises(FileNotFoundError, match="holds no config.json"):
        type(model).from_pretrained(folder)


def test_a_folder_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="neither a folder nor a readable Hub repository"):
        EEGPT.from_pretrained(tmp_path / "nowhere")


def test_without_a_network_the_cache_is_asked_and_the_way_out_is_named():
    with pytest.raises(FileNotFoundError, match="Load it once with a network, or pass a folder"):
        EEGPT.from_pretrained("nobody/nothing")


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_a_broken_configuration_is_an_error(model, folder, text):
    (folder / "config.json").write_text(text)

    with pytest.raises(ValueError, match="config.json"):
        type(model).from_pretrained(folder)


def test_broken_weights_are_an_error(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"\x10\0\0\0\0\0\0\0{ half a header")

    with pytest.raises(ValueError, match="no complete safetensors file"):
        read_weights(path)


@pytest.mark.parametrize(
    ("model", "size"),
    [("CodeBrain", "res_channels"), ("EEGDINO", "dim_feedforward"), ("EEGPT", "embed_dim")],
)
def test_a_configuration_of_a_giant_is_refused_before_it_is_built(tmp_path, model, size):
    build(next(case for case in DEFAULTS if case.model == model)).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {size: 30_000_000}))

    with pytest.raises(
        ValueError, match=r"describes a model of \d+ GB, its weights hold .* Nothing was built"
    ):
        getattr(eeglab_models, model).from_pretrained(tmp_path)


def test_a_configuration_of_sizes_beyond_all_numbers_is_refused(tmp_path):
    build(next(case for case in DEFAULTS if case.model == "CodeBrain")).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"res_channels": 10**9}))

    with pytest.raises(ValueError, match="describes no model: .*overflow"):
        eeglab_models.CodeBrain.from_pretrained(tmp_path)


def test_arguments_that_do_not_fit_each_other_are_refused_before_anything_is_built(tmp_path):
    build(next(case for case in DEFAULTS if case.model == "CodeBrain")).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"proj_kernel_size": 10**9}))

    with pytest.raises(ValueError, match=r"config\.json"):
        eeglab_models.CodeBrain.from_pretrained(tmp_path)


# Values and kinds of numbers


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda t: t.clone().fill_(float("nan")), "values are no finite numbers"),
        (lambda t: t.clone().index_fill_(0, torch.tensor([0]), -torch.inf), "values are no finite numbers"),
        (lambda t: t.double() + 1e300, "values are no finite numbers"),
        (lambda t: t.to(torch.int8), "expected float32, got int8"),
        (lambda t: t > 0, "expected float32, got bool"),
        (lambda t: t.to(torch.complex64), "expected float32, got complex64"),
    ],
    ids=["nan", "inf", "beyond float32", "int8", "bool", "complex"],
)
@pytest.mark.parametrize("part", ["encoder", "head"])
def test_weights_that_are_no_finite_numbers_are_refused_by_name(model, folder, spoil, problem, part):
    keys = []

    def change(weights):
        keys.append(encoder_key(weights) if part == "encoder" else max(k for k in weights if "final" in k))
        weights[keys[0]] = spoil(weights[keys[0]])

    edit(folder, change)

    for allowed in ({}, {"allow_partial": True}):
        with pytest.raises(ValueError, match=rf"of no use: {keys[0]} \(.*{problem}"):
            type(model).from_pretrained(folder, **allowed)


def test_weights_that_were_altered_after_saving_are_refused(model, folder):
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)

    with pytest.raises(ValueError, match=r"model\.safetensors was altered or damaged"):
        type(model).from_pretrained(folder)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_load(model, folder, dtype):
    key = encoder_key(model.state_dict())
    edit(folder, lambda weights: weights.update({key: weights[key].to(dtype)}))

    torch.testing.assert_close(
        type(model).from_pretrained(folder).state_dict()[key], model.state_dict()[key], rtol=0.01, atol=0.01
    )


@pytest.mark.parametrize("change", [lambda t: t.flip(-1), lambda t: t * 0, lambda t: t + 1])
def test_tensors_that_contradict_the_configuration_are_refused(change, tmp_path):
    for name in ("eegpt", "fir", "iir"):
        if name == "eegpt":
            model = EEGPT(n_outputs=2, n_chans=3, n_times=64, embed_dim=8, depth=1, num_heads=2)
        else:
            model = FBLightConvNet(2, 3, n_times=500, sfreq=250, filter_parameters={"method": name})
        key = sorted(keys_of(model.state_dict(), model.layout.derived_modules))[0]
        model.save_pretrained(tmp_path / name)
        type(model).from_pretrained(tmp_path / name)
        edit(
            tmp_path / name, lambda weights, key=key: weights.update({key: change(weights[key]).contiguous()})
        )
        if torch.equal(load_file(tmp_path / name / "model.safetensors")[key], model.state_dict()[key]):
            continue

        with pytest.raises(ValueError, match=rf"not what the arguments give: {key}"):
            type(model).from_pretrained(tmp_path / name)


# Forms in which others share weights


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "model.net."])
def test_names_with_a_wrapper_before_them_load(model, folder, wrapper):
    weights = load_file(folder / "model.safetensors")
    save_file({wrapper + key: tensor for key, tensor in weights.items()}, folder / "model.safetensors")

    assert fingerprint(type(model).from_pretrained(folder, strict=True)) == fingerprint(model)


def split(folder):
    """Part the weights of a folder into two files and an index, as transformers does with large ones."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = {key: f"model-{i % 2 + 1:05d}-of-00002.safetensors" for i, key in enumerate(sorted(weights))}
    for name in set(names.values()):
        save_file({key: weights[key] for key in weights if names[key] == name}, folder / name)
    index = {"metadata": {"total_size": 1}, "weight_map": names}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return index


def test_weights_in_several_files_load(model, folder):
    split(folder)

    assert fingerprint(type(model).from_pretrained(folder)) == fingerprint(model)


def test_files_of_weights_are_missing_damaged_or_outside_only_with_a_word(model, folder):
    index = split(folder)
    second = folder / "model-00002-of-00002.safetensors"
    content = second.read_bytes()
    first = folder / "model-00001-of-00002.safetensors"

    second.write_bytes(content[:-5])
    with pytest.raises(ValueError, match=r"00002-of-00002\.safetensors is no complete safetensors file"):
        type(model).from_pretrained(folder)
    second.write_bytes(first.read_bytes())
    with pytest.raises(ValueError, match="which another file holds too"):
        type(model).from_pretrained(folder)
    second.unlink()
    with pytest.raises(FileNotFoundError, match="00002-of-00002"):
        type(model).from_pretrained(folder)
    for names in (
        {"a": "../other.safetensors"},
        {"a": "/etc/passwd"},
        {"a": "x.bin"},
        {"a": "x.safetens0rs"},
        {"a": 1},
        [],
        None,
        {},
    ):
        (folder / "model.safetensors.index.json").write_text(json.dumps(index | {"weight_map": names}))
        with pytest.raises(ValueError, match=r"index\.json"):
            type(model).from_pretrained(folder)


def test_a_subfolder_is_read(model, folder):
    model.save_pretrained(folder / "deep" / "er")

    assert fingerprint(type(model).from_pretrained(folder, subfolder="deep/er/")) == fingerprint(model)
    with pytest.raises(ValueError, match="inside the repository"):
        type(model).from_pretrained(folder / "deep", subfolder="..")
    with pytest.raises(ValueError, match="subfolder='deep'"):
        type(model).from_pretrained(folder / "model.safetensors", subfolder="deep")


def test_strict_refuses_what_is_new_and_lenient_takes_what_fits(model, folder):
    type(model).from_pretrained(folder, strict=True)
    with pytest.raises(ValueError, match=r"strict=True needs every tensor .* new: final_layer"):
        type(model).from_pretrained(folder, strict=True, n_outputs=9)

    edit(folder, lambda weights: weights.pop(encoder_key(weights)))
    with pytest.warns(UserWarning, match="do not fit"):
        assert type(model).from_pretrained(folder, strict=False).load_report.new


# Saving over an older model


@pytest.fixture
def older(tmp_path):
    model = EEGPT(n_outputs=2, n_chans=3, n_times=64, embed_dim=8, depth=1, num_heads=2)
    model.save_pretrained(tmp_path)
    (tmp_path / "README.md").write_text("mine")
    return model


@pytest.fixture
def newer():
    return EEGPT(n_outputs=2, n_chans=3, n_times=64, embed_dim=8, depth=1, num_heads=4)


def test_a_save_that_fails_leaves_the_older_model(older, newer, tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise OSError("the disk is full")

    monkeypatch.setattr("eeglab_models.models.download.save_file", fail)
    with pytest.raises(OSError, match="the disk is full"):
        newer.save_pretrained(tmp_path)

    assert fingerprint(EEGPT.from_pretrained(tmp_path)) == fingerprint(older)
    assert EEGPT.from_pretrained(tmp_path).get_config() == older.get_config()
    assert {path.name for path in tmp_path.iterdir()} == {"README.md", "config.json", "model.safetensors"}


@pytest.mark.parametrize("n_renames", range(3))
def test_a_save_that_is_interrupted_leaves_the_older_or_the_newer(
    older, newer, tmp_path, monkeypatch, n_renames
):
    renames = iter(range(n_renames))

    def rename(*paths):
        if next(renames, None) is None:
            raise KeyboardInterrupt
        os.rename(*paths)

    monkeypatch.setattr("os.replace", rename)
    with contextlib.suppress(KeyboardInterrupt):
        newer.save_pretrained(tmp_path)

    expected = newer if n_renames else older
    loaded = EEGPT.from_pretrained(tmp_path)
    assert fingerprint(loaded) == fingerprint(expected)
    assert loaded.get_config() == expected.get_config()


def test_a_save_clears_what_a_killed_one_left(older, newer, tmp_path):
    (tmp_path / ".unfinished-killed" / "model").mkdir(parents=True)

    newer.save_pretrained(tmp_path)

    assert {path.name for path in tmp_path.iterdir()} == {"README.md", "config.json", "model.safetensors"}


def test_weights_are_written_once(older, newer, tmp_path, monkeypatch):
    written = []

    def write(*arguments, **options):
        written.append(arguments)
        save_file(*arguments, **options)

    monkeypatch.setattr("eeglab_models.models.download.save_file", write)
    newer.save_pretrained(tmp_path)

    assert len(written) == 1


def test_a_configuration_that_was_edited_by_hand_counts(older, newer, tmp_path):
    newer.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"drop_prob": 0.25}))

    assert EEGPT.from_pretrained(tmp_path).arguments["drop_prob"] == 0.25


def test_a_save_keeps_what_else_is_in_the_folder(older, newer, tmp_path, monkeypatch):
    (tmp_path / "losses.csv").touch()
    monkeypatch.chdir(tmp_path)

    newer.save_pretrained(".")

    assert fingerprint(EEGPT.from_pretrained(tmp_path)) == fingerprint(newer)
    assert (tmp_path / "README.md").read_text() == "mine"
    assert sorted(os.listdir()) == ["README.md", "config.json", "losses.csv", "model.safetensors"]
