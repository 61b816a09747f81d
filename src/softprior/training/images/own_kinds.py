"""Which kind of data set in memory it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.utils.data import IterableDataset

from softprior import checks
from softprior.training.images import own_arrays, own_hugging_face, own_items
from softprior.training.images.own_part import OwnPart

WANTED = (
    "(images, labels) of NumPy arrays or torch tensors, a torch Dataset of (image, label) items, "
    'a Dataset or DatasetDict of Hugging Face, or {"train": ..., "test": ...} of these'
)


def parts(data: Any, test: Any) -> tuple[Any, Any]:
    """The training part and the test part, or None."""
    both = own_hugging_face.splits(data)
    if both is None and isinstance(data, Mapping) and not own_hugging_face.is_streamed(data):
        for key in data:
            checks.choice("part", key, ("train", "test"))
        if "train" not in data:
            raise ValueError('there is no part "train"; wanted {"train": ..., "test": ...}')
        both = data["train"], data.get("test")
    if both is None:
        return data, test
    if test is not None:
        raise ValueError("the test part was given twice: in data and as test; pass one of them")
    return both


def read(data: Any, place: str) -> OwnPart:
    """One part; ``place`` is what messages call it."""
    if own_hugging_face.is_dataset(data):
        return own_hugging_face.read(data, place)
    if isinstance(data, IterableDataset) or own_hugging_face.is_streamed(data):
        raise TypeError(
            f"{place}: an iterable data set has no rows to come back to; pass one with "
            "__getitem__ (with Hugging Face, load it without streaming=True)"
        )
    if isinstance(data, tuple) and len(data) == 2:
        return own_arrays.read(*data, place)
    kind = type(data)
    others = isinstance(data, str | bytes | tuple | list | Mapping) or hasattr(data, "dtype")
    if not others and hasattr(kind, "__getitem__") and hasattr(kind, "__len__"):
        return own_items.read(data, place)
    raise TypeError(f"{place}: wanted {WANTED}; got {kind.__name__}")
