"""Online label smoothing: imaginary labels as the network itself confuses the classes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from softprior.batch import Batch
from softprior.component import State
from softprior.counts import Counts
from softprior.priors.base import Prior


@dataclass(frozen=True)
class OnlinePrior(Prior):
    """For each class the mean prediction of those samples that were right in the last epoch.

        counts_c = strength · S[y, c],    S[y] = mean of softmax(logits_i) over the samples i of
                                                 class y that the student had right

    S is uniform in the first epoch. Class probabilities q as labels get ``strength · Σ_y q_y S[y]``
    and count as of the likeliest class in S.

    The table S (K, K) is kept by :class:`softprior.PosteriorLoss`, which must be given
    ``num_classes`` and, in a loop of your own, of the end of each epoch:
    ``criterion.end_epoch()``.

    Args:
        strength: pseudo-counts per sample, ≥ 0.

    Source: Zhang et al., Delving deep into label smoothing (2021). A class without a right answer
    in an epoch keeps its row (its code: no counts); class probabilities: ours.

    >>> from softprior import PosteriorLoss
    >>> criterion = PosteriorLoss(OnlinePrior(), num_classes=3)
    >>> criterion.label_weight
    0.5
    """

    strength: float = 0.5

    @property
    def label(self) -> str:
        return "online label smoothing"

    def state(self, num_samples: int | None, num_classes: int | None) -> ClassTable:
        if num_classes is None:
            raise ValueError(
                "OnlinePrior remembers each class: PosteriorLoss(OnlinePrior(), num_classes=K)"
            )
        return ClassTable(num_classes)

    def counts(self, batch: Batch) -> Counts:
        table = batch.state(self)
        assert isinstance(table, ClassTable)
        table.check(batch)
        means = table.means.to(batch.dtype)
        if batch.labels.is_floating_point():
            of_labels = batch.labels.to(batch.dtype) @ means
            return self.strength * batch.over_classes_left(of_labels)
        counts = self.strength * batch.over_classes_left(means[batch.labels.clamp(min=0)])
        return counts if batch.valid is None else counts * batch.valid.unsqueeze(1)


class ClassTable(State):
    """Mean predictions of the last epoch by class, and the sums of this one.

    Args:
        num_classes: K ≥ 2.
    """

    means: Tensor
    sums: Tensor
    right: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.register_buffer("means", torch.full((num_classes, num_classes), 1 / num_classes))
        self.register_buffer("sums", torch.zeros(num_classes, num_classes))
        self.register_buffer("right", torch.zeros(num_classes))

    def check(self, batch: Batch) -> None:
        """Raise unless the batch has as many classes as the table."""
        if batch.num_classes != len(self.means):
            raise ValueError(
                f"num_classes is {len(self.means)}, and the logits have {batch.num_classes}"
            )

    def observe(self, batch: Batch) -> None:
        self.check(batch)
        labels = batch.labels.argmax(1) if batch.labels.is_floating_point() else batch.labels
        correct = (batch.logits.argmax(1) == labels).to(self.sums.dtype)  # never of ignored ones
        p = torch.softmax(batch.logits.to(self.sums.dtype), 1) * correct.unsqueeze(1)
        p = torch.where(correct.unsqueeze(1) > 0, p, 0.0)  # an ignored row may be NaN
        rows = labels.clamp(min=0)
        self.sums.index_add_(0, rows, p)
        self.right.index_add_(0, rows, correct)

    def end_epoch(self) -> None:
        means = self.sums / self.right.clamp(min=1).unsqueeze(1)
        self.means.copy_(torch.where(self.right.unsqueeze(1) > 0, means, self.means))
        self.sums.zero_()
        self.right.zero_()
