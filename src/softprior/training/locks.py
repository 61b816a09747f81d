"""Locks that die with their owner, and folders that are hidden while they are written.

A lock is one of the system (``flock``) on a file: it is let go of when its owner dies, and is seen
from other containers, where the owner's process id means nothing; over NFS from other hosts, too,
where both have mounted it with locking. No lock decides what is right: whatever is written gets its
name at the end, in one step. Where there are no locks, only what is a day old is swept away.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

PATIENCE = 60.0  # seconds to wait for a lock
OLD = 24 * 3600.0  # seconds after which a folder that nobody has locked was left behind


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Let nobody else be in here at the same time; ``path`` is a file for the lock alone.

    Somebody who stays for a minute is not waited for: what is done in here is safe, and might only
    be done twice, or have to be done again.
    """
    until = time.monotonic() + PATIENCE
    while True:
        try:
            lock = _take(path)
            break
        except BlockingIOError:
            if time.monotonic() > until:
                warnings.warn(
                    f"another process has held {path} for {PATIENCE:.0f} s; going on without it",
                    stacklevel=3,
                )
                lock = None
                break
            time.sleep(0.05)
    try:
        yield
    finally:
        _release(path, lock)


@contextlib.contextmanager
def hidden_folder(root: Path, name: str) -> Iterator[Path]:
    """A new folder ``.NAME-…`` that is removed at the end, unless it has got another name."""
    root.mkdir(parents=True, exist_ok=True)
    while True:
        folder = root / f".{name}-{os.getpid()}-{secrets.token_hex(4)}"
        path = _lock_of(folder)
        with contextlib.suppress(BlockingIOError):  # in the hands of who sweeps, for a moment
            lock = _take(path)
            break
    try:
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _release(path, lock)


def take_away(folder: Path) -> None:
    """Remove a folder that others may be reading, in one step for them; nothing if it is gone."""
    gone = folder.with_name(f".{folder.name.strip('.')}-{os.getpid()}-{secrets.token_hex(4)}")
    with contextlib.suppress(FileNotFoundError):
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def sweep(root: Path) -> None:
    """Remove the hidden folders that dead processes left, and no living one's."""
    with contextlib.suppress(OSError):  # whoever may not write here need not clean up
        for path in root.glob(".*-*-*.lock"):
            with contextlib.suppress(BlockingIOError):
                lock = _take(path)
                if lock is not None:
                    shutil.rmtree(path.with_suffix(""), ignore_errors=True)
                    _release(path, lock)
        for folder in root.glob(".*-*-*"):
            unlocked = folder.is_dir() and not _lock_of(folder).exists()
            if unlocked and time.time() - folder.stat().st_mtime > OLD:
                shutil.rmtree(folder, ignore_errors=True)


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _take(path: Path) -> int | None:
    """The lock, as a descriptor; None where the system has none.

    Raises:
        BlockingIOError: somebody else has it.
    """
    if sys.platform == "win32":
        return None
    import fcntl

    while True:
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:  # what cannot be written here says so itself
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still(path, lock):
                return lock
        except BlockingIOError:
            os.close(lock)
            raise
        except OSError:  # a file system without locks
            os.close(lock)
            return None
        os.close(lock)  # of a file that its owner has removed in the meantime


def _is_still(path: Path, lock: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(lock))
    except FileNotFoundError:
        return False


def _release(path: Path, lock: int | None) -> None:
    if lock is not None:
        path.unlink(missing_ok=True)  # while it is still ours
        os.close(lock)
