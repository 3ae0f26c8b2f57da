"""Recordings become a table of features, whatever interrupts it."""

import mne
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from eeglab_models import FBLightConvNet, load_windows, prepare
from eeglab_models.__main__ import app
from eeglab_models.features import embed, extract_features, tabulating

SIGNAL = {"n_outputs": 2, "n_times": 200, "sfreq": 100.0, "n_filters_spat": 8, "heads": 2, "win_len": 100}
LOADING = {"events": [], "tmax": 2.0, "fmax": 40.0, "progress": False, "device": "cpu"}


def write(folder, name, seconds=8, channels=("C3", "Cz", "C4"), seed=0):
    info = mne.create_info(list(channels), 100.0, "eeg")
    data = np.random.default_rng(seed).normal(0, 2e-5, (len(channels), 100 * seconds))
    mne.io.RawArray(data, info, verbose="error").save(folder / f"{name}_raw.fif", verbose="error")


@pytest.fixture
def model():
    names = [{"ch_name": name} for name in ("C3", "Cz", "C4")]
    return FBLightConvNet(chs_info=names, n_bands=2, **SIGNAL)


@pytest.fixture
def folder(tmp_path):
    home = tmp_path / "recordings"
    home.mkdir()
    for number in range(3):
        write(home, f"p{number}", seed=number)
    return home


def test_a_row_is_a_window_with_its_features_time_and_origin(folder, model, tmp_path):
    labels = pd.DataFrame(
        {
            "file": [f"p{number}_raw.fif" for number in range(3)],
            "subject": ["a", "b", "b"],
            "label": [1, 2, 3],
        }
    )

    found = embed(folder, model, tmp_path / "x.parquet", table=labels, **LOADING)

    rows = pd.read_parquet(found.path)
    assert (found.n_windows, found.n_recordings, found.n_before, found.skipped) == (12, 3, 0, {})
    assert rows["onset"].tolist() == [0.0, 2.0, 4.0, 6.0] * 3
    assert rows["subject"].tolist() == ["a"] * 4 + ["b"] * 8
    assert rows["label"].tolist() == ["1"] * 4 + ["2"] * 4 + ["3"] * 4
    windows = prepare(load_windows(folder / "p1_raw.fif", events=[], tmax=2.0, fmax=40.0), model)
    own = rows[rows["recording"] == "p1_raw.fif"]
    assert np.stack(own["features"]) == pytest.approx(extract_features(model, windows), rel=1e-5, abs=1e-6)
    assert rows["weights"].nunique() == 1
    assert rows["data"].nunique() == 3
    assert "filter" in rows["report"][0]
    assert not (tmp_path / "x.parquet.parts").exists()


def test_arrays_hold_the_same_rows(folder, model, tmp_path):
    embed(folder, model, tmp_path / "x.parquet", **LOADING)
    embed(folder, model, tmp_path / "x.npz", **LOADING)

    rows, arrays = pd.read_parquet(tmp_path / "x.parquet"), np.load(tmp_path / "x.npz")

    assert np.array_equal(arrays["features"], np.stack(rows["features"]))
    assert arrays["recording"].tolist() == rows["recording"].tolist()
    assert arrays["onset"].tolist() == rows["onset"].tolist()


def test_an_interrupted_table_goes_on_after_its_last_recording(folder, model, tmp_path, monkeypatch):
    original, n_calls = tabulating.extract_features, []

    def dies(*arguments, **options):
        if len(n_calls) == 2:
            raise KeyboardInterrupt
        n_calls.append(1)
        return original(*arguments, **options)

    monkeypatch.setattr(tabulating, "extract_features", dies)
    with pytest.raises(KeyboardInterrupt):
        embed(folder, model, tmp_path / "x.parquet", **LOADING)
    assert not (tmp_path / "x.parquet").exists()
    monkeypatch.setattr(tabulating, "extract_features", original)

    again = embed(folder, model, tmp_path / "x.parquet", **LOADING)
    whole = embed(folder, model, tmp_path / "y.parquet", **LOADING)

    assert (again.n_before, whole.n_before) == (2, 0)
    pd.testing.assert_frame_equal(pd.read_parquet(again.path), pd.read_parquet(whole.path))


def test_other_settings_or_files_take_no_rows_of_earlier_ones(folder, model, tmp_path, monkeypatch):
    monkeypatch.setattr(tabulating, "join", lambda parts, path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        embed(folder, model, tmp_path / "x.parquet", **LOADING)
    monkeypatch.undo()
    (folder / "p0_raw.fif").unlink()
    write(folder, "p0", seed=9)

    found = embed(folder, model, tmp_path / "x.parquet", **LOADING)

    assert found.n_before == 2


def test_recordings_that_do_not_fit_are_left_out_and_named(folder, model, tmp_path):
    write(folder, "short", seconds=1)
    write(folder, "strange", channels=("O1", "O2"))
    (folder / "torn_raw.fif").write_bytes(b"no recording")

    found = embed(folder, model, tmp_path / "x.parquet", **LOADING)

    assert found.n_recordings == 3
    assert sorted(found.skipped) == ["short_raw.fif", "strange_raw.fif", "torn_raw.fif"]
    assert "a window 2 s" in found.skipped["short_raw.fif"]


def test_the_command_writes_a_table_of_a_named_model(folder, tmp_path):
    out = tmp_path / "x.parquet"
    given = ["--model", "FBLightConvNet", "--out", str(out), "--tmax", "2", "--device", "cpu"]

    answer = CliRunner().invoke(app, ["embed", str(folder), *given], env={"COLUMNS": "200"})

    assert answer.exit_code == 0, answer.output
    assert f"12 windows of 3 recordings: {out}" in answer.output
    assert len(pd.read_parquet(out)) == 12


def test_windows_are_as_long_as_those_of_the_model_or_of_its_weights(model):
    assert tabulating.window_of("EEGDINO", "eegdino-real") == 4.0
    assert tabulating.window_of("EEGDINO", "") == 30.0
    assert tabulating.window_of(model, "") == 2.0


@pytest.mark.parametrize(
    ("model", "out", "message"),
    [
        ("EEGTP", "x.parquet", "There is no model 'EEGTP'. Did you mean 'EEGPT'"),
        ("EEGPT", "x.csv", "ends in .parquet or .npz, got x.csv"),
    ],
)
def test_what_cannot_be_written_is_refused_first(folder, tmp_path, model, out, message):
    with pytest.raises(ValueError, match=message):
        embed(folder, model, tmp_path / out)
