"""Figures of scores: how good, how sure, and against what."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from sklearn.metrics import ConfusionMatrixDisplay

from eeglab_models.plotting.style import color_of, open_axes, open_panels

__all__ = [
    "plot_calibration",
    "plot_confusion",
    "plot_differences",
    "plot_forest",
    "plot_heatmap",
    "plot_ratios",
    "plot_run_scores",
    "plot_scores",
]


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
    colors = [color_of(name) for name in scores["pipeline"]]
    figure, ax = open_axes((7, 0.38 * len(scores) + 1.2))
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
    label, title : str
        What the numbers are, with their unit; title of the figure.
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
    figure, ax = open_axes((3.6 + 1.5 * n_columns, 1.2 + 0.45 * n_rows))
    bar = {"label": label, "extend": extend}
    sns.heatmap(values, cmap="Reds", vmin=smallest, vmax=largest, annot=True, fmt=".2f", cbar_kws=bar, ax=ax)
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
    colors = [color_of(model) for model in rows["model"]]
    figure, ax = open_axes((8, 0.32 * len(rows) + 1.2))
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
    """Draw the score of every subject, pipeline by pipeline, against chance.

    Parameters
    ----------
    folds : pandas.DataFrame
        As `fold_scores` of `eeglab_models.experiments.results` returns it: dataset, evaluation, metric,
        pipeline, subject, score and chance.

    Returns
    -------
    figure : matplotlib.figure.Figure
        One panel per data set, evaluation and metric; a dot is a subject, seeds and folds averaged; a bar
        is the mean.
    """
    panels = list(folds.groupby([name for name in ("dataset", "evaluation", "metric") if name in folds]))
    n_rows = folds["pipeline"].nunique()
    order = folds.groupby("pipeline")["score"].mean().sort_values().index
    figure, axes = open_panels(
        1, len(panels), (0.085 * max(map(len, order)) + 3.4 * len(panels), 0.4 * n_rows + 1.4), sharey=True
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
        ax.set(xlabel=f"{name_metrics(own)} (dashed: chance)", title=", ".join(names[:2]).replace("_", " "))
        ax.title.set_fontsize(9)
    axes[0, 0].set_yticks(range(len(order)), order)
    sns.despine(figure, left=True)
    return figure


def plot_forest(summary: pd.DataFrame) -> Figure:
    """Draw mean scores with their confidence intervals, grouped by data set and evaluation.

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
    figure = draw_intervals(rows, "score", labels, colors)
    ax = figure.axes[0]
    heights = np.arange(len(rows))
    ax.vlines(rows["chance"], heights - 0.35, heights + 0.35, color="0.5")
    ax.set(xlabel=f"{name_metrics(rows)} (95 % confidence interval; grey: chance)")
    ax.set_title("Intervals are over subjects, or over trials where n=1", fontsize=10, loc="left")
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
    colors = np.where(rows["p_holm"] < alpha, "black", "0.65").tolist()
    figure = draw_intervals(rows, "difference", labels, colors)
    ax = figure.axes[0]
    ax.axvline(0, color="0.5", linewidth=1, zorder=1)
    ax.set(xlabel=f"difference of {name_metrics(rows)}, paired by subject (95 % confidence interval)")
    ax.set_title("Black: different, after correction for the number of tests", fontsize=10, loc="left")
    return figure


def name_metrics(rows: pd.DataFrame) -> str:
    """Name the metrics of a table; one that names none, as moabb's, is of accuracies."""
    return ", ".join(rows.get("metric", pd.Series(["accuracy"])).unique()).replace("_", " ")


def draw_intervals(rows: pd.DataFrame, middle: str, labels: list[str], colors: Sequence[str]) -> Figure:
    """Draw a dot and an interval for every row of a table, from the lowest to the highest place."""
    size = 5.0 + 0.065 * max(map(len, labels)), 0.32 * len(labels) + 1.3
    figure, ax = open_axes(size)
    heights = np.arange(len(rows))
    ax.hlines(heights, rows["low"], rows["high"], colors=colors, linewidth=2)
    ax.scatter(rows[middle], heights, c=colors, zorder=3)
    ax.set_yticks(heights, labels, fontsize=8)
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
    figure, axes = open_panels(1, len(bins), (0.6 + 2.9 * len(bins), 3.4), sharey=True)
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


def plot_confusion(predictions: pd.DataFrame) -> Figure:
    """Draw what classifiers take for what.

    Parameters
    ----------
    predictions : pandas.DataFrame
        As `predict_folds` of `eeglab_models.scores` returns it: pipeline, truth and predicted.

    Returns
    -------
    figure : matplotlib.figure.Figure
        One panel per pipeline; every row holds the shares of what one class was taken for.
    """
    pipelines = list(predictions.groupby("pipeline", sort=False))
    n_classes = predictions["truth"].nunique()
    size = 1.6 + 0.5 * n_classes
    figure, axes = open_panels(1, len(pipelines), (0.8 + size * len(pipelines), 0.6 + size), sharey=True)
    for ax, (name, own) in zip(axes[0], pipelines, strict=True):
        told = {"normalize": "true", "values_format": ".2f", "cmap": "Greys", "colorbar": False}
        told |= {"xticks_rotation": 45, "im_kw": {"vmin": 0, "vmax": 1}}
        ConfusionMatrixDisplay.from_predictions(own["truth"], own["predicted"], ax=ax, **told)
        ax.set_title(name, fontsize=10)
        ax.label_outer()
    return figure
