"""Tables: numbers over seeds, and what stands above them. Nothing here draws or prints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import stdev
from typing import Literal, TypeAlias

from softprior.evidence import statistics

# For the caption of a table of differences.
INTERVALS = (
    "Each interval stands by itself, not corrected for the number of comparisons; verdicts are "
    "corrected (Holm, over the methods of a claim)."
)


@dataclass(frozen=True)
class Measured:
    """Mean and sample standard deviation over n seeds (std is NaN for n = 1)."""

    mean: float
    std: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Measured:
        mean, n = statistics.t_interval(values).value, len(values)
        return cls(mean, stdev(values) if n > 1 and math.isfinite(mean) else math.nan, n)


@dataclass(frozen=True)
class Difference:
    """Mean paired difference over n matched seeds, its interval, and its p-value.

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
        return cls(*statistics.t_interval(gaps), len(gaps), statistics.sign_flip_p(gaps))

    @property
    def clear(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0

    @property
    def interval(self) -> statistics.Interval:
        return statistics.Interval(self.mean, self.low, self.high)

    @property
    def p_t(self) -> float:
        """Two-sided p-value of the paired t test: below 0.05 just where the interval is clear.

        Where all seeds differ by the same it is the sign-flip test's ``2^(1-n)``.
        """
        return statistics.t_p(self.interval, self.n)

    @property
    def effect(self) -> float:
        """Cohen's d_z: the mean over the standard deviation of the differences."""
        return statistics.t_statistic(self.interval, self.n) / math.sqrt(self.n)


Cell: TypeAlias = str | int | float | Measured | Difference


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table, and the axis of a figure that shows the same score.

    Attributes:
        name: its heading.
        digits: how many its numbers show.
        percent: show fractions × 100; results.json always holds the fractions.
        better: which end of it is good.
        unit: of its numbers, such as nats; percent has its own.
        notes: how it is measured, in sentences for the caption.
        about: on what: which part of the data, which epoch; a sentence for the caption.
        doubt: why its numbers say little, a sentence: the heading is marked, and the note says it.
    """

    name: str
    digits: int = 2
    percent: bool = False
    better: Literal["high", "low", None] = None
    unit: str = ""
    notes: tuple[str, ...] = ()
    about: str = ""
    doubt: str = ""

    def named(self, name: str) -> Column:
        """The same under another heading."""
        return replace(self, name=name)

    @property
    def factor(self) -> int:
        """What its numbers are multiplied with before they are shown."""
        return 100 if self.percent else 1

    @property
    def axis(self) -> str:
        """Name and unit, for an axis."""
        return _with_unit(self.name, "%" if self.percent else self.unit)

    @property
    def gap_axis(self) -> str:
        """The same for differences: those of percent are in points."""
        return _with_unit(f"Δ {self.name}", "points" if self.percent else self.unit)


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of cells under columns; the first column names the row."""

    key: str
    title: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]


def _with_unit(name: str, unit: str) -> str:
    return f"{name}, {unit}" if unit else name


def notes(columns: Sequence[Column]) -> str:
    """How the columns are measured, each sentence once, for a caption."""
    return " ".join(dict.fromkeys(note for column in columns for note in column.notes))
