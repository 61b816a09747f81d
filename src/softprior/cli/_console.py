"""Where the commands print: results on stdout, progress and failures on stderr."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterable
from typing import NoReturn, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from softprior.cli._streams import printable


def show_line(to: Console, line: str) -> None:
    """A line as it is: not wrapped, and no markup; a line break in it is no end of it."""
    line = line.replace("\n", "\\n").replace("\r", "\\r")
    to.print(line, soft_wrap=True, highlight=False, markup=False)


def console(*, stderr: bool = False) -> Console:
    """A console; where it is piped into something else, its lines have no trailing blanks."""
    stream = sys.stderr if stderr else sys.stdout
    shown = _Console(file=stream if stream.isatty() else _Trimmed(stream))
    if shown.width < 1:
        shown.width = 80  # COLUMNS=0, as of some terminals that do not know
    return shown


class _Console(Console):
    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Text never steers the terminal: only what this program styles does."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable(text), style, control)

    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError  # rich would end the process here; main() knows what to do


class _Trimmed(io.StringIO):
    """A stream without the blanks that rich pads its tables with."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._encoding = stream.encoding

    def write(self, text: str) -> int:
        return self._stream.write(re.sub(r" +$", "", text, flags=re.MULTILINE))

    def flush(self) -> None:
        self._stream.flush()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding
