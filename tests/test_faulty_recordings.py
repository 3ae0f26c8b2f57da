"""Recordings as people have them: what is wrong with them is seen, and wrong numbers reach no model."""

import gc
import re
import tracemalloc
import weakref
from dataclasses import replace

import mne
import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from eeglab_models import EEGDINO, EEGPT, load_windows, prepare
from eeglab_models.finetuning import FineTuner
from eeglab_models.signals import continuous
from eeglab_models.signals.plan import Plan
from eeglab_models.signals.windows import concatenate

NAMES = ["Fp1", "F3", "Fz", "C3", "Cz", "C4", "P3", "Pz"]
PLAIN = {"baseline": None, "preload": True, "verbose": "error"}


def signal(n_chans=8, seconds=60, sfreq=160.0, seed=0):
    """EEG-like noise of 20 µV, in volts."""
    generator = np.random.default_rng(seed)
    white = generator.normal(size=(n_chans, round(seconds * sfreq)))
    spectrum = np.fft.rfft(white) / np.maximum(np.arange(white.shape[1] // 2 + 1), 30) ** 0.5
    data = np.fft.irfft(spectrum, n=white.shape[1])
    return 20e-6 * data / data.std()


def make(names=NAMES, kinds="eeg", data=None, sfreq=160.0, annotations=None, **options):
    data = signal(len(names), sfreq=sfreq, **options) if data is None else data
    raw = mne.io.RawArray(data, mne.create_info(list(names), sfreq, kinds), verbose="error")
    if annotations is None:
        annotations = [(5 * k + 2.0, 4.0, ("left", "right")[k % 2]) for k in range(10)]
    onsets, durations, labels = zip(*annotations, strict=True) if annotations else ((), (), ())
    return raw.set_annotations(mne.Annotations(onsets, durations, labels))


@pytest.fixture
def raw():
    return make()


def dino(*names, seconds=4.0, **options):
    names = names or NAMES
    return EEGDINO(
        n_outputs=2,
        chs_info=[{"ch_name": name} for name in names],
        sfreq=200,
        input_window_seconds=seconds,
        n_layer=1,
        **options,
    )


def eegpt(*names):
    names = names or NAMES
    return EEGPT(
        n_outputs=2,
        chs_info=[{"ch_name": name} for name in names],
        sfreq=256,
        input_window_seconds=4.0,
        patch_stride=64,
        depth=1,
    )


# What is no EEG


OTHERS = ["acc1", "EXG1", "SaO2", "GYROX", "targetPosX", "M1", "HEO", "Plet", "COUNTER"]


@pytest.mark.parametrize("extra", OTHERS)
def test_what_is_no_electrode_enters_neither_the_average_nor_the_features(raw, extra):
    data = np.vstack([raw.get_data(), 500e-6 * np.sin(np.arange(raw.n_times))])
    mixed = make([*NAMES, extra], data=data)

    np.testing.assert_allclose(prepare(mixed, eegpt()).data, prepare(raw, eegpt()).data, atol=1e-7)
    windows = load_windows(mixed)
    assert windows.ch_names == NAMES
    assert extra in windows.report["channels"]


def test_names_that_nobody_knows_are_asked_about(raw):
    unknown = make([f"EEG {number:03d}" for number in range(8)])

    with pytest.raises(ValueError, match=r"8 channels are called EEG.*EEG 000.*channels="):
        load_windows(unknown)
    assert load_windows(unknown, channels=["EEG 000", "EEG 003"]).data.shape[1] == 2
    with pytest.raises(ValueError, match="Did you mean 'EEG 000'"):
        load_windows(unknown, channels=["EEG_000"])


def test_an_average_over_one_electrode_is_refused():
    with pytest.raises(ValueError, match="one electrode leaves nothing"):
        prepare(make(["C3"]), eegpt("C3"))


def test_an_average_over_two_electrodes_is_taken_and_told():
    prepared = prepare(make(["C3", "C4"]), eegpt("C3", "C4"))

    np.testing.assert_allclose(prepared.data[:, 0], -prepared.data[:, 1], atol=1e-7)
    assert "one mirrors the other" in prepared.report["reference"]


@pytest.mark.parametrize(("sign", "word"), [(1, "the same"), (-1, "mirrored")])
def test_channels_that_copy_others_are_refused(raw, sign, word):
    data = raw.get_data()
    data[5] = sign * data[3]

    with pytest.raises(ValueError, match=f"C3 and C4 hold {word}"):
        prepare(make(data=data), dino())


def test_names_of_which_none_matches_are_no_reason_for_zeros():
    stranger = make(["POz", "Oz", "O1", "O2"])

    with pytest.raises(ValueError, match=r"has 0 of the 2 channels of EEGDINO.*perhaps"):
        prepare(stranger, dino("Fp1", "Fp2"), missing="zero")
    assert prepare(stranger, dino("Oz", "O1", "O2", "Pz"), missing="zero").data.shape[1] == 4


# What the raw signal shows


def hurt(raw, channel, start, stop, value):
    data = raw.get_data()
    a, b = (round(edge * raw.info["sfreq"]) for edge in (start, stop))
    data[channel, a:b] = data[channel, a - 1] if value == "stuck" else value
    return make(data=data)


@pytest.mark.parametrize("value", [0.0, "stuck", np.nan, 1.0])
def test_only_windows_that_touch_a_stretch_without_eeg_are_lost_and_others_stay(raw, value):
    stop = 13.006 if value == 1.0 else 14.0
    windows = load_windows(hurt(raw, 3, 13.0, stop, value))

    # Windows begin at 2, 7, 12, ... and last 4 s.
    assert np.argwhere(windows.bad).tolist() == [[2, 3]]
    with pytest.raises(ValueError, match=r"1 of 10 hold channels .*\(C3\)"):
        prepare(windows, dino())
    kept = prepare(windows, dino(), bad_windows="drop")
    clean = prepare(raw, dino())[np.arange(10) != 2]
    np.testing.assert_allclose(kept.data, clean.data, atol=0.05)


def test_a_channel_at_the_limit_of_its_amplifier_is_named_and_its_windows_are_bad(raw):
    data = raw.get_data()
    loud = slice(160 * 13, 160 * 14)
    data[3, loud] = np.clip(5 * np.sin(np.arange(160) / 4), -2, 2) * 100e-6

    windows = load_windows(make(data=data))

    assert np.argwhere(windows.bad).tolist() == [[2, 3]]
    assert "C3 at the limit of its amplifier" in windows.report["raw signal"]


def test_differences_of_electrodes_are_told_from_unknown_names():
    with pytest.raises(ValueError, match="2 channels are differences of two electrodes: Fp1-F3, EEG F3-C3"):
        load_windows(make(["Fp1-F3", "EEG F3-C3"]))


def test_offsets_are_removed_by_the_high_pass_or_refused(raw):
    shifted = make(data=raw.get_data() + 12e-3 * np.arange(1, 9)[:, None])

    np.testing.assert_allclose(prepare(shifted, eegpt()).data, prepare(raw, eegpt()).data, atol=2e-4)
    assert "Offsets of up to" in load_windows(shifted).report["filter"]
    with pytest.raises(ValueError, match="offsets of up to .* fmin=0.3"):
        prepare(shifted, eegpt(), fmin=None)


def test_single_samples_beyond_the_ceiling_are_bad_and_the_ceiling_is_the_users(raw):
    windows = load_windows(raw)
    windows.data[3, 0, 100] = 1e5

    with pytest.raises(ValueError, match="1 of 10 hold channels that are flat, beyond 5000"):
        prepare(windows, dino())
    assert len(prepare(windows, dino(), ceiling=None)) == 10


# One plan


def test_a_plan_prints_what_will_be_done_before_anything_is_read():
    lines = str(Plan(fmin=1.0, notch=50.0, events="left", tmax=2.0)).splitlines()

    assert [line.split()[0] for line in lines] == ["channels", "raw", "filter", "notch", "cut"]
    assert "1 to 75 Hz" in lines[2]
    assert "left, from 0 s to 2 s" in lines[4]
    assert "else none; notch=50 or notch=60" in str(Plan())


def test_every_way_in_gives_the_same_windows(raw, tmp_path):
    raw.save(tmp_path / "rec_raw.fif", fmt="double", verbose="error")
    model = eegpt()
    expected = prepare(raw, model)

    ways = {
        "windows": prepare(load_windows(raw), model),
        "file": prepare(tmp_path / "rec_raw.fif", model),
        "text": prepare(str(tmp_path / "rec_raw.fif"), model),
        "folder": prepare(tmp_path, model),
        "list": prepare([raw], model),
        "dictionary": prepare({"1": {"0": {"0": raw}}}, model),
    }
    for way, prepared in ways.items():
        np.testing.assert_allclose(prepared.data, expected.data, atol=1e-8, err_msg=way)
        assert prepared.stamp == expected.stamp
    assert expected.stamp.band == (0.3, 75.0)


def test_windows_of_epochs_are_those_of_the_filtered_recording(raw):
    filtered = raw.copy().filter(0.3, 75.0, verbose="error")
    events, event_id = mne.events_from_annotations(filtered, verbose="error")
    epochs = mne.Epochs(filtered, events, event_id, 0, 4.0, baseline=None, verbose="error")

    windows = load_windows(epochs)

    np.testing.assert_allclose(windows.data, load_windows(raw).data, atol=1e-4)
    assert windows.band == (0.3, 75.0)


@pytest.mark.parametrize("asked", [{"fmin": 8.0}, {"fmax": 30.0}, {"notch": 50.0}])
def test_a_filter_that_cannot_be_applied_is_refused(raw, asked):
    events, event_id = mne.events_from_annotations(raw, verbose="error")
    epochs = mne.Epochs(raw, events, event_id, 0, 4.0, baseline=None, preload=True, verbose="error")

    for source, more in ((epochs, {}), (epochs.get_data(), {"info": epochs.info, "unit": "V"})):
        with pytest.raises(ValueError, match=f"{next(iter(asked))} cannot be applied to what is cut already"):
            load_windows(source, **asked, **more)


def test_what_mne_says_is_in_the_report():
    short = make(seconds=6, annotations=[(1.0, 4.0, "left")])

    assert "longer than the signal" in load_windows(short).report["mne"]


def test_a_resampled_window_is_the_resampled_recording(raw):
    band_limited = raw.copy().filter(1.0, 60.0, verbose="error")
    whole = mne.filter.resample(band_limited.get_data() * 1e6, up=256, down=160, verbose="error")
    events = [round((5 * k + 2.0) * 256) for k in range(10)]
    expected = np.stack([whole[:, start : start + 1024] for start in events])

    prepared = prepare(load_windows(band_limited, fmin=None, fmax=None), eegpt())

    expected = expected - expected.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(prepared.data * 1000, expected, atol=0.2)


# Events


def test_annotations_that_are_no_events_make_no_class(raw):
    onsets = [0.0, 10.0, 20.0, 30.0]
    for name in ("New Segment/", "boundary", "EDGE boundary", "Comment/actiCAP"):
        annotated = make(annotations=[(5 * k + 2.0, 4.0, "left") for k in range(10)])
        annotated.annotations.append(onsets, [0.1] * 4, [name] * 4)

        windows = load_windows(annotated)

        assert set(windows.labels) == {"left"}
        assert windows.data.shape[2] == 640
        assert name in windows.report["annotations"]
    assert set(load_windows(annotated, annotations={name: "event"}, tmax=1.0).labels) == {"left", name}


def test_no_window_lies_across_a_break():
    joined = mne.concatenate_raws([make(seconds=10, annotations=[]), make(seconds=10, annotations=[])])

    windows = load_windows(joined, events=[], tmax=4.0)

    assert len(windows) == 4
    assert "1 left out" in windows.report["windows"]


@pytest.mark.parametrize("measured", [None, 1.6e9])
def test_events_stay_where_they_are_if_a_recording_is_cropped(raw, measured):
    cropped = raw.copy().set_meas_date(measured).crop(4.0)

    windows = load_windows(cropped, fmin=None, fmax=None)

    np.testing.assert_array_equal(windows.labels, load_windows(raw).labels[1:])
    np.testing.assert_array_equal(windows.data, load_windows(raw, fmin=None, fmax=None).data[1:])


def test_a_much_shorter_annotation_is_named_and_is_not_the_measure():
    windows = load_windows(make(annotations=[(2.0, 4.0, "a"), (8.0, 4.0, "b"), (14.0, 0.1, "a")]))

    assert windows.data.shape == (2, 8, 640)
    assert "1 left out: much shorter than the others (0.1 s)" in windows.report["windows"]


@pytest.mark.filterwarnings("ignore:Limited")
@pytest.mark.parametrize(("onset", "n"), [(56.0, 11), (56.5, 10), (57.5, 10)])
def test_an_event_that_the_end_cuts_off_is_named_and_is_not_the_measure(onset, n):
    events = [(5 * k + 2.0, 4.0, "a") for k in range(10)]

    windows = load_windows(make(annotations=[*events, (onset, 4.0, "a")]))

    assert windows.data.shape == (n, 8, 640)
    assert (n == 11) != ("cut off by an end of the recording" in windows.report["windows"])


def test_what_is_asked_for_by_its_name_is_an_event():
    commented = make(annotations=[(5 * k + 2.0, 4.0, "Comment/left") for k in range(10)])

    assert set(load_windows(commented, events={"left": "Comment/left"}).labels) == {"left"}
    with pytest.raises(ValueError, match="no event left; it has none. Not taken for events.*Comment/left"):
        load_windows(commented, events="left")


def test_two_events_at_one_sample_are_named():
    twice = make(annotations=[(2.0, 4.0, "trial"), (2.0, 4.0, "left"), (8.0, 4.0, "left")])

    with pytest.raises(ValueError, match=r"same sample, (trial|left) and (trial|left) at 2 s. .* events="):
        load_windows(twice)
    assert len(load_windows(twice, events="left")) == 2


def test_a_run_that_lacks_an_event_is_no_error_if_another_has_it(raw):
    rest = make(annotations=[(2.0, 4.0, "rest")])

    assert len(load_windows({1: {"0": {"0": raw, "1": rest}}}, events=["left"])) == 5
    with pytest.raises(ValueError, match="no event feet"):
        load_windows({1: {"0": {"0": raw, "1": rest}}}, events=["left", "feet"])


# Ordinary use


def test_a_recording_shorter_than_a_window_is_named(raw):
    with pytest.raises(ValueError, match="lasts 60 s, a window 90 s"):
        load_windows(raw, events=[], tmax=90.0)


def test_orders_of_channels_may_differ_and_sets_of_channels_may_not(raw):
    other = raw.copy().reorder_channels(NAMES[::-1])

    windows = load_windows([raw, other])
    np.testing.assert_array_equal(windows.data[:10], windows.data[10:])
    with pytest.raises(ValueError, match="the same rate in Hz, got 160.0 in the first, 128.0"):
        load_windows([raw, make(sfreq=128.0)])
    assert len(prepare([raw, make(sfreq=128.0)], dino())) == 20


def test_a_table_labels_files_and_events(raw, tmp_path):
    for name in ("a", "b"):
        raw.save(tmp_path / f"{name}_raw.fif", verbose="error")
    pd.DataFrame({"file": ["a_raw.fif", "b_raw"], "label": ["open", "closed"], "age": [20, 30]}).to_csv(
        tmp_path / "labels.tsv", sep="\t"
    )
    events = pd.DataFrame({"file": "a_raw", "onset": [3.0, 9.0], "label": [1.5, 2.5], "subject": "x"})

    windows = load_windows(tmp_path, table=tmp_path / "labels.tsv", tmax=5.0)
    timed = load_windows(tmp_path, table=events, tmax=5.0)

    assert pd.Series(windows.labels).value_counts().to_dict() == {"open": 12, "closed": 12}
    assert windows.metadata["age"].tolist() == [20] * 12 + [30] * 12
    assert timed.labels.tolist() == [1.5, 2.5]
    assert timed.metadata["subject"].tolist() == ["x", "x"]
    with pytest.raises(ValueError, match="'c_raw', which is none of the recordings. Did you mean"):
        load_windows(tmp_path, table=events.assign(file="c_raw"), tmax=5.0)


def test_subjects_of_a_folder_are_chosen_in_any_form(raw):
    people = {1: raw, 2: raw, 3: raw}

    assert set(load_windows(people, 2).metadata["subject"]) == {2}
    assert set(load_windows(people, range(1, 3)).metadata["subject"]) == {1, 2}
    assert set(load_windows(people, np.array([3])).metadata["subject"]) == {3}
    with pytest.raises(ValueError, match="no subject .*7.*; it has 1 to 3"):
        load_windows(people, [7])


def test_a_file_that_is_not_there_or_no_recording_is_named(tmp_path):
    (tmp_path / "rec.edf").write_bytes(b"no EDF")
    with pytest.raises(FileNotFoundError, match="Did you mean .*rec.edf"):
        load_windows(tmp_path / "rcc.edf")
    with pytest.raises(ValueError, match="rec.edf cannot be read"):
        load_windows(str(tmp_path / "rec.edf"))


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        (np.eye(3), "one-hot"),
        ([1.0, np.nan, 2.0], "1 windows have no label, the first is 1"),
        ([None, "a", "b"], "no label, the first is 0"),
        (["a"], "one label, got 1 for 3"),
    ],
)
def test_labels_that_cannot_be_used_are_named(labels, problem):
    data, info = np.random.default_rng(0).normal(size=(3, 8, 640)), mne.create_info(NAMES, 160.0, "eeg")

    with pytest.raises(ValueError, match=problem):
        load_windows((data, labels, None), info=info, unit="µV")


def test_labels_of_honest_kinds_stay_what_they_are():
    data, info = np.random.default_rng(0).normal(size=(3, 8, 640)), mne.create_info(NAMES, 160.0, "eeg")

    for labels in (["a", "b", "a"], [3, 7, 3], [True, False, True], [0.5, 1.5, 2.5]):
        loaded = load_windows((data, np.array(labels)[:, None], None), info=info, unit="µV")
        assert loaded.labels.tolist() == labels
    loaded = load_windows((data, pd.Categorical(["x", "y", "x"]), None), info=info, unit="µV")
    assert loaded.labels.tolist() == ["x", "y", "x"]


def test_windows_have_three_axes_however_they_are_chosen_and_fit_scikit_learn(raw):
    windows = load_windows(raw)

    assert windows[0].data.shape == (1, 8, 640)
    assert windows[-1].labels.tolist() == ["right"]
    assert len(list(windows)) == 10
    train, test = train_test_split(windows, test_size=3, random_state=0)
    assert (len(train), len(test)) == (7, 3)


def test_windows_are_epochs_for_mne(raw):
    windows = load_windows({1: raw})

    epochs = windows.epochs

    assert epochs.event_id == {"left": 1, "right": 2}
    assert epochs.metadata["subject"].tolist() == [1] * 10
    np.testing.assert_allclose(epochs["left"].get_data() * 1e6, windows.data[::2], rtol=1e-6)
    with pytest.raises(ValueError, match="microvolts, got µV/100"):
        _ = prepare(windows, dino()).epochs


def test_epochs_are_prepared_and_volts_refused_where_a_model_learns(raw):
    events, event_id = mne.events_from_annotations(raw, verbose="error")
    epochs = mne.Epochs(raw, events, event_id, 0, 4.0, baseline=None, preload=True, verbose="error")
    targets = epochs.events[:, 2]
    tuner = FineTuner(dino(), regime="head", max_epochs=1, validation=None, progress=False)

    tuner.fit(epochs, targets)

    expected = tuner.predict_proba(prepare(epochs, dino()))
    np.testing.assert_allclose(tuner.predict_proba(epochs), expected, atol=1e-6)
    with pytest.raises(ValueError, match="if that was their unit"):
        tuner.predict(np.resize(epochs.get_data(), (10, 8, 800)))


def test_what_differs_is_not_joined(raw):
    windows = load_windows(raw)

    with pytest.raises(ValueError, match="the same unit"):
        concatenate([windows, prepare(windows, dino())])
    with pytest.raises(ValueError, match="the same band in Hz"):
        concatenate([windows, load_windows(raw, fmin=8.0)])
    with pytest.raises(ValueError, match="the same metadata"):
        concatenate([windows, load_windows({1: raw})])
    joined = concatenate([windows, load_windows(raw, channels=NAMES)])
    assert joined.report["channels"] == "8 of EEG."
    assert len(joined.report.steps) == len(windows.report.steps)


# What makes `prepare` or `load_windows` refuse, and the word that it says.
REFUSED = {
    "mirror": "mirrored|the same",
    "copy": "mirrored|the same",
    "scale": "EEG varies",
    "name": "called EEG",
}
HOLES = ("flat", "stuck", "nan", "pop")
SILENT = ("offset", "other", "order", "trigger", "hum", "late", "short")


def damage(data, events, defects):
    """Do to a recording what happens to recordings."""
    kinds = {kind for kind, *_ in defects}
    if "hum" in kinds:
        data += 10e-6 * np.arange(8)[:, None] * np.sin(2 * np.pi * 50 * np.arange(data.shape[1]) / 160)
    for kind, channel, start in defects:
        a = round(start * 160)
        if kind == "flat":
            data[channel, a : a + 320] = 0.0
        if kind == "stuck":
            data[channel, a : a + 320] = data[channel, a]
        if kind == "nan":
            data[channel, a : a + 160] = np.nan
        if kind == "pop":
            data[channel, a] = 1.0
        if kind == "offset":
            data[channel] += 8e-3
        if kind in ("mirror", "copy"):
            data[channel - 3] = data[channel] * (1 if kind == "copy" else -1)
        if kind == "short":
            events[channel] = (*events[channel][:1], 0.1, *events[channel][2:])
    data *= 400.0 if "scale" in kinds else 1.0
    if "late" in kinds:
        events.append((57.0, 3.0, "late"))
    names = ["EEG 007", *NAMES[1:]] if "name" in kinds else NAMES
    if "other" in kinds:
        data, names = np.vstack([data, 1e-3 * np.sin(np.arange(data.shape[1]))]), [*names, "acc1"]
    raw = make(names, data=data, annotations=events)
    raw = with_triggers([1, 2, 3], raw) if "trigger" in kinds else raw
    return raw.reorder_channels(raw.ch_names[::-1]) if "order" in kinds else raw


KINDS = st.sampled_from([*HOLES, *SILENT, *HOLES, *SILENT, *REFUSED])


@settings(max_examples=30, phases=(Phase.explicit, Phase.generate))
@given(st.lists(st.tuples(KINDS, st.integers(0, 7), st.floats(1.0, 50.0)), max_size=5))
def test_no_window_reaches_a_model_that_differs_from_the_clean_one_by_more_than_is_told(defects):
    kinds, model = {kind for kind, *_ in defects}, eegpt()
    events = [(5 * number + 2.0, 4.0, f"event {number}") for number in range(10)]
    expected = prepare(make(data=signal(), annotations=events), model).data * 1000
    raw = damage(signal(), events, defects)
    if kinds & set(REFUSED):
        with pytest.raises(ValueError, match="|".join(REFUSED[kind] for kind in kinds & set(REFUSED))):
            prepare(load_windows(raw), model, bad_windows="drop")
        return

    windows = load_windows(raw)
    if windows.bad.any(axis=1).all():
        with pytest.raises(ValueError, match="none would be left"):
            prepare(windows, model, bad_windows="drop")
        return
    prepared = prepare(windows, model, bad_windows="drop")

    assert set(prepared.labels) == set(windows.labels[~windows.bad.any(axis=1)])
    assert "late" not in prepared.labels
    # Nobody states the frequency of the hum.
    admitted = 50.0 if "hum" in kinds and "No notch" in prepared.report["filter"] else 0.0
    for window, label in zip(prepared.data * 1000, prepared.labels, strict=True):
        number = int(label.split()[1])
        begin = 5 * number + 2.0
        # The report tells of slow waves within the reach of the high-pass around a stretch without EEG.
        near = any(kind in HOLES and begin - 8 < start < begin + 10 for kind, _, start in defects)
        assert np.abs(window - expected[number]).max() < admitted + (20.0 if near else 2.0)
        assert not near or "bridged by lines" in prepared.report["raw signal"]


# Triggers


def with_triggers(codes, raw=None, name="STI 014", base=0):
    raw = make(annotations=[]) if raw is None else raw
    line = np.full(raw.n_times, base, float)
    for number, code in enumerate(codes):
        start = round((5 * number + 2.0) * 160)
        line[start : start + 16] = base + code
    info = mne.create_info([name], 160.0, "stim")
    return raw.add_channels([mne.io.RawArray(line[None], info, verbose="error")], force_update_info=True)


def test_events_of_a_trigger_channel_are_those_of_annotations(raw):
    triggered = with_triggers([769, 770] * 5)

    windows = load_windows(triggered, tmax=4.0)
    named = load_windows(triggered, tmax=4.0, events={"left": 769, "right": "770"})

    np.testing.assert_array_equal(windows.data, load_windows(raw).data)
    assert list(windows.labels[:2]) == ["769", "770"]
    assert "STI 014: 769 (5), 770 (5)" in windows.report["annotations"]
    np.testing.assert_array_equal(named.labels, load_windows(raw).labels)
    assert set(load_windows(triggered, tmax=4.0, events=769).labels) == {"769"}
    assert set(load_windows(triggered, tmax=4.0, events=[]).labels) == {"window"}
    with pytest.raises(ValueError, match="has no event 771; it has 769, 770"):
        load_windows(triggered, tmax=4.0, events=[771])


def test_triggers_are_read_below_the_status_bits_and_where_a_crop_begins(raw):
    cropped = with_triggers([1, 2] * 5, base=0x10000).crop(4.0)

    windows = load_windows(cropped, tmax=4.0, fmin=None, fmax=None)

    assert list(windows.labels[:2]) == ["2", "1"]
    np.testing.assert_array_equal(windows.data, load_windows(raw, fmin=None, fmax=None).data[1:])


def test_annotations_come_before_triggers_and_two_trigger_channels_are_asked_about(raw):
    assert set(load_windows(with_triggers([1] * 10, raw)).labels) == {"left", "right"}
    with pytest.raises(ValueError, match="2 trigger channels hold events, STI 014, STI 015"):
        load_windows(with_triggers([1, 2], with_triggers([1, 2]), "STI 015"), tmax=4.0)


def test_events_of_annotations_and_epochs_are_named_by_a_mapping(raw):
    epochs = load_windows(raw).epochs

    for source in (raw, epochs):
        assert set(load_windows(source, events={"feet": "left"}).labels) == {"feet"}


# Files that a transfer broke


@pytest.mark.parametrize("way", ["line ends", "utf-8"])
def test_files_that_a_transfer_as_text_altered_are_named(raw, tmp_path, way):
    raw.set_annotations(None).export(tmp_path / "good.edf", verbose="error")
    content = (tmp_path / "good.edf").read_bytes()
    broken = content.replace(b"\n", b"\r\n") if way == "line ends" else content.decode("latin1").encode()
    (tmp_path / "broken.edf").write_bytes(broken)

    assert len(load_windows(tmp_path / "good.edf", tmax=4.0)) == 15
    with pytest.raises(ValueError, match="transfer as text"):
        load_windows(tmp_path / "broken.edf", tmax=4.0)


@pytest.mark.parametrize(("factor", "problem"), [(1e6, "divide the recording by 1e6"), (1e-6, "volts were")])
def test_volts_and_microvolts_mixed_up_are_told(raw, factor, problem):
    with pytest.raises(ValueError, match=problem):
        prepare(make(data=raw.get_data() * factor), dino(), bad_windows="drop")


def test_copies_and_mirrors_are_refused_where_channels_are_passed_as_they_are(raw):
    data = raw.get_data()
    data[5] = -data[3]
    model = EEGDINO(n_outputs=2, n_chans=8, sfreq=200, input_window_seconds=4.0, n_layer=1)

    assert prepare(raw, model).data.shape[1] == 8
    for source in (make(data=data), load_windows(make(data=data)), load_windows(make(data=data)).epochs):
        with pytest.raises(ValueError, match="C3 and C4 hold mirrored"):
            prepare(source, model)
    # An average over all channels would hide the mirror.
    with pytest.raises(ValueError, match="C3 and C4 hold mirrored"):
        prepare(make(data=data), eegpt())


def test_a_file_of_annotations_only_is_named(tmp_path):
    edfio = pytest.importorskip("edfio")
    edfio.Edf([], annotations=[edfio.EdfAnnotation(1.0, 2.0, "left")]).write(tmp_path / "only.edf")

    with pytest.raises(ValueError, match="no EEG channel; it has none at all, only annotations"):
        load_windows(tmp_path / "only.edf")


def test_a_model_that_knows_channels_by_position_without_names_takes_any(raw, monkeypatch):
    contract = replace(EEGDINO.contract, channels_known_by="position", ch_names=None)
    monkeypatch.setattr(EEGDINO, "contract", contract)

    assert "8 of 8 picked by name" in prepare(raw, dino()).report["channels"]


def test_a_ceiling_that_is_not_there_is_not_told(raw):
    windows = load_windows(raw)
    windows.data[0, 0] = 0.0

    with pytest.raises(ValueError, match=r"channels that are flat or no number \(Fp1\)"):
        prepare(windows, dino(), ceiling=None)


def test_recordings_of_several_rates_are_prepared_one_by_one_and_not_joined_before(raw):
    slow = make(sfreq=128.0)

    assert len(prepare([raw, slow], dino())) == 20
    with pytest.raises(ValueError, match="rate in Hz"):
        load_windows([raw, slow])


def cut_short(path, share=0.6):
    content = path.read_bytes()
    path.write_bytes(content[: round(len(content) * share) // 2 * 2 + 1])


@pytest.mark.parametrize("end", ["edf", "bdf", "vhdr"])
def test_files_that_were_cut_short_are_told_with_their_lengths(raw, tmp_path, end):
    raw.export(tmp_path / f"rec.{end}", verbose="error")
    cut_short(tmp_path / ("rec.eeg" if end == "vhdr" else f"rec.{end}"))

    windows = load_windows(tmp_path / f"rec.{end}", events=[], tmax=4.0)

    assert len(windows) < 10
    assert " bytes where " in windows.report["mne"]
    assert "cut short" in windows.report["mne"]


@pytest.mark.parametrize("end", ["edf", "bdf"])
def test_files_with_gaps_are_named_before_events_are_misplaced(raw, tmp_path, end):
    raw.export(tmp_path / f"rec.{end}", verbose="error")

    def late(found):
        time = int(found[1])
        return (b"+%d\x14\x14" % (time + 9 * (time >= 30))).ljust(len(found[0]), b"\0")

    content = (tmp_path / f"rec.{end}").read_bytes().replace(b"DF+C", b"DF+D", 1)
    (tmp_path / f"whole.{end}").write_bytes(content)
    (tmp_path / f"gap.{end}").write_bytes(re.sub(rb"\+(\d+)\x14\x14\x00*", late, content))

    assert len(load_windows(tmp_path / f"whole.{end}")) == 10
    with pytest.raises(ValueError, match="has 1 gaps, the first after 30 s"):
        load_windows(tmp_path / f"gap.{end}")


@pytest.mark.parametrize("name", ["rec_raw.fif", "rec-epo.fif"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.97])
def test_files_of_mne_that_were_cut_short_are_named(raw, tmp_path, name, share):
    (raw if "raw" in name else load_windows(raw).epochs).save(tmp_path / name, verbose="error")
    cut_short(tmp_path / name, share)

    with pytest.raises(ValueError, match=f"{name} cannot be read.*Check that the file is whole"):
        load_windows(tmp_path / name)


# The result


@pytest.mark.parametrize("factor", [1e-3, 250.0, 1000.0])
def test_a_channel_of_another_scale_is_named_and_handled_as_asked(raw, factor):
    data = raw.get_data()
    data[3] *= factor
    strange = make(data=data)

    with pytest.raises(ValueError, match=r"C3 vary over 100 times more or less than the others"):
        prepare(strange, dino())
    filled = prepare(strange, dino(), bad_windows="interpolate")
    assert 0.05 < filled.data[:, 3].std() < 0.4


@pytest.mark.parametrize("factor", [400.0, 1e-3])
def test_a_scale_that_is_no_eegs_is_told_by_every_way_in_and_refused_by_the_last(raw, factor):
    scaled = make(data=raw.get_data() * factor)
    epochs = mne.EpochsArray(
        scaled.get_data().reshape(8, 15, 640).swapaxes(0, 1), scaled.info, verbose="error"
    )
    ways = {
        "raw": load_windows(scaled),
        "epochs": load_windows(epochs),
        "array": load_windows(epochs.get_data(), info=epochs.info, unit="V"),
        "average": load_windows(epochs.average()),
    }
    for way, windows in ways.items():
        assert "EEG varies by" in windows.report["amplitude"], way
        with pytest.raises(ValueError, match="EEG varies by"):
            prepare(windows, dino())


def test_windows_that_are_cut_already_are_judged_like_recordings(raw):
    data = load_windows(raw).data.copy()
    data[3, 2] = 7.0
    data[5, 1, 10] = 2e4
    data[6, 0, 20] = np.nan

    windows = load_windows(data, info=raw.info, unit="µV")

    assert np.argwhere(windows.bad).tolist() == [[3, 2], [5, 1], [6, 0]]
    assert "3 of 10 touch stretches without EEG (Fp1, F3, Fz)" in windows.report["bad windows"]


def test_channels_far_from_all_electrodes_are_not_filled():
    back = make(["Oz", "O1", "O2", "POz", "PO3"])

    with pytest.raises(ValueError, match="Fp1 lie too far from the electrodes"):
        prepare(back, dino("Oz", "O1", "O2", "Fp1"), missing="interpolate")


def test_mirrors_are_found_after_the_rounding_of_a_file(raw, tmp_path):
    data = raw.get_data()
    data[5] = -data[3]
    make(data=data).export(tmp_path / "rec.edf", physical_range=(-8192, 8191), verbose="error")

    with pytest.raises(ValueError, match="C3 and C4 hold mirrored"):
        prepare(tmp_path / "rec.edf", dino(), events=[])


def test_channels_of_another_type_are_in_microvolts_by_every_way_in(raw):
    mixed = raw.copy().set_channel_types({"Pz": "eog"})
    epochs = mne.Epochs(mixed, *mne.events_from_annotations(mixed, verbose="error"), 0, 4.0, **PLAIN)

    for source in (mixed, epochs):
        windows = load_windows(source, channels=["C3", "Pz"], **({} if source is epochs else {"fmin": None}))
        assert 10 < windows.data[:, 1].std() < 40


# Memory


def peak_of(call):
    """Bytes beyond those that are there already."""
    call()  # libraries are imported when they are used first
    gc.collect()
    tracemalloc.start()
    call()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("seconds", [1.0, 4.0])
def test_preparation_takes_at_most_two_and_a_half_recordings_of_memory(seconds):
    raw, model = make(seconds=400, sfreq=256.0, annotations=[]), dino(seconds=seconds)

    assert peak_of(lambda: load_windows(raw, tmax=seconds)) < 2.5 * raw._data.nbytes
    assert peak_of(lambda: prepare(raw, model)) < 2.5 * raw._data.nbytes


def test_of_a_folder_one_recording_is_in_memory_at_a_time(raw, tmp_path, monkeypatch):
    for number in range(6):
        raw.save(tmp_path / f"{number}_raw.fif", verbose="error")
    alive, most, take = weakref.WeakSet(), [], continuous.take

    def counting(raw, *arguments):
        gc.collect()
        taken = take(raw, *arguments)
        alive.add(taken)
        most.append(len(alive))
        return taken

    monkeypatch.setattr(continuous, "take", counting)

    assert len(prepare(tmp_path, dino())) == 60
    assert most == [1] * 6
