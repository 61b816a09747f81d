"""Arrays larger than memory: in a temporary file, of which the system reads the pages asked for."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from softprior.memory import MIB

WHAT_TO_DO = "lower --resolution or take a --subset"


def zeros(shape: tuple[int, ...]) -> tuple[Any, str]:
    """A uint8 array of zeros in a file of its own, and the folder that the file is in.

    The folder is ``tempfile.gettempdir()``, which TMPDIR decides. The file has no name, so that
    nothing is left of it when the process ends, however it ends. Its space is reserved first: a
    disk that fills up later would end the process without a word.

    Raises:
        OSError: no room, or a folder that is itself held in memory; says what to do.
    """
    import numpy as np

    size = math.prod(shape)
    folder = tempfile.gettempdir()
    if held_in_memory(Path(folder)):
        raise OSError(
            f"the images take {size / MIB:,.0f} MiB, more than half of the memory available, and "
            f"temporary files in {folder} are held in memory, too: set TMPDIR to a folder on a "
            f"disk, {WHAT_TO_DO}"
        )
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            _reserve(file.fileno(), size)
        except OSError as error:
            free = shutil.disk_usage(folder).free
            raise OSError(
                f"the images take {size / MIB:,.0f} MiB, more than half of the memory available, "
                f"and cannot go to a temporary file in {folder}, which has {free / MIB:,.0f} MiB "
                f"free ({error.strerror}): set TMPDIR to a folder on a larger disk, {WHAT_TO_DO}"
            ) from error
        return np.memmap(file, np.uint8, "r+", shape=shape), folder


def held_in_memory(folder: Path) -> bool:
    """Whether files in a folder are held in memory, as those in /tmp are on some systems."""
    try:
        lines = Path("/proc/self/mounts").read_text("utf-8", "replace").splitlines()
    except OSError:
        return False
    kinds = {point: kind for _, point, kind, *_ in map(str.split, lines)}
    resolved = folder.resolve()
    point = next(p for p in (resolved, *resolved.parents) if str(p) in kinds or p == p.parent)
    return kinds.get(str(point)) in ("tmpfs", "ramfs")


def _reserve(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:  # macOS, Windows: the blocks come when they are written
        os.truncate(descriptor, size)
