"""The loss of ``hidden @ weightᵀ``, and its gradients, without ever holding the (N, K) logits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from softprior import checks
from softprior.counts import (
    Sparse,
    TwoLevel,
    check_counts,
)
from softprior.labels import class_labels, valid_mask
from softprior.linear.autograd import eager, head_loss
from softprior.linear.head import TeacherHead, check_head, products_dtype, sums_dtype
from softprior.linear.target import Problem, cut
from softprior.posterior import REDUCTIONS, Reduction
from softprior.weights import check_class_weight


@eager
def linear_posterior_loss(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    counts: TwoLevel | Sparse | TeacherHead | None = None,
    *,
    bias: Tensor | None = None,
    label_weight: float = 1.0,
    softcap: float | None = None,
    scale: float = 1.0,
    chunk: int | None = None,
    reduction: Reduction = "mean",
    ignore_index: int = -100,
    class_weight: Tensor | None = None,
) -> Tensor:
    """:func:`softprior.posterior_loss` of ``hidden @ weightᵀ``, for heads of many classes.

        loss_i = - Σ_c w_c · (label_weight · onehot(y_i)_c + counts_{i,c}) · log z_{i,c}
        z_i = softmax(softcap(scale · (weight @ hidden_i + bias)))

    The logits (N, K) are never whole. They are made, and their gradients used up, ``chunk`` rows
    at a time: both in the forward pass, so that backward only hands over what it finds. (With
    ``reduction="none"`` backward makes the logits once more.) Beside the inputs and their gradients
    it takes two float32 chunks.

    Half precision, and what autocast makes of other inputs, is for the matrix products alone; all
    else, also the sum of the weight's gradient over the chunks, is float32. ``torch.compile``
    breaks its graph here. Second derivatives and the transforms of ``torch.func`` come out right,
    by plain autograd with whole logits. Counts, teacher and class weights get no gradient.

    Args:
        hidden: (N, D), or (..., D).
        weight: of the head, (K, D), as that of :class:`torch.nn.Linear`.
        labels: class indices of the leading shape of hidden, (N,) or (...).
        counts: pseudo-counts ≥ 0: two-level (:class:`softprior.TwoLevel`, numbers or tensors of
            the shape of labels), on a few classes (:class:`softprior.Sparse`, with ``indices``
            and ``values`` (..., m)), those of a teacher (:class:`softprior.TeacherHead`), whose
            logits are never whole either, or None: plain cross-entropy.
        bias: (K,).
        label_weight: weight of the real label, ≥ -1.
        softcap: c > 0 makes the logits ``c · tanh(logits / c)``.
        scale: a factor of the logits, > 0.
        chunk: rows at a time; None takes as many as make about four million logits.
        reduction: ``"none"`` gives the losses in the shape of labels, 0 where ignored; ``"sum"``
            adds them; ``"mean"`` divides the sum by the number of samples that are not ignored,
            with class weights by the sum of their labels' weights, as torch does.
        ignore_index: samples with this label neither count nor get a gradient, whatever their
            hidden state. On the CPU they cost nothing; an accelerator is not asked which they are.
        class_weight: w ≥ 0, (K,); None is 1 for each class.

    Returns:
        Scalar, or (...) with ``reduction="none"``; float32 for half precision.

    Raises:
        TypeError, ValueError: on wrong shapes, dtypes, devices or, on the CPU, values.

    >>> hidden, weight = torch.zeros(2, 3), torch.ones(4, 3, requires_grad=True)
    >>> loss = linear_posterior_loss(
    ...     hidden, weight, torch.tensor([0, 3]), TwoLevel(0.025, 0.025), label_weight=0.9
    ... )
    >>> round(loss.item(), 4)  # log 4
    1.3863
    """
    check_head(hidden, weight, bias, scale, softcap)
    checks.number("label_weight", label_weight, -1)
    checks.choice("reduction", reduction, REDUCTIONS)
    checks.class_number("ignore_index", ignore_index)
    if chunk is not None:
        checks.whole("chunk", chunk, 1)
    flat = flat_labels(hidden, weight, labels, ignore_index)
    dtype = sums_dtype(hidden)
    valid = valid_mask(flat)
    problem = Problem(
        flat,
        valid,
        label_weight,
        products_dtype(hidden),
        weights_of_classes(class_weight, weight, dtype),
        scale,
        softcap,
        chunk,
    )
    problem = _with_counts(problem, counts, hidden, weight, labels)
    loss, _ = head_loss(problem, hidden, weight, bias, reduction)
    return loss.reshape(labels.shape) if reduction == "none" else loss


def flat_labels(hidden: Tensor, weight: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
    """Labels as int64 (N,), -1 where ignored, checked against hidden (..., D) and weight (K, D)."""
    checks.tensor(labels, "labels")
    if labels.dtype in checks.FLOATS:
        raise TypeError(
            f"labels must be class indices (integers), got {labels.dtype}: for class probabilities "
            "use softprior.posterior_loss(hidden @ weight.T, ...)"
        )
    if labels.shape != hidden.shape[:-1]:
        raise ValueError(
            f"labels must have the leading shape of hidden, {tuple(hidden.shape[:-1])}, got "
            f"{tuple(labels.shape)}"
        )
    return class_labels(logits_like(hidden, weight), labels.reshape(-1), ignore_index)


def logits_like(hidden: Tensor, weight: Tensor) -> Tensor:
    """Of the shape, dtype and device of the flat logits (N, K), and without memory."""
    rows = hidden.shape[:-1].numel()
    return hidden.new_zeros((), dtype=sums_dtype(hidden)).expand(rows, len(weight))


def weights_of_classes(given: Tensor | None, weight: Tensor, dtype: torch.dtype) -> Tensor | None:
    """The class weights, checked against weight (K, D)."""
    if given is None:
        return None
    check_class_weight(given, len(weight), weight.device)
    return given.detach().to(dtype)


def _with_counts(
    problem: Problem, counts: Any, hidden: Tensor, weight: Tensor, labels: Tensor
) -> Problem:
    """The problem with its counts, checked and flat."""
    if counts is None:
        return replace(problem, two_level=TwoLevel(0.0, 0.0))
    if isinstance(counts, TeacherHead):
        check_teacher(counts, "counts", weight, labels)
        product = products_dtype(counts.hidden)
        return replace(problem, counts=lambda rows: counts.counts(rows, product))
    if isinstance(counts, Tensor):
        raise TypeError(
            "counts of all classes as a tensor are as large as the logits: give those of a teacher "
            "as softprior.TeacherHead or softprior.Sparse, or use softprior.posterior_loss"
        )
    if not isinstance(counts, (TwoLevel, Sparse)):
        raise TypeError(
            "counts must be softprior.TwoLevel, softprior.Sparse, softprior.TeacherHead or None, "
            f"got {checks.shown(counts)}"
        )
    flat = type(counts)(*(_flat(level, labels) for level in counts))
    for name, level in zip(counts._fields, flat, strict=True):
        if isinstance(level, Tensor) and level.requires_grad:
            raise ValueError(
                f"counts.{name} has a gradient, and none is made here: use .detach(), or "
                "softprior.posterior_loss"
            )
    check_counts(logits_like(hidden, weight), flat, valid=problem.valid)
    if isinstance(flat, TwoLevel):
        return replace(problem, two_level=flat)
    return replace(problem, counts=lambda rows: Sparse(*(cut(level, rows) for level in flat)))


def check_teacher(teacher: TeacherHead, name: str, weight: Tensor, labels: Tensor) -> None:
    """Raise unless its logits go with those of weight (K, D)."""
    leading, classes = teacher.hidden.shape[:-1], len(teacher.weight)
    if leading != labels.shape or classes != len(weight):
        raise ValueError(
            f"{name} must have hidden of shape ({', '.join(map(str, labels.shape))}, D') and K = "
            f"{len(weight)} classes, got {tuple(teacher.hidden.shape)} and {classes}"
        )
    if teacher.weight.device != weight.device:
        raise ValueError(f"{name} is on {teacher.weight.device}, weight on {weight.device}")


def _flat(level: Any, labels: Tensor) -> Any:
    """Counts in the shape of labels, or with one more dimension, as those of flat samples."""
    if (
        isinstance(level, Tensor)
        and labels.ndim != 1
        and level.shape[: labels.ndim] == labels.shape
    ):
        return level.reshape(-1, *level.shape[labels.ndim :])
    return level
