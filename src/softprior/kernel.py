"""How the loss is computed: its terms, its reduction, and which of two ways is taken."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from softprior import checks, devices
from softprior.counts import Counts, Sparse, TwoLevel, check_counts
from softprior.fused import Fused, Terms, accumulate, traceable

Reduction = Literal["none", "mean", "sum"]
FEW = 1 << 16  # logits: up to here calls cost more than memory


def loss(
    logits: Tensor,
    labels: Tensor,
    counts: Counts,
    label_weight: Tensor | float,
    reduction: Reduction,
    *,
    valid: Tensor | None,
    signed: bool = False,
    class_weight: Tensor | None = None,
    sample_weight: Tensor | None = None,
    class_mask: Tensor | None = None,
) -> Tensor:
    """total · logsumexp(f) - on · ⟨y, f⟩ - off · ⟨w, f⟩ - ⟨dense, f⟩ - Σ_j more_j f_{at_j}.

    Reduced as asked for. Whatever there is one of per sample is a column (B, 1) from here on;
    ``label_weight`` is a number, or a tensor () or (B,); ``valid`` the mask (B,) of samples that
    are not ignored, or None where all are known to count. Class weights w (K,) are multiplied into
    what stands on a class; masked classes, (K,) or (B, K), weigh nothing and are not in the sum.
    """
    dtype = accumulate(logits)
    if logits.numel() <= FEW and class_mask is None and logits.device.type == "cpu":
        small = (labels, counts, label_weight, reduction, valid, class_weight, sample_weight)
        return _finite(_of_few(logits, *small), logits, counts, valid, None, signed)
    if not labels.is_floating_point():
        labels = (labels if valid is None else labels.clamp(min=0)).unsqueeze(1)
    w, masked, free = _classes(logits, class_weight, class_mask, dtype)
    mass: Tensor | float = 1.0  # what the label's probabilities add up to, weighted
    at_label: Tensor | float = 1.0
    if w is not None:
        if labels.is_floating_point():
            labels = labels.to(dtype) * w
            mass = labels.sum(1, keepdim=True)
        else:
            at_label = w[labels]
    on = _column(label_weight, dtype, len(logits))
    off: Tensor | float = 0.0
    dense: Tensor | None = None
    at: Tensor | None = None
    more: Tensor | None = None
    if isinstance(counts, TwoLevel):
        on_label, off = (_column(level, dtype, len(logits)) for level in counts)
        on = (on + (on_label - off)) * at_label
        total: Tensor | float = on * mass + free * off
    elif isinstance(counts, Sparse):
        off = _column(counts.elsewhere, dtype, len(logits))
        at, more = counts.indices, counts.values.to(dtype) - off
        on = on * at_label
        more = more if w is None else more * w[at]
        if masked is not None:
            more = more.masked_fill(masked.gather(1, at), 0.0)
        total = on * mass + free * off + more.sum(1, keepdim=True)
    else:
        dense = counts if w is None else counts * w
        on = on * at_label
        total = on * mass + dense.sum(1, keepdim=True, dtype=dtype)
    each = None if sample_weight is None else _column(sample_weight, dtype, len(logits))
    divisor: Tensor | int | None = None if reduction == "none" else 1
    if reduction == "mean":
        divisor = divisor_of(logits, labels, valid, class_weight, sample_weight)
    terms = Terms(labels, valid, on, off, dense, at, more, w, masked, each)
    if (
        any(isinstance(t, Tensor) and t.requires_grad for t in terms)
        or torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
    ):
        out = traceable(logits, terms)
        out = out if divisor is None else out.sum() / divisor
    else:
        out = Fused.apply(logits, terms, total, divisor)  # type: ignore[no-untyped-call]
    return _finite(out, logits, counts, valid, masked, signed)


def _of_few(
    logits: Tensor,
    labels: Tensor,
    counts: Counts,
    label_weight: Tensor | float,
    reduction: Reduction,
    valid: Tensor | None,
    class_weight: Tensor | None,
    sample_weight: Tensor | None,
) -> Tensor:
    """The same by torch's cross-entropy with a target (B, K) that need not add up to 1.

    Of few logits the number of calls is the cost, not what each call does.
    """
    dtype = accumulate(logits)
    if valid is not None:
        logits = logits.masked_fill(~valid.unsqueeze(1), 0.0)  # may be NaN
    soft = labels.is_floating_point()
    factor: Tensor | float = 1.0 if sample_weight is None else sample_weight
    if _are_none(counts):  # a class that -inf masks has no part in it
        target = labels.to(dtype) if soft else labels
        factor = factor * label_weight
    else:
        known = labels if valid is None or soft else labels.clamp(min=0)
        target = targets(known, counts, label_weight, logits)
        if valid is not None:
            target = target.masked_fill(~valid.unsqueeze(1), 0.0)
    w = None if class_weight is None else class_weight.to(dtype)
    reduced: Reduction = "none" if isinstance(factor, Tensor) else reduction
    if reduced == "mean" and not (valid is None and (w is None or soft)):
        reduced = "sum"
    loss = F.cross_entropy(logits.to(dtype), target, w, ignore_index=-1, reduction=reduced)
    if isinstance(factor, Tensor) or factor != 1:
        loss = loss * factor
    if reduced == reduction:
        return loss
    total = loss.sum()
    if reduction == "sum":
        return total
    return total / divisor_of(logits, labels, valid, class_weight, sample_weight)


def _are_none(counts: Counts) -> bool:
    return isinstance(counts, TwoLevel) and all(type(n) is float and n == 0 for n in counts)


def targets(labels: Tensor, counts: Counts, label_weight: Tensor | float, logits: Tensor) -> Tensor:
    """label_weight · y + counts, (B, K): what weighs -log z_c in the loss."""
    rows, classes = logits.shape
    dtype = accumulate(logits)
    weight: Tensor | float = _column(label_weight, dtype, rows)
    if isinstance(counts, TwoLevel):
        on, off = (_column(level, dtype, rows) for level in counts)
        if labels.is_floating_point():
            mixed: Tensor = off + (weight + (on - off)) * labels.to(dtype)
            return mixed
        if isinstance(off, Tensor):
            every: Tensor = off.expand(rows, classes)
        else:
            every = logits.new_full(logits.shape, off, dtype=dtype)
        at_label: Tensor | float = weight + on
        return every.scatter(1, labels.unsqueeze(1), at_label)
    dense = counts.dense(classes, dtype) if isinstance(counts, Sparse) else counts.to(dtype)
    if labels.is_floating_point():
        return dense + labels.to(dtype) * weight
    on_label = weight if isinstance(weight, Tensor) else dense.new_full((rows, 1), weight)
    return dense.scatter_add(1, labels.unsqueeze(1), on_label)


def _finite(
    out: Tensor,
    logits: Tensor,
    counts: Counts,
    valid: Tensor | None,
    masked: Tensor | None,
    signed: bool,
) -> Tensor:
    """The loss; where it is not finite, the free sign of bad input, the cause is looked for."""
    # Under autocast a gradient scaler may be waiting for just that, so it is let through.
    if (
        devices.values_visible(out)
        and not math.isfinite((out if out.ndim == 0 else out.detach().sum()).item())
        and not torch.is_autocast_enabled("cpu")
    ):
        checks.finite_logits(logits, valid=valid, masked=masked)
        check_counts(logits, counts, signed=signed)
    return out


def divisor_of(
    logits: Tensor,
    labels: Tensor,
    valid: Tensor | None,
    class_weight: Tensor | None = None,
    sample_weight: Tensor | None = None,
) -> Tensor | int:
    """What a mean divides by: Σ s_i w_{y_i} over samples that count, s and w being weights.

    As in torch, class weights do not count here for labels that are class probabilities.
    """
    weighted = class_weight is not None and not labels.is_floating_point()
    if not weighted and sample_weight is None:
        return len(logits) if valid is None else valid.sum().clamp(min=1)
    each = logits.new_ones(len(logits), dtype=accumulate(logits))
    if weighted:
        assert class_weight is not None
        each = class_weight.to(each.dtype)[labels.reshape(-1).clamp(min=0)]
    if sample_weight is not None:
        each = each * sample_weight
    total = (each if valid is None else each.masked_fill(~valid, 0.0)).sum()
    return torch.where(total == 0, 1.0, total)


def _classes(
    logits: Tensor, class_weight: Tensor | None, class_mask: Tensor | None, dtype: torch.dtype
) -> tuple[Tensor | None, Tensor | None, Tensor | float]:
    """Weights (K,) or None, the mask (B, K) or None, and how much all classes weigh together."""
    w = None if class_weight is None else class_weight.to(dtype)
    if class_mask is None:
        return w, None, float(logits.shape[1]) if w is None else w.sum()
    masked = class_mask.expand_as(logits)
    if class_mask.ndim == 1:
        w = (torch.ones_like(logits[0], dtype=dtype) if w is None else w).masked_fill(class_mask, 0)
        return w, masked, w.sum()
    kept = ~class_mask
    if w is None:
        return None, masked, kept.sum(1, keepdim=True).to(dtype)
    return w, masked, (kept.to(dtype) @ w).unsqueeze(1)


def _column(level: Tensor | float, dtype: torch.dtype, rows: int) -> Any:
    """A number as it is; a tensor (), (1,) or (B,) as a column (B, 1)."""
    if not isinstance(level, Tensor):
        return level
    level = level.to(dtype)
    return level.unsqueeze(1) if level.shape == (rows,) else level.reshape(-1, 1).expand(rows, 1)
