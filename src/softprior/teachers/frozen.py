"""A frozen network: an earlier generation, or anybody's classifier."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from softprior.teachers.base import Teacher, frozen_copy


class FrozenTeacher(Teacher):
    """A network that stays as it is, in eval mode: the previous generation of self-distillation.

    Args:
        network: maps inputs to logits (B, K). A copy is kept, so the same object may go on as
            the student.

    >>> teacher = FrozenTeacher(nn.Linear(3, 2))
    >>> teacher(torch.zeros(5, 3)).shape
    torch.Size([5, 2])
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = frozen_copy(network)

    @torch.no_grad()
    def forward(
        self, inputs: Tensor, index: Tensor | None = None, labels: Tensor | None = None
    ) -> Tensor:
        logits: Tensor = self.network(inputs)
        return logits
