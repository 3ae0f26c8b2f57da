"""Schedules are functions of the step, and those that torch has too agree with it."""

import math
import warnings

import pytest
import torch

from eeglab_models.training.schedules import (
    SCHEDULES,
    check_schedule,
    constant,
    cosine,
    linear,
    one_cycle,
    value_at,
    warmup_cosine,
)


@pytest.mark.parametrize(("n_steps", "share"), [(10, 0.2), (37, 0.3), (100, 0.05)])
def test_one_cycle_is_that_of_torch_with_its_cycle_of_the_first_beta(n_steps, share):
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    oracle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=5e-4, div_factor=2, final_div_factor=8, total_steps=n_steps, pct_start=share
    )
    found, expected = [], []
    for step in range(n_steps):
        group = optimizer.param_groups[0]
        expected.append((group["lr"], group["betas"][0]))
        found.append(
            (
                one_cycle(step, n_steps, 2.5e-4, 5e-4, 3.125e-5, share),
                one_cycle(step, n_steps, 0.95, 0.85, 0.95, share),
            )
        )
        optimizer.step()
        if step < n_steps - 1:
            oracle.step()

    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected))


def test_a_cosine_of_four_trainings_is_the_annealing_of_torch():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-4)
    oracle = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=40, eta_min=1e-5)
    rates = []
    with warnings.catch_warnings(action="ignore"):
        for _ in range(11):
            rates.append(optimizer.param_groups[0]["lr"])
            oracle.step()

    assert rates == pytest.approx([cosine(step, 11, 1e-4, 1e-5, span=4) for step in range(11)])


def test_the_warm_up_is_a_line_and_the_rest_half_a_cosine():
    values = [warmup_cosine(step, 10, peak=8.0, end=2.0, share=0.4) for step in range(10)]

    assert values[:5] == pytest.approx([2, 4, 6, 8, 8])
    assert values[5:] == pytest.approx([5 + 3 * math.cos(math.pi * part / 5) for part in range(1, 6)])


def test_ramps_reach_both_ends_and_the_middle_between():
    for ramp in (linear, cosine):
        assert [ramp(step, 5, 0.04, 0.4) for step in (0, 2, 4)] == pytest.approx([0.04, 0.22, 0.4])
    assert linear(1, 5, 0.04, 0.4) == pytest.approx(0.13)
    assert cosine(1, 5, 0.0, 1.0) == pytest.approx(0.5 - math.sqrt(0.125))


@pytest.mark.parametrize("n_steps", [1, 2, 3])
def test_the_shortest_trainings_have_finite_values(n_steps):
    arguments = {
        "constant": (1.0,),
        "linear": (0.0, 1.0),
        "cosine": (0.0, 1.0),
        "warmup_cosine": (1.0,),
        "one_cycle": (0.5, 1.0, 0.0),
    }
    values = [
        schedule(step, n_steps, *arguments[name])
        for name, schedule in SCHEDULES.items()
        for step in range(n_steps)
    ]

    assert all(0 <= value <= 1 for value in values)


def test_plain_values_name_a_schedule():
    schedule = {"schedule": "linear", "start": 0.0, "end": 1.0}

    assert value_at(schedule, 1, 5) == 0.25
    assert value_at(3, 1, 5) == constant(1, 5, 3.0) == 3.0


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ({"schedule": "warm_up_cosine", "peak": 1.0}, "Did you mean 'warmup_cosine'"),
        ({"peak": 1.0}, "lr: there is no schedule None"),
        ({"schedule": ["linear"]}, "there is no schedule"),
        ({"schedule": "linear", "start": 1.0}, "the schedule 'linear' of lr needs end, got start"),
        ({"schedule": "linear", "start": 1.0, "end": 2.0, "peak": 3.0}, "has no 'peak'"),
        ({"schedule": "constant", "value": "1"}, "value of the schedule 'constant' of lr should be a number"),
        ({"schedule": "cosine", "start": 1, "end": 0, "span": 0}, "span .* greater than 0, got 0"),
        ("1e-3", "lr should be a number, got '1e-3'"),
        (True, "lr should be a number, got True"),
    ],
)
def test_a_wrong_schedule_is_refused(schedule, message):
    with pytest.raises(ValueError, match=message):
        check_schedule("lr", schedule)
