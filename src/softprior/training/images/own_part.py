"""One part of a data set that is in memory, before it is known whether there is a test part."""

from __future__ import annotations

from typing import NamedTuple

from softprior.training.images.source import Part


class OwnPart(NamedTuple):
    """What was given, by rows, and what came with it."""

    part: Part
    classes: tuple[str, ...] | None = None  # names, where it has them
    digests: list[bytes] | None = None  # SHA-256 of the images, where reading them takes long
