"""What a study hands over: tables, figures, claims. Nothing here draws or prints."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import stdev
from typing import Any, Literal, TypeAlias

from softprior.studies import _statistics
from softprior.studies._methods import COLOURS, by_method, colour, method, selected

__all__ = [
    "COLOURS",
    "INTERVALS",
    "Cell",
    "Claim",
    "Column",
    "Difference",
    "Figure",
    "Measured",
    "Scale",
    "Table",
    "Verdict",
    "adjusted",
    "by_method",
    "colour",
    "method",
    "selected",
    "verdict",
]

LEVEL = 0.05  # of the verdicts: the chance of a wrong one in a claim where nothing differs
# For the caption of a table of differences.
INTERVALS = (
    "Each interval stands by itself, not corrected for the number of comparisons; verdicts are "
    "corrected (Holm, over the methods of a claim)."
)

Verdict = Literal["holds", "does not hold", "cannot tell"]


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How large a study is run: smoke (seconds), desk (a laptop), paper (the paper's recipe).

    ``dataset`` is a name or a path; None is digits. ``fingerprint`` says what was in it: without
    the data its runs are still found. ``model`` is a network by name; None is the scale's.
    ``precision`` is that of networks on a data set: digits always train in fp32.
    """

    name: Literal["smoke", "desk", "paper"]
    seeds: int
    dataset: str | None = None
    model: str | None = None
    precision: Literal["fp32", "bf16"] = "fp32"
    fingerprint: str | None = None


@dataclass(frozen=True)
class Measured:
    """Mean and sample standard deviation over n seeds (std is NaN for n = 1)."""

    mean: float
    std: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Measured:
        mean, n = _statistics.t_interval(values).value, len(values)
        return cls(mean, stdev(values) if n > 1 and math.isfinite(mean) else math.nan, n)


@dataclass(frozen=True)
class Difference:
    """Mean paired difference over n matched seeds, how far it can be told, and against what odds.

    Attributes:
        mean: of ours - theirs, seed by seed.
        low: lower end of its 95 % t interval (NaN for n = 1).
        high: upper end.
        n: number of seeds.
        p: two-sided p-value of the exact sign-flip test, at least ``2^(1-n)``: it assumes no
            normal distribution, but five seeds cannot bring it below 0.0625.
    """

    mean: float
    low: float
    high: float
    n: int
    p: float = math.nan

    @classmethod
    def paired(cls, ours: Sequence[float], theirs: Sequence[float]) -> Difference:
        gaps = [a - b for a, b in zip(ours, theirs, strict=True)]
        return cls(*_statistics.t_interval(gaps), len(gaps), _statistics.sign_flip_p(gaps))

    @property
    def clear(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0

    @property
    def p_t(self) -> float:
        """Two-sided p-value of the paired t test: below 0.05 just where the interval is clear.

        Where all seeds differ by the same it is the sign-flip test's ``2^(1-n)``.
        """
        return _statistics.t_p(self._interval, self.n)

    @property
    def effect(self) -> float:
        """Cohen's d_z: the mean over the standard deviation of the differences."""
        return _statistics.t_statistic(self._interval, self.n) / math.sqrt(self.n)

    @property
    def _interval(self) -> _statistics.Interval:
        return _statistics.Interval(self.mean, self.low, self.high)


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
    """A statement that the study tests, its verdict, and the evidence in a sentence.

    ``brief`` is the evidence where there is room for its numbers alone, if it is shorter.
    ``answers`` names those of the paper's questions ("RQ1" to "RQ5") that the claim answers.
    """

    text: str
    verdict: Verdict
    evidence: str
    brief: str = ""
    answers: tuple[str, ...] = ()


def adjusted(differences: Mapping[str, Difference]) -> dict[str, float]:
    """Holm's adjusted p-values of the paired t tests: one claim's, or one column's, family."""
    p_values = _statistics.holm([d.p_t for d in differences.values()])
    return dict(zip(differences, p_values, strict=True))


def verdict(
    text: str,
    differences: Mapping[str, Difference],
    *,
    sign: int,
    percent: bool = False,
    answers: tuple[str, ...] = (),
) -> Claim:
    """A claim about the direction of differences, decided by paired t tests with Holm's correction.

    It holds where every difference is on the claimed side and its adjusted p-value below 0.05;
    it does not hold where one is as clearly on the other side; and it cannot be told otherwise:
    always where the intervals include zero. Where no method differs, the chance of anything but
    "cannot tell" is at most 0.05 in a claim, however many methods it compares.

    The t test decides, not the sign-flip test beside it: with five seeds that one has no p-value
    below 0.0625, and could never tell anything. Where the two disagree, few seeds or a
    few odd ones among them carry the verdict.
    """
    if not differences:
        raise ValueError(f"claim {text!r} has no differences to decide it, wanted at least one")
    factor, unit = (100, " points") if percent else (1, "")
    p_values = adjusted(differences)

    def shown(value: float) -> str:
        return f"{value * factor:+.3g}".replace("-", "−")

    def measured(name: str, d: Difference) -> str:
        interval = "" if math.isnan(d.low) else f" [{shown(d.low)}, {shown(d.high)}]"
        return f"{name} {shown(d.mean)}{interval}{unit}"

    def tested(name: str, d: Difference) -> str:
        if math.isnan(d.low):
            return measured(name, d)
        effect = f"{d.effect:+.2g}".replace("-", "−").replace("inf", "∞")
        odds = [f"d_z {effect}", f"p {_p(p_values[name])}"]
        if not math.isnan(d.p):
            odds.append(f"sign-flip p {_p(d.p)}")
        return f"{measured(name, d)} ({', '.join(odds)})"

    told = {n: d for n, d in differences.items() if d.clear and p_values[n] < LEVEL}
    outcome: Verdict = "cannot tell"
    if any(sign * d.mean < 0 for d in told.values()):
        outcome = "does not hold"
    elif len(told) == len(differences):
        outcome = "holds"
    n = next(iter(differences.values())).n
    note = f"seeds: {n}"
    if any(not math.isnan(p) for p in p_values.values()):
        note += "; p: paired t test"
        note += f", Holm-adjusted for {len(differences)}" if len(differences) > 1 else ""
    evidence = "; ".join(tested(name, d) for name, d in differences.items())
    return Claim(
        text=text,
        verdict=outcome,
        evidence=f"{evidence} ({note})",
        brief="; ".join(measured(name, d) for name, d in differences.items()),
        answers=answers,
    )


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.2g}"
