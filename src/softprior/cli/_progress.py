"""How far it is: a bar on a terminal, elsewhere a plain line now and then, for a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeAlias

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Column

from softprior.cli._console import console

EVERY = 30.0  # seconds between two plain lines

Show: TypeAlias = Callable[[str, int, int, str], None]  # what, done, of how many, more about it


@contextmanager
def progress(*, quiet: bool = False) -> Iterator[Show]:
    """A function that shows progress on stderr; the last state is shown in any case."""
    if quiet:
        yield lambda what, done, total, more: None
    elif sys.stderr.isatty():
        with _bar() as show:
            yield show
    else:
        lines = _Lines()
        try:
            yield lines.tell
        finally:
            lines.show()


def remaining(seconds: float) -> str:
    """Such as "0:01:30 left"."""
    return f"{timedelta(seconds=round(seconds))} left"


@contextmanager
def _bar() -> Iterator[Show]:
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=12),
        MofNCompleteColumn(),
        TextColumn(
            "{task.fields[more]}", markup=False, table_column=Column()
        ),  # wraps, where it is narrow
        console=console(stderr=True),
    ) as shown:
        task = shown.add_task("", total=None, more="", visible=False)

        def show(what: str, done: int, total: int, more: str) -> None:
            shown.update(
                task, description=what, completed=done, total=total, more=more, visible=True
            )

        yield show


class _Lines:
    """Keeps the last state, and prints it where the last line is ``EVERY`` seconds old."""

    def __init__(self) -> None:
        self.line = ""
        self.printed = time.monotonic()

    def tell(self, what: str, done: int, total: int, more: str) -> None:
        self.line = f"{what} {done} of {total}" + (f", {more}" if more else "")
        if time.monotonic() - self.printed >= EVERY:
            self.show()

    def show(self) -> None:
        if self.line:
            print(self.line, file=sys.stderr, flush=True)
        self.line, self.printed = "", time.monotonic()
