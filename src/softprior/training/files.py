"""Files that must survive whatever kills the process, their hash, and JSON from anywhere."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor


def write(file: Path, text: str) -> None:
    """Write a text file and force it to the disk."""
    file.write_text(text, "utf-8")
    flush(file)


def flush(path: Path) -> None:
    """Force a file or folder to the disk, so that the rename cannot overtake its content."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_tensors(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors by name and force them to the disk.

    Raises:
        OSError: as for any other file; safetensors has an error of its own for a full disk.
    """
    try:
        safetensors.torch.save_file(dict(tensors), file)
    except safetensors.SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(file)) from error
    flush(file)


def read_json(file: Path) -> Any:
    """What a JSON file holds.

    Raises:
        ValueError: it is none, or nested too deeply; with its path.
    """
    return parse_json(file.read_bytes(), file)


def parse_json(text: str | bytes, where: object) -> Any:
    """What a JSON text holds; ``where`` it stands is named where it is none."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError(f"{where} is nested too deeply: it is none of softprior's") from None
    except ValueError as error:
        raise ValueError(f"{where} is not JSON: {error}") from error


def sha256(file: Path) -> str:
    """SHA-256 in hexadecimal digits, read in blocks."""
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while block := opened.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
