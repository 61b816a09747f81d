"""The loss and its gradients as one step of autograd; and the same by plain autograd."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar, cast

import torch
import torch._compile
from torch import Tensor

from softprior import checks, devices
from softprior.component import without_autocast
from softprior.counts import dense_counts, label_probabilities
from softprior.linear.head import sums_dtype
from softprior.linear.kernel import Wanted, pass_over
from softprior.linear.target import Problem, cut
from softprior.posterior import Reduction

F = TypeVar("F", bound=Callable[..., Any])


def eager(function: F) -> F:
    """torch.compile breaks its graph here: compiled, the gradients would not be made in forward."""
    hidden = torch._compile._disable_dynamo(function)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        # Not always the hidden one: its first call loads a second's worth of torch.
        return (hidden if torch.compiler.is_compiling() else function)(*args, **kwargs)

    return cast(F, call)


def head_loss(
    problem: Problem, hidden: Tensor, weight: Tensor, bias: Tensor | None, reduction: Reduction
) -> tuple[Tensor, Tensor]:
    """The loss, flat where not reduced, and the label margins (N,) without a gradient."""
    hidden = hidden.reshape(-1, hidden.shape[-1])
    if torch._C._are_functorch_transforms_active():
        each = whole_losses(problem, hidden, weight, bias)
        return _reduced(each, problem, reduction), torch.empty(0)
    tracked = torch.is_grad_enabled()
    wanted = tuple(
        tracked and given is not None and given.requires_grad for given in (hidden, weight, bias)
    )
    kept = _kept(problem)
    if kept is None:
        loss, margins = _Chunked.apply(hidden, weight, bias, problem, reduction, wanted)  # type: ignore[no-untyped-call]
    else:
        some = hidden[kept], weight, bias, problem.only(kept), reduction, wanted
        loss, found = _Chunked.apply(*some)  # type: ignore[no-untyped-call]
        margins = found.new_zeros(len(hidden)).index_copy(0, kept, found)
        if reduction == "none":
            loss = loss.new_zeros(len(hidden)).index_copy(0, kept, loss)
    # A loss that is not finite is the free sign of bad input: only then look for the cause.
    if (
        devices.values_visible(loss)
        and not math.isfinite(loss.detach().sum().item())
        and not torch.is_autocast_enabled("cpu")
    ):
        _find_cause(problem, hidden, weight, bias)
    return loss, margins


def _kept(problem: Problem) -> Tensor | None:
    """The numbers of the samples that count, where some do not and asking makes nothing wait."""
    if problem.valid is None or not devices.values_visible(problem.valid):
        return None
    kept = problem.valid.nonzero().squeeze(1)
    return kept if len(kept) else None


class _Chunked(torch.autograd.Function):
    """The gradients are made beside the logits; what comes from above is only a factor of them."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        problem: Problem,
        reduction: Reduction,
        wanted: Wanted,
    ) -> tuple[Tensor, Tensor]:
        now = wanted if reduction != "none" else (False, False, False)
        with without_autocast(hidden.device):
            each, margins, two_level, gradients = pass_over(problem, hidden, weight, bias, now)
        ctx.save_for_backward(hidden, weight, bias)
        # What was drawn is not drawn again.
        ctx.problem = replace(problem, two_level=two_level)
        ctx.reduction, ctx.wanted = reduction, wanted
        ctx.gradients = gradients if any(now) else None
        ctx.mark_non_differentiable(margins)
        ctx.set_materialize_grads(False)
        return _reduced(each, problem, reduction), margins

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
        if grad is None:
            return (None,) * 6
        problem, reduction, wanted = ctx.problem, ctx.reduction, ctx.wanted
        hidden, weight, bias = inputs = ctx.saved_tensors
        gradients, ctx.gradients = ctx.gradients, None
        if torch.is_grad_enabled() or torch._C._functorch.is_legacy_batchedtensor(grad):
            # create_graph=True or is_grads_batched=True
            return (*_by_autograd(problem, reduction, wanted, inputs, grad), *[None] * 3)
        upstream = grad.unsqueeze(1) if reduction == "none" else None
        if gradients is None:  # not reduced, or a second backward pass through a retained graph
            with without_autocast(grad.device):
                gradients = pass_over(problem, hidden, weight, bias, wanted, upstream)[3]
        factor: Tensor | float = problem.scale
        if reduction != "none":
            factor = grad * problem.scale
            factor = factor / problem.divisor() if reduction == "mean" else factor
        made = [
            None if g is None else g.mul_(factor).to(of.dtype)
            for g, of in zip(gradients, inputs, strict=True)
        ]
        del gradients  # so that weight.grad can be this very memory
        return (*made, *[None] * 3)


def _by_autograd(
    problem: Problem, reduction: Reduction, wanted: Wanted, inputs: Any, grad: Tensor
) -> list[Tensor | None]:
    """The gradients with a graph of their own, from whole logits."""
    with torch.enable_grad():
        loss = _reduced(whole_losses(problem, *inputs), problem, reduction)
        asked = [given for given, want in zip(inputs, wanted, strict=True) if want]
        made = iter(torch.autograd.grad(loss, asked, grad, create_graph=torch.is_grad_enabled()))
    return [next(made) if want else None for want in wanted]


def whole_losses(problem: Problem, hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The same losses (N,) as they read, by plain autograd: with the (N, K) logits."""
    dtype, classes, labels = sums_dtype(hidden), len(weight), problem.labels
    with without_autocast(hidden.device):
        if problem.valid is not None:
            hidden = hidden.masked_fill(~problem.valid.unsqueeze(1), 0.0)
        f = (hidden.to(problem.product) @ weight.to(problem.product).t()).to(dtype)
        f = problem.scale * (f if bias is None else f + bias.to(dtype))
        f = f if problem.softcap is None else problem.softcap * torch.tanh(f / problem.softcap)
        every = slice(0, len(labels))
        q = dense_counts(problem.counts_of(every), labels, classes, dtype)
        on = problem.column(cut(problem.label_weight, every), every, dtype)
        q = q + on * label_probabilities(labels, classes, dtype)
        q = q if problem.class_weight is None else q * problem.class_weight
        if problem.valid is not None:
            q = q.masked_fill(~problem.valid.unsqueeze(1), 0.0)
        return -(q * torch.log_softmax(f, -1)).sum(1)


def _reduced(each: Tensor, problem: Problem, reduction: Reduction) -> Tensor:
    if reduction == "none":
        return each
    return each.sum() / problem.divisor() if reduction == "mean" else each.sum()


def _find_cause(problem: Problem, hidden: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    """Raises, and says why the loss is not finite."""
    if problem.valid is not None:
        hidden = hidden.masked_fill(~problem.valid.unsqueeze(1), 0.0)
    for name, given in (("hidden", hidden), ("weight", weight), ("bias", bias)):
        if given is not None and not bool(torch.isfinite(given).all()):
            row, *column = (~torch.isfinite(given)).nonzero()[0].tolist()
            at = f"row {row}, column {column[0]}" if column else f"class {row}"
            value = float(given[row, column[0]] if column else given[row])
            raise checks.NotFiniteError(
                f"{name} has entries that are not finite, the first in {at} ({value})"
            )
    for rows in problem.parts(len(weight)):
        counts = problem.counts_of(rows)
        if isinstance(counts, Tensor):  # a teacher's; the others have been looked at
            wrong = ~torch.isfinite(counts).all(1)
            wrong = wrong if problem.valid is None else wrong & problem.valid[rows]
            if bool(wrong.any()):
                raise checks.NotFiniteError(
                    "the teacher's counts are not finite, the first in row "
                    f"{rows.start + int(wrong.nonzero()[0])}: nor is its hidden or weight, or its "
                    "logits overflow"
                )
    raise checks.NotFiniteError(
        f"the loss is not finite, though hidden and weight are: the logits overflow in "
        f"{problem.product}, or counts are too large"
    )
