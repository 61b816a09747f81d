"""Curves with their intervals, panel by panel: one way to draw every number over another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from softprior.evidence.differences import Interval
from softprior.evidence.figure import Figure
from softprior.evidence.palette import MUTED

BANDS = "Bands and bars: 95 % intervals, point by point, cut where they leave the panel."
_STYLES = ("-", "--", ":", "-.")  # of the curves that share a colour


class Series(NamedTuple):
    """A curve: points with the interval at each. One point alone is drawn as a diamond."""

    label: str
    colour: str
    points: list[tuple[float, Interval]]


class Level(NamedTuple):
    """A dashed line across the panel, for what has no x."""

    label: str
    colour: str
    interval: Interval


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Curves on common axes.

    Attributes:
        zero: draw a line at zero, for differences.
        log: both axes ("both"), or the horizontal one ("x"), are logarithmic.
        ticks: of the horizontal axis; by default those that the curves have.
        points: mark the points of the curves.
        places: names of x = 0, 1, 2, … where x is no number: no line joins the points.
    """

    ylabel: str
    xlabel: str
    series: Sequence[Series]
    levels: Sequence[Level] = ()
    title: str = ""
    zero: bool = False
    log: Literal["x", "both", None] = None
    ticks: Sequence[float] | None = None
    points: bool = True
    places: Sequence[str] = ()


def curves(
    key: str,
    title: str,
    panels: Sequence[Panel],
    *,
    caption: str,
    alt: str,
    size: tuple[float, float],
    names: Literal["right", "below"] = "right",
    bars: bool = False,
) -> Figure:
    """A figure of panels.

    Args:
        key, title, caption, alt, size: as in :class:`.Figure`; what bands and bars are is added
            to the caption.
        panels: what is drawn.
        names: where the legend is.
        bars: draw intervals as bars, the points of one x side by side, instead of bands.
    """
    styles = _styles(panels)

    def draw(axes: Sequence[Any]) -> None:
        for ax, panel in zip(axes, panels, strict=True):
            _panel(ax, panel, styles, bars)
        _legend(axes, names)

    return Figure(
        key=key,
        title=title,
        caption=f"{caption} {BANDS}" if any(map(_has_intervals, panels)) else caption,
        alt=alt,
        draw=draw,
        data={
            f"{panel.title}: {panel.ylabel}" if panel.title else panel.ylabel: _data(panel)
            for panel in panels
        },
        panels=len(panels),
        size=size,
    )


def _has_intervals(panel: Panel) -> bool:
    intervals = [interval for curve in panel.series for _, interval in curve.points]
    intervals += [level.interval for level in panel.levels]
    return any(not math.isnan(interval.low) for interval in intervals)


def _styles(panels: Sequence[Panel]) -> dict[str, str]:
    """A line style for each label: those that share a colour differ."""
    seen: dict[str, list[str]] = {}
    for panel in panels:
        for curve in panel.series:
            labels = seen.setdefault(curve.colour, [])
            if curve.label not in labels:
                labels.append(curve.label)
    return {
        label: _STYLES[at % len(_STYLES)]
        for labels in seen.values()
        for at, label in enumerate(labels)
    }


def _panel(ax: Any, panel: Panel, styles: dict[str, str], bars: bool) -> None:
    if panel.log:
        ax.set_xscale("log")
    if panel.log == "both":
        ax.set_yscale("log")
    if panel.zero:
        ax.axhline(0, color=MUTED, linewidth=0.9, zorder=0.9)
    for level in panel.levels:
        _level(ax, level)
    for at, curve in enumerate(panel.series):
        if bars:
            line = "none" if panel.places else styles[curve.label]
            _bars(ax, curve, at, len(panel.series), line)
        elif len(curve.points) == 1:
            _diamond(ax, curve)
        else:
            _band(ax, curve, styles[curve.label], "o" if panel.points else "")
    _ticks(ax, panel)
    ax.set_xlabel(panel.xlabel)
    ax.set_ylabel(panel.ylabel)
    if panel.title:
        ax.set_title(panel.title)
    if panel.log != "both":
        _look_at_the_values(ax, panel)


def _band(ax: Any, curve: Series, linestyle: str, marker: str) -> None:
    x = [at for at, _ in curve.points]
    low, high = zip(*(_bounds(interval) for _, interval in curve.points), strict=True)
    ax.fill_between(x, low, high, color=curve.colour, alpha=0.16, linewidth=0)
    y = [interval.value for _, interval in curve.points]
    style: dict[str, Any] = {"marker": marker, "markersize": 3.5, "linestyle": linestyle}
    ax.plot(x, y, color=curve.colour, label=curve.label, **style)


def _bars(ax: Any, curve: Series, at: int, of: int, linestyle: str) -> None:
    every = [x for x, _ in curve.points]
    apart = 0.02 * (max(every) - min(every))
    ax.errorbar(
        [x + apart * (at - (of - 1) / 2) for x in every],
        [interval.value for _, interval in curve.points],
        [_half(interval) for _, interval in curve.points],
        color=curve.colour,
        linestyle=linestyle,
        marker="o",
        markersize=3,
        elinewidth=1,
        label=curve.label,
    )


def _diamond(ax: Any, curve: Series) -> None:
    ((x, interval),) = curve.points
    ax.vlines(x, *_bounds(interval), color=curve.colour, linewidth=1.2)
    ax.plot(
        [x], [interval.value], "D", color=curve.colour, markersize=5.5, label=curve.label, zorder=3
    )


def _level(ax: Any, level: Level) -> None:
    ax.axhspan(*_bounds(level.interval), color=level.colour, alpha=0.12, linewidth=0, zorder=0.8)
    ax.axhline(
        level.interval.value,
        color=level.colour,
        linewidth=1.4,
        dashes=(4, 2),
        zorder=0.9,
        label=level.label,
    )


def _ticks(ax: Any, panel: Panel) -> None:
    """At the points of the curves, as many as there is room for; matplotlib's beside diamonds."""
    if panel.places:
        ax.set_xticks(range(len(panel.places)), panel.places)
        ax.grid(visible=False, axis="x")
        return
    every = sorted({x for curve in panel.series for x, _ in curve.points})
    alone = any(len(curve.points) == 1 for curve in panel.series)
    if panel.ticks is None and (alone or panel.log == "both"):
        return
    ticks = list(panel.ticks or every)
    ticks = ticks[:: math.ceil(len(ticks) / 6)]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    if panel.log:
        ax.minorticks_off()


def _look_at_the_values(ax: Any, panel: Panel) -> None:
    """No further above and below the values than they span: few seeds have huge intervals."""
    values = [interval.value for curve in panel.series for _, interval in curve.points]
    values += [level.interval.value for level in panel.levels]
    values = [value for value in values if math.isfinite(value)]
    low, high = ax.get_ylim()
    span = max(values, default=0) - min(values, default=0)
    if span > 0:
        ax.set_ylim(max(low, min(values) - span), min(high, max(values) + span))


def _legend(axes: Sequence[Any], names: str) -> None:
    """Every label once, though not every panel has every curve."""
    found: dict[str, Any] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if len(found) < 2:
        return
    where = {"right": "outside right upper", "below": "outside lower center"}[names]
    columns = 1 if names == "right" else min(3, len(found))
    axes[0].figure.legend(list(found.values()), list(found), loc=where, ncols=columns)


def _bounds(interval: Interval) -> tuple[float, float]:
    """No band where there is no interval: one seed."""
    value, low, high = interval
    return (value, value) if math.isnan(low) or math.isnan(high) else (low, high)


def _half(interval: Interval) -> float:
    low, high = _bounds(interval)
    return (high - low) / 2


def _data(panel: Panel) -> dict[str, Any]:
    data: dict[str, Any] = {
        curve.label: {f"{x:g}": list(interval) for x, interval in curve.points}
        for curve in panel.series
    }
    return data | {level.label: list(level.interval) for level in panel.levels}
