"""Predictions from CSV, separated by commas, semicolons or tabs."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from softprior import memory
from softprior.predictions._columns import REMEDY, Chosen, Scores, arrow, choose, from_table

# Bytes that are read at a time, of which a row may take as many.
BLOCK = 1 << 20
LARGEST_BLOCK = 1 << 28

_NUMBER = re.compile(r"-?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|inf(inity)?|nan)", re.I | re.A)
_WRITE = "write it again as CSV in UTF-8, such as with pandas.DataFrame.to_csv"


def read(path: Path) -> Scores:
    """The columns of a file in UTF-8."""
    arrow_csv = arrow("pyarrow.csv")
    size = path.stat().st_size
    memory.check("the text", size, REMEDY)
    with path.open("rb") as file:
        mark = _delimiter(file.readline(BLOCK))
    columns = _header(path, mark)
    chosen = choose(columns)
    wanted = [chosen.label, *chosen.scores]
    # Only an empty cell is missing: "NaN" stays a number and is reported as one. As all are
    # numbers, a column that begins with integers may go on with fractions.
    converting = arrow_csv.ConvertOptions(
        null_values=[""],
        include_columns=wanted,
        column_types=dict.fromkeys(wanted, "float64"),
    )
    # One thread: there is no other work beside, and rows are read in their order.
    reading = arrow_csv.ReadOptions(
        use_threads=False, block_size=min(max(size, BLOCK), LARGEST_BLOCK)
    )
    parsing = arrow_csv.ParseOptions(delimiter=mark, newlines_in_values=True)
    try:
        table = arrow_csv.read_csv(path, reading, parsing, converting)
    except (ValueError, KeyError) as error:  # its words are not for the user
        raise ValueError(_fault(path, mark, columns, chosen)) from error
    return from_table(table, chosen)


def _header(path: Path, mark: str) -> list[str]:
    """The names of the columns."""
    try:
        columns = next(_lines(path, mark), None)
    except csv.Error as error:
        raise ValueError(f"a quote opens in the first line and is not closed; {_WRITE}") from error
    if columns is None:
        raise ValueError("the file is empty")
    if any("\udc80" <= letter <= "\udcff" for letter in "".join(columns)):
        raise ValueError(f"the names of the columns are not in UTF-8; {_WRITE}")
    return columns


def _lines(path: Path, mark: str) -> Iterator[list[str]]:
    """The cells of every line that is not empty; bytes that are not UTF-8 are surrogates."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        yield from filter(None, csv.reader(text, delimiter=mark, strict=True))


def _fault(path: Path, mark: str, columns: list[str], chosen: Chosen) -> str:
    """The first row that is none, looked for where the file could not be read."""
    row = -1  # the header's
    try:
        for row, cells in enumerate(_lines(path, mark), start=-1):
            if len(cells) != len(columns):
                return f"row {row} has {len(cells)} cells, wanted {len(columns)}"
            for name, cell in zip(columns, cells, strict=True):
                wanted = row >= 0 and (name == chosen.label or name in chosen.scores)
                if wanted and cell and not _NUMBER.fullmatch(cell.strip()):
                    return f"column {name.strip()!r}, row {row}: {_shown(cell)} is not a number"
    except csv.Error:
        marks = f"a quote opens and is not closed before the next {mark!r}"
        return f"row {row + 1}: {marks}, or the cell is too long; {_WRITE}"
    return "there are no rows" if row < 0 else f"it cannot be read as CSV; {_WRITE}"


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


def _shown(cell: str) -> str:
    """The beginning of a cell; of one that is not UTF-8, its bytes."""
    encoded = cell[:40].encode("utf-8", "surrogateescape")
    return repr(cell[:40] if cell.isprintable() else encoded) + "…" * (len(cell) > 40)
