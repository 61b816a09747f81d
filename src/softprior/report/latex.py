"""tables.tex: one booktabs table for each table of the report, to be put into a paper."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from softprior.evidence.tables import Cell, Table
from softprior.report import cells
from softprior.report.results import Section, slug

_WIDE = 80  # characters that a line of text holds, about
_ESCAPED = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    # After the end of a row \\ would take "[" for its option and "*" for its own.
    **{c: f"{{{c}}}" for c in "[*"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "–": "--",
    "—": "---",
    "“": "``",
    "”": "''",
    "‘": "`",
    "’": "'",
    "…": r"\dots{}",
}
_COMMANDS = {
    "±": "pm", "×": "times", "·": "cdot", "∞": "infty", "≤": "leq", "≥": "geq", "≈": "approx",
    "→": "to", "↑": "uparrow", "↓": "downarrow", "α": "alpha", "β": "beta", "γ": "gamma",
    "δ": "delta", "ε": "varepsilon", "λ": "lambda", "μ": "mu", "σ": "sigma", "τ": "tau",
    "ω": "omega", "Δ": "Delta", "Σ": "Sigma",
}  # fmt: skip
_MATHEMATICS = {"−": "-", **{c: f"\\{name} " for c, name in _COMMANDS.items()}}


def render_latex(sections: Sequence[Section], command: str) -> str:
    """Every table as a ``table`` environment labelled tab:STUDY-KEY; ``command`` wrote it."""
    head = f"% Written by {' '.join(command.split())}; wants \\usepackage{{booktabs}}."
    tables = [_table(section, table) for section in sections for table in section.tables]
    return "\n\n".join([head, *tables]) + "\n"


def escaped(text: str) -> str:
    """``text`` as LaTeX's text mode shows it; letters beyond ASCII stay as UTF-8.

    >>> escaped("5 % of −x_1")
    '5 \\\\% of $-$x\\\\_1'
    """
    return "".join(
        f"${_MATHEMATICS[c].strip()}$" if c in _MATHEMATICS else _ESCAPED.get(c, c)
        for c in " ".join(text.split())
    )


def _table(section: Section, table: Table) -> str:
    alignment = "".join(
        "r" if cells.numeric(table, at) else "l" for at in range(len(table.columns))
    )
    rows = [line for row in table.rows for line in _rows(row, table)]
    caption = " ".join(f"{table.title}. {table.caption} {cells.note(table)}".split())
    # In one line: what a line break in a path would leave behind "%" is text, and is run.
    repeat = f"Measured by {' '.join(section.command.split())}." if section.command else ""
    lines = [
        *([f"% {repeat}"] if repeat else []),
        r"\begin{table}",
        r"\centering",
        f"\\caption{{{escaped(caption)}}}",
        f"\\label{{tab:{slug(section.name)}-{slug(table.key)}}}",
        *([r"\footnotesize"] if _width(table) > _WIDE else []),
        f"\\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        _row(escaped(cells.heading(column)) for column in table.columns),
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines)


def _rows(row: Sequence[Cell], table: Table) -> Iterable[str]:
    """One line, or two where there are intervals: they stand under their differences."""
    readings = [cells.read(c, column) for c, column in zip(row, table.columns, strict=True)]
    stacked = ["low" in r.exact and bool(r.spread) for r in readings]
    first = []
    for reading, below in zip(readings, stacked, strict=True):
        if not reading.numeric:
            first.append(escaped(reading.value))
            continue
        value = reading.value if below else f"{reading.value} {reading.spread}"
        first.append(f"{_number(value)} {escaped(reading.mark)}".strip())
    yield _row(first)
    if any(stacked):
        under = zip(readings, stacked, strict=True)
        yield _row(_number(reading.spread) if below else "" for reading, below in under)


def _row(entries: Iterable[str]) -> str:
    return f"{' & '.join(entries)} \\\\"


def _number(text: str) -> str:
    if text.strip() == cells.MISSING:
        return "--"
    written = re.sub(".", lambda c: _MATHEMATICS.get(c[0], c[0]), text)
    return f"${' '.join(written.split())}$"


def _width(table: Table) -> int:
    """Characters of the widest line of ``table``, without its mathematics."""
    readings = [
        [cells.read(c, column) for c, column in zip(row, table.columns, strict=True)]
        for row in table.rows
    ]
    widths = [len(cells.heading(column)) for column in table.columns]
    for row in readings:
        for at, r in enumerate(row):
            parts = (f"{r.value} {r.mark}", r.spread) if "low" in r.exact else (r.text,)
            widths[at] = max(widths[at], *map(len, parts))
    return sum(widths) + 2 * len(widths)
