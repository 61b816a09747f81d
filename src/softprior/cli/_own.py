"""What the user names of his own on the command line: only that is ever imported."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from softprior import own
from softprior.cli._kinds import home
from softprior.cli._layers import COMPONENTS
from softprior.training import OwnData
from softprior.training.models import timm


@dataclass(frozen=True)
class Own:
    """Objects of the user's, imported.

    Attributes:
        named: what he has typed, by option.
        objects: by what he has typed, and by what recipes call the same objects.
    """

    named: Mapping[str, str]
    objects: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, words: Sequence[str]) -> Own:
        """What is named in the words of a command; data sets are made later."""
        found = cls(_named(words))
        for option, name in found.named.items():
            if option != "dataset":
                thing = own.load(name)
                found.objects.update({name: thing, own.origin(thing).name: thing})
        return found

    def is_same(self, one: object, other: object) -> bool:
        """Whether two names mean the same object: the user's may have two spellings."""
        if one == other or not (isinstance(one, str) and isinstance(other, str)):
            return one == other
        known = self.objects.get(one)
        return known is not None and known is self.objects.get(other)


def is_own(name: object) -> bool:
    """Whether this is the name of an object of the user's, ``package.module:NAME``."""
    if not isinstance(name, str) or ":" not in name or name.startswith(timm.PREFIX):
        return False
    return not home(name).exists()


def own_data(name: str) -> OwnData:
    """The data set of ``package.module:NAME``: an object, or a function that makes one."""
    found = own.load(name)
    if callable(found) and not isinstance(found, OwnData):
        found = found()
    return found if isinstance(found, OwnData) else OwnData.of(found, name=name.split(":")[1])


def _named(words: Sequence[str]) -> dict[str, str]:
    """Read before all other options, as those of one's own components depend on it."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False, argument_default=SUPPRESS)
    for option in (*COMPONENTS, "model", "dataset"):
        spellings = [f"--{option}", f"--{option}.name"][: 1 + (option in COMPONENTS)]
        parser.add_argument(*spellings, dest=option, nargs="?")
    found, _ = parser.parse_known_args(list(words))
    return {option: name for option, name in vars(found).items() if is_own(name)}
