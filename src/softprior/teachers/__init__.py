"""One file per teacher; whatever is put here is found, listed and law-tested."""

from __future__ import annotations

import sys

from softprior import discovery
from softprior.teachers.base import Teacher
from softprior.teachers.ema import EMATeacher
from softprior.teachers.frozen import FrozenTeacher
from softprior.teachers.memory import MemoryTeacher
from softprior.teachers.stored import StoredTeacher

__all__ = ["EMATeacher", "FrozenTeacher", "MemoryTeacher", "StoredTeacher", "Teacher", "found"]


def found() -> dict[str, type[Teacher]]:
    """Every teacher in this folder by its short name, the file's.

    >>> {"ema", "frozen", "memory"} <= set(found())
    True
    """
    return discovery.subclasses(sys.modules[__name__], Teacher)
