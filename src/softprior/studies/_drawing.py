"""Drawing shared by studies: plain functions that receive the axes (no plotting is imported here).

The four colours below are the light theme's. Whatever is drawn in one of them, or in a colour
of ``_kit.COLOURS``, follows the reader's theme on the page; any other colour stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

INK = "#1b1f24"
MUTED = "#59626d"
GRID = "#dde2e8"
PAPER = "#fdfdfd"


def reliability_diagram(
    ax: Any,
    low: Sequence[float],
    high: Sequence[float],
    count: Sequence[float],
    confidence: Sequence[float],
    accuracy: Sequence[float],
    *,
    colour: str,
    label: str = "",
) -> None:
    """Bars: accuracy in each bin. Ticks: mean confidence in it. The line between: the gap.

    Empty bins (count 0, NaN elsewhere) stay empty: a bar of height 0 would claim that every
    prediction in it was wrong.
    """
    for a, b, n, c, correct in zip(low, high, count, confidence, accuracy, strict=True):
        if n == 0 or math.isnan(correct):
            continue
        width, middle = b - a, (a + b) / 2
        ax.bar(middle, correct, 0.9 * width, color=colour, alpha=0.75, linewidth=0)
        ax.vlines(middle, *sorted((correct, c)), color=INK, linewidth=0.9)
        ax.hlines(c, middle - 0.4 * width, middle + 0.4 * width, color=INK, linewidth=1.6)
    ax.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, dashes=(4, 3), zorder=0.9)
    _unit_x(ax)
    ax.set_ylim(0, 1)
    ax.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    ax.set_aspect("equal")
    ax.grid(visible=False)  # the diagonal is what to compare with
    _labels(ax, "Confidence", "Accuracy", label)


def bin_counts(
    ax: Any,
    low: Sequence[float],
    high: Sequence[float],
    count: Sequence[float],
    *,
    colour: str,
    label: str = "",
) -> None:
    """The share of samples in each bin, on a log scale: how much a bar of the diagram weighs."""
    total = sum(count)
    _log_shares(ax, total)
    middles = [(a + b) / 2 for a, b in zip(low, high, strict=True)]
    widths = [0.9 * (b - a) for a, b in zip(low, high, strict=True)]
    ax.bar(middles, [n / max(total, 1) for n in count], widths, color=colour)
    _unit_x(ax)
    _labels(ax, "Confidence", "Share of samples", label)


def confidence_histogram(
    ax: Any, values: Sequence[float], *, colour: str, label: str = "", bins: int = 20
) -> None:
    """The share of samples by the probability given to their true class, on a log scale.

    Confidences crowd at 1: on a linear scale the other bins could not be seen.
    """
    count = [0] * bins
    for value in values:
        count[min(int(value * bins), bins - 1)] += 1  # 1.0 belongs to the last bin
    edges = [i / bins for i in range(bins + 1)]
    bin_counts(ax, edges[:-1], edges[1:], count, colour=colour, label=label)
    ax.set_xlabel("True-class confidence")


def curve_with_band(
    ax: Any,
    x: Sequence[float],
    mean: Sequence[float],
    std: Sequence[float],
    *,
    colour: str,
    label: str = "",
    xlabel: str = "",
    ylabel: str = "",
) -> None:
    """A curve with a band of one standard deviation (none where it is NaN: one seed)."""
    bounds = [(m, m - s, m + s) for m, s in zip(mean, std, strict=True)]
    curve_with_interval(ax, x, bounds, colour=colour, label=label)
    if all(float(v).is_integer() for v in x):
        ax.set_xticks(list(x)[:: math.ceil(len(x) / 5)])
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)


def curve_with_interval(
    ax: Any,
    x: Sequence[float],
    intervals: Sequence[tuple[float, float, float]],
    *,
    colour: str,
    label: str = "",
) -> None:
    """A curve through (value, low, high) with a band between its bounds (none where NaN)."""
    value, low, high = zip(*((v, *_bounds(v, a, b)) for v, a, b in intervals), strict=True)
    ax.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
    ax.plot(x, value, color=colour, marker="o", markersize=3.5, label=label or None)


def level_with_interval(
    ax: Any, interval: tuple[float, float, float], *, colour: str, label: str = ""
) -> None:
    """A dashed line across the axes, for what has no x, with the band of its interval."""
    value, low, high = interval
    ax.axhspan(*_bounds(value, low, high), color=colour, alpha=0.14, linewidth=0, zorder=0.8)
    ax.axhline(value, color=colour, linewidth=1.4, dashes=(4, 2), zorder=0.9, label=label or None)


class End(NamedTuple):
    """The right end of a curve, in the data's units, and what it is called."""

    name: str
    x: float
    y: float
    colour: str


def name_ends(ax: Any, ends: Sequence[End]) -> None:
    """Names to the right of the axes, each with a line to its curve's end: no legend to look up.

    To be called last: the limits of the axes stay what they are. Names whose ends are nearer
    than a line of text move apart.
    """
    low, high = ax.get_ylim()
    ax.set_xlim(ax.get_xlim())
    ax.set_ylim(low, high)
    inches = ax.figure.get_figheight() * ax.get_position().height
    heights = [(end.y - low) / (high - low) for end in ends]
    for end, height in zip(ends, spaced(heights, _LINE / (72 * inches)), strict=True):
        ax.annotate(
            end.name,
            (end.x, end.y),
            (1.05, height),
            textcoords=ax.transAxes,
            va="center",
            fontsize=9,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": end.colour,
                "linewidth": 0.9,
                "shrinkA": 1,
                "shrinkB": 2,
                "relpos": (0, 0.5),
            },
        )


_LINE = 13.0  # points between two names


def spaced(wanted: Sequence[float], gap: float) -> list[float]:
    """The places nearest to the wanted ones (least squares) that are at least ``gap`` apart.

    >>> spaced([0.5, 0.0, 0.5], 0.25)
    [0.375, 0.0, 0.625]
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    blocks: list[tuple[float, int]] = []  # where a block's first name would stand; how many in it
    for rank, i in enumerate(order):
        start, n = wanted[i] - rank * gap, 1
        while blocks and blocks[-1][0] >= start:  # isotonic regression: pool what would overlap
            other, m = blocks.pop()
            start, n = (other * m + start * n) / (m + n), m + n
        blocks.append((start, n))
    starts = [start for start, n in blocks for _ in range(n)]
    places = [0.0] * len(wanted)
    for rank, (i, start) in enumerate(zip(order, starts, strict=True)):
        places[i] = start + rank * gap
    return places


def _bounds(value: float, low: float, high: float) -> tuple[float, float]:
    """No band where there is no interval: one seed."""
    return (value, value) if math.isnan(low) or math.isnan(high) else (low, high)


def legend_beside(ax: Any) -> None:
    """The legend to the right of the axes, where no curve can run through it."""
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), borderaxespad=0.4)


def _unit_x(ax: Any) -> None:
    """From 0 to 1; the outer labels stay inside, so that neighbouring panels' do not meet."""
    ax.set_xlim(0, 1)
    ticks = ax.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    for tick, side in zip(ticks, ("left", "center", "right"), strict=True):
        tick.label1.set_horizontalalignment(side)


def _labels(ax: Any, x: str, y: str, title: str) -> None:
    """Name the axes; the vertical one only in the first column of a grid of panels."""
    ax.set_xlabel(x)
    spec = ax.get_subplotspec()
    if spec is None or spec.is_first_col():
        ax.set_ylabel(y)
    else:
        ax.tick_params(labelleft=False)
    if title:
        ax.set_title(title)


def _log_shares(ax: Any, total: float) -> None:
    """A log axis from below one sample's share to 100 %, ticks in plain percent."""
    decades = max(2, math.ceil(math.log10(max(total, 1) + 1)))
    ax.set_yscale("log")
    ticks = [10.0**-k for k in range(decades, -1, -1)]
    ax.set_yticks(ticks, [f"{100 * t:g} %" for t in ticks])
    ax.minorticks_off()
    ax.set_ylim(ticks[0] / 2, 1)
