"""One file per teacher; whatever is put here is found, listed and law-tested."""

from __future__ import annotations

import sys

from softprior import discovery
from softprior.teachers.base import Setting, Teacher, TeacherSpec
from softprior.teachers.ema import EMA, EMATeacher
from softprior.teachers.frozen import FrozenTeacher
from softprior.teachers.memory import Memory, MemoryTeacher
from softprior.teachers.stored import StoredTeacher

__all__ = [
    "EMA",
    "EMATeacher",
    "FrozenTeacher",
    "Memory",
    "MemoryTeacher",
    "Setting",
    "StoredTeacher",
    "Teacher",
    "TeacherSpec",
    "found",
]


def found() -> dict[str, type[TeacherSpec]]:
    """Every teacher that a recipe can name by its short name, the file's.

    >>> {"ema", "memory"} <= set(found())
    True
    """
    return discovery.subclasses(sys.modules[__name__], TeacherSpec)  # type: ignore[type-abstract]
