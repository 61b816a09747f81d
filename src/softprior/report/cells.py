"""How a cell reads: one function for page and terminal, so that they cannot disagree."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from softprior.evidence.claims import SYMBOLS, Claim
from softprior.evidence.differences import Difference
from softprior.evidence.tables import Cell, Column, Measured, Table

MISSING = "–"
DOUBT = "*"
NOTATION = (
    "“a ± b”: mean and sample standard deviation over seeds. “a [b, c]”: mean difference between "
    "the two runs of each seed, and its 95 % interval, which covers other seeds and, on a test "
    "set, other images. It is marked “better”, “worse” or “differs” only where the interval "
    "excludes zero; by chance alone this happens in one comparison of twenty. A claim holds (✓) "
    "where all of its intervals are on the claimed side. It does not hold (✗) where one is on the "
    "other side, by intervals wide enough to be right all at once in 95 % of cases. There is no "
    "difference (=) where all are shown to be smaller than what was agreed on beforehand as too "
    "small to matter: 0.5 points of accuracy, 0.02 nats, 1 point of ECE. Otherwise we cannot tell "
    "(?), and the claim says how many seeds would be enough."
)
_ARROWS = {"high": "↑", "low": "↓"}


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A cell in words (value, spread or interval, mark) and its exact numbers, never rounded."""

    value: str
    spread: str = ""
    mark: str = ""
    exact: dict[str, float | int] = field(default_factory=dict)
    numeric: bool = True

    @property
    def text(self) -> str:
        return " ".join(part for part in (self.value, self.spread, self.mark) if part)


def read(cell: Cell, column: Column) -> Reading:
    """What a reader sees of ``cell`` under ``column``.

    >>> read(Measured(0.98314, 0.0042, 5), Column(name="Accuracy", percent=True)).text
    '98.31 ± 0.42'
    >>> read(Difference(0.02, 5, se=0.003, df=4), Column(name="NLL", better="low")).text
    '+0.02 [+0.01, +0.03] worse'
    """
    if isinstance(cell, str):
        return Reading(value=cell, numeric=False)
    if isinstance(cell, Measured):
        shown = _shown(cell.mean, column)
        spread = f"± {_shown(cell.std, column)}" if _spread(cell.n, cell.std) else ""
        return Reading(value=shown, spread=spread, exact=_exact(cell.numbers))
    if isinstance(cell, Difference):
        return _difference(cell, column)
    if isinstance(cell, int) and not column.percent:  # a count has no decimals
        return Reading(value=str(int(cell)).replace("-", "−"), exact={"mean": int(cell)})
    return Reading(value=_shown(float(cell), column), exact=_exact({"mean": float(cell)}))


def heading(column: Column, *, arrow: bool = True) -> str:
    """The column's name, its unit, and an arrow towards the better end."""
    unit = " (%)" if column.percent and "%" not in column.name else ""
    better = f" {_ARROWS[column.better]}" if column.better and arrow else ""
    return f"{column.name}{unit}{f' {DOUBT}' if column.doubt else ''}{better}"


def numeric(table: Table, at: int) -> bool:
    """Whether column ``at`` holds numbers (a dash among them does not make it text)."""
    return at > 0 and any(not isinstance(row[at], str) for row in table.rows)


def note(table: Table) -> str:
    """What the numbers of ``table`` rest on: how many seeds, and what its marks mean."""
    doubts = dict.fromkeys(f"{DOUBT} {column.doubt}" for column in table.columns if column.doubt)
    return " ".join([*filter(None, [_seeds(table)]), *doubts])


def _seeds(table: Table) -> str:
    cells = [c for row in table.rows for c in row if isinstance(c, (Measured, Difference))]
    if not cells:
        return ""
    ns = sorted({c.n for c in cells})
    if ns == [1]:
        return "n = 1 seed, so there is no spread."
    text = f"n = {ns[0]} seeds." if len(ns) == 1 else f"n = {ns[0]} to {ns[-1]} seeds."
    marks = _in_order(
        read(c, column).mark
        for row in table.rows
        for c, column in zip(row, table.columns, strict=True)
    )
    if marks:
        text += f" {' or '.join(f'“{m}”' for m in marks).capitalize()}: the interval excludes zero."
    elif any(isinstance(c, Difference) for c in cells):
        text += " Every interval includes zero."
    return text


def tally(claims: Iterable[Claim]) -> str:
    """How the claims came out, in words: "2 hold, 1 does not hold, 1 open"."""
    count: dict[str, int] = dict.fromkeys(SYMBOLS, 0)
    for claim in claims:
        count[claim.verdict.outcome] += 1
    words = {
        "holds": ("holds", "hold"),
        "does not hold": ("does not hold", "do not hold"),
        "no difference": ("no difference", "no difference"),
        "cannot tell": ("open", "open"),
    }
    return ", ".join(f"{n} {words[v][n > 1]}" for v, n in count.items() if n)


def _difference(cell: Difference, column: Column) -> Reading:
    exact = _exact(cell.numbers)
    value = _shown(cell.mean, column, signed=True)
    if not _spread(cell.n, cell.low):
        return Reading(value=value, exact=exact)
    bounds = ", ".join(_shown(v, column, signed=True) for v in cell.bounds())
    mark = ""
    if (sign := cell.sign()) != 0:
        good = {"high": sign > 0, "low": sign < 0}
        mark = "differs" if column.better is None else "worse"
        mark = "better" if column.better and good[column.better] else mark
    return Reading(value=value, spread=f"[{bounds}]", mark=mark, exact=exact)


def _shown(value: float, column: Column, *, signed: bool = False) -> str:
    """Rounded, with a real minus sign; a signed number keeps its sign when it rounds to zero.

    In "[+0.00, +0.03]" the sign is the message. An unsigned "−0.00" would only puzzle.
    """
    if math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    size = f"{abs(value) * (100 if column.percent else 1):.{column.digits}f}"
    if signed:
        return ("+" if value > 0 else "−" if value < 0 else "") + size
    return f"−{size}" if value < 0 and float(size) != 0 else size


def _spread(n: int, value: float) -> bool:
    return n > 1 and not math.isnan(value)


def _exact(values: Mapping[str, float | int]) -> dict[str, float | int]:
    """Plain numbers (NumPy's print differently), without what JSON cannot hold either."""
    return {
        name: v if isinstance(v, int) else float(v)
        for name, v in values.items()
        if math.isfinite(v)
    }


def _in_order(marks: Iterable[str]) -> list[str]:
    found = set(marks)
    return [mark for mark in ("better", "worse", "differs") if mark in found]
