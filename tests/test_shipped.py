"""Recordings that come with the repository, and the eyes in them."""

import shutil

import mne
import numpy as np
import pytest
from moabb.evaluations import CrossSubjectEvaluation
from moabb.paradigms import LeftRightImagery
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import LeaveOneGroupOut
from sklearn.pipeline import make_pipeline

from eeglab_models import load_windows
from eeglab_models.features.baselines import baselines, eye_control, log_power
from eeglab_models.models.channels import TEMPLE_CHANNELS
from eeglab_models.models.checkpoints import VARIABLE
from eeglab_models.scores import score_pipelines
from eeglab_models.signals.eyes import regress_eyes
from eeglab_models.signals.shipped import (
    SUMS,
    RealArithmetic,
    RealEyes,
    RealMotorImagery,
    read_sums,
    recordings_folder,
)
from eeglab_models.signals.simulation import BNCI2014_001_CHANNELS
from eeglab_models.signals.windows import concatenate


def across_people(windows, pipeline):
    """Accuracy on people whom a pipeline has not learned from."""
    subjects = windows.metadata["subject"].to_numpy()
    pipelines = {"own": (pipeline, windows.data)}
    return score_pipelines(pipelines, windows.labels, LeaveOneGroupOut(), groups=subjects)["accuracy"][0]


def load_hands(**options):
    return load_windows("RealMotorImagery", events=["left_hand", "right_hand"], **options)


@pytest.mark.parametrize(
    ("name", "people", "shape"),
    [
        ("RealMotorImagery", 7, (315, 36, 640)),
        ("RealEyes", 2, (60, 36, 640)),
        ("RealArithmetic", 6, (180, 19, 800)),
    ],
)
def test_people_are_loaded_by_name(name, people, shape):
    windows = load_windows(name)

    assert windows.data.shape == shape
    assert windows.metadata["subject"].nunique() == people
    assert set(TEMPLE_CHANNELS) <= set(windows.ch_names)
    assert 3 < np.median(windows.data.std(axis=-1)) < 100
    counts = np.unique(windows.labels, return_counts=True)[1]
    assert len(counts) == 2
    assert counts.min() > 0.9 * counts.max()


def test_imagery_has_the_channels_of_the_competition_and_the_digits_of_the_original():
    path = RealMotorImagery().data_path(1)[0]
    raw = mne.io.read_raw_edf(path, verbose="error")

    assert set(BNCI2014_001_CHANNELS) <= set(raw.ch_names)
    microvolts = raw.get_data() * 1e6
    np.testing.assert_allclose(microvolts, np.round(microvolts), atol=1e-3)


def test_every_file_is_listed_and_belongs_to_a_data_set():
    folder = recordings_folder()
    sets = [RealMotorImagery(), RealEyes(), RealArithmetic()]
    used = {path for own in sets for subject in own.subject_list for path in own.data_path(subject)}

    assert {str(path) for path in folder.glob("*.edf")} == used
    assert len(read_sums(folder)) == len(used)
    assert sum(path.stat().st_size for path in folder.glob("*.edf")) < 40e6


@pytest.mark.parametrize("content", [b"a922\n", b"\xff\xfe", b"a b c\n"])
def test_a_list_of_hashes_that_is_damaged_is_named(tmp_path, content):
    (tmp_path / SUMS).write_bytes(content)

    with pytest.raises(ValueError, match=SUMS):
        read_sums(tmp_path)


def test_a_changed_file_and_a_missing_folder_are_told(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(FileNotFoundError, match=f"A clone of the repository has them.*set {VARIABLE}"):
        load_windows("RealEyes", [1])

    monkeypatch.delenv(VARIABLE)
    (tmp_path / "recordings").mkdir()
    for path in [recordings_folder() / SUMS, *map(str, RealEyes().data_path(1))]:
        shutil.copy(path, tmp_path / "recordings")
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    load_windows("RealEyes", [1])
    path = tmp_path / "recordings/S001R02.edf"
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="S001R02.edf is not the recording that came with the repository"):
        load_windows("RealEyes", [1])


def test_a_person_who_is_not_there_is_told():
    with pytest.raises(ValueError, match="has no subject"):
        load_windows("RealArithmetic", [3])


# moabb writes its results file in a way that h5py has deprecated.
@pytest.mark.filterwarnings("ignore:Creating a dataset without passing data or dtype")
def test_evaluations_of_moabb_run_on_it(tmp_path):
    dataset = RealMotorImagery()
    dataset.subject_list = [1, 2]
    evaluation = CrossSubjectEvaluation(
        LeftRightImagery(), [dataset], overwrite=True, hdf5_path=str(tmp_path), suffix="own"
    )

    results = evaluation.process({"dummy": make_pipeline(DummyClassifier())})

    assert set(results["subject"]) == {"1", "2"}


def test_closed_eyes_raise_alpha_over_the_occiput():
    windows = load_windows("RealEyes", fmin=8, fmax=13)
    power = np.exp(log_power(windows.data[:, [windows.ch_names.index("O1")]]))[:, 0]
    subjects = windows.metadata["subject"].to_numpy()

    for subject in np.unique(subjects):
        own = [power[(subjects == subject) & (windows.labels == label)].mean() for label in RealEyes.labels]
        assert own[1] > 2 * own[0]


def test_the_eyes_tell_left_from_right_until_slow_waves_are_filtered_away():
    slow = load_hands(fmin=0.5)
    fast = load_hands(fmin=4.0)
    control = eye_control(slow.ch_names, slow.sfreq)

    assert across_people(slow, control) > 0.7
    assert 0.42 < across_people(fast, control) < 0.58


def test_windows_after_the_cue_show_less_of_the_eyes():
    through = load_hands(fmin=0.5, tmax=2.0)
    after = load_hands(fmin=0.5, tmin=2.0, tmax=4.0)
    control = eye_control(through.ch_names, through.sfreq)

    assert across_people(after, control) < across_people(through, control) - 0.05


def test_regression_takes_the_eyes_out_of_all_other_channels():
    windows = load_hands(fmin=0.5, tmax=2.0)
    subjects = windows.metadata["subject"].to_numpy()
    clean = concatenate([regress_eyes(windows[subjects == subject]) for subject in np.unique(subjects)])

    assert not {"Fp1", "Fp2", "F7", "F8"} & set(clean.ch_names)
    assert "Regressed on Fp1, Fp2, F7, F8" in clean.report["eyes"]
    rows = [windows.ch_names.index("F7"), windows.ch_names.index("F8")]
    gaze = (windows.data[:, rows[1]] - windows.data[:, rows[0]]).ravel()
    before = np.corrcoef(gaze, windows.data[:, windows.ch_names.index("F4")].ravel())[0, 1]
    after = np.corrcoef(gaze, clean.data[:, clean.ch_names.index("F4")].ravel())[0, 1]
    assert abs(after) < 0.3 * abs(before)
    assert np.may_share_memory(clean.data, clean.wide)


def test_channels_that_are_missing_are_told():
    windows = load_windows("RealEyes", [1], channels=["C3", "C4", "F7"])

    with pytest.raises(ValueError, match="Regression needs Fp1, Fp2, F7, F8"):
        regress_eyes(windows)
    with pytest.raises(ValueError, match="read from F7 and F8"):
        eye_control(windows.ch_names, windows.sfreq)


def test_baselines_read_the_hands_of_a_good_person():
    windows = load_hands(subjects=[7], fmin=4.0, tmin=0.5, tmax=3.5)
    folds = np.tile(np.repeat(np.arange(3), 5), 3)
    pipeline = baselines(windows.sfreq)["tangent space + LR"]
    pipelines = {"own": (pipeline, windows.data)}

    score = score_pipelines(pipelines, windows.labels, LeaveOneGroupOut(), groups=folds)["accuracy"][0]

    assert score > 0.8
