"""The figures of the study of calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from softprior import diagnostics
from softprior.studies._drawing import MUTED, legend_beside, reliability_diagram
from softprior.studies._kit import Difference, Figure, colour
from softprior.studies._statistics import Interval, t_interval
from softprior.training import Run

_POINTS = 50  # of a risk-coverage curve
Numbers = Mapping[str, Sequence[Mapping[str, float]]]  # by method, seed, and measure's name
Predictions = Mapping[str, Sequence[tuple[Tensor, Tensor]]]  # by method and seed


def conventions_figure(stages: Mapping[str, Numbers], conventions: Sequence[str]) -> Figure:
    """Calibration error of each method by each convention, a panel for each stage."""
    names = list(next(iter(stages.values())))
    n = len(next(iter(stages.values()))[names[0]])
    found = {
        stage: {
            name: {c: t_interval([row[c] for row in numbers[name]]) for c in conventions}
            for name in names
        }
        for stage, numbers in stages.items()
    }

    def draw(axes: Sequence[Any]) -> None:
        for ax, (stage, of) in zip(axes, found.items(), strict=True):
            for at, (name, errors) in enumerate(of.items()):
                # Downwards in the order of the conventions, the methods side by side.
                y = [k + 0.12 * (at - (len(names) - 1) / 2) for k in range(len(conventions))]
                ax.errorbar(
                    [100 * i.value for i in errors.values()],
                    y,
                    xerr=[_half(100 * i.low, 100 * i.high) for i in errors.values()],
                    color=colour(name),
                    linestyle="none",
                    marker="o",
                    markersize=3.5,
                    elinewidth=1.2,
                    label=name,
                )
            ax.set_yticks(range(len(conventions)), conventions)
            ax.set_ylim(len(conventions) - 0.5, -0.5)
            right = ax.get_xlim()[1]
            ax.set_xlim(-0.02 * right, right)  # room for a point at 0
            ax.grid(visible=False)
            for edge in range(1, len(conventions)):
                ax.axhline(edge - 0.5, color=MUTED, linewidth=0.4)
            if not ax.get_subplotspec().is_first_col():
                ax.tick_params(labelleft=False)
            ax.set_title(f"{stage} scaling")
            ax.set_xlabel("Calibration error, %")
        legend_beside(axes[-1])

    return Figure(
        key="conventions",
        title="Calibration error by convention",
        caption=f"Test set, selected epoch; points: mean over n = {n} seeds; bars: 95 % t "
        "intervals. "
        "The two panels have scales of their own. 20 bins where none are named.",
        alt="Two panels, before and after temperature scaling: the calibration error of each "
        "method by each of six conventions.",
        draw=draw,
        data={
            stage: {name: {c: list(i) for c, i in of.items()} for name, of in by.items()}
            for stage, by in found.items()
        },
        panels=len(found),
        size=(9.0, 4.2),
    )


def reliability_figure(stages: Mapping[str, Predictions]) -> Figure:
    """Reliability diagrams: a row of methods before scaling, a row after."""
    tables = {
        stage: {name: _pooled(of) for name, of in predictions.items()}
        for stage, predictions in stages.items()
    }
    panels = [(stage, name, t) for stage, of in tables.items() for name, t in of.items()]
    first, last = next(iter(tables)), list(tables)[-1]

    def draw(axes: Sequence[Any]) -> None:
        for ax, (stage, name, table) in zip(axes, panels, strict=True):
            title = name if stage == first else ""
            reliability_diagram(ax, *(t.tolist() for t in table), colour=colour(name), label=title)
            ax.title.set_fontsize(8.5)
            if stage != last:
                ax.set_xlabel("")
            if ax.get_ylabel():
                ax.set_ylabel(f"Accuracy, {stage} scaling")

    return Figure(
        key="reliability",
        title="Reliability before and after temperature scaling",
        caption="Bars: accuracy in each of 20 equal-width bins of confidence; ticks: mean "
        "confidence there; all seeds pooled, selected epoch. Above the diagonal a model is "
        "underconfident.",
        alt="Two rows of reliability diagrams, one per method: above as trained, below after "
        "temperature scaling.",
        draw=draw,
        data={
            stage: {
                name: {key: _finite(values) for key, values in table._asdict().items()}
                for name, table in of.items()
            }
            for stage, of in tables.items()
        },
        panels=len(panels),
        size=(1.8 * len(panels) / len(tables), 4.4),  # one row for each stage
    )


def risk_figure(groups: Mapping[str, Sequence[Run]], reference: str) -> Figure:
    """Risk against coverage, and its paired difference to the reference."""
    risks: dict[str, list[list[float]]] = {}  # by method, seed and coverage
    for name, runs in groups.items():
        curves = [
            diagnostics.risk_coverage(*run.predictions("test"), points=_POINTS) for run in runs
        ]
        risks[name] = [curve.risk.tolist() for curve in curves]
        coverage = curves[0].coverage.tolist()
    n = len(risks[reference])
    levels = {
        name: [t_interval(values) for values in zip(*of, strict=True)] for name, of in risks.items()
    }
    gaps = {
        name: [
            Difference.paired(ours, theirs)
            for ours, theirs in zip(
                zip(*of, strict=True), zip(*risks[reference], strict=True), strict=True
            )
        ]
        for name, of in risks.items()
        if name != reference
    }
    x = [100 * c for c in coverage]
    errors = [c for at, c in enumerate(x) if any(of[at].value > 0 for of in levels.values())]
    start = 10 * int(min(errors, default=0) / 10)  # below it nobody errs

    def curve(ax: Any, name: str, of: Sequence[Interval]) -> None:
        mean, low, high = ([100 * v for v in values] for values in zip(*of, strict=True))
        ax.fill_between(x, low, high, color=colour(name), alpha=0.1, linewidth=0)
        ax.plot(x, mean, color=colour(name), label=name)

    def draw(axes: Sequence[Any]) -> None:
        left, right = axes
        for name, of in levels.items():
            curve(left, name, of)
        for name, by in gaps.items():
            curve(right, name, [Interval(d.mean, d.low, d.high) for d in by])
        right.axhline(0, color=MUTED, linewidth=0.9, zorder=0.9)
        left.set_ylabel("Risk (error rate), %")
        right.set_ylabel(f"Points over {reference}")
        for ax in axes:
            ax.set_xlim(start, 100)
            ax.set_xlabel("Coverage, %")
        left.set_ylim(bottom=0)
        handles, labels = left.get_legend_handles_labels()
        right.legend(
            handles, labels, loc="center left", bbox_to_anchor=(1.0, 0.5), borderaxespad=0.4
        )

    return Figure(
        key="risk_coverage",
        title="Risk at each coverage",
        caption="Error rate among the most confident samples, against how many are answered; test "
        f"set, selected epoch, before scaling, mean over n = {n} seeds. Right: the paired "
        "difference "
        f"to {reference}. Bands: 95 % t intervals, point by point. Not shown: where nobody errs.",
        alt="Two panels over coverage: the error rate of each method among its most confident "
        f"samples, and its difference to {reference}.",
        draw=draw,
        data={
            "coverage": coverage,
            "risk": {name: [list(i) for i in of] for name, of in levels.items()},
            "difference": {
                name: [[d.mean, d.low, d.high] for d in of] for name, of in gaps.items()
            },
        },
        panels=2,
        size=(9.0, 3.4),
    )


def _pooled(of: Sequence[tuple[Tensor, Tensor]]) -> diagnostics.Reliability:
    return diagnostics.reliability(torch.cat([p[0] for p in of]), torch.cat([p[1] for p in of]))


def _half(low: float, high: float) -> float:
    """Half the width; no bar where there is no interval: one seed."""
    return 0.0 if low != low else (high - low) / 2


def _finite(values: Tensor) -> list[float | None]:
    return [v if v == v else None for v in values.tolist()]
