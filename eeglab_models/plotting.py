"""One function per figure: it takes data and returns the figure."""

from collections.abc import Mapping

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
    "plot_calibration",
    "plot_differences",
    "plot_forest",
    "plot_heatmap",
    "plot_history",
    "plot_ratios",
    "plot_run_scores",
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


def plot_run_scores(folds: pd.DataFrame) -> Figure:
    """Draw the accuracy of every subject, pipeline by pipeline, against chance.

    Parameters
    ----------
    folds : pandas.DataFrame
        As `fold_scores` of `eeglab_models.experiments.results` returns it: dataset, evaluation, pipeline,
        subject, score and chance.

    Returns
    -------
    figure : matplotlib.figure.Figure
        One panel per data set and evaluation; a dot is a subject, seeds and folds averaged; a bar is the
        mean.
    """
    panels = list(folds.groupby(["dataset", "evaluation"]))
    n_rows = folds["pipeline"].nunique()
    order = folds.groupby("pipeline")["score"].mean().sort_values().index
    figure, axes = plt.subplots(
        1,
        len(panels),
        figsize=(0.085 * max(map(len, order)) + 3.4 * len(panels), 0.4 * n_rows + 1.4),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for ax, (names, own) in zip(axes[0], panels, strict=True):
        subjects = own.groupby(["pipeline", "subject"])["score"].mean()
        ax.axvline(own["chance"].mean(), color="0.5", linestyle="--", linewidth=1)
        for height, pipeline in enumerate(order):
            if pipeline not in subjects.index:
                continue
            scores = subjects[pipeline].to_numpy()
            shifts = np.linspace(-0.15, 0.15, len(scores)) if len(scores) > 1 else np.zeros(1)
            ax.scatter(scores, height + shifts, s=18, alpha=0.6, color=color_of(pipeline))
            ax.vlines(scores.mean(), height - 0.3, height + 0.3, color="black", linewidth=2)
        ax.set(xlabel="accuracy (dashed: chance)", title=", ".join(names).replace("_", " "))
        ax.title.set_fontsize(9)
    axes[0, 0].set_yticks(range(len(order)), order)
    sns.despine(figure, left=True)
    return figure


def plot_forest(summary: pd.DataFrame) -> Figure:
    """Draw mean accuracies with their confidence intervals, grouped by data set and evaluation.

    Parameters
    ----------
    summary : pandas.DataFrame
        As `summarise_runs` of `eeglab_models.experiments.results` returns it.

    Returns
    -------
    figure : matplotlib.figure.Figure
        One row per pipeline and data set, with its number of subjects; a tick marks chance.
    """
    rows = summary.iloc[::-1].reset_index(drop=True)
    labels = [
        f"{row.pipeline}  ({row.dataset}, {row.evaluation.replace('_', ' ')}, n={row.n_subjects})"
        for row in rows.itertuples()
    ]
    colors = [color_of(name) for name in rows["pipeline"]]
    heights = np.arange(len(rows))
    figure, ax = plt.subplots(figsize=size_for(labels), layout="constrained")
    ax.hlines(heights, rows["low"], rows["high"], colors=colors, linewidth=2)
    ax.scatter(rows["score"], heights, c=colors, zorder=3)
    ax.vlines(rows["chance"], heights - 0.35, heights + 0.35, color="0.5")
    ax.set_yticks(heights, labels, fontsize=8)
    ax.set(xlabel="accuracy (95 % confidence interval; grey: chance)")
    ax.set_title("Intervals are over subjects, or over trials where n=1", fontsize=10, loc="left")
    sns.despine(figure, left=True)
    return figure


def plot_differences(comparisons: pd.DataFrame, alpha: float = 0.05) -> Figure:
    """Draw the paired differences of all pairs of pipelines.

    Parameters
    ----------
    comparisons : pandas.DataFrame
        As `compare_pipelines` of `eeglab_models.experiments.results` returns it.
    alpha : float
        Corrected p-values below it are drawn in black, the others in grey.

    Returns
    -------
    figure : matplotlib.figure.Figure
        One row per pair and data set: mean difference and its 95 % confidence interval. Right of zero the
        first pipeline is better.
    """
    rows = comparisons.iloc[::-1].reset_index(drop=True)
    labels = [
        f"{row.a}  -  {row.b}  ({row.dataset}, n={row.n_subjects}, p={row.p_holm:.3f})"
        for row in rows.itertuples()
    ]
    colors = np.where(rows["p_holm"] < alpha, "black", "0.65")
    heights = np.arange(len(rows))
    figure, ax = plt.subplots(figsize=size_for(labels), layout="constrained")
    ax.axvline(0, color="0.5", linewidth=1)
    ax.hlines(heights, rows["low"], rows["high"], colors=colors, linewidth=2)
    ax.scatter(rows["difference"], heights, c=colors, zorder=3)
    ax.set_yticks(heights, labels, fontsize=8)
    ax.set(xlabel="difference of accuracy, paired by subject (95 % confidence interval)")
    ax.set_title("Black: different, after correction for the number of tests", fontsize=10, loc="left")
    sns.despine(figure, left=True)
    return figure


def plot_calibration(bins: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw how often classifiers are right against how sure they are.

    Parameters
    ----------
    bins : mapping of str to pandas.DataFrame
        For each classifier, one row per bin of confidence: mean `confidence`, `accuracy`, and the bounds
        `low` and `high` of its confidence interval.

    Returns
    -------
    figure : matplotlib.figure.Figure
        One panel per classifier; on the diagonal a classifier is as often right as it says.
    """
    figure, axes = plt.subplots(
        1, len(bins), figsize=(0.6 + 2.9 * len(bins), 3.4), sharey=True, squeeze=False, layout="constrained"
    )
    for ax, (name, rows) in zip(axes[0], bins.items(), strict=True):
        ax.plot([0, 1], [0, 1], color="0.5", linestyle="--", linewidth=1)
        ax.vlines(rows["confidence"], rows["low"], rows["high"], colors="black", linewidth=2)
        ax.plot(rows["confidence"], rows["accuracy"], "o-", color="black", linewidth=0.8)
        start = min(float(table["confidence"].min()) for table in bins.values()) - 0.05
        ax.set(xlim=(start, 1.02), ylim=(0, 1.02), xlabel="confidence")
        ax.set_title(name, fontsize=10)
    axes[0, 0].set_ylabel("accuracy (95 % interval)")
    sns.despine(figure)
    return figure


def plot_history(histories: Mapping[str, pd.DataFrame], monitor: str = "loss") -> Figure:
    """Draw the losses of trainings over epochs.

    Parameters
    ----------
    histories : mapping of str to pandas.DataFrame
        By name, `history_` of a fitted `FineTuner`.
    monitor : {"loss", "accuracy"}
        What decided on held-out windows which epoch was best; of equally accurate ones the latest.

    Returns
    -------
    figure : matplotlib.figure.Figure
        One panel per training. The vertical line marks the best epoch, grey the epochs of a second phase
        on all windows.
    """
    n_panels = len(histories)
    figure, axes = plt.subplots(
        1, n_panels, figsize=(0.6 + 2.9 * n_panels, 3), sharey=True, squeeze=False, layout="constrained"
    )
    for ax, (name, rows) in zip(axes[0], histories.items(), strict=True):
        ax.plot(rows["epoch"], rows["train_loss"], color="black", label="learned from")
        if rows["valid_loss"].notna().any():
            ax.plot(rows["epoch"], rows["valid_loss"], color="#D55E00", label="held out")
            score = -rows["valid_loss"] if monitor == "loss" else rows["valid_accuracy"][::-1]
            ax.axvline(rows["epoch"][score.idxmax()], color="#D55E00", linestyle=":", linewidth=1)
        second = rows["epoch"][rows["phase"] == 2]
        if len(second):
            ax.axvspan(second.min() - 0.5, second.max() + 0.5, color="0.93", zorder=0)
        ax.set_xlabel("epoch")
        ax.set_title(name, fontsize=10)
        ax.legend(frameon=False, fontsize=8)
    # Only now: the panels share an axis, and a limit would hold for what is drawn so far.
    axes[0, 0].set_ylim(bottom=0)
    axes[0, 0].set_ylabel("loss (cross-entropy)")
    sns.despine(figure)
    return figure


def size_for(labels: list[str]) -> tuple[float, float]:
    """Choose a size in inches that leaves room for rows with long names."""
    return 5.0 + 0.065 * max(map(len, labels)), 0.32 * len(labels) + 1.3


def color_of(pipeline: str) -> str:
    """Choose the colour of the model that a pipeline begins with; baselines are grey."""
    return next(
        (color for model, color in MODEL_COLORS.items() if pipeline.startswith(model)), BASELINE_COLOR
    )


def band_spectra(windows: Windows, fmin: float, fmax: float) -> tuple[np.ndarray, np.ndarray]:
    """Estimate power spectra between two frequencies: (n_windows, n_chans, n_freqs) in µV²/Hz, and the Hz."""
    n_fft = min(windows.data.shape[-1], int(2 * windows.sfreq))
    return mne.time_frequency.psd_array_welch(
        windows.data.astype(np.float64), windows.sfreq, fmin, fmax, n_fft=n_fft, verbose="error"
    )
