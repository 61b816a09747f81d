"""Columns of Arrow tables as labels and as images, encoded or as pixels."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from softprior.training.images import names


def pyarrow(module: str) -> Any:
    """A module of pyarrow, which has no types."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Parquet data sets need pyarrow: pip install 'softprior[study]'"
        ) from error


def _is(kind: Any, *kinds: str) -> bool:
    """Whether a type is of one of these kinds, of which old versions of pyarrow lack some."""
    types = pyarrow("pyarrow").types
    return any(getattr(types, f"is_{name}", lambda _: False)(kind) for name in kinds)


# --- labels ------------------------------------------------------------------------------------


def labels(column: Any, where: Callable[[int], str]) -> Tensor:
    """A column of class numbers, as int64 (n,)."""
    numbers, classes = classified(column, where)
    if classes is not None:
        raise ValueError(
            f"{where(0)}: labels are names, got {classes[0]!r}, wanted integers; number the "
            "classes from 0"
        )
    return numbers


def classified(column: Any, where: Callable[[int], str]) -> tuple[Tensor, tuple[str, ...] | None]:
    """A column of labels as int64 (n,), and the names of the classes if the labels are names.

    Whole numbers of any type are numbers; true and false, and texts, are names, numbered in
    their order.
    """
    if column.null_count:
        row = column.is_null().to_pylist().index(True)
        raise ValueError(f"{where(row)}: the label is missing; fill it in or leave the row out")
    pa = pyarrow("pyarrow")
    compute = pyarrow("pyarrow.compute")
    if _is(column.type, "dictionary"):
        column = column.cast(column.type.value_type)
    kind = column.type
    if _is(kind, "string_view"):
        column, kind = column.cast(pa.string()), pa.string()
    if _is(kind, "boolean", "string", "large_string"):
        found = compute.unique(column).to_pylist()
        values = pa.array(found, kind)
        indices = compute.index_in(column, values).to_numpy().astype("int64")
        spelt = tuple(names.composed(str(name)) for name in found)
        classes = ordered(spelt)
        place = torch.tensor([classes.index(name) for name in spelt], dtype=torch.int64)
        return place[torch.from_numpy(indices)], classes
    if not _is(kind, "integer", "floating", "decimal"):
        raise ValueError(f"{where(0)}: {_wanted(column, 0)}")
    try:
        array = column.cast("int64")
    except ValueError:  # a fraction, or more than int64 holds
        whole = [_is_whole(value) for value in column.to_pylist()]
        row = whole.index(False)
        raise ValueError(f"{where(row)}: {_wanted(column, row)}") from None
    return torch.from_numpy(array.to_numpy().astype("int64")), None


def ordered(classes: Iterable[str]) -> tuple[str, ...]:
    """Names of classes in order, each once; those that are all digits by their value."""
    return tuple(sorted(set(classes), key=_order))


def _order(name: str) -> tuple[int, str]:
    """ "10" comes after "9"."""
    return (int(name) if name.isdecimal() and len(name) < 19 else -1), name


def _is_whole(value: Any) -> bool:
    try:
        return value == int(value) and abs(int(value)) < 2**63
    except (OverflowError, ValueError):  # infinite, or no number
        return False


def _wanted(column: Any, row: int) -> str:
    got = f", got {column[row].as_py()!r}" if len(column) else ""
    return f"labels are {column.type}{got}, wanted integers or names; number the classes from 0"


# --- images ------------------------------------------------------------------------------------


def is_images(kind: Any) -> bool:
    """Whether a column of this type can hold images: encoded ones, or pixels in lists."""
    if _is_encoded(kind):
        return True
    if _is_list(kind):
        depth, inner = _lists(kind)
        return (depth == 1 and _is_encoded(inner)) or (depth in (2, 3) and _is(inner, "integer"))
    return False


def _is_encoded(kind: Any) -> bool:
    if _is(kind, "dictionary"):
        kind = kind.value_type
    if _is(kind, "struct"):
        index = kind.get_field_index("bytes")
        return index >= 0 and _is_encoded(kind.field(index).type)
    return _is(kind, "binary", "large_binary", "binary_view", "fixed_size_binary")


def _is_list(kind: Any) -> bool:
    return isinstance(kind, pyarrow("pyarrow").BaseExtensionType) or _is(
        kind, "list", "large_list", "fixed_size_list"
    )


def _lists(kind: Any) -> tuple[int, Any]:
    """How many lists are in one another, and what is in the innermost."""
    depth = 0
    while True:
        if isinstance(kind, pyarrow("pyarrow").BaseExtensionType):
            shape = getattr(kind, "shape", None)  # of Arrow's own type for arrays of one size
            if shape is not None:
                return len(shape), kind.value_type
            kind = kind.storage_type
        elif _is_list(kind):
            kind, depth = kind.value_type, depth + 1
        else:
            return depth, kind


def only(column: Any, places: list[int]) -> Any:
    """The rows of a column at these places."""
    if len(places) == len(column):
        return column
    array = pyarrow("pyarrow").array
    try:
        return column.take(array(places, "int64"))
    except NotImplementedError:  # as for views, which are new
        return array([column[k].as_py() for k in places], column.type)


def images(column: Any, rows: list[int], where: Callable[[int], str]) -> list[Any]:
    """The images of a column: bytes, or uint8 arrays (H, W) or (H, W, 3) where it has pixels.

    Bytes are in the column itself, in the field ``bytes`` of a struct as the Hub writes it, or
    in a list of one of them.
    """
    if _is_list(column.type) and not _is_encoded(_lists(column.type)[1]):
        return [
            _pixels(value, where(row)) for row, value in zip(rows, _values(column), strict=True)
        ]
    contents = []
    for row, value in zip(rows, column.to_pylist(), strict=True):
        if isinstance(value, list):
            if len(value) != 1:
                raise ValueError(
                    f"{where(row)}: {len(value)} images in a list, wanted one; leave the row out, "
                    "or write a row for each"
                )
            (value,) = value
        content = value.get("bytes") if isinstance(value, dict) else value
        if not content:
            raise ValueError(
                f"{where(row)}: the image has no bytes; store encoded images (PNG, JPEG) in the "
                "file, not paths"
            )
        contents.append(content)
    return contents


def _values(column: Any) -> Iterator[Any]:
    """Each row as an array; None for one that is missing or whose lists differ in length."""
    chunks = column.chunks if hasattr(column, "chunks") else [column]
    for chunk in chunks:
        if getattr(chunk.type, "shape", None) is not None:
            yield from chunk.to_numpy_ndarray()
            continue
        while isinstance(chunk.type, pyarrow("pyarrow").BaseExtensionType):
            chunk = chunk.storage
        for row in range(len(chunk)):
            yield _array(chunk.slice(row, 1))


def _array(row: Any) -> Any:
    """One row of lists in lists, without a Python object for each pixel."""
    lengths = pyarrow("pyarrow.compute").list_value_length
    shape = []
    while _is_list(row.type):
        each = lengths(row).unique()
        if len(each) != 1 or not each[0].is_valid:
            return None
        shape.append(each[0].as_py())
        row = row.flatten()
    return row.to_numpy(zero_copy_only=False).reshape(shape)


def _pixels(value: Any, where: str) -> Any:
    """An array as those in memory are: uint8, the channels last."""
    import numpy as np

    array = np.asarray(value)
    if array.dtype.kind not in "iu" or array.ndim not in (2, 3) or 0 in array.shape:
        raise ValueError(f"{where}: the pixels are no array (H, W) or (H, W, C) of integers")
    if int(array.min()) < 0 or int(array.max()) > 255:
        raise ValueError(
            f"{where}: pixels are from {int(array.min())} to {int(array.max())}, wanted 0 to 255"
        )
    if array.ndim == 3 and array.shape[2] not in (1, 3):
        if array.shape[0] not in (1, 3):
            raise ValueError(
                f"{where}: pixels have shape {array.shape}, wanted (H, W), (H, W, C) or (C, H, W) "
                "with C 1 or 3"
            )
        array = np.moveaxis(array, 0, 2)
    array = np.ascontiguousarray(array, dtype=np.uint8)
    return array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array
