"""One file, or folder, per study: a docstring and two functions.

``recipes(scale)`` lists the runs that are needed; ``show(runs)`` turns them, in that order,
into tables, figures and claims. A study here is found by its name, runs at smoke scale in the
tests, and is listed by ``softprior list``: nothing else needs to know of it. Its docstring has a
title and five lines: Claim, Paper, Run, Cost, Expected.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, cast

from softprior import checks, discovery, own
from softprior.evidence import Claim, Figure, Table
from softprior.studies._shared.methods import by_method, method
from softprior.studies._shared.recipes import Scale
from softprior.studies._shared.scores import compare
from softprior.training import Recipe, Run

__all__ = [
    "Scale",
    "Study",
    "about",
    "by_method",
    "compare",
    "find",
    "found",
    "method",
    "usual_seeds",
]

LINES = ("Claim", "Paper", "Run", "Cost", "Expected")
USUAL_SEEDS = {"smoke": 2, "desk": 5, "paper": 5}  # of a study that does not say


class Study(Protocol):
    """What a file in this folder offers, or a module or an object of your own.

    ``SEEDS`` may say how many seeds it has at each scale, unless the user says otherwise.
    """

    __doc__: str | None

    def recipes(self, scale: Scale) -> Iterable[Recipe]: ...

    def show(self, runs: Sequence[Run]) -> Iterable[Table | Figure | Claim]: ...


def found() -> dict[str, Study]:
    """Every study in this folder by its file's name."""
    return {
        name: cast(Study, module)
        for name, module in discovery.modules(sys.modules[__name__]).items()
    }


def find(name: str) -> Study:
    """A study by name, or the user's own: ``file.py``, ``package.module``, ``module:NAME``.

    Raises:
        ValueError: there is none of that name, or it lacks what a study has.
    """
    known = found()
    if name in known:
        return known[name]
    if not (name.endswith(".py") or "." in name or ":" in name):
        more = "; a study of your own is named as file.py, package.module or module:NAME"
        raise ValueError(checks.unknown("study", name, [*known, "all"]) + more)
    study = own.load(name) if ":" in name else own.load_module(name)
    for part in ("recipes", "show"):
        if not callable(getattr(study, part, None)):
            raise ValueError(
                f"study {name} has no function {part!r}: a study has recipes(scale), which lists "
                "runs, and show(runs), which makes tables, figures and claims of them"
            )
    return cast(Study, study)


def usual_seeds(study: Any) -> Mapping[str, int]:
    """How many seeds a study has at each scale."""
    seeds: Mapping[str, int] = getattr(study, "SEEDS", USUAL_SEEDS)
    return seeds


def about(study: Study) -> dict[str, str]:
    """The study's docstring: its title, and the lines Claim, Paper, Run, Cost, Expected."""
    title, _, rest = (study.__doc__ or "").strip().partition("\n")
    lines = {"Title": title.rstrip(".")}
    key = ""
    for line in rest.splitlines():
        head, colon, text = line.partition(":")
        if colon and head in LINES:
            key, line = head, text
        if key:
            lines[key] = f"{lines.get(key, '')} {line.strip()}".strip()
    return lines
