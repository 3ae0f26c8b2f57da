"""One function per figure: it takes data and returns the figure."""

import matplotlib.pyplot as plt
import mne
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from eeglab_models.signals.windows import Windows

__all__ = [
    "MODEL_COLORS",
    "plot_band_power",
    "plot_heatmap",
    "plot_ratios",
    "plot_scores",
    "plot_spectrum",
    "plot_window",
]

# Colour-blind safe, one colour per model wherever it appears; baselines are grey.
MODEL_COLORS = {
    "CodeBrain": "#0072B2",
    "EEGPT": "#D55E00",
    "EEGDINO": "#009E73",
    "FBLightConvNet": "#CC79A7",
}
BASELINE_COLOR = "#6E6E6E"


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
    figure, ax = plt.subplots(figsize=(8, 0.2 * len(x) + 1.2), layout="constrained")
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
    figure, axes = plt.subplots(
        1, len(ch_names), figsize=(3.2 * len(ch_names), 3), sharey=True, layout="constrained", squeeze=False
    )
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
    figure, ax = plt.subplots(figsize=(4.2, 3.4), layout="constrained")
    image, _ = mne.viz.plot_topomap(
        difference,
        windows.info,
        axes=ax,
        show=False,
        cmap="RdBu_r",
        vlim=(-limit, limit),
        extrapolate="local",
    )
    figure.colorbar(image, ax=ax, label="power difference (dB)")
    ax.set_title(f"{first} - {second}, {fmin:g}-{fmax:g} Hz")
    return figure


def plot_scores(scores: pd.DataFrame, chance: float, threshold: float) -> Figure:
    """Draw accuracies with their confidence intervals against chance.

    Parameters
    ----------
    scores : pandas.DataFrame
        As returned by `score_pipelines`.
    chance : float
        Accuracy of guessing.
    threshold : float
        Accuracy that guessing exceeds in fewer than 5 % of all cases.

    Returns
    -------
    figure : matplotlib.figure.Figure
        One row per pipeline, best on top.
    """
    scores = scores.sort_values("accuracy")
    colors = [
        next((color for model, color in MODEL_COLORS.items() if name.startswith(model)), BASELINE_COLOR)
        for name in scores["pipeline"]
    ]
    figure, ax = plt.subplots(figsize=(7, 0.38 * len(scores) + 1.2), layout="constrained")
    ax.axvspan(0, threshold, color="0.93", zorder=0)
    ax.axvline(chance, color="0.5", linestyle="--", linewidth=1)
    ax.hlines(scores["pipeline"], scores["low"], scores["high"], colors=colors, linewidth=2)
    ax.scatter(scores["accuracy"], scores["pipeline"], c=colors, zorder=3)
    ax.annotate(
        "chance", (chance, 1.0), xycoords=("data", "axes fraction"), ha="center", va="bottom", color="0.4"
    )
    ax.set(xlim=(min(0.3, scores["low"].min() - 0.02), 1), xlabel="accuracy (95 % confidence interval)")
    ax.set_title("Inside the grey area a score could be luck", fontsize=10, loc="left", pad=16)
    sns.despine(figure, left=True)
    return figure


def plot_heatmap(
    values: pd.DataFrame, label: str, title: str, smallest: float = 0.0, largest: float | None = None
) -> Figure:
    """Draw a table of numbers that are not negative as shades, with the numbers in it.

    Parameters
    ----------
    values : pandas.DataFrame, shape (n_rows, n_columns)
        Numbers; the names of rows and columns are shown.
    label : str
        What the numbers are, with their unit.
    title : str
        Title of the figure.
    smallest, largest : float
        Numbers at the ends of the shades; beyond them shades stay the same. `largest` None means the largest
        number.

    Returns
    -------
    figure : matplotlib.figure.Figure
        One cell per number; dark is large.
    """
    n_rows, n_columns = values.shape
    extend = "max" if largest is not None and values.max().max() > largest else "neither"
    figure, ax = plt.subplots(figsize=(3.6 + 1.5 * n_columns, 1.2 + 0.45 * n_rows), layout="constrained")
    sns.heatmap(
        values,
        cmap="Reds",
        vmin=smallest,
        vmax=largest,
        annot=True,
        fmt=".2f",
        cbar_kws={"label": label, "extend": extend},
        ax=ax,
    )
    ax.set(xlabel="", ylabel="", title=title)
    ax.set_xticklabels([text.get_text().replace(", ", ",\n") for text in ax.get_xticklabels()], rotation=0)
    return figure


def plot_ratios(ratios: pd.DataFrame) -> Figure:
    """Draw how many times faster than another implementation each model is.

    Parameters
    ----------
    ratios : pandas.DataFrame
        Columns model, measure, input, and median, low and high of the ratios, which are positive.

    Returns
    -------
    figure : matplotlib.figure.Figure
        One line per comparison, from the smallest ratio to the largest with a dot at the median, on a
        logarithmic scale; the vertical line is equality.
    """
    labels = [f"{r.model} ({r.input}): {r.measure}" for r in ratios.itertuples()][::-1]
    rows = ratios.iloc[::-1]
    colors = [MODEL_COLORS.get(model, BASELINE_COLOR) for model in rows["model"]]
    figure, ax = plt.subplots(figsize=(8, 0.32 * len(rows) + 1.2), layout="constrained")
    ax.axvline(1, color="black", linewidth=0.8)
    ax.hlines(labels, rows["low"], rows["high"], colors=colors, linewidth=3, alpha=0.5)
    ax.scatter(rows["median"], labels, c=colors, zorder=3)
    for label, median in zip(labels, rows["median"], strict=True):
        ax.annotate(
            f"{median:.2f}", (median, label), (0, 5), textcoords="offset points", ha="center", fontsize=7
        )
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter("{x:g}")
    ax.set(xlabel="times as fast (1: equal)", title="Speed compared with the reference implementation")
    ax.margins(y=0.08)
    sns.despine(figure, left=True)
    return figure


def band_spectra(windows: Windows, fmin: float, fmax: float) -> tuple[np.ndarray, np.ndarray]:
    """Estimate power spectra between two frequencies: (n_windows, n_chans, n_freqs) in µV²/Hz, and the Hz."""
    n_fft = min(windows.data.shape[-1], int(2 * windows.sfreq))
    return mne.time_frequency.psd_array_welch(
        windows.data.astype(np.float64), windows.sfreq, fmin, fmax, n_fft=n_fft, verbose="error"
    )
