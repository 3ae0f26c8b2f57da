"""Regularisation without parameters."""

import torch

from eeglab_models.models.regularization import DropPath


def test_dropping_a_branch_keeps_its_expectation():
    branch = torch.ones(4000, 3)

    dropped = DropPath(0.25)(branch)

    assert set(dropped.unique().tolist()) == {0.0, torch.tensor(4 / 3).item()}
    assert torch.equal(dropped[:, 0], dropped[:, 2])
    assert abs(dropped.mean().item() - 1.0) < 0.05  # about 7 standard errors


def test_a_branch_is_never_dropped_outside_training():
    branch = torch.randn(5, 2, 3)

    assert torch.equal(DropPath(0.9).eval()(branch), branch)
