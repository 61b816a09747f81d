"""Predictions from an npz archive: arrays ``logits`` or ``probs``, and ``labels``."""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from softprior import memory
from softprior.predictions._columns import REMEDY, Scores, one_kind

CORRUPT = (ValueError, zipfile.BadZipFile, zlib.error, EOFError, OSError)


def read(path: Path) -> Scores:
    """The arrays of an archive; pickled objects are never loaded."""
    if not zipfile.is_zipfile(path):
        raise ValueError(
            "not an npz archive, or truncated; write it again with "
            "numpy.savez(path, logits=..., labels=...)"
        )
    with np.load(path, allow_pickle=False) as archive:
        found = ", ".join(map(repr, archive.files)) or "none"
        kind = one_kind([name for name in ("logits", "probs") if name in archive], found)
        if "labels" not in archive:
            raise ValueError(f"no array 'labels', wanted class indices (n,); arrays: {found}")
        scores, labels = (_array(archive, name) for name in (kind, "labels"))
    if scores.ndim != 2:
        raise ValueError(f"{kind!r} must have shape (n, K), got {scores.shape}")
    if labels.shape != scores.shape[:1]:
        hint = ""
        if labels.shape == (len(scores), 1):
            hint = "; use labels.squeeze(1)"
        elif labels.shape == scores.shape:
            hint = "; class indices are wanted: labels.argmax(1)"
        raise ValueError(
            f"'labels' must have shape ({len(scores)},) to go with {kind!r} {scores.shape}, "
            f"got {labels.shape}{hint}"
        )
    for name, array in ((kind, scores), ("labels", labels)):
        if array.dtype.kind not in "iuf":
            raise ValueError(f"{name!r} must hold numbers, got dtype {array.dtype}")
    return Scores(scores, kind == "probs", labels)


def _array(archive: Any, name: str) -> Any:
    memory.check(f"array {name!r} and a copy of it", 2 * _stated(archive, name), REMEDY)
    try:
        return np.asarray(archive[name])
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise ValueError(f"array {name!r} is corrupt: {error}") from error
        raise ValueError(
            f"array {name!r} holds Python objects (pickle), which are never loaded; "
            "save an array of numbers"
        ) from error
    except CORRUPT as error:
        raise ValueError(f"array {name!r} is corrupt: {error}") from error


def _stated(archive: Any, name: str) -> int:
    """Bytes of an array by its header, or by the archive's list where that says more.

    NumPy would make room for what the header says, and an archive can hold a thousand times what
    it takes on the disk.
    """
    member = name if name in archive.zip.namelist() else f"{name}.npy"
    size: int = archive.zip.getinfo(member).file_size
    try:
        with archive.zip.open(member) as file:
            version, _ = np.lib.format.read_magic(file)
            headers = np.lib.format
            header = (
                headers.read_array_header_1_0 if version == 1 else headers.read_array_header_2_0
            )
            shape, _, kind = header(file)
    except CORRUPT:  # reading it will say so
        return size
    return max(size, math.prod(shape) * kind.itemsize)
