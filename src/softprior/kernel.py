"""How the loss is computed: one (B, K) buffer, or plain autograd where something traces it."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from softprior import checks, devices
from softprior.counts import Counts, Sparse, TwoLevel, check_counts, label_probabilities

Reduction = Literal["none", "mean", "sum"]
_BLOCK = 1 << 17  # entries: a few of these fit into the cache


def loss(
    logits: Tensor,
    labels: Tensor,
    counts: Counts,
    label_weight: Tensor | float,
    reduction: Reduction,
    *,
    valid: Tensor | None,
    signed: bool = False,
) -> Tensor:
    """total · logsumexp(f) - on · ⟨y, f⟩ - off · Σ_c f_c - ⟨dense, f⟩ - Σ_j more_j f_{at_j}.

    Reduced as asked for. Whatever there is one of per sample is a column (B, 1) from here on;
    ``label_weight`` is a number, or a tensor () or (B,); ``valid`` the mask (B,) of samples that
    are not ignored, or None where all are known to count.
    """
    dtype = _accumulate(logits)
    if not labels.is_floating_point():
        labels = (labels if valid is None else labels.clamp(min=0)).unsqueeze(1)
    on = _column(label_weight, dtype, len(logits))
    off: Tensor | float = 0.0
    dense: Tensor | None = None
    at: Tensor | None = None
    more: Tensor | None = None
    if isinstance(counts, TwoLevel):
        on_label, off = (_column(level, dtype, len(logits)) for level in counts)
        on = on + (on_label - off)
        total: Tensor | float = on + logits.shape[1] * off
    elif isinstance(counts, Sparse):
        off = _column(counts.elsewhere, dtype, len(logits))
        at, more = counts.indices, counts.values.to(dtype) - off
        total = on + logits.shape[1] * off + more.sum(1, keepdim=True)
    else:
        dense = counts
        total = on + dense.sum(1, keepdim=True, dtype=dtype)
    divisor: Tensor | int | None = None if reduction == "none" else 1
    if reduction == "mean":
        divisor = len(logits) if valid is None else valid.sum().clamp(min=1)
    differentiable = any(
        isinstance(t, Tensor) and t.requires_grad for t in (labels, on, off, dense, more)
    )
    if (
        differentiable
        or torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
    ):
        out = _traceable(logits, labels, valid, on, off, dense, at, more)
        out = out if divisor is None else out.sum() / divisor
    else:
        out = _Fused.apply(logits, labels, valid, on, off, dense, at, more, total, divisor)  # type: ignore[no-untyped-call]
    # A loss that is not finite is the free sign of bad input: only then look for the cause.
    # Under autocast a gradient scaler may be waiting for just that, so it is let through.
    if (
        devices.values_visible(out)
        and not math.isfinite(out.detach().sum().item())
        and not torch.is_autocast_enabled("cpu")
    ):
        checks.finite_logits(logits, valid=valid)
        check_counts(logits, counts, signed=signed)
    return out


def _traceable(
    logits: Tensor,
    labels: Tensor,
    valid: Tensor | None,
    on: Tensor | float,
    off: Tensor | float,
    dense: Tensor | None,
    at: Tensor | None,
    more: Tensor | None,
) -> Tensor:
    """The losses by plain autograd: for torch.compile, torch.func and counts with a gradient."""
    if valid is not None:
        logits = logits.masked_fill(~valid.unsqueeze(1), 0.0)
    logp = torch.log_softmax(logits, -1, dtype=_accumulate(logits))
    loss = -on * _at_label(logp, labels)
    if isinstance(off, Tensor) or off != 0:
        loss = loss - off * logp.sum(-1, keepdim=True)
    if dense is not None:
        loss = loss - (dense * logp).sum(-1, keepdim=True)
    if at is not None and more is not None:
        loss = loss - (more * logp.gather(1, at)).sum(-1, keepdim=True)
    loss = loss.squeeze(1)
    return loss if valid is None else torch.where(valid, loss, 0.0)


class _Fused(torch.autograd.Function):
    """One (B, K) buffer: the softmax of the forward pass becomes the gradient, in place."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        labels: Tensor,
        valid: Tensor | None,
        on: Tensor | float,
        off: Tensor | float,
        dense: Tensor | None,
        at: Tensor | None,
        more: Tensor | None,
        total: Tensor | float,
        divisor: Tensor | int | None,
    ) -> Tensor:
        dtype = _accumulate(logits)
        top = logits.amax(-1, keepdim=True).to(dtype)
        # What is linear in f is taken of f' = f - max f: no constant in the logits costs precision.
        linear = _linear(logits, top, labels, on, off, dense)
        if at is not None and more is not None:
            linear += (more * (logits.gather(1, at).to(dtype) - top)).sum(-1, keepdim=True)
        p = torch.softmax(logits, -1, dtype=dtype)
        # logsumexp f' = -log max p: torch.logsumexp costs two softmaxes.
        loss = -total * p.amax(-1, keepdim=True).log_() - linear
        if valid is not None:
            loss.masked_fill_(~valid.unsqueeze(1), 0.0)
        ctx.save_for_backward(logits, labels, valid, dense, at, more)
        ctx.weights = (on, off, total, divisor)
        ctx.p = p if ctx.needs_input_grad[0] else None
        return loss.squeeze(1) if divisor is None else loss.sum() / divisor

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        logits, labels, valid, dense, at, more = ctx.saved_tensors
        on, off, total, divisor = ctx.weights
        grad = grad.unsqueeze(1) if divisor is None else grad / divisor
        if (
            torch.is_grad_enabled()  # create_graph=True
            or torch._C._are_functorch_transforms_active()
            or torch._C._functorch.is_legacy_batchedtensor(grad)  # is_grads_batched=True
        ):
            if valid is not None:
                logits = logits.masked_fill(~valid.unsqueeze(1), 0.0)
                grad = grad * valid.unsqueeze(1)
            p = torch.softmax(logits, -1, dtype=_accumulate(logits))
            flat = labels if labels.is_floating_point() else labels.squeeze(1)
            q = off + on * label_probabilities(flat, p.shape[1], p.dtype)
            q = q if dense is None else q + dense
            q = q if at is None else q.scatter_add(1, at, more)
            return ((grad * (total * p - q)).to(logits.dtype), *[None] * 9)
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
        if at is not None:
            p.scatter_add_(1, at, -grad * more)
        if valid is not None:  # 0 also where an ignored row is NaN
            p.masked_fill_(~valid.unsqueeze(1), 0.0)
        return (p.to(logits.dtype), *[None] * 9)


def _column(level: Tensor | float, dtype: torch.dtype, rows: int) -> Any:
    """A number as it is; a tensor (), (1,) or (B,) as a column (B, 1)."""
    return level.to(dtype).reshape(-1, 1).expand(rows, 1) if isinstance(level, Tensor) else level


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
