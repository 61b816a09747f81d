"""What files of predictions have in common: scores and labels, and columns of a table."""

from __future__ import annotations

import importlib
import re
from typing import Any, NamedTuple

import numpy as np

BINARY = (
    "wanted at least 2: for a binary model give both classes, logits 0 and f or probabilities "
    "1 - p and p"
)
_COLUMN = re.compile(r"(logit|prob)_(\d+)")


class Scores(NamedTuple):
    """What a file holds, as NumPy arrays."""

    scores: Any  # (n, K)
    are_probabilities: bool
    labels: Any  # (n,)


def arrow(module: str) -> Any:
    """A module of pyarrow, which has no types."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "CSV and Parquet files need pyarrow: pip install 'softprior[study]'"
        ) from error


def from_table(table: Any) -> Scores:
    """A column ``label``, and one column per class: all logits, or all probabilities."""
    names = [name.strip() for name in table.column_names]
    table = table.rename_columns(names)
    shown = ", ".join(map(repr, names[:12])) + (", …" if len(names) > 12 else "")
    if "label" not in names:
        for name in names:
            if name.lower() == "label":
                raise ValueError(f"found column {name!r}, rename it to 'label'")
        raise ValueError(f"no column 'label', wanted class indices; columns: {shown}")
    columns: dict[str, dict[int, str]] = {}
    for name in names:
        if match := _COLUMN.fullmatch(name):
            place = columns.setdefault(match[1], {})
            if int(match[2]) in place:
                raise ValueError(f"two columns for class {int(match[2])}: {name!r} is the second")
            place[int(match[2])] = name
    kind = one_kind(sorted(columns), shown, tables=True)
    places = columns[kind]
    gap = next((c for c in range(len(places)) if c not in places), None)
    if gap is not None and len(places) == 1:
        raise ValueError(f"'{places[max(places)]}' is the only column of a class, {BINARY}")
    if gap is not None:
        raise ValueError(
            f"no column '{kind}_{gap}', but there is '{places[max(places)]}': classes must "
            "be numbered from 0 without gaps"
        )
    wanted = ["label", *(places[c] for c in range(len(places)))]
    if names.count("label") > 1:
        raise ValueError(f"there are {names.count('label')} columns 'label', wanted one")
    if table.num_rows == 0:
        raise ValueError("there are no rows")
    labels, *scores = (_numbers(name, table.column(name)) for name in wanted)
    return Scores(np.column_stack(scores), kind == "prob", labels)


def _numbers(name: str, column: Any) -> Any:
    """A column as a NumPy array of numbers."""
    types = arrow("pyarrow").types
    if column.null_count:
        row = column.is_null().to_pylist().index(True)
        raise ValueError(f"column {name!r}, row {row}: the cell is empty, wanted a number")
    kind = column.type
    if types.is_decimal(kind):
        column = column.cast("float64")
    elif not (types.is_integer(kind) or types.is_floating(kind)):
        for row, cell in enumerate(column.to_pylist()):
            if not _is_number(cell):
                raise ValueError(f"column {name!r}, row {row}: {cell!r} is not a number")
        raise ValueError(f"column {name!r} holds {kind}, wanted numbers")
    return column.to_numpy()


def _is_number(cell: object) -> bool:
    try:
        float(cell)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return not isinstance(cell, bool)


def one_kind(kinds: list[str], found: str, *, tables: bool = False) -> str:
    """The one of logits and probabilities that is there; ``found`` lists what the file has."""
    unit = "columns" if tables else "arrays"
    logits, probabilities = ("logit_0, …", "prob_0, …") if tables else ("'logits'", "'probs'")
    if len(kinds) == 1:
        return kinds[0]
    if kinds:
        raise ValueError(
            f"both {logits} and {probabilities} are there, keep one of them; {unit}: {found}"
        )
    raise ValueError(
        f"neither {logits} nor {probabilities} is there, wanted one of them; {unit}: {found}"
    )
