"""Uniform prior: label smoothing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from softprior.counts import Counts, TwoLevel
from softprior.priors.base import Prior


@dataclass(frozen=True)
class UniformPrior(Prior):
    """The same few imaginary labels for every class and every sample: label smoothing.

        counts_c = strength / K

    With label weight ``1 - strength`` the loss equals
    ``torch.nn.functional.cross_entropy(..., label_smoothing=strength)``; with label weight 1
    it is ``1 + strength`` times the loss with ``label_smoothing = strength / (1 + strength)``.
    For the other convention (``1 - ε`` on the label, ``ε / (K - 1)`` on every other class) use
    :func:`softprior.matching.uniform_smoothing`. Source: paper (amortized MAP view).

    >>> UniformPrior(0.15)
    UniformPrior(strength=0.15)
    """

    strength: float = 0.15

    def counts(
        self,
        logits: Tensor,
        labels: Tensor,
        teacher_logits: Tensor | None,
        generator: torch.Generator | None,
    ) -> Counts:
        each = self.strength / logits.shape[1]
        return TwoLevel(each, each)
