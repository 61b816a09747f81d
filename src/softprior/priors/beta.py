"""Beta prior: teacher-free Beta smoothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from softprior import checks, gathering
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

    Under torch.distributed the batch is that of all processes together: N of them get the counts
    that one would get, if sample j of process r is its sample j · N + r, as ``index[r::N]``
    shards it. For this every process of the default group must ask at the same time, with
    equally many samples (pad with ignored ones, label < 0: at the end of the whole batch they
    leave the other samples' draws as they are), and with generators in the same state
    (:class:`softprior.PosteriorLoss` of the same seed).

    Args:
        strength: pseudo-counts per sample, ≥ 0 (w of the usual mix).
        a: first shape parameter of Beta(a, 1), > 0; mean of b is a / (a + 1).
        draw: ``"random"``, or ``"quantile"``: ``b_r = ((r - 1/2) / m)^(1/a)``, no randomness.
        order: ``"intact"``; controls: ``"random"`` or ``"reversed"``.
        among: ``"global"`` ranks the batches of all processes together; ``"local"`` each
            process's own, with nothing sent (give each its own seed, or all draw the same).
            Code that is being compiled is always local.

    Source: paper (Beta smoothing); quantile draws, own-logit ranks, class
    probabilities as labels, many processes: ours.

    >>> prior = BetaPrior(strength=1.0, a=1.0, draw="quantile")
    >>> logits = torch.tensor([[3.0, 0.0], [0.0, 0.0]])
    >>> prior(logits, torch.tensor([0, 0])).on_label
    tensor([0.7500, 0.2500])
    """

    strength: float = 0.6
    a: float = 3.0
    draw: Literal["random", "quantile"] = "random"
    order: Literal["intact", "random", "reversed"] = "intact"
    among: Literal["global", "local"] = "global"

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.number("a", self.a, 0, open_low=True)
        checks.choice("draw", self.draw, ("random", "quantile"))
        checks.choice("order", self.order, ("intact", "random", "reversed"))
        checks.choice("among", self.among, ("global", "local"))

    @classmethod
    def matching(
        cls,
        smoothing: float,
        *,
        strength: float = 0.6,
        draw: Literal["random", "quantile"] = "random",
        order: Literal["intact", "random", "reversed"] = "intact",
        among: Literal["global", "local"] = "global",
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
        return cls(strength, round(strength / smoothing - 1, 12), draw, order, among)

    def counts(
        self,
        logits: Tensor,
        labels: Tensor,
        teacher_logits: Tensor | None,
        generator: torch.Generator | None,
    ) -> Counts:
        dtype = torch.promote_types(logits.dtype, torch.float32)
        kept = checks.kept(labels)
        margins = self._margins(logits, labels, teacher_logits, kept)
        if self.among == "global" and gathering.processes() > 1:
            mask = torch.ones_like(margins) if kept is None else kept.to(margins.dtype)
            margins, mask = gathering.whole(torch.stack([margins, mask], 1)).unbind(1)
            b = gathering.own(self._handed_out(margins, mask.bool(), dtype, generator))
        else:
            b = self._handed_out(margins, kept, dtype, generator)
        return TwoLevel(self.strength * b, self.strength / (logits.shape[1] - 1) * (1 - b))

    def _margins(
        self, logits: Tensor, labels: Tensor, teacher_logits: Tensor | None, kept: Tensor | None
    ) -> Tensor:
        """log p_y - log Σ_{j≠y} p_j (B,), or the teacher's own one number per sample."""
        if self.order == "random":  # nobody's confidence is asked for
            return logits.new_zeros(len(logits), dtype=torch.float32)
        if teacher_logits is None:
            return label_margin(logits, labels)
        if teacher_logits.ndim == 1:
            checks.teacher_confidence(logits, teacher_logits, kept)
            return teacher_logits.to(torch.promote_types(teacher_logits.dtype, torch.float32))
        checks.teacher_matrix(logits, teacher_logits, kept)
        return label_margin(teacher_logits, labels)

    def _handed_out(
        self,
        margins: Tensor,
        kept: Tensor | None,
        dtype: torch.dtype,
        generator: torch.Generator | None,
    ) -> Tensor:
        """b for each sample; ignored ones come first in the order and take a filler.

        The number of kept samples stays on its device: reading it would stall an accelerator.
        """
        rows, device = len(margins), margins.device
        if "random" in (self.draw, self.order):
            # In float64 whatever the logits: the same draws in every precision.
            luck = torch.rand(rows, generator=generator, dtype=torch.float64).to(dtype).to(device)
        ranked = luck if self.order == "random" else margins
        order = ranked.argsort(stable=True, descending=self.order == "reversed")
        if kept is not None:
            order = order[kept[order].byte().argsort(stable=True)]
        if self.draw == "quantile":
            m = rows if kept is None else kept.sum()
            place = torch.arange(rows, device=device) - (rows - m)
            u = ((place + 0.5).to(dtype) / m).clamp(min=0)
        else:
            u = (luck if kept is None else luck.masked_fill(~kept, 0.0)).sort().values
        b = u ** (1 / self.a)
        return torch.empty_like(b).scatter_(0, order, b)
