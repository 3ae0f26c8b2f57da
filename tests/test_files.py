"""Files are whole or not there."""

import stat
from pathlib import Path

import pytest

from eeglab_models.configs import read_record
from eeglab_models.files import hash_file, locked, replacing, write_json, write_record, write_text


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    write_text(tmp_path / "a.txt", "old")

    def stop_half_way():
        with replacing(tmp_path / "a.txt") as unfinished:
            unfinished.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_half_way()

    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_text_is_written_beside_what_it_replaces(tmp_path, monkeypatch):
    write_text(tmp_path / "a.txt", "old")

    def stop_half_way(path, text, encoding):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", stop_half_way)
    with pytest.raises(KeyboardInterrupt):
        write_text(tmp_path / "a.txt", "new")

    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_a_folder_takes_the_place_of_another_whole(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").touch()

    with replacing(tmp_path / "model") as unfinished:
        unfinished.mkdir()
        (unfinished / "new").touch()

    assert [path.name for path in tmp_path.rglob("*")] == ["model", "new"]


def test_a_record_is_read_as_it_was_written_or_refused(tmp_path):
    path = tmp_path / "a.json"
    values = {"score": 0.5, "pair": (1, 2.5), "names": {1: "é"}, "none": float("nan")}
    write_record(path, values)
    whole = path.read_text()

    read = read_record(path, {"score": float})
    assert read | {"none": 0} == values | {"pair": [1, 2.5], "names": {"1": "é"}, "none": 0}

    for old, new in (("0.5", "0.6"), ('"score"', '"scare"'), ("NaN", "null"), ("2.5", "2.50001")):
        path.write_text(whole.replace(old, new))
        with pytest.raises(ValueError, match=r"a\.json was altered or damaged"):
            read_record(path, {})


def test_a_file_has_the_rights_that_the_folder_gives(tmp_path):
    (tmp_path / "plain").touch()
    write_json(tmp_path / "a.json", {"b": [1, None]})

    assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == stat.S_IMODE(
        (tmp_path / "plain").stat().st_mode
    )


def test_the_hash_is_sha256(tmp_path):
    write_text(tmp_path / "empty", "")

    assert hash_file(tmp_path / "empty").startswith("e3b0c44298fc1c14")


def test_a_second_writer_is_told_what_is_done(tmp_path):
    with (
        locked(tmp_path, "train"),
        pytest.raises(BlockingIOError, match="to train. Wait"),
        locked(tmp_path, "train"),
    ):
        pass
