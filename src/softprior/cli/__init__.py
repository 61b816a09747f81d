"""softprior list | fit | study | report | diagnose.

Exit codes: 0 success; 1 a run failed; 2 a mistake in what was asked, in one line; 130 Ctrl-C;
141 the reader of a pipe has closed it (as of `softprior list | head -1`): no message.
"""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Sequence

from softprior.cli._interrupts import EXIT_CODE, end_on_ctrl_c, has_been_told


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an ASCII terminal shows "?" for "✓"
    given = list(sys.argv[1:] if arguments is None else arguments)
    if arguments is None:  # the whole process is this command's
        end_on_ctrl_c(_stopped(given))
    try:
        try:
            # Imported here, so that Ctrl-C and a missing package end as they do anywhere below.
            from softprior.cli.dispatch import dispatch

            with warnings.catch_warnings():
                warnings.showwarning = _warn
                return dispatch(given or ["--help"])
        finally:
            sys.stdout.flush()  # not at exit: nobody could catch what it raises there
    except KeyboardInterrupt:
        print(_stopped(given), file=sys.stderr)
        has_been_told()
        return EXIT_CODE
    except BrokenPipeError:
        # Python flushes once more at exit; there has to be somewhere to flush to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, TypeError, ArithmeticError, OSError, MemoryError, ImportError) as error:
        if os.environ.get("SOFTPRIOR_TRACEBACK"):
            raise
        print("softprior: " + " ".join(_message(error).split()), file=sys.stderr)
        return 1 if isinstance(error, FloatingPointError) else 2  # a run that diverged has failed


def _stopped(given: Sequence[str]) -> str:
    """What an interrupted command says, and leaves behind."""
    if not {"fit", "study"}.intersection(given[:1]):
        return "softprior: stopped"
    kept = "finished runs are kept, and the same command goes on from the last checkpoint"
    return f"softprior: stopped; {kept}"


def _message(error: Exception) -> str:
    """The message; for what the operating system says, ``path: reason``."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'file system'}: {error.strerror}"
    return str(error) or type(error).__name__


def _warn(message: Warning | str, *_: object, **__: object) -> None:
    print(f"softprior: {' '.join(str(message).split())}", file=sys.stderr)
