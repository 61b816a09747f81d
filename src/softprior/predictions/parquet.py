"""Predictions from a Parquet file."""

from __future__ import annotations

from pathlib import Path

from softprior.predictions._columns import Scores, arrow, from_table


def read(path: Path) -> Scores:
    """The columns of a file."""
    with arrow("pyarrow.parquet").ParquetFile(path) as file:
        return from_table(file.read())
