"""Beta prior: teacher-free Beta smoothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from softprior import checks
from softprior.counts import Counts, TwoLevel
from softprior.margin import label_margin
from softprior.priors.base import Prior


@dataclass(frozen=True)
class BetaPrior(Prior):
    """Random confidence, handed out in order of confidence: Beta smoothing.

        b_1 ≤ … ≤ b_m drawn from Beta(a, 1); the r-th least confident sample gets b_r:
        counts_c = strength · b          on the label,
                   strength · (1 - b) / (K - 1)   elsewhere

    Confidence is the probability of the true class under the teacher; only its order is used.
    Without teacher logits the student's own are used, which costs nothing. Ranks are taken of
    the margin ``log p_y - log Σ_{j≠y} p_j``, which has the order of p_y but does not saturate.
    The average true-class target is ``1 - strength / (a + 1)`` at label weight 1 - strength.

    Args:
        strength: pseudo-counts per sample, ≥ 0 (w of the usual mix).
        a: first shape parameter of Beta(a, 1), > 0; mean of b is a / (a + 1).
        draw: ``"random"``, or ``"quantile"``: ``b_r = ((r - 1/2) / m)^(1/a)``, no randomness.
        order: ``"intact"``; controls: ``"random"`` or ``"reversed"``.

    Source: paper (Beta smoothing); quantile draws, own-logit ranks, class
    probabilities as labels: ours.

    >>> prior = BetaPrior(strength=1.0, a=1.0, draw="quantile")
    >>> logits = torch.tensor([[3.0, 0.0], [0.0, 0.0]])
    >>> prior(logits, torch.tensor([0, 0])).on_label
    tensor([0.7500, 0.2500])
    """

    strength: float = 0.6
    a: float = 3.0
    draw: Literal["random", "quantile"] = "random"
    order: Literal["intact", "random", "reversed"] = "intact"

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.number("a", self.a, 0, open_low=True)
        checks.choice("draw", self.draw, ("random", "quantile"))
        checks.choice("order", self.order, ("intact", "random", "reversed"))

    @classmethod
    def matching(
        cls,
        smoothing: float,
        *,
        strength: float = 0.6,
        draw: Literal["random", "quantile"] = "random",
        order: Literal["intact", "random", "reversed"] = "intact",
    ) -> BetaPrior:
        """The prior whose average true-class target is ``1 - smoothing``: ``a = strength/ε - 1``.

        Holds at label weight ``1 - strength``; needs ``0 < smoothing < strength``.

        >>> BetaPrior.matching(0.15).a
        3.0
        """
        checks.number("strength", strength, 0, open_low=True)
        checks.number("smoothing", smoothing, 0, open_low=True)
        if not 0 < smoothing < strength:
            raise ValueError(
                f"smoothing must be in (0, strength) = (0, {strength:g}), got {smoothing!r}: a "
                "Beta prior cannot take more from the label than its strength"
            )
        # Rounded, so that 0.6 / 0.15 - 1 is 3 and not 3 + 4e-16.
        return cls(strength, round(strength / smoothing - 1, 12), draw, order)

    def counts(
        self,
        logits: Tensor,
        labels: Tensor,
        teacher_logits: Tensor | None,
        generator: torch.Generator | None,
    ) -> Counts:
        dtype = torch.promote_types(logits.dtype, torch.float32)
        kept = checks.kept(labels)
        order = self._order(logits, labels, teacher_logits, kept, generator)
        drawn = self._draws(len(labels), kept, dtype, generator).to(logits.device)
        b = torch.empty_like(drawn).scatter_(0, order, drawn)
        return TwoLevel(self.strength * b, self.strength / (logits.shape[1] - 1) * (1 - b))

    def _order(
        self,
        logits: Tensor,
        labels: Tensor,
        teacher_logits: Tensor | None,
        kept: Tensor | None,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Samples from the least to the most confident; ignored ones come first."""
        if self.order == "random":
            order = torch.randperm(len(labels), generator=generator).to(logits.device)
        else:
            margin = _margins(logits, labels, teacher_logits)
            order = margin.argsort(stable=True, descending=self.order == "reversed")
        return order if kept is None else order[kept[order].byte().argsort(stable=True)]

    def _draws(
        self,
        rows: int,
        kept: Tensor | None,
        dtype: torch.dtype,
        generator: torch.Generator | None,
    ) -> Tensor:
        """b ascending, one for each kept sample, behind a filler for each ignored one.

        The number of kept samples stays on its device: reading it would stall an accelerator.
        """
        if self.draw == "quantile":
            m = rows if kept is None else kept.sum()
            place = torch.arange(rows, device=None if kept is None else kept.device) - (rows - m)
            u = ((place + 0.5).to(dtype) / m).clamp(min=0)
        else:
            # Drawn in float64 whatever the logits: the same draws in every precision.
            u = torch.rand(rows, generator=generator, dtype=torch.float64).to(dtype)
            if kept is not None:
                u = u.to(kept.device).masked_fill(~kept, 0.0)
            u = u.sort().values
        return u ** (1 / self.a)


def _margins(logits: Tensor, labels: Tensor, teacher_logits: Tensor | None) -> Tensor:
    """log p_y - log Σ_{j≠y} p_j (B,), or the teacher's own one number per sample."""
    if teacher_logits is None:
        return label_margin(logits, labels)
    if teacher_logits.ndim == 1:
        checks.teacher_confidence(logits, teacher_logits)
        return teacher_logits
    checks.teacher_matrix(logits, teacher_logits)
    return label_margin(teacher_logits, labels)
