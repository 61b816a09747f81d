"""What an option wants: a whole number, one of a few names, numbers with commas between, …

A value comes as a word of the command line or as a value of a YAML or JSON file. What it is made
into is decided by the type hint of the field that it goes to.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as short_repr
from typing import Any, Literal, Union, get_args, get_origin

from softprior import seeds

TRUE, FALSE = ("true", "yes", "on"), ("false", "no", "off")


@dataclass(frozen=True)
class Kind:
    """A kind of value.

    Attributes:
        wanted: what it is called in a message.
        convert: makes a word, or a value of a file, into what the program works with; raises
            ValueError for any other.
        metavar: what stands for it in the help; None for the option's own name.
        is_switch: whether the option may stand alone, for true.
    """

    wanted: str
    convert: Callable[[Any], Any]
    metavar: str | None = None
    is_switch: bool = False

    def read(self, option: str, value: Any) -> Any:
        """The value; or a message that names the option, what it wants and what it got.

        >>> WHOLE.read("--epochs", "3")
        3
        >>> WHOLE.read("c.yaml: epochs", "many")
        Traceback (most recent call last):
        ...
        ValueError: c.yaml: epochs wants a whole number, got many
        """
        try:
            return self.convert(value)
        except (ValueError, OverflowError):
            raise ValueError(f"{option} wants {self.wanted}, got {shown(value)}") from None


def shown(value: Any) -> str:
    """A value in a message: the beginning of it."""
    return f"{value:.60}" if isinstance(value, str) else f"{short_repr(value):.60}"


def _whole(value: Any) -> int:
    if not isinstance(value, (int, str)) or isinstance(value, bool):
        raise ValueError
    return int(value)


def _number(value: Any) -> float:
    if not isinstance(value, (int, float, str)) or isinstance(value, bool):
        raise ValueError
    if not math.isfinite(number := float(value)):
        raise ValueError
    return number


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if not isinstance(value, str) or value.lower() not in (*TRUE, *FALSE):
        raise ValueError
    return value.lower() in TRUE


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


def _null(value: Any) -> None:
    if value not in (None, "null"):
        raise ValueError


def home(path: str | Path) -> Path:
    """With ~ as the home folder: no shell does so after "="; where there is none, as it is."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def _path(value: Any) -> Path:
    return home(_text(value))


def _name_or_path(value: Any) -> str:
    text = _text(value)
    return str(home(text)) if text.startswith("~") else text


def _seeds(value: Any) -> tuple[int, ...]:
    return seeds.parse(_text(value))


def _plain(value: Any) -> Any:
    """A word by what it looks like; a file's value as it is."""
    if not isinstance(value, str):
        return value
    kinds: tuple[Callable[[Any], Any], ...] = (_null, _whole, _number)
    for convert in kinds:
        try:
            return convert(value)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(value.lower(), value)


WHOLE = Kind("a whole number", _whole, "N")
NUMBER = Kind("a number", _number, "X")
BOOLEAN = Kind("true or false", _boolean, "{true,false}", is_switch=True)
TEXT = Kind("a text", _text)
PATH = Kind("a path", _path)
NAME = Kind("a text", _name_or_path)  # of something, or a path
SEEDS = Kind(seeds.WANTED, _seeds, "N")
NULL = Kind("null", _null)
PLAIN = Kind("a value", _plain)

_SIMPLE = {int: WHOLE, float: NUMBER, bool: BOOLEAN, str: TEXT, Path: PATH, type(None): NULL}


def one_of(*values: Any) -> Kind:
    """One of a few, by what they are written as."""
    known = {str(value): value for value in values}

    def convert(value: Any) -> Any:
        if str(value) not in known:
            raise ValueError
        return known[str(value)]

    return Kind(f"one of {', '.join(known)}", convert, f"{{{','.join(known)}}}")


def several(item: Kind) -> Kind:
    """Values with commas between, in brackets or not; in a file a list."""

    def convert(value: Any) -> tuple[Any, ...]:
        if isinstance(value, str):
            words = value.strip().removeprefix("[").removesuffix("]").strip()
            if not words and "[" not in value:
                raise ValueError
            value = [word.strip() for word in words.split(",")] if words else []
        if not isinstance(value, (list, tuple)):
            raise ValueError
        return tuple(item.convert(entry) for entry in value)

    examples = {NUMBER: "numbers such as 0.5,0.75", WHOLE: "whole numbers such as 2,3"}
    wanted = examples.get(item, f"{item.wanted}, or several with commas between")
    return Kind(wanted, convert, f"{item.metavar},…" if item.metavar else None)


def either(kinds: list[Kind]) -> Kind:
    """Any of several kinds: the strictest that fits, null where nothing else is meant by it."""
    order = (NULL, SEEDS, WHOLE, NUMBER, BOOLEAN)
    last = (TEXT, NAME, PATH, PLAIN)
    kinds = list(dict.fromkeys(kinds))
    by_strictness = sorted(
        kinds, key=lambda k: order.index(k) if k in order else len(order) + (k in last)
    )

    def convert(value: Any) -> Any:
        for kind in by_strictness:
            try:
                return kind.convert(value)
            except (ValueError, OverflowError):
                continue
        raise ValueError

    named = [kind for kind in kinds if kind is not NULL]
    if len(named) == len(kinds) == 1:
        return named[0]
    wanted = " or ".join(kind.wanted for kind in [*named, *[NULL] * (NULL in kinds)])
    metavar = named[0].metavar if len(named) == 1 else None
    return Kind(wanted, convert, metavar, any(kind.is_switch for kind in named))


def of(hint: Any) -> Kind:
    """The kind of a type hint; what is unknown is taken by what it looks like.

    >>> of(float | None).wanted, of(Literal["sgd", "adamw"]).wanted
    ('a number or null', 'one of sgd, adamw')
    >>> of(tuple[float, ...]).read("--milestones", "0.5, 0.75")
    (0.5, 0.75)
    """
    if hint in _SIMPLE:
        return _SIMPLE[hint]
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return one_of(*inner)
    if origin in (Union, types.UnionType):
        return either([of(part) for part in inner])
    if origin is tuple and inner[1:] == (...,):
        return several(of(inner[0]))
    return PLAIN
