"""Figure: a picture that draws itself, and the numbers that are in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A picture that draws itself on axes it is given, and the numbers that are in it.

    Attributes:
        key: its name in results.json.
        title: its heading.
        caption: how it was made, and how it is to be read.
        alt: what is to be seen, in words, for whoever cannot see it.
        draw: receives a flat list of ``panels`` matplotlib axes.
        data: the numbers.
        panels: how many axes.
        size: the whole figure's, in inches.
    """

    key: str
    title: str
    caption: str
    alt: str
    draw: Callable[[Sequence[Any]], None]
    data: dict[str, Any] = field(default_factory=dict)
    panels: int = 1
    size: tuple[float, float] = (7.2, 3.4)
