"""SHA-256 of every file of a finished folder: written last, checked before its content is believed.

``SHA256SUMS`` has one line for each file, as ``sha256sum --check SHA256SUMS`` reads it. Finished
files never change: what is added to a run later comes as new files, with a list of their own.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from softprior.training import files
from softprior.training.images import fingerprint_cache

LIST = "SHA256SUMS"


def seal(folder: Path) -> None:
    """Write the list of the files that are in a folder: the last that makes it finished."""
    lines = [f"{files.sha256(file)}  {file.name}\n" for file in sorted(folder.iterdir())]
    files.write(folder / LIST, "".join(lines))
    files.flush(folder)


def damage(folder: Path, names: Collection[str]) -> str:
    """What is wrong with a folder that should hold these files; empty where nothing is.

    Every byte is read: a single bit that has changed, of a file or of the list, is found.

    Raises:
        OSError: something is there and cannot be read: no right to, a failing disk.
    """
    try:
        listed = _listed(folder)
        if wrong := sorted(listed.keys() ^ set(names)):
            return f"{LIST} {'does not list' if wrong[0] in names else 'lists'} {wrong[0]}"
        for name, wanted in listed.items():
            if files.sha256(folder / name) != wanted:
                return f"{name} is not as it was written: its SHA-256 is another than in {LIST}"
    except ValueError as error:
        return str(error)
    except (FileNotFoundError, NotADirectoryError) as error:
        missing = Path(error.filename).name
        return f"{missing} is missing" + ", so it was not finished" * (missing == LIST)
    except files.NotAFileError as error:
        return f"{Path(error.filename).name} is {error.strerror}"
    return ""


def is_as_listed(file: Path) -> bool:
    """Whether the list beside a file is there and has the file as it is."""
    try:
        return _listed(file.parent).get(file.name) == files.sha256(file)
    except (ValueError, FileNotFoundError, NotADirectoryError, files.NotAFileError):
        return False


_whole: dict[str, str] = {}  # folders that nothing was wrong with, and their state at that time


def damage_since(folder: Path, names: Collection[str], *, every_byte: bool = False) -> str:
    """:func:`damage`, with nothing read of a folder that was whole and has not changed since.

    That is known by size, times and inode of the files, and kept in the user's cache folder.
    """
    at = os.path.abspath(folder)
    now, began = state(folder, names), time.time_ns()
    if not every_byte and now.digest in (_whole.get(at), _remembered(at)):
        _whole[at] = now.digest
        return ""
    wrong = damage(folder, names)
    # A file as young as a step of the clock may change once more without a trace.
    if not wrong and now.newest + fingerprint_cache.STEP_NS < began:
        _whole[at] = now.digest
        _remember(at, now.digest)
    elif every_byte:
        _whole.pop(at, None)
        _remember(at, "")
    return wrong


class State(NamedTuple):
    """What is known of files without opening them."""

    digest: str
    newest: int  # time of the last change, in nanoseconds


def state(folder: Path, names: Collection[str]) -> State:
    """Of the files of that name, and of their list; what is missing is a state, too."""
    rows: list[tuple[int, ...]] = []
    for name in (*names, LIST):
        try:
            s = os.stat(os.path.join(folder, name))
        except OSError as error:
            rows.append((error.errno or 0,))
        else:
            rows.append((s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino))
    newest = max((max(row[1:3]) for row in rows if len(row) > 1), default=0)
    return State(hashlib.sha256(repr(rows).encode()).hexdigest(), newest)


def _listed(folder: Path) -> dict[str, str]:
    with files.opened(folder / LIST) as opened:
        lines = opened.read(1 << 16).decode("ascii", "replace").splitlines(keepends=True)
    found = [re.fullmatch(r"([0-9a-f]{64})  ([A-Za-z0-9_][A-Za-z0-9_.-]*)\n", x) for x in lines]
    if not all(found):
        raise ValueError(f"{LIST} is not a list of SHA-256 sums")
    return {match[2]: match[1] for match in found if match}


def _mark(at: str) -> Path | None:
    cache = fingerprint_cache.folder()
    name = hashlib.sha256(os.fsencode(at)).hexdigest()[:32]
    return None if cache is None else cache / "whole" / name


def _remembered(at: str) -> str | None:
    with contextlib.suppress(OSError, ValueError):
        if (mark := _mark(at)) is not None:
            return mark.read_text("ascii")
    return None


def _remember(at: str, digest: str) -> None:
    """A cache that cannot be written is no error: the files are hashed again next time."""
    with contextlib.suppress(OSError):
        if (mark := _mark(at)) is not None:
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.write_text(digest, "ascii")
