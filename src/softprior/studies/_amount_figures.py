"""The figures of the study of the amount of smoothing: curves over it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from softprior.studies._ablation import COLUMNS, Score
from softprior.studies._amount import CE, Numbers, gap
from softprior.studies._drawing import (
    MUTED,
    End,
    curve_with_interval,
    level_with_interval,
    name_ends,
)
from softprior.studies._kit import Figure, colour
from softprior.studies._statistics import Interval, t_interval

_WIDTH = 6.9  # inches: two panels in a row
_HEIGHT = 2.7  # of a row

Curves = dict[str, dict[float, Interval]]  # by method and amount; cross-entropy's amount is 0


def levels_figure(numbers: Numbers, scores: Sequence[Score]) -> Figure:
    """A panel for each score: every method over the amount, cross-entropy as a level."""
    n = len(next(iter(numbers[CE].values())))
    found: dict[Score, Curves] = {
        score: {
            name: {
                ε: _scaled(t_interval([getattr(s, score) for s in of]), score)
                for ε, of in by.items()
            }
            for name, by in numbers.items()
        }
        for score in scores
    }

    def draw(axes: Sequence[Any]) -> None:
        for ax, (score, curves) in zip(axes, found.items(), strict=True):
            _panel(ax, curves)
            ax.set_title(COLUMNS[score].name + _unit(score, "%"))

    return Figure(
        key="curves",
        title="Each score against the amount of smoothing",
        caption=f"Test set, epoch with the best validation accuracy; mean over n = {n} seeds; "
        "bands: 95 % t intervals, point by point, cut where they leave the panel. ECE: 20 "
        "equal-width bins; scaled: after temperature scaling on the validation set.",
        alt=f"{len(scores)} panels over the amount of smoothing: "
        f"{', '.join(COLUMNS[s].name for s in scores)} of each method, with cross-entropy as a "
        "dashed level.",
        draw=draw,
        data=_data(found),
        panels=len(scores),
        size=(_WIDTH, _HEIGHT * -(-len(scores) // 2)),
    )


def gaps_figure(numbers: Numbers, reference: str, scores: Sequence[Score]) -> Figure:
    """A panel for each score: paired differences to a method at the same amount."""
    names = [name for name in numbers if name not in (CE, reference)]
    n = len(next(iter(numbers[reference].values())))
    found: dict[Score, Curves] = {score: {} for score in scores}
    for score in scores:
        for name in names:
            gaps = {ε: gap(numbers, name, reference, score, ε) for ε in numbers[name]}
            found[score][name] = {
                ε: _scaled(Interval(d.mean, d.low, d.high), score) for ε, d in gaps.items()
            }

    def draw(axes: Sequence[Any]) -> None:
        for ax, (score, curves) in zip(axes, found.items(), strict=True):
            ax.axhline(0, color=MUTED, linewidth=0.9, zorder=0.9)
            _panel(ax, curves)
            ax.set_title("Δ " + COLUMNS[score].name + _unit(score, "points"))

    return Figure(
        key="gaps",
        title=f"Difference to {reference} at the same amount",
        caption=f"Test set; mean paired difference over n = {n} seeds; bands: 95 % t intervals, "
        "point by point, not corrected for their number, cut where they leave the panel. Line at "
        f"zero: {reference}.",
        alt=f"{len(scores)} panels over the amount of smoothing: difference of each method to "
        f"{reference} in {' and '.join(COLUMNS[s].name for s in scores)}.",
        draw=draw,
        data=_data(found),
        panels=len(scores),
        size=(_WIDTH, _HEIGHT * -(-len(scores) // 2)),
    )


def _panel(ax: Any, curves: Curves) -> None:
    """The curves, and their names where nothing stands to the right of the panel."""
    ends = []
    for name, curve in curves.items():
        x = [100 * ε for ε in curve]
        if x == [0]:
            level_with_interval(ax, curve[0.0], colour=colour(name))
        else:
            curve_with_interval(ax, x, list(curve.values()), colour=colour(name))
            ax.set_xticks(x)
    right = ax.get_xlim()[1]
    for name, curve in curves.items():
        last = max(curve)
        ends.append(End(name, 100 * last or right, curve[last].value, colour(name)))
    ax.set_xlabel("Taken from the label, %")
    _look_at_the_means(ax, [i.value for curve in curves.values() for i in curve.values()])
    spec = ax.get_subplotspec()
    if spec is None or spec.is_last_col():
        name_ends(ax, ends)


def _look_at_the_means(ax: Any, means: Sequence[float]) -> None:
    """No further above and below the means than they span: few seeds have huge intervals."""
    low, high = ax.get_ylim()
    span = max(means) - min(means)
    if span > 0:
        ax.set_ylim(max(low, min(means) - span), min(high, max(means) + span))


def _scaled(interval: Interval, score: Score) -> Interval:
    factor = 100 if COLUMNS[score].percent else 1
    return Interval(*(factor * value for value in interval))


def _unit(score: Score, percent: str) -> str:
    return f", {percent}" if COLUMNS[score].percent else ", nats"


def _data(found: dict[Score, Curves]) -> dict[str, Any]:
    return {
        score: {
            name: {f"{ε:g}": list(interval) for ε, interval in curve.items()}
            for name, curve in curves.items()
        }
        for score, curves in found.items()
    }
