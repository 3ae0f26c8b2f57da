"""Diagrams of architectures: blocks as boxes, and the shape of the tensor on every arrow."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from eeglab_models.plotting.style import PlainFigure, color_of

__all__ = ["plot_architecture"]

# Inches, which are also the units of the axes: width of boxes, on the main path and beside it, and of a lane
# for a line; height of a line of text, of an arrow, and of what meets an arrow.
WIDTH, SIDE_WIDTH, LANE, LINE, GAP, MEETING = 2.9, 1.75, 0.25, 0.19, 0.32, 0.28
INK = {"color": "0.25", "linewidth": 1.1}
HEAD = INK | {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0}


def plot_architecture(
    model: str,
    blocks: Mapping[str, str | Sequence[int]],
    branches: Sequence[tuple[str, str, str, str]] = (),
    repeats: Sequence[tuple[str, str, str]] = (),
) -> Figure:
    """Draw the blocks of a model from its input to its output.

    Parameters
    ----------
    model : str
        Name of the model, which is the title and chooses the colour.
    blocks : mapping of str to str or sequence of int
        Text of every block, and the shape of the tensor that leaves it. The first line of the text is the
        block's name.
    branches : sequence of tuple of str
        Paths beside the blocks: (text, first, last, sign). A path reads what enters the block `first`, or
        nothing if that is "", as learned vectors do, and joins what leaves the block `last`; `sign` says how,
        such as "+". With the text "" it is a skip connection.
    repeats : sequence of tuple of str
        (first, last, text): the blocks from `first` to `last` are repeated, and the text says how often.

    Returns
    -------
    figure : matplotlib.figure.Figure
        The diagram.

    Raises
    ------
    ValueError
        If a path or a repetition names a block that is not there.
    """
    names = [text.split("\n")[0] for text in blocks]
    ends = [end for _, *two, _ in branches for end in two if end] + [
        end for *two, _ in repeats for end in two
    ]
    if unknown := set(ends).difference(names):
        raise ValueError(f"Blocks are named {names}, got {sorted(unknown)}. Use the first line of a block.")
    figure = plt.figure(FigureClass=PlainFigure)
    ax = figure.add_axes((0, 0, 1, 1))
    color, bottom = color_of(model), 0.0
    spans, meetings = {}, {}  # (top, bottom) of boxes, and heights at which paths join or read an arrow
    for name, after, (text, shape) in zip(names, [*names[1:], None], blocks.items(), strict=True):
        spans[name] = top, bottom = bottom, bottom - box_height(text)
        draw_box(ax, text, (0, (top + bottom) / 2), WIDTH, color)
        here = [(i, "last") for i, branch in enumerate(branches) if branch[2] == name]
        here += [(i, "first") for i, branch in enumerate(branches) if branch[1] == after]
        meetings |= {meeting: bottom - MEETING * (place + 0.6) for place, meeting in enumerate(here)}
        start, bottom = bottom, bottom - MEETING * len(here) - GAP
        ax.annotate("", (0, bottom), (0, start), arrowprops=HEAD)
        label = shape if isinstance(shape, str) else " × ".join(map(str, shape))
        ax.text(0.14, bottom + GAP / 2 + 0.04, label, va="center", fontsize=9, color=INK["color"])
    left = draw_branches(ax, branches, spans, meetings, color) - 0.1
    right = WIDTH / 2 + (0.9 if repeats else 0.1)
    for first, last, text in repeats:
        (top, _), (_, end), x = spans[first], spans[last], WIDTH / 2 + 0.12
        end = min([end, *(meetings[i, "last"] for i, branch in enumerate(branches) if branch[2] == last)])
        ax.plot([x, x + 0.1, x + 0.1, x], [top, top, end, end], **INK)
        ax.text(x + 0.18, (top + end) / 2, text, va="center", color=INK["color"])
    ax.text(-WIDTH / 2, 0.2, model, va="center", fontsize=12, color=color, weight="bold")
    ax.set(xlim=(left, right), ylim=(bottom - 0.05, 0.4))
    ax.set_axis_off()
    figure.set_size_inches(right - left, 0.45 - bottom)
    return figure


def draw_branches(
    ax: Axes,
    branches: Sequence[tuple[str, str, str, str]],
    spans: Mapping[str, tuple[float, float]],
    meetings: Mapping[tuple[int, str], float],
    color: str,
) -> float:
    """Draw paths left of the blocks, short ones inside, and say how far to the left they reach."""
    taken = [(0.0, float("-inf"), -WIDTH / 2)]  # (top, bottom, left edge) of what is drawn already
    tops = [meetings.get((i, "first"), spans[last][0]) for i, (*_, last, _) in enumerate(branches)]
    for i in sorted(range(len(branches)), key=lambda i: tops[i] - meetings[i, "last"]):
        (text, first, last, sign), top, bottom = branches[i], tops[i], meetings[i, "last"]
        edge = min(edge for t, b, edge in taken if b < top + LANE / 2 and bottom - LANE / 2 < t)
        width = SIDE_WIDTH if text else 0.0
        x, middle = edge - LANE - width / 2, (top + bottom) / 2 if first else sum(spans[last]) / 2
        taken.append((top, bottom, x - width / 2))
        ax.plot([0, x, x] if first else [x, x], [top, top, bottom] if first else [middle, bottom], **INK)
        ax.annotate("", (-0.08, bottom), (x, bottom), arrowprops=HEAD)
        circle = {"boxstyle": "circle,pad=0.15", "fc": "white", "ec": INK["color"]}
        ax.text(0, bottom, sign, ha="center", va="center", fontsize=8, bbox=circle)
        if text:
            draw_box(ax, text, (x, middle), SIDE_WIDTH, color, "-" if first else "--")
    return min(edge for *_, edge in taken)


def box_height(text: str) -> float:
    """Tell the height that a text needs."""
    return 0.2 + LINE * len(text.split("\n"))


def draw_box(
    ax: Axes, text: str, middle: tuple[float, float], width: float, color: str, line: str = "-"
) -> None:
    """Draw a box, its first line in bold."""
    (x, y), height = middle, box_height(text)
    face = [1 - 0.15 * (1 - part) for part in to_rgb(color)]  # opaque, so that it covers the lines behind
    corner, form = (x - width / 2, y - height / 2), "round,pad=0,rounding_size=0.06"
    ax.add_patch(FancyBboxPatch(corner, width, height, form, fc=face, ec=color, ls=line, lw=1.3, zorder=2.5))
    for place, words in enumerate(text.split("\n")):
        where, weight = (x, y + height / 2 - 0.1 - LINE * (place + 0.5)), "normal" if place else "bold"
        ax.annotate(words, where, ha="center", va="center", fontsize=9, weight=weight)
