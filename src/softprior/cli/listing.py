"""List presets, priors, penalties, teachers, data sets, networks and studies.

Each is found by its file: a prior dropped into the package's priors/ appears here by itself.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

from softprior.cli._parser import Parser


def options(words: Sequence[str]) -> Namespace:
    """This command has no options."""
    return Parser("list", __doc__ or "").complete(words)


def run(options: Namespace) -> int:
    """Print every family with a line on each member."""
    from softprior.cli._families import show

    show()
    return 0
