"""MaxSup: push the largest logit down, whether it is the label's or not."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from softprior.batch import Batch
from softprior.penalties.base import Penalty


@dataclass(frozen=True)
class MaxSup(Penalty):
    """Pulls the largest logit towards the mean of all.

        penalty = weight · (max_c f_c - (1/K) Σ_c f_c)

    Label smoothing is the same with the label's logit in place of the largest: where the network
    is wrong it pulls at the wrong class. In counts it is signed: ``weight / K`` on every class and
    ``weight`` less on the likeliest one.

    Args:
        weight: w ≥ 0.

    Source: Zhou et al., MaxSup (NeurIPS 2025).

    >>> import torch
    >>> batch = Batch(torch.tensor([[3.0, 0.0, 0.0]]), torch.tensor([1]))
    >>> MaxSup(0.1)(batch.logits, batch)  # 0.1 · (3 - 1)
    tensor([0.2000])
    """

    weight: float = 0.1

    @property
    def label(self) -> str:
        return "MaxSup"

    def losses(self, logits: Tensor, batch: Batch) -> Tensor:
        return self.weight * (logits.amax(-1) - self.mean(logits, batch))
