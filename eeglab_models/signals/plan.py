"""What is done to every recording, stated before anything is computed, and steps that all sources share."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from eeglab_models.configs import nearest, shorten
from eeglab_models.signals.annotations import check_meanings
from eeglab_models.signals.electrodes import electrode_name, montage, sort_channels
from eeglab_models.signals.windows import Report

__all__ = ["Plan"]

# The pass band in Hz of continuous recordings, where nobody asks for another.
BAND = (0.3, 75.0)
Edge = float | None | Literal["auto"]
Events = str | int | Sequence[Any] | Mapping[str, Any] | None


@dataclass(frozen=True)
class Plan:
    """What is done to every recording on its way to windows, in this order; prints as a table.

    Attributes
    ----------
    channels : sequence of str or None
        Channels to take; None means the electrodes of the scalp.
    ceiling : float or None
        Microvolts from a channel's median beyond which a sample is no EEG; None for units of another kind.
    fmin, fmax : float, None or "auto"
        Pass band in Hz, None on an open side; ``"auto"`` means 0.3 and 75 Hz for continuous recordings.
    notch : float, None or "auto"
        Mains frequency in Hz to remove; ``"auto"`` means that which a continuous recording states.
    events : sequence of str, mapping of str, or None
        Events to cut at, or what to call those of a description or number; None means all, an empty sequence
        consecutive windows.
    annotations : mapping of str to str, or None
        What descriptions mean, where the table `MEANINGS` is wrong: event, bad, break or neither.
    tmin, tmax : float or None
        Window in seconds after the event.

    Raises
    ------
    ValueError
        If a number is not positive, a meaning unknown, or the window empty.
    """

    channels: Sequence[str] | None = None
    ceiling: float | None = 5000.0
    fmin: Edge = "auto"
    fmax: Edge = "auto"
    notch: Edge = "auto"
    events: Events = None
    annotations: Mapping[str, str] | None = None
    tmin: float = 0.0
    tmax: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be, before anything is read."""
        if isinstance(self.events, str | int | np.integer):
            object.__setattr__(self, "events", [self.events])
        if self.events is not None and not isinstance(self.events, Mapping):
            object.__setattr__(self, "events", [str(event) for event in self.events])
        object.__setattr__(self, "annotations", dict(self.annotations or {}))
        check_meanings(self.annotations)
        for name in ("fmin", "fmax", "notch", "ceiling"):
            value = getattr(self, name)
            if value not in (None, "auto") and not (isinstance(value, int | float) and 0 < value < np.inf):
                raise ValueError(f"{name} must be a positive number or None, got {value!r}.")
        if self.tmax is not None and not self.tmin < self.tmax:
            raise ValueError(f"A window ends after it begins, got tmin={self.tmin:g} and tmax={self.tmax:g}.")

    def __str__(self) -> str:
        """Print the steps for continuous recordings, in their order."""
        fmin, fmax = self._band()
        events = "events" if self.events is None else ", ".join(self.events) or "consecutive windows"
        end = "the end of the event" if self.tmax is None else f"{self.tmax:g} s"
        steps = {
            "channels": "electrodes of the scalp" if self.channels is None else ", ".join(self.channels),
            "raw signal": "flat, no number" + (f", beyond {self.ceiling:g} µV" if self.ceiling else ""),
            "filter": describe_band(fmin, fmax),
            "notch": self._describe_notch(),
            "cut": f"{events}, from {self.tmin:g} s to {end}",
        }
        return str(Report(tuple(steps.items())))

    def _describe_notch(self) -> str:
        """Say what becomes of the mains frequency."""
        if self.notch == "auto":
            return "mains frequency where the recording states it, else none; notch=50 or notch=60 says it"
        return "none" if self.notch is None else f"{self.notch:g} Hz and its multiples"

    @property
    def _called(self) -> dict[str, str]:
        """Give the names of events by what they are called in the recording; empty if none is asked for."""
        if isinstance(self.events, Mapping):
            return {str(found): name for name, found in self.events.items()}
        return {name: name for name in self.events or ()}

    def _band(self) -> tuple[float | None, float | None]:
        """Give the pass band of continuous recordings."""
        edges = zip((self.fmin, self.fmax), BAND, strict=True)
        return tuple(default if own == "auto" else own for own, default in edges)


class NoWindowError(ValueError):
    """A recording holds no window of those that were asked for."""


def choose_channels(recording: Any, plan: Plan) -> tuple[list[str], Report]:
    """Name the channels that the plan asks for, or the electrodes of the scalp; report the others."""
    names = recording.ch_names
    if plan.channels is not None:
        for name in plan.channels:
            if name not in names:
                raise ValueError(
                    f"The recording has no channel {name!r}. Did you mean {nearest(name, names)!r}?"
                )
        kept, others = list(plan.channels), {}
    else:
        kept, others, unknown = sort_channels(recording.info)
        if unknown:
            raise ValueError(describe_unknown(unknown))
    if not kept:
        has = ", ".join(names) if names else "none at all, only annotations"
        raise ValueError(
            f"The recording has no EEG channel; it has {has}. Set the types of its channels with "
            "raw.set_channel_types."
        )
    finding = f"{len(kept)} of EEG."
    if others:
        finding += " Left out: " + ", ".join(f"{name} ({why})" for name, why in others.items()) + "."
    return kept, Report().add("channels", finding)


def describe_unknown(names: Sequence[str]) -> str:
    """Say what to do about channels of which nobody can tell whether they lie on the scalp."""
    ends = [[electrode_name(end) for end in name.split("-")] for name in names]
    if all(len(pair) == 2 and all(pair) for pair in ends):
        return (
            f"{len(names)} channels are differences of two electrodes: {shorten(names)}. Models read single "
            "electrodes against one reference; load that recording, or say which to take with channels=."
        )
    near = nearest(names[0], montage().ch_names) or "Fp1"
    return (
        f"{len(names)} channels are called EEG, but no electrode bears their names and none has a position: "
        f"{shorten(names)}; names like Fp1, C3, Oz are known. Name them with "
        f"raw.rename_channels({{{names[0]!r}: {near!r}}}), set types or a montage (of EGI's nets "
        "raw.set_montage('GSN-HydroCel-128')), or say which to take with channels=."
    )


def describe_band(fmin: float | None, fmax: float | None) -> str:
    """Say which band a filter passed."""
    if fmin is None and fmax is None:
        return "None"
    return f"{fmin or 0:g} to {fmax:g} Hz" if fmax else f"From {fmin:g} Hz on"


def refuse(what: str, **arguments: Any) -> None:
    """Refuse arguments that this source has no use for."""
    given = {name: value for name, value in arguments.items() if value is not None}
    if given:
        told = ", ".join(
            f"{name}={value!r}" for name, value in given.items() if name not in ("info", "table")
        )
        raise ValueError(f"{', '.join(given)} {what}, got {told or 'them'}. Leave them out.")


def check_events(events: Collection[str], known: Collection[Any], where: str) -> None:
    """Refuse events that do not occur, and name those that do."""
    if set(events) - set(known):
        raise ValueError(events_error(events, known, where))


def events_error(events: Collection[str], known: Collection[Any], where: str) -> str:
    """Say which events do not occur, and which do."""
    unknown = sorted(set(map(str, events)) - set(map(str, known)))
    return (
        f"{where} has no event {', '.join(unknown)}; it has {', '.join(sorted(map(str, known))) or 'none'}."
    )
