"""Options from the fields of a dataclass: their types, their defaults, and what its docs say."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Collection
from typing import Any, get_type_hints

from softprior.cli import _kinds
from softprior.cli._parser import Parser


def options_of(
    parser: Parser, dataclass: type[Any], group: str, leave_out: Collection[str] = ()
) -> None:
    """An option for each field, by its name."""
    hints, lines = get_type_hints(dataclass), documented(dataclass)
    for field in dataclasses.fields(dataclass):
        if field.name not in leave_out:
            parser.option(
                field.name,
                _kinds.of(hints[field.name]),
                lines.get(field.name, ""),
                default=field.default,
                group=group,
            )


def documented(thing: type[Any]) -> dict[str, str]:
    """What the block ``Attributes:`` of a docstring says of each.

    >>> class Point:
    ...     '''A point.
    ...
    ...     Attributes:
    ...         x: how far to the right;
    ...             may be negative.
    ...         y: how high.
    ...
    ...     And no more.
    ...     '''
    >>> documented(Point)
    {'x': 'how far to the right; may be negative', 'y': 'how high'}
    """
    lines = inspect.cleandoc(thing.__doc__ or "").splitlines()
    found: dict[str, str] = {}
    name, inside = "", False
    for line in lines:
        if not line.startswith(" "):
            inside = line == "Attributes:" or (inside and not line)
        elif inside and not line.startswith(" " * 5):
            name, _, text = line.strip().partition(": ")
            found[name] = text
        elif inside:
            found[name] += f" {line.strip()}"
    return {name: text.removesuffix(".") for name, text in found.items()}
