"""Channels find the slots of published weights, or are refused."""

import pytest
import torch

from eeglab_models.models.channels import read_channel_ids

WINDOWS = torch.zeros(4, 3, 10)


@pytest.mark.parametrize("ids", [[2, 0, 1], (2, 0, 1), torch.tensor([2, 0, 1])])
def test_slots_are_read_from_sequences_and_tensors(ids):
    assert read_channel_ids(ids, WINDOWS, n_slots=3).tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([0, 1], r"one number per channel .* got 2 numbers for windows of shape \(4, 3, 10\)"),
        ([], "got 0 numbers"),
        ([0, 1, 2, 3], "got 4 numbers"),
        ([0, 1, 0], r"a slot of its own, got channel_ids=\[0, 1, 0\]"),
        ([0, 1, 5], r"numbers from 0 to 4, .* got \[0, 1, 5\]"),
        ([0, 1, -1], "numbers from 0 to 4"),
    ],
)
def test_wrong_slots_are_refused(ids, message):
    with pytest.raises(ValueError, match=message):
        read_channel_ids(ids, WINDOWS, n_slots=5)


def test_a_single_window_is_refused():
    with pytest.raises(ValueError, match=r"got 3 numbers for windows of shape \(3, 10\)"):
        read_channel_ids([0, 1, 2], WINDOWS[0], n_slots=5)
