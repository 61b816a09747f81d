"""Parquet files: a column of encoded images, a column of labels, class names in the metadata."""

from __future__ import annotations

import json
import os
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from softprior import checks, memory
from softprior.training.images import arrow, parquet_files
from softprior.training.images.names import composed
from softprior.training.images.source import Part, Source, source

# Raised whenever equal data give other pixels or another order: the fingerprint then changes, too.
VERSION = 1

IMAGE = ("image", "img")
LABEL = ("label", "fine_label")


class _File(NamedTuple):
    path: Path
    rows: int
    image: str  # names of the columns
    label: str
    classes: tuple[str, ...] | None


def read(path: Path) -> Source:
    """The parts that the names of the files make; without such names there is one."""
    found = parquet_files.find(path)
    notes = found.notes
    parts = {name: [_opened(file) for file in files] for name, files in found.parts.items()}
    if not parts.keys() & {"train", ""}:
        raise ValueError(
            f"{path}: there is no train*.parquet beside {' and '.join(sorted(parts))}; add it, or "
            "pass one file"
        )
    classes = {file.classes for group in parts.values() for file in group}
    if len(classes) > 1:
        raise ValueError(
            f"{path}: the files do not agree on the names of the classes; write them again with "
            "one list of names"
        )
    train, spelt = _part(parts.get("train") or parts[""], None)
    held = _held_out(parts, spelt, notes) if len(parts) > 1 else None
    return source(train, held, classes.pop() or spelt, str(path), notes)


def _held_out(
    parts: dict[str, list[_File]], spelt: tuple[str, ...] | None, notes: list[str]
) -> Part | None:
    """The test part; the validation part where there is none, or none with labels."""
    held = None
    for name in ("test", "validation"):
        if name not in parts:
            continue
        if held is not None:
            notes.append("not used: the validation part, as there is a test part")
            continue
        part, _ = _part(parts[name], spelt)
        if len(part.labels) and bool((part.labels == -1).all()):
            # The Hub's mark for labels that are kept secret.
            notes.append(f"not used: the {name} part, as it has no labels")
        else:
            held = part
    return held


def _opened(path: Path) -> _File:
    try:
        with arrow.pyarrow("pyarrow.parquet").ParquetFile(path) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
            groups = [file.metadata.row_group(k) for k in range(file.num_row_groups)]
    except (ValueError, OSError, arrow.pyarrow("pyarrow").ArrowException) as error:
        why = "not a Parquet file, or truncated or damaged"
        raise ValueError(f"{path}: {_why(error, why)}; copy or write it again") from error
    features = _features(schema)
    image = _column(path, schema, IMAGE, features, "Image")
    label = _column(path, schema, LABEL, features, "ClassLabel")
    kind = schema.field(image).type
    if not arrow.is_images(kind):
        raise ValueError(
            f"{path}: column {image!r} holds {kind}, wanted encoded images (binary, or a struct "
            "with bytes), or lists of pixels from 0 to 255, (H, W) or (H, W, C)"
        )
    # An image's own size is not known before it is decoded; what is held of the file at once is.
    remedy = "write it again as smaller files, in smaller row groups"
    largest = max((_stated(group, image) for group in groups), default=0)
    memory.check(f"{path}: {rows:,} labels", 2 * 8 * rows, remedy)
    memory.check(f"{path}: the images of one row group", largest, remedy)
    return _File(path, rows, image, label, _class_names(features, label))


def _stated(group: Any, column: str) -> int:
    """Bytes of a column in a row group before it was compressed."""
    columns = (group.column(k) for k in range(group.num_columns))
    return sum(
        c.total_uncompressed_size for c in columns if c.path_in_schema.split(".")[0] == column
    )


def _column(
    path: Path, schema: Any, names: tuple[str, ...], features: dict[str, Any], kind: str
) -> str:
    """A column by its usual name, or the only one of its kind as Hugging Face describes it."""
    for name in names:
        if name in schema.names:
            return name
    of_kind = [
        name
        for name, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == kind and name in schema.names
    ]
    if len(of_kind) == 1:
        return of_kind[0]
    shown = ", ".join(map(repr, schema.names[:12])) + (", …" if len(schema.names) > 12 else "")
    raise ValueError(
        f"{path}: no column {' or '.join(map(repr, names))}; columns: {shown}; rename the one "
        "that is meant"
    )


def _features(schema: Any) -> dict[str, Any]:
    """The metadata that Hugging Face ``datasets`` leaves in the schema, where it did."""
    try:
        return dict(json.loads(schema.metadata[b"huggingface"])["info"]["features"])
    except (TypeError, KeyError, ValueError, RecursionError):
        return {}


def _class_names(features: dict[str, Any], label: str) -> tuple[str, ...] | None:
    try:
        return tuple(map(composed, features[label]["names"]))
    except (TypeError, KeyError):
        return None


def _part(group: list[_File], spelt: tuple[str, ...] | None) -> tuple[Part, tuple[str, ...] | None]:
    """One part, and the names of the classes where the labels are names.

    ``spelt`` are those of the training part.
    """

    def where(row: int) -> str:
        for file in group:
            if row < file.rows:
                break
            row -= file.rows
        return f"{file.path}, row {row}"

    def contents(rows: list[int]) -> Iterator[Any]:
        offset = 0
        for file in group:
            low, high = bisect_left(rows, offset), bisect_left(rows, offset + file.rows)
            yield from _images(file, [row - offset for row in rows[low:high]])
            offset += file.rows

    found = [_labels(file) for file in group]
    named = [names for _, names in found if names is not None]
    if named and (len(named) < len(found) or any(file.classes for file in group)):
        raise ValueError(
            f"{group[0].path}: labels are names here and numbers elsewhere; write both as one kind"
        )
    if named:
        spelt = spelt or arrow.ordered({name for names in named for name in names})
        numbers = [_numbers(labels, names or (), spelt, group[0].path) for labels, names in found]
    else:
        numbers = [labels for labels, _ in found]
    return Part(torch.cat(numbers), contents, where), spelt if named else None


def _numbers(
    labels: torch.Tensor, names: tuple[str, ...], spelt: tuple[str, ...], path: Path
) -> torch.Tensor:
    """Labels that number ``names`` as labels that number ``spelt``."""
    for name in names:
        if name not in spelt:
            raise ValueError(f"{path}: {checks.unknown('class', name, spelt)}")
    return torch.tensor([spelt.index(name) for name in names], dtype=torch.int64)[labels]


def _labels(file: _File) -> tuple[torch.Tensor, tuple[str, ...] | None]:
    try:
        table = arrow.pyarrow("pyarrow.parquet").read_table(file.path, columns=[file.label])
    except (ValueError, OSError, arrow.pyarrow("pyarrow").ArrowException) as error:
        why = _why(error, "the Parquet file is damaged, or written in a way that is not read here")
        raise ValueError(f"{file.path}: {why}; copy or write it again") from error
    return arrow.classified(table.column(0), lambda row: f"{file.path}, row {row}")


def _images(file: _File, rows: list[int]) -> Iterator[Any]:
    """The images of these rows, a few at a time; row groups without one are not read."""
    try:
        with arrow.pyarrow("pyarrow.parquet").ParquetFile(file.path) as opened:
            start = 0
            for group in range(opened.num_row_groups):
                end = start + opened.metadata.row_group(group).num_rows
                if bisect_left(rows, start) == bisect_left(rows, end):
                    start = end
                    continue
                for batch in opened.iter_batches(256, [group], [file.image]):
                    low, high = bisect_left(rows, start), bisect_left(rows, start + len(batch))
                    here = rows[low:high]
                    chosen = arrow.only(batch.column(0), [row - start for row in here])
                    yield from arrow.images(chosen, here, lambda row: f"{file.path}, row {row}")
                    start += len(batch)
    except (OSError, arrow.pyarrow("pyarrow").ArrowException) as error:
        why = _why(error, "the Parquet file is damaged, or written in a way that is not read here")
        raise ValueError(f"{file.path}: {why}; copy or write it again") from error


def _why(error: Exception, otherwise: str) -> str:
    """What the system says of a file; the words of the libraries below are not for the user."""
    number = error.errno if isinstance(error, OSError) else None
    return otherwise if number is None else f"cannot be read: {os.strerror(number)}"
