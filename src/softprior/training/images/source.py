"""What every reader returns: labels at once, encoded images later and only those asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from softprior.training.images.splits import generator, stratified


class Part(NamedTuple):
    """One part of a data set, its images still encoded."""

    labels: Tensor  # int64 (n,)
    read: Callable[[list[int]], Iterator[bytes | Path | Any]]  # ascending rows; Any: an array
    where: Callable[[int], str]  # file and row, for messages

    def only(self, rows: Tensor) -> Part:
        """The part that consists of these rows, which must ascend."""
        chosen: list[int] = rows.tolist()
        return Part(
            self.labels[rows],
            lambda wanted: self.read([chosen[row] for row in wanted]),
            lambda row: self.where(chosen[row]),
        )


class Source(NamedTuple):
    """A data set as it was found."""

    train: Part
    test: Part
    classes: tuple[str, ...]
    place: str  # where it lives
    notes: tuple[str, ...]  # what the user should know


def source(
    train: Part, test: Part | None, classes: tuple[str, ...] | None, place: str, notes: list[str]
) -> Source:
    """A source whose labels are in range; without a test part a fixed fifth becomes the test set.

    Where class names are unknown, the training labels say how many classes there are.
    """
    for name, part in (("training", train), ("test", test)):
        if part is not None and len(part.labels) == 0:
            raise ValueError(f"{place}: the {name} part has no images")
    if classes is None:
        classes = tuple(map(str, range(int(train.labels.max()) + 1)))
    for part in (train, test):
        if part is not None:
            _in_range(part, len(classes))
    if len(classes) < 2:
        raise ValueError(f"{place}: there is {len(classes)} class, wanted at least 2")
    if test is None:
        held, kept = stratified(train.labels, 0.2, generator("test"))
        if lost := set(train.labels[held].tolist()) - set(train.labels[kept].tolist()):
            raise ValueError(
                f"{place}: class {min(lost)} ({classes[min(lost)]}) has one image, and without a "
                "test part a fifth of each class is held out for it: add images, or a test part"
            )
        train, test = train.only(kept), train.only(held)
        notes = [
            *notes,
            "no test part: a stratified 20 %, the same for every seed, is the test set",
        ]
    return Source(train, test, classes, place, tuple(notes))


def _in_range(part: Part, classes: int) -> None:
    wrong = (part.labels < 0) | (part.labels >= classes)
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise ValueError(
            f"{part.where(row)}: label {int(part.labels[row])} is not in 0..{classes - 1} "
            f"({classes} classes); correct it or leave the row out"
        )
