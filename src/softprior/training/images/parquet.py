"""Parquet files: a column of encoded images, a column of labels, class names in the metadata."""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from softprior.training.images import arrow
from softprior.training.images.source import Part, Source, source

# Raised whenever equal data give other pixels or another order: the fingerprint then changes, too.
VERSION = 1

IMAGE = ("image", "img")
LABEL = ("label", "fine_label")

_PART = re.compile(r"(train|test|validation|valid|val)(?![a-z])", re.IGNORECASE)


class _File(NamedTuple):
    path: Path
    rows: int
    image: str  # names of the columns
    label: str
    classes: tuple[str, ...] | None


def files(path: Path) -> list[Path]:
    """The Parquet files of a path: itself, or those in the folder, in ``data/`` or one other."""
    if path.is_file():
        return [path] if path.suffix.lower() == ".parquet" else []
    folders = [path, path / "data", *sorted(p for p in path.iterdir() if p.is_dir())]
    found = {folder: sorted(folder.glob("*.parquet")) for folder in folders if folder.is_dir()}
    full = [folder for folder in found if found[folder]]
    if full and full[0] not in folders[:2] and len(full) > 1:
        names = ", ".join(folder.name for folder in full)
        raise ValueError(f"{path}: Parquet files in several folders ({names}); pass one of them")
    return found[full[0]] if full else []


def read(path: Path) -> Source:
    """Files named train*, test*, validation* make the parts; without such names there is one."""
    notes: list[str] = []
    paths: dict[str, list[Path]] = {}
    for file in files(path):
        paths.setdefault("" if path.is_file() else _part_of(file), []).append(file)
    if len(paths) > 1 and "" in paths:
        notes.append(f"not used: {', '.join(file.name for file in paths.pop(''))}")
    parts = {name: [_opened(file) for file in group] for name, group in paths.items()}
    if not parts.keys() & {"train", ""}:
        raise ValueError(
            f"{path}: there is no train*.parquet beside {' and '.join(sorted(parts))}; add it, or "
            "pass one file"
        )
    train = _part(parts.get("train") or parts[""])
    held = _held_out(parts, notes) if len(parts) > 1 else None
    classes = {file.classes for group in parts.values() for file in group}
    if len(classes) > 1:
        raise ValueError(
            f"{path}: the files do not agree on the names of the classes; write them again with "
            "one list of names"
        )
    return source(train, held, classes.pop(), str(path), notes)


def _part_of(file: Path) -> str:
    match = _PART.match(file.stem)
    name = match[1].lower() if match else ""
    return {"val": "validation", "valid": "validation"}.get(name, name)


def _held_out(parts: dict[str, list[_File]], notes: list[str]) -> Part:
    """The test part; the validation part where there is none, or none with labels."""
    if "test" not in parts:
        return _part(parts["validation"])
    if "validation" in parts:
        test = _part(parts["test"])
        if not bool((test.labels == -1).all()):  # the Hub's mark for labels that are kept secret
            notes.append("not used: the validation part, as there is a test part")
            return test
        notes.append("not used: the test part, as it has no labels")
        return _part(parts["validation"])
    return _part(parts["test"])


def _opened(path: Path) -> _File:
    try:
        with arrow.pyarrow("pyarrow.parquet").ParquetFile(path) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
    except (ValueError, OSError) as error:
        raise ValueError(f"{path}: not a Parquet file, or truncated ({_first(error)})") from error
    image, label = (_column(path, schema, names) for names in (IMAGE, LABEL))
    kind = schema.field(image).type
    if not arrow.is_images(kind):
        raise ValueError(
            f"{path}: column {image!r} holds {kind}, wanted encoded images: binary, or a struct "
            "with bytes"
        )
    return _File(path, rows, image, label, _class_names(schema, label))


def _column(path: Path, schema: Any, names: tuple[str, ...]) -> str:
    for name in names:
        if name in schema.names:
            return name
    raise ValueError(
        f"{path}: no column {' or '.join(map(repr, names))}; columns: "
        f"{', '.join(map(repr, schema.names))}"
    )


def _class_names(schema: Any, label: str) -> tuple[str, ...] | None:
    """From the metadata that Hugging Face ``datasets`` leaves in the schema, where it did."""
    try:
        metadata = json.loads(schema.metadata[b"huggingface"])
        return tuple(metadata["info"]["features"][label]["names"])
    except (TypeError, KeyError, ValueError):
        return None


def _part(group: list[_File]) -> Part:
    def where(row: int) -> str:
        for file in group:
            if row < file.rows:
                break
            row -= file.rows
        return f"{file.path}, row {row}"

    def contents(rows: list[int]) -> Iterator[bytes]:
        offset = 0
        for file in group:
            low, high = bisect_left(rows, offset), bisect_left(rows, offset + file.rows)
            yield from _images(file, [row - offset for row in rows[low:high]])
            offset += file.rows

    return Part(torch.cat([_labels(file) for file in group]), contents, where)


def _labels(file: _File) -> torch.Tensor:
    try:
        table = arrow.pyarrow("pyarrow.parquet").read_table(file.path, columns=[file.label])
    except (ValueError, OSError) as error:
        raise ValueError(f"{file.path}: cannot be read ({_first(error)})") from error
    return arrow.labels(table.column(0), lambda row: f"{file.path}, row {row}")


def _images(file: _File, rows: list[int]) -> Iterator[bytes]:
    """The encoded images of these rows, a few at a time; row groups without one are not read."""
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
                    chosen = batch.column(0).take(
                        arrow.pyarrow("pyarrow").array([row - start for row in here], "int64")
                    )
                    yield from arrow.images(chosen, here, lambda row: f"{file.path}, row {row}")
                    start += len(batch)
    except (OSError, arrow.pyarrow("pyarrow").ArrowException) as error:
        raise ValueError(f"{file.path}: cannot be read ({_first(error)})") from error


def _first(error: Exception) -> str:
    """Libraries' own errors may have many lines; the first says what is wrong."""
    return (str(error).splitlines() or [type(error).__name__])[0]
