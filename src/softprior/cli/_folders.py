"""The folder that results go to: it is there, and can be written to, before anything is run."""

from __future__ import annotations

import os
from pathlib import Path


def results_folder(path: Path) -> Path:
    """``path``, made where it is not there yet."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ValueError(f"--out {path}: a file is in the way, wanted a folder") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise ValueError(f"--out {path}: no permission to write there")
    return path
