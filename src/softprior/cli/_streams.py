"""What a command prints to: it may be closed, full, or a terminal that obeys escape codes."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast


@contextmanager
def standard_streams() -> Iterator[None]:
    """All three are there while a command runs, and what cannot be shown stops no training."""
    before = sys.stdin, sys.stdout, sys.stderr
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, _nothing(number))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an ASCII terminal shows "?" for "✓"
    out, messages = sys.stdout, sys.stderr
    sys.stdout = cast(TextIO, _Named(out))
    sys.stderr = cast(TextIO, _Unfailing(messages))
    try:
        yield
    finally:
        sys.stdin, sys.stdout, sys.stderr = before
        for stream in (out, messages):
            _end(stream)


def say(message: object) -> None:
    """One line to the user, on stderr."""
    print(f"softprior: {' '.join(printable(str(message)).split())}", file=sys.stderr)


def printable(text: str) -> str:
    r"""The text, with what steers a terminal or turns the direction of writing as an escape.

    A name of a file or a class may hold anything.

    >>> print(printable("a\x1b[31mb"))
    a\x1b[31mb
    """
    return "".join(c.encode("unicode_escape").decode() if _steers(c) else c for c in text)


def _steers(character: str) -> bool:
    if character.isprintable() or character in "\n\t":
        return False
    import unicodedata  # a library of the system's, which nearly no text needs

    # Cc: control; Cf: format, such as right-to-left override; Zl, Zp: other ends of a line
    return unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp")


def _nothing(number: int) -> TextIO:
    """Where a closed stream is read from, or written to; its number must not go to a file."""
    opened = os.open(os.devnull, os.O_RDWR)
    try:
        os.fstat(number)
    except OSError:
        os.dup2(opened, number)
    if opened <= 2:
        return open(opened, "r" if number == 0 else "w", closefd=False)
    return os.fdopen(opened, "r" if number == 0 else "w")


def _end(stream: TextIO) -> None:
    """Not at exit: nobody could catch what flushing raises there."""
    try:
        stream.flush()
    except OSError:
        # Python flushes once more at exit; there has to be somewhere to flush to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    except ValueError:
        pass  # somebody has closed it


class _Stream:
    """Another stream, but for what is done where it fails."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Named(_Stream):
    """Where it is full, the error says so."""

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            raise _with_name(error) from error

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            raise _with_name(error) from error


class _Unfailing(_Stream):
    """Where it is full, nothing is shown, and the work goes on."""

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def _with_name(error: OSError) -> OSError:
    if isinstance(error, BrokenPipeError) or error.errno is None:
        return error
    return OSError(error.errno, error.strerror, "standard output")
