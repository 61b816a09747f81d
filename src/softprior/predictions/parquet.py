"""Predictions from a Parquet file."""

from __future__ import annotations

from pathlib import Path

from softprior import memory
from softprior.predictions._columns import REMEDY, Scores, arrow, choose, from_table


def read(path: Path) -> Scores:
    """The columns of a file; others are not read."""
    with arrow("pyarrow.parquet").ParquetFile(path) as file:
        chosen = choose(file.schema_arrow.names)
        columns = [chosen.label, *chosen.scores]
        rows = file.metadata.num_rows
        memory.check(
            f"{rows:,} rows of {len(columns):,} columns and a copy",
            16 * rows * len(columns),
            REMEDY,
        )
        return from_table(file.read(columns=columns), chosen)
