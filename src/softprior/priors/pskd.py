"""Progressive self-knowledge distillation: trust the last epoch's prediction more and more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from softprior import checks
from softprior.batch import Batch
from softprior.counts import Counts
from softprior.priors.base import Prior


@dataclass(frozen=True)
class PSKDPrior(Prior):
    """The teacher's weight grows during training, the label's weight falls (PS-KD).

        target = (1 - w_t) · onehot(y) + w_t · softmax(teacher_logits)
        w_t = strength · t / epochs

    in epoch t = 1, 2, …; in the first one w_t is 0, as there is no prediction yet. The teacher is
    the student of the epoch before: ``PreviousEpoch``, or ``--teacher previous_epoch``. The
    criterion must know the epoch: ``criterion(logits, labels, teacher_logits, epoch=t,
    epochs=epochs)``.

    Args:
        strength: w at the end, in [0, 1].

    Source: Kim et al., Self-knowledge distillation with progressive refinement of targets
    (ICCV 2021).

    >>> batch = Batch(
    ...     torch.zeros(1, 2), torch.tensor([0]), torch.zeros(1, 2), epoch=5, epochs=10
    ... )
    >>> PSKDPrior(0.8)(batch)
    tensor([[0.2000, 0.2000]])
    """

    strength: float = 0.8
    fixed_total: ClassVar[bool] = False
    needs_teacher: ClassVar[bool] = True
    uses_teacher: ClassVar[bool] = True
    by_sample: ClassVar[bool] = True
    decides_label_weight: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.number("strength", self.strength, 0, 1)

    @property
    def label(self) -> str:
        return "PS-KD"

    def label_weight_of(self, batch: Batch) -> Tensor:
        return 1 - self._weight(batch)

    def counts(self, batch: Batch) -> Counts:
        assert batch.teacher_logits is not None  # needs_teacher
        checks.teacher_matrix(batch.logits, batch.teacher_logits, batch.valid, batch.class_mask)
        p = torch.softmax(batch.teacher_logits, -1, dtype=batch.dtype)
        if batch.valid is not None:  # an ignored row may be NaN
            p.masked_fill_(~batch.valid.unsqueeze(1), 0.0)
        return p.mul_(self._weight(batch))

    def _weight(self, batch: Batch) -> Tensor:
        """w_t as a tensor (): code that is compiled stays as it is from epoch to epoch."""
        progress, epochs = batch.progress, batch.epochs
        if not isinstance(progress, Tensor):
            progress = batch.logits.new_full((), progress, dtype=batch.dtype)
        progress = progress.to(batch.logits.device, batch.dtype)
        assert epochs is not None  # progress has looked
        return torch.where(progress * epochs < 1.5, 0.0, self.strength * progress)
