"""What a comparison is made of: methods, and the result of each of their runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from softprior.evidence import palette
from softprior.evidence.differences import Array
from softprior.evidence.tables import Cell


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


@dataclass(frozen=True)
class Result:
    """One run: its scores by name, and how the images of the test set bear on them.

    Attributes:
        blocks: by score of the test set, a number for each block of images, whose spread says
            what other images would have changed: see :mod:`.blocks`. The same block is of the
            same images in every run on the data.
    """

    scores: Mapping[str, float]
    blocks: Mapping[str, Array] = field(default_factory=dict)


Results: TypeAlias = Mapping[Method, Mapping[int, Result]]  # by method, then by seed
