"""The losses of samples: one (B, K) buffer, or plain autograd where something traces it."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from softprior.counts import label_probabilities

_BLOCK = 1 << 17  # entries: a few of these fit into the cache


class Terms(NamedTuple):
    """What the losses of samples are made of beside the logits: see :func:`softprior.kernel.loss`.

    What there is one of per sample is a column (B, 1).
    """

    labels: Tensor
    valid: Tensor | None
    on: Tensor | float
    off: Tensor | float
    dense: Tensor | None
    at: Tensor | None
    more: Tensor | None
    w: Tensor | None
    masked: Tensor | None
    each: Tensor | None


def traceable(logits: Tensor, terms: Terms) -> Tensor:
    """The losses by plain autograd: for torch.compile, torch.func and counts with a gradient."""
    labels, valid, on, off, dense, at, more, w, masked, each = terms
    if valid is not None:
        logits = logits.masked_fill(~valid.unsqueeze(1), 0.0)
    if masked is not None:
        logits = logits.masked_fill(masked, -torch.inf)
    logp = torch.log_softmax(logits, -1, dtype=accumulate(logits))
    if masked is not None:
        logp = logp.masked_fill(masked, 0.0)
    loss = -on * _at_label(logp, labels)
    if isinstance(off, Tensor) or off != 0:
        spread = logp if w is None else logp * w
        loss = loss - off * spread.sum(-1, keepdim=True)
    if dense is not None:
        loss = loss - (dense * logp).sum(-1, keepdim=True)
    if at is not None and more is not None:
        loss = loss - (more * logp.gather(1, at)).sum(-1, keepdim=True)
    loss = (loss if each is None else loss * each).squeeze(1)
    return loss if valid is None else torch.where(valid, loss, 0.0)


class Fused(torch.autograd.Function):
    """One (B, K) buffer: the softmax of the forward pass becomes the gradient, in place."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        terms: Terms,
        total: Tensor | float,
        divisor: Tensor | int | None,
    ) -> Tensor:
        labels, valid, on, off, dense, at, more, w, masked, each = terms
        dtype = accumulate(logits)
        ctx.save_for_backward(logits, labels, valid, dense, at, more, w, masked, each)
        if masked is not None:
            logits = logits.masked_fill(masked, -torch.inf)
        top = logits.amax(-1, keepdim=True).to(dtype)
        # What is linear in f is taken of f' = f - max f: no constant in the logits costs precision.
        linear = _linear(logits, top, terms)
        if at is not None and more is not None:
            of_some = logits.gather(1, at).to(dtype) - top
            if masked is not None:
                of_some.masked_fill_(masked.gather(1, at), 0.0)
            linear += (more * of_some).sum(-1, keepdim=True)
        p = torch.softmax(logits, -1, dtype=dtype)
        # logsumexp f' = -log max p: torch.logsumexp costs two softmaxes.
        loss = -total * p.amax(-1, keepdim=True).log_() - linear
        if each is not None:
            loss *= each
        if valid is not None:
            loss.masked_fill_(~valid.unsqueeze(1), 0.0)
        ctx.weights = (on, off, total, divisor)
        ctx.p = p if ctx.needs_input_grad[0] else None
        return loss.squeeze(1) if divisor is None else loss.sum() / divisor

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        logits, labels, valid, dense, at, more, w, masked, each = ctx.saved_tensors
        on, off, total, divisor = ctx.weights
        grad = grad.unsqueeze(1) if divisor is None else grad / divisor
        grad = grad if each is None else grad * each
        if masked is not None:
            logits = logits.masked_fill(masked, -torch.inf)
        if (
            torch.is_grad_enabled()  # create_graph=True
            or torch._C._are_functorch_transforms_active()
            or torch._C._functorch.is_legacy_batchedtensor(grad)  # is_grads_batched=True
        ):
            if valid is not None:
                logits = logits.masked_fill(~valid.unsqueeze(1), 0.0)
                grad = grad * valid.unsqueeze(1)
            p = torch.softmax(logits, -1, dtype=accumulate(logits))
            flat = labels if labels.is_floating_point() else labels.squeeze(1)
            q = on * label_probabilities(flat, p.shape[1], p.dtype)
            q = q + (off if w is None else off * w)
            q = q if dense is None else q + dense
            q = q if at is None else q.scatter_add(1, at, more)
            slope = total * p - q
            slope = slope if masked is None else slope.masked_fill(masked, 0.0)
            return (grad * slope).to(logits.dtype), None, None, None
        p, ctx.p = ctx.p, None
        if p is None:  # a second backward pass through a retained graph
            p = torch.softmax(logits, -1, dtype=accumulate(logits))
        p.mul_(grad * total)
        if isinstance(off, Tensor) or off != 0:
            if w is None:
                p.sub_(grad * off)
            else:
                p.addcmul_(grad * off, w, value=-1)
        if labels.is_floating_point():
            p.addcmul_(labels.to(p.dtype), -on * grad)
        else:
            p.scatter_(1, labels, p.gather(1, labels) - on * grad)
        if dense is not None:
            p.addcmul_(dense.to(p.dtype), -grad)
        if at is not None:
            p.scatter_add_(1, at, -grad * more)
        if masked is not None:
            p.masked_fill_(masked, 0.0)
        if valid is not None:  # 0 also where an ignored row is NaN
            p.masked_fill_(~valid.unsqueeze(1), 0.0)
        return p.to(logits.dtype), None, None, None


def _linear(logits: Tensor, top: Tensor, terms: Terms) -> Tensor:
    """on · ⟨y, f'⟩ + off · ⟨w, f'⟩ + ⟨dense, f'⟩ (B, 1) of f' = f - top, 0 where masked."""
    labels, on, off, dense = terms.labels, terms.on, terms.off, terms.dense
    w, masked = terms.w, terms.masked
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
        if masked is not None:
            f.masked_fill_(masked[at], 0.0)
        if soft:
            sums[at] += _part(on, at) * _dot(labels[at], f)
        if spread:
            every = f.sum(-1, keepdim=True) if w is None else (f @ w).unsqueeze(1)
            sums[at] += _part(off, at) * every
        if dense is not None:
            sums[at] += f.mul_(dense[at]).sum(-1, keepdim=True)  # f' itself is done with
    return sums


def _part(level: Tensor | float, at: slice) -> Tensor | float:
    return level[at] if isinstance(level, Tensor) else level


def accumulate(logits: Tensor) -> torch.dtype:
    return torch.promote_types(logits.dtype, torch.float32)


def _at_label(values: Tensor, labels: Tensor) -> Tensor:
    """⟨y, values⟩ (B, 1): the entry at the class index, or the mean under class probabilities."""
    return _dot(labels, values) if labels.is_floating_point() else values.gather(1, labels)


def _dot(weights: Tensor, values: Tensor) -> Tensor:
    """Σ_c weights_c · values_c (B, 1), never in half precision."""
    dtype = accumulate(values)
    return (weights.to(dtype) * values.to(dtype)).sum(-1, keepdim=True)
