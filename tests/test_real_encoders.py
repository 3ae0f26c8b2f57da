"""The encoder that learned from real EEG, on recordings of people whom it never saw."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from eeglab_models.features import features_of
from eeglab_models.models.checkpoints import shipped_checkpoint
from eeglab_models.pretraining import read_configuration

CHANNELS = "Fp1 Fp2 F7 F3 Fz F4 F8 T7 C3 Cz C4 T8 P7 P3 Pz P4 P8 O1 O2".split()


def accuracy(folder):
    """Rest against arithmetic of six people, each learned from the other five."""
    features, windows = features_of(folder, "RealArithmetic", tmax=4.0, events=["resting", "arithmetic"])
    person = windows.metadata["subject"].to_numpy()
    found = []
    for one in np.unique(person):
        probe = make_pipeline(StandardScaler(), RidgeClassifier(alpha=1000.0))
        probe.fit(features[person != one], windows.labels[person != one])
        found.append(probe.score(features[person == one], windows.labels[person == one]))
    return np.mean(found)


@pytest.mark.parametrize("name", ["eegdino-real"])
def test_a_pretrained_encoder_beats_one_of_published_initial_weights(name, tmp_path):
    torch.manual_seed(0)
    published = replace(read_configuration(name), arguments={}).build().encoder
    published.save_pretrained(tmp_path)
    (tmp_path / "readout.json").write_text((shipped_checkpoint(name) / "readout.json").read_text())
    pretrained, random = accuracy(name), accuracy(tmp_path)

    assert pretrained > random + 0.05
