"""What a batch must look like, and what is said when it does not.

Shapes, dtypes and devices are checked always. *Values* (labels in range, finite
logits, counts that are not negative) are looked at only where looking is free of
side effects: on the CPU and outside ``torch.compile`` and ``torch.func``. On an
accelerator reading a value would stall the device at every step.
"""

from __future__ import annotations

import difflib
import math
import numbers
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


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


def choice(what: str, value: str, known: Iterable[str]) -> None:
    """Raise ValueError unless ``value`` is one of ``known``."""
    known = tuple(known)
    if value not in known:
        raise ValueError(unknown(what, str(value), known))


def number(
    what: str, value: Any, low: float, high: float = float("inf"), *, open_low: bool = False
) -> None:
    """Raise ValueError unless ``low <= value <= high`` (``low < value`` with ``open_low``)."""
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    inside = real and (low < value if open_low else low <= value) and value <= high
    if not inside or abs(value) == float("inf"):
        left, right = ("(" if open_low else "["), (")" if high == float("inf") else "]")
        raise ValueError(
            f"{what} must be a number in {left}{low:g}, {high:g}{right}, got {value!r}"
        )


def tensor(value: object, name: str) -> None:
    """Raise TypeError unless ``value`` is a tensor."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(value).__name__}")


def values_visible(values: Tensor) -> bool:
    """Whether values may be read: eager mode, on the CPU, outside functional transforms."""
    return (
        not torch.compiler.is_compiling()
        and values.device.type == "cpu"
        and not torch._C._are_functorch_transforms_active()
    )


def logits_matrix(logits: Tensor, name: str = "logits") -> None:
    """Raise unless ``logits`` is a non-empty floating tensor of shape (B, K) with K ≥ 2."""
    tensor(logits, name)
    if logits.ndim != 2:
        hint = (
            "; move the classes last and flatten the rest: logits.movedim(1, -1).flatten(0, -2)"
            if logits.ndim > 2
            else ""
        )
        raise ValueError(f"{name} must have shape (B, K), got {tuple(logits.shape)}{hint}")
    if not logits.is_floating_point():
        raise TypeError(f"{name} must be floating point, got {logits.dtype}")
    if logits.shape[0] == 0:
        raise ValueError(f"{name} has no rows: the batch is empty, got shape {tuple(logits.shape)}")
    if logits.shape[1] < 2:
        raise ValueError(
            f"{name} has K = {logits.shape[1]} class, wanted at least 2; for one binary output f "
            "pass torch.stack([torch.zeros_like(f), f], dim=1)"
        )


def finite_logits(logits: Tensor, name: str = "logits", valid: Tensor | None = None) -> None:
    """Raise unless every entry is finite (does not look where values are not visible).

    Rows that the mask ``valid`` (B,) leaves out may be anything.
    """
    # A finite sum has finite terms: one cheap pass, and a closer look only where it is not.
    if not values_visible(logits) or math.isfinite(float(logits.detach().sum())):
        return
    wrong = ~torch.isfinite(logits)
    bad = (wrong if valid is None else wrong & valid.unsqueeze(1)).nonzero()
    if len(bad):
        row, column = (int(i) for i in bad[0])
        raise NotFiniteError(
            f"{name} has {len(bad)} entries that are not finite, the first in row {row}, column "
            f"{column} ({logits[row, column].item()}); a masked class (-inf) must be left out of K"
        )


def class_labels(logits: Tensor, labels: Tensor, ignore_index: int | None = None) -> Tensor:
    """Labels as torch.nn.CrossEntropyLoss takes them, checked against ``logits`` (B, K).

    Returns int64 class indices (B,) in which every ignored sample is -1, or the
    class probabilities (B, K) as they came.
    """
    rows, classes = logits.shape
    tensor(labels, "labels")
    if labels.device != logits.device:
        raise ValueError(
            f"labels are on {labels.device} and logits on {logits.device}; "
            f"use labels.to({str(logits.device)!r})"
        )
    if labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(f"labels must be integers or probabilities, got {labels.dtype}")
    if labels.is_floating_point():
        return _label_probabilities(logits, labels)
    if labels.ndim == 2 and labels.shape[1] in (classes, 1):
        if labels.shape[1] == 1:
            raise ValueError(
                f"labels have shape {tuple(labels.shape)}, wanted (B,): use labels.squeeze(1)"
            )
        raise ValueError(
            f"labels look one-hot (integers of shape {tuple(labels.shape)}); pass class indices, "
            "labels.argmax(1), or class probabilities, labels.float()"
        )
    if labels.shape != (rows,):
        raise ValueError(
            f"labels must have shape ({rows},) to go with logits {tuple(logits.shape)}, "
            f"got {tuple(labels.shape)}"
        )
    if labels.dtype != torch.int64:
        labels = labels.long()
    if values_visible(labels):
        low, high = (int(v) for v in labels.aminmax())
        may_ignore = ignore_index is not None and low <= ignore_index <= high
        if low >= 0 and high < classes and not may_ignore:
            return labels
        wrong = (labels < 0) | (labels >= classes)
        if ignore_index is not None:
            wrong &= labels != ignore_index
        if bool(wrong.any()):
            at = int(wrong.nonzero()[0])
            raise ValueError(
                f"labels must be in 0..{classes - 1} (K = {classes}), got {int(labels[at])} "
                f"at position {at}"
            )
    if ignore_index is None:
        return labels
    return torch.where(labels == ignore_index, -1, labels)


def _label_probabilities(logits: Tensor, labels: Tensor) -> Tensor:
    if labels.ndim == 1:
        raise TypeError(f"class indices must be integers, got {labels.dtype}; use labels.long()")
    if labels.shape != logits.shape:
        raise ValueError(
            f"class probabilities must have the shape of logits, {tuple(logits.shape)}, "
            f"got {tuple(labels.shape)}"
        )
    if values_visible(labels):
        low = float(labels.detach().amin())
        if not low >= 0:
            raise ValueError(f"labels given as class probabilities must be ≥ 0, found {low:g}")
        sums = labels.detach().sum(1, dtype=torch.float64)
        off = (sums - 1).abs()
        tolerance = 1e-4 if labels.dtype in (torch.float32, torch.float64) else 2e-2
        if bool((off > tolerance).any()):
            at = int(off.argmax())
            raise ValueError(
                "labels given as class probabilities must sum to 1 over the classes, "
                f"row {at} sums to {float(sums[at]):.6g}"
            )
    return labels


def valid(labels: Tensor) -> Tensor | None:
    """Mask (B,) of the samples that are not ignored; None where none is known to be ignored."""
    if labels.is_floating_point() or (values_visible(labels) and int(labels.min()) >= 0):
        return None
    return labels >= 0


def teacher_matrix(logits: Tensor, teacher_logits: Tensor, valid: Tensor | None = None) -> None:
    """Raise unless ``teacher_logits`` is a floating tensor of the shape of ``logits``, and finite.

    Rows that the mask ``valid`` (B,) leaves out need not be finite.
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
    finite_logits(teacher_logits, "teacher_logits", valid)


def teacher_confidence(logits: Tensor, confidence: Tensor, valid: Tensor | None = None) -> None:
    """Raise unless ``confidence`` is one floating number per sample (B,); ±inf is allowed."""
    if confidence.shape != logits.shape[:1]:
        raise ValueError(
            f"teacher_logits of one number per sample must have shape ({len(logits)},), "
            f"got {tuple(confidence.shape)}"
        )
    if not confidence.is_floating_point():
        raise TypeError(f"teacher_logits must be floating point, got {confidence.dtype}")
    if confidence.device != logits.device:
        raise ValueError(f"teacher_logits are on {confidence.device}, logits on {logits.device}")
    if not values_visible(confidence):
        return
    wrong = confidence.isnan()
    if bool((wrong if valid is None else wrong & valid).any()):
        raise ValueError("teacher_logits of one number per sample contain NaN")


def sample_index(index: Tensor | None, size: int, asked: object) -> Tensor:
    """The samples' numbers (B,), checked to be those of a training set of ``size``."""
    name = type(asked).__name__
    if index is None:
        raise ValueError(f"{name} needs the samples' index: teacher(inputs, index)")
    if values_visible(index) and index.numel():
        low, high = (int(i) for i in index.aminmax())
        if low < 0 or high >= size:
            raise ValueError(
                f"index must be in 0..{size - 1}, found {low} to {high}; {name} wants a row for "
                "each sample of the whole training set"
            )
    return index
