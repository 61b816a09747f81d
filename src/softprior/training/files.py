"""Files that must survive whatever kills the process, their hash, and what may be read of them."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import safetensors
import safetensors.torch
from torch import Tensor


class NotAFileError(OSError):
    """A pipe, a device, a folder or a link where a file is wanted."""


def opened(file: Path, *, follow: bool = True) -> BinaryIO:
    """A file, opened for reading; what would block, or never end, is no file.

    Raises:
        NotAFileError: it is something else; or a link, where ``follow`` is false.
        OSError: it is not there, or may not be read.
    """
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    if not follow:
        if file.is_symlink():
            raise NotAFileError(errno.ELOOP, "a link, wanted the file itself", str(file))
        flags |= getattr(os, "O_NOFOLLOW", 0)
    if file.is_dir():  # which some systems open as if it were a file, and others forbid to open
        raise NotAFileError(errno.EISDIR, "a folder, wanted a file", str(file))
    descriptor = os.open(file, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotAFileError(errno.EINVAL, "a pipe or device, wanted a file", str(file))
    return open(descriptor, "rb")


def sha256(file: Path) -> str:
    """SHA-256 in hexadecimal digits, read in blocks."""
    digest = hashlib.sha256()
    with opened(file) as source:
        while block := source.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def copy(source: Path, target: Path) -> None:
    """Copy what is in a file, and force it to the disk; what a link points to is not copied."""
    with opened(source, follow=False) as reading, target.open("xb") as writing:
        while block := reading.read(1 << 20):
            writing.write(block)
    flush(target)


def read_json(file: Path) -> Any:
    """What a JSON file holds.

    Raises:
        ValueError: it is not JSON, however deeply it is nested; with its path.
        OSError: it cannot be read.
    """
    with opened(file) as source:
        return parse_json(source.read(), file)


def read_json_lines(file: Path) -> list[Any]:
    """What a file of JSON holds, a value in each line; raises as :func:`read_json` does."""
    with opened(file) as source:
        return [parse_json(line, file) for line in source]


def parse_json(content: str | bytes, file: Path) -> Any:
    """What a text of JSON from a file holds; raises as :func:`read_json` does."""
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError(f"{file} is nested too deeply to be a record of softprior's") from error
    except ValueError as error:
        raise ValueError(f"{file} is not JSON: {error}") from error


def write(file: Path, text: str) -> None:
    """Write a text file and force it to the disk."""
    file.write_text(text, "utf-8")
    flush(file)


def write_tensors(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors by name and force them to the disk; with the rights that the folder has.

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
    file.chmod(file.parent.stat().st_mode & 0o666)  # safetensors leaves them to the owner alone
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


def new_folder(parent: Path, prefix: str) -> Path:
    """A folder that nobody else has, with the rights that the user's umask leaves."""
    while True:
        folder = parent / f"{prefix}{secrets.token_hex(4)}"
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
