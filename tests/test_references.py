"""Outputs and gradients equal those of the reference implementation, with every parameter perturbed."""

import contextlib

import pytest
from references.cases import CASES
from references.compare import compare

SMALL = [case for case in CASES if not case.full_size]


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.id)
def test_same_outputs_and_gradients_as_the_reference(case):
    expected = pytest.warns(UserWarning, match=case.warns) if case.warns else contextlib.nullcontext()
    with expected:
        errors = compare(case)

    assert {name: error for name, error in errors.items() if not error < 1e-4} == {}


def test_every_model_has_references():
    assert {case.model for case in SMALL} == {"CodeBrain", "EEGDINO", "EEGPT", "FBLightConvNet"}


@pytest.mark.parametrize("preset", ["small", "medium", "large"])
def test_presets_of_eegdino_have_the_published_sizes(preset):
    import torch

    from eeglab_models import EEGDINO, EEGDINO_CONFIGS

    with torch.device("meta"):
        model = EEGDINO(n_chans=19, n_times=200, return_encoder_output=True, **EEGDINO_CONFIGS[preset])
    n_millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6

    assert round(n_millions, 1) == {"small": 4.4, "medium": 33.8, "large": 201.9}[preset]
