"""The encoders that learned from real EEG, on recordings of people whom they never saw."""

from dataclasses import replace

import numpy as np
import pytest
from mne.time_frequency import psd_array_multitaper
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from eeglab_models.features import features_of
from eeglab_models.models.checkpoints import shipped_checkpoint
from eeglab_models.pretraining import read_configuration


def describe(folder):
    """Describe rest and arithmetic of six people by an encoder; tell whose windows these are too."""
    features, windows = features_of(folder, "RealArithmetic", tmax=4.0, events=["resting", "arithmetic"])
    return features, windows, windows.metadata["subject"].to_numpy()


def accuracy(folder):
    """Rest against arithmetic of six people, each learned from the other five."""
    features, windows, person = describe(folder)
    found = []
    for one in np.unique(person):
        probe = make_pipeline(StandardScaler(), RidgeClassifier(alpha=1000.0))
        probe.fit(features[person != one], windows.labels[person != one])
        found.append(probe.score(features[person == one], windows.labels[person == one]))
    return np.mean(found)


def correlation(folder):
    """Rank correlation, in a person, of alpha power at the back with what the other five taught."""
    features, windows, person = describe(folder)
    back = [windows.ch_names.index(name) for name in ("P3", "Pz", "P4", "O1", "O2")]
    spectra, _ = psd_array_multitaper(windows.data[:, back], windows.sfreq, 8, 13, verbose="error")
    power = np.log(spectra.mean(axis=(1, 2)))
    found = []
    for one in np.unique(person):
        own = person == one
        probe = make_pipeline(StandardScaler(), Ridge(alpha=1000.0)).fit(features[~own], power[~own])
        found.append(spearmanr(probe.predict(features[own]), power[own]).statistic)
    return np.mean(found)


def save(configuration, name, folder):
    """Save the initial weights of a training, with the readout of the encoder that came out of it."""
    configuration.build().encoder.save_pretrained(folder)
    (folder / "readout.json").write_text((shipped_checkpoint(name) / "readout.json").read_text())
    return folder


@pytest.mark.parametrize(
    ("name", "measure", "margin"),
    [
        ("codebrain-real", accuracy, 0.05),
        ("eegdino-real", correlation, 0.03),
        ("eegpt-real", accuracy, 0.05),
    ],
)
def test_a_pretrained_encoder_beats_its_random_twin_of_the_same_initial_weights(
    name, measure, margin, tmp_path
):
    random = save(read_configuration(name), name, tmp_path)

    assert measure(name) > measure(random) + margin


def test_a_pretrained_encoder_beats_one_of_published_initial_weights(tmp_path):
    random = save(replace(read_configuration("eegdino-real"), arguments={}), "eegdino-real", tmp_path)

    assert accuracy("eegdino-real") > accuracy(random) + 0.05
