"""A smaller data set: the first classes, and a fixed choice of training images in each."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from softprior import checks
from softprior.training.images.source import Source
from softprior.training.images.splits import generator


class Subset(NamedTuple):
    """None keeps all."""

    classes: int | None = None
    per_class: int | None = None

    @property
    def text(self) -> str:
        """As :func:`parse` reads it, in one spelling."""
        kept = {k: v for k, v in self._asdict().items() if v is not None}
        return ",".join(f"{key}={value}" for key, value in kept.items())


def parse(text: str) -> Subset:
    """From text like ``classes=20,per_class=200``; either key may stand alone.

    >>> parse("classes=20,per_class=200")
    Subset(classes=20, per_class=200)
    """
    values: dict[str, int] = {}
    for item in text.split(","):
        key, equals, value = (piece.strip() for piece in item.partition("="))
        if not equals:
            raise ValueError(
                f"subset must look like 'classes=20,per_class=200' (either may stand alone), "
                f"got {text!r}"
            )
        if key not in Subset._fields:
            raise ValueError(checks.unknown("key of subset", key, Subset._fields))
        if key in values:
            raise ValueError(f"subset {text!r} has {key} twice: keep one of them")
        lowest = 2 if key == "classes" else 1
        if not (value.isascii() and value.isdigit() and int(value) >= lowest):
            raise ValueError(f"subset: {key} must be an integer ≥ {lowest}, got {value!r}")
        values[key] = int(value)
    return Subset(**values)


def take(source: Source, subset: Subset) -> Source:
    """The source with fewer classes and fewer training images; test images are never thinned.

    Which images is independent of the seed, and of the other classes; fewer images of a class
    are the first of more.
    """
    classes = len(source.classes) if subset.classes is None else subset.classes
    if classes > len(source.classes):
        raise ValueError(
            f"subset asks for {classes} classes, and {source.place} has {len(source.classes)}"
        )
    train = _first_classes(source.train.labels, classes)
    if subset.per_class is not None:
        train = _per_class(source, train, classes, subset.per_class)
    test = _first_classes(source.test.labels, classes)
    if len(test) == 0:
        raise ValueError(
            f"subset: there is no test image of the first {classes} classes; take more classes"
        )
    return source._replace(
        train=source.train.only(train),
        test=source.test.only(test),
        classes=source.classes[:classes],
    )


def _first_classes(labels: Tensor, classes: int) -> Tensor:
    return (labels < classes).nonzero().squeeze(1)


def _per_class(source: Source, rows: Tensor, classes: int, size: int) -> Tensor:
    labels = source.train.labels[rows]
    chosen = []
    for c in range(classes):
        members = rows[labels == c]
        if len(members) < size:
            raise ValueError(
                f"subset asks for {size} training images per class, and class {c} "
                f"({source.classes[c]}) has {len(members)}"
            )
        order = torch.randperm(len(members), generator=generator("subset", c))
        chosen.append(members[order[:size]])
    return torch.cat(chosen).sort().values
