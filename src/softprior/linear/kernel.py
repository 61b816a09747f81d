"""How the loss of ``hidden @ weightᵀ`` is computed: some rows of logits at a time.

With f the logits of a row, q its target (label and counts, not normalised) and t = Σ_c q_c:

    loss = t · logsumexp(f) - ⟨q, f⟩          gradient of f: t · softmax(f) - q

The softmax is taken of the classes other than the label. With the margin
``s = f_y - logsumexp_{j≠y} f_j`` it is ``sigmoid(-s)`` times that, and ``sigmoid(s)`` on the label:
so the gradient of a sample that is nearly right keeps its digits, also in half precision.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from softprior.component import without_autocast
from softprior.counts import TwoLevel
from softprior.linear.head import head_logits, sums_dtype
from softprior.linear.target import Problem, Target, target

Wanted = tuple[bool, bool, bool]
Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]


class Sums:
    """The gradients of hidden, weight and bias, added up chunk by chunk, in full precision."""

    def __init__(self, hidden: Tensor, weight: Tensor, wanted: Wanted, dtype: torch.dtype) -> None:
        self.x, self.w = hidden, weight  # in the dtype of products
        self.hidden = hidden.new_zeros(hidden.shape, dtype=dtype) if wanted[0] else None
        self.weight = weight.new_zeros(weight.shape, dtype=dtype) if wanted[1] else None
        self.bias = weight.new_zeros(len(weight), dtype=dtype) if wanted[2] else None

    def add(self, rows: slice, gradient: Tensor, factor: Tensor) -> None:
        """The logits' gradient of some rows is ``factor · gradient``: (n, 1) and (n, K)."""
        if self.bias is not None:
            self.bias.addmv_(gradient.t(), factor.squeeze(1))
        product = gradient.to(self.w.dtype)
        x = (self.x[rows] * factor).to(self.w.dtype)
        if self.weight is not None and self.weight.dtype == product.dtype:
            self.weight.addmm_(product.t(), x)
        elif self.weight is not None:
            self.weight.add_(product.t() @ x)
        if self.hidden is not None:
            torch.mul(product @ self.w, factor, out=self.hidden[rows])

    def add_two_level(
        self, labels: Tensor, on: Tensor, off: Tensor | None, class_weight: Tensor | None
    ) -> None:
        """Of all rows: ``on`` at the label, ``off`` times the class weight everywhere, (N, 1)."""
        y = labels.squeeze(1)
        if self.hidden is not None:
            self.hidden.addcmul_(on, self.w[y].to(on.dtype))
            if off is not None:
                self.hidden.addcmul_(off, _weighted_sum(self.w, class_weight, on.dtype))
        x = self.x.to(on.dtype)
        if self.weight is not None:
            self.weight.index_add_(0, y, on * x)
            if off is not None:
                self.weight.add_(_by_class(off.t() @ x, class_weight))
        if self.bias is not None:
            self.bias.index_add_(0, y, on.squeeze(1))
            if off is not None:
                self.bias.add_(_by_class(off.sum(), class_weight))


def pass_over(
    problem: Problem,
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    wanted: Wanted,
    upstream: Tensor | None = None,
) -> tuple[Tensor, Tensor, TwoLevel | None, Gradients]:
    """Losses (N,), label margins (N,), the two-level counts, and the gradients that are wanted.

    The gradients are those of ``Σ_i upstream_i · loss_i`` with ``upstream`` (N, 1) or 1, but for
    the factor ``scale``.
    """
    dtype, classes = sums_dtype(hidden), len(weight)
    every = slice(0, len(hidden))
    x, w = hidden.to(problem.product), weight.to(problem.product)
    if problem.valid is not None:
        x = x.masked_fill(~problem.valid.unsqueeze(1), 0.0)  # it may be NaN
    sums = Sums(x, w, wanted, dtype)
    # Two-level counts are linear in hidden but for the softmax: they are added when all is known.
    later = problem.counts is None and problem.softcap is None
    known = None
    if problem.two_level is not None and later:
        known = target(problem, every, problem.two_level, classes, dtype)
    size = next(problem.parts(classes)).stop
    logits = weight.new_empty(size, classes, dtype=dtype)
    p = torch.empty_like(logits)
    losses = weight.new_empty(len(hidden), 1, dtype=dtype)
    margins, lse = torch.empty_like(losses), torch.empty_like(losses)
    for rows in problem.parts(classes):
        size = rows.stop - rows.start
        f = head_logits(x[rows], w, bias, problem.scale, problem.softcap, logits[:size])
        step = 1.0 if upstream is None else upstream[rows]
        if later:
            y = problem.labels[rows].clamp(min=0).unsqueeze(1)
            margins[rows], lse[rows] = _softmax_of_others(f, y, p[:size])
            if any(wanted):
                total: Tensor = (
                    problem.column(problem.total, rows, dtype)
                    if known is None
                    else known.on[rows] + known.others[rows]
                )
                sums.add(rows, p[:size], step * total * torch.sigmoid(-margins[rows]))
        else:
            q = target(problem, rows, problem.counts_of(rows), classes, dtype)
            losses[rows] = _linear(q, f, problem.class_weight)
            margins[rows], lse[rows] = _softmax_of_others(f, q.labels, p[:size])
            losses[rows] += q.others * lse[rows] - q.on * F.logsigmoid(margins[rows])
            if any(wanted):
                _gradient(q, f, margins[rows], problem, p[:size])
                sums.add(rows, p[:size], torch.ones_like(q.on) * step)
    two_level = problem.two_level
    if later:
        if known is None:
            assert problem.of_margins is not None
            two_level = problem.of_margins(margins.squeeze(1))
            known = target(problem, every, two_level, classes, dtype)
        losses = _two_level_losses(problem, known, x, w, bias, margins, lse)
        if any(wanted):
            step = 1.0 if upstream is None else upstream
            on = step * _label_gradient(known, margins)
            off = None if known.off is None else -step * known.off
            sums.add_two_level(known.labels, on, off, problem.class_weight)
    return losses.squeeze(1), margins.squeeze(1), two_level, (sums.hidden, sums.weight, sums.bias)


def _two_level_losses(
    problem: Problem,
    q: Target,
    x: Tensor,
    w: Tensor,
    bias: Tensor | None,
    margins: Tensor,
    lse: Tensor,
) -> Tensor:
    """(N, 1), with Σ_c f_c = hidden · Σ_c weight_c in place of the logits."""
    losses = -q.on * F.logsigmoid(margins)
    if q.off is None:
        return losses
    sums = x.to(lse.dtype) @ _weighted_sum(w, problem.class_weight, lse.dtype).unsqueeze(1)
    if bias is not None:
        sums += _weighted_sum(bias.unsqueeze(1), problem.class_weight, lse.dtype)
    each = problem.each_class(len(w))
    return losses + q.off * (each * lse - problem.scale * sums)


@torch.no_grad()
def label_margins(problem: Problem, hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """As :func:`softprior.margin.label_margin` (N,), of a head, by a pass of its own."""
    problem = replace(problem, two_level=TwoLevel(0.0, 0.0), counts=None, of_margins=None)
    hidden = hidden.reshape(-1, hidden.shape[-1])
    with without_autocast(hidden.device):
        return pass_over(problem, hidden, weight, bias, (False, False, False))[1]


def _softmax_of_others(f: Tensor, labels: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
    """The softmax of the classes other than the label, into ``p``; label margins and logsumexp.

    ``f`` is changed on the way, and as it was afterwards.
    """
    at_label = f.gather(1, labels)
    f.scatter_(1, labels, -torch.inf)
    top = f.amax(1, keepdim=True)
    torch.softmax(f, 1, out=p)
    f.scatter_(1, labels, at_label)
    others = top - p.amax(1, keepdim=True).log_()  # torch.logsumexp costs two softmaxes
    margins = at_label - others
    # logaddexp(f_y, others) with f_y the larger one, or the other way round.
    return margins, torch.maximum(at_label, others) - F.logsigmoid(margins.abs())


def _linear(q: Target, f: Tensor, class_weight: Tensor | None) -> Tensor:
    """- Σ_c q_c f_c (n, 1) of all but ``q.on``."""
    out = torch.zeros_like(q.on)
    if q.off is not None:
        spread = f.sum(1) if class_weight is None else f @ class_weight
        out -= q.off * spread.unsqueeze(1)
    if q.at is not None and q.more is not None:
        out -= (q.more * f.gather(1, q.at)).sum(1, keepdim=True)
    if q.dense is not None:
        out -= torch.linalg.vecdot(q.dense, f).unsqueeze(1)
    return out


def _label_gradient(q: Target, margins: Tensor) -> Tensor:
    """t · sigmoid(s) - on, (n, 1), without cancellation."""
    return q.others * torch.sigmoid(margins) - q.on * torch.sigmoid(-margins)


def _gradient(q: Target, f: Tensor, margins: Tensor, problem: Problem, p: Tensor) -> None:
    """Turns the softmax of the others, ``p``, into the gradient of the uncapped logits."""
    w = problem.class_weight
    p.mul_((q.on + q.others) * torch.sigmoid(-margins))
    if q.off is not None and w is None:
        p.sub_(q.off)
    elif q.off is not None and w is not None:
        p.addcmul_(q.off, w, value=-1.0)
    if q.dense is not None:
        p.sub_(q.dense)
    if q.at is not None and q.more is not None:
        p.scatter_add_(1, q.at, -q.more)
    p.scatter_add_(1, q.labels, _label_gradient(q, margins))
    if problem.softcap is not None:
        # The derivative of c · tanh(x / c) is 1 - tanh².
        p.addcmul_(p, f.square(), value=-(problem.softcap**-2))


def _weighted_sum(values: Tensor, class_weight: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Σ_c w_c values_c over the rows of (K, D)."""
    if class_weight is None:
        return values.sum(0, dtype=dtype)
    return class_weight @ values.to(dtype)


def _by_class(values: Tensor, class_weight: Tensor | None) -> Tensor:
    """Values (1, D) or () for each class, times its weight."""
    if class_weight is None:
        return values
    return class_weight.unsqueeze(1) * values if values.ndim else class_weight * values
