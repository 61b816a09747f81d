"""Predictions that were written down: one row for each training sample."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from softprior import checks
from softprior.component import at_least_float32
from softprior.teachers.base import Teacher


class StoredTeacher(Teacher):
    """A frozen teacher's predictions, looked up by sample index: no second network in the loop.

    The views of a sample all get the same prediction, that of the image as it was then; a
    :class:`FrozenTeacher` looks at each view anew.

    Args:
        logits: (n, K) logits or log-probabilities, one row per training sample; kept as float32.

    Source: ours.

    >>> import torch
    >>> teacher = StoredTeacher(torch.tensor([[2.0, 1.0], [0.0, 3.0]]))
    >>> teacher(None, torch.tensor([1]))
    tensor([[0., 3.]])
    """

    logits: Tensor

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        checks.logits_matrix(logits, "the stored logits")
        checks.finite_logits(logits)
        # Not part of the state: whoever resumes a run reads the predictions again.
        self.register_buffer("logits", logits.detach().float().clone(), persistent=False)

    def forward(
        self,
        inputs: Tensor | None,
        index: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Tensor:
        return self.logits[checks.sample_index(index, len(self.logits), self)]

    def _apply(self, fn: Any, recurse: bool = True) -> StoredTeacher:
        super()._apply(at_least_float32(fn), recurse)  # type: ignore[no-untyped-call]
        return self
