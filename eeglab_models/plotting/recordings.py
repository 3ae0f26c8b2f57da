"""Figures of recordings: samples, spectra and where on the head."""

import mne
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from eeglab_models.plotting.style import open_axes, open_panels
from eeglab_models.signals.windows import Windows

__all__ = ["plot_band_power", "plot_spectrum", "plot_window"]


def plot_window(windows: Windows, index: int = 0) -> Figure:
    """Draw the channels of one window above each other.

    Parameters
    ----------
    windows : Windows
        EEG in microvolts.
    index : int
        Which window.

    Returns
    -------
    figure : matplotlib.figure.Figure
        Time in seconds, one line per channel, with a scale bar.
    """
    x = windows.data[index]
    step = 4 * float(np.median(x.std(axis=1)))
    time = np.arange(x.shape[1]) / windows.sfreq
    offsets = -step * np.arange(len(x))
    figure, ax = open_axes((8, 0.2 * len(x) + 1.2))
    ax.plot(time, (x + offsets[:, None]).T, color="black", linewidth=0.6)
    bar = max(10, round(step / 10) * 10)
    ax.plot([time[-1] * 1.02] * 2, [offsets[-1], offsets[-1] + bar], color="black", linewidth=3)
    ax.annotate(f" {bar} {windows.unit}", (time[-1] * 1.025, offsets[-1] + bar / 2), va="center")
    label = "" if windows.labels is None else f" ({windows.labels[index]})"
    ax.set(yticks=offsets, yticklabels=windows.ch_names, xlabel="time (s)", title=f"Window {index}{label}")
    ax.tick_params(axis="y", labelsize=7)
    ax.margins(x=0.01, y=0.01)
    sns.despine(figure, left=True)
    return figure


def plot_spectrum(windows: Windows, ch_names: list[str], fmax: float = 45.0) -> Figure:
    """Draw the mean power spectrum of some channels, one line per class.

    Parameters
    ----------
    windows : Windows
        EEG in microvolts, with labels.
    ch_names : list of str
        Channels, one panel each.
    fmax : float
        Highest frequency in Hz.

    Returns
    -------
    figure : matplotlib.figure.Figure
        Power in µV²/Hz on a logarithmic scale over frequency in Hz.
    """
    power, frequencies = band_spectra(windows, 1.0, fmax)
    figure, axes = open_panels(1, len(ch_names), (3.2 * len(ch_names), 3), sharey=True)
    for ax, name in zip(axes[0], ch_names, strict=True):
        for label in np.unique(windows.labels):
            mean = power[windows.labels == label, windows.ch_names.index(name)].mean(axis=0)
            ax.semilogy(frequencies, mean, label=label)
        ax.axvspan(8, 13, color="0.9", zorder=0)
        ax.set(title=name, xlabel="frequency (Hz)")
    axes[0, 0].set_ylabel("power (µV²/Hz)")
    axes[0, -1].legend(frameon=False)
    sns.despine(figure)
    return figure


def plot_band_power(windows: Windows, fmin: float, fmax: float) -> Figure:
    """Draw where on the head the power of a band differs between the two first classes.

    Parameters
    ----------
    windows : Windows
        EEG in microvolts, with labels of at least two classes and with electrode positions.
    fmin, fmax : float
        Band in Hz.

    Returns
    -------
    figure : matplotlib.figure.Figure
        Topography of the difference of mean power in dB, first class minus second.
    """
    power, _ = band_spectra(windows, fmin, fmax)
    decibels = 10 * np.log10(power.mean(axis=-1))  # (n_windows, n_chans)
    first, second = np.unique(windows.labels)[:2]
    difference = decibels[windows.labels == first].mean(0) - decibels[windows.labels == second].mean(0)
    limit = float(np.abs(difference).max())
    figure, ax = open_axes((4.2, 3.4))
    style = {"cmap": "RdBu_r", "vlim": (-limit, limit), "extrapolate": "local"}
    image, _ = mne.viz.plot_topomap(difference, windows.info, axes=ax, show=False, **style)
    figure.colorbar(image, ax=ax, label="power difference (dB)")
    ax.set_title(f"{first} - {second}, {fmin:g}-{fmax:g} Hz")
    return figure


def band_spectra(windows: Windows, fmin: float, fmax: float) -> tuple[np.ndarray, np.ndarray]:
    """Estimate power spectra between two frequencies: (n_windows, n_chans, n_freqs) in µV²/Hz, and the Hz."""
    n_fft = min(windows.data.shape[-1], int(2 * windows.sfreq))
    return mne.time_frequency.psd_array_welch(
        windows.data.astype(np.float64), windows.sfreq, fmin, fmax, n_fft=n_fft, verbose="error"
    )
