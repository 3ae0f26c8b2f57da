"""Configurations in plain values."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from eeglab_models import EEGDINO
from eeglab_models.models.arguments import to_plain


class OwnActivation(nn.ReLU):
    """A class that no configuration may name."""


def test_numpy_numbers_become_plain_ones():
    plain = to_plain({"n": np.int64(3), "bands": [(np.float32(4.0), 8)], "b": np.array([1.5, 2.0])})

    assert json.dumps(plain) == '{"n": 3, "bands": [[4.0, 8]], "b": [1.5, 2.0]}'


def test_a_class_that_a_configuration_cannot_name_is_refused():
    model = EEGDINO(n_outputs=2, n_chans=2, n_times=200, n_layer=1, activation=OwnActivation)

    with pytest.raises(ValueError, match="activation=OwnActivation cannot be written"):
        model.get_config()


@pytest.mark.parametrize("name", ["n_outputs", "n_chans", "n_times", "sfreq"])
def test_signal_arguments_are_positive(name):
    arguments = {"n_outputs": 2, "n_chans": 2, "n_times": 200, "sfreq": 200.0, name: 0}

    with pytest.raises(ValueError, match=f"{name} must be positive, got 0"):
        EEGDINO(**arguments)


def test_windows_without_a_batch_axis_are_refused():
    with pytest.raises(ValueError, match=r"Add a batch axis with x\[None\]"):
        EEGDINO.check_input(EEGDINO(n_outputs=2, n_chans=2, n_times=200, n_layer=1), torch.zeros(2, 200), 1)
