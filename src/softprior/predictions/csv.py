"""Predictions from CSV, separated by commas, semicolons or tabs."""

from __future__ import annotations

import re
from pathlib import Path

from softprior import memory
from softprior.predictions._columns import REMEDY, Scores, arrow, choose, from_table


def read(path: Path) -> Scores:
    """The columns of a file in UTF-8."""
    csv = arrow("pyarrow.csv")
    memory.check("the text", path.stat().st_size, REMEDY)
    with path.open("rb") as file:
        parsing = csv.ParseOptions(
            delimiter=_delimiter(file.readline(1 << 20)), newlines_in_values=True
        )
    # Only an empty cell is missing: "NaN" stays a number and is reported as one.
    options = csv.ConvertOptions(null_values=[""], strings_can_be_null=True)
    # One thread, because several do not know in which row a line has too few cells.
    reading = csv.ReadOptions(use_threads=False)
    try:
        table = csv.read_csv(path, reading, parsing, options)
        return from_table(table, choose(table.column_names))
    except ValueError as error:
        if match := re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", str(error)):
            line, wanted, got = map(int, match.groups())
            row = line - 2  # pyarrow's first is the header's, and numbered 1
            raise ValueError(f"row {row} has {got} cells, wanted {wanted}") from error
        raise


def _delimiter(header: bytes) -> str:
    """The one of comma, semicolon and tab between whose neighbours there is a column label."""
    if header.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in header:
        raise ValueError("the text is in UTF-16, or none at all; save it as CSV in UTF-8")
    text = header.decode("utf-8-sig", errors="replace").lower()
    for mark in ",;\t":
        if mark in text and "label" in (
            name.strip().strip('"').strip() for name in text.split(mark)
        ):
            return mark
    return ","
