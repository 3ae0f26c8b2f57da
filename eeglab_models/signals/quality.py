"""Is this EEG? Amplitudes that give a mistake away, channels that say nothing, results that cannot be."""

from collections.abc import Sequence
from dataclasses import dataclass

import mne
import numpy as np
from jaxtyping import Bool, Float

from eeglab_models.signals.electrodes import electrode_name, montage
from eeglab_models.signals.windows import Windows

# Median standard deviation of scalp EEG in microvolts: narrow bands reach down to the first, recordings with
# slow drifts up to the second.
PLAUSIBLE = (1.5, 500.0)
# Amplitudes outside it, by their upper limit in microvolts, and the mistake that usually makes them.
MISTAKES = (
    (0.002, "volts were taken for microvolts: pass unit='V'"),
    (0.6, "millivolts, or microvolts already divided by 100, were taken for microvolts"),
    (1.5, "the signal was standardised (z-scored) before: go back to the recording in microvolts"),
    (
        2e5,
        "the file is damaged, as by a transfer that changed line ends (get it again in binary mode), or "
        "offsets and drifts were not filtered out",
    ),
    (3e6, "a standardised (z-scored) signal was stored as volts: go back to the recording in microvolts"),
    (np.inf, "microvolts were stored as volts: divide the recording by 1e6"),
)
# Microvolts; less than any amplifier's noise.
FLAT = 0.01
# Seconds that a working electrode is never still.
STILL = 0.5
# Offsets of windows are suspicious from here on, in microvolts and in standard deviations.
OFFSET = (200.0, 10.0)
# More of a channel beyond the ceiling is no pop of an electrode, but another unit or a large drift.
RARE = 0.01


@dataclass(frozen=True)
class Hole:
    """A stretch of one channel that holds no EEG."""

    channel: int
    start: int
    stop: int
    why: str


def find_holes(raw: mne.io.BaseRaw, ceiling: float | None) -> list[Hole]:
    """Find stretches of the raw signal that are no number, still, or beyond the ceiling (in µV)."""
    still = max(2, round(STILL * raw.info["sfreq"]))
    holes = []
    for channel in range(len(raw.ch_names)):
        (x,) = raw[channel][0] * 1e6
        number = np.isfinite(x)
        holes += [Hole(channel, *span, "no number") for span in runs(~number)]
        # Samples that equal the one before them.
        same = np.abs(np.diff(x, prepend=np.nan)) < FLAT / still
        holes += [
            Hole(channel, start - 1, stop, "flat") for start, stop in runs(same) if stop - start >= still - 1
        ]
        if ceiling is not None and number.any():
            far = number & (np.abs(x - np.median(x[number])) > ceiling)
            if far.any() and far.mean() < RARE:
                holes += [Hole(channel, *span, f"beyond {ceiling:g} µV") for span in runs(far)]
    return holes


def runs(mask: Bool[np.ndarray, " n_times"]) -> list[tuple[int, int]]:
    """List the beginnings and ends of the runs of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def fill_holes(raw: mne.io.BaseRaw, holes: Sequence[Hole]) -> None:
    """Draw straight lines over holes, so that no filter carries them into what lies around."""
    for channel in {hole.channel for hole in holes}:
        (x,) = raw[channel][0]
        known = np.ones(len(x), bool)
        for hole in holes:
            if hole.channel == channel:
                known[hole.start : hole.stop] = False
        times = np.arange(len(x))
        raw[channel] = (
            np.interp(times, times[known], x[known])[None] if known.any() else np.zeros((1, len(x)))
        )


def find_offsets(raw: mne.io.BaseRaw) -> float:
    """Measure the largest offset of a channel, its median, in microvolts."""
    return max(abs(float(np.median(raw[channel][0]))) for channel in range(len(raw.ch_names))) * 1e6


def measure_amplitude(windows: Windows) -> float:
    """Measure the median standard deviation in µV, and refuse what cannot be EEG with the likely mistake."""
    finite = np.where(np.isfinite(windows.data), windows.data, np.nan)
    known = finite[~np.isnan(finite).all(axis=-1)]  # (n_signals, n_times)
    if not len(known):
        raise ValueError(
            "No channel of any window holds a number. Check the file that the windows come from."
        )
    amplitude = float(np.median(np.nanstd(known, axis=-1)))
    low, high = PLAUSIBLE
    # Averages over trials are smaller, by the square root of their number.
    if windows.metadata is not None and "n_trials" in windows.metadata:
        low /= np.sqrt(windows.metadata["n_trials"].max())
    if not low <= amplitude <= high:
        mistake = next(mistake for limit, mistake in MISTAKES if amplitude < limit)
        raise ValueError(
            f"EEG varies by {low:.2g} to {high:g} µV, these windows by {amplitude:.3g} µV (median standard "
            f"deviation). Most likely {mistake}. If it is right, pass check_amplitude=False."
        )
    offset = float(np.quantile(np.abs(np.nanmean(known, axis=-1)), 0.9))
    if offset > max(OFFSET[0], OFFSET[1] * amplitude):
        raise ValueError(
            f"Channels carry offsets of up to {offset:,.0f} µV beside EEG of {amplitude:.3g} µV. Load the "
            "recording with a high-pass, fmin=0.3. If it is right, pass check_amplitude=False."
        )
    return amplitude


def find_bad_channels(
    data: Float[np.ndarray, "n_windows n_chans n_times"], ceiling: float | None = None
) -> Bool[np.ndarray, "n_windows n_chans"]:
    """Find channels that are flat, beyond the ceiling (in µV) or no number, window by window."""
    numbers = np.isfinite(data).all(axis=-1)  # (n_windows, n_chans)
    known = np.where(np.isfinite(data), data, 0)
    bad = ~numbers | (np.ptp(known, axis=-1) < FLAT)
    return bad if ceiling is None else bad | (np.abs(known).max(axis=-1) > ceiling)


def check_result(
    data: Float[np.ndarray, "n_windows n_chans n_times"], ch_names: Sequence[str], filled: Sequence[str] = ()
) -> None:
    """Refuse windows that no electrodes can have given: all zeros, or channels that copy or mirror others."""
    own = [index for index, name in enumerate(ch_names) if name not in filled]
    if not np.isfinite(data).all():
        raise ValueError("Samples that are no number are left after all steps. Pass bad_windows='drop'.")
    if not data[:, own].any():
        raise ValueError("Nothing but zeros is left after all steps. Check reference and channels.")
    few = data[:: max(1, len(data) // 20), own].astype(float)  # some windows tell
    few = few - few.mean(axis=-1, keepdims=True)
    size = np.abs(few).max(axis=(0, 2))
    for i in range(len(own)):
        for sign, word in ((1, "the same"), (-1, "mirrored")):
            rest = np.abs(few[:, i + 1 :] - sign * few[:, i : i + 1]).max(axis=(0, 2), initial=0)
            twins = np.flatnonzero((rest <= 1e-5 * size[i]) & (size[i] > 0))
            if len(twins):
                raise ValueError(
                    f"{ch_names[own[i]]} and {ch_names[own[i + 1 + twins[0]]]} hold {word} signal, which two "
                    "electrodes never do. Drop one of them, or check the reference."
                )


def interpolate(
    data: Float[np.ndarray, "n_windows n_chans n_times"], ch_names: list[str], bad: list[str]
) -> Float[np.ndarray, "n_windows n_chans n_times"]:
    """Fill channels from their neighbours by spherical splines, at standard positions."""
    electrodes = {name: electrode_name(name) for name in ch_names}
    nowhere = [name for name in bad if electrodes[name] is None]
    placed = [name for name in ch_names if electrodes[name] is not None]
    if nowhere or len(placed) - len(bad) < 4:
        problem = (
            f"{', '.join(nowhere)} have none" if nowhere else f"{len(placed) - len(bad)} others have one"
        )
        raise ValueError(
            "Interpolation needs standard positions of the channels to fill and of at least 4 others; "
            f"{problem}. Choose another way to handle these channels."
        )
    rows = [ch_names.index(name) for name in placed]
    own = mne.create_info([electrodes[name] for name in placed], 1000.0, "eeg")
    own["bads"] = [electrodes[name] for name in bad]
    epochs = mne.EpochsArray(np.nan_to_num(data[:, rows]) * 1e-6, own, verbose="warning")
    # Few electrodes fit a head badly, of which mne warns; these positions lie on a sphere by design.
    epochs.set_montage(montage(), verbose="error").interpolate_bads(verbose="error")
    filled = data.copy()
    targets = [electrodes[name] for name in bad]
    filled[:, [ch_names.index(name) for name in bad]] = epochs.get_data(targets, verbose="warning") * 1e6
    return filled
