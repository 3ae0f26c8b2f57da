"""How learning rate, weight decay and momentum change in the course of training.

Every schedule is a function of the number of the step, counted from 0, and of the number of steps, and has no
memory: training that goes on after an interruption needs no state of it. The other arguments are what
`Settings` takes; shares are those of all steps.
"""

import math
from collections.abc import Mapping
from typing import Any

from eeglab_models.configs import Positive, Share, check_arguments, check_name, check_value

__all__: list[str] = []


def constant(step: int, n_steps: int, value: float) -> float:
    """Keep one value."""
    return value


def linear(step: int, n_steps: int, start: float, end: float) -> float:
    """Go from one value, that of the first step, to another in a straight line."""
    return start + (end - start) * share_done(step, n_steps - 1)


def cosine(step: int, n_steps: int, start: float, end: float, span: Positive = 1.0) -> float:
    """Go from one value to another along half a cosine, slowly at both ends.

    `span` is its length, in trainings: CodeBrain trains for 10 epochs along a cosine of 40, so its span is 4.
    """
    return bend(start, end, share_done(step, span * (n_steps - 1)))


def warmup_cosine(
    step: int, n_steps: int, peak: float, end: float = 0.0, start: float = 0.0, share: Share = 0.1
) -> float:
    """Rise in a straight line, for `share` of the steps, then fall from the peak along half a cosine.

    The rise begins at `start`, one step before the first one; so no step is lost to a rate of zero.
    """
    n_warm = round(share * n_steps)
    if step < n_warm:
        return start + (peak - start) * (step + 1) / n_warm
    return bend(peak, end, share_done(step - n_warm, n_steps - 1 - n_warm))


def one_cycle(step: int, n_steps: int, start: float, peak: float, end: float, share: Share = 0.2) -> float:
    """Go to a peak and on to an end, each along half a cosine: Smith and Topin (2019), Super-convergence.

    Published recipes with torch's ``OneCycleLR`` also cycle AdamW's first beta, from 0.95 to 0.85 and back.
    """
    turn = share * n_steps - 1
    if step <= turn:
        return bend(start, peak, share_done(step, turn))
    return bend(peak, end, share_done(step - turn, n_steps - 1 - turn))


SCHEDULES = {function.__name__: function for function in (constant, linear, cosine, warmup_cosine, one_cycle)}
"""The schedules by name."""


def value_at(schedule: float | Mapping[str, Any], step: int, n_steps: int) -> float:
    """Look up a step's value of a schedule: a number stays, a mapping has a name and arguments."""
    if not isinstance(schedule, Mapping):
        return float(schedule)
    arguments = {name: value for name, value in schedule.items() if name != "schedule"}
    return float(SCHEDULES[schedule["schedule"]](step, n_steps, **arguments))


def check_schedule(name: str, schedule: Any, level: Any = float) -> None:
    """Refuse what is no schedule, or goes through values that are not of the type `level`."""
    if not isinstance(schedule, Mapping):
        check_value(name, schedule, level)
        return
    arguments = {key: value for key, value in schedule.items() if key != "schedule"}
    check_name(schedule.get("schedule"), SCHEDULES, f"{name}: there is no schedule")
    function = SCHEDULES[schedule["schedule"]]
    what = f"the schedule {function.__name__!r} of {name}"
    for key, value in check_arguments(function, arguments, what, ("step", "n_steps")).items():
        # All others are values that the schedule goes through, and it goes nowhere beyond them.
        if key not in ("share", "span"):
            check_value(f"{key} of {what}", value, level)


def share_done(step: float, n_steps: float) -> float:
    """Share of a stretch that is done; a stretch without length is done."""
    return min(step / n_steps, 1.0) if n_steps > 0 else 1.0


def bend(start: float, end: float, share: float) -> float:
    """Go from start to end along half a cosine."""
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * share))
