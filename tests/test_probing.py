"""Probes of frozen models, in scikit-learn's and in moabb's evaluations."""

import pickle
from dataclasses import replace

import mne
import numpy as np
import pytest
import torch
from moabb.evaluations import CrossSessionEvaluation, CrossSubjectEvaluation, WithinSessionEvaluation
from moabb.paradigms import LeftRightImagery
from scipy.linalg import eigvalsh
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, LeaveOneGroupOut, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from eeglab_models import EEGDINO, load_windows, prepare
from eeglab_models.features import (
    FeatureExtractor,
    align,
    baselines,
    extract_features,
    linear_probe,
    probe_layers,
)
from eeglab_models.scores import chance_level, score_pipelines, summarise
from eeglab_models.signals.simulation import SimulatedMotorImagery
from eeglab_models.signals.windows import Windows

CHANNELS = ["C3", "Cz", "C4", "CP3", "CP4"]
FULL = {"precision": "float32", "device": "cpu"}
IGNORED = [
    # moabb sets montages by a name that mne is about to retire; the positions are the same.
    "ignore:.*standard_1005.*",
    # moabb makes the file of its results in a way that its library is about to change.
    "ignore:Creating a dataset without passing data.*",
]


def build(**options):
    signal = {
        "n_outputs": 2,
        "chs_info": [{"ch_name": name} for name in CHANNELS],
        "n_times": 800,
        "sfreq": 200.0,
    }
    return EEGDINO(**signal, n_layer=2, nhead=2, dim_feedforward=8, **options).eval()


@pytest.fixture(scope="module")
def dataset():
    return SimulatedMotorImagery(
        n_subjects=2, n_runs=1, n_trials_per_run=12, classes=["left_hand", "right_hand"], ch_names=CHANNELS
    )


@pytest.fixture(scope="module")
def recording(dataset):
    """Windows of two subjects with two sessions, 48 trials."""
    return load_windows(dataset)


@pytest.fixture
def counted():
    """A model, and the number of windows of each of its forward passes."""
    model, batches = build(), []
    model.patch_embedding.register_forward_hook(lambda module, inputs, output: batches.append(len(inputs[0])))
    return model, batches


@pytest.fixture
def noise():
    """Windows without anything to find."""
    rng = np.random.default_rng(0)
    data = rng.normal(0, 20, (40, 5, 800)).astype(np.float32)
    return Windows(data, mne.create_info(CHANNELS, 200.0, "eeg"), labels=np.array(["left", "right"] * 20))


def test_arrays_epochs_and_windows_give_the_same_features(recording):
    model = build()
    extractor = FeatureExtractor(model, info=recording.info, **FULL)
    epochs = mne.EpochsArray(recording.data.astype(float) * 1e-6, recording.info, verbose="error")
    # Arrays know nothing of the signal around their windows.
    bare = replace(recording, wide=None)
    expected = extract_features(model, prepare(bare, model), **FULL)

    for X in (recording.data.astype(float), epochs, bare, prepare(bare, model)):
        np.testing.assert_allclose(extractor.transform(X), expected, atol=1e-4)
    own = extract_features(model, prepare(recording, model), **FULL)
    np.testing.assert_allclose(extractor.transform(recording), own, atol=1e-4)


def test_other_units_are_converted(recording):
    model = build()
    in_volts = FeatureExtractor(model, info=recording.info, unit="V", **FULL)

    rows = in_volts.transform(recording.data.astype(float) * 1e-6)

    expected = extract_features(model, prepare(replace(recording, wide=None), model), **FULL)
    np.testing.assert_allclose(rows, expected, atol=1e-4)


def test_an_array_needs_channels(recording):
    with pytest.raises(ValueError, match="An array needs its channels and its unit"):
        FeatureExtractor(build()).transform(recording.data)


def test_windows_are_described_once(recording, counted):
    model, batches = counted
    extractor = FeatureExtractor(model, **FULL)
    windows = prepare(recording, model)

    first = extractor.transform(windows[:30])
    both = clone(extractor).transform(windows)

    assert batches == [30, 18]
    np.testing.assert_array_equal(both[:30], first)
    np.testing.assert_allclose(both, extract_features(model, windows, **FULL), atol=1e-5)


def test_a_changed_model_is_not_remembered(recording, counted):
    model, batches = counted
    extractor = FeatureExtractor(model, **FULL)
    before = extractor.transform(recording)
    with torch.no_grad():
        model.encoder_layers[1].mlp.fc2.weight.add_(1)

    after = extractor.transform(recording)

    assert batches == [48, 48]
    assert not np.allclose(before, after)


def test_memory_can_be_switched_off(recording, counted):
    model, batches = counted
    extractor = FeatureExtractor(model, remember=False, **FULL)

    for _ in range(2):
        extractor.transform(recording)

    assert batches == [48, 48]


def test_features_on_disk_outlive_the_extractor(recording, counted, tmp_path):
    model, batches = counted

    for _ in range(2):
        FeatureExtractor(model, cache=tmp_path, **FULL).transform(recording)

    assert batches == [48]


def test_clones_share_the_model():
    extractor = FeatureExtractor(build(), layer=1)

    copy = clone(extractor)

    assert copy is not extractor
    assert copy.model is extractor.model
    assert copy.get_params() == extractor.get_params()


def test_a_worker_process_gets_the_model_without_what_is_remembered(recording):
    extractor = FeatureExtractor(build(), **FULL)
    expected = extractor.transform(recording)

    copy = pickle.loads(pickle.dumps(extractor))

    assert copy.rows == {}
    np.testing.assert_allclose(copy.transform(recording), expected, atol=1e-6)


def test_the_text_under_which_moabb_files_results_changes_with_the_weights():
    model = build()
    before = repr(FeatureExtractor(model))
    with torch.no_grad():
        model.encoder_layers[0].mlp.fc1.weight[0, 0] += 1e-6

    assert repr(FeatureExtractor(model)) != before
    assert repr(FeatureExtractor(model, layer=0)) != repr(FeatureExtractor(model))


def test_windows_that_would_be_left_out_are_refused(recording):
    broken = replace(recording, data=recording.data.copy())
    broken.data[3, 1] = 0
    extractor = FeatureExtractor(build(), preparation={"bad_windows": "drop"})

    with pytest.raises(ValueError, match="got 48 windows of which 47 are good"):
        extractor.transform(broken)


def test_a_grid_search_chooses_layer_and_pooling(recording, counted):
    model, batches = counted
    pipeline = make_pipeline(FeatureExtractor(model, info=recording.info, **FULL), linear_probe())
    grid = {"featureextractor__layer": [0, "encoder"], "featureextractor__pool": ["time", "mean"]}

    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(recording.data, recording.labels)

    assert search.best_params_.keys() == grid.keys()
    assert sum(batches) == 4 * 48  # every setting sees every window once


@pytest.mark.filterwarnings(*IGNORED)
@pytest.mark.parametrize("return_epochs", [False, True], ids=["arrays", "epochs"])
@pytest.mark.parametrize(
    "Evaluation", [WithinSessionEvaluation, CrossSessionEvaluation, CrossSubjectEvaluation]
)
def test_probes_run_in_the_evaluations_of_moabb(dataset, recording, tmp_path, Evaluation, return_epochs):
    model = build()
    extractor = FeatureExtractor(model, info=recording.info, **FULL)
    if return_epochs:
        extractor.set_params(align_by=("subject", "session"))
    pipelines = {"probe": make_pipeline(extractor, StandardScaler(), LogisticRegression())}
    evaluation = Evaluation(
        paradigm=LeftRightImagery(fmin=0.3, fmax=75),
        datasets=[dataset],
        hdf5_path=str(tmp_path),
        return_epochs=return_epochs,
    )

    results = evaluation.process(pipelines)

    assert set(results["subject"].astype(int)) == {1, 2}
    assert len(results) == 4  # subjects times sessions
    assert results["score"].between(0, 1).all()


@pytest.mark.filterwarnings(*IGNORED)
def test_moabb_does_not_take_one_models_results_for_anothers(dataset, recording, tmp_path, counted):
    model, batches = counted

    def evaluate():
        pipelines = {
            "probe": make_pipeline(FeatureExtractor(model, info=recording.info, **FULL), linear_probe())
        }
        CrossSessionEvaluation(
            paradigm=LeftRightImagery(fmin=0.3, fmax=75), datasets=[dataset], hdf5_path=str(tmp_path)
        ).process(pipelines)
        return sum(batches)

    first, again = evaluate(), evaluate()
    with torch.no_grad():
        model.encoder_layers[0].mlp.fc1.weight.mul_(2)
    changed = evaluate()

    assert (first, again, changed) == (48, 48, 96)


def test_after_alignment_every_group_is_white(recording):
    aligned = align(recording)

    for _, rows in recording.metadata.groupby(["subject", "session"]).indices.items():
        data = aligned.data[rows].astype(float)
        covariance = np.einsum("nct,ndt->cd", data, data) / data[:, 0].size
        np.testing.assert_allclose(covariance, 900 * np.eye(5), atol=90)
    assert aligned.unit == "µV"
    assert "subject, session (4)" in aligned.report["alignment"]


def test_alignment_of_a_group_does_not_depend_on_the_others(recording):
    first = np.flatnonzero(recording.metadata["subject"] == 1)

    np.testing.assert_allclose(align(recording[first]).data, align(recording).data[first], atol=1e-4)


def test_alignment_removes_what_electrodes_add(recording):
    mixing = np.diag([1, 2, 0.5, 1, 3]) @ np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0]
    mixed = replace(recording, data=(mixing @ recording.data).astype(np.float32))

    def distance(one, other):
        """Largest ratio of the power of any mixture of channels in two recordings, as a logarithm."""
        covariances = [np.cov(windows.data.swapaxes(0, 1).reshape(5, -1)) for windows in (one, other)]
        return np.abs(np.log(eigvalsh(*covariances))).max()

    assert distance(align(mixed), align(recording)) < 0.2 * distance(mixed, recording)


def test_arrays_cannot_be_aligned_by_subject(recording):
    extractor = FeatureExtractor(build(), info=recording.info, align_by=("subject", "session"))

    with pytest.raises(ValueError, match="needs these columns of the metadata, got none"):
        extractor.transform(recording.data)


def test_prepared_windows_cannot_be_aligned(recording):
    model = build()

    with pytest.raises(ValueError, match="before they are prepared"):
        FeatureExtractor(model, align_by=("subject",)).transform(prepare(recording, model))
    with pytest.raises(ValueError, match="before prepare"):
        align(prepare(recording, model))


def test_layers_are_probed_on_the_same_folds_in_one_pass(recording, counted):
    model, batches = counted
    windows = prepare(recording, model)
    subjects = recording.metadata["subject"].to_numpy()

    scores = probe_layers(model, windows, recording.labels, LeaveOneGroupOut(), groups=subjects, **FULL)

    assert sum(batches) == 48
    assert list(scores["layer"]) == [0, 0, 1, 1, "encoder", "encoder"]
    assert list(scores["subject"]) == [1, 2] * 3
    assert list(summarise(scores)["pipeline"]) == ["layer 0", "layer 1", "layer encoder"]


def test_the_probe_finds_what_only_one_layer_knows(noise):
    model = build()
    labels = np.array([0, 1] * 20)
    planted = torch.from_numpy(labels).float()[:, None, None] * torch.ones(40, 1, 200)
    model.encoder_layers[0].register_forward_hook(lambda module, x, output: output + 5 * planted)
    # Nothing of it is left behind the second layer.
    model.encoder_layers[1].register_forward_hook(lambda module, x, output: torch.randn_like(output))

    scores = probe_layers(model, prepare(noise, model), labels, StratifiedKFold(4), **FULL)

    accuracy = scores.groupby("layer")["score"].mean()
    assert accuracy[0] == 1
    assert accuracy["encoder"] < 0.8


@pytest.fixture(scope="module")
def good_subject():
    """One session of a good subject: 40 trials."""
    dataset = SimulatedMotorImagery(
        n_subjects=2,
        n_sessions=1,
        n_runs=2,
        n_trials_per_run=20,
        classes=["left_hand", "right_hand"],
        ch_names=CHANNELS,
        desynchronisation=1.6,
    )
    return load_windows(dataset, [2])


BASELINES = ["CSP + LDA", "tangent space + LR", "filter-bank CSP + LDA", "band power + LR"]


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_beats_chance_where_there_is_something_to_find(good_subject, name):
    pipelines = {name: (baselines(good_subject.sfreq)[name], good_subject.data)}

    accuracy = score_pipelines(pipelines, good_subject.labels, StratifiedKFold(2))["accuracy"][0]

    assert list(baselines(250.0)) == BASELINES
    assert accuracy > chance_level(good_subject.labels)[1]


@pytest.mark.parametrize("name", [*BASELINES, "linear probe"])
def test_shuffled_labels_leave_every_pipeline_at_chance(recording, name):
    model = build()
    extractor = FeatureExtractor(model, info=recording.info, pool="none", **FULL)
    pipelines = baselines(recording.sfreq) | {
        "linear probe": make_pipeline(extractor, linear_probe()),
    }
    n_correct = 0
    for seed in range(3):
        labels = np.random.default_rng(seed).permutation(recording.labels)
        scores = score_pipelines({name: (pipelines[name], recording.data)}, labels, StratifiedKFold(2))
        n_correct += round(scores["accuracy"][0] * len(labels))

    chance, threshold = chance_level(np.repeat(recording.labels, 3), alpha=0.005)

    assert 2 * chance - threshold <= n_correct / 144 <= threshold


def test_baselines_need_forty_hertz():
    with pytest.raises(ValueError, match="above 80 Hz, got 64"):
        baselines(64.0)
