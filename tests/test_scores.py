"""Scores, confidence intervals and paired tests."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, LeaveOneGroupOut, StratifiedKFold, cross_val_predict

from eeglab_models.scores import (
    accuracy_interval,
    compare,
    mean_interval,
    score_folds,
    score_pipelines,
    summarise,
)
from eeglab_models.scores.comparison import combine_data_sets, correct_holm

LABELS = np.array([0, 1] * 20)
CV = StratifiedKFold(4)


@pytest.fixture
def X():
    return LABELS[:, None] + np.random.default_rng(0).normal(0, 0.4, (40, 1))


def table(scores_a, scores_b, unit="subject"):
    parts = [
        pd.DataFrame({"pipeline": name, "subject": 0, unit: range(len(scores)), "score": scores})
        for name, scores in (("a", scores_a), ("b", scores_b))
    ]
    return pd.concat(parts, ignore_index=True)


def test_scores_count_every_trial_once_and_enclose_the_accuracy(X):
    pipelines = {"signal": (LogisticRegression(), X), "guess": (DummyClassifier(strategy="prior"), X)}

    scores = score_pipelines(pipelines, LABELS, CV).set_index("pipeline")

    assert list(scores.index) == ["signal", "guess"]
    assert scores.loc["guess", "accuracy"] == 0.5
    assert scores.loc["signal", "accuracy"] > 0.8
    assert (scores["low"] < scores["accuracy"]).all()
    assert (scores["accuracy"] < scores["high"]).all()
    assert (scores["n_trials"] == 40).all()


def test_the_accuracy_is_that_of_scikit_learns_predictions(X):
    predicted = cross_val_predict(LogisticRegression(), X, LABELS, cv=CV)

    scores = score_pipelines({"signal": (LogisticRegression(), X)}, LABELS, CV)

    assert scores["accuracy"][0] == (predicted == LABELS).mean()


def test_subjects_are_cross_validated_alone():
    labels = np.tile([0, 1], 20)
    subjects = np.repeat([1, 2], 20)
    X = np.where(subjects == 1, labels, 1 - labels)[:, None].astype(float)  # the rule flips with the subject
    pipelines = {"rule": (LogisticRegression(), X)}

    alone = score_pipelines(pipelines, labels, CV, subjects)
    together = score_pipelines(pipelines, labels, CV)

    assert alone["accuracy"][0] == 1
    assert together["accuracy"][0] < 0.7


def test_every_fold_is_kept(X):
    folds = score_folds({"a": (LogisticRegression(), X), "b": (DummyClassifier(), X)}, LABELS, CV)

    assert list(folds["pipeline"]) == ["a"] * 4 + ["b"] * 4
    assert list(folds["fold"]) == [0, 1, 2, 3] * 2
    assert (folds["n_trials"] == 10).all()
    assert (folds["n_train"] == 30).all()
    assert (folds["score"] == folds["n_correct"] / 10).all()


def test_across_subjects_a_fold_is_named_by_whom_it_tests(X):
    subjects = np.repeat([3, 1, 2, 2], 10)

    folds = score_folds({"a": (LogisticRegression(), X)}, LABELS, LeaveOneGroupOut(), groups=subjects)

    assert list(folds["subject"]) == [1, 2, 3]
    assert list(folds["n_trials"]) == [10, 20, 10]


def test_a_fold_of_several_groups_has_no_name(X):
    folds = score_folds(
        {"a": (LogisticRegression(), X)}, LABELS, GroupKFold(2), groups=np.repeat([1, 2, 3, 4], 10)
    )

    assert set(folds["subject"]) == {"all"}


def test_runs_stay_together_within_subjects(X):
    runs = np.tile(np.repeat([0, 1], 10), 2)

    folds = score_folds(
        {"a": (LogisticRegression(), X)}, LABELS, LeaveOneGroupOut(), np.repeat([1, 2], 20), groups=runs
    )

    assert list(folds["subject"]) == [1, 1, 2, 2]
    assert (folds["n_trials"] == 10).all()


def test_an_estimator_is_fitted_anew_for_every_fold(X):
    estimator = LogisticRegression()

    score_folds({"a": (estimator, X)}, LABELS, CV)

    assert not hasattr(estimator, "coef_")


def test_intervals_over_trials_and_over_subjects_answer_different_questions():
    folds = pd.DataFrame(
        {"pipeline": "a", "subject": [1, 1, 2, 2], "score": [0.5, 0.7, 0.9, 0.9], "n_correct": [5, 7, 9, 9]}
    ).assign(n_trials=10)

    trials = summarise(folds).iloc[0]
    subjects = summarise(folds, over="subjects").iloc[0]

    assert trials["accuracy"] == subjects["accuracy"] == 0.75
    assert (trials["n_trials"], subjects["n_subjects"]) == (40, 2)
    assert subjects["high"] - subjects["low"] > 2 * (trials["high"] - trials["low"])


def test_wilsons_interval_as_printed():
    assert accuracy_interval(8, 10) == pytest.approx((0.490, 0.943), abs=5e-4)
    assert accuracy_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)  # Newcombe (1998), table I


def test_the_interval_of_a_mean_covers_it_as_often_as_it_says():
    rng = np.random.default_rng(0)
    intervals = np.array([mean_interval(rng.normal(0.7, 0.1, 8)) for _ in range(1000)])

    covered = (intervals[:, 0] < 0.7) & (0.7 < intervals[:, 1])

    assert covered.mean() == pytest.approx(0.95, abs=0.02)


def test_the_bootstrap_stays_within_the_scores():
    low, high = mean_interval(np.array([0.9, 1.0, 1.0, 1.0, 0.95, 1.0]), method="bootstrap")

    assert 0.9 < low < high <= 1
    assert mean_interval(np.array([0.9, 1.0, 1.0, 1.0, 0.95, 1.0]))[1] > 1


def test_equal_scores_have_no_spread():
    assert mean_interval(np.array([0.8, 0.8, 0.8])) == (pytest.approx(0.8), pytest.approx(0.8))


@pytest.mark.parametrize(
    ("values", "method", "message"),
    [
        ([0.8], "t", "at least two of them, got 1"),
        ([0.8, 0.9], "z", "method must be t or bootstrap"),
        ([0.8, np.nan, 0.9], "t", "needs finite scores, got 1 of 3 that are not"),
        ([0.8, np.inf], "bootstrap", "needs finite scores, got 1 of 2 that are not"),
    ],
)
def test_impossible_intervals_are_refused(values, method, message):
    with pytest.raises(ValueError, match=message):
        mean_interval(np.array(values), method=method)


def test_all_swaps_are_tried_where_pairs_are_few():
    comparison = compare(table([0.9, 0.8, 0.7, 0.8], [0.8, 0.6, 0.4, 0.4]), "a", "b")

    assert comparison.difference == pytest.approx(0.25)
    # Differences 0.1 to 0.4: a standard error of 0.0645, times Student's 3.182 for three degrees of freedom.
    assert (comparison.low, comparison.high) == pytest.approx((0.25 - 0.2054, 0.25 + 0.2054), abs=1e-3)
    assert comparison.p_value == 2 / 16  # only all signs alike differ as much, either way
    assert (comparison.n_pairs, comparison.pairs, comparison.n_wins) == (4, "subject", 4)


def test_random_swaps_agree_with_a_t_test_where_pairs_are_many():
    rng = np.random.default_rng(1)
    b = rng.normal(0.7, 0.1, 60)
    a = b + rng.normal(0.02, 0.08, 60)

    comparison = compare(table(a, b), "a", "b")

    assert comparison.p_value == pytest.approx(stats.ttest_rel(a, b).pvalue, abs=0.02)


def test_equal_pipelines_do_not_differ():
    assert compare(table([0.9, 0.8, 0.7], [0.9, 0.8, 0.7]), "a", "b").p_value == 1


def test_differences_that_are_equal_but_for_rounding_are_equal():
    comparison = compare(table([0.3, 0.3, 0.8], [0.1 + 0.1, 0.2, 0.7]), "a", "b")

    assert comparison.p_value == 2 / 8


def test_under_the_null_one_test_in_twenty_is_significant():
    rng = np.random.default_rng(0)
    p_values = [compare(table(*rng.normal(0.7, 0.1, (2, 9))), "a", "b").p_value for _ in range(100)]

    assert 0.01 < np.mean(np.array(p_values) < 0.05) < 0.09


def test_blocks_of_one_subject_are_pairs():
    comparison = compare(table([0.9, 0.9, 0.9, 0.9, 0.9], [0.5, 0.5, 0.5, 0.5, 0.5], unit="fold"), "a", "b")

    assert comparison.pairs == "fold"
    assert comparison.p_value == 2 / 32  # five blocks cannot say more


def test_folds_that_share_training_data_are_tested_as_moabb_does():
    from moabb.analysis.meta_analysis import compute_pvals_corrected_ttest

    a, b = np.array([0.9, 0.7, 0.8, 0.9, 0.6]), np.array([0.6, 0.7, 0.7, 0.6, 0.6])
    folds = table(a, b, unit="fold").assign(n_train=32, n_trials=8)

    comparison = compare(folds, "a", "b")

    one_sided = compute_pvals_corrected_ttest(pd.DataFrame({"a": a, "b": b}), n_train=32, n_test=8)[0, 1]
    assert comparison.p_value == pytest.approx(2 * one_sided)
    # Variance 0.023, times 1 / 5 + 8 / 32, is a standard error of 0.1017; Student's 2.776 of it each way.
    assert (comparison.low, comparison.high) == pytest.approx((0.14 - 0.2824, 0.14 + 0.2824), abs=1e-3)
    assert compare(folds, "b", "a").p_value == pytest.approx(comparison.p_value)


def test_folds_of_equal_pipelines_do_not_differ():
    folds = table([0.9, 0.7, 0.8], [0.9, 0.7, 0.8], unit="fold").assign(n_train=32, n_trials=8)

    assert compare(folds, "a", "b").p_value == 1


def test_data_sets_are_combined_as_computed_by_hand():
    """Stouffer: z of 0.025 is 1.96, of 0.05 is 1.645; (3 * 1.96 + 2 * 1.645) / sqrt(13) is 2.543."""
    p = combine_data_sets(np.array([0.1, 0.2]), np.array([0.05, 0.1]), np.array([9, 4]))
    # Against each other: (3 * 1.96 - 2 * 1.645) / sqrt(13) is 0.718.
    contrary = combine_data_sets(np.array([0.1, -0.2]), np.array([0.05, 0.1]), np.array([9, 4]))

    assert p == pytest.approx(0.0110, abs=1e-4)
    assert contrary == pytest.approx(0.4726, abs=1e-3)


def test_over_data_sets_small_p_values_are_as_rare_under_the_null_as_they_say():
    differences = np.random.default_rng(0).normal(size=(1000, 3, 7))
    p_values = stats.ttest_1samp(differences, 0, axis=2).pvalue
    both = zip(differences.mean(axis=2), p_values, strict=True)

    combined = [combine_data_sets(mean, p, np.array([7, 7, 7])) for mean, p in both]

    assert stats.kstest(combined, "uniform").pvalue > 0.01
    assert np.mean(np.array(combined) < 0.05) == pytest.approx(0.05, abs=0.02)


def test_holm_multiplies_by_the_number_of_tests_that_are_left():
    assert correct_holm(np.array([0.01, 0.04, 0.03])) == pytest.approx([0.03, 0.06, 0.06])


def test_sessions_of_a_subject_are_one_pair():
    scores = table([0.9, 0.8, 0.7, 0.8], [0.8, 0.6, 0.4, 0.4]).assign(dataset="x")

    twice = compare(pd.concat([scores.assign(session=0), scores.assign(session=1)]), "a", "b")

    assert twice.n_pairs == 4


def test_subjects_of_two_data_sets_are_different_people():
    scores = table([0.9, 0.8], [0.8, 0.6])

    assert compare(pd.concat([scores.assign(dataset="x"), scores.assign(dataset="y")]), "a", "b").n_pairs == 4


def test_a_comparison_prints_in_one_line():
    assert str(compare(table([0.9, 0.8], [0.8, 0.9]), "a", "b")) == (
        "a - b: +0.000, better in 1 of 2 subjects, p = 1.000"
    )


def test_pipelines_without_scores_are_refused():
    with pytest.raises(ValueError, match="no scores of 'c', only of a, b"):
        compare(table([0.9, 0.8], [0.8, 0.6]), "a", "c")


def test_pipelines_that_were_not_scored_alike_are_refused():
    with pytest.raises(ValueError, match="same two or more subjects or folds, got 3 of which 2 have both"):
        compare(table([0.9, 0.8, 0.7], [0.8, 0.6]), "a", "b")


def test_tables_go_through_the_statistics_of_moabb(X):
    from moabb.analysis.meta_analysis import compute_dataset_statistics

    pipelines = {"signal": (LogisticRegression(), X), "guess": (DummyClassifier(), X)}
    folds = score_folds(pipelines, LABELS, LeaveOneGroupOut(), groups=np.repeat([1, 2, 3, 4], 10))

    statistics = compute_dataset_statistics(folds.assign(dataset="planted")).set_index(["pipe1", "pipe2"])

    assert statistics.loc[("signal", "guess"), "p"] == 1 / 16
    assert compare(folds, "signal", "guess").p_value == 2 / 16


@pytest.mark.parametrize(
    ("cv", "n_groups", "problem"),
    [
        (
            StratifiedKFold(5),
            None,
            "StratifiedKFold cannot part the 8 trials of all trials: n_splits=5.*fewer",
        ),
        (GroupKFold(5), 2, "GroupKFold cannot part the 8 trials of 2 groups of all trials.*fewer folds"),
        (
            LeaveOneGroupOut(),
            1,
            "LeaveOneGroupOut cannot part the 8 trials of 1 groups.*more trials and groups",
        ),
    ],
)
def test_fewer_trials_or_groups_than_folds_are_named(cv, n_groups, problem):
    groups = None if n_groups is None else np.arange(8) % n_groups
    pipelines = {"dummy": (DummyClassifier(), np.zeros((8, 1)))}

    with pytest.raises(ValueError, match=problem):
        score_folds(pipelines, np.array(["a", "b"] * 4), cv, groups=groups)
