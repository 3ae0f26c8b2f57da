"""A corpus on disk: built from recordings of every kind, read back window by window."""

import json
import pickle
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from filelock import FileLock
from torch.utils.data import DataLoader

from eeglab_models import EEGDINO, EEGPT, CodeBrain, FBLightConvNet, prepare
from eeglab_models.pretraining.corpus import building as corpus_building
from eeglab_models.pretraining.corpus.building import RECIPES, Target, build_corpus
from eeglab_models.pretraining.corpus.reading import Corpus
from eeglab_models.signals.sources import find_recordings
from eeglab_models.signals.windows import Windows

CHANNELS = ["Fz", "C3", "Cz", "C4", "Pz"]
SUBJECTS = ["a", "a", "b", "b", "b", "c", "d"]
# Windows of 2 s at 100 Hz are what the model of these tests reads.
SHORT = {"length": 2.0, "skip_start": 1.0, "skip_end": 1.0, "shortest": 0.0, "progress": False}


def noise(*shape):
    return 20 * torch.randn(*shape).numpy()


@pytest.fixture
def windows():
    """Seven windows of four subjects at FBLightConvNet's rate and in its unit, which are stored unchanged."""
    info = mne.create_info(CHANNELS, 250.0, "eeg")
    return Windows(noise(7, 5, 500), info, metadata=pd.DataFrame({"subject": SUBJECTS}))


@pytest.fixture
def folder(windows, tmp_path):
    """A corpus in three files, of two, three and two windows."""
    build(windows, tmp_path / "corpus", shard_size=2 * windows.data[0].nbytes)
    return tmp_path / "corpus"


@pytest.fixture
def corpus(folder):
    return Corpus(folder)


def build(source, folder, model=FBLightConvNet, **changes):
    options = {"ch_names": CHANNELS, "amplitude": None} | SHORT
    return build_corpus(source, folder, model, **options | changes)


def read_all(corpus):
    return corpus.__getitems__(range(len(corpus))).numpy()


def test_windows_come_back_bit_for_bit_in_the_order_that_is_asked_for(corpus, windows):
    read = corpus.__getitems__([5, 0, 5, 3])

    assert read.dtype == torch.float32
    np.testing.assert_array_equal(read.numpy(), windows.data[[5, 0, 5, 3]])
    np.testing.assert_array_equal(corpus[6].numpy(), windows.data[6])


def test_a_corpus_knows_what_its_windows_are(corpus, folder):
    assert (corpus.sfreq, corpus.unit, corpus.ch_names) == (250.0, "µV", CHANNELS)
    assert corpus.stamp.n_times == 500
    assert sorted(path.name for path in folder.glob("*.arrow")) == [f"shard-0000{n}.arrow" for n in range(3)]
    assert repr(corpus) == f"<Corpus in {folder}: 7 windows, 0.00389 h>"


def test_each_window_knows_its_recording(corpus):
    assert corpus.recordings["subject"].tolist() == ["a", "b", "c", "d"]
    assert corpus.recordings["first_window"].tolist() == [0, 2, 5, 6]
    assert corpus.metadata["subject"].tolist() == SUBJECTS


def test_windows_are_handed_out_prepared_for_the_model(corpus, windows):
    chosen = corpus.windows([6, 2])

    np.testing.assert_array_equal(chosen.data, windows.data[[6, 2]])
    assert chosen.stamp == corpus.stamp
    assert chosen.metadata["subject"].tolist() == ["d", "b"]


def test_half_precision_takes_half_the_space(windows, tmp_path):
    report = build(windows, tmp_path, dtype="float16")

    np.testing.assert_allclose(read_all(Corpus(tmp_path)), windows.data, rtol=1e-3, atol=1e-4)
    assert report.size < 0.6 * windows.data.nbytes


def test_amplitudes_beyond_half_precision_are_refused(windows, tmp_path):
    windows.data[2, 0, 0] = 1e5

    with pytest.raises(ValueError, match="too large for half precision"):
        build(windows[2:5], tmp_path, dtype="float16", ceiling=None)


def test_a_split_puts_no_subject_on_both_sides(corpus, windows):
    rest, held_out = corpus.split(["a", "c"])

    np.testing.assert_array_equal(read_all(held_out), windows.data[[0, 1, 5]])
    np.testing.assert_array_equal(read_all(rest), windows.data[[2, 3, 4, 6]])
    assert held_out.recordings["first_window"].tolist() == [0, 2]
    assert rest.metadata["subject"].tolist() == ["b", "b", "b", "d"]


def test_a_share_of_the_subjects_is_drawn_by_the_seed(corpus):
    draws = [corpus.split(0.5, seed=seed)[1].recordings["subject"].tolist() for seed in range(5)]

    assert {len(draw) for draw in draws} == {2}
    assert len(set(map(tuple, draws))) > 1
    assert draws[0] == corpus.split(0.5, seed=0)[1].recordings["subject"].tolist()


@pytest.mark.parametrize("held_out", [["a", "z"], ["a", "b", "c", "d"], 0.01])
def test_a_split_with_strangers_or_with_an_empty_side_is_refused(corpus, held_out):
    with pytest.raises(ValueError, match="Held out can be 1 to 3 of 4 values of 'subject'"):
        corpus.split(held_out)


def test_a_split_by_subjects_that_nobody_knows_is_refused(windows, tmp_path):
    build(Windows(windows.data, windows.info), tmp_path)

    with pytest.raises(ValueError, match="subject of 1 recordings is unknown"):
        Corpus(tmp_path).split()


def test_a_choice_needs_one_truth_value_per_recording(corpus):
    with pytest.raises(ValueError, match="each of 4 recordings, got 7"):
        corpus.choose(corpus.metadata["subject"] == "a")


def test_a_loader_reads_whole_batches(corpus, windows):
    loader = DataLoader(corpus, batch_size=4, collate_fn=torch.Tensor.contiguous)

    batches = list(loader)
    assert [len(batch) for batch in batches] == [4, 3]
    np.testing.assert_array_equal(torch.cat(batches).numpy(), windows.data)


def test_a_corpus_travels_to_other_processes_without_its_windows(corpus, windows):
    rest, _ = corpus.split(["a"])

    packed = pickle.dumps(rest)
    assert len(packed) < windows.data.nbytes / 5
    np.testing.assert_array_equal(read_all(pickle.loads(packed)), windows.data[2:])


def test_reading_fills_no_memory(windows, tmp_path):
    status = Path("/proc/self/status")
    if not status.is_file():
        pytest.skip("This system does not tell how much memory is anonymous.")

    def anonymous():
        return int(status.read_text().split("RssAnon:")[1].split()[0]) * 1024

    build(windows[np.arange(7).repeat(1000)], tmp_path)
    before = anonymous()
    corpus = Corpus(tmp_path)
    total = sum(corpus.__getitems__(range(start, start + 50)).nbytes for start in range(0, len(corpus), 50))

    assert total > 65e6
    assert anonymous() - before < 20e6


def test_a_model_that_reads_other_windows_refuses_the_corpus(folder):
    signal = {"n_outputs": 2, "chs_info": [{"ch_name": name} for name in CHANNELS]}
    assert len(Corpus(folder, FBLightConvNet(sfreq=250.0, n_times=500, **signal))) == 7

    with pytest.raises(ValueError, match="expects sfreq 200.0, got 250.0; unit µV/100, got µV"):
        Corpus(folder, EEGDINO(sfreq=200.0, n_times=400, n_layer=2, **signal))


def test_a_folder_without_a_corpus_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no corpus. Make one there with build_corpus"):
        Corpus(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: {"shards": []},
        lambda manifest: manifest | {"shards": 3},
        lambda manifest: manifest | {"shards": [{"file": 1}]},
        lambda manifest: manifest | {"recordings": manifest["recordings"][1:]},
        lambda manifest: manifest | {"skipped": []},
        lambda manifest: manifest | {"settings": manifest["settings"] | {"dtype": "object"}},
        lambda manifest: manifest | {"settings": manifest["settings"] | {"stamp": []}},
        lambda manifest: manifest | {"settings": manifest["settings"] | {"stamp": {"sfreq": "fast"}}},
        lambda manifest: [],
    ],
)
def test_a_manifest_that_cannot_be_read_is_refused(folder, change):
    path = folder / "corpus.json"
    manifest = json.loads(path.read_text())
    del manifest["digest"]
    path.write_text(json.dumps(change(manifest)))

    with pytest.raises(ValueError, match=r"corpus\.json is no manifest of a corpus"):
        Corpus(folder)


def test_a_manifest_that_was_altered_is_refused(folder):
    path = folder / "corpus.json"
    path.write_text(path.read_text().replace('"subject": "a"', '"subject": "b"', 1))

    with pytest.raises(ValueError, match=r"corpus\.json was altered or damaged"):
        Corpus(folder)


def test_an_altered_file_is_found_by_its_hash(folder):
    path = folder / "shard-00001.arrow"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)

    Corpus(folder, check=False)
    for check in (None, True):
        with pytest.raises(ValueError, match="damaged: shard-00001.arrow was altered: its SHA-256 differs"):
            Corpus(folder, check=check)


def test_files_that_are_missing_or_cut_short_are_found_without_reading(folder):
    (folder / "shard-00000.arrow").unlink()
    path = folder / "shard-00002.arrow"
    path.write_bytes(path.read_bytes()[:-8])

    with pytest.raises(
        ValueError, match=r"shard-00000.arrow is missing; shard-00002.arrow has \d+ bytes ins"
    ):
        Corpus(folder)


def test_every_file_says_what_it_holds(folder):
    table = pa.ipc.open_stream(str(folder / "shard-00001.arrow")).read_all()

    assert table["subject"].to_pylist() == ["b", "b", "b"]
    facts = json.loads(table.schema.metadata[b"eeglab_models"])
    assert (facts["ch_names"], facts["unit"], facts["dtype"]) == (CHANNELS, "µV", "float32")


def raw_of(seconds, names=CHANNELS, sfreq=100.0):
    info = mne.create_info(list(names), sfreq, "eeg")
    return mne.io.RawArray(noise(len(names), round(seconds * sfreq)) * 1e-6, info, verbose="error")


@pytest.fixture
def recordings(tmp_path):
    """Two recordings of 12 s in FIF files, of subjects S1 and S2, each with an event."""
    folder = tmp_path / "recordings"
    (folder / "S2").mkdir(parents=True)
    for name in ("S1_raw.fif", "S2/S2_raw.fif"):
        raw = raw_of(12).set_annotations(mne.Annotations(5.0, 1.0, "left hand"))
        raw.save(folder / name, verbose="error")
    return folder


def test_a_folder_is_prepared_as_prepare_does_it(recordings, tmp_path):
    report = build(recordings, tmp_path, CodeBrain, notch=25.0, subject=r"(S\d)_raw")

    corpus = Corpus(tmp_path)
    assert corpus.recordings["recording"].tolist() == ["S1_raw.fif", "S2/S2_raw.fif"]
    assert corpus.recordings["subject"].tolist() == ["S1", "S2"]
    assert report.n_windows == len(corpus) == 10
    assert "Notch at 25 Hz" in report.preparation["filter"]
    model = CodeBrain(
        n_outputs=2, chs_info=[{"ch_name": n} for n in CHANNELS], n_times=400, sfreq=200, num_res_layers=1
    )
    raw = mne.io.read_raw(recordings / "S2/S2_raw.fif", verbose="error").crop(1, 11 - 1 / 100)
    expected = prepare(raw, model, events=[], notch=25.0)
    np.testing.assert_array_equal(corpus.windows(range(5, 10)).data, expected.data)
    assert corpus.stamp == expected.stamp


@pytest.mark.parametrize("measured", [None, 1.6e9])
def test_windows_start_every_step_and_overlap(tmp_path, measured):
    raw = raw_of(12, sfreq=250.0)
    raw.set_meas_date(measured)
    raw.set_annotations(mne.Annotations([0.5], [0.0], ["T1"]))
    plain = build(raw, tmp_path / "plain")
    report = build(raw, tmp_path / "overlapping", step=0.5)
    behind, overlapping = read_all(Corpus(tmp_path / "plain")), read_all(Corpus(tmp_path / "overlapping"))

    assert (plain.n_windows, report.n_windows) == (5, 17)
    np.testing.assert_array_equal(overlapping[::4], behind)
    np.testing.assert_array_equal(overlapping[1, :, :-125], overlapping[0, :, 125:])
    with pytest.raises(ValueError, match="step must be above 0"):
        build(raw, tmp_path / "none", step=0.0)


def test_windows_that_reach_the_amplitude_are_rejected(tmp_path):
    raw = raw_of(12)
    phases = np.arange(len(raw.ch_names))[:, None]
    raw._data[:] = 50e-6 * np.sin(2 * np.pi * 10 * raw.times + phases)
    raw._data[2, 550:650] *= 4

    report = build(raw, tmp_path, CodeBrain, amplitude=100.0)
    assert (report.n_windows, report.n_rejected) == (4, 1)
    assert read_all(Corpus(tmp_path)).max() < 1.0


def test_windows_with_flat_channels_are_left_out(tmp_path):
    raw = raw_of(12)
    raw._data[1, 600:] = 0

    assert build(raw, tmp_path, EEGPT).n_windows == 2


def test_broken_recordings_are_listed_and_the_others_built(recordings, tmp_path):
    (recordings / "broken_raw.fif").write_bytes(b"no recording")
    raw_of(2).save(recordings / "short_raw.fif", verbose="error")
    raw_of(12, CHANNELS[:4]).save(recordings / "few_raw.fif", verbose="error")
    volts = raw_of(12)
    volts._data *= 1e6
    volts.save(recordings / "volts_raw.fif", verbose="error")

    report = build(recordings, tmp_path, CodeBrain)
    assert report.n_windows == 10
    assert list(report.skipped) == ["broken_raw.fif", "few_raw.fif", "short_raw.fif", "volts_raw.fif"]
    assert "CodeBrain expects channels that the recording does not have: Pz" in report.skipped["few_raw.fif"]
    assert report.skipped["short_raw.fif"] == "The recording lasts 2 s, less than the 4 s asked for."
    assert "microvolts were stored as volts" in report.skipped["volts_raw.fif"]
    printed = str(report)
    assert "10 kept" in printed
    assert all(name in printed for name in report.skipped)
    assert Corpus(tmp_path).report.skipped == report.skipped


def test_a_corpus_without_any_window_is_refused_with_the_first_reason(tmp_path):
    with pytest.raises(ValueError, match="None of 1 recordings gave a window; recording 0: .* lasts 3 s"):
        build(raw_of(3), tmp_path)


def test_building_again_does_nothing_again(recordings, tmp_path):
    first = build(recordings, tmp_path, CodeBrain)
    written = (tmp_path / "shard-00000.arrow").stat().st_mtime_ns
    for path in recordings.rglob("*.fif"):
        path.write_bytes(b"")

    again = build(recordings, tmp_path, CodeBrain)
    assert again.n_windows == first.n_windows
    assert not again.skipped
    assert (tmp_path / "shard-00000.arrow").stat().st_mtime_ns == written


def test_new_and_mended_recordings_are_added(recordings, tmp_path):
    (recordings / "S3_raw.fif").write_bytes(b"no recording")
    assert list(build(recordings, tmp_path, CodeBrain).skipped) == ["S3_raw.fif"]
    raw_of(12).save(recordings / "S3_raw.fif", verbose="error", overwrite=True)

    assert list(build(recordings, tmp_path, CodeBrain, retry=False).skipped) == ["S3_raw.fif"]
    report = build(recordings, tmp_path, CodeBrain)
    assert not report.skipped
    assert Corpus(tmp_path).recordings["recording"].tolist()[-1] == "S3_raw.fif"
    assert len(Corpus(tmp_path)) == 15


def damage(path, how):
    if how == "lost":
        path.unlink()
        return
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content[:-8] if how == "cut short" else content)


@pytest.mark.parametrize(
    ("number", "how"), [(0, "lost"), (1, "cut short"), (2, "lost"), (2, "cut short"), (2, "altered")]
)
def test_building_again_mends_what_was_lost_or_damaged(folder, windows, number, how):
    written = {path.name: path.read_bytes() for path in folder.glob("*.arrow")}
    listed = json.loads((folder / "corpus.json").read_text())
    damage(folder / f"shard-0000{number}.arrow", how)

    build(windows, folder)

    assert {path.name: path.read_bytes() for path in folder.glob("*.arrow")} == written
    assert json.loads((folder / "corpus.json").read_text()) == listed
    np.testing.assert_array_equal(read_all(Corpus(folder, check=True)), windows.data)


def test_windows_that_are_lost_for_good_are_listed_and_the_others_stay(folder, windows):
    damage(folder / "shard-00001.arrow", "lost")

    report = build(windows[[0, 1, 5, 6]], folder)

    assert report.skipped == {
        "windows 0: subject b": "It was in shard-00001.arrow, which was damaged, and source no longer has it."
    }
    np.testing.assert_array_equal(read_all(Corpus(folder, check=True)), windows.data[[0, 1, 5, 6]])


def test_other_settings_need_another_folder(folder, windows):
    with pytest.raises(ValueError, match="built with dtype float32, got float16; amplitude None, got 100.0"):
        build(windows, folder, dtype="float16", amplitude=100.0)


def test_a_build_that_is_stopped_keeps_what_it_prepared(windows, tmp_path, monkeypatch):
    take = corpus_building.take_windows

    def stop_at_c(recording, **options):
        if recording.subject == "c":
            raise KeyboardInterrupt
        return take(recording, **options)

    monkeypatch.setattr(corpus_building, "take_windows", stop_at_c)
    with pytest.raises(KeyboardInterrupt):
        build(windows, tmp_path)
    assert len(Corpus(tmp_path, check=True)) == 5
    monkeypatch.undo()

    build(windows, tmp_path)
    np.testing.assert_array_equal(read_all(Corpus(tmp_path)), windows.data)


def test_a_build_that_is_killed_leaves_only_whole_files(windows, folder):
    # As a kill leaves it: the third file under its own name, the manifest from before, a fourth half written.
    manifest = json.loads((folder / "corpus.json").read_text())
    manifest["shards"].pop()
    manifest["recordings"] = manifest["recordings"][:2]
    del manifest["digest"]
    (folder / "corpus.json").write_text(json.dumps(manifest))
    (folder / ".unfinished-shard-00003.arrow").write_bytes(b"half")
    assert len(Corpus(folder)) == 5

    build(windows, folder)
    assert not list(folder.glob(".unfinished-*"))
    np.testing.assert_array_equal(read_all(Corpus(folder, check=True)), windows.data)


def test_a_file_has_its_name_only_once_it_is_whole(windows, tmp_path, monkeypatch):
    take, found = corpus_building.take_windows, []

    def look(recording, **options):
        found.append({path.name for path in tmp_path.glob("*.arrow")})
        return take(recording, **options)

    monkeypatch.setattr(corpus_building, "take_windows", look)
    build(windows, tmp_path)

    # The first of four recordings opens the file.
    assert found == [set(), *[{".unfinished-shard-00000.arrow"}] * 3]


def test_a_file_that_could_not_be_written_is_not_taken_for_whole(windows, tmp_path, monkeypatch):
    def fill_the_disk(self, data, recording, subject):
        raise OSError("No space left on device")
        yield

    monkeypatch.setattr(corpus_building.ShardWriter, "batches", fill_the_disk)
    with pytest.raises(OSError, match="No space left"):
        build(windows, tmp_path)

    assert not list(tmp_path.glob("shard*"))


def test_two_builds_in_one_folder_are_refused(windows, tmp_path):
    with FileLock(tmp_path / "lock"), pytest.raises(BlockingIOError, match="Another process holds"):
        build(windows, tmp_path)


def test_two_processes_write_the_same_files_as_one(windows, tmp_path):
    stand_in = Target(FBLightConvNet, tuple(CHANNELS), 500, 250.0).expectation()

    build(windows, tmp_path / "one")
    build(windows, tmp_path / "two", stand_in, n_processes=2)

    one, two = (json.loads((tmp_path / name / "corpus.json").read_text()) for name in ("one", "two"))
    assert one == two


def test_a_model_states_length_rate_and_channels(tmp_path):
    signal = {"chs_info": [{"ch_name": name} for name in CHANNELS[1:4]], "sfreq": 100, "n_times": 400}
    model = EEGDINO(n_outputs=2, n_layer=2, **signal)

    build(raw_of(12), tmp_path, model, length=None, ch_names=None)
    assert Corpus(tmp_path, model).windows([0]).data.shape == (1, 3, 400)
    with pytest.raises(ValueError, match="reads 3 channels and 400 samples, got 3 and 300"):
        build(raw_of(12), tmp_path, model, length=3.0, ch_names=None)


def test_a_class_alone_states_the_windows_of_its_contract(tmp_path):
    build(raw_of(33, CodeBrain.contract.ch_names), tmp_path, CodeBrain, length=None, ch_names=None)

    corpus = Corpus(tmp_path)
    assert (tuple(corpus.ch_names), corpus.stamp.n_times) == (CodeBrain.contract.ch_names, 6000)


def test_a_class_without_channels_of_its_own_needs_their_names(windows, tmp_path):
    with pytest.raises(ValueError, match="FBLightConvNet leaves channels open. .* by ch_names="):
        build(windows, tmp_path, ch_names=None)


def test_an_unknown_type_of_numbers_is_refused(windows, tmp_path):
    with pytest.raises(ValueError, match="float32 or float16, got 'int16'"):
        build(windows, tmp_path, dtype="int16")


def test_the_recipes_of_the_papers_build_corpora(tmp_path):
    temple = tmp_path / "aaaaaaab_s001_t000_raw.fif"
    raw_of(300, CodeBrain.contract.ch_names, sfreq=125.0).save(temple, verbose="error")
    eegpt = raw_of(9, EEGPT.contract.ch_names)

    report = build_corpus(tmp_path, tmp_path / "1", CodeBrain, progress=False, **RECIPES["temple"])
    assert report.recordings["subject"].tolist() == ["aaaaaaab"]
    # 300 s without a minute at both ends; every window holds noise beyond 100 microvolts or none does.
    assert report.n_windows + report.n_rejected == 6
    build_corpus(eegpt, tmp_path / "2", EEGPT, progress=False, **RECIPES["eegpt"])
    assert Corpus(tmp_path / "2").windows([0, 1]).data.shape == (2, 58, 1024)


def test_further_parts_of_a_recording_and_other_files_are_not_recordings_of_their_own(tmp_path):
    own = ["a.EDF", "b_raw.fif", "c_split-01_eeg.fif", "d.set", "e-f.fif"]
    for name in [*own, "b_raw-1.fif", "c_split-02_eeg.fif", ".hidden.edf", "notes.txt", "d.fdt"]:
        (tmp_path / name).touch()

    assert [recording.name for recording in find_recordings(tmp_path)] == own


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ([], ValueError, "holds no recording"),
        (["a.edf", "a.edf"], ValueError, "Two recordings have the same name, a.edf"),
        ([1], TypeError, "Recordings are files, folders, .* got int"),
    ],
)
def test_sources_that_are_none_are_refused(source, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.edf").touch()
    with pytest.raises(error, match=message):
        find_recordings(source)


def test_folders_and_files_of_a_list_are_searched_alike(recordings, tmp_path):
    (tmp_path / "more").mkdir()
    single = tmp_path / "more" / "S3_raw.fif"
    raw_of(12).save(single, verbose="error")
    raw_of(12).save(tmp_path / "S4_raw.fif", verbose="error")

    source = [recordings, single.parent, str(tmp_path / "S4_raw.fif"), raw_of(12)]
    report = build(source, tmp_path / "corpus", CodeBrain)

    names = [f"{recordings}/S1_raw.fif", f"{recordings}/S2/S2_raw.fif", str(single), f"{tmp_path}/S4_raw.fif"]
    assert report.recordings["recording"].tolist() == [*names, "recording 3"]
    assert report.n_windows == 5 * 5
    assert not report.skipped


def test_a_folder_of_a_list_that_holds_nothing_is_refused(recordings, tmp_path):
    (tmp_path / "empty").mkdir()

    with pytest.raises(ValueError, match="empty holds no recording"):
        find_recordings([recordings, tmp_path / "empty"])


def test_a_folder_and_a_file_of_it_are_not_read_twice(recordings):
    with pytest.raises(ValueError, match=r"Two recordings have the same name, .*S1_raw\.fif"):
        find_recordings([recordings, recordings / "S1_raw.fif"])


def test_a_name_without_its_subject_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "S1.edf").touch()
    with pytest.raises(ValueError, match="finds no subject in 'S1.edf'"):
        find_recordings(["S1.edf"], r"Subject(\d+)")


def test_a_bids_data_set_tells_subjects_bad_channels_and_mains_frequency(tmp_path):
    import mne_bids

    root = tmp_path / "bids"
    for subject in ("01", "02"):
        raw = raw_of(12, [*CHANNELS, "Oz"])
        raw.info["line_freq"] = 30.0
        raw.info["bads"] = ["Oz"]
        path = mne_bids.BIDSPath(subject=subject, task="rest", run="1", datatype="eeg", root=root)
        mne_bids.write_raw_bids(raw, path, format="BrainVision", allow_preload=True, verbose="error")

    report = build(root, tmp_path / "corpus", CodeBrain)
    assert not report.skipped
    assert Corpus(tmp_path / "corpus").recordings[["subject", "task"]].to_numpy().tolist() == [
        ["01", "rest"],
        ["02", "rest"],
    ]
    assert "Oz (marked bad)" in report.preparation["channels"]
    assert "Notch at 30 Hz" in report.preparation["filter"]
