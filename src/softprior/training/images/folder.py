"""Image folders: one directory per class, with or without parts; Tiny-ImageNet's own layout."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from softprior import checks
from softprior.training.images.source import Part, Source, source

# Raised whenever equal data give other pixels or another order: the fingerprint then changes, too.
VERSION = 1

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
)
ANNOTATIONS = "val_annotations.txt"


def read(path: Path) -> Source:
    """``train/`` and ``test/`` or ``val/``, each with a directory per class, or classes alone.

    Classes are numbered in the order of their names. In Tiny-ImageNet's original layout the
    labels of ``val/images/`` are in a text file, and ``test/images/`` has none and is not used.
    """
    notes: list[str] = []
    train = path / "train"
    if not train.is_dir():
        classes = _directories(path)
        if not classes:
            raise ValueError(
                f"{path}: neither Parquet files nor an image folder; wanted *.parquet, or a "
                "directory per class (below train/ and test/, or alone)"
            )
        return source(_by_class(path, classes), None, tuple(classes), str(path), notes)
    classes = _classes(path, train)
    test = None
    held = [path / name for name in ("test", "val", "valid", "validation")]
    for candidate in filter(Path.is_dir, held):
        if (candidate / ANNOTATIONS).is_file():
            part = _annotated(candidate, classes)
        elif _directories(candidate) in ([], ["images"]):
            notes.append(f"not used: {candidate.name}/, as it has no labels")
            continue
        else:
            part = _by_class(candidate, classes)
        if test is None:
            test = part
        else:
            notes.append(f"not used: {candidate.name}/, as there is a test part")
    return source(_by_class(train, classes), test, tuple(classes), str(path), notes)


def _classes(path: Path, train: Path) -> list[str]:
    """Directories of ``train/``; Tiny-ImageNet's list of them must agree."""
    classes = _directories(train)
    listed = path / "wnids.txt"
    if listed.is_file() and (names := sorted(listed.read_text(encoding="utf-8").split())):
        missing = sorted(set(names) ^ set(classes))
        if missing:
            raise ValueError(
                f"{listed}: does not agree with {train}: {missing[0]!r} is in one of them only "
                f"({len(missing)} such); unpack the archive again"
            )
    if not classes:
        raise ValueError(f"{train}: no directories, wanted one per class")
    return classes


def _by_class(folder: Path, classes: list[str]) -> Part:
    paths: list[Path] = []
    labels: list[int] = []
    for name in _directories(folder):
        if name not in classes:
            raise ValueError(f"{folder}: {checks.unknown('class', name, classes)}")
        found = _images(folder / name)
        if not found:
            raise ValueError(
                f"{folder / name}: no images ({', '.join(sorted(SUFFIXES))}); add some, or remove "
                "the directory"
            )
        paths += found
        labels += [classes.index(name)] * len(found)
    return _part(paths, labels)


def _annotated(folder: Path, classes: list[str]) -> Part:
    """Tiny-ImageNet's ``val/``: lines of file name, class, bounding box, separated by tabs."""
    listed = folder / ANNOTATIONS
    number = {name: c for c, name in enumerate(classes)}
    paths: list[Path] = []
    labels: list[int] = []
    for row, line in enumerate(listed.read_text(encoding="utf-8").splitlines(), start=1):
        cells = line.split("\t")
        if len(cells) < 2 or cells[1] not in number:
            raise ValueError(
                f"{listed}, line {row}: {line!r}, wanted a file name, a tab and one of the "
                f"{len(classes)} classes of train/"
            )
        file = folder / "images" / cells[0]
        if not file.is_file():
            raise ValueError(f"{listed}, line {row}: {file} is missing; unpack the archive again")
        paths.append(file)
        labels.append(number[cells[1]])
    return _part(paths, labels)


def _part(paths: list[Path], labels: list[int]) -> Part:
    return Part(
        torch.tensor(labels, dtype=torch.int64),
        lambda rows: (paths[row] for row in rows),
        lambda row: str(paths[row]),
    )


def _directories(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))


def _images(folder: Path) -> list[Path]:
    """Image files below a folder, at any depth, in the order of their paths."""
    found = []
    for root, _, names in os.walk(folder):
        found += [
            Path(root, name)
            for name in names
            if os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith(".")
        ]
    return sorted(found)
