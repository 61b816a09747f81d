"""Files that must survive whatever kills the process, and their hash."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path


def write(file: Path, text: str) -> None:
    """Write a text file and force it to the disk."""
    file.write_text(text, "utf-8")
    flush(file)


def replace_text(file: Path, text: str) -> None:
    """Write a text file so that nobody ever reads a part of it."""
    hidden = file.with_name(f".{file.name}-{secrets.token_hex(4)}")
    try:
        hidden.write_text(text, "utf-8")
        hidden.replace(file)
    finally:
        hidden.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Force a file or folder to the disk, so that the rename cannot overtake its content."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(file: Path) -> str:
    """SHA-256 in hexadecimal digits, read in blocks."""
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while block := opened.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
