"""One file per study: a docstring of four lines (Claim, Paper, Run, Cost) and two functions.

``recipes(scale)`` lists the runs that are needed; ``show(runs)`` turns them, in that order,
into tables, figures and claims. A file here is found by its name, runs at smoke scale in the
tests, and is listed by ``softprior list``: nothing else needs to know of it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Protocol, cast

from softprior import discovery
from softprior.studies._kit import Claim, Figure, Scale, Table
from softprior.training import Recipe, Run


class Study(Protocol):
    """What a file in this folder offers."""

    __doc__: str | None
    SEEDS: dict[str, int]  # seeds at each scale, unless the user says otherwise

    def recipes(self, scale: Scale) -> Iterable[Recipe]: ...

    def show(self, runs: Sequence[Run]) -> Iterable[Table | Figure | Claim]: ...


def found() -> dict[str, Study]:
    """Every study in this folder by its file's name."""
    return {
        name: cast(Study, module)
        for name, module in discovery.modules(sys.modules[__name__]).items()
    }


def about(study: Study) -> dict[str, str]:
    """The study's docstring: its title, and the four lines Claim, Paper, Run, Cost."""
    title, _, rest = (study.__doc__ or "").strip().partition("\n")
    lines = {"Title": title.rstrip(".")}
    key = ""
    for line in rest.splitlines():
        head, colon, text = line.partition(":")
        if colon and head in ("Claim", "Paper", "Run", "Cost"):
            key, line = head, text
        if key:
            lines[key] = f"{lines.get(key, '')} {line.strip()}".strip()
    return lines
