"""Confidence penalty: reward entropy."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from softprior.batch import Batch
from softprior.penalties.base import Penalty


@dataclass(frozen=True)
class ConfidencePenalty(Penalty):
    """Subtracts a multiple of the entropy of the prediction.

        penalty = -weight · H(z),    H(z) = -Σ_c z_c log z_c   in nats,   z = softmax(logits)

    Args:
        weight: λ ≥ 0.

    Source: Pereyra et al. 2017; a baseline of the paper's official code.

    >>> batch = Batch(torch.zeros(1, 2), torch.tensor([0]))
    >>> round(ConfidencePenalty(0.1)(batch.logits, batch).item(), 4)  # -0.1 · ln 2
    -0.0693
    """

    weight: float = 0.1

    @property
    def label(self) -> str:
        return "confidence penalty"

    def losses(self, logits: Tensor, batch: Batch) -> Tensor:
        log_z = torch.log_softmax(logits, -1)
        return self.weight * self.sum(log_z.exp() * log_z, batch)
