"""What a batch must look like, and what is said when it does not.

Layouts, shapes, dtypes and devices are checked always. *Values* (finite logits, counts that are
not negative) are looked at only where looking is free of side effects: on the CPU and outside
``torch.compile`` and ``torch.func``. On an accelerator reading a value would stall the device at
every step. What would be a wrong number there and no NaN (a label out of range, a sample's number)
the device itself asserts, whenever it comes to it: :func:`softprior.devices.assert_later`.
"""

from __future__ import annotations

import difflib
import math
import numbers
import sys
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from softprior import devices

FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
INTEGERS = (
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8),
    *(torch.uint16, torch.uint32, torch.uint64),
)


class NotFiniteError(ValueError):
    """Logits with NaN or infinite entries: of all mistakes the one that training can make."""


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Text for an unknown name: what came, and the known ones with the nearest first."""
    names = sorted(known)
    if not names:
        return f"unknown {what} {name!r}: there is none"
    near = difflib.get_close_matches(name, names, n=len(names), cutoff=0.5)
    ordered = near + [n for n in names if n not in near]
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {what} {name!r}: {hint}known are {', '.join(map(repr, ordered))}"


def choice(what: str, value: object, known: Iterable[str]) -> None:
    """Raise ValueError unless ``value`` is one of ``known``."""
    known = tuple(known)
    if not isinstance(value, str) or value not in known:
        raise ValueError(unknown(what, str(value), known))


def number(
    what: str, value: Any, low: float, high: float = float("inf"), *, open_low: bool = False
) -> None:
    """Raise ValueError unless ``low <= value <= high`` (``low < value`` with ``open_low``)."""
    # NumPy's scalars are Real, too; so is a Fraction, which torch cannot compute with.
    plain = isinstance(value, (int, float)) or hasattr(value, "__array__")
    real = plain and isinstance(value, numbers.Real) and not isinstance(value, bool)
    inside = real and (low < value if open_low else low <= value) and value <= high
    too_large = isinstance(value, int) and abs(value) > sys.float_info.max
    if not inside or too_large or abs(value) == float("inf"):
        left, right = ("(" if open_low else "["), (")" if high == float("inf") else "]")
        raise ValueError(
            f"{what} must be a number in {left}{low:g}, {high:g}{right}, got {shown(value)}"
        )


def whole(what: str, value: Any, low: int, high: int = 2**63 - 1) -> None:
    """Raise ValueError unless ``value`` is an integer and ``low <= value <= high``."""
    real = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not real or not low <= value <= high:
        within = f"≥ {low}" if low > -(2**63) and high == 2**63 - 1 else f"in {low}..{high}"
        raise ValueError(f"{what} must be an integer {within}, got {shown(value)}")


def class_number(what: str, value: Any) -> None:
    """Raise ValueError unless ``value`` can stand among class indices: any integer of 64 bits."""
    whole(what, value, -(2**63))


def flag(what: str, value: object) -> None:
    """Raise TypeError unless ``value`` is True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{what} must be True or False, got {shown(value)}")


def shown(value: object) -> str:
    """A value in a message, in one line and not too long; a large tensor by its shape."""
    if isinstance(value, Tensor):
        return f"a tensor ({value.dtype})"
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # an integer of too many digits
        text = f"{type(value).__name__} that is too long to show"
    return text if len(text) <= 60 else f"{text[:60]}…"


def tensor(value: object, name: str) -> None:
    """Raise TypeError unless ``value`` is a tensor whose entries all lie there, one by one."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(value).__name__}")
    if value.is_nested or value.layout is not torch.strided:
        kind = "nested" if value.is_nested else str(value.layout).removeprefix("torch.")
        use = "torch.nested.to_padded_tensor" if value.is_nested else f"{name}.to_dense()"
        raise TypeError(f"{name} must be a dense tensor, got one that is {kind}; use {use}")


def floating(value: object, name: str) -> None:
    """Raise TypeError unless ``value`` is a tensor of floating point that torch computes with."""
    tensor(value, name)
    assert isinstance(value, Tensor)
    if value.dtype not in FLOATS:
        hint = f"; use {name}.to(torch.float32)" if value.is_floating_point() else ""
        raise TypeError(f"{name} must be floating point, got {value.dtype}{hint}")


def integers(value: object, name: str) -> None:
    """Raise TypeError unless ``value`` is a tensor of integers; bool is a mask, and none."""
    tensor(value, name)
    assert isinstance(value, Tensor)
    if value.dtype not in INTEGERS:
        hint = "; for a mask use mask.nonzero().squeeze(1)" if value.dtype == torch.bool else ""
        raise TypeError(f"{name} must be integers, got {value.dtype}{hint}")


def on_device(values: Tensor, name: str) -> None:
    """Raise ValueError for a tensor of the meta device, where its values are wanted."""
    if values.is_meta:
        raise ValueError(f"{name} must have values, got a tensor on the meta device")


def logits_matrix(logits: Tensor, name: str = "logits") -> None:
    """Raise unless ``logits`` is a non-empty floating tensor of shape (B, K) with K ≥ 2."""
    floating(logits, name)
    rows_of_classes(logits, name)


def rows_of_classes(logits: Tensor, name: str = "logits") -> None:
    """The same of a tensor that is known to be floating."""
    if logits.ndim != 2:
        hint = (
            "; move the classes last and flatten the rest: logits.movedim(1, -1).flatten(0, -2)"
            if logits.ndim > 2
            else ""
        )
        raise ValueError(f"{name} must have shape (B, K), got {tuple(logits.shape)}{hint}")
    if logits.shape[0] == 0:
        raise ValueError(f"{name} has no rows: the batch is empty, got shape {tuple(logits.shape)}")
    if logits.shape[1] < 2:
        raise ValueError(
            f"{name} has K = {logits.shape[1]} class, wanted at least 2; for one binary output f "
            "pass torch.stack([torch.zeros_like(f), f], dim=1)"
        )


def finite_logits(
    logits: Tensor,
    name: str = "logits",
    valid: Tensor | None = None,
    masked: Tensor | None = None,
) -> None:
    """Raise unless every entry is finite (does not look where values are not visible).

    Rows that the mask ``valid`` (B,) leaves out, and entries that are ``masked``, (B, K), may be
    anything.
    """
    # A finite sum has finite terms: one cheap pass, and a closer look only where it is not.
    if not devices.values_visible(logits) or math.isfinite(float(logits.detach().sum())):
        return
    wrong = ~torch.isfinite(logits)
    if masked is not None:
        wrong &= ~masked
    bad = (wrong if valid is None else wrong & valid.unsqueeze(1)).nonzero()
    if len(bad):
        row, column = (int(i) for i in bad[0])
        raise NotFiniteError(
            f"{name} has {len(bad)} entries that are not finite, the first in row {row}, column "
            f"{column} ({logits[row, column].item()}); a masked class (-inf) must be named by "
            "class_mask"
        )


def teacher_matrix(
    logits: Tensor,
    teacher_logits: Tensor,
    valid: Tensor | None = None,
    masked: Tensor | None = None,
) -> None:
    """Raise unless ``teacher_logits`` is a floating tensor of the shape of ``logits``, and finite.

    Rows that the mask ``valid`` (B,) leaves out, and masked classes, need not be finite.
    """
    logits_matrix(teacher_logits, "teacher_logits")
    if teacher_logits.shape != logits.shape:
        raise ValueError(
            f"teacher_logits must have the shape of logits, {tuple(logits.shape)}, "
            f"got {tuple(teacher_logits.shape)}"
        )
    if teacher_logits.device != logits.device:
        raise ValueError(
            f"teacher_logits are on {teacher_logits.device}, logits on {logits.device}"
        )
    finite_logits(teacher_logits, "teacher_logits", valid, masked)


def teacher_confidence(logits: Tensor, confidence: Tensor, valid: Tensor | None = None) -> None:
    """Raise unless ``confidence`` is one floating number per sample (B,); ±inf is allowed."""
    floating(confidence, "teacher_logits")
    if confidence.shape != logits.shape[:1]:
        raise ValueError(
            f"teacher_logits of one number per sample must have shape ({len(logits)},), "
            f"got {tuple(confidence.shape)}"
        )
    if confidence.device != logits.device:
        raise ValueError(f"teacher_logits are on {confidence.device}, logits on {logits.device}")
    if not devices.values_visible(confidence):
        return
    if not math.isnan(float(confidence.detach().sum())):  # one cheap pass; ±inf may make it NaN
        return
    wrong = confidence.isnan()
    if bool((wrong if valid is None else wrong & valid).any()):
        raise ValueError("teacher_logits of one number per sample contain NaN")


def sample_index(index: Tensor | None, size: int, asked: object, rows: int | None = None) -> Tensor:
    """The samples' numbers int64 (B,), checked to be those of a training set of ``size``."""
    name = type(asked).__name__
    if index is None:
        raise ValueError(f"{name} needs the samples' index: teacher(inputs, index)")
    index = sample_numbers(index, rows)
    wanted = f"{name} wants a row for each sample of the whole training set"
    if not devices.values_visible(index):
        message = f"index must be in 0..{size - 1}; {wanted}"
        devices.assert_later(lambda i: (i >= 0) & (i < size), index, message)
    elif index.numel():
        low, high = (int(i) for i in index.aminmax())
        if low < 0 or high >= size:
            raise ValueError(f"index must be in 0..{size - 1}, found {low} to {high}; {wanted}")
    return index


def sample_numbers(index: Tensor, rows: int | None = None) -> Tensor:
    """The samples' numbers as int64 (B,): uint8 would be a mask where it is used as an index."""
    integers(index, "index")
    if index.ndim != 1 or rows not in (None, len(index)):
        size = "B" if rows is None else rows
        raise ValueError(f"index must have shape ({size},), got {tuple(index.shape)}")
    return index.long()
