"""Worker processes as their parent sees them: started, heard, and never waited for in vain."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

SILENCE = 60.0  # seconds without a sign of life after which a worker is given up
ENDING = 5.0  # seconds for a worker to end by itself
EVENTS = {"alive", "execution", "images", "warning", "epoch", "done", "failed"}


class TornEventError(ValueError):
    """A worker wrote what is no event."""


class Guard:
    """A process that kills the workers when this one has died without doing so.

    It is a second watch: a worker also ends by itself where nobody reads its signs of life.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        if hasattr(os, "killpg"):
            # Without its folder on the path, and in a session of its own: no Ctrl-C reaches it.
            script = str(Path(__file__).with_name("guard.py"))
            with contextlib.suppress(OSError):  # no room for it: the workers watch alone
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", script],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                    bufsize=0,
                )

    def watch(self, pid: int) -> None:
        self._write(pid)

    def forget(self, pid: int) -> None:
        self._write(-pid)

    def _write(self, number: int) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError, ValueError):  # it was killed, or has been closed
                self._process.stdin.write(b"%d\n" % number)

    def close(self) -> None:
        """Kill whoever is still watched, and end."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
            try:
                self._process.wait(ENDING)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def launch(
    words: Sequence[str], stderr: IO[bytes], environment: Mapping[str, str]
) -> subprocess.Popen[str]:
    """Start a worker; raises OSError where there is no room for another process."""
    return subprocess.Popen(
        [sys.executable, "-m", "softprior.engines.worker", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, **environment},
        # Ctrl-C reaches the parent alone, which then ends the workers with all that they started.
        start_new_session=True,
    )


class Child:
    """A worker process that is running.

    Args:
        launched: starts it, with a file for its stderr.
        guard: kills it should this process die.
        name: what it is called in messages.
    """

    def __init__(
        self, launched: Callable[[IO[bytes]], subprocess.Popen[str]], guard: Guard, name: str
    ) -> None:
        self.guard, self.name = guard, name
        self.stderr = tempfile.TemporaryFile()  # noqa: SIM115 - of this one alone, for its last words
        try:
            self.process = launched(self.stderr)
        except BaseException:
            self.stderr.close()
            raise
        self.silent = 0.0  # seconds since it was last heard
        self.given_up = ""  # why, where this process has ended it
        guard.watch(self.process.pid)

    def send(self, job: Mapping[str, Any]) -> None:
        """Raises OSError where nobody reads it."""
        assert self.process.stdin is not None
        self.silent = 0.0
        line = json.dumps(job) + "\n"
        try:
            self.process.stdin.write(line)
            self.process.stdin.flush()
        except ValueError:  # whoever listens to it has seen its end, and closed what was open
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from None

    def events(self) -> Iterator[dict[str, Any]]:
        """What it reports, until it ends.

        Raises:
            TornEventError: a line that is no event.
        """
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.silent = 0.0
            try:
                event = json.loads(line)
                known = event["event"] in EVENTS
            except (ValueError, TypeError, KeyError):
                known = False
            if not known:
                raise TornEventError(f"{self.name} wrote what is no event: {line.strip()[:80]!r}")
            if event["event"] != "alive":
                yield event

    def tick(self, seconds: float) -> None:
        """So much time has passed; one that was not heard for too long is killed.

        The time is counted, not read from a clock: this process may have been stopped as well.
        """
        self.silent += seconds
        if self.silent > SILENCE and not self.given_up:
            self.given_up = f"{self.name} gave no sign of life for {SILENCE:.0f} s (is it stopped?)"
            self.kill()

    def kill(self) -> None:
        """With all that it has started."""
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()

    def end(self) -> str:
        """Let it end, or else kill it, and close what was open to it; says how it ended."""
        with contextlib.suppress(OSError, ValueError):
            if self.process.stdin is not None:
                self.process.stdin.close()
        try:
            code = self.process.wait(ENDING)
        except subprocess.TimeoutExpired:
            self.kill()
            code = self.process.wait()
        self.kill()  # whoever it has left behind
        self.guard.forget(self.process.pid)
        if self.process.stdout is not None:
            self.process.stdout.close()
        with self.stderr:
            last = last_line(self.stderr)
        return self.given_up or f"{self.name} ended with {exit_status(code)}: {last}"


def exit_status(code: int) -> str:
    """Such as "exit status -9 (SIGKILL: …)"."""
    if code >= 0:
        return f"exit status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if name == "SIGKILL":
        name += ": from outside, most often because memory had run out"
    return f"exit status {code} ({name})"


def last_line(stderr: IO[bytes]) -> str:
    """The last line that a process has written."""
    stderr.seek(0, os.SEEK_END)
    stderr.seek(max(stderr.tell() - (1 << 16), 0))
    lines = stderr.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1].strip() if lines else "it printed nothing"
