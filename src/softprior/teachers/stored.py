"""Votes that were written down: one row for each training sample."""

from __future__ import annotations

from torch import Tensor

from softprior import checks
from softprior.teachers.base import Teacher


class StoredTeacher(Teacher):
    """A frozen teacher's predictions, looked up by sample index: no second network in the loop.

    The views of a sample all get the same votes, those of the image as it was when they were
    made; a :class:`FrozenTeacher` votes on each view anew.

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
        checks.logits_matrix(logits, "the stored votes")
        checks.finite_logits(logits)
        # Not part of the state: whoever resumes a run reads the votes again.
        self.register_buffer("logits", logits.detach().float().clone(), persistent=False)

    def forward(self, inputs: Tensor | None, index: Tensor | None = None) -> Tensor:
        if index is None:
            raise ValueError("StoredTeacher needs the samples' index: teacher(inputs, index)")
        if checks.values_visible(index) and index.numel():
            low, high = (int(i) for i in index.aminmax())
            if low < 0 or high >= len(self.logits):
                raise ValueError(
                    f"index must be in 0..{len(self.logits) - 1}, found {low} to {high}; "
                    "StoredTeacher wants a row for each sample of the whole training set"
                )
        return self.logits[index]
