"""What a study hands over: tables, figures, claims. Nothing here draws or prints."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any, Literal, TypeAlias

from scipy.special import stdtrit

from softprior.priors import BetaPrior, TeacherPrior, UniformPrior
from softprior.training import Recipe, Run

Verdict = Literal["holds", "does not hold", "cannot tell"]


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How large a study is run: smoke (seconds), desk (a laptop), paper (the paper's recipe)."""

    name: Literal["smoke", "desk", "paper"]
    seeds: int


@dataclass(frozen=True)
class Measured:
    """Mean and sample standard deviation over n seeds (std is NaN for n = 1)."""

    mean: float
    std: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Measured:
        return cls(fmean(values), stdev(values) if len(values) > 1 else math.nan, len(values))


@dataclass(frozen=True)
class Difference:
    """Mean paired difference with its 95 % t interval over n seeds (NaN bounds for n = 1)."""

    mean: float
    low: float
    high: float
    n: int

    @classmethod
    def paired(cls, ours: Sequence[float], theirs: Sequence[float]) -> Difference:
        gaps = [a - b for a, b in zip(ours, theirs, strict=True)]
        n, mean = len(gaps), fmean(gaps)
        if n < 2:
            return cls(mean, math.nan, math.nan, n)
        half = float(stdtrit(n - 1, 0.975)) * stdev(gaps) / math.sqrt(n)
        return cls(mean, mean - half, mean + half, n)

    @property
    def clear(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0


Cell: TypeAlias = str | int | float | Measured | Difference


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column: its heading, how many digits its numbers show, and a factor before showing.

    ``percent=True`` shows fractions × 100; results.json always holds the fractions.
    ``better`` marks which end of the column is good.
    """

    name: str
    digits: int = 2
    percent: bool = False
    better: Literal["high", "low", None] = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of cells under columns; the first column names the row."""

    key: str
    title: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A picture that draws itself on axes it is given, and the numbers that are in it.

    ``draw`` receives a flat list of ``panels`` matplotlib axes. ``alt`` says in words what
    is to be seen, for whoever cannot see it. ``size`` is the whole figure's, in inches.
    """

    key: str
    title: str
    caption: str
    alt: str
    draw: Callable[[Sequence[Any]], None]
    data: dict[str, Any] = field(default_factory=dict)
    panels: int = 1
    size: tuple[float, float] = (7.2, 3.4)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A statement that the study tests, its verdict, and the evidence in a sentence."""

    text: str
    verdict: Verdict
    evidence: str


# The Okabe-Ito palette: colour-blind safe; the same colour for a method in every figure.
COLOURS = {
    "cross-entropy": "#7f7f7f",
    "label smoothing": "#0072B2",
    "Beta (EMA)": "#D55E00",
    "Beta (memory)": "#E69F00",
    "self-distillation": "#009E73",
}


def method(recipe: Recipe) -> str:
    """What the field calls a recipe's method: the key of :data:`COLOURS`."""
    if isinstance(recipe.prior, UniformPrior):
        return "label smoothing"
    if isinstance(recipe.prior, TeacherPrior):
        return "self-distillation"
    if isinstance(recipe.prior, BetaPrior):
        ranker = {"ema": "EMA", "memory": "memory", None: "own logits"}
        return f"Beta ({ranker.get(str(recipe.teacher), 'own logits')})"
    return "confidence penalty" if recipe.confidence_penalty else "cross-entropy"


def by_method(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Runs by method in the order of first appearance, each in the order of its seeds."""
    groups: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.recipe.seed):
        groups.setdefault(method(run.recipe), []).append(run)
    return groups


def verdict(
    text: str, differences: Mapping[str, Difference], *, sign: int, percent: bool = False
) -> Claim:
    """A claim about the direction of differences, decided by their 95 % intervals.

    It holds where every interval lies on the claimed side of zero, does not hold where one
    lies wholly on the other side, and cannot be told otherwise.
    """
    factor, unit = (100, " points") if percent else (1, "")

    def shown(value: float) -> str:
        return f"{value * factor:+.3g}".replace("-", "−")

    evidence = "; ".join(
        f"{name} {shown(d.mean)}"
        + (f" [{shown(d.low)}, {shown(d.high)}]" if d.n > 1 else "")
        + unit
        for name, d in differences.items()
    )
    bounds = [(sign * d.low, sign * d.high) for d in differences.values()]
    ordered = [(min(pair), max(pair)) for pair in bounds]
    outcome: Verdict = "cannot tell"
    if all(low > 0 for low, _ in ordered):
        outcome = "holds"
    elif any(high < 0 for _, high in ordered):
        outcome = "does not hold"
    n = next(iter(differences.values())).n
    return Claim(text=text, verdict=outcome, evidence=f"{evidence} (seeds: {n})")
