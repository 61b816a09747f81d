"""What a comparison is made of: methods, and the result of each of their runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from softprior.evidence import palette
from softprior.evidence.tables import Cell

Rows: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class Method:
    """What is compared: a method, or a variant of one. A value, so it can be a key.

    Attributes:
        label: what tables and figures call it.
        colour: in every figure.
        facts: what is true of all its runs, such as its family or the amount of smoothing;
            studies choose by these, never by the label.
    """

    label: str
    colour: str = palette.GREY
    facts: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __getitem__(self, fact: str) -> Any:
        return self.facts[fact]

    def cells(self, facts: Iterable[str] | None = None) -> tuple[Cell, ...]:
        """What names its row of a table: the label, then facts, a dash where it lacks one."""
        return self.label, *(self.facts.get(fact, "–") for fact in facts or ())

    def but(self, label: str | None = None, colour: str | None = None, **facts: Any) -> Method:
        """The method with another label or colour, or more facts."""
        facts = {**self.facts, **facts}
        return Method(label or self.label, colour or self.colour, facts)


class PerImage(NamedTuple):
    """What a run's test scores are made of, so that images can be drawn again.

    Attributes:
        ids: of the images (n,): the same image has the same id in every run on the data.
        each: by score, a number for each image (n,) whose mean the score is.
        functions: by score that is no mean, such as ECE, its value for chosen rows.
    """

    ids: Rows
    each: Mapping[str, NDArray[np.float64]]
    functions: Mapping[str, Callable[[Rows], float]]

    def score(self, name: str, rows: Rows | None = None) -> float:
        """A score on some rows, by default all; a row may come more than once."""
        rows = np.arange(len(self.ids)) if rows is None else rows
        if name in self.each:
            return float(self.each[name][rows].mean())
        return self.functions[name](rows)


@dataclass(frozen=True)
class Result:
    """One run: its scores by name, and what they are made of where that is asked for."""

    scores: Mapping[str, float]
    images: Callable[[], PerImage] | None = None


Results: TypeAlias = Mapping[Method, Mapping[int, Result]]  # by method, then by seed
