"""How the loss is computed: its terms, its reduction, and which of two ways is taken."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from softprior import checks, devices
from softprior.counts import Counts, Sparse, TwoLevel, check_counts
from softprior.fused import Fused, accumulate, traceable

Reduction = Literal["none", "mean", "sum"]


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
    given = (labels, on, off, dense, more, w, each)
    if (
        any(isinstance(t, Tensor) and t.requires_grad for t in given)
        or torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
    ):
        out = traceable(logits, labels, valid, on, off, dense, at, more, w, masked, each)
        out = out if divisor is None else out.sum() / divisor
    else:
        out = Fused.apply(  # type: ignore[no-untyped-call]
            *(logits, labels, valid, on, off, dense, at, more, w, masked, each, total, divisor)
        )
    # A loss that is not finite is the free sign of bad input: only then look for the cause.
    # Under autocast a gradient scaler may be waiting for just that, so it is let through.
    if (
        devices.values_visible(out)
        and not math.isfinite(out.detach().sum().item())
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
    return level.to(dtype).reshape(-1, 1).expand(rows, 1) if isinstance(level, Tensor) else level
