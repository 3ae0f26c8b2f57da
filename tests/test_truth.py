"""Maps held against the truth of the simulated data set."""

import numpy as np
import pytest
import torch
import xarray as xr
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from eeglab_models.interpreting.attribution import attribute, occlude_bands
from eeglab_models.interpreting.scores import ProbeScore
from eeglab_models.interpreting.truth import (
    auc_inside,
    relevant_channels,
    score_against_truth,
    score_map,
    score_topography,
    share_inside,
    source_topographies,
)
from eeglab_models.signals.recordings import load_windows
from eeglab_models.signals.simulation import SimulatedMotorImagery

HANDS = ("left_hand", "right_hand")
SOURCES = ["hand_left_hemisphere", "hand_right_hemisphere", "foot"]


@pytest.fixture(scope="module")
def dataset():
    return SimulatedMotorImagery(n_subjects=4, n_sessions=1, n_runs=2, n_trials_per_run=40, classes=HANDS)


@pytest.fixture(scope="module")
def truth(dataset):
    """Subject 4 is good."""
    return dataset.ground_truth(4)


def test_topographies_of_the_reacting_sources_are_labelled(truth):
    topographies = source_topographies(truth)

    assert topographies.sizes == {"source": 5, "channel": 22}
    assert tuple(topographies["channel"].values) == truth.ch_names
    np.testing.assert_array_equal(topographies.sel(source="foot"), truth.topographies["foot"])


def test_an_unknown_source_is_refused(truth):
    with pytest.raises(ValueError, match="got ear. Choose among them"):
        source_topographies(truth, ["ear"])


def test_relevance_adds_the_changes_of_sources_as_powers(truth):
    expected = 0
    for source in truth.reactions["left_hand"]:
        change = truth.reactions["left_hand"][source] - truth.reactions["right_hand"][source]
        expected = expected + (change / 2 * truth.topographies[source]) ** 2

    relevance = relevant_channels(truth)

    np.testing.assert_allclose(relevance, np.sqrt(expected))


@pytest.mark.parametrize("classes", [["left_hand"], ["left_hand", "nose"], []])
def test_relevance_needs_two_known_classes(truth, classes):
    with pytest.raises(ValueError, match="two or more classes of left_hand, right_hand"):
        relevant_channels(truth, classes)


def test_true_patterns_are_matched_one_to_one_whatever_their_sign_and_reference(truth):
    topographies = source_topographies(truth, SOURCES)
    maps = xr.concat([-2 * topographies[2] + 5, topographies[0], 3 * topographies[1]], dim="filter")

    table = score_topography(maps.drop_vars("source"), topographies)

    assert dict(zip(table["source"], table["map"], strict=True)) == dict(zip(SOURCES, [1, 2, 0], strict=True))
    np.testing.assert_allclose(table["correlation"], 1)


def test_one_map_is_matched_with_one_source(truth):
    topographies = source_topographies(truth, SOURCES)

    table = score_topography(topographies.sel(source="foot", drop=True), topographies)

    assert table.to_dict("records") == [{"source": "foot", "map": 0, "correlation": pytest.approx(1)}]


def test_signs_count_where_they_should(truth):
    topographies = source_topographies(truth, ["foot"])
    turned = -topographies.isel(source=0, drop=True)

    table = score_topography(turned, topographies, "signed")

    assert table["correlation"].item() == pytest.approx(-1)


def test_sizes_ignore_signs_and_the_reference_of_the_truth(truth):
    topographies = source_topographies(truth, ["foot"])
    sizes = np.abs(topographies - topographies.mean("channel")).isel(source=0, drop=True)

    table = score_topography(sizes, topographies + 9, "size")

    assert table["correlation"].item() == pytest.approx(1)


def test_channels_are_matched_by_name(truth):
    topographies = source_topographies(truth, SOURCES)
    some = topographies.sel(channel=["C4", "Cz", "C3", "Pz"])

    table = score_topography(some.assign_coords(channel=["C4", "CZ", "C3", "PZ"]), topographies)

    np.testing.assert_allclose(table["correlation"], 1)


def test_maps_that_cannot_be_compared_are_refused(truth):
    topographies = source_topographies(truth)
    maps = xr.DataArray([1.0, 2.0], {"channel": ["C3", "A1"]}, ("channel",))

    with pytest.raises(ValueError, match="got A1. Leave these channels out"):
        score_topography(maps, topographies)
    with pytest.raises(ValueError, match="A constant map"):
        score_topography(0 * topographies, topographies)
    with pytest.raises(ValueError, match="pattern, signed or size, got 'shape'"):
        score_topography(topographies, topographies, "shape")


@pytest.fixture
def values():
    """Two windows, two channels, ten samples of 0.1 s; twice as large, and negative, from 0.5 s to 0.8 s."""
    values = np.ones((2, 2, 10))
    values[:, :, 5:8] = -2
    coordinates = {"channel": ["C3", "C4"], "time": np.arange(10) / 10}
    return xr.DataArray(values, coordinates, ("window", "channel", "time"))


def test_the_share_inside_is_held_against_its_share_by_chance(values):
    shares = share_inside(values, window=(0.5, 0.8))

    np.testing.assert_allclose(shares["share"], [6 / 13] * 2)
    assert shares["chance"].item() == pytest.approx(0.3)
    np.testing.assert_allclose(shares["ratio"], [20 / 13] * 2)


def test_window_and_channels_narrow_each_other(values):
    shares = share_inside(values, window=(0.5, 0.8), channels=["c4"])

    np.testing.assert_allclose(shares["share"], [3 / 13] * 2)
    assert shares["chance"].item() == pytest.approx(0.15)


def test_a_spectrum_has_a_share_in_bands():
    spectrum = xr.DataArray([1.0, 3.0, 1.0, 3.0], {"frequency": [5, 10, 15, 20]}, ("frequency",))

    shares = share_inside(spectrum, bands=[(8, 13), (18, 26)])

    assert shares["share"].item() == pytest.approx(6 / 8)
    assert shares["chance"].item() == pytest.approx(0.5)


def test_occluded_bands_count_by_the_part_that_is_true():
    losses = xr.DataArray(
        [[4.0, 1.0]], {"low": ("band", [4.0, 12.0]), "high": ("band", [12.0, 16.0])}, ("window", "band")
    )

    shares = share_inside(losses, bands=[(10, 13)])

    assert shares["share"].item() == pytest.approx((4 * 2 / 8 + 1 * 1 / 4) / 5)
    assert shares["chance"].item() == pytest.approx(3 / 12)


def test_the_auc_counts_pairs_and_halves_ties(values):
    values[0, 0, 5] = 1  # one of six inside ties with all outside

    auc = auc_inside(values, window=(0.5, 0.8))

    np.testing.assert_allclose(auc, [(5 + 0.5) / 6, 1])


def test_the_auc_of_one_map_is_one_number(values):
    assert auc_inside(values[0], window=(0.5, 0.8)).item() == 1
    assert auc_inside(values[0], window=(0.0, 0.5)).item() == pytest.approx((5 * 2 * (2 * 2 / 2)) / (10 * 10))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"window": (5, 9)}, "got 0% inside"),
        ({"window": (0, 9)}, "got 100% inside"),
        ({"bands": [(8, 13)]}, "dimension 'frequency'"),
        ({}, "got 100% inside"),
    ],
)
def test_a_truth_that_is_nowhere_or_everywhere_is_refused(values, arguments, message):
    with pytest.raises(ValueError, match=message):
        share_inside(values, **arguments)


def test_a_map_of_zeros_is_refused(values):
    with pytest.raises(ValueError, match="zero everywhere"):
        share_inside(0 * values, window=(0.5, 0.8))


def test_a_map_without_known_dimensions_is_refused(truth):
    with pytest.raises(ValueError, match="got a map of dimensions"):
        score_map(xr.DataArray(np.ones((2, 3)), dims=("layer", "head")), truth)


@pytest.fixture(scope="module")
def planted(truth):
    """Maps of three subjects: some proportional to the relevance of channels in the window, some constant."""
    relevance, time = relevant_channels(truth), xr.DataArray(np.arange(-10, 30) / 5, dims="time")
    time = time.assign_coords(time=time)
    rng = np.random.default_rng(0)

    def draw(signal):
        noise = rng.uniform(0, 1, (22, 40))
        return signal * relevance * ((time >= 0.55) & (time < 4)) + xr.DataArray(
            noise, dims=("channel", "time")
        )

    right, wrong = ([draw(signal) for _ in range(3)] for signal in (3.0, 0.0))
    return right, wrong


def test_planted_maps_score_above_chance_and_others_at_chance(truth, planted):
    right, wrong = planted

    table = score_against_truth(
        {("model", "map"): right}, [truth] * 3, {"random weights": {("model", "map"): wrong}}
    ).set_index(["weights", "measure"])

    for measure in ("topography", "window", "auc"):
        found, control = table.loc["trained", measure], table.loc["random weights", measure]
        assert found["low"] > found["chance"]
        assert control["score"] == pytest.approx(control["chance"], abs=0.2)
        assert control["lead_low"] > 0
        assert control["lead"] == pytest.approx(found["score"] - control["score"])


def test_a_control_is_held_against_the_same_subject(truth):
    """Two subjects who differ much, while both lose 0.1: an interval of unpaired means would hold zero."""
    scores = iter([0.9, 0.2, 0.8, 0.1])

    table = score_against_truth(
        {("model", "map"): [xr.DataArray(0)] * 2},
        [truth] * 2,
        {"shuffled labels": {("model", "map"): [xr.DataArray(0)] * 2}},
        score=lambda values, truth: {"own": next(scores)},
    )

    control = table.iloc[1]
    assert control[["lead_low", "lead_high"]].tolist() == pytest.approx([0.1, 0.1])
    assert control["high"] - control["low"] > 1


@pytest.mark.parametrize(("interval", "half"), [("t", 1.2992), ("bootstrap", 0.75)])
def test_intervals_of_known_width(truth, interval, half):
    """Scores 0, 1, 1 and 2: standard error 0.408, times 3.182 of Student's distribution is 1.299."""
    scores = iter([0.0, 1.0, 1.0, 2.0])
    maps = {("model", "map"): [xr.DataArray(0)] * 4}

    table = score_against_truth(
        maps, [truth] * 4, {}, score=lambda values, truth: {"own": next(scores)}, interval=interval
    )

    row = table.iloc[0]
    assert [row["low"], row["high"]] == pytest.approx([1 - half, 1 + half], abs=0.01)


def test_one_map_has_no_interval(truth, planted):
    table = score_against_truth({("model", "map"): planted[0][:1]}, [truth], {})

    assert table[["low", "high"]].isna().all(axis=None)
    assert (table["n"] == 1).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"controls": {"random weights": {("other", "map"): []}}}, "Use the same keys"),
        ({"truths": []}, "has 3 maps, got 0 truths"),
        ({"interval": "normal"}, "t or bootstrap, got 'normal'"),
    ],
)
def test_tables_without_pairs_are_refused(truth, planted, change, message):
    arguments = {"maps": {("model", "map"): planted[0]}, "truths": [truth] * 3, "controls": {}}

    with pytest.raises(ValueError, match=message):
        score_against_truth(**arguments | change)


class LogPower(nn.Module):
    """Log power of every channel, second by second: what a good model would compute."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x, return_features):
        spectrum, frequencies = torch.fft.rfft(x), torch.fft.rfftfreq(x.shape[-1], 1 / 250)
        band = torch.fft.irfft(spectrum * ((frequencies > 8) & (frequencies < 28)), n=x.shape[-1])
        power = (band**2).unflatten(-1, (-1, 250)).mean(-1)  # (batch, n_chans, n_seconds)
        return {"features": (self.scale * (power + 0.1).log()).flatten(1)}


def explain_probe(windows, labels):
    """Maps over samples and over bands of a probe on log power."""
    model = LogPower()
    with torch.no_grad():
        features = model(torch.from_numpy(windows.data), True)["features"].numpy()
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01)).fit(features, labels)
    score, few = ProbeScore(model, probe), slice(40)
    bands = occlude_bands(score, windows[few], labels[few], [(4, 8), (8, 13), (13, 26), (26, 40)])
    return attribute(score, windows[few], labels[few], start=-2.0), bands


def test_attribution_finds_the_simulated_truth_and_with_shuffled_labels_it_does_not(dataset, truth):
    windows = load_windows(dataset, [4], tmin=-2.0, tmax=4.0, fmin=4, fmax=40)
    shuffled = np.random.default_rng(0).permutation(windows.labels)

    values, bands = explain_probe(windows, windows.labels)
    other, _ = explain_probe(windows, shuffled)

    right, wrong = score_map(values, truth, HANDS), score_map(other, truth, HANDS)
    assert right["topography"] > 0.4 > wrong["topography"]
    assert right["window"] > 1.2 > wrong["window"]
    assert right["auc"] > 0.6 > wrong["auc"]
    assert score_map(bands, truth)["band"] > 1.3
