"""Files that are damaged or meant to harm: refused by name, nothing run, nothing written."""

import hashlib
import json
import os
import pickle
import resource
import struct
import sys
from pathlib import Path

import pytest
import torch
from references.cases import CASES
from references.compare import build

from eeglab_models import EEGDINO
from eeglab_models.configs import LARGEST
from eeglab_models.models.download import fetch, read_config, read_weights

DEFAULTS = [case for case in CASES if case.name == "default"]
CLASS_ARGUMENTS = {"CodeBrain": "activation", "EEGPT": "final_layer"}


@pytest.fixture(params=DEFAULTS, ids=lambda case: case.model)
def model(request):
    return build(request.param)


@pytest.fixture
def folder(model, tmp_path):
    model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def change_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    "name", ["os.system", "builtins.eval", "trap.Trap", "torch.nn.modules.linear.Linear"]
)
def test_a_configuration_that_names_a_class_imports_and_runs_nothing(
    model, folder, tmp_path, monkeypatch, name
):
    marker = tmp_path / "executed"
    (tmp_path / "trap.py").write_text(
        f"open({str(marker)!r}, 'w')\ndef Trap(*a, **k): open({str(marker)!r}, 'w')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(os, "system", lambda *arguments: marker.touch())
    change_config(folder, **{CLASS_ARGUMENTS.get(type(model).__name__, "activation"): name})

    with pytest.raises(ValueError, match="names a class that .* does not know"):
        type(model).from_pretrained(folder)
    assert "trap" not in sys.modules
    assert not marker.exists()


@pytest.mark.parametrize("argument", ["__class__", "_target_", "auto_map"])
def test_a_configuration_with_arguments_of_its_own_is_refused(model, folder, argument):
    change_config(folder, **{argument: "os.system"})

    with pytest.raises(ValueError, match=f"has no argument {argument}"):
        type(model).from_pretrained(folder)


def test_a_pickle_under_the_name_of_weights_is_not_opened(folder, model, tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    (folder / "model.safetensors").write_bytes(pickle.dumps({"a": Trap()}))

    with pytest.raises(ValueError, match="no complete safetensors file"):
        type(model).from_pretrained(folder)
    assert not (tmp_path / "executed").exists()


@pytest.fixture
def little_memory():
    """Let the process grow by no more than a gigabyte."""
    if not sys.platform.startswith("linux"):
        pytest.skip("the memory of a process is limited on Linux only")
    n_pages = int(Path("/proc/self/statm").read_text().split()[0])
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (n_pages * resource.getpagesize() + 2**30, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


@pytest.mark.usefixtures("little_memory")
def test_the_limit_of_memory_holds():
    with pytest.raises(RuntimeError, match="memory"):
        torch.empty(2_500_000_000)


def tensor(shape, start, stop, dtype="F32"):
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}}


OVERLAPPING = tensor([1], 0, 4) | {"b": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}


@pytest.mark.parametrize(
    ("header", "length"),
    [
        pytest.param(tensor([2_500_000_000], 0, 10_000_000_000), None, id="10-GB-tensor"),
        pytest.param(tensor([2_500_000_000], 0, 8), None, id="10-GB-shape"),
        pytest.param(tensor([2**40, 2**40], 0, 8), None, id="shape-overflows"),
        pytest.param(tensor([2], 0, 8), 10**6, id="header-longer-than-the-file"),
        pytest.param(tensor([2], 0, 8), 2**62, id="header-of-exabytes"),
        pytest.param(tensor([2], -8, 0), None, id="negative-offset"),
        pytest.param(tensor([-2], 0, 8), None, id="negative-shape"),
        pytest.param(tensor([2], 8, 0), None, id="offsets-reversed"),
        pytest.param(tensor([1], 4, 8), None, id="a-hole"),
        pytest.param(tensor([1], 0, 4), None, id="bytes-of-no-tensor"),
        pytest.param(tensor([2], 0, 8, "X9"), None, id="unknown-type"),
        pytest.param(OVERLAPPING, None, id="overlapping"),
        pytest.param([1], None, id="header-is-a-list"),
    ],
)
@pytest.mark.usefixtures("little_memory")
def test_a_wrong_header_is_refused_by_name_and_allocates_nothing(tmp_path, header, length):
    header = json.dumps(header).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", length or len(header)) + header + bytes(8))

    with pytest.raises(ValueError, match=r"model\.safetensors is no complete safetensors file"):
        read_weights(path)


@pytest.mark.parametrize("content", [b"", b"text", bytes(100)])
def test_a_file_that_is_none_is_refused_by_name(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)

    with pytest.raises(ValueError, match=r"model\.safetensors is no complete safetensors file"):
        read_weights(tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    "filename", ["../model.safetensors", "/etc/model.safetensors", "a\\b.safetensors", "C:/model.safetensors"]
)
def test_file_names_that_lead_out_of_a_folder_are_refused(tmp_path, filename):
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "inside").mkdir()

    with pytest.raises(ValueError, match="filename must be a name inside the repository"):
        fetch(str(tmp_path / "inside"), filename, {})


def test_links_are_followed_because_the_cache_of_the_hub_is_made_of_them(tmp_path):
    model = build(DEFAULTS[0])
    model.save_pretrained(tmp_path / "elsewhere")
    (tmp_path / "links").mkdir()
    for file in ("config.json", "model.safetensors"):
        (tmp_path / "links" / file).symlink_to(tmp_path / "elsewhere" / file)

    loaded = type(model).from_pretrained(tmp_path / "links")

    assert loaded.get_config() == model.get_config()


@pytest.mark.parametrize("kind", ["sha256", "git", "sha1"])
def test_the_content_of_a_cached_file_must_have_the_hash_that_names_it(tmp_path, kind):
    content = b'{"n_chans": 2}'
    names = {
        "sha256": hashlib.sha256(content),
        "git": hashlib.sha1(b"blob %d\0" % len(content) + content),
        "sha1": hashlib.sha1(content),  # as mirrors state it
    }
    name = names[kind].hexdigest()
    blob = tmp_path / "blobs" / name
    snapshot = tmp_path / "snapshots" / "commit"
    for folder in (blob.parent, snapshot):
        folder.mkdir(parents=True)
    blob.write_bytes(content)
    (snapshot / "config.json").symlink_to(f"../../blobs/{name}")
    assert fetch(str(snapshot), "config.json", {}) == snapshot / "config.json"

    blob.write_bytes(content.replace(b"2", b"3"))

    with pytest.raises(ValueError, match=rf"config\.json was altered or damaged.* Delete {blob}"):
        fetch(str(snapshot), "config.json", {})


@pytest.mark.parametrize("token", ["", "hf_secret\n", "hf secret", "hf_sécret"])
def test_a_token_that_no_request_can_carry_is_refused_and_not_shown(token):
    with pytest.raises(ValueError, match="token must be one word") as caught:
        fetch("lab/model", "config.json", {"token": token})

    assert "cret" not in str(caught.value)


def test_a_configuration_has_a_largest_size(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"a": "' + LARGEST * "x" + '"}')

    with pytest.raises(ValueError, match=f"{LARGEST + 9} bytes, more than the {LARGEST} "):
        read_config(path)


def test_a_configuration_in_another_encoding_is_refused_by_name(tmp_path):
    (tmp_path / "config.json").write_bytes(b"\xff\xfe")

    with pytest.raises(ValueError, match=r"config\.json is not text in UTF-8"):
        read_config(tmp_path / "config.json")


@pytest.mark.parametrize(
    "content",
    [b"{", b'{"a": 1} {"b": 2}', 100_000 * b"[", b'{"a": ' + 5000 * b"9" + b"}"],
    ids=["half", "two", "deep", "long-number"],
)
def test_a_broken_configuration_is_refused_by_name(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_bytes(content)

    with pytest.raises(ValueError, match=r"config\.json is not JSON"):
        read_config(path)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_an_argument_must_be_finite(tmp_path, number):
    path = tmp_path / "config.json"
    path.write_text(f'{{"drop_prob": {number}}}')

    with pytest.raises(ValueError, match="must give finite numbers, got drop_prob="):
        read_config(path)


def test_unknown_positions_of_channels_may_be_written_as_nan(tmp_path):
    channels = [{"ch_name": name, "loc": [float("nan")] * 12} for name in ("C3", "C4")]
    model = EEGDINO(n_outputs=2, chs_info=channels, n_times=200, n_layer=1)
    model.save_pretrained(tmp_path)

    loaded = EEGDINO.from_pretrained(tmp_path)

    assert all(torch.tensor(channel["loc"]).isnan().all() for channel in loaded.chs_info)
