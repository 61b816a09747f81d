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
REMEDY = "write fewer samples or classes to a file"
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


class Chosen(NamedTuple):
    """The columns of a table that are read, as they are called in it."""

    scores: list[str]  # one per class, in their order
    are_probabilities: bool
    label: str


def choose(columns: list[str]) -> Chosen:
    """A column ``label``, and one column per class: all logits, or all probabilities."""
    names = [name.strip() for name in columns]
    shown = ", ".join(map(repr, names[:12])) + (", …" if len(names) > 12 else "")
    if "label" not in names:
        for name in names:
            if name.lower() == "label":
                raise ValueError(f"found column {name!r}, rename it to 'label'")
        raise ValueError(f"no column 'label', wanted class indices; columns: {shown}")
    kinds: dict[str, dict[int, str]] = {}
    for name, column in zip(names, columns, strict=True):
        if match := _COLUMN.fullmatch(name):
            place = kinds.setdefault(match[1], {})
            if int(match[2]) in place:
                raise ValueError(f"two columns for class {int(match[2])}: {name!r} is the second")
            place[int(match[2])] = column
    kind = one_kind(sorted(kinds), shown, tables=True)
    places = kinds[kind]
    gap = next((c for c in range(len(places)) if c not in places), None)
    if gap is not None:
        last = places[max(places)].strip()
        if len(places) == 1:
            raise ValueError(f"'{last}' is the only column of a class, {BINARY}")
        raise ValueError(
            f"no column '{kind}_{gap}', but there is '{last}': classes must be numbered from 0 "
            "without gaps"
        )
    if names.count("label") > 1:
        raise ValueError(f"there are {names.count('label')} columns 'label', wanted one")
    scores = [places[c] for c in range(len(places))]
    return Chosen(scores, kind == "prob", columns[names.index("label")])


def from_table(table: Any, chosen: Chosen) -> Scores:
    """The columns that were chosen, as arrays."""
    if table.num_rows == 0:
        raise ValueError("there are no rows")
    labels, *scores = (
        _numbers(name.strip(), table.column(name)) for name in (chosen.label, *chosen.scores)
    )
    return Scores(np.column_stack(scores), chosen.are_probabilities, labels)


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
        if types.is_boolean(kind) or types.is_string(kind) or types.is_large_string(kind):
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
