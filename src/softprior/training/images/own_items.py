"""A torch ``Dataset`` of (image, label) items."""

from __future__ import annotations

import hashlib
import sys
from typing import Any

import torch

from softprior.training.images import own_arrays, picture
from softprior.training.images.encoding import encoded
from softprior.training.images.own_part import OwnPart
from softprior.training.images.source import Part


def read(items: Any, place: str) -> OwnPart:
    """One part. Every item is asked for once here, for its label, and its image is hashed.

    The images are not kept: whoever wants them asks for the items again.
    """
    labels: list[int] = []
    digests: list[bytes] = []

    def where(row: int) -> str:
        return f"{place}, item {row}"

    for row in range(len(items)):
        image, label = _pair(items[row], where(row))
        digests.append(hashlib.sha256(encoded(_pixels(image, where(row)))).digest())
        labels.append(own_arrays.class_number(label, lambda row=row: where(row)))  # type: ignore[misc]
    numbers = own_arrays.class_numbers(
        torch.tensor(labels, dtype=torch.int64), len(labels), f"{place}: labels"
    )
    part = Part(numbers, lambda rows: (_pixels(items[row][0], where(row)) for row in rows), where)
    return OwnPart(part, digests=digests)


def _pair(item: Any, where: str) -> tuple[Any, Any]:
    if isinstance(item, tuple | list) and len(item) == 2:
        return item[0], item[1]
    size = f" of {len(item)}" if isinstance(item, tuple | list) else ""
    raise TypeError(
        f"{where}: items must be (image, label), got a {type(item).__name__}{size}; return a pair "
        "in __getitem__"
    )


def _pixels(image: Any, where: str) -> Any:
    pillow = sys.modules.get("PIL.Image")  # whoever made a PIL image has loaded it
    if pillow is None or not isinstance(image, pillow.Image):
        return own_arrays.view(image, f"{where}: image", many=False)
    import numpy as np

    try:
        return np.asarray(picture.grey_or_rgb(picture.upright(image)))
    except ValueError as error:
        raise ValueError(f"{where}: the image cannot be used ({error})") from error
