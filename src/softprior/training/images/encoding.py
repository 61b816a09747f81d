"""The bytes of an image as a reader gives it: encoded already, in a file, or an array."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from softprior.memory import MIB

CHUNK_BYTES = 4 * MIB  # so that a chunk of large photographs takes no more memory than of small


def encoded(content: bytes | Path | Any) -> bytes:
    """What the file holds; an array becomes a :func:`netpbm` image."""
    if isinstance(content, Path):
        # Unbuffered, which halves the time for small files: most of it is spent opening them.
        with open(content, "rb", buffering=0) as file:
            return file.readall()
    return content if isinstance(content, bytes) else netpbm(content)


def netpbm(pixels: Any) -> bytes:
    """A uint8 array as PGM (H, W) or PPM (H, W, 3): a header, then the pixels as they are.

    Written by hand: another version of an encoder could give other bytes, and with them another
    fingerprint.
    """
    import numpy as np

    kind, (height, width) = (b"P5" if pixels.ndim == 2 else b"P6"), pixels.shape[:2]
    header = b"%s %d %d 255\n" % (kind, width, height)
    return b"".join((header, np.ascontiguousarray(pixels).data))


def chunks(contents: Iterator[tuple[int, Any]], most: int) -> Iterator[list[tuple[int, Any]]]:
    """Consecutive lists of at most ``most`` rows with their contents, of about ``CHUNK_BYTES``."""
    chunk: list[tuple[int, Any]] = []
    size = 0
    for row, content in contents:
        chunk.append((row, content))
        size += len(content) if isinstance(content, bytes) else getattr(content, "nbytes", 0)
        if len(chunk) == most or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
