"""Members of a family are found by their files: no registry, no list to keep."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import TypeVar

T = TypeVar("T")


def modules(package: ModuleType) -> dict[str, ModuleType]:
    """The public modules of a package by name: files that begin with ``_`` are not members."""
    names = sorted(m.name for m in pkgutil.iter_modules(package.__path__))
    return {
        name: importlib.import_module(f"{package.__name__}.{name}")
        for name in names
        if not name.startswith("_")
    }


def subclasses(package: ModuleType, base: type[T]) -> dict[str, type[T]]:
    """The concrete subclass of ``base`` in each file of ``package``, by the file's name.

    A file may define other classes too, if their names begin with ``_``; two public members in
    one file are an error, as one would hide the other.
    """
    members: dict[str, type[T]] = {}
    for name, module in modules(package).items():
        found = [
            member
            for _, member in inspect.getmembers(module, inspect.isclass)
            if member.__module__ == module.__name__
            and member is not base
            and issubclass(member, base)
            and not inspect.isabstract(member)
            and not member.__name__.startswith("_")
        ]
        if len(found) > 1:
            names = ", ".join(member.__name__ for member in found)
            raise TypeError(f"{module.__name__} must define one {base.__name__}, found {names}")
        if found:
            members[name] = found[0]
    return members
