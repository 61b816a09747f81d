"""Images whose labels or parts are in text files: Tiny-ImageNet's ``val/``, CUB-200-2011."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from softprior.training.images import names
from softprior.training.images.listing import Listing
from softprior.training.images.source import Part

ANNOTATIONS = "val_annotations.txt"
SPLIT = "train_test_split.txt"
CUB = ("images.txt", SPLIT, "image_class_labels.txt")


def part(paths: list[Path], labels: list[int]) -> Part:
    """Files, in the order of the rows."""
    return Part(
        torch.tensor(labels, dtype=torch.int64),
        lambda rows: (paths[row] for row in rows),
        lambda row: str(paths[row]),
    )


# --- Tiny-ImageNet -----------------------------------------------------------------------------


def agrees_with_wnids(root: Path, train: Path, classes: Iterable[str]) -> None:
    """Tiny-ImageNet's list of classes, where there is one, and the directories of ``train/``."""
    file = root / "wnids.txt"
    if file.is_file() and (wanted := set(_text(file).split())):
        missing = sorted(wanted ^ set(classes))
        if missing:
            raise ValueError(
                f"{file}: does not agree with {train}: {missing[0]!r} is in one of them only "
                f"({len(missing)} such); unpack the archive again"
            )


def is_annotated(folder: Path) -> bool:
    return (folder / ANNOTATIONS).is_file()


def annotated(folder: Path, classes: list[str]) -> Part:
    """Tiny-ImageNet's ``val/``: lines of file name, class, bounding box, separated by tabs."""
    file = folder / ANNOTATIONS
    number = {name: c for c, name in enumerate(classes)}
    paths: list[Path] = []
    labels: list[int] = []
    for row, line in enumerate(_text(file).splitlines(), start=1):
        cells = line.split("\t")
        if len(cells) < 2 or cells[1] not in number:
            raise ValueError(
                f"{file}, line {row}: {line!r}, wanted a file name, a tab and one of the "
                f"{len(classes)} classes of train/"
            )
        paths.append(_image(folder / "images" / cells[0], f"{file}, line {row}"))
        labels.append(number[cells[1]])
    return part(paths, labels)


# --- CUB-200-2011, and NABirds, which is laid out like it --------------------------------------


def is_cub(folder: Path) -> bool:
    return all((folder / name).is_file() for name in CUB)


def cub(folder: Path, listing: Listing) -> tuple[Part, Part, tuple[str, ...]]:
    """The official training and test part, and the names of the classes.

    Images, their classes and their parts are in three files of lines "image value"; the classes
    are numbered in the order of their numbers there.
    """
    files, split, numbers = (_table(folder / name) for name in CUB)
    for name, table in ((SPLIT, split), (CUB[2], numbers)):
        if missing := files.keys() ^ table.keys():
            raise ValueError(
                f"{folder / name}: does not agree with {CUB[0]}: image {min(missing)} is in one "
                f"of them only ({len(missing)} such); unpack the archive again"
            )
    if wrong := sorted(set(split.values()) - {"0", "1"}):
        raise ValueError(f"{folder / SPLIT}: {wrong[0]!r}, wanted 1 for training and 0 for test")
    folders = {numbers[image]: Path(name).parent.name for image, name in files.items()}
    classes = _class_names(folder, folders)
    place = {number: c for c, number in enumerate(classes)}
    paths = {
        image: _image(folder / "images" / name, f"{folder / CUB[0]}, image {image}")
        for image, name in files.items()
    }
    used = set(paths.values())
    for path in listing.images(folder / "images"):
        if path not in used:
            listing.leave(f"as not in {CUB[0]}", path)
    for name in listing.of(folder).folders:
        if name != "images":
            listing.leave("beside the images", folder / name, "/")
    train, test = (
        part(
            [paths[image] for image in files if split[image] == mark],
            [place[numbers[image]] for image in files if split[image] == mark],
        )
        for mark in "10"
    )
    listing.notes.append(f"parts as in {SPLIT}")
    return train, test, tuple(classes.values())


def _class_names(folder: Path, folders: dict[str, str]) -> dict[str, str]:
    """Of each number of a class, in their order: from classes.txt, or what its folder is called."""
    if wrong := sorted(number for number in folders if not number.isdecimal()):
        raise ValueError(f"{folder / CUB[2]}: {wrong[0]!r}, wanted numbers of classes")
    file = folder / "classes.txt"
    known = _table(file) if file.is_file() else folders
    return {
        number: names.composed(known.get(number) or number) for number in sorted(folders, key=int)
    }


def _table(file: Path) -> dict[str, str]:
    """Lines of a key, a space and the rest, in their order."""
    found: dict[str, str] = {}
    for row, line in enumerate(_text(file).splitlines(), start=1):
        if not line.strip():
            continue
        key, _, value = line.strip().partition(" ")
        if not value or key in found:
            raise ValueError(
                f"{file}, line {row}: {line!r}, wanted a number that is not yet there, a space "
                "and its value"
            )
        found[key] = value.strip()
    return found


def _image(path: Path, where: str) -> Path:
    if not path.is_file():
        raise ValueError(f"{where}: {path} is missing; unpack the archive again")
    return path


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{file}: cannot be read as text in UTF-8 ({error})") from error
