"""Fingerprints of paths, remembered in the user's cache folder until a file changes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

FORMAT = 1  # of what a fingerprint is taken of
ENTRY = 2  # of the entries; raised, too, whenever a reader finds other images under a path

# Time stamps of files move in steps of up to 10 ms: within one, a second change does not show.
STEP_NS = 20_000_000


class Signature(NamedTuple):
    """What is known of the files below a path without opening them."""

    digest: str
    newest: int  # time of the last change, in nanoseconds


def folder() -> Path | None:
    """``$SOFTPRIOR_CACHE``, or where this platform keeps caches; None without a home."""
    try:
        if chosen := os.environ.get("SOFTPRIOR_CACHE"):
            return Path(chosen).expanduser()
        if sys.platform == "win32":
            local = os.environ.get("LOCALAPPDATA")
            return Path(local or Path.home() / "AppData" / "Local") / "softprior"
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches" / "softprior"
        xdg = os.environ.get("XDG_CACHE_HOME", "")
        # The standard says that a relative path is to be ignored.
        return (Path(xdg) if os.path.isabs(xdg) else Path.home() / ".cache") / "softprior"
    except RuntimeError:
        return None


class Entry:
    """The fingerprint of one path, valid for the files as they are and for these versions."""

    def __init__(self, path: Path, versions: dict[str, int], cache: Path | None) -> None:
        self.path = path.resolve()
        self.versions = versions
        self.signature = signature(self.path)
        cache = folder() if cache is None else cache
        name = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:32]
        self.file = None if cache is None else cache / "fingerprints" / f"{name}.json"

    def read(self) -> str | None:
        """The fingerprint; None where there is none, or none that is valid."""
        if self.file is None:
            return None
        try:
            stored = json.loads(self.file.read_text("utf-8"))
            found = stored.pop("fingerprint")
            valid = stored == self._conditions() and re.fullmatch("[0-9a-f]{32}", found)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None
        return str(found) if valid else None

    def settle(self) -> None:
        """Wait until a change of any file would show in its time stamps."""
        age = time.time_ns() - self.signature.newest
        if 0 <= age < STEP_NS:
            time.sleep((STEP_NS - age) / 1e9)

    def write(self, fingerprint: str) -> None:
        """Keep a fingerprint, if no file changed since the signature was taken.

        A cache that cannot be written is no error: the images are hashed again next time.
        """
        if self.file is None:
            return
        text = json.dumps({**self._conditions(), "fingerprint": fingerprint}, indent=1)
        with contextlib.suppress(OSError):
            if signature(self.path) != self.signature:
                return
            self.file.parent.mkdir(parents=True, exist_ok=True)
            descriptor, partial = tempfile.mkstemp(".partial", dir=self.file.parent)
            try:
                with open(descriptor, "w", encoding="utf-8") as opened:
                    opened.write(text)
                os.replace(partial, self.file)
            except BaseException:
                os.unlink(partial)
                raise

    def _conditions(self) -> dict[str, Any]:
        return {
            "format": ENTRY,
            "path": str(self.path),
            "versions": self.versions,
            "signature": self.signature.digest,
        }


def signature(path: Path) -> Signature:
    """Of every file below a path: its relative path, its size and when it was last changed.

    The time of the last change of status is among them, which copying with the old time of
    modification does not restore. Symbolic links count as what they point to.
    """
    found = sorted(_stated(path))
    digest = hashlib.sha256(ascii(found).encode()).hexdigest()
    return Signature(digest, max((max(times) for _, _, *times in found), default=0))


def _stated(path: Path) -> list[tuple[str, int, int, int]]:
    if not path.is_dir():
        return [_row("", path.stat())]
    found: list[tuple[str, int, int, int]] = []
    visited: set[tuple[int, int]] = set()  # links may lead in circles
    waiting = [""]
    while waiting:
        relative = waiting.pop()
        here = os.path.join(path, relative)
        status = os.stat(here)
        identity = (status.st_dev, status.st_ino)
        # An empty directory matters: it is a class without images.
        found.append((relative + "/", 0, 0, 0))
        if identity in visited:
            found.append((relative, *identity, 0))
            continue
        visited.add(identity)
        try:
            with os.scandir(here) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    name = f"{relative}/{entry.name}" if relative else entry.name
                    if _is_folder(entry):
                        waiting.append(name)
                    else:
                        found.append(_row(name, _status(entry)))
        except PermissionError:  # whether that matters the reader will say
            found.append((relative, -1, 0, 0))
    return found


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _status(entry: os.DirEntry[str]) -> os.stat_result:
    try:
        return entry.stat()
    except OSError:  # a link to nowhere
        return entry.stat(follow_symlinks=False)


def _row(name: str, status: os.stat_result) -> tuple[str, int, int, int]:
    return name, status.st_size, status.st_mtime_ns, status.st_ctime_ns
