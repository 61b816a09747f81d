"""Drawing shared by figures: plain functions that receive the axes (no plotting is imported)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from softprior.evidence.palette import INK, MUTED


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
