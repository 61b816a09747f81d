"""The figures of the study of calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from softprior import diagnostics
from softprior.evidence import Comparison, Difference, Figure, Method, Panel, Series, curves
from softprior.evidence.differences import Interval
from softprior.evidence.statistics import t_interval
from softprior.studies._shared.reliability import Predictions

_POINTS = 50  # of a risk-coverage curve


def conventions_figure(stages: Mapping[str, Comparison], conventions: Sequence[str]) -> Figure:
    """Calibration error of each method by each convention, a panel for each stage."""
    about = next(iter(stages.values())).about
    return curves(
        "conventions",
        "Calibration error by convention",
        [
            Panel(
                title=stage,
                ylabel="Calibration error, %",
                xlabel="",
                series=[
                    Series(
                        m.label,
                        m.colour,
                        _percent([t_interval(of.values(m, c)) for c in conventions]),
                    )
                    for m in of.methods
                ],
                places=[" ".join(c.split(", ")).replace(" ", "\n", 1) for c in conventions],
            )
            for stage, of in stages.items()
        ],
        caption=f"{about} Mean over seeds. The two panels have scales of their own. 20 bins where "
        "none are named.",
        alt="Two panels, before and after temperature scaling: the calibration error of each "
        f"method by each of {len(conventions)} conventions.",
        size=(9.0, 3.6),
        names="below",
        bars=True,
    )


def _percent(intervals: Sequence[Interval]) -> list[tuple[float, Interval]]:
    return [(at, Interval(*(100 * v for v in found))) for at, found in enumerate(intervals)]


def risk_figure(predictions: Predictions, reference: Method, about: str) -> Figure:
    """Risk against coverage, and its paired difference to the reference."""
    risks: dict[Method, list[list[float]]] = {}  # by coverage, then by seed
    for method, of in predictions.items():
        found = [diagnostics.risk_coverage(*each, points=_POINTS) for each in of]
        risks[method] = [list(at) for at in zip(*(c.risk.tolist() for c in found), strict=True)]
        coverage = [100 * c for c in found[0].coverage.tolist()]
    # Below it nobody errs.
    start = min(
        (c for at, c in enumerate(coverage) if any(sum(r[at]) for r in risks.values())), default=0
    )

    def curve(method: Method, intervals: Sequence[Interval]) -> Series:
        points = [
            (c, Interval(*(100 * v for v in interval)))
            for c, interval in zip(coverage, intervals, strict=True)
            if c >= start
        ]
        return Series(method.label, method.colour, points)

    levels = [curve(m, [t_interval(at) for at in of]) for m, of in risks.items()]
    gaps = [
        curve(
            m,
            [
                Difference.over_seeds(ours, theirs).interval
                for ours, theirs in zip(of, risks[reference], strict=True)
            ],
        )
        for m, of in risks.items()
        if m != reference
    ]
    ticks = [c for c in range(0, 101, 20) if c >= start]
    return curves(
        "risk_coverage",
        "Risk at each coverage",
        [
            Panel(
                ylabel="Risk (error rate), %",
                xlabel="Coverage, %",
                series=levels,
                ticks=ticks,
                points=False,
            ),
            Panel(
                ylabel=f"Points over {reference.label}",
                xlabel="Coverage, %",
                series=gaps,
                zero=True,
                ticks=ticks,
                points=False,
            ),
        ],
        caption="Risk: error rate among the most confident samples. Coverage: the share of samples "
        f"that these are. {about} Before scaling, mean over seeds. Right: the paired difference to "
        f"{reference.label}. Not shown: coverages at which no method makes an error.",
        alt="Two panels over coverage: the error rate of each method among its most confident "
        f"samples, and its difference to {reference.label}.",
        size=(9.0, 3.4),
    )
