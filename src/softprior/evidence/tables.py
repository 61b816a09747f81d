"""Tables of scores: their cells, columns and captions. Nothing here draws or prints.

A cell is a text, a number, a mean over seeds (:class:`Measured`), or a mean difference between two
methods over seeds (:class:`Difference`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import stdev
from typing import Literal, TypeAlias

from softprior.evidence import statistics

# A sentence for the caption of every table of differences.
INTERVALS = (
    "The intervals are not corrected for the number of comparisons; the verdicts are (by Holm's "
    "method, over all comparisons of a claim)."
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
    """Mean paired difference over n seeds, its t interval, and the p-value of the sign-flip test.

    Paired: the two runs of a seed are compared with each other ("ours - theirs").

    Attributes:
        mean: of ours - theirs over the seeds.
        low: lower end of its 95 % t interval (NaN for n = 1).
        high: upper end.
        n: number of seeds.
        p: two-sided p-value of the sign-flip test, see :func:`.sign_flip_p`. The test assumes no
            normal distribution, but p is at least ``2^(1-n)``: 0.0625 for five seeds.
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
    def excludes_zero(self) -> bool:
        """Whether zero is outside the interval (without correction for several comparisons)."""
        return self.low > 0 or self.high < 0

    @property
    def interval(self) -> statistics.Interval:
        return statistics.Interval(self.mean, self.low, self.high)

    @property
    def p_t(self) -> float:
        """Two-sided p-value of the paired t test: below 0.05 if and only if zero is excluded.

        Where all seeds have the same difference it is ``2^(1-n)``, see :func:`.t_p`.
        """
        return statistics.t_p(self.interval, self.n)

    @property
    def effect(self) -> float:
        """Cohen's d_z: the mean of the differences, divided by their standard deviation."""
        return statistics.t_statistic(self.interval, self.n) / math.sqrt(self.n)


Cell: TypeAlias = str | int | float | Measured | Difference


@dataclass(frozen=True, kw_only=True)
class Column:
    """How a score is shown: as a column of a table, or as the axis of a figure.

    Attributes:
        name: heading of the column.
        digits: number of decimals.
        percent: show fractions × 100; results.json always holds the fractions.
        better: whether high or low values are good; None where neither is.
        unit: of the numbers, such as nats; leave it empty where ``percent`` is true.
        notes: sentences for the caption: how the score is computed.
        about: a sentence for the caption: which part of the data and which epoch it is of.
        doubt: a sentence: why its numbers say little; the heading is marked, and the note says it.
    """

    name: str
    digits: int = 2
    percent: bool = False
    better: Literal["high", "low", None] = None
    unit: str = ""
    notes: tuple[str, ...] = ()
    about: str = ""
    doubt: str = ""

    def with_name(self, name: str) -> Column:
        """The same column under another heading."""
        return replace(self, name=name)

    @property
    def factor(self) -> int:
        """The factor by which its numbers are multiplied before they are shown."""
        return 100 if self.percent else 1

    @property
    def axis(self) -> str:
        """Label of an axis that shows the score: name and unit."""
        return _with_unit(self.name, "%" if self.percent else self.unit)

    @property
    def gap_axis(self) -> str:
        """Label of an axis that shows differences of the score: percentages differ by points."""
        return _with_unit(f"Δ {self.name}", "points" if self.percent else self.unit)


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of cells under columns; the first cell of a row is its name.

    ``key`` identifies the table within its study: in results.json, in file names and links.
    """

    key: str
    title: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]


def _with_unit(name: str, unit: str) -> str:
    return f"{name}, {unit}" if unit else name


def notes(columns: Sequence[Column]) -> str:
    """The notes of all columns for one caption, each sentence once."""
    return " ".join(dict.fromkeys(note for column in columns for note in column.notes))
