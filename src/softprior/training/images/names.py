"""What the names of files and folders say: a part of a data set, an image, or nothing to read."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable

SUFFIXES = frozenset(
    {
        *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".bmp", ".gif", ".webp"),
        *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"),
    }
)

# Notes and tables beside the images: nobody would expect to train on them.
TEXT = frozenset(
    {
        *(".txt", ".md", ".rst", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yml", ".yaml"),
        *(".html", ".ini", ".log", ".mat", ".pdf"),
    }
)

_FILLER = "sets?|data|images?|imgs?|pictures?|photos?|splits?|parts?|folder|files?"
_PARTS = {
    "train": "train(?:ing|val)?|trn",
    "test": "test(?:ing)?|tst",
    "validation": "val(?:id|idation)?|dev(?:el|elopment)?|eval(?:uation)?",
}
_PATTERNS = {
    part: re.compile(rf"(?:{_FILLER})*(?:{words})(?:{_FILLER})*") for part, words in _PARTS.items()
}
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

_HIDDEN = re.compile(
    r"[.].*|@eadir|@recycle|@tmp|#recycle|#snapshot|[$]recycle[.]bin|__macosx|__pycache__|"
    r"system volume information|lost[+]found|_*thumbnails?|(eh)?thumbs.*[.]db|desktop[.]ini"
)
_IMAGES = re.compile(r"images?|imgs?|pictures|photos")
_BESIDE = re.compile(
    r"annotations?|masks|labels?|segmentations?|ground[ _-]?truths?|bboxes|bounding[ _-]?boxes"
)


def composed(name: str) -> str:
    """In one Unicode form: "é" may be written as one character or as two (as macOS does)."""
    return unicodedata.normalize("NFC", name)


def part_of(name: str) -> str:
    """The part that a name as a whole stands for: "train", "test", "validation", or ""."""
    letters = re.sub(r"[\W\d_]+", "", name).lower()
    found = (part for part, pattern in _PATTERNS.items() if pattern.fullmatch(letters))
    return next(found, "")


def part_within(name: str) -> tuple[str, tuple[str, ...]]:
    """The only part that a word of a name stands for, or "", and the other words.

    >>> part_within("mnist_train-00000")
    ('train', ('mnist',))
    """
    words = _WORD.findall(name)
    parts = {part for word in words if (part := part_of(word))}
    rest = tuple(word.lower() for word in words if not part_of(word))
    return (parts.pop() if len(parts) == 1 else part_of(name)), rest


def parts_among(names: Iterable[str]) -> dict[str, list[str]]:
    """The folders that stand for each part, of folders that lie beside one another.

    "seg_train" alone could be anything; beside "seg_test" it is a part.
    """
    names = sorted(names)
    found: dict[str, list[str]] = {}
    for name in names:
        if part := part_of(name):
            found.setdefault(part, []).append(name)
    if found:
        return found
    families: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for name in names:
        part, rest = part_within(name)
        if part:
            families.setdefault(rest, {}).setdefault(part, []).append(name)
    for family in families.values():
        if "train" in family and len(family) > 1:
            for part, members in family.items():
                found.setdefault(part, []).extend(members)
    return found


def is_hidden(name: str) -> bool:
    """Whether a system or a program keeps its own there: thumbnails, caches, rubbish."""
    return _HIDDEN.fullmatch(name.lower()) is not None


def is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES


def is_text(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in TEXT


def holds_images(name: str) -> bool:
    """Whether a folder is called "images": it may hold the classes, and is none itself."""
    return _IMAGES.fullmatch(name.lower()) is not None


def lies_beside(name: str) -> bool:
    """Whether a folder is called by what lies beside images: "annotations", "masks", "labels"."""
    return _BESIDE.fullmatch(name.lower()) is not None


def masked(stem: str) -> str:
    """The image of which "1_mask" or "1_mask_2" is the mask: "1"; "" for none."""
    match = re.fullmatch(r"(.+?)[ _-](?:mask|segmentation)(?:[ _-]?\d+)?", stem.lower())
    return stem[: match.end(1)] if match else ""
