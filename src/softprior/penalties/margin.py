"""Margin-based label smoothing: logits may differ by so much and no more."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from softprior import checks
from softprior.batch import Batch
from softprior.penalties.base import Penalty


@dataclass(frozen=True)
class MarginPenalty(Penalty):
    """Penalises every logit that is more than a margin below the largest one.

        penalty = weight · (1/K) Σ_c max(0, max_j f_j - f_c - margin)

    With a margin of 0 it is MaxSup; label smoothing has a margin of 0 as well, seen from the label.

    Args:
        weight: λ ≥ 0.
        margin: m ≥ 0.

    Source: Liu et al., The devil is in the margin (CVPR 2022), with the mean over the classes that
    its code takes.

    >>> import torch
    >>> batch = Batch(torch.tensor([[13.0, 0.0, 4.0]]), torch.tensor([0]))
    >>> MarginPenalty(0.1, margin=10.0)(batch.logits, batch)  # 0.1 · 3 / 3
    tensor([0.1000])
    """

    weight: float = 0.1
    margin: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.number("margin", self.margin, 0)

    @property
    def label(self) -> str:
        return "margin-based label smoothing"

    def losses(self, logits: Tensor, batch: Batch) -> Tensor:
        below = logits.amax(-1, keepdim=True) - logits
        return self.weight * self.mean((below - self.margin).relu(), batch)
