"""Uniform prior: label smoothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from softprior import checks
from softprior.batch import Batch
from softprior.counts import Counts, TwoLevel
from softprior.priors.base import Prior


@dataclass(frozen=True)
class UniformPrior(Prior):
    """The same few imaginary labels for every class and every sample: label smoothing.

        counts_c = strength / K                            with spread="all"
        counts_c = strength / (K - 1) · (1 - onehot(y)_c)  with spread="others"

    "all" is PyTorch's convention. With label weight ``1 - strength`` the loss equals
    ``torch.nn.functional.cross_entropy(..., label_smoothing=strength)``; with label weight 1
    it is ``1 + strength`` times the loss with ``label_smoothing = strength / (1 + strength)``.

    "others" is that of the paper's code: with strength ε and label weight ``1 - ε`` the target is
    ``1 - ε`` on the label and ``ε / (K - 1)`` on every other class, which is PyTorch's at
    :func:`softprior.matching.uniform_smoothing` of ε. Class probabilities q as labels take the
    place of onehot(y): ``counts_c = strength · (1 - q_c) / (K - 1)``.

    Args:
        strength: pseudo-counts per sample, ≥ 0.
        spread: ``"all"`` classes get their share, or all ``"others"`` than the label.

    Source: paper (amortized MAP view; "others": its official code); class probabilities: ours.

    >>> UniformPrior(0.15)
    UniformPrior(strength=0.15, spread='all')
    >>> import torch
    >>> UniformPrior(0.2, "others")(Batch(torch.zeros(1, 3), torch.tensor([0])))
    TwoLevel(on_label=0.0, elsewhere=0.1)
    """

    strength: float = 0.15
    spread: Literal["all", "others"] = "all"
    by_sample: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.choice("spread", self.spread, ("all", "others"))

    @property
    def label(self) -> str:
        return "label smoothing"

    def method(self, teacher: str | None = None) -> tuple[str, ...]:
        unusual = ["on the other classes"] if self.spread == "others" else []
        return (*super().method(teacher), *unusual)

    @property
    def average_smoothing(self) -> float | None:
        return self.strength if self.spread == "others" else None

    def counts(self, batch: Batch) -> Counts:
        if self.spread == "others":
            return TwoLevel(0.0, self.strength / batch.others_left)
        each = self.strength / batch.classes_left
        return TwoLevel(each, each)
