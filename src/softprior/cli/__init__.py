"""softprior list | fit | study | report | diagnose.

Exit codes: 0 success; 1 a run failed; 2 a mistake in what was asked, in one line; 130 Ctrl-C;
141 the reader of a pipe has closed it (as of `softprior list | head -1`): no message.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence

from softprior.cli._interrupts import EXIT_CODE, end_on_ctrl_c, has_been_shown
from softprior.cli._streams import say, standard_streams

# What is raised with a message of ours, or of the operating system's.
_EXPECTED = (ValueError, TypeError, ArithmeticError, OSError, ImportError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    with standard_streams():
        if arguments is None:  # the whole process is this command's
            end_on_ctrl_c(f"softprior: {_stopped(given)}")
        try:
            try:
                # Imported here, so that Ctrl-C and a missing package end as they do anywhere below.
                from softprior.cli.dispatch import dispatch

                with warnings.catch_warnings():
                    warnings.showwarning = _warn
                    return dispatch(given or ["--help"])
            finally:
                sys.stdout.flush()
        except KeyboardInterrupt:
            say(_stopped(given))
            has_been_shown()
            return EXIT_CODE
        except BrokenPipeError:
            return 141
        except Exception as error:
            if os.environ.get("SOFTPRIOR_TRACEBACK"):
                raise
            say(_message(error))
            return 1 if isinstance(error, FloatingPointError) else 2  # a run that diverged failed


def _stopped(given: Sequence[str]) -> str:
    """What an interrupted command says, and leaves behind."""
    if not {"fit", "study"}.intersection(given[:1]):
        return "stopped"
    kept = "finished runs are kept, and the same command goes on from the last checkpoint"
    return f"stopped; {kept}"


def _message(error: Exception) -> str:
    """The message; for what the operating system says, ``path: reason``."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'file system'}: {error.strerror}"
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return (
            "there is not enough memory; take a smaller --batch_size or a larger --accumulate, or "
            "less data (--subset, --resolution)"
        )
    if isinstance(error, _EXPECTED):
        return str(error) or type(error).__name__
    kind = type(error).__name__
    return f"{kind}: {error}; nobody has foreseen this: SOFTPRIOR_TRACEBACK=1 shows where it was"


def _warn(message: Warning | str, *_: object, **__: object) -> None:
    say(message)
