"""Is this EEG? Amplitudes that give a mistake away, and channels that say nothing."""

import mne
import numpy as np
from jaxtyping import Bool, Float

from eeglab_models.signals.electrodes import electrode_name, montage
from eeglab_models.signals.windows import Windows

__all__ = ["find_bad_channels", "interpolate", "measure_amplitude"]

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


def measure_amplitude(windows: Windows) -> float:
    """Measure how large the signals are, and refuse what cannot be EEG.

    Parameters
    ----------
    windows : Windows
        EEG in microvolts.

    Returns
    -------
    amplitude : float
        Median standard deviation over windows and channels in microvolts; not-a-numbers are left out.

    Raises
    ------
    ValueError
        If it is implausible for EEG; the message names the likely mistake. Averages over trials may be
        smaller, by the square root of their number.
    """
    finite = np.where(np.isfinite(windows.data), windows.data, np.nan)
    known = finite[~np.isnan(finite).all(axis=-1)]  # (n_signals, n_times)
    if not len(known):
        raise ValueError(
            "No channel of any window holds a number. Check the file that the windows come from."
        )
    amplitude = float(np.median(np.nanstd(known, axis=-1)))
    low, high = PLAUSIBLE
    if windows.metadata is not None and "n_trials" in windows.metadata:
        low /= np.sqrt(windows.metadata["n_trials"].max())
    if not low <= amplitude <= high:
        mistake = next(mistake for limit, mistake in MISTAKES if amplitude < limit)
        raise ValueError(
            f"EEG varies by {low:.2g} to {high:g} µV, these windows by {amplitude:.3g} µV (median standard "
            f"deviation). Most likely {mistake}. If it is right, pass check_amplitude=False."
        )
    return amplitude


def find_bad_channels(
    data: Float[np.ndarray, "n_windows n_chans n_times"],
) -> Bool[np.ndarray, "n_windows n_chans"]:
    """Find channels that are flat or hold something that is no number, window by window.

    Parameters
    ----------
    data : numpy.ndarray, shape (n_windows, n_chans, n_times)
        EEG in microvolts.

    Returns
    -------
    bad : numpy.ndarray of bool, shape (n_windows, n_chans)
        True where a channel varies by less than 0.01 µV, or holds not-a-numbers or infinities.
    """
    numbers = np.isfinite(data).all(axis=-1)  # (n_windows, n_chans)
    spread = np.ptp(np.where(np.isfinite(data), data, 0), axis=-1)  # (n_windows, n_chans)
    return ~numbers | (spread < FLAT)


def interpolate(
    data: Float[np.ndarray, "n_windows n_chans n_times"], ch_names: list[str], bad: list[str]
) -> Float[np.ndarray, "n_windows n_chans n_times"]:
    """Fill channels from their neighbours by spherical splines, with standard positions.

    Parameters
    ----------
    data : numpy.ndarray, shape (n_windows, n_chans, n_times)
        EEG in microvolts.
    ch_names : list of str
        Names of the channels. Those that are no electrode of the 10-05 system are left as they are.
    bad : list of str
        Names among them to fill.

    Returns
    -------
    data : numpy.ndarray, shape (n_windows, n_chans, n_times)
        EEG in microvolts, a copy with these channels filled.

    Raises
    ------
    ValueError
        If a channel to fill has no position, or if fewer than four others have one.
    """
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
    info = mne.create_info([electrodes[name] for name in placed], 1000.0, "eeg")
    info["bads"] = [electrodes[name] for name in bad]
    epochs = mne.EpochsArray(np.nan_to_num(data[:, rows]) * 1e-6, info, verbose="error")
    epochs.set_montage(montage(), verbose="error").interpolate_bads(verbose="error")
    filled = data.copy()
    targets = [electrodes[name] for name in bad]
    filled[:, [ch_names.index(name) for name in bad]] = epochs.get_data(targets, verbose="error") * 1e6
    return filled
