"""What a head does while it imagines movements: which currents flow, and what electrodes see of them.

Signals are in microvolts against a point far away. Shapes use these names throughout:

    n_electrodes  the EEG channels, then three EOG electrodes, then the two mastoids
    n_sources     dipoles in the cortex, the rows of `SOURCES`
    n_rhythms     pairs of a source and one of its rhythms, the rows of `RHYTHMS`
    n_areas       areas of cortex that make the background
    n_freqs       bins of a one-sided spectrum
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Complex, Float, Int, Shaped
from scipy.fft import irfft, next_fast_len, rfftfreq
from scipy.ndimage import uniform_filter1d
from scipy.signal import fftconvolve
from scipy.signal.windows import hann
from scipy.spatial.transform import Rotation
from scipy.special import expit

from eeglab_models.signals.electrodes import montage
from eeglab_models.signals.forward import BRAIN_RADIUS, HEAD_RADIUS, sphere_potentials

# Layout of a trial, in s.
FIXATION, IMAGERY, PAUSE = 2.0, 4.0, (1.5, 2.5)
EVENTS = {"left_hand": 1, "right_hand": 2, "feet": 3, "tongue": 4}
EOG = {"EOG1": (-0.62, 0.74, -0.28), "EOG2": (0.0, 0.97, 0.22), "EOG3": (0.62, 0.74, -0.28)}  # directions
MASTOIDS = ("TP9", "TP10")


class Source(NamedTuple):
    """A dipole in the cortex and what it does."""

    under: dict[str, float]  # electrodes above it, weighted
    radius: float  # m from the centre
    tilt: float  # degrees from outwards to frontwards
    currents: dict[str, float]  # nA m, root mean square of a rhythm or peak of an evoked response
    reaction: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)  # change of amplitude by event, at most reactivity


MOTOR = {"mu": 30.0, "beta": 9.0}
TONGUE = (0.05, 0.05, 0.05, -0.4)
SOURCES = {
    "hand_left_hemisphere": Source({"C3": 0.7, "CP3": 0.3}, 0.074, 25, MOTOR, (-0.25, -1.0, 0.2, 0.15)),
    "hand_right_hemisphere": Source({"C4": 0.7, "CP4": 0.3}, 0.074, 25, MOTOR, (-1.0, -0.25, 0.2, 0.15)),
    "foot": Source({"Cz": 0.7, "CPz": 0.3}, 0.070, 15, MOTOR, (0.05, 0.05, -0.48, 0.05)),
    "tongue_left_hemisphere": Source({"C5": 0.8, "T7": 0.2}, 0.073, 25, MOTOR, TONGUE),
    "tongue_right_hemisphere": Source({"C6": 0.8, "T8": 0.2}, 0.073, 25, MOTOR, TONGUE),
    "occipital_left": Source({"O1": 0.6, "PO3": 0.4}, 0.072, 20, {"alpha": 26.0}),
    "occipital_right": Source({"O2": 0.6, "PO4": 0.4}, 0.072, 20, {"alpha": 26.0}),
    "parietal": Source({"Pz": 1.0}, 0.068, 15, {"alpha": 15.0}),
    "temporal_left": Source({"T7": 0.5, "TP7": 0.5}, 0.070, 20, {"alpha": 12.0}),
    "temporal_right": Source({"T8": 0.5, "TP8": 0.5}, 0.070, 20, {"alpha": 12.0}),
    "frontal": Source({"Fz": 0.5, "FCz": 0.5}, 0.066, 10, {"theta": 12.0}),
    "visual": Source({"Oz": 1.0}, 0.070, 20, {"evoked": 40.0}),
}
REACTIONS = np.array([source.reaction for source in SOURCES.values()])  # (n_sources, n_events)
RHYTHMS = [
    (row, rhythm, current)
    for row, source in enumerate(SOURCES.values())
    for rhythm, current in source.currents.items()
    if rhythm != "evoked"
]
WIDTHS = {"mu": 1.0, "beta": 2.0, "alpha": 1.0, "theta": 1.0}  # Hz, standard deviation of the spectral peak
REACTIVITY = 0.55  # loss of amplitude in an ideal subject
ONSET = 0.55  # s from the cue to half the reaction
WAXING, AROUSAL = 0.16, 0.2  # standard deviation of log amplitude, of each rhythm and of all together
N_AREAS, DIPOLES_PER_AREA = 96, 6
AREA_CURRENT = 9.5  # nA m of each dipole of the background, root mean square in 1-40 Hz
EYES = np.array([[-0.32, 0.93, -0.12], [0.32, 0.93, -0.12]])  # directions
BLINK_CURRENT, GAZE_CURRENT = 300.0, 60.0  # nA m of each eye
GAZE = {"left_hand": (-1, 0), "right_hand": (1, 0), "feet": (0, -1), "tongue": (0, 1)}  # rightwards, upwards
TEMPLES = np.array([[-0.92, 0.38, -0.05], [0.92, 0.38, -0.05]])  # directions
MAINS = 50.0  # Hz


@dataclass(frozen=True)
class Head:
    """One subject in one session: how currents reach the electrodes, and what the currents are like."""

    electrodes: Float[np.ndarray, "n_electrodes 3"]  # directions from the centre
    sources: Float[np.ndarray, "n_electrodes n_sources"]  # µV per nA m
    areas: Float[np.ndarray, "n_electrodes n_areas"]  # µV, root mean square in 1-40 Hz
    reactivity: float  # loss of amplitude where a source's reaction is -1
    peaks: dict[str, float]  # Hz
    slope: float  # s in 1/f**s, the power spectrum of the background


def draw_head(
    ch_names: Sequence[str],
    reactivity: float,
    anatomy: np.random.Generator,
    physiology: np.random.Generator,
    session: np.random.Generator,
) -> Head:
    """Draw one subject's anatomy and physiology, and what this session changes about them."""
    peaks = {"mu": np.clip(physiology.normal(10.5, 0.9), 8.8, 12.5), "theta": 6.0}
    peaks["beta"] = np.clip(2 * peaks["mu"] + physiology.normal(0, 0.7), 17.5, 25)
    peaks["alpha"] = np.clip(physiology.normal(10.2, 0.7), 8.5, 12)
    slope = physiology.normal(1.55, 0.15)

    turn = Rotation.from_rotvec(session.normal(0, 1, 3), degrees=True)
    electrodes = turn.apply(scalp_directions([*ch_names, *EOG, *MASTOIDS]))
    loudness, shift = session.lognormal(0, 0.12), session.normal(0, 0.2)
    reactivity = reactivity * session.lognormal(0, 0.15)
    gains = session.normal(1, 0.02, (len(electrodes), 1))
    return Head(
        electrodes=electrodes,
        sources=gains * source_topographies(electrodes, anatomy),
        areas=gains * loudness * AREA_CURRENT * area_topographies(electrodes, anatomy),
        reactivity=reactivity,
        peaks={name: float(peak + shift) for name, peak in peaks.items()},
        slope=slope,
    )


def ability(subject: int) -> float:
    """Spread subjects evenly from poor, 0.38, to good, 1, the same way however many there are."""
    return 0.38 + 0.62 * ((0.5 + subject * (math.sqrt(5) - 1) / 2) % 1)


def scalp_directions(names: Sequence[str]) -> Float[np.ndarray, "n_names 3"]:
    """Return the directions of electrodes from the centre of the head."""
    positions = montage().get_positions()["ch_pos"] | EOG
    return unit(np.array([positions[name] for name in names]))


def unit(vectors: Float[np.ndarray, "rows 3"]) -> Float[np.ndarray, "rows 3"]:
    """Scale vectors to length 1."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def topographies(
    electrodes: Float[np.ndarray, "n_electrodes 3"],
    positions: Float[np.ndarray, "n_dipoles 3"],
    directions: Float[np.ndarray, "n_dipoles 3"],
) -> Float[np.ndarray, "n_electrodes n_dipoles"]:
    """Compute the potentials of dipoles in µV per nA m; those that strayed from the brain are put back."""
    depth = np.linalg.norm(positions, axis=1, keepdims=True)
    positions = positions * np.minimum(1, 0.98 * BRAIN_RADIUS / depth)
    return 1e-3 * sphere_potentials(electrodes, positions, unit(directions))


def source_topographies(
    electrodes: Float[np.ndarray, "n_electrodes 3"], anatomy: np.random.Generator
) -> Float[np.ndarray, "n_electrodes n_sources"]:
    """Compute the potentials of the named sources in µV per nA m; anatomy moves them by 6 mm, 15 degrees."""
    sources = SOURCES.values()
    outwards = unit(
        np.stack([np.array([*s.under.values()]) @ scalp_directions([*s.under]) for s in sources])
    )  # (n_sources, 3)
    front = np.array([0.0, 1.0, 0.0])
    frontwards = unit(front - outwards * (outwards @ front)[:, None])  # (n_sources, 3)
    tilts = np.radians([[source.tilt] for source in sources])  # (n_sources, 1)
    positions = outwards * [[source.radius] for source in sources] + anatomy.normal(0, 0.0045, outwards.shape)
    turns = Rotation.from_rotvec(anatomy.normal(0, 12, outwards.shape), degrees=True)
    return topographies(
        electrodes, positions, turns.apply(np.cos(tilts) * outwards + np.sin(tilts) * frontwards)
    )


def area_topographies(
    electrodes: Float[np.ndarray, "n_electrodes 3"], anatomy: np.random.Generator
) -> Float[np.ndarray, "n_electrodes n_areas"]:
    """Compute the potentials of areas of dipoles that act together, in µV per nA m of each dipole."""
    # A spiral from the crown downwards gives every area the same size, and every subject the same areas.
    area = np.arange(N_AREAS)
    height = 1 - 1.6 * (area + 0.5) / N_AREAS
    angle = np.pi * (3 - math.sqrt(5)) * area
    width = np.sqrt(1 - height**2)
    centres = np.stack([width * np.cos(angle), width * np.sin(angle), height], axis=1)  # (n_areas, 3)
    centres = centres * anatomy.uniform(0.05, 0.08, (N_AREAS, 1)) + anatomy.normal(0, 0.008, centres.shape)
    positions = np.repeat(centres, DIPOLES_PER_AREA, axis=0)  # (n_areas * n_dipoles, 3)
    positions += anatomy.normal(0, 0.006, positions.shape)
    potentials = topographies(electrodes, positions, anatomy.normal(size=positions.shape))
    return potentials.reshape(len(electrodes), N_AREAS, DIPOLES_PER_AREA).sum(axis=2)


@dataclass(frozen=True)
class Trials:
    """The trials of one run."""

    labels: Shaped[np.ndarray, " n_trials"]
    cues: Int[np.ndarray, " n_trials"]  # samples
    engagement: Float[np.ndarray, " n_trials"]  # factor on the reactions
    onsets: Float[np.ndarray, " n_trials"]  # s from the cue to half the reaction
    n_times: int
    sfreq: float

    @property
    def current(self) -> Int[np.ndarray, " n_times"]:
        """Trial whose cue came last; before the first cue the last trial, which is then in the future."""
        return np.searchsorted(self.cues, np.arange(self.n_times), side="right") - 1

    @property
    def since_cue(self) -> Float[np.ndarray, " n_times"]:
        """Time of each sample in s since the cue of its trial, negative before the first cue."""
        return (np.arange(self.n_times) - self.cues[self.current]) / self.sfreq

    @property
    def freqs(self) -> Float[np.ndarray, " n_freqs"]:
        """Frequency of each bin of the run's spectrum in Hz."""
        return rfftfreq(self.n_times, 1 / self.sfreq)


def draw_trials(
    classes: Sequence[str], n_trials: int, sfreq: float, ability: float, rng: np.random.Generator
) -> Trials:
    """Draw the trials of one run, the classes in random order and as equally often as possible."""
    labels = rng.permutation(np.resize(classes, n_trials))
    ends = np.cumsum(FIXATION + IMAGERY + rng.uniform(*PAUSE, n_trials))  # s
    cues = np.concatenate([[0], ends[:-1]]) + FIXATION
    lapses = rng.random(n_trials) < 0.05 + 0.25 * (1 - ability)
    return Trials(
        labels=labels,
        cues=np.round(cues * sfreq).astype(int),
        engagement=np.where(lapses, 0.0, rng.normal(1, 0.3, n_trials).clip(0)),
        onsets=rng.normal(ONSET, 0.12, n_trials).clip(0.2),
        # A few samples more make the Fourier transforms fast.
        n_times=next_fast_len(round(ends[-1] * sfreq), real=True),
        sfreq=sfreq,
    )


def background(
    head: Head, trials: Trials, rng: np.random.Generator
) -> Float[np.ndarray, "n_electrodes n_times"]:
    """Generate 1/f noise of the cortex; three slopes make the spectrum differ from place to place."""
    slopes = head.slope + np.array([-0.5, 0.0, 0.5])
    powers = np.maximum(trials.freqs, 0.5) ** -slopes[:, None]  # (3, n_freqs)
    band = (trials.freqs >= 1) & (trials.freqs <= 40)
    powers *= trials.n_times / trials.sfreq / powers[:, band].sum(axis=1, keepdims=True)
    powers = np.tile(powers, (N_AREAS // 3, 1))  # (n_areas, n_freqs)
    return to_times(head.areas @ noise(powers, trials, rng), trials)


def rhythms(
    head: Head, trials: Trials, rng: np.random.Generator
) -> Float[np.ndarray, "n_electrodes n_times"]:
    """Generate rhythms that wax and wane, and those of the motor cortex that react to imagery."""
    rows = [row for row, _, _ in RHYTHMS]
    peaks = np.array([[head.peaks[rhythm]] for _, rhythm, _ in RHYTHMS])
    widths = np.array([[WIDTHS[rhythm]] for _, rhythm, _ in RHYTHMS])
    currents = np.array([[current] for _, _, current in RHYTHMS])  # (n_rhythms, 1)
    carriers = to_times(noise(bell(trials.freqs, peaks, widths), trials, rng), trials)
    seconds = np.array([[4.0]] * len(RHYTHMS) + [[8.0]])
    # Half of each bell lies at negative frequencies, hence the 2.
    slow = 2 * bell(trials.freqs, np.zeros_like(seconds), 1 / (2 * np.pi * seconds))
    drifts = to_times(noise(slow, trials, rng), trials)  # (n_rhythms + 1, n_times)
    waxing = WAXING * drifts[:-1] + AROUSAL * drifts[-1]  # (n_rhythms, n_times); all share the last one
    imagery, rebound = reaction_courses(trials)  # each (n_events, n_times)
    change = head.reactivity * REACTIONS[rows] @ imagery  # (n_rhythms, n_times)
    is_beta = np.array([[rhythm == "beta"] for _, rhythm, _ in RHYTHMS])
    change += is_beta * (head.reactivity * np.maximum(0, -REACTIONS[rows]) @ rebound)
    # Subtracting the variance keeps the root mean square.
    amplitudes = currents * np.exp(waxing - WAXING**2 - AROUSAL**2) * np.maximum(0, 1 + change)
    return head.sources[:, rows] @ (amplitudes * carriers)


def reaction_courses(
    trials: Trials,
) -> tuple[Float[np.ndarray, "n_events n_times"], Float[np.ndarray, "n_events n_times"]]:
    """Tell when each event is imagined, and when a rebound of beta follows, as factors on the reactions."""
    seconds, trial = trials.since_cue, trials.current
    events = np.array([EVENTS[label] for label in trials.labels])
    engaged = (np.array([*EVENTS.values()])[:, None] == events[trial]) * trials.engagement[trial]
    during = expit((seconds - trials.onsets[trial]) / 0.08) * expit((IMAGERY + 0.2 - seconds) / 0.08)
    after = 0.5 * np.exp(-0.5 * ((seconds - IMAGERY - 0.9) / 0.3) ** 2)
    return engaged * during, engaged * after


def visual_response(head: Head, trials: Trials) -> Float[np.ndarray, "n_electrodes n_times"]:
    """Generate the response to seeing the cue, the same for all classes."""
    waves = ((0.6, 0.10, 0.015), (-1.0, 0.17, 0.025), (0.7, 0.28, 0.05))  # P1, N1, P2: size, s, s
    shape = sum(size * np.exp(-0.5 * ((trials.since_cue - peak) / width) ** 2) for size, peak, width in waves)
    current = SOURCES["visual"].currents["evoked"] * shape  # (n_times,)
    return np.outer(head.sources[:, [*SOURCES].index("visual")], current)


def eye_movements(
    head: Head, trials: Trials, informative: bool, rng: np.random.Generator
) -> Float[np.ndarray, "n_electrodes n_times"]:
    """Generate blinks, rarer while imagining, and saccades; informative ones follow the cue."""
    minutes = trials.n_times / trials.sfreq / 60
    imagining = (trials.since_cue >= 0) & (trials.since_cue < IMAGERY)
    blinks = rng.integers(trials.n_times, size=rng.poisson(8 * minutes))
    blinks = blinks[~imagining[blinks] | (rng.random(len(blinks)) < 0.4)]
    lids = pulses(blinks, rng.normal(1, 0.15, len(blinks)), 0.35, trials)  # (n_times,)

    saccades = np.sort(rng.integers(trials.n_times, size=rng.poisson(20 * minutes)))
    targets = rng.normal(0, 1, (len(saccades) + 1, 2))
    gaze = targets[np.searchsorted(saccades, np.arange(trials.n_times))]  # (n_times, 2)
    if informative:
        following = (trials.since_cue > 0.25) & (trials.since_cue < IMAGERY)
        looks = np.array([GAZE[label] for label in trials.labels])
        gaze[following] = 4 * looks[trials.current[following]]
    gaze = uniform_filter1d(gaze, round(0.04 * trials.sfreq), axis=0)  # a saccade takes 40 ms

    rightwards, upwards = (
        topographies(head.electrodes, BRAIN_RADIUS * unit(EYES), np.tile(direction, (2, 1))).sum(axis=1)
        for direction in ((1.0, 0.0, 0.0), (0.0, 0.3, 1.0))
    )  # each (n_electrodes,)
    return np.outer(rightwards, GAZE_CURRENT * gaze[:, 0]) + np.outer(
        upwards, BLINK_CURRENT * lids + GAZE_CURRENT * gaze[:, 1]
    )


def muscles(
    head: Head, trials: Trials, rng: np.random.Generator
) -> Float[np.ndarray, "n_electrodes n_times"]:
    """Generate bursts of the muscles at the temples, which lie outside the skull and so reach not far."""
    minutes = trials.n_times / trials.sfreq / 60
    powers = np.tile(trials.freqs > 20, (2, 1)) / (trials.sfreq / 2 - 20)
    bursts = to_times(noise(powers, trials, rng), trials)  # (2, n_times)
    for burst in bursts:
        starts = rng.integers(trials.n_times, size=rng.poisson(1 * minutes))
        burst *= pulses(starts, rng.lognormal(2.5, 0.4, len(starts)), 1.0, trials)
    distances = HEAD_RADIUS * np.arccos(np.clip(unit(head.electrodes) @ unit(TEMPLES).T, -1, 1))
    return np.exp(-0.5 * (distances / 0.04) ** 2) @ bursts


def electrode_noise(
    head: Head, trials: Trials, rng: np.random.Generator
) -> Float[np.ndarray, "n_electrodes n_times"]:
    """Generate what each electrode adds of its own: drift, mains hum and white noise."""
    n_electrodes = len(head.electrodes)
    drift = 12.0**2 * 2 * bell(trials.freqs, np.zeros((1, 1)), np.full((1, 1), 0.1))  # µV²/Hz
    white = 1.0**2 / (trials.sfreq / 2)  # µV²/Hz
    own = to_times(noise(np.tile(drift + white, (n_electrodes, 1)), trials, rng), trials)
    phase = 2 * np.pi * MAINS * np.arange(trials.n_times) / trials.sfreq + rng.uniform(0, 2 * np.pi)
    return own + rng.lognormal(math.log(0.6), 0.3, (n_electrodes, 1)) * np.sin(phase)


def noise(
    powers: Float[np.ndarray, "rows n_freqs"], trials: Trials, rng: np.random.Generator
) -> Complex[np.ndarray, "rows n_freqs"]:
    """Draw the spectra of Gaussian noise whose power a Hz is given."""
    parts = rng.standard_normal((*powers.shape, 2)).view(complex)[..., 0]
    # The inverse transform divides by n_times, and negative frequencies hold the other half of the power.
    return parts * np.sqrt(powers * trials.sfreq * trials.n_times) / 2


def to_times(
    spectra: Complex[np.ndarray, "rows n_freqs"], trials: Trials
) -> Float[np.ndarray, "rows n_times"]:
    """Turn spectra into signals."""
    return irfft(spectra, trials.n_times)


def bell(
    freqs: Float[np.ndarray, " n_freqs"],
    peaks: Float[np.ndarray, "rows 1"],
    widths: Float[np.ndarray, "rows 1"],
) -> Float[np.ndarray, "rows n_freqs"]:
    """Spread a power of 1 over the frequencies around each peak, per Hz."""
    return np.exp(-0.5 * ((freqs - peaks) / widths) ** 2) / (math.sqrt(2 * np.pi) * widths)


def pulses(
    starts: Int[np.ndarray, " n_pulses"],
    sizes: Float[np.ndarray, " n_pulses"],
    seconds: float,
    trials: Trials,
) -> Float[np.ndarray, " n_times"]:
    """Draw smooth pulses of a given size and duration."""
    impulses = np.zeros(trials.n_times)
    impulses[starts] = sizes
    return fftconvolve(impulses, hann(round(seconds * trials.sfreq)))[: trials.n_times]
