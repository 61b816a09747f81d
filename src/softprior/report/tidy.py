"""numbers.csv: every number of results.json in a row of its own, for a data frame."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from softprior.evidence.tables import Table
from softprior.report import cells
from softprior.report.results import Section, to_json

FIELDS = ("study", "kind", "key", "row", "column", "statistic", "value", "unit")
_IN_UNITS = ("value", "mean", "std", "low", "high")  # the others, such as n and p, have none


def to_csv(sections: Sequence[Section]) -> str:
    """The numbers of all tables and figures, exact: reading a value gives the very same number.

    ``kind`` is table or figure, ``statistic`` value, mean, std, low, high, n or p. ``unit`` is
    "fraction" where the report shows percent. ``row`` of a table is what stands before its
    numbers; ``row`` of a figure the place in its list, from 0 on, and ``column`` the list's name.
    ``value`` is empty where results.json has null: the number is not finite or not there.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(FIELDS)
    for section, stored in zip(sections, to_json(sections)["studies"].values(), strict=True):
        for table, values in zip(section.tables, stored["tables"], strict=True):
            for line in _table(table, values["rows"]):
                writer.writerow([section.name, "table", table.key, *line])
        for values in stored["figures"]:
            for row, column, number in _data(values["data"]):
                for name, value in _numbers(number):
                    fields = (row, column, name, _exact(value), "")
                    writer.writerow([section.name, "figure", values["key"], *fields])
    return out.getvalue()


def _table(table: Table, rows: Sequence[Sequence[Any]]) -> Iterable[tuple[str, ...]]:
    numeric = [cells.numeric(table, at) for at in range(len(table.columns))]
    first = numeric.index(True) if True in numeric else len(numeric)
    for row in rows:
        label = " / ".join(str(value) for value in row[: max(first, 1)])
        for column, values in zip(table.columns, row, strict=True):
            for name, value in _numbers(values):
                unit = "fraction" if column.percent and name in _IN_UNITS else ""
                yield label, column.name, name, _exact(value), unit


def _numbers(values: Any) -> Iterable[tuple[str, float | None]]:
    """What a cell of results.json holds, by statistic; texts are no numbers."""
    named = values if isinstance(values, dict) else {"value": values}
    for name, value in named.items():
        if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
            yield name, value


def _data(values: Any, row: str = "", column: str = "") -> Iterable[tuple[str, str, Any]]:
    """Lists go down, by place; dicts go across, by name: one row and column for each number."""
    if isinstance(values, dict) and not _measured(values):
        for name, part in values.items():
            yield from _data(part, row, f"{column}/{name}".lstrip("/"))
    elif isinstance(values, list):
        for at, part in enumerate(values):
            yield from _data(part, f"{row}/{at}".lstrip("/"), column)
    else:
        yield row, column, values


def _measured(values: dict[str, Any]) -> bool:
    """Whether ``values`` are the statistics of one number, not lists of many."""
    return {"mean", "n"} <= set(values) and not any(
        isinstance(value, (list, dict)) for value in values.values()
    )


def _exact(value: float | None) -> str:
    return "" if value is None else repr(value)
