"""Images and labels in memory, as NumPy arrays or torch tensors, checked and viewed as arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from softprior.training.images.own_part import OwnPart
from softprior.training.images.source import Part


def read(images: Any, labels: Any, place: str) -> OwnPart:
    """One part; the images are neither copied nor encoded before somebody asks for them."""
    pixels = view(images, f"{place}: images", many=True)
    return OwnPart(
        Part(
            class_numbers(labels, len(pixels), f"{place}: labels"),
            lambda rows: (pixels[row] for row in rows),
            lambda row: f"{place}, row {row}",
        )
    )


def view(images: Any, what: str, *, many: bool) -> Any:
    """uint8 arrays (H, W) or (H, W, 3), with n in front for ``many``, on the memory that came.

    The type says which axis holds the channels: a guess from the sizes would be wrong one day.
    """
    import numpy as np

    if not isinstance(images, np.ndarray | Tensor):
        raise TypeError(
            f"{what} must be a NumPy array or a torch tensor of uint8, got "
            f"{type(images).__name__}; np.stack makes one of many"
        )
    tensor = isinstance(images, Tensor)
    if images.dtype != (torch.uint8 if tensor else np.uint8):
        raise TypeError(f"{what} must be uint8, got {images.dtype}: {_to_bytes(images, many)}")
    array = images.detach().cpu().numpy() if isinstance(images, Tensor) else images
    lead = int(many)
    axes = array.ndim - lead
    if axes == 3 and tensor:
        array = np.moveaxis(array, lead, -1)
    if axes not in (2, 3) or (axes == 3 and array.shape[-1] not in (1, 3)):
        n = "n, " if many else ""
        raise ValueError(
            f"{what} have shape {tuple(images.shape)}, wanted ({n}H, W) or, with C 1 or 3, "
            f"({n}H, W, C) of a NumPy array and ({n}C, H, W) of a torch tensor"
            + _other_convention(tuple(images.shape[lead:]), tensor, lead)
        )
    if 0 in array.shape[lead : lead + 2]:
        raise ValueError(f"{what} have shape {tuple(images.shape)}: there are no pixels")
    return array[..., 0] if axes == 3 and array.shape[-1] == 1 else array


def _other_convention(shape: tuple[int, ...], tensor: bool, lead: int) -> str:
    """What to write if the axes are in the order of the other library."""
    if len(shape) != 3 or shape[-1 if tensor else 0] not in (1, 3):
        return ""
    axes = [*range(lead), *(axis + lead for axis in ((2, 0, 1) if tensor else (1, 2, 0)))]
    return f"; use .{'permute' if tensor else 'transpose'}({', '.join(map(str, axes))})"


def _to_bytes(images: Any, many: bool) -> str:
    """The line that makes uint8 of it."""
    name = "images" if many else "image"
    cast = ".to(torch.uint8)" if isinstance(images, Tensor) else ".astype('uint8')"
    kind = str(images.dtype)
    if "float" not in kind:
        return f"{name}{cast} if the values are 0..255" + (
            f", ({name} * 255){cast} if they are true and false" if "bool" in kind else ""
        )
    if isinstance(images, Tensor) and not many:
        return "take ToTensor, and what follows it, out of its transforms"
    return f"({name} * 255).round(){cast} if the values are 0..1, {name}.round(){cast} if 0..255"


def class_numbers(labels: Any, images: int, what: str) -> Tensor:
    """Labels as int64 (n,): integers from 0, one per image."""
    import numpy as np

    array = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if array.ndim == 2:
        instead = ".squeeze(1)" if array.shape[1] == 1 else ".argmax(1), if they are one-hot"
        raise ValueError(f"{what} have shape {array.shape}, wanted ({images},): use {instead}")
    if array.dtype.kind not in "iu":
        raise TypeError(
            f"{what} must be integers, got {array.dtype}: names, labels = np.unique(labels, "
            "return_inverse=True) numbers the classes from 0"
        )
    if array.shape != (images,):
        raise ValueError(f"{what} have shape {array.shape}, and there are {images} images")
    numbers = torch.from_numpy(array.astype(np.int64))  # its own memory: nobody can change it
    if bool((numbers < 0).any()):
        row = int((numbers < 0).nonzero()[0])
        raise ValueError(
            f"{what} must be ≥ 0, got {int(numbers[row])} in row {row}; correct it or leave the "
            "row out"
        )
    return numbers


def class_number(label: Any, where: Callable[[], str]) -> int:
    """One label as an integer; tensors and arrays of no axis count as one."""
    item = label.item() if hasattr(label, "item") and getattr(label, "ndim", 1) == 0 else label
    if type(item) is not int:
        shape = tuple(getattr(label, "shape", ()))
        shown = f"{type(label).__name__} of shape {shape}" if shape else repr(label)
        raise TypeError(
            f"{where()}: the label must be an integer, got {shown}"
            + ("; use .argmax(), if it is one-hot" if shape else "; number the classes from 0")
        )
    return item
