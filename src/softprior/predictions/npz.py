"""Predictions from an npz archive: arrays ``logits`` or ``probs``, and ``labels``."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from softprior.predictions._columns import Scores, one_kind


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
    try:
        return np.asarray(archive[name])
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise ValueError(f"array {name!r} is corrupt: {error}") from error
        raise ValueError(
            f"array {name!r} holds Python objects (pickle), which are never loaded; "
            "save an array of numbers"
        ) from error
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise ValueError(f"array {name!r} is corrupt: {error}") from error
