"""Labels as torch.nn.CrossEntropyLoss takes them: class indices, or class probabilities."""

from __future__ import annotations

import torch
from torch import Tensor

from softprior import checks, devices


def class_labels(logits: Tensor, labels: Tensor, ignore_index: int | None = None) -> Tensor:
    """Labels, checked against ``logits`` (B, K).

    Returns int64 class indices (B,) in which every ignored sample is -1, or class probabilities
    (B, K), those of half precision in float32 and divided by their sums.
    """
    return labels_and_mask(logits, labels, ignore_index)[0]


def labels_and_mask(
    logits: Tensor, labels: Tensor, ignore_index: int | None = None
) -> tuple[Tensor, Tensor | None]:
    """The labels of :func:`class_labels`, and :func:`valid_mask` of them."""
    rows, classes = logits.shape
    checks.tensor(labels, "labels")
    if labels.device != logits.device:
        raise ValueError(
            f"labels are on {labels.device} and logits on {logits.device}; "
            f"use labels.to({str(logits.device)!r})"
        )
    if labels.dtype in checks.FLOATS:
        return _label_probabilities(logits, labels), None
    if labels.dtype not in checks.INTEGERS:
        raise TypeError(f"labels must be integers or probabilities, got {labels.dtype}")
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
    labels = labels.long()
    if devices.values_visible(labels):
        low, high = (int(v) for v in labels.aminmax())
        may_ignore = ignore_index is not None and low <= ignore_index <= high
        if low >= 0 and high < classes and not may_ignore:
            return labels, None
        wrong = (labels < 0) | (labels >= classes)
        if ignore_index is not None:
            wrong &= labels != ignore_index
        if bool(wrong.any()):
            at = int(wrong.nonzero()[0])
            raise ValueError(
                f"labels must be in 0..{classes - 1} (K = {classes}), got {int(labels[at])} "
                f"at position {at}"
            )
    else:
        message = f"labels must be in 0..{classes - 1} (K = {classes})"
        message += "" if ignore_index is None else f" or ignore_index, {ignore_index}"
        devices.assert_later(lambda y: _known(y, classes, ignore_index), labels, message)
        if torch.compiler.is_compiling():  # gather refuses what torch.func hides: K is no class
            labels = torch.where(_known(labels, classes, ignore_index), labels, classes)
    if ignore_index is not None:
        labels = torch.where(labels == ignore_index, -1, labels)
    return labels, valid_mask(labels)


def observed_labels(logits: Tensor, labels: Tensor) -> Tensor:
    """As :func:`class_labels`, for who does not know the ignore_index: each negative one is it."""
    checks.tensor(labels, "labels")
    if labels.dtype in checks.INTEGERS:
        labels = labels.long().clamp(min=-1)
    return class_labels(logits, labels, ignore_index=-1)


def _known(labels: Tensor, classes: int, ignore_index: int | None) -> Tensor:
    inside = labels == labels.clamp(0, classes - 1)
    return inside if ignore_index is None else inside | (labels == ignore_index)


def sum_tolerance(dtype: torch.dtype, classes: int) -> float:
    """How far from 1 the sum of K probabilities may be that were rounded to ``dtype``.

    A probability p is off by p/2 units in the last place, or by half of the smallest number; after
    a few operations (mixup of two that were rounded) by five times that. For float32 and float64
    that is nothing: 1e-4.
    """
    numbers = torch.finfo(dtype)
    return max(1e-4, 2.5 * numbers.eps + classes / 2 * numbers.smallest_normal * numbers.eps)


def _label_probabilities(logits: Tensor, labels: Tensor) -> Tensor:
    if labels.ndim == 1:
        raise TypeError(
            f"labels given as class indices must be integers, got {labels.dtype}; use labels.long()"
        )
    if labels.shape != logits.shape:
        raise ValueError(
            "labels given as class probabilities must have the shape of logits, "
            f"{tuple(logits.shape)}, got {tuple(labels.shape)}"
        )
    wide = devices.widest(labels.device)
    tolerance = sum_tolerance(labels.dtype, labels.shape[1])
    if devices.values_visible(labels):
        low = float(labels.detach().amin())
        if not low >= 0:
            raise ValueError(f"labels given as class probabilities must be ≥ 0, found {low:g}")
        sums = labels.detach().sum(1, dtype=wide)
        off = (sums - 1).abs()
        if not float(off.amax()) <= tolerance:
            at = int(off.argmax())
            raise ValueError(
                "labels given as class probabilities must sum to 1 over the classes, row "
                f"{at} sums to {float(sums[at]):.6g} (wanted within {tolerance:.2g}, for "
                f"{labels.dtype}); if they were rounded, divide them by their sums: "
                "labels / labels.sum(1, keepdim=True)"
            )
    else:
        devices.assert_later(
            lambda q: (q >= 0).all() & ((q.sum(-1, dtype=wide) - 1).abs() <= tolerance),
            labels,
            "labels given as class probabilities must be ≥ 0 and sum to 1 over the classes "
            f"(within {tolerance:.2g} for {labels.dtype})",
        )
    if labels.dtype in (torch.bfloat16, torch.float16):
        # Rounding is no part of what a sample weighs.
        labels = labels.float()
        labels = labels / labels.sum(1, keepdim=True)
    return labels


def valid_mask(labels: Tensor) -> Tensor | None:
    """Mask (B,) of the samples that are not ignored; None where none is known to be ignored."""
    if labels.is_floating_point() or (devices.values_visible(labels) and int(labels.min()) >= 0):
        return None
    return labels >= 0
