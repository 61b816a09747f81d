"""The same tables and verdicts as text: readable at 80 columns, and when piped."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from softprior.evidence.claims import Claim
from softprior.evidence.tables import Table
from softprior.report.cells import NOTATION, heading, note, numeric, read
from softprior.report.results import Section

_STYLES = {
    "holds": "green",
    "does not hold": "red",
    "no difference": "cyan",
    "cannot tell": "yellow",
}
_MARKS = {"better": "green", "worse": "red", "differs": "bold"}
_GAP = 2  # blanks between two columns: one is rich's divider
_WIDEST_NAME = 30
_PROSE = 36  # a column of text is given at least this much, and what is left over


def show(sections: Sequence[Section], console: Console) -> None:
    """Print each section: verdicts first, then tables; figures are on the page.

    After the last section stands what the numbers beside the verdicts mean.
    """
    for section in sections:
        _line(console, section.title, "bold")
        line = [f"scale {section.scale}"] if section.scale else []
        if section.seeds:
            line.append(f"{section.seeds} seed{'s' if section.seeds != 1 else ''}")
        line += [section.command] if section.command else []
        if line:
            _line(console, " · ".join(line), "dim")
        for name in ("Left out", "Not matched"):
            if name in section.facts:
                _line(console, f"{name}: {section.facts[name]}", "yellow")
        for claim in section.claims:
            _verdict(console, claim)
        for item in section.items:
            if isinstance(item, Table):
                _table(console, item)
        _line(console)
    if any(section.claims for section in sections):
        _line(console, f"{NOTATION}\n", "dim")


def _line(console: Console, text: str = "", style: str = "") -> None:
    """Text, never markup: a cell like [0.1, 0.2] is no tag. A name may have line breaks in it."""
    console.print(Text(" ".join(text.split()), style=style), highlight=False)


def _verdict(console: Console, claim: Claim) -> None:
    verdict = claim.verdict
    head = Text(f"{verdict.symbol} {verdict.outcome}: ", style=_STYLES[verdict.outcome])
    _line(console)
    console.print(head.append(claim.text, style="default"), highlight=False)
    console.print(Padding(Text(claim.evidence, style="dim"), (0, 0, 0, 2)), highlight=False)


def _table(console: Console, table: Table) -> None:
    """The table, in as many parts as the width asks for; each part repeats the row names."""
    _line(console)
    _line(console, table.title, "bold")
    for number, part in enumerate(_parts(table, console.width)):
        if number:
            _line(console)
        grid = Grid(
            box=box.SIMPLE_HEAD, padding=(0, _GAP - 1, 0, 0), pad_edge=False, show_edge=False
        )
        for at in part:
            prose = at > 0 and not numeric(table, at)
            grid.add_column(
                Text(_heading(table, at)),
                justify="right" if numeric(table, at) else "left",
                no_wrap=numeric(table, at),
                max_width=_WIDEST_NAME if at == 0 else None,
                ratio=1 if prose else None,
            )
        for row in table.rows:
            grid.add_row(*(_cell(table, row, at) for at in part))
        console.print(grid, highlight=False)
    _line(console, f"{table.caption} {note(table)}".strip(), "dim")


def _cell(table: Table, row: Sequence[object], at: int) -> Text:
    reading = read(row[at], table.columns[at])  # type: ignore[arg-type]
    return Text(" ".join(reading.text.split()), style=_MARKS.get(reading.mark, ""))


def _parts(table: Table, width: int) -> Iterator[list[int]]:
    """Column indices of each part, as many as fit beside the names."""
    names = min(_width(table, 0), _WIDEST_NAME)
    part, used = [0], names
    for at in range(1, len(table.columns)):
        wide = _width(table, at) if numeric(table, at) else min(_width(table, at), _PROSE)
        if len(part) > 1 and used + _GAP + wide > width:
            yield part
            part, used = [0], names
        part.append(at)
        used += _GAP + wide
    yield part


def _width(table: Table, at: int) -> int:
    lines = _heading(table, at).splitlines()
    column = table.columns[at]
    return max(len(t) for t in (*lines, *(read(row[at], column).text for row in table.rows)))


def _heading(table: Table, at: int) -> str:
    """The heading, wrapped at blanks to about the width of the numbers under it."""
    text = heading(table.columns[at])
    wide = max([len(read(row[at], table.columns[at]).text) for row in table.rows], default=0)
    tied = text.replace(" ↑", "\0↑").replace(" ↓", "\0↓")  # an arrow stays with its word
    return "\n".join(textwrap.wrap(tied, max(wide, 14))).replace("\0", " ")
