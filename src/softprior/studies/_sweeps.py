"""One number of a recipe varied: scores along it, and single runs marked beside the curve."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from softprior.studies._ablation import COLUMNS, Numbers, Score, Scores
from softprior.studies._drawing import INK, curve_with_band
from softprior.studies._kit import COLOURS, Figure, Measured


def interpolated(curve: Sequence[tuple[float, Scores]], x: float) -> Scores:
    """Every score at ``x``, linearly between the two neighbours of it on a curve.

    Outside the curve that of its nearest end.

    >>> low, high = Scores(0.8, 1, 0, 0, 0), Scores(0.9, 2, 0, 0, 0)
    >>> interpolated([(0.2, high), (0.1, low)], 0.125).nll
    1.25
    """
    points = sorted(curve)
    for (left, low), (right, high) in pairwise(points):
        if left <= x <= right and left < right:
            part = (x - left) / (right - left)
            return Scores(*(a + part * (b - a) for a, b in zip(low, high, strict=True)))
    return points[0][1] if x < points[0][0] else points[-1][1]


def sweep(
    key: str,
    title: str,
    xlabel: str,
    numbers: Numbers,
    along: Mapping[str, float],
    scores: Sequence[Score],
    *,
    marked: Mapping[str, float],
    caption: str,
) -> Figure:
    """A panel for each score over ``along`` (x of each variant on the curve), and the mean of
    those that are ``marked`` at their x."""

    def of(name: str, score: Score) -> Measured:
        found = Measured.of([getattr(s, score) for s in numbers[name]])
        factor = 100 if COLUMNS[score].percent else 1
        return Measured(factor * found.mean, factor * found.std, found.n)

    def draw(axes: Sequence[Any]) -> None:
        for ax, score in zip(axes, scores, strict=True):
            cells = [of(name, score) for name in along]
            curve_with_band(
                ax,
                list(along.values()),
                [c.mean for c in cells],
                [c.std for c in cells],
                colour=COLOURS["self-distillation"],
                xlabel=xlabel,
                ylabel=COLUMNS[score].name + (", %" if COLUMNS[score].percent else ", nats"),
            )
            for name, x in marked.items():
                _mark(ax, x, of(name, score), name)
            ax.margins(x=0.12, y=0.14)

    return Figure(
        key=key,
        title=title,
        caption=f"{caption} Mean over seeds; band and bars: ± one standard deviation (none for "
        "one seed).",
        alt=f"{' and '.join(COLUMNS[s].name for s in scores)} of self-distillation over "
        f"{xlabel.lower()}"
        + (
            f", and beside the curve {' and '.join(n.partition(',')[0] for n in marked)}."
            if marked
            else "."
        ),
        draw=draw,
        data={
            name: {"x": x, **{score: of(name, score) for score in scores}}
            for name, x in {**along, **marked}.items()
        },
        panels=len(scores),
        size=(8.4, 2.8),
    )


def _mark(ax: Any, x: float, at: Measured, name: str) -> None:
    """A diamond with its name beside it, on the side that has room."""
    known = COLOURS.get(name.partition(",")[0])
    shade = known or COLOURS["Beta (reversed order)"]
    spread = 0.0 if math.isnan(at.std) else at.std
    ax.vlines(x, at.mean - spread, at.mean + spread, color=shade, linewidth=1.2)
    ax.plot([x], [at.mean], "D", color=shade, markersize=5)
    ax.annotate(
        name.partition(",")[0],
        (x, at.mean),
        xytext=(0, 7),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=8,
        color=shade if known else INK,
    )
