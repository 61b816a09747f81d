"""A smaller data set: some of the classes, and some of the training images in each.

What a subset leaves out of its classes has not been trained on: it joins the test part.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from softprior import checks
from softprior.training.images.fingerprinting import hashed
from softprior.training.images.source import Source, joined
from softprior.training.images.splits import generator

LOWEST = {"classes": 2, "per_class": 1, "seed": 0}


class Subset(NamedTuple):
    """How many classes, and training images of each (validation included); None keeps all.

    The seed draws both. It is not the seed of a run: runs of every seed share the images.
    """

    classes: int | None = None
    per_class: int | None = None
    seed: int = 0

    @property
    def text(self) -> str:
        """As :func:`parse` reads it, in one spelling."""
        kept = {k: v for k, v in self._asdict().items() if v is not None}
        return ",".join(f"{key}={value}" for key, value in kept.items())


def parse(text: str) -> Subset:
    """From text like ``classes=20,per_class=200,seed=1``; classes or per_class may stand alone.

    >>> parse("classes=20,per_class=200")
    Subset(classes=20, per_class=200, seed=0)
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
        if not (value.isascii() and value.isdigit() and int(value) >= LOWEST[key]):
            raise ValueError(f"subset: {key} must be an integer ≥ {LOWEST[key]}, got {value!r}")
        values[key] = int(value)
    if values.keys() == {"seed"}:
        raise ValueError(
            f"subset {text!r} has a seed and nothing to draw: add classes, per_class, or both"
        )
    return Subset(**values)


def take(source: Source, subset: Subset) -> Source:
    """The source with fewer classes and fewer training images, the rest of which are tested on.

    The classes keep their order. Fewer classes are among those of more, and so are fewer images;
    the images of a class do not depend on what other classes there are.
    """
    classes = _classes(source, subset)
    train = _of(classes, source.train.labels)
    if subset.per_class is None:
        chosen = train
    else:
        chosen = _per_class(source, train, classes, subset.per_class, subset.seed)
    left_out = train[~torch.isin(train, chosen)]
    test = _of(classes, source.test.labels)
    if len(test) + len(left_out) == 0:
        raise ValueError(
            f"subset: there is no test image of the {len(classes)} classes drawn; take more "
            "classes, another seed, or fewer images per class: what it leaves out is tested on"
        )
    new = torch.full((len(source.classes),), -1)
    new[classes] = torch.arange(len(classes))
    parts = [source.test.only(test, new), source.train.only(left_out, new)]
    return source._replace(
        train=source.train.only(chosen, new),
        test=joined(*parts),
        official=len(test) or None,
        classes=tuple(source.classes[c] for c in classes.tolist()),
    )


def without_copies(source: Source) -> tuple[Source, int]:
    """The source whose test part has no image that is, byte for byte, one of the training part's.

    Also the number of those that were; their labels do not matter.

    Raises:
        ValueError: no test image is left.
    """
    trained = {image for chunk in hashed(source.train) for image in chunk}
    tested = [image for chunk in hashed(source.test) for image in chunk]
    keep = torch.tensor([image not in trained for image in tested])
    if bool(keep.all()):
        return source, 0
    if not bool(keep.any()):
        raise ValueError(
            f"{source.place}: every test image of the subset is also a training image; take fewer "
            "images per class: what the subset leaves out is tested on"
        )
    official = None if source.official is None else int(keep[: source.official].sum())
    test = source.test.only(keep.nonzero().squeeze(1))
    return source._replace(test=test, official=official), int((~keep).sum())


def _classes(source: Source, subset: Subset) -> Tensor:
    """Those drawn, ascending."""
    there = len(source.classes)
    wanted = there if subset.classes is None else subset.classes
    if wanted > there:
        raise ValueError(f"subset asks for {wanted} classes, and {source.place} has {there}")
    return drawn(there, wanted, subset.seed)


def drawn(there: int, wanted: int, seed: int) -> Tensor:
    """Some of the classes that are there, ascending."""
    if wanted == there:
        return torch.arange(there)
    order = torch.randperm(there, generator=generator("subset classes", seed))
    return order[:wanted].sort().values


def _of(classes: Tensor, labels: Tensor) -> Tensor:
    return torch.isin(labels, classes).nonzero().squeeze(1)


def _per_class(source: Source, rows: Tensor, classes: Tensor, size: int, seed: int) -> Tensor:
    labels = source.train.labels[rows]
    chosen = []
    for c in classes.tolist():
        members = rows[labels == c]
        if len(members) < size:
            raise ValueError(
                f"subset asks for {size} training images per class, and class {c} "
                f"({source.classes[c]}) has {len(members)}"
            )
        order = torch.randperm(len(members), generator=generator("subset", seed, c))
        chosen.append(members[order[:size]])
    return torch.cat(chosen).sort().values
