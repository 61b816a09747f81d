"""A ``Dataset`` of Hugging Face ``datasets``: images as encoded bytes, and named classes."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from softprior.training.images import arrow
from softprior.training.images.own_part import OwnPart
from softprior.training.images.source import Part

HELD_OUT = ("test", "validation", "valid", "val")


def library() -> Any:
    """``datasets``, if it is loaded: whoever has one of its data sets has loaded it."""
    module: Any = sys.modules.get("datasets")
    names = ("Dataset", "DatasetDict", "ClassLabel", "Image", "Value")
    return module if all(hasattr(module, name) for name in names) else None


def is_dataset(data: Any) -> bool:
    """Whether it is a ``datasets.Dataset``."""
    return (module := library()) is not None and isinstance(data, module.Dataset)


def is_streamed(data: Any) -> bool:
    """Whether it is one of the library's data sets without an order of rows."""
    kinds = ("IterableDataset", "IterableDatasetDict")
    return (module := library()) is not None and isinstance(
        data, tuple(getattr(module, kind) for kind in kinds if hasattr(module, kind))
    )


def splits(data: Any) -> tuple[Any, Any] | None:
    """The training and the test split of a ``DatasetDict``; None for anything else.

    As with Parquet files, a validation split is the test part where there is no other, or where
    that one has no labels.
    """
    if (module := library()) is None or not isinstance(data, module.DatasetDict):
        return None
    if "train" not in data:
        raise ValueError(
            f"there is no split 'train' among {', '.join(map(repr, data))}; pass one split, or "
            '{"train": ..., "test": ...}'
        )
    held = [data[name] for name in HELD_OUT if name in data]
    labelled = [split for split in held if set(_labels(split, "test")[0].tolist()) != {-1}]
    return data["train"], (labelled or [None])[0]


def read(split: Any, place: str) -> OwnPart:
    """One part; the images stay encoded as they are."""
    labels, classes = _labels(split, place)
    column = _image_column(split.features, place)
    images = split.with_format("arrow", columns=[column])

    def where(row: int) -> str:
        return f"{place}, row {row}"

    def contents(rows: list[int]) -> Iterator[bytes | Path]:
        for start in range(0, len(rows), 256):
            here = rows[start : start + 256]
            found = images[here].column(column).combine_chunks().to_pylist()
            for row, image in zip(here, found, strict=True):
                yield _content(image or {}, where(row))

    return OwnPart(Part(labels, contents, where), classes)


def _content(image: Mapping[str, Any], where: str) -> bytes | Path:
    """The bytes, or the file that a folder's data set names in their place."""
    if content := image.get("bytes"):
        return bytes(content)
    path = image.get("path")
    if path and Path(path).is_file():
        return Path(path)
    raise ValueError(
        f"{where}: the image has no bytes"
        + (f", and there is no file {path}" if path else "; leave the row out")
    )


def _labels(split: Any, place: str) -> tuple[Any, tuple[str, ...] | None]:
    """The labels, and the names of the classes where the column has them."""
    name = _label_column(split.features, place)
    column = split.with_format("arrow", columns=[name])[:].column(name)
    names = getattr(split.features[name], "names", None)
    return arrow.labels(column, lambda row: f"{place}, row {row}"), names and tuple(names)


def _image_column(features: Mapping[str, Any], place: str) -> str:
    found = [name for name, kind in features.items() if isinstance(kind, library().Image)]
    return _only(found, "Image column", features, place)


def _label_column(features: Mapping[str, Any], place: str) -> str:
    """The column of class labels; where there is none, the column of integers."""
    module = library()
    found = [name for name, kind in features.items() if isinstance(kind, module.ClassLabel)]
    found = found or [
        name
        for name, kind in features.items()
        if isinstance(kind, module.Value) and "int" in str(kind.dtype)
    ]
    return _only(found, "ClassLabel (or integer) column", features, place)


def _only(found: list[str], what: str, features: Mapping[str, Any], place: str) -> str:
    if len(found) == 1:
        return found[0]
    columns = ", ".join(f"{name!r} ({type(kind).__name__})" for name, kind in features.items())
    remedy = (
        "keep one image and one label with data.select_columns([...])"
        if found
        else "cast it with data.cast_column"
    )
    raise ValueError(f"{place}: wanted one {what}, got {len(found)}; columns: {columns}; {remedy}")
