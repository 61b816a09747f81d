"""Columns of Arrow tables as labels and as encoded images."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def pyarrow(module: str) -> Any:
    """A module of pyarrow, which has no types."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Parquet data sets need pyarrow: pip install 'softprior[study]'"
        ) from error


def labels(column: Any, where: Callable[[int], str]) -> Tensor:
    """A column of integers without gaps, as int64 (n,)."""
    if column.null_count:
        row = column.is_null().to_pylist().index(True)
        raise ValueError(f"{where(row)}: the label is missing; fill it in or leave the row out")
    if not pyarrow("pyarrow").types.is_integer(column.type):
        first = f", got {column[0].as_py()!r}" if len(column) else ""
        raise ValueError(
            f"{where(0)}: labels are {column.type}{first}, wanted integers; "
            "number the classes from 0"
        )
    return torch.from_numpy(column.to_numpy().astype("int64"))


def is_images(kind: Any) -> bool:
    """Whether a column of this type can hold encoded images."""
    types = pyarrow("pyarrow").types
    if types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and is_images(kind.field(index).type)
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def images(column: Any, rows: list[int], where: Callable[[int], str]) -> list[bytes]:
    """Encoded images of a column that is binary, or a struct with ``bytes`` as the Hub writes."""
    if pyarrow("pyarrow").types.is_struct(column.type):
        column = pyarrow("pyarrow.compute").struct_field(column, "bytes")
    contents: list[bytes] = column.to_pylist()
    for row, content in zip(rows, contents, strict=True):
        if not content:
            raise ValueError(
                f"{where(row)}: the image has no bytes; store encoded images (PNG, JPEG) in the "
                "file, not paths"
            )
    return contents
