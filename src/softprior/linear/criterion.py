"""LinearPosteriorLoss: a criterion on hidden states and a head's weight."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from softprior import checks, gathering
from softprior.component import State, follow, without_autocast
from softprior.criterion import PosteriorLoss
from softprior.labels import valid_mask
from softprior.linear.asking import shown_teacher, with_counts_of
from softprior.linear.autograd import eager, head_loss
from softprior.linear.batch import HeadBatch
from softprior.linear.head import TeacherHead, check_head, products_dtype
from softprior.linear.kernel import label_margins
from softprior.linear.loss import (
    flat_labels,
    logits_like,
    weights_of_classes,
)
from softprior.linear.target import Problem


class LinearPosteriorLoss(nn.Module):
    """A :class:`softprior.PosteriorLoss` of ``hidden @ weightᵀ`` that never holds the logits.

    It asks the criterion's prior, and keeps what the prior remembers, as the criterion does; the
    loss and its gradients are those of :func:`softprior.linear_posterior_loss`. A prior that ranks
    samples by the student's own confidence (Beta smoothing) is asked when one pass over the logits
    has found their margins. One whose counts of a sample come from that sample alone
    (:attr:`softprior.Prior.by_sample`, such as ``TeacherPrior``) is asked chunk by chunk.

    What needs all logits of the student cannot be used here, and is refused: a penalty, or a prior
    that reads them.

    Args:
        criterion: with any prior that does without the student's logits.
        softcap, scale, chunk: as in :func:`softprior.linear_posterior_loss`.

    >>> from softprior import label_smoothing
    >>> criterion = LinearPosteriorLoss(label_smoothing(0.1))
    >>> hidden, head = torch.randn(8, 4), torch.nn.Linear(4, 10)
    >>> criterion(hidden, head.weight, torch.arange(8), bias=head.bias).backward()
    """

    def __init__(
        self,
        criterion: PosteriorLoss,
        *,
        softcap: float | None = None,
        scale: float = 1.0,
        chunk: int | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(criterion, PosteriorLoss):
            raise TypeError(
                f"criterion must be a softprior.PosteriorLoss, got {checks.shown(criterion)}"
            )
        for found, what in (
            (criterion.penalty is not None, f"the penalty {criterion.penalty} needs all logits"),
            (criterion.measure_smoothing, "measure_smoothing needs all counts"),
            (bool(criterion.states) and not criterion.auto_observe, "observe() needs all logits"),
        ):
            if found:
                raise ValueError(
                    f"criterion cannot be used with a linear head: {what}. Use it on logits = "
                    "hidden @ weight.T"
                )
        if softcap is not None:
            checks.number("softcap", softcap, 0, open_low=True)
        checks.number("scale", scale, 0, open_low=True)
        if chunk is not None:
            checks.whole("chunk", chunk, 1)
        self.criterion = criterion
        self.softcap = softcap
        self.scale = scale
        self.chunk = chunk

    @eager
    def forward(
        self,
        hidden: Tensor,
        weight: Tensor,
        labels: Tensor,
        teacher: TeacherHead | Tensor | None = None,
        *,
        bias: Tensor | None = None,
        index: Tensor | None = None,
        epoch: int | Tensor | None = None,
        epochs: int | None = None,
    ) -> Tensor:
        """The loss.

        Args:
            hidden, weight, labels, bias: as in :func:`softprior.linear_posterior_loss`.
            teacher: a :class:`softprior.TeacherHead` without strength and temperature, which the
                prior has; for a prior that only ranks also one confidence per sample, in the shape
                of labels.
            index, epoch, epochs: for priors that ask for them; index in the shape of labels.
        """
        if torch._C._are_functorch_transforms_active():
            raise ValueError(
                "LinearPosteriorLoss has no transforms of torch.func: use softprior.PosteriorLoss "
                "on logits = hidden @ weight.T"
            )
        check_head(hidden, weight, bias, self.scale, self.softcap)
        outer = self.criterion
        flat = flat_labels(hidden, weight, labels, outer.ignore_index)
        like = logits_like(hidden, weight)
        class_weight = weights_of_classes(outer.class_weight, weight, like.dtype)
        problem = Problem(
            flat,
            valid_mask(flat),
            0.0,
            products_dtype(hidden),
            class_weight,
            self.scale,
            self.softcap,
            self.chunk,
        )

        def margins() -> Tensor:
            return label_margins(problem, hidden, weight, bias)

        confidence, head = shown_teacher(outer.prior, teacher, problem, weight, labels)
        when = {"epoch": epoch, "epochs": epochs}
        if index is not None:
            checks.integers(index, "index")
            index = index.reshape(-1) if index.shape == labels.shape else index
        batch = self._batch(like, flat, confidence, margins, index=index, **when)
        asked = with_counts_of(outer, problem, batch, like, head, when)
        loss, found = head_loss(asked, hidden, weight, bias, outer.reduction)
        if outer.training and outer.states:
            self._observe(batch, found, like, when)
        return loss.reshape(labels.shape) if outer.reduction == "none" else loss

    def _batch(
        self,
        like: Tensor,
        labels: Tensor,
        confidence: Tensor | None,
        margins: Callable[[], Tensor],
        **known: Any,
    ) -> HeadBatch:
        outer = self.criterion
        for state in outer.states.values():
            follow(state, like.device)
        return HeadBatch(
            like,
            labels,
            confidence,
            margins,
            # What is only looked at draws from a copy: to validate more often changes no training.
            generator=outer.generator if outer.training else outer.generator.clone_state(),
            states=[(getattr(outer, role), state) for role, state in outer.states.items()],
            **known,
        )

    @torch.no_grad()
    def _observe(
        self, batch: HeadBatch, margins: Tensor, like: Tensor, when: dict[str, Any]
    ) -> None:
        if gathering.processes() > 1:
            margins, labels = gathering.all_gather(margins), gathering.all_gather(batch.labels)
            confidence, index = (
                None if given is None else gathering.all_gather(given)
                for given in (batch.teacher_logits, batch.index)
            )
            like = like[:1].expand(len(labels), -1)
            batch = self._batch(like, labels, confidence, lambda: margins, index=index, **when)
        batch.margins = lambda: margins
        with without_autocast(like.device):
            for state in self.criterion.states.values():
                assert isinstance(state, State)
                state.observe(batch)

    def end_epoch(self) -> None:
        """That of the criterion."""
        self.criterion.end_epoch()

    def extra_repr(self) -> str:
        cap = "" if self.softcap is None else f"softcap={self.softcap:g}, "
        return f"{cap}scale={self.scale:g}"
