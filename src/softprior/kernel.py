"""How the loss is computed: one (B, K) buffer, or plain autograd where something traces it."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from softprior import checks
from softprior.counts import Counts, TwoLevel, check_counts, label_probabilities

Reduction = Literal["none", "mean", "sum"]
_BLOCK = 1 << 17  # entries: a few of these fit into the cache


def loss(
    logits: Tensor, labels: Tensor, counts: Counts, label_weight: float, reduction: Reduction
) -> Tensor:
    """total · logsumexp(f) - on · ⟨y, f⟩ - off · Σ_c f_c - ⟨dense, f⟩, reduced.

    Whatever there is one of per sample is a column (B, 1) from here on.
    """
    dtype = _accumulate(logits)
    kept = checks.kept(labels)
    if not labels.is_floating_point():
        labels = (labels if kept is None else labels.clamp(min=0)).unsqueeze(1)
    on: Tensor | float = label_weight
    off: Tensor | float = 0.0
    dense: Tensor | None = None
    if isinstance(counts, TwoLevel):
        on, off = (_column(level, dtype) for level in counts)
        on = label_weight + (on - off)
        total: Tensor | float = on + logits.shape[1] * off
    else:
        dense = counts
        total = label_weight + dense.sum(1, keepdim=True, dtype=dtype)
    divisor: Tensor | int | None = None if reduction == "none" else 1
    if reduction == "mean":
        divisor = len(logits) if kept is None else kept.sum().clamp(min=1)
    learnt = any(isinstance(t, Tensor) and t.requires_grad for t in (labels, on, off, dense))
    if learnt or torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        out = _traceable(logits, labels, kept, on, off, dense)
        out = out if divisor is None else out.sum() / divisor
    else:
        out = _Fused.apply(logits, labels, kept, on, off, dense, total, divisor)  # type: ignore[no-untyped-call]
    # A loss that is not finite is the free sign of bad input: only then look for the cause.
    # Under autocast a gradient scaler may be waiting for just that, so it is let through.
    if (
        checks.values_visible(out)
        and not math.isfinite(out.detach().sum().item())
        and not torch.is_autocast_enabled("cpu")
    ):
        checks.finite_logits(logits, kept=kept)
        check_counts(logits, counts)
    return out


def _traceable(
    logits: Tensor,
    labels: Tensor,
    kept: Tensor | None,
    on: Tensor | float,
    off: Tensor | float,
    dense: Tensor | None,
) -> Tensor:
    """The losses by plain autograd: for torch.compile, torch.func and counts with a gradient."""
    if kept is not None:
        logits = logits.masked_fill(~kept.unsqueeze(1), 0.0)
    logp = torch.log_softmax(logits, -1, dtype=_accumulate(logits))
    loss = -on * _at_label(logp, labels)
    if isinstance(off, Tensor) or off != 0:
        loss = loss - off * logp.sum(-1, keepdim=True)
    if dense is not None:
        loss = loss - (dense * logp).sum(-1, keepdim=True)
    loss = loss.squeeze(1)
    return loss if kept is None else torch.where(kept, loss, 0.0)


class _Fused(torch.autograd.Function):
    """One (B, K) buffer: the softmax of the forward pass becomes the gradient, in place."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        labels: Tensor,
        kept: Tensor | None,
        on: Tensor | float,
        off: Tensor | float,
        dense: Tensor | None,
        total: Tensor | float,
        divisor: Tensor | int | None,
    ) -> Tensor:
        dtype = _accumulate(logits)
        top = logits.amax(-1, keepdim=True).to(dtype)
        # What is linear in f is taken of f' = f - max f: no constant in the logits costs precision.
        linear = _linear(logits, top, labels, on, off, dense)
        p = torch.softmax(logits, -1, dtype=dtype)
        # logsumexp f' = -log max p: torch.logsumexp costs two softmaxes.
        loss = -total * p.amax(-1, keepdim=True).log_() - linear
        if kept is not None:
            loss.masked_fill_(~kept.unsqueeze(1), 0.0)
        ctx.save_for_backward(logits, labels, kept, dense)
        ctx.weights = (on, off, total, divisor)
        ctx.p = p if ctx.needs_input_grad[0] else None
        return loss.squeeze(1) if divisor is None else loss.sum() / divisor

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        logits, labels, kept, dense = ctx.saved_tensors
        on, off, total, divisor = ctx.weights
        grad = grad.unsqueeze(1) if divisor is None else grad / divisor
        if (
            torch.is_grad_enabled()  # create_graph=True
            or torch._C._are_functorch_transforms_active()
            or torch._C._functorch.is_legacy_batchedtensor(grad)  # is_grads_batched=True
        ):
            if kept is not None:
                logits = logits.masked_fill(~kept.unsqueeze(1), 0.0)
                grad = grad * kept.unsqueeze(1)
            p = torch.softmax(logits, -1, dtype=_accumulate(logits))
            at = labels if labels.is_floating_point() else labels.squeeze(1)
            q = off + on * label_probabilities(at, p.shape[1], p.dtype)
            q = q if dense is None else q + dense
            return ((grad * (total * p - q)).to(logits.dtype), *[None] * 7)
        p, ctx.p = ctx.p, None
        if p is None:  # a second backward pass through a retained graph
            p = torch.softmax(logits, -1, dtype=_accumulate(logits))
        p.mul_(grad * total)
        if isinstance(off, Tensor) or off != 0:
            p.sub_(grad * off)
        if labels.is_floating_point():
            p.addcmul_(labels.to(p.dtype), -on * grad)
        else:
            p.scatter_(1, labels, p.gather(1, labels) - on * grad)
        if dense is not None:
            p.addcmul_(dense.to(p.dtype), -grad)
        if kept is not None:  # 0 also where an ignored row is NaN
            p.masked_fill_(~kept.unsqueeze(1), 0.0)
        return (p.to(logits.dtype), *[None] * 7)


def _column(level: Tensor | float, dtype: torch.dtype) -> Any:
    return level.unsqueeze(1).to(dtype) if isinstance(level, Tensor) else level


def _linear(
    logits: Tensor,
    top: Tensor,
    labels: Tensor,
    on: Tensor | float,
    off: Tensor | float,
    dense: Tensor | None,
) -> Tensor:
    """on · ⟨y, f'⟩ + off · Σ_c f'_c + ⟨dense, f'⟩ (B, 1) of f' = f - top."""
    spread = isinstance(off, Tensor) or off != 0
    soft = labels.is_floating_point()
    sums = torch.zeros_like(top) if soft else on * (logits.gather(1, labels).to(top.dtype) - top)
    if not (soft or spread or dense is not None):
        return sums
    # On the CPU in blocks that stay in the cache; elsewhere f' is gone before the softmax comes.
    rows = max(1, _BLOCK // logits.shape[1]) if logits.device.type == "cpu" else len(logits)
    for start in range(0, len(logits), rows):
        at = slice(start, start + rows)
        f = logits[at] - top[at]
        if soft:
            sums[at] += _part(on, at) * _dot(labels[at], f)
        if spread:
            sums[at] += _part(off, at) * f.sum(-1, keepdim=True)
        if dense is not None:
            sums[at] += f.mul_(dense[at]).sum(-1, keepdim=True)  # f' itself is done with
    return sums


def _part(level: Tensor | float, at: slice) -> Tensor | float:
    return level[at] if isinstance(level, Tensor) else level


def _accumulate(logits: Tensor) -> torch.dtype:
    return torch.promote_types(logits.dtype, torch.float32)


def _at_label(values: Tensor, labels: Tensor) -> Tensor:
    """⟨y, values⟩ (B, 1): the entry at the class index, or the mean under class probabilities."""
    return _dot(labels, values) if labels.is_floating_point() else values.gather(1, labels)


def _dot(weights: Tensor, values: Tensor) -> Tensor:
    """Σ_c weights_c · values_c (B, 1), never in half precision."""
    dtype = _accumulate(values)
    return (weights.to(dtype) * values.to(dtype)).sum(-1, keepdim=True)
