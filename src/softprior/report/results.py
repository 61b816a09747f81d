"""What a report is made of, and results.json: every number, exact and as fractions."""

from __future__ import annotations

import json
import math
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from softprior.evidence.claims import Claim
from softprior.evidence.differences import Difference
from softprior.evidence.figure import Figure
from softprior.evidence.tables import Cell, Measured, Table

FORMAT = 1
Item: TypeAlias = Table | Figure | Claim
_SAID_ELSEWHERE = ("Title", "Claim", "Run")  # the heading, the lead, and the command


@dataclass(frozen=True, kw_only=True)
class Section:
    """One study's part of a report: what it showed, and how it was measured.

    ``name`` is the section's own in the report; ``asked`` what makes it again, as plain values.
    ``about`` holds the study's docstring lines (Claim, Paper, Run, Cost), ``command``
    what repeats it, ``facts`` hardware, versions, when it was measured, and wall seconds.
    """

    name: str
    asked: Mapping[str, Any] = field(default_factory=dict)
    title: str
    about: Mapping[str, str] = field(default_factory=dict)
    scale: str
    seeds: int
    command: str
    items: Sequence[Item]
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def tables(self) -> list[Table]:
        return [item for item in self.items if isinstance(item, Table)]

    @property
    def figures(self) -> list[Figure]:
        return [item for item in self.items if isinstance(item, Figure)]

    @property
    def claims(self) -> list[Claim]:
        return [item for item in self.items if isinstance(item, Claim)]

    @property
    def on(self) -> str:
        """The data set, and the network where it is not the study's own choice."""
        data, model = self.asked.get("dataset"), self.asked.get("model")
        name = "digits" if data is None else Path(str(data)).name
        return f"{name}, {model}" if model else name

    @property
    def details(self) -> dict[str, str]:
        """The lines of ``about`` that a report does not say in another place."""
        return {key: text for key, text in self.about.items() if key not in _SAID_ELSEWHERE}


def slug(name: str) -> str:
    """``name`` as part of a file name, a link or a label: letters, digits, ``_`` and ``-``."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name)


def numbered(sections: Sequence[Section]) -> list[dict[int, str]]:
    """ "Table 1", "Figure 1", … through the whole report, by section and place in it."""
    counts = {"Table": 0, "Figure": 0}
    numbers: list[dict[int, str]] = []
    for section in sections:
        numbers.append({})
        for at, item in enumerate(section.items):
            kind = type(item).__name__
            if kind in counts:
                counts[kind] += 1
                numbers[-1][at] = f"{kind} {counts[kind]}"
    return numbers


def to_json(sections: Sequence[Section]) -> dict[str, Any]:
    """The sections as JSON values. What is not a finite number is null."""
    names = [slug(section.name) for section in sections]
    if len(set(names)) != len(names):
        raise ValueError(f"sections must have different names, got {names}")
    return {"format": FORMAT, "studies": {s.name: _section(s) for s in sections}}


def write_json(path: Path, sections: Sequence[Section]) -> None:
    """Write ``results.json`` whole or not at all."""
    text = json.dumps(to_json(sections), allow_nan=False, ensure_ascii=False, indent=1)
    replace_text(path, text + "\n")


def check_target(path: str | Path) -> None:
    """Raise ValueError where no file can be written to ``path``: before the work, not after."""
    target = Path(path)
    if not str(path):
        raise ValueError("the page's file name is empty")
    if target.is_dir():
        raise ValueError(f"{path}: is a directory, wanted the name of a file")
    if not target.parent.is_dir():
        raise ValueError(f"{path}: there is no folder {target.parent}")
    if not os.access(target if target.exists() else target.parent, os.W_OK):
        raise ValueError(f"{path}: no permission to write there")


def replace_text(path: Path, text: str) -> None:
    """:func:`replace_bytes` of ``text`` in UTF-8."""
    replace_bytes(path, text.encode("utf-8"))


def replace_bytes(path: Path, content: bytes) -> None:
    """Write beside ``path``, then rename: a reader sees the old file or the new one.

    What a symbolic link points to is replaced, not the link. A device or a pipe, such as
    /dev/stdout, is written to: it must never be replaced by a file.
    """
    try:
        target = path.resolve()
        if target.exists() and not target.is_file():
            target.write_bytes(content)
            return
        partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
        try:
            partial.write_bytes(content)
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)
    except BrokenPipeError:
        raise
    except OSError as error:  # in the user's words: not of the partial file
        raise OSError(error.errno, error.strerror, str(path)) from error


def _section(section: Section) -> dict[str, Any]:
    for kind in (section.tables, section.figures):
        keys = [slug(item.key) for item in kind]
        if len(set(keys)) != len(keys):
            raise ValueError(f"study {section.name!r} uses a key twice, got {keys}")
    return {
        "title": section.title,
        "asked": dict(section.asked),
        "about": dict(section.about),
        "scale": section.scale,
        "seeds": section.seeds,
        "command": section.command,
        "facts": dict(section.facts),
        "tables": [_table(table) for table in section.tables],
        "figures": [_figure(figure) for figure in section.figures],
        "claims": [
            {
                "text": c.text,
                "verdict": c.verdict.outcome,
                "evidence": c.evidence,
                "answers": list(c.answers),
            }
            for c in section.claims
        ],
    }


def _table(table: Table) -> dict[str, Any]:
    for row in table.rows:
        if len(row) != len(table.columns):
            raise ValueError(
                f"table {table.key!r} has {len(table.columns)} columns, "
                f"its row {row[0] if row else ''!r} has {len(row)} cells"
            )
    return {
        "key": table.key,
        "title": table.title,
        "caption": table.caption,
        "columns": [
            {"name": c.name, "digits": c.digits, "percent": c.percent, "better": c.better}
            for c in table.columns
        ],
        "rows": [[_cell(cell) for cell in row] for row in table.rows],
    }


def _figure(figure: Figure) -> dict[str, Any]:
    return {
        "key": figure.key,
        "title": figure.title,
        "caption": figure.caption,
        "alt": figure.alt,
        "data": _plain(figure.data),
    }


def _cell(cell: Cell) -> Any:
    if isinstance(cell, (Measured, Difference)):
        return _plain(cell.numbers)
    return _plain(cell)


def _plain(value: Any) -> Any:
    """JSON values only: arrays and tensors become lists, numbers that are not finite null."""
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, (Measured, Difference)):
        return _plain(value.numbers)
    if isinstance(value, Mapping):
        return {str(key): _plain(v) for key, v in value.items()}
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    raise TypeError(f"results.json holds numbers, texts, lists and dicts, got {type(value)!r}")
