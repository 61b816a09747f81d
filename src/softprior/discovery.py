"""Members of a family are found by their files: no registry, no list to keep."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
from functools import cache
from types import ModuleType
from typing import Any, TypeVar

T = TypeVar("T")


def names(package: str) -> list[str]:
    """The public modules of a package, which is not imported: those that begin with ``_`` are not.

    >>> "beta" in names("softprior.priors")
    True
    """
    spec = importlib.util.find_spec(package)
    folders = None if spec is None else spec.submodule_search_locations
    found = (module.name for module in pkgutil.iter_modules(folders or []))
    return sorted(name for name in found if not name.startswith("_"))


def modules(package: ModuleType) -> dict[str, ModuleType]:
    """The public modules of a package by name: files that begin with ``_`` are not members."""
    return dict(_modules(package))


@cache  # every recipe asks for its network; the folder is read once
def _modules(package: ModuleType) -> dict[str, ModuleType]:
    return {
        name: importlib.import_module(f"{package.__name__}.{name}")
        for name in names(package.__name__)
    }


def subclasses(package: ModuleType, base: type[T]) -> dict[str, type[T]]:
    """The concrete subclass of ``base`` in each file of ``package``, by the file's name.

    A file may define other classes too, if their names begin with ``_``; two public members in
    one file are an error, as one would hide the other.
    """
    return dict(_subclasses(package, base))  # type: ignore[arg-type]  # a class can be a key


@cache  # every recipe and every criterion asks; the folder is read once
def _subclasses(package: ModuleType, base: type[Any]) -> dict[str, type[Any]]:
    members: dict[str, type[Any]] = {}
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
