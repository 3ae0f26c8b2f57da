"""Configurations say in one sentence which argument is wrong, before anything is built."""

import pytest
from references.cases import CASES
from references.compare import build

import eeglab_models
from eeglab_models import EEGPT
from eeglab_models.models.arguments import parameters_of

DEFAULTS = [case for case in CASES if case.name == "default"]
WRONG_TYPES = ("abc", "a.b", [1, "a"], {"a": 1}, True, [{}], None)
WRONG_NUMBERS = (-1, 1.5, 0, [[-1, 8]], [[]])


@pytest.fixture(params=DEFAULTS, ids=lambda case: case.model)
def case(request):
    return request.param


@pytest.mark.parametrize(
    ("model", "argument", "value"),
    [
        ("CodeBrain", "num_res_layers", 10**6),
        ("CodeBrain", "n_times", 10**12),
        ("CodeBrain", "pos_kernel", [10**12 + 1, 7]),
        ("EEGDINO", "n_layer", 10**6),
        ("EEGPT", "depth", 10**6),
        ("EEGPT", "n_chans", 10**10),
        ("FBLightConvNet", "n_bands", 10**9),
        ("FBLightConvNet", "n_bands", 1001 * [[4, 8]]),
        ("FBLightConvNet", "sfreq", 1e12),
    ],
)
def test_numbers_that_no_model_has_are_refused_by_name(model, argument, value):
    config = build(next(case for case in DEFAULTS if case.model == model)).get_config()

    with pytest.raises(ValueError, match=f"{argument} of {model} must lie between 0 and [15]0*,0*"):
        getattr(eeglab_models, model).from_config(config | {argument: value})


@pytest.mark.filterwarnings("ignore")
def test_values_of_a_wrong_type_are_refused_by_name(case):
    cls = getattr(eeglab_models, case.model)
    config = build(case).get_config()
    wrong = {}
    for argument in parameters_of(cls):
        for value in WRONG_TYPES + WRONG_NUMBERS:
            try:
                cls.from_config(config | {argument: value})
            except Exception as error:
                named = argument in str(error) or value in WRONG_NUMBERS
                if type(error) is not ValueError or not named:
                    wrong[argument, repr(value)] = f"{type(error).__name__}: {error}"

    assert wrong == {}


def test_a_choice_with_a_dot_is_no_class():
    config = build(next(case for case in DEFAULTS if case.model == "EEGPT")).get_config()

    with pytest.raises(ValueError, match=r"chan_proj_type of EEGPT should be .*'none'.*got 'a.b'"):
        EEGPT.from_config(config | {"chan_proj_type": "a.b"})


def test_lists_stand_for_tuples_and_whole_numbers_for_any(case):
    model = build(case)
    config = model.get_config() | {"input_window_seconds": 2, "sfreq": None, "n_times": model.n_times}

    assert type(model).from_config(config).sfreq == model.n_times / 2
