"""Which Parquet files below a path make which part of a data set."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import NamedTuple

from softprior.training.images import names

DEPTH = 3  # folders below the path: data/, default/train/, data/default/train/
_SHARD = re.compile(r"(.*?)(\d+)-of-(\d+)")
_NUMBERED = re.compile(r"(.*?)(\d{4,})")

Parts = dict[str, list[Path]]  # by the name of the part; "" for files that name none


class Found(NamedTuple):
    """The files of one data set, and what the user should know of them."""

    parts: Parts
    notes: list[str]


def is_parquet(name: str) -> bool:
    return name.lower().endswith(".parquet")


def any_below(path: Path) -> bool:
    """Whether a path is a Parquet file, or a folder with some."""
    if not path.is_dir():
        return is_parquet(path.name)
    return next(_below(path), None) is not None


def find(path: Path) -> Found:
    """The files of each part, by what they or their folders are called.

    They lie in the folder itself, in ``data/`` or in one other folder (which the Hub names after
    a configuration), and there in a folder for each part or together.
    """
    if not path.is_dir():
        return Found({"": [path]}, [])
    folders: dict[str, Parts] = {}
    for file in sorted(_below(path)):
        folder, part = _place(file, path)
        folders.setdefault(folder, {}).setdefault(part, []).append(file)
    chosen = _chosen(path, folders)
    parts = folders.pop(chosen)
    notes = []
    if others := [file for each in folders.values() for files in each.values() for file in files]:
        notes.append(
            f"not used: {len(others):,} Parquet files in other folders (such as "
            f"{others[0].relative_to(path)})"
        )
    if len(parts) > 1 and "" in parts:
        unnamed = parts.pop("")
        shown = ", ".join(file.name for file in unnamed[:3])
        notes.append(
            f"not used: {shown}" + (f" and {len(unnamed) - 3:,} more" if len(unnamed) > 3 else "")
        )
    for part, files in parts.items():
        notes += _missing_shards_of(part, files)
    return Found(parts, notes)


def _below(folder: Path, depth: int = 0) -> Iterator[Path]:
    """Parquet files in a folder, then below; the folder of a class has images and is passed by."""
    found: list[os.DirEntry[str]] = []
    folders: list[Path] = []
    images = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if names.is_hidden(entry.name):
                    continue
                if is_parquet(entry.name) and not _is_folder(entry):
                    found.append(entry)
                elif names.is_image(entry.name):
                    images += 1
                    if depth > 1:  # it may have many thousands
                        return
                elif depth < DEPTH and _is_folder(entry):
                    folders.append(Path(entry.path))
    except PermissionError:  # the reader of folders says so, if there is nothing else
        return
    for entry in found if depth == 0 or len(found) >= images else ():
        if not entry.is_file():
            raise ValueError(f"{entry.path}: neither a file nor a link to one; remove it")
        yield Path(entry.path)
    for below in sorted(folders):
        yield from _below(below, depth + 1)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _place(file: Path, root: Path) -> tuple[str, str]:
    """The folder that a file belongs to, less one that names its part, and the part."""
    folders = list(file.relative_to(root).parts[:-1])
    part = names.part_within(file.stem)[0]
    for k in reversed(range(len(folders))):
        if above := names.part_within(folders[k])[0]:
            if part and above != part:
                raise ValueError(
                    f"{file}: the folder names the {above} part and the file the {part} part; "
                    "move it or rename it"
                )
            part = above
            del folders[k]
            break
    return "/".join(folders), part


def _chosen(path: Path, folders: dict[str, Parts]) -> str:
    trained = [folder for folder, parts in folders.items() if "train" in parts] or list(folders)
    for usual in ("", "data"):
        if usual in trained:
            return usual
    if len(trained) > 1:
        raise ValueError(
            f"{path}: Parquet files in several folders ({', '.join(trained)}); pass one of them"
        )
    return trained[0]


def _missing_shards_of(part: str, files: list[Path]) -> list[str]:
    """What there is to say of files that are one part together; a missing one above all.

    Raises:
        ValueError: two sets of numbered files under one name, such as of an older writing.
    """
    notes = []
    sets: dict[str, dict[int, set[int]]] = {}
    loose: dict[str, set[int]] = {}
    for file in files:
        if match := _SHARD.fullmatch(file.stem):
            prefix = str(file.parent / match[1])
            sets.setdefault(prefix, {}).setdefault(int(match[3]), set()).add(int(match[2]))
        else:
            match = _NUMBERED.fullmatch(file.stem)
            prefix, number = (match[1], int(match[2])) if match else (file.stem, 0)
            loose.setdefault(str(file.parent / prefix), set()).add(number)
    for prefix, totals in sets.items():
        if len(totals) > 1:
            one, two = sorted(totals)[:2]
            raise ValueError(
                f"{prefix}*.parquet: some files are of {one} and some of {two}; keep those that "
                "belong together"
            )
        ((total, numbers),) = totals.items()
        start = 0 if 0 in numbers else int(total in numbers)
        if absent := total - len(numbers):
            first = next(k for k in count(start) if k not in numbers)
            notes.append(
                f"missing: {absent:,} of the {total:,} files {Path(prefix).name}* (the first: "
                f"{first})"
            )
    for prefix, numbers in loose.items():
        first, last = min(numbers), max(numbers)
        if first <= 1 and (absent := last - first + 1 - len(numbers)):  # else they may be years
            first = next(k for k in count(first) if k not in numbers)
            notes.append(
                f"missing: {absent:,} of the files {Path(prefix).name}* up to {last} (the first: "
                f"{first})"
            )
    together = sorted({*sets, *loose})
    if len(files) > 1 and (len(together) > 1 or not part):
        name = f"the {part} part" if part else "one part"
        notes.append(f"{name} is {len(files):,} files together (such as {files[0].name})")
    return notes
