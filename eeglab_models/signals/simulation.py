"""Motor-imagery EEG from physics: a moabb data set, generated in seconds, whose truth is known.

The head and its currents are in `eeglab_models.signals.physiology`; here they become recordings.
"""

import hashlib
import json
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Real

import mne
import numpy as np
from jaxtyping import Float, Int, Shaped
from moabb.datasets.base import BaseDataset

from eeglab_models.signals.electrodes import montage
from eeglab_models.signals.physiology import (
    EOG,
    EVENTS,
    IMAGERY,
    MAINS,
    MASTOIDS,
    MOTOR,
    ONSET,
    REACTIVITY,
    SOURCES,
    WIDTHS,
    Head,
    Trials,
    ability,
    background,
    draw_head,
    draw_trials,
    electrode_noise,
    eye_movements,
    muscles,
    rhythms,
    visual_response,
)

__all__ = ["GroundTruth", "SimulatedMotorImagery"]

# Part of the data set's code: raise it with every change of the data.
VERSION = 1
# fmt: off
BNCI2014_001_CHANNELS = (
    "Fz", "FC3", "FC1", "FCz", "FC2", "FC4", "C5", "C3", "C1", "Cz", "C2", "C4", "C6",
    "CP3", "CP1", "CPz", "CP2", "CP4", "P1", "Pz", "P2", "POz",
)
# fmt: on
# Each has random numbers of its own, so that any part of the data can be generated alone.
PURPOSES = ("anatomy", "physiology", "session", "trials", "background", "rhythms", "eyes", "muscles", "noise")


class SimulatedMotorImagery(BaseDataset):
    """Simulated motor imagery as a moabb data set that needs no download.

    In each trial a subject fixates, sees a cue and imagines for four seconds to move a hand, the feet or the
    tongue, which weakens the mu and beta rhythms of the matching part of the motor cortex. Good and poor
    subjects, differences between sessions, other rhythms, 1/f background, eyes, muscles, mains hum and
    electrode noise make it about as hard to decode as BNCI2014_001, whose layout is the default. The same
    arguments give the same microvolts, and each run can be generated alone.

    Amplitude and slope of the spectrum lie in the range of public recordings. Limits: against the mastoids,
    the correlation between channels falls too fast with distance, most of all at 9 to 13 cm; every subject
    has a clear mu rhythm near 10.5 Hz, which many people lack; rhythms are Gaussian noise, without harmonics
    or the arches of a real mu rhythm; the head is a sphere. So it shows whether a method finds what is
    there, not how well it does in people.

    Parameters
    ----------
    n_subjects : int
        Number of subjects.
    n_sessions : int
        Number of sessions of each subject.
    n_runs : int
        Number of runs of each session.
    n_trials_per_run : int
        Number of trials of each run, all classes together.
    classes : sequence of str
        Two or more of `"left_hand"`, `"right_hand"`, `"feet"` and `"tongue"`.
    ch_names : sequence of str | None
        EEG channels, named as in the 10-05 system; None for the 22 channels of BNCI2014_001.
    sfreq : float
        Sampling frequency in Hz, 128 or more.
    reference : str
        `"mastoids"` for the mean of TP9 and TP10, `"average"` for the mean of all EEG channels.
    desynchronisation : float
        Factor on all reactions to imagery; with 0 there is nothing to decode.
    informative_eyes : bool
        Whether the eyes follow the cue, which lets a model decode them instead of the brain.
    seed : int
        Seed of all randomness. Seeds differ in difficulty; the default is the calibrated one.
    subjects : sequence of int | None
        Subjects to offer, counted from 1; None for all.
    sessions : sequence of int | None
        Sessions to offer, counted from 0; None for all.

    Raises
    ------
    ValueError
        If an argument is not as described.

    References
    ----------
    Pfurtscheller and Lopes da Silva (1999): desynchronisation of mu and beta rhythms. Tangermann et al.
    (2012), BCI Competition IV, data set 2a: the layout. `eeglab_models.signals.forward`: the head.
    """

    def __init__(
        self,
        n_subjects: int = 9,
        n_sessions: int = 2,
        n_runs: int = 6,
        n_trials_per_run: int = 24,
        classes: Sequence[str] = tuple(EVENTS),
        ch_names: Sequence[str] | None = None,
        sfreq: float = 250.0,
        reference: str = "mastoids",
        desynchronisation: float = 1.0,
        informative_eyes: bool = False,
        seed: int = 3,
        subjects: Sequence[int] | None = None,
        sessions: Sequence[int] | None = None,
    ) -> None:
        self.classes = check_names("classes", classes, EVENTS)
        self.ch_names = check_names(
            "ch_names", BNCI2014_001_CHANNELS if ch_names is None else ch_names, montage().ch_names
        )
        self.n_runs = check_number("n_runs", n_runs, 1)
        self.n_trials_per_run = check_number("n_trials_per_run", n_trials_per_run, len(self.classes))
        self.sfreq = check_number("sfreq", sfreq, 128.0)
        if reference not in ("mastoids", "average"):
            raise ValueError(f"reference must be 'mastoids' or 'average', got {reference!r}.")
        self.reference = reference
        self.desynchronisation = check_number("desynchronisation", desynchronisation, 0.0)
        self.informative_eyes = bool(informative_eyes)
        self.seed = check_number("seed", seed, 0)
        every_subject = range(1, check_number("n_subjects", n_subjects, 1) + 1)
        every_session = range(check_number("n_sessions", n_sessions, 1))
        subjects = check_indices("subjects", subjects, every_subject)
        sessions = check_indices("sessions", sessions, every_session)
        # moabb files results under the code alone, so the code must differ wherever the results may.
        parameters = [*vars(self).values(), n_subjects, n_sessions, subjects, sessions]
        digest = hashlib.sha256(json.dumps(parameters).encode()).hexdigest()[:8]
        super().__init__(
            subjects=every_subject,
            sessions_per_subject=n_sessions,
            events={name: EVENTS[name] for name in self.classes},
            code=f"{type(self).__name__}-v{VERSION}-{digest}",
            interval=[0, IMAGERY],
            paradigm="imagery",
            selected_subjects=subjects,
            selected_sessions=sessions,
        )

    def _get_single_subject_data(self, subject: int) -> dict[str, dict[str, mne.io.RawArray]]:
        """Return the runs of one subject by session and run, as moabb asks for them."""
        return {
            str(session): {str(run): self.simulate_run(subject, session, run) for run in range(self.n_runs)}
            for session in range(self.n_sessions)
        }

    def data_path(
        self,
        subject: int,
        path: str | None = None,
        force_update: bool = False,
        update_path: bool | None = None,
        verbose: bool | str | int | None = None,
    ) -> list[str]:
        """Return no path, because nothing lies on disk; moabb asks for one.

        Parameters
        ----------
        subject : int
            Subject, counted from 1.
        path, force_update, update_path, verbose : str, int, bool or None
            Have no effect.

        Returns
        -------
        paths : list of str
            Empty.
        """
        return []

    def simulate_run(self, subject: int, session: int = 0, run: int = 0) -> mne.io.RawArray:
        """Generate one run, the same whether alone or among others.

        Parameters
        ----------
        subject : int
            Subject, counted from 1.
        session : int
            Session, counted from 0.
        run : int
            Run, counted from 0.

        Returns
        -------
        raw : mne.io.RawArray
            EEG, EOG and stimulus channels in volts, with one annotation a trial from cue to end of imagery.

        Raises
        ------
        ValueError
            If there is no such subject, session or run.
        """
        head = self._head(subject, session)
        trials = self._trials(subject, session, run)
        generator = partial(self._generator, subject=subject, session=session, run=run)
        microvolts = (
            background(head, trials, generator("background"))
            + rhythms(head, trials, generator("rhythms"))
            + visual_response(head, trials)
            + eye_movements(head, trials, self.informative_eyes, generator("eyes"))
            + muscles(head, trials, generator("muscles"))
            # Noise that came after the reference would hide the rank which an average reference costs.
            + electrode_noise(head, trials, generator("noise"))
        )  # (n_electrodes, n_times)
        return self._to_raw(self._rereference(microvolts), trials)

    def ground_truth(self, subject: int, session: int | str = 0) -> "GroundTruth":
        """Tell what is true of one subject in one session.

        Parameters
        ----------
        subject : int
            Subject, counted from 1.
        session : int | str
            Session, counted from 0, or its name in moabb.

        Returns
        -------
        truth : GroundTruth
            Topographies, bands, window, reactions, and the state of each trial.

        Raises
        ------
        ValueError
            If there is no such subject or session.
        """
        session = int(session)
        head = self._head(subject, session)
        runs = [self._trials(subject, session, run) for run in range(self.n_runs)]
        topographies = self._rereference(head.sources)[: len(self.ch_names)]  # (n_chans, n_sources)
        return GroundTruth(
            ch_names=self.ch_names,
            topographies={
                name: max(source.currents.values()) * topography
                for (name, source), topography in zip(SOURCES.items(), topographies.T, strict=True)
            },
            bands={
                name: (head.peaks[name] - 2 * WIDTHS[name], head.peaks[name] + 2 * WIDTHS[name])
                for name in MOTOR
            },
            window=(ONSET, IMAGERY),
            reactions={
                label: {
                    name: head.reactivity * source.reaction[EVENTS[label] - 1]
                    for name, source in SOURCES.items()
                    if any(source.reaction)
                }
                for label in self.classes
            },
            quality=ability(subject),
            labels=np.concatenate([trials.labels for trials in runs]),
            runs=np.repeat(np.arange(self.n_runs), self.n_trials_per_run),
            engagement=np.concatenate([trials.engagement for trials in runs]),
        )

    def _generator(self, purpose: str, subject: int, session: int = -1, run: int = -1) -> np.random.Generator:
        """Start the random numbers of a purpose; -1 is for what does not change over sessions, or runs."""
        return np.random.default_rng([self.seed, subject, session + 1, run + 1, PURPOSES.index(purpose)])

    def _head(self, subject: int, session: int) -> Head:
        """Draw one subject's head as it is in one session."""
        check_indices("subject", [subject], range(1, len(self._all_subjects) + 1))
        check_indices("session", [session], range(self.n_sessions))
        return draw_head(
            self.ch_names,
            REACTIVITY * self.desynchronisation * ability(subject),
            anatomy=self._generator("anatomy", subject),
            physiology=self._generator("physiology", subject),
            session=self._generator("session", subject, session),
        )

    def _trials(self, subject: int, session: int, run: int) -> Trials:
        """Draw the trials of one run."""
        check_indices("run", [run], range(self.n_runs))
        rng = self._generator("trials", subject, session, run)
        return draw_trials(self.classes, self.n_trials_per_run, self.sfreq, ability(subject), rng)

    def _rereference(
        self, potentials: Float[np.ndarray, "n_electrodes columns"]
    ) -> Float[np.ndarray, "n_measured columns"]:
        """Measure EEG and EOG, in any unit, against the mean of the mastoids or of the EEG electrodes."""
        n_chans = len(self.ch_names)
        rows = slice(-len(MASTOIDS), None) if self.reference == "mastoids" else slice(n_chans)
        return potentials[: n_chans + len(EOG)] - potentials[rows].mean(axis=0)

    def _to_raw(self, microvolts: Float[np.ndarray, "n_measured n_times"], trials: Trials) -> mne.io.RawArray:
        """Pack EEG, EOG and cues into a recording of mne, in volts."""
        stimulus = np.zeros((1, trials.n_times))
        stimulus[0, trials.cues] = [EVENTS[label] for label in trials.labels]
        names = [*self.ch_names, *EOG, "STIM"]
        types = ["eeg"] * len(self.ch_names) + ["eog"] * len(EOG) + ["stim"]
        info = mne.create_info(names, self.sfreq, types)
        info["line_freq"] = MAINS
        raw = mne.io.RawArray(np.concatenate([1e-6 * microvolts, stimulus]), info, verbose="warning")
        raw.set_montage(montage())
        return raw.set_annotations(mne.Annotations(trials.cues / self.sfreq, IMAGERY, trials.labels))


@dataclass(frozen=True)
class GroundTruth:
    """What is true of one simulated subject in one session.

    Attributes
    ----------
    ch_names : tuple of str, length n_chans
        EEG channels, in the order of the recording.
    topographies : dict of str to numpy.ndarray, each of shape (n_chans,)
        For each source, the potential in microvolts at the EEG channels, after the reference, at the
        root-mean-square current of its strongest rhythm (at the peak of the visual response).
    bands : dict of str to tuple of float
        Edges in Hz of this subject's `"mu"` and `"beta"` band, which imagery weakens.
    window : tuple of float
        Seconds after the cue between which it does so.
    reactions : dict of str to dict of str to float
        For each class and motor source, the relative change of amplitude at engagement 1: -0.4 loses 40 %.
    quality : float
        How good a subject this is, from 0.38 to 1; scales the reactions and makes lapses rare.
    labels : numpy.ndarray of str, shape (n_trials,)
        Class of each trial of all runs, in the order in which moabb returns them.
    runs : numpy.ndarray of int, shape (n_trials,)
        Run of each trial.
    engagement : numpy.ndarray, shape (n_trials,)
        Factor on the reactions in each trial: 1 on average, 0 in a lapse.
    """

    ch_names: tuple[str, ...]
    topographies: dict[str, Float[np.ndarray, " n_chans"]]
    bands: dict[str, tuple[float, float]]
    window: tuple[float, float]
    reactions: dict[str, dict[str, float]]
    quality: float
    labels: Shaped[np.ndarray, " n_trials"]
    runs: Int[np.ndarray, " n_trials"]
    engagement: Float[np.ndarray, " n_trials"]


def check_number(name: str, value: Real, least: Real) -> Real:
    """Return the number as a plain one, an int where `least` is one."""
    kind = type(least)
    if not isinstance(value, Real) or not math.isfinite(value) or value < least or kind(value) != value:
        expected = "a whole number" if kind is int else "a finite number"
        raise ValueError(f"{name} must be {expected} of {least} or more, got {value!r}.")
    return kind(value)


def check_names(name: str, values: Sequence[str], known: Collection[str]) -> tuple[str, ...]:
    """Return the names as a tuple if there are two or more, all known and no two the same."""
    if isinstance(values, str) or len(values) < 2 or len(set(values)) < len(values):
        raise ValueError(f"{name} must be two or more different names, got {values!r}.")
    if unknown := [value for value in values if value not in known]:
        raise ValueError(f"{name} must be among {', '.join(known)}, got {unknown}.")
    return tuple(values)


def check_indices(name: str, values: Sequence[int] | None, known: range) -> list[int] | None:
    """Return the choice as a list if all of it exists; None stays None."""
    if values is not None and not set(values) <= set(known):
        raise ValueError(f"{name} must be among {known.start} to {known.stop - 1}, got {list(values)}.")
    return None if values is None else [int(value) for value in values]
