"""Is this EEG? Amplitudes that give a mistake away, channels that say nothing, results that cannot be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import mne
import numpy as np
from jaxtyping import Bool, Float

from eeglab_models.configs import shorten
from eeglab_models.signals.electrodes import electrode_name, montage, template
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
        "offsets and drifts were not filtered out, or it holds an amplifier's own numbers instead of volts",
    ),
    (3e6, "a standardised (z-scored) signal was stored as volts: go back to the recording in microvolts"),
    (np.inf, "microvolts were stored as volts: divide the recording by 1e6"),
)
# Microvolts; less than any amplifier's noise.
FLAT = 0.01
# Seconds that a working electrode is never still.
STILL = 0.5
# Samples in a row at a channel's very largest or least value, and how often: no signal does this by itself.
CLIPPED = 3
# Offsets of windows are suspicious from here on, in microvolts and in standard deviations.
OFFSET = (200.0, 10.0)
# Copies differ by the rounding of files at most, as a share of their standard deviation.
COPY = 2e-3
# Times more or less than others of one recording: electrodes differ by less, units by more.
OTHER_SCALE = 100.0
# Times the largest standard deviation of a channel that filled ones may have.
FAR = 3.0
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
        limits = runs((x == np.nanmax(x, initial=-np.inf)) | (x == np.nanmin(x, initial=np.inf)))
        clipped = [span for span in limits if CLIPPED <= span[1] - span[0] < still]
        if len(clipped) >= CLIPPED:
            holes += [Hole(channel, *span, "at the limit of its amplifier") for span in clipped]
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


def find_mistake(windows: Windows) -> tuple[float, str]:
    """Measure the median standard deviation in µV, and say what cannot be EEG, with the likely mistake."""
    spreads, means = np.full((2, *windows.data.shape[:2]), np.nan)
    for number, x in enumerate(windows.data):  # one by one, because copies of all would fill the memory
        known = np.isfinite(x).any(axis=-1)
        x = np.where(np.isfinite(x), x, np.nan)[known]
        spreads[number, known], means[number, known] = np.nanstd(x, axis=-1), np.nanmean(x, axis=-1)
    if np.isnan(spreads).all():
        return np.nan, "No channel of any window holds a number. Check the file that the windows come from."
    amplitude = float(np.nanmedian(spreads))
    low, high = PLAUSIBLE
    # Averages over trials are smaller, by the square root of their number.
    if windows.metadata is not None and "n_trials" in windows.metadata:
        low /= np.sqrt(windows.metadata["n_trials"].max())
    if not low <= amplitude <= high:
        mistake = next(mistake for limit, mistake in MISTAKES if amplitude < limit)
        return amplitude, (
            f"EEG varies by {low:.2g} to {high:g} µV, these windows by {amplitude:.3g} µV (median standard "
            f"deviation). Most likely {mistake}."
        )
    placed = ~np.isnan(means).all(axis=0)
    offsets = np.nanmedian(np.abs(means[:, placed]), axis=0)  # (n_chans,)
    # What varies as much itself is of another scale, and no offset.
    offsets[offsets <= OFFSET[1] * np.nanmedian(spreads[:, placed], axis=0)] = 0.0
    if offsets.max() > max(OFFSET[0], OFFSET[1] * amplitude):
        name = np.array(windows.ch_names)[placed][offsets.argmax()]
        return amplitude, (
            f"Channels carry offsets of up to {offsets.max():,.0f} µV ({name}) beside EEG of {amplitude:.3g} "
            "µV. Load the recording with a high-pass, fmin=0.3."
        )
    return amplitude, ""


def measure_amplitude(windows: Windows) -> float:
    """Measure the median standard deviation in µV, and refuse what cannot be EEG."""
    amplitude, problem = find_mistake(windows)
    if problem:
        raise ValueError(f"{problem} If it is right, pass check_amplitude=False.")
    return amplitude


def describe_amplitude(windows: Windows) -> str:
    """Say how large the windows are, and what speaks against their being EEG."""
    amplitude, problem = find_mistake(windows)
    return problem or f"{amplitude:.1f} µV, median standard deviation: plausible."


def find_bad_channels(
    data: Float[np.ndarray, "n_windows n_chans n_times"], ceiling: float | None = None
) -> Bool[np.ndarray, "n_windows n_chans"]:
    """Find channels that are flat, beyond the ceiling (in µV) or no number, window by window."""
    low, high = data.min(axis=-1), data.max(axis=-1)  # (n_windows, n_chans), NaN where a sample is none
    with np.errstate(invalid="ignore"):
        bad = ~(high - low >= FLAT) | ~np.isfinite(high - low)
        return bad if ceiling is None else bad | (high > ceiling) | (low < -ceiling)


def find_other_scale(
    data: Float[np.ndarray, "n_windows n_chans n_times"],
) -> Bool[np.ndarray, "n_windows n_chans"]:
    """Find channels that vary so much more or less than the others of their window that units differ."""
    spreads = np.array([x.std(axis=-1) for x in data]).reshape(data.shape[:2])
    usual = np.array([np.median(own[own >= FLAT]) if (own >= FLAT).any() else np.nan for own in spreads])
    ratio = spreads / usual[:, None]
    return (spreads >= FLAT) & ((ratio < 1 / OTHER_SCALE) | (ratio > OTHER_SCALE))


def judge(
    data: Float[np.ndarray, "n_windows n_chans n_times"], ceiling: float | None
) -> Bool[np.ndarray, "n_windows n_chans"]:
    """Find bad channels of windows that are cut already, as `find_holes` does of the continuous signal."""
    bad = find_bad_channels(data)
    if ceiling is None or not data.size:
        return bad
    far = np.array([[(np.abs(x - np.median(x)) > ceiling).mean() for x in window] for window in data])
    return bad | ((far > 0) & (far.mean(axis=0) < RARE))


def names_of(bad: Bool[np.ndarray, "n_windows n_chans"], ch_names: Sequence[str]) -> list[str]:
    """Name the channels that are bad in any window."""
    return [name for name, ever in zip(ch_names, bad.any(axis=0), strict=True) if ever]


def describe_bad(bad: Bool[np.ndarray, "n_windows n_chans"], ch_names: Sequence[str]) -> str:
    """Say how many windows hold a channel without EEG, and which channels these are."""
    names = names_of(bad, ch_names)
    return (
        f"{bad.any(axis=1).sum()} of {len(bad)} touch stretches without EEG ({shorten(names)}); windows.bad "
        "says which."
    )


def check_copies(
    data: Float[np.ndarray, "n_windows n_chans n_times"], ch_names: Sequence[str], rows: Sequence[int]
) -> None:
    """Refuse channels that copy or mirror others, before an average hides which do."""
    if not len(rows):
        return
    few = data[:: max(1, len(data) // 8)][:, rows]  # some windows tell
    x = np.nan_to_num(few - few.mean(axis=-1, keepdims=True)).astype(np.float64)
    products = x @ x.swapaxes(1, 2)  # (n_few, n_rows, n_rows)
    power = np.diagonal(products, axis1=1, axis2=2)[:, None]
    for sign, word in ((1, "the same"), (-1, "mirrored")):
        # The power of the difference of two channels, or of their sum; an artefact may spoil a window.
        rest = power.swapaxes(1, 2) + power - 2 * sign * products
        alike = ((rest <= COPY**2 * power) & (power > 0)).mean(axis=0) > 0.5
        twins = np.argwhere(np.triu(alike, k=1))
        if len(twins):
            one, other = (ch_names[rows[index]] for index in twins[0])
            raise ValueError(
                f"{one} and {other} hold {word} signal, which two electrodes never do. Drop one of them, or "
                "check the reference."
            )


def check_result(
    data: Float[np.ndarray, "n_windows n_chans n_times"], ch_names: Sequence[str], ceiling: float | None
) -> None:
    """Refuse windows that no electrodes can have given, whatever the steps before let pass."""
    low, high = data.min(axis=-1), data.max(axis=-1)  # (n_windows, n_chans)
    still = ~(high - low >= FLAT).any(axis=1)
    if still.any():
        raise ValueError(
            f"Nothing but zeros is left of {still.sum()} of {len(data)} windows after all steps. Check "
            "reference and channels."
        )
    far = ~(np.maximum(high, -low) <= (np.inf if ceiling is None else ceiling))
    if far.any():
        names = names_of(far, ch_names)
        raise ValueError(
            f"After all steps {far.any(axis=1).sum()} of {len(data)} windows are beyond {ceiling:g} µV in "
            f"{shorten(names)}. Check the reference, and the positions that channels were filled from."
        )


def place(
    ch_names: Sequence[str], bad: Sequence[str], own: Mapping[str, Float[np.ndarray, " 3"]]
) -> dict[str, Float[np.ndarray, " 3"]]:
    """Place channels as they were digitised, if all that are read from were; else by the 10-05 system."""
    if set(ch_names) - set(bad) <= set(own):
        standard = template()
    else:
        own, standard = {}, montage().get_positions()["ch_pos"]
    found = {name: own.get(name, standard.get(electrode_name(name))) for name in ch_names}
    return {name: position for name, position in found.items() if position is not None}


def interpolate(
    data: Float[np.ndarray, "n_windows n_chans n_times"],
    ch_names: list[str],
    bad: list[str],
    own: Mapping[str, Float[np.ndarray, " 3"]] = MappingProxyType({}),
) -> Float[np.ndarray, "n_windows n_chans n_times"]:
    """Fill channels from their neighbours by spherical splines; `own` are digitised positions in metres."""
    places = place(ch_names, bad, own)
    nowhere, n_others = [name for name in bad if name not in places], len(set(places) - set(bad))
    if nowhere or n_others < 4:
        problem = f"{', '.join(nowhere)} have none" if nowhere else f"{n_others} others have one"
        raise ValueError(
            "Interpolation needs positions of the channels to fill and of at least 4 others; "
            f"{problem}. Choose another way to handle these channels."
        )
    info = mne.create_info(list(places), 1000.0, "eeg")
    info["bads"] = list(bad)
    rows = [ch_names.index(name) for name in places]
    epochs = mne.EpochsArray(np.nan_to_num(data[:, rows]) * 1e-6, info, verbose="warning")
    # Few electrodes fit a head badly, of which mne warns.
    epochs.set_montage(mne.channels.make_dig_montage(places, coord_frame="head"), verbose="error")
    epochs.interpolate_bads(verbose="error")
    filled = data.copy()
    new = epochs.get_data(bad, verbose="warning") * 1e6
    # Beyond the outermost electrodes splines grow without bound.
    size = new.std(axis=(0, 2))
    largest = np.delete(data, [ch_names.index(name) for name in bad], axis=1).std(axis=(0, 2)).max()
    far = [name for name, own in zip(bad, size, strict=True) if own > FAR * largest]
    if far:
        raise ValueError(
            f"{shorten(far)} lie too far from the electrodes that were recorded to be filled by splines: "
            f"they would vary by {size.max():.3g} µV, others by {largest:.3g} µV at most. Choose another way "
            "to handle these channels."
        )
    filled[:, [ch_names.index(name) for name in bad]] = new
    return filled
