"""Tables: numbers over seeds, and what stands above them. Nothing here draws or prints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Literal, TypeAlias

from softprior.evidence.differences import Difference


@dataclass(frozen=True)
class Measured:
    """Mean and sample standard deviation over n seeds (std is NaN for n = 1)."""

    mean: float
    std: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Measured:
        finite, n = all(map(math.isfinite, values)), len(values)
        std = stdev(values) if n > 1 and finite else math.nan
        return cls(fmean(values) if finite else sum(values) / n, std, n)

    @property
    def numbers(self) -> dict[str, float | int]:
        """For files."""
        return {"mean": self.mean, "std": self.std, "n": self.n}


Cell: TypeAlias = str | int | float | Measured | Difference


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table, and the axis of a figure that shows the same score.

    Attributes:
        name: its heading.
        digits: how many its numbers show.
        percent: show fractions × 100; results.json always holds the fractions.
        better: which end of it is good.
        margin: a difference below which nobody would choose by it; None: not agreed on.
        unit: of its numbers, such as nats; percent has its own.
        notes: how it is measured, in sentences for the caption.
        about: on what: which part of the data, which epoch; a sentence for the caption.
    """

    name: str
    digits: int = 2
    percent: bool = False
    better: Literal["high", "low", None] = None
    margin: float | None = None
    unit: str = ""
    notes: tuple[str, ...] = ()
    about: str = ""

    def named(self, name: str) -> Column:
        """The same under another heading."""
        return replace(self, name=name)

    @property
    def factor(self) -> int:
        """What its numbers are multiplied with before they are shown."""
        return 100 if self.percent else 1

    def shown(self, value: float, *, signed: bool = True) -> str:
        """A difference as sentences write it: three significant digits."""
        return f"{value * self.factor:{'+' if signed else ''}.3g}".replace("-", "−")

    @property
    def gap_unit(self) -> str:
        """Of differences, as it follows a number: " points", " nats", or nothing."""
        unit = self.unit or ("points" if self.percent else "")
        return f" {unit}" if unit else ""

    @property
    def axis(self) -> str:
        """Name and unit, for an axis."""
        return _with_unit(self.name, "%" if self.percent else self.unit)

    @property
    def gap_axis(self) -> str:
        """The same for differences: those of percent are in points."""
        return _with_unit(f"Δ {self.name}", self.gap_unit.strip())


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
