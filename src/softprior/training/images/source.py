"""What every reader returns: labels at once, encoded images later and only those asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from softprior.training.images.splits import generator, stratified


class Part(NamedTuple):
    """One part of a data set, its images still encoded."""

    labels: Tensor  # int64 (n,)
    read: Callable[[list[int]], Iterator[bytes | Path | Any]]  # ascending rows; Any: an array
    where: Callable[[int], str]  # file and row, for messages

    def only(self, rows: Tensor, new: Tensor | None = None) -> Part:
        """The part that consists of these rows, which must ascend; ``new[c]`` is c's new label."""
        chosen: list[int] = rows.tolist()
        labels = self.labels[rows]
        return Part(
            labels if new is None else new[labels],
            lambda wanted: self.read([chosen[row] for row in wanted]),
            lambda row: self.where(chosen[row]),
        )


def joined(one: Part, more: Part) -> Part:
    """The part that consists of one, and then another."""
    first = len(one.labels)
    if first == 0 or len(more.labels) == 0:
        return one if first else more

    def read(wanted: list[int]) -> Iterator[Any]:
        yield from one.read([row for row in wanted if row < first])
        yield from more.read([row - first for row in wanted if row >= first])

    def where(row: int) -> str:
        return one.where(row) if row < first else more.where(row - first)

    return Part(torch.cat([one.labels, more.labels]), read, where)


class Source(NamedTuple):
    """A data set as it was found."""

    train: Part
    test: Part
    classes: tuple[str, ...]
    place: str  # where it lives
    notes: tuple[str, ...]  # what the user should know
    drawn: bool = False  # whether the test part was drawn from the only one
    # Of the test part, how many come first that are no images left out of training by a subset;
    # None: all of them.
    official: int | None = None


def source(
    train: Part, test: Part | None, classes: tuple[str, ...] | None, place: str, notes: list[str]
) -> Source:
    """A source whose labels are in range; without a test part a fixed fifth becomes the test set.

    Where class names are unknown, the training labels say which classes there are.
    """
    for name, part in (("training", train), ("test", test)):
        if part is not None and len(part.labels) == 0:
            raise ValueError(f"{place}: the {name} part has no images")
    notes = list(notes)
    if classes is None:
        train, test, classes = numbered(train, test, notes)
    for part in (train, test):
        if part is not None:
            _in_range(part, len(classes))
    if len(classes) < 2:
        raise ValueError(f"{place}: there is {len(classes)} class, wanted at least 2")
    drawn = test is None
    if test is None:
        held, kept = stratified(train.labels, 0.2, generator("test"))
        if lost := set(train.labels[held].tolist()) - set(train.labels[kept].tolist()):
            raise ValueError(
                f"{place}: class {min(lost)} ({classes[min(lost)]}) has one image, and without a "
                "test part a fifth of each class is held out for it: add images, or a test part"
            )
        train, test = train.only(kept), train.only(held)
        notes.append("no test part: a stratified 20 %, the same for every seed, is the test set")
    for name, part in (("training", train), ("test", test)):
        counts = part.labels.bincount(minlength=len(classes))
        if without := (counts == 0).nonzero().squeeze(1).tolist():
            shown = f"class {without[0]}, {classes[without[0]]!r}"
            notes.append(f"classes without a {name} image: {len(without):,} (such as {shown})")
    return Source(train, test, classes, place, tuple(notes), drawn)


def numbered(
    train: Part, test: Part | None, notes: list[str]
) -> tuple[Part, Part | None, tuple[str, ...]]:
    """Labels without names: those of the training part are the classes, numbered from 0.

    Labels that start at 1 or leave gaps would else be classes without an image; ``notes`` gets a
    line where they do.
    """
    found = torch.unique(train.labels)
    highest = len(found) - 1
    if int(found[0]) < 0 or int(found[-1]) == highest:
        return train, test, tuple(map(str, range(int(found[-1]) + 1)))
    gaps = int(found[-1] - found[0]) != highest
    first, last = int(found[0]), int(found[-1])
    notes.append(
        f"labels {first} to {last}"
        + (f" leave gaps: the {len(found):,} that occur" if gaps else " do not start at 0: they")
        + f" are numbered from 0 to {highest}"
    )
    parts = []
    for part in (train, test):
        if part is not None:
            if len(wrong := (~torch.isin(part.labels, found)).nonzero()):
                row = int(wrong[0])
                raise ValueError(
                    f"{part.where(row)}: label {int(part.labels[row])} is none of the "
                    f"{len(found):,} labels of the training part ({first} to {last}); correct it "
                    "or leave the row out"
                )
            part = part._replace(labels=torch.searchsorted(found, part.labels))
        parts.append(part)
    return parts[0] or train, parts[1], tuple(map(str, found.tolist()))


def _in_range(part: Part, classes: int) -> None:
    wrong = (part.labels < 0) | (part.labels >= classes)
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise ValueError(
            f"{part.where(row)}: label {int(part.labels[row])} is not in 0..{classes - 1} "
            f"({classes} classes); correct it or leave the row out"
        )
