"""Differences with their intervals as points and bars, a panel for each score."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from softprior.evidence.comparison import (
    Comparison,
    Reference,
    own_partner,
    sentences,
)
from softprior.evidence.differences import Difference
from softprior.evidence.figure import Figure
from softprior.evidence.palette import MUTED
from softprior.evidence.results import Method


class _Row(NamedTuple):
    """A method's differences; of a heading there are none."""

    label: str
    colour: str = ""
    gaps: Mapping[str, Difference] | None = None


def forest(
    key: str,
    title: str,
    comparison: Comparison,
    groups: Mapping[str, tuple[Reference, Sequence[Method]]],
    scores: Sequence[str],
) -> Figure:
    """Paired differences to references.

    Args:
        key, title: as in :class:`.Figure`.
        comparison: what holds the scores.
        groups: under a heading each, the reference, or what gives each method its own, and the
            methods that are set against it.
        scores: a panel for each.
    """
    columns = [comparison.columns[score] for score in scores]
    rows: list[_Row] = []
    data: dict[str, dict[str, Mapping[str, Difference]]] = {}
    for heading, (reference, methods) in groups.items():
        partner, data[heading] = own_partner(reference), {}
        rows.append(_Row(heading))
        for method in methods:
            gaps = {score: comparison.gap(method, partner(method), score) for score in scores}
            data[heading][method.label] = gaps
            rows.append(_Row(method.label, method.colour, gaps))

    def draw(axes: Sequence[Any]) -> None:
        for at, (ax, score, column) in enumerate(zip(axes, scores, columns, strict=True)):
            ax.axvline(0, color=MUTED, linewidth=0.9)
            for y, row in enumerate(rows):
                if row.gaps is not None:
                    _point(ax, y, row.gaps[score], row.colour, column.factor)
            ax.set_ylim(len(rows) - 0.5, -0.5)
            ax.set_yticks(range(len(rows)), [row.label for row in rows])
            ax.grid(visible=True, axis="x")
            ax.grid(visible=False, axis="y")
            if at:
                ax.tick_params(labelleft=False)
            else:
                for tick, row in zip(ax.get_yticklabels(), rows, strict=True):
                    tick.set_fontweight("bold" if row.gaps is None else "normal")
            ax.set_xlabel(column.gap_axis)

    return Figure(
        key=key,
        title=title,
        caption=sentences(
            "Point: mean paired difference over seeds to the reference in bold; bar: its 95 % "
            "interval (none for one seed).",
            comparison.only(comparison.methods, scores).covered,
            comparison.about,
        ),
        alt="For each variant a point and a bar, left or right of a line at zero: its difference "
        f"to the reference in {' and in '.join(column.name for column in columns)}.",
        draw=draw,
        data=data,
        panels=len(scores),
        size=(7.8, 0.6 + 0.27 * len(rows)),
    )


def _point(ax: Any, y: int, gap: Difference, colour: str, factor: int) -> None:
    if not math.isnan(gap.low):
        ax.hlines(y, factor * gap.low, factor * gap.high, color=colour, linewidth=2)
    ax.plot([factor * gap.mean], [y], "o", color=colour, markersize=5)
