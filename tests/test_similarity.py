"""Similarity of features, and shares of their variance."""

import numpy as np
import pytest

from eeglab_models.interpreting.similarity import cka, cka_matrix, variance_shares


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def unbiased_hsic(a, b):
    """Song et al. (2012), equation 5, written out."""
    n = len(a)
    k, m = a @ a.T, b @ b.T
    np.fill_diagonal(k, 0)
    np.fill_diagonal(m, 0)
    one = np.ones(n)
    product = one @ k @ one * (one @ m @ one) / ((n - 1) * (n - 2))
    return (np.trace(k @ m) + product - 2 / (n - 2) * one @ k @ m @ one) / (n * (n - 3))


def test_cka_agrees_with_the_formula(rng):
    a, b = rng.normal(1, 1, (9, 4)), rng.normal(2, 3, (9, 6))
    b[:, 0] += 3 * a[:, 0]

    expected = unbiased_hsic(a, b) / np.sqrt(unbiased_hsic(a, a) * unbiased_hsic(b, b))

    assert cka(a, b) == pytest.approx(expected, abs=1e-9)


def test_rotation_scale_and_shift_change_nothing(rng):
    a = rng.normal(size=(30, 5))
    rotation, _ = np.linalg.qr(rng.normal(size=(5, 5)))

    assert cka(a, 4 * a @ rotation + 7) == pytest.approx(1)


def test_wide_unrelated_features_are_not_similar(rng):
    values = [cka(rng.normal(size=(20, 500)), rng.normal(size=(20, 500))) for _ in range(20)]

    assert abs(np.mean(values)) < 0.05  # without the correction about 0.96


def test_a_common_part_makes_features_similar(rng):
    common = rng.normal(size=(100, 10))
    a, b = (np.hstack([common, rng.normal(size=(100, 10))]) for _ in range(2))

    assert cka(a, b) == pytest.approx(0.5, abs=0.1)


def test_the_matrix_names_both_sides(rng):
    a = rng.normal(size=(20, 3))

    matrix = cka_matrix({"one": a, "other": rng.normal(size=(20, 7)), "twice": 2 * a})

    assert matrix.sel(a="one", b="twice").item() == pytest.approx(1)
    np.testing.assert_allclose(matrix, matrix.T)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.eye(5), np.eye(6), "got 5 and 6"),
        (np.eye(3), np.eye(3), "four or more windows"),
        (np.ones((5, 2)), np.eye(5), "got constant ones"),
    ],
)
def test_what_cannot_be_compared_is_refused(a, b, message):
    with pytest.raises(ValueError, match=message):
        cka(a, b)


# Two windows for every class, session and subject.
SUBJECTS, SESSIONS, LABELS, _ = (
    axis.ravel() for axis in np.meshgrid(range(3), range(2), ["left", "right"], range(2), indexing="ij")
)


def shares(features):
    return variance_shares(features, LABELS, SUBJECTS, SESSIONS).set_index("factor")


def test_pure_factors_take_everything():
    own = {
        "subject": SUBJECTS == 1,
        "session": (2 * SESSIONS - 1) * (SUBJECTS == 2),
        "class": LABELS == "left",
        "class by subject": (1.0 - 2 * (LABELS == "left")) * (SUBJECTS - 1),
    }
    for factor, feature in own.items():
        table = shares(np.asarray(feature, dtype=float)[:, None])

        assert table.loc[factor, "share"] == pytest.approx(1)


def test_shares_of_a_sum_are_those_of_its_parts():
    # Variances over windows: 2/3 of the subject, 1 of the class.
    feature = SUBJECTS + 2.0 * (LABELS == "left")

    table = shares(feature[:, None])

    np.testing.assert_allclose(table["share"], [0.4, 0, 0.6, 0, 0], atol=1e-12)


def test_degrees_of_freedom_add_up(rng):
    table = shares(rng.normal(size=(24, 5)))

    assert table["df"].to_dict() == {
        "subject": 2,
        "session": 3,
        "class": 1,
        "class by subject": 2,
        "window": 15,
    }
    assert table["share"].sum() == pytest.approx(1)
    assert table["adjusted"].sum() == pytest.approx(1)


def test_noise_takes_what_chance_says_and_nothing_once_adjusted(rng):
    table = shares(rng.normal(size=(24, 4000)))

    np.testing.assert_allclose(table["share"], table["df"] / 23, atol=0.01)
    np.testing.assert_allclose(table["chance"], table["share"], atol=0.01)
    np.testing.assert_allclose(table["adjusted"][:-1], 0, atol=0.01)


def test_scale_and_constant_features_change_nothing(rng):
    features = rng.normal(size=(24, 3))
    changed = np.hstack([features * [1, 1000, 0.001] + 50, np.full((24, 1), 7.3)])

    np.testing.assert_allclose(shares(changed), shares(features), atol=1e-9)


def test_unbalanced_classes_are_not_taken_for_subjects(rng):
    kept = rng.random(24) < 0.7
    feature = 5.0 * SUBJECTS[kept]

    table = variance_shares(feature[:, None], LABELS[kept], SUBJECTS[kept], SESSIONS[kept])

    assert table.set_index("factor").loc["class", "share"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("features", "message"),
    [(np.ones((23, 2)), "got \\[23, 24, 24, 24\\]"), (np.ones((24, 2)), "got constant ones")],
)
def test_features_without_windows_or_variance_are_refused(features, message):
    with pytest.raises(ValueError, match=message):
        shares(features)


def test_as_many_groups_as_windows_are_refused(rng):
    with pytest.raises(ValueError, match="more windows than groups"):
        variance_shares(rng.normal(size=(4, 2)), np.arange(4), np.zeros(4), np.arange(4))
