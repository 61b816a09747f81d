"""Predictions from a Parquet file."""

from __future__ import annotations

from pathlib import Path

from softprior import memory
from softprior.predictions._columns import REMEDY, Scores, arrow, choose, from_table

MAGIC = b"PAR1"  # the first and the last bytes of a Parquet file


def read(path: Path) -> Scores:
    """The columns of a file; others are not read."""
    parquet = arrow("pyarrow.parquet")
    with path.open("rb") as opened:
        first = opened.read(len(MAGIC))
        try:
            file = parquet.ParquetFile(opened, page_checksum_verification=True)
            names, rows = file.schema_arrow.names, file.metadata.num_rows
        except Exception as error:  # of several libraries below, whose words are not for the user
            raise _fault(path, first, error) from error
        chosen = choose(names)
        columns = [chosen.label, *chosen.scores]
        memory.check(
            f"{rows:,} rows of {len(columns):,} columns and a copy",
            16 * rows * len(columns),
            REMEDY,
        )
        try:
            table = file.read(columns=columns)
            table.validate(full=True)
        except Exception as error:
            raise _fault(path, first, error) from error
        return from_table(table, chosen)


def _fault(path: Path, first: bytes, error: Exception) -> Exception:
    """What is wrong with a file that cannot be read."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None):
        return error
    with path.open("rb") as opened:
        opened.seek(max(path.stat().st_size - len(MAGIC), 0))
        last = opened.read()
    again = "write it again, such as with pandas.DataFrame.to_parquet"
    if last == b"PARE":
        return ValueError("the Parquet file is encrypted, which is not read; write it as it is")
    if last == MAGIC:
        return ValueError(
            f"the Parquet file is damaged, or written in a way that is not read here; {again}"
        )
    if first == MAGIC:
        return ValueError(
            f"the Parquet file is cut off: its end is missing; copy it again, or {again}"
        )
    return ValueError(f"no Parquet file: it begins with {first!r}, wanted {MAGIC!r}; {again}")
