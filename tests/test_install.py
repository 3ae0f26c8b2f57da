"""A laptop is set up from a kit, without a network, or told in a sentence what is in the way."""

import json
import os
import shutil
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from small_wheels import OWN, make_index, make_repository, make_wheel, use_index

from eeglab_models.workshop import install, kit


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """Fill a kit for a tiny project."""
    place = tmp_path_factory.mktemp("filled")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(kit, "ROOT", make_repository(place / "clone"))
        use_index(monkeypatch, make_index(place / "index"))
        items = kit.prefetch(place / "kit", workshop=True)
    assert [item.problem for item in items] == ["", "", ""]
    return place / "kit"


@pytest.fixture
def folder(filled, tmp_path):
    """A copy of the kit, to be damaged."""
    return Path(shutil.copytree(filled, tmp_path / "a kit"))


@pytest.fixture(scope="module")
def internet():
    """What is asked of other computers: all of it comes through a proxy that refuses it."""
    asked = []

    class Proxy(BaseHTTPRequestHandler):
        def do_CONNECT(self):
            asked.append(self.path)
            self.send_error(502)

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server, pytest.MonkeyPatch.context() as monkeypatch:
        Thread(target=server.serve_forever).start()
        for name in ("HTTPS_PROXY", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{server.server_port}")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        yield asked
        server.shutdown()


def start(folder, target, cwd):
    """Start install.py as a participant does, on a computer whose pip is set up for something else."""
    environment = os.environ | {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_NO_DEPS": "1"}
    command = [sys.executable, folder / "install.py", *target]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def laptop(filled, internet, tmp_path_factory):
    """Set a laptop up twice, with a change of the participant's in between."""
    cwd = tmp_path_factory.mktemp("laptop")
    first = start(filled, [], cwd)
    target = cwd / "eeglab_models"
    (target / "notes.txt").write_text("mine")
    (target / "run").write_text("changed")
    return {"kit": filled, "target": target, "first": first, "second": start(filled, [], cwd)}


def test_the_doctor_runs_in_the_new_environment_and_its_code_is_returned(laptop):
    first, folder = laptop["first"], laptop["kit"]

    assert f"['doctor'] 1.0 1.0 {folder / 'mne_data'} 1\n" in first.stdout, first.stderr
    assert first.returncode == 7


def test_packages_come_from_the_kit_alone(laptop, internet):
    assert internet == []


def test_the_repository_is_unpacked_as_it_was_committed(laptop):
    target = laptop["target"]

    assert (target / "constraints.txt").read_text().startswith("# Pins")
    assert os.access(target / "run", os.X_OK)
    assert not (target / ".git").exists()


def test_make_has_nothing_left_to_do(laptop):
    makefile = ".venv/.ready: pyproject.toml constraints.txt\n\tfalse\n"
    make = ["make", "--file=-", ".venv/.ready"]

    done = subprocess.run(make, input=makefile, cwd=laptop["target"], capture_output=True, text=True)

    assert done.returncode == 0, done.stdout


def test_the_end_says_what_to_type(laptop):
    folder, target = laptop["kit"], laptop["target"]

    last = laptop["first"].stdout.splitlines()[-3:]

    assert last == [f"  source {folder}/activate.sh", f"  cd {target}", "  make lab"]


def test_a_second_call_keeps_what_a_participant_wrote(laptop):
    assert laptop["second"].returncode == 7, laptop["second"].stderr
    assert "is there already and stays as it is" in laptop["second"].stdout
    assert (laptop["target"] / "notes.txt").read_text() == "mine"
    assert (laptop["target"] / "run").read_text() == "changed"


@pytest.mark.parametrize("file", ["wheels/small-1.0-py3-none-any.whl", "eeglab_models.zip", "install.py"])
def test_a_damaged_kit_is_refused_before_anything_is_written(folder, tmp_path, file):
    with (folder / file).open("ab") as opened:
        opened.write(b"\n")

    done = start(folder, ["course"], tmp_path)

    assert done.returncode == 1
    assert f": {file} was altered: expected " in done.stderr
    assert "Copy the kit again" in done.stderr
    assert not (tmp_path / "course").exists()


def test_a_wheel_that_nobody_verified_is_refused(folder, tmp_path):
    make_wheel(folder / "wheels", "small", "1.9")
    (folder / "wheels" / "._small-1.9-py3-none-any.whl").touch()

    with pytest.raises(ValueError, match=r"small-1\.9-py3-none-any\.whl is not in the manifest\.") as caught:
        install.install(folder, tmp_path / "course")
    assert "/._small" not in str(caught.value)


def test_a_repository_that_nobody_verified_is_refused(folder, tmp_path):
    items = [item for item in kit.read_manifest(folder) if item.name != "repository"]
    kit.write_manifest(folder, items)
    with (folder / "eeglab_models.zip").open("ab") as opened:
        opened.write(b"?")

    done = start(folder, ["course"], tmp_path)

    assert (done.returncode, "eeglab_models.zip is not in the manifest." in done.stderr) == (1, True)
    assert not (tmp_path / "course").exists()


def test_modules_beside_the_installer_are_not_run(folder, tmp_path):
    for name in ("json", "argparse"):
        (folder / f"{name}.py").write_text("raise SystemExit('ran')")

    done = start(folder, ["course"], tmp_path)

    assert "ran" not in done.stderr.split()
    assert "json.py is not in the manifest." in done.stderr


def test_a_manifest_that_leads_out_of_the_kit_is_refused(folder, tmp_path):
    manifest = {"items": [{"name": "repository", "files": {"../precious": {"size": 0, "sha256": ""}}}]}
    (folder / "manifest.json").write_text(json.dumps(manifest))

    done = start(folder, ["course"], tmp_path)

    assert (done.returncode, "names files outside its folder" in done.stderr) == (1, True)


def test_a_kit_without_the_repository_says_how_to_add_it(folder, tmp_path):
    kit.write_manifest(folder, [])
    for path in install.unlisted(folder, []):
        path.unlink()

    with pytest.raises(FileNotFoundError, match="holds no eeglab_models.zip. Fill it: .* --workshop"):
        install.install(folder, tmp_path / "course")


def test_a_folder_with_something_else_is_left_alone(folder, tmp_path):
    (tmp_path / "course").mkdir()
    (tmp_path / "course" / "thesis.txt").write_text("mine")

    with pytest.raises(FileExistsError, match="holds something else. Name a new folder."):
        install.install(folder, tmp_path / "course")
    assert [path.name for path in (tmp_path / "course").iterdir()] == ["thesis.txt"]


def test_another_version_is_not_mixed_with_this_one(folder, tmp_path):
    (tmp_path / "course").mkdir()
    (tmp_path / "course" / "pyproject.toml").write_text("other")

    with pytest.raises(FileExistsError, match="holds another version. Name a new folder."):
        install.install(folder, tmp_path / "course")


@pytest.mark.parametrize(
    ("tags", "fit"),
    [
        ([], True),
        ([f"{OWN}-{OWN}-manylinux_2_17_x86_64.manylinux2014_x86_64"], True),
        ([f"{OWN}-{OWN}-win_amd64", f"{OWN}-{OWN}-manylinux_2_28_x86_64"], True),
        (["cp39-abi3-win_amd64"], True),
        (["cp39-cp39-manylinux_2_17_x86_64"], False),
        ([f"{OWN}-{OWN}-win_amd64"], False),
        ([f"{OWN}-{OWN}-manylinux_2_17_aarch64"], False),
    ],
)
def test_wheels_for_other_computers_are_noticed_before_pip_is(tmp_path, monkeypatch, tags, fit):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(install.platform, "machine", lambda: "x86_64")
    for tag in ["py3-none-any", *tags]:
        make_wheel(tmp_path / "wheels", "core", tag=tag)

    if fit:
        install.refuse_other_computers(tmp_path)
    else:
        with pytest.raises(ValueError, match="are for .*; this is .* on linux x86_64"):
            install.refuse_other_computers(tmp_path)


def test_an_installation_that_fails_is_not_ready(folder, tmp_path):
    (folder / "wheels" / "small-1.0-py3-none-any.whl").unlink()
    items = [item for item in kit.read_manifest(folder) if not item.name.startswith("wheels")]
    kit.write_manifest(folder, items)
    for wheel in install.unlisted(folder, items):
        wheel.unlink()

    done = start(folder, ["course"], tmp_path)

    assert done.returncode == 1
    assert "pip could not install the wheels" in done.stderr
    assert not (tmp_path / "course" / ".venv" / ".ready").exists()


def test_steps_for_windows_are_those_of_its_terminal(monkeypatch):
    monkeypatch.setattr(install, "os", type("Windows", (), {"name": "nt"}))

    steps = install.explain_start(Path("kit"), Path("a course")).splitlines()[1:]

    assert steps == [
        '  call "kit\\activate.bat"',
        '  cd /d "a course"',
        "  .venv\\Scripts\\jupyter lab notebooks",
    ]


def test_a_kit_of_the_first_version_is_still_read(tmp_path):
    item = {"name": "PhysionetMI:1", "commit": "", "files": {}, "problem": ""}
    (tmp_path / "manifest.json").write_text(json.dumps({"items": [item]}))

    assert install.check(tmp_path) == []


def test_an_older_python_is_told_so(tmp_path):
    source = Path(install.__file__).read_text().replace("sys.version_info < (3, 11)", "True")
    (tmp_path / "install.py").write_text(source)

    done = start(tmp_path, [], tmp_path)

    assert done.returncode == 1
    assert done.stderr.startswith("Python 3.11 or newer is needed, this is ")
