"""Penalty: what is added to the loss and is no Dirichlet prior."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from softprior import checks
from softprior.batch import Batch, check_batch
from softprior.component import Component, State, without_autocast


@dataclass(frozen=True)
class Penalty(Component):
    """A term of its own in the loss of each sample, a function of the logits.

    To add one, write a subclass with :meth:`losses` into its own file, in ``penalties/`` or in your
    own code. Every penalty found in the folder must obey, and is tested for, these laws:

    * it constructs with defaults, and equals and hashes as its fields do;
    * it is finite at logits of ±1e4, never in half precision, and passes gradcheck;
    * ``weight`` multiplies it: twice the weight is twice the penalty, and 0 is none;
    * a constant added to the logits changes nothing;
    * permuting the batch permutes it;
    * samples with a label < 0 (ignored) have a penalty of 0 and no gradient.

    Attributes:
        weight: its factor in the loss, ≥ 0.
    """

    weight: float

    def __post_init__(self) -> None:
        checks.number("weight", self.weight, 0)

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        """The penalty of each sample, (N,), with the gradient of ``logits``; 0 where ignored."""
        check_batch(batch)
        checks.logits_matrix(logits)
        if logits.shape != batch.logits.shape:
            raise ValueError(
                f"logits must have the shape of the batch's, {tuple(batch.logits.shape)}, got "
                f"{tuple(logits.shape)}"
            )
        checks.finite_logits(logits, valid=batch.valid, masked=batch.class_mask)
        with without_autocast(logits.device):
            if batch.valid is not None:
                logits = logits.masked_fill(~batch.valid.unsqueeze(1), 0.0)  # may be NaN
            if batch.class_mask is not None:
                logits = logits.masked_fill(batch.class_mask, -torch.inf)
            each = self._checked(self.losses(logits.to(batch.dtype), batch), len(batch))
            return each if batch.valid is None else each.masked_fill(~batch.valid, 0.0)

    def _checked(self, each: Tensor, size: int) -> Tensor:
        if not isinstance(each, Tensor) or each.shape != (size,):
            got = tuple(each.shape) if isinstance(each, Tensor) else repr(each)
            raise ValueError(
                f"the losses of {self} must have shape ({size},), one for each sample, got {got}"
            )
        return each

    @abstractmethod
    def losses(self, logits: Tensor, batch: Batch) -> Tensor:
        """The answer, (N,), of logits (N, K) in float32 or wider; weight included.

        Masked classes have a logit of -inf: :meth:`sum` leaves them out.
        """

    def sum(self, values: Tensor, batch: Batch) -> Tensor:
        """Sum (N,) of values (N, K) over the classes that are not masked."""
        mask = batch.class_mask
        return (values if mask is None else values.masked_fill(mask, 0.0)).sum(-1)

    def mean(self, values: Tensor, batch: Batch) -> Tensor:
        """Mean (N,) of values (N, K) over the classes that are not masked."""
        return self.sum(values, batch) / batch.classes_left

    def state(self, num_samples: int | None, num_classes: int | None) -> State | None:
        """A fresh state for a penalty that remembers; :meth:`Batch.state` hands it back."""
        return None
