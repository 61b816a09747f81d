"""Kills the processes of a command when its own has died, however that died.

Run by its path, beside the workers, with nothing but the standard library. A line ``PID`` on its
input is a process group to watch, ``-PID`` one to forget; where the input ends, or the parent is
another than at the start, all that are watched are killed. It reaches whom a watch inside a worker
does not: one that is stopped, one in C code that keeps the interpreter to itself, grandchildren.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal


def main() -> None:
    parent = os.getppid()
    watched: set[int] = set()
    rest = b""
    # Not the end of the input alone: whoever the parent has forked may hold it open.
    while os.getppid() == parent:
        if not select.select([0], [], [], 1.0)[0]:
            continue
        if not (read := os.read(0, 1 << 16)):
            break
        *lines, rest = (rest + read).split(b"\n")
        for pid in map(int, lines):
            if pid > 0:
                watched.add(pid)
            else:
                watched.discard(-pid)
    for pid in watched:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
