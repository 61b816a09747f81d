"""Teacher prior: self-distillation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from softprior import checks
from softprior.counts import Counts
from softprior.priors.base import Prior


@dataclass(frozen=True)
class TeacherPrior(Prior):
    """Imaginary labels as a teacher votes: (self-)distillation.

        counts_c = strength · ω · softmax(teacher_logits / temperature)_c

    Temperature on the teacher only, no T² factor. ``weighting="none"`` has ω = 1;
    ``weighting="map"`` has the per-sample weight of the amortized MAP view,

        ω = Σ_c p_c^(1/T),    p = softmax(teacher_logits),    1 ≤ ω ≤ K^(1 - 1/T) for T ≥ 1,

    which is ``Σ_c exp(f_c / T)`` at normalised logits, so that a constant added to the logits
    changes nothing: an uncertain teacher gets more say. T → ∞ gives the uniform prior.

    Args:
        strength: pseudo-counts per sample, ≥ 0.
        temperature: T > 0.
        weighting: ``"none"`` or ``"map"``.

    Source: paper (amortized MAP view; there ω has unnormalised logits). Normalised logits:
    ours, and the weight of WTTM (ICLR 2024).

    >>> prior = TeacherPrior(strength=1.0, temperature=1.0)
    >>> prior(torch.zeros(1, 2), torch.tensor([0]), torch.tensor([[0.0, 0.0]]))
    tensor([[0.5000, 0.5000]])
    """

    strength: float = 0.4
    temperature: float = 4.0
    weighting: Literal["none", "map"] = "none"
    needs_teacher: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.number("temperature", self.temperature, 0, open_low=True)
        checks.choice("weighting", self.weighting, ("none", "map"))

    @property
    def fixed_total(self) -> bool:  # type: ignore[override]
        return self.weighting == "none"

    def counts(
        self,
        logits: Tensor,
        labels: Tensor,
        teacher_logits: Tensor | None,
        generator: torch.Generator | None,
    ) -> Counts:
        assert teacher_logits is not None  # needs_teacher
        kept = checks.kept(labels)
        checks.teacher_matrix(logits, teacher_logits, kept)
        dtype = torch.promote_types(logits.dtype, torch.float32)
        if self.weighting == "map":
            log_p = torch.log_softmax(teacher_logits, -1, dtype=dtype)
            votes = (log_p / self.temperature).exp_()
        else:
            votes = torch.softmax(teacher_logits.to(dtype) / self.temperature, -1)
        if kept is not None:  # an ignored row may be NaN
            votes.masked_fill_(~kept.unsqueeze(1), 0.0)
        return votes.mul_(self.strength)
