import copy
import pickle

import mne
import numpy as np
import pytest
from mne.decoding import CSP
from moabb.evaluations import CrossSessionEvaluation, CrossSubjectEvaluation, WithinSessionEvaluation
from moabb.paradigms import LeftRightImagery, MotorImagery
from scipy.signal import welch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from eeglab_models.signals.forward import BRAIN_RADIUS, HEAD_RADIUS, sphere_potentials
from eeglab_models.signals.physiology import scalp_directions
from eeglab_models.signals.simulation import SimulatedMotorImagery

GOOD = 4  # the best of nine subjects
HANDS = ("left_hand", "right_hand")


def one_run(**changes):
    arguments = {"n_subjects": 4, "n_sessions": 1, "n_runs": 1, "n_trials_per_run": 8}
    return SimulatedMotorImagery(**arguments | changes)


def hands_only(**changes):
    return one_run(classes=HANDS, n_runs=2, n_trials_per_run=40, **changes)


def hand_windows(dataset, fmin=8, fmax=32):
    """Windows in microvolts, shape (n_trials, n_chans, n_times), and labels of the good subject."""
    windows, labels, _ = LeftRightImagery(fmin=fmin, fmax=fmax).get_data(dataset, [GOOD])
    return windows, labels


def csp():
    return make_pipeline(CSP(4, log=True), LinearDiscriminantAnalysis())


@pytest.fixture(scope="module")
def hands():
    """The good subject imagining both hands: data set, windows and labels."""
    dataset = hands_only()
    return dataset, *hand_windows(dataset)


def test_forward_model_agrees_with_mne():
    rng = np.random.default_rng(0)
    names = ["Fp1", "C3", "Cz", "C4", "T7", "TP10", "Oz"]
    electrodes = HEAD_RADIUS * scalp_directions(names)
    positions = rng.normal(size=(40, 3))
    positions *= rng.uniform(0.02, 0.08, (40, 1)) / np.linalg.norm(positions, axis=1, keepdims=True)
    moments = rng.normal(size=(40, 3))
    info = mne.create_info(names, 250.0, "eeg")
    info.set_montage(
        mne.channels.make_dig_montage(dict(zip(names, electrodes, strict=True)), coord_frame="head")
    )
    forward = mne.make_forward_solution(
        info,
        trans=None,
        src=mne.setup_volume_source_space(pos={"rr": positions, "nn": moments}, sphere_units="m"),
        bem=mne.make_sphere_model((0, 0, 0), HEAD_RADIUS),
        meg=False,
        mindist=0,
    )
    gains = forward["sol"]["data"].reshape(len(names), len(positions), 3)
    expected = np.einsum("edk,dk->ed", gains, moments)

    errors = np.linalg.norm(sphere_potentials(electrodes, positions, moments) - expected, axis=0)

    relative = errors / np.linalg.norm(expected, axis=0)
    assert np.median(relative) < 0.002
    assert relative.max() < 0.01


def test_a_dipole_outside_the_brain_is_refused():
    outside = np.array([[0.0, 0.0, 1.01 * BRAIN_RADIUS]])

    with pytest.raises(ValueError, match="must lie within 0.0855 m"):
        sphere_potentials(np.eye(3), outside, outside)


def test_same_arguments_give_the_same_code_and_microvolts():
    first, second = one_run(), one_run()

    assert first.code == second.code
    np.testing.assert_array_equal(first.simulate_run(1).get_data(), second.simulate_run(1).get_data())


def test_copies_give_the_same_microvolts():
    dataset = one_run()
    expected = dataset.simulate_run(1).get_data()

    for twin in (copy.deepcopy(dataset), pickle.loads(pickle.dumps(dataset))):
        assert twin.code == dataset.code
        np.testing.assert_array_equal(twin.simulate_run(1).get_data(), expected)


def test_a_run_alone_is_the_run_among_others():
    dataset = one_run(n_sessions=2, n_runs=2)
    among_others = dataset.get_data([1])[1]["1"]["1"]

    np.testing.assert_array_equal(
        dataset.simulate_run(1, session=1, run=1).get_data(), among_others.get_data()
    )


def test_seeds_subjects_sessions_and_runs_differ():
    dataset = one_run(n_sessions=2, n_runs=2)
    runs = [dataset.simulate_run(*place) for place in ((1, 0, 0), (2, 0, 0), (1, 1, 0), (1, 0, 1))]
    runs.append(one_run(seed=1).simulate_run(1))
    signals = [run.copy().filter(1, 40).get_data("C3")[0, :10000] for run in runs]

    correlations = np.corrcoef(signals) - np.eye(len(signals))
    assert np.abs(correlations).max() < 0.5


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"n_subjects": 5},
        {"n_sessions": 2},
        {"n_runs": 2},
        {"n_trials_per_run": 12},
        {"classes": HANDS},
        {"ch_names": ("C3", "C4")},
        {"sfreq": 200.0},
        {"reference": "average"},
        {"desynchronisation": 0.5},
        {"informative_eyes": True},
        {"subjects": [1]},
        {"sessions": [0]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_argument_changes_the_code_under_which_moabb_files_results(change):
    assert one_run(**change).code != one_run().code


def test_a_recording_has_eeg_eog_cues_and_positions():
    dataset = one_run()
    raw = dataset.simulate_run(1)

    assert raw.get_channel_types() == ["eeg"] * 22 + ["eog"] * 3 + ["stim"]
    assert len(raw.get_montage().ch_names) == 22
    assert raw.info["line_freq"] == 50
    events = mne.find_events(raw)
    np.testing.assert_array_equal(events, mne.events_from_annotations(raw, dataset.event_id)[0])
    names = {code: name for name, code in dataset.event_id.items()}
    assert [names[code] for code in events[:, 2]] == list(dataset.ground_truth(1).labels)


def test_eeg_has_the_amplitude_and_spectrum_of_eeg():
    eeg = 1e6 * one_run(n_trials_per_run=24).simulate_run(GOOD).filter(1, 40).get_data(
        "eeg"
    )  # (n_chans, n_times)

    assert 8 < eeg.std() < 30
    assert np.abs(eeg).max() < 300
    freqs, power = welch(eeg, 250, nperseg=500)
    power = power.mean(axis=0)
    between = ((freqs >= 2) & (freqs <= 6)) | ((freqs >= 26) & (freqs <= 38))
    slope, _ = np.polyfit(np.log(freqs[between]), np.log(power[between]), 1)
    assert -2.5 < slope < -1


def test_blinks_are_largest_at_the_eyes():
    raw = one_run(ch_names=("Fz", "Cz", "Pz"), n_trials_per_run=24).simulate_run(1).filter(1, 10, picks="all")

    signals = raw.get_data(["EOG2", "Fz", "Cz", "Pz"])
    eyes, front, middle, back = signals[:, signals[0].argmax()]
    assert 80e-6 < eyes < 250e-6
    assert eyes > front > middle > back


def test_average_reference_costs_a_rank():
    eeg = one_run(reference="average").simulate_run(1).get_data("eeg")

    np.testing.assert_allclose(eeg.mean(axis=0), 0, atol=1e-15)
    assert np.linalg.matrix_rank(eeg) == 21


def test_mastoid_reference_keeps_full_rank():
    assert np.linalg.matrix_rank(one_run().simulate_run(1).get_data("eeg")) == 22


def test_any_montage_and_rate_can_be_asked_for():
    raw = one_run(ch_names=("Fp1", "T7", "Oz"), sfreq=160).simulate_run(1)

    assert raw.ch_names[:3] == ["Fp1", "T7", "Oz"]
    assert raw.info["sfreq"] == 160


def test_truth_is_in_the_order_of_the_windows():
    dataset = one_run(n_sessions=2, n_runs=2)
    _, labels, metadata = MotorImagery(n_classes=4).get_data(dataset, [1])
    second = (metadata.session == "1").to_numpy()

    truth = dataset.ground_truth(1, session="1")

    np.testing.assert_array_equal(truth.labels, labels[second])
    np.testing.assert_array_equal(truth.runs, metadata.run[second].astype(int))
    assert truth.engagement.shape == (16,)


def test_hand_topographies_peak_over_their_hemisphere():
    truth = one_run().ground_truth(GOOD)

    left, right = (truth.topographies[f"hand_{side}_hemisphere"] for side in ("left", "right"))
    assert truth.ch_names[np.abs(left).argmax()] in {"FC3", "C5", "C3", "C1", "CP3", "CP1"}
    assert truth.ch_names[np.abs(right).argmax()] in {"FC4", "C6", "C4", "C2", "CP4", "CP2"}


def test_imagery_weakens_mu_over_the_opposite_hemisphere(hands):
    dataset, windows, labels = hands
    truth = dataset.ground_truth(GOOD)
    start, stop = (int(250 * seconds) for seconds in truth.window)
    power = np.log(windows[..., start:stop].var(axis=-1))  # (n_trials, n_chans)

    balance = power[:, truth.ch_names.index("C3")] - power[:, truth.ch_names.index("C4")]
    assert balance[labels == "right_hand"].mean() < balance[labels == "left_hand"].mean() - 0.5


def test_csp_patterns_are_the_hand_topographies(hands):
    dataset, windows, labels = hands
    topographies = dataset.ground_truth(GOOD).topographies
    hand_areas = np.stack([topographies["hand_left_hemisphere"], topographies["hand_right_hemisphere"]])

    patterns = CSP(2).fit(windows, labels).patterns_[:2]
    similarity = np.abs(np.corrcoef(hand_areas, patterns)[:2, 2:])
    one_to_one = max(similarity.trace(), similarity[::-1].trace()) / 2
    assert one_to_one > 0.9


def test_a_good_subject_is_decodable(hands):
    _, windows, labels = hands

    assert cross_val_score(csp(), windows, labels, cv=4).mean() > 0.75


def test_zero_desynchronisation_leaves_nothing_to_decode():
    windows, labels = hand_windows(hands_only(desynchronisation=0))

    assert cross_val_score(csp(), windows, labels, cv=4).mean() < 0.65


def test_informative_eyes_give_the_class_away():
    windows, labels = hand_windows(hands_only(desynchronisation=0, informative_eyes=True), fmin=0.1, fmax=8)
    means = windows[..., 125:].mean(axis=-1)  # (n_trials, n_chans)

    assert cross_val_score(LinearDiscriminantAnalysis(), means, labels, cv=4).mean() > 0.75


# moabb writes its results file in a way that h5py has deprecated.
@pytest.mark.filterwarnings("ignore:Creating a dataset without passing data or dtype")
@pytest.mark.parametrize(
    "evaluation", [WithinSessionEvaluation, CrossSessionEvaluation, CrossSubjectEvaluation]
)
def test_moabb_evaluates_it(evaluation, tmp_path):
    dataset = SimulatedMotorImagery(n_subjects=2, n_runs=1, n_trials_per_run=10, classes=HANDS, sfreq=128)

    results = evaluation(
        paradigm=LeftRightImagery(), datasets=[dataset], random_state=0, hdf5_path=tmp_path
    ).process({"CSP": csp()})

    assert set(results.dataset) == {dataset.code}
    assert set(results.subject) == {"1", "2"}
    assert results.score.between(0, 1).all()


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"n_subjects": 0}, "n_subjects must be a whole number of 1 or more, got 0"),
        ({"n_trials_per_run": 3}, "n_trials_per_run must be a whole number of 4 or more, got 3"),
        ({"classes": ("left_hand",)}, "classes must be two or more different names"),
        ({"classes": ("left_hand", "rest")}, r"classes must be among left_hand, .*, got \['rest'\]"),
        ({"ch_names": ("C3", "T3")}, r"ch_names must be among .*, got \['T3'\]"),
        ({"ch_names": ("C3", "C3")}, "ch_names must be two or more different names"),
        ({"sfreq": 100}, "sfreq must be a finite number of 128.0 or more, got 100"),
        ({"reference": "Cz"}, "reference must be 'mastoids' or 'average', got 'Cz'"),
        ({"desynchronisation": float("nan")}, "desynchronisation must be a finite number of 0.0 or more"),
        ({"seed": -1}, "seed must be a whole number of 0 or more, got -1"),
        ({"subjects": [5]}, r"subjects must be among 1 to 4, got \[5\]"),
        ({"sessions": [1]}, r"sessions must be among 0 to 0, got \[1\]"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_arguments_are_refused_in_a_sentence(argument, message):
    with pytest.raises(ValueError, match=message):
        one_run(**argument)


@pytest.mark.parametrize("place", [(5, 0, 0), (1, 1, 0), (1, 0, 1), (0, 0, 0), (1, -1, 0)])
def test_a_run_that_does_not_exist_is_refused(place):
    with pytest.raises(ValueError, match="must be among"):
        one_run().simulate_run(*place)
