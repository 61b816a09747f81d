"""Tables of scores: their cells, columns and captions. Nothing here draws or prints.

A cell is a text, a number, a mean over seeds (:class:`Measured`), or a mean difference between two
methods over seeds (:class:`Difference`).
"""

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
    """How a score is shown: as a column of a table, or as the axis of a figure.

    Attributes:
        name: heading of the column.
        digits: number of decimals.
        percent: show fractions × 100; results.json always holds the fractions.
        better: whether high or low values are good; None where neither is.
        margin: a difference too small to choose a method by; None where none was agreed on.
        unit: of the numbers, such as nats; of percentages only where differences have another
            unit than points.
        notes: sentences for the caption: how the score is computed.
        about: a sentence for the caption: which part of the data and which epoch it is of.
        doubt: a sentence: why its numbers say little; the heading is marked, and the note says it.
    """

    name: str
    digits: int = 2
    percent: bool = False
    better: Literal["high", "low", None] = None
    margin: float | None = None
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
        """Label of an axis that shows the score: name and unit."""
        return _with_unit(self.name, "%" if self.percent else self.unit)

    @property
    def gap_axis(self) -> str:
        """Label of an axis that shows differences of the score: percentages differ by points."""
        return _with_unit(f"Δ {self.name}", self.gap_unit.strip())


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
