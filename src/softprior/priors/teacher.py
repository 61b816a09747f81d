"""Teacher prior: self-distillation."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from softprior import checks, matching
from softprior.batch import Batch
from softprior.counts import Counts, Sparse
from softprior.priors.base import Prior

_BLOCK = 1 << 17  # entries: a few of these fit into the cache


@dataclass(frozen=True)
class TeacherPrior(Prior):
    """Imaginary labels in the proportions that a teacher finds likely: (self-)distillation.

        counts_c = strength · ω · softmax(teacher_logits / temperature)_c

    Temperature on the teacher only, no T² factor. ``weighting="none"`` has ω = 1;
    ``weighting="map"`` has the per-sample weight of the amortized MAP view,

        ω = Σ_c p_c^(1/T),    p = softmax(teacher_logits),    1 ≤ ω ≤ K^(1 - 1/T) for T ≥ 1,

    which is ``Σ_c exp(f_c / T)`` at normalised logits, so that a constant added to the logits
    changes nothing: an uncertain teacher gets more say. T → ∞ gives the uniform prior.

    With ``top`` = m only the teacher's m likeliest classes keep their counts; what it gives to all
    others is spread evenly over them: :class:`softprior.Sparse`, and no (B, K) target is built.

    Args:
        strength: pseudo-counts per sample, ≥ 0.
        temperature: T > 0.
        weighting: ``"none"`` or ``"map"``.
        top: m ≥ 1, or None for all classes; K - 1 classes or more are all.

    Source: paper (amortized MAP view; there ω has unnormalised logits), and its official code:
    strength 0.4, temperature 4, on the teacher alone. Normalised logits:
    ours, and the weight of WTTM (ICLR 2024). ``top``: ours.

    >>> prior = TeacherPrior(strength=1.0, temperature=1.0)
    >>> prior(Batch(torch.zeros(1, 2), torch.tensor([0]), torch.tensor([[0.0, 0.0]])))
    tensor([[0.5000, 0.5000]])
    """

    strength: float = 0.4
    temperature: float = 4.0
    weighting: Literal["none", "map"] = "none"
    top: int | None = None
    needs_teacher: ClassVar[bool] = True
    uses_teacher: ClassVar[bool] = True
    by_sample: ClassVar[bool] = True
    matches_smoothing: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.number("temperature", self.temperature, 0, open_low=True)
        checks.choice("weighting", self.weighting, ("none", "map"))
        if self.top is not None and (type(self.top) is not int or self.top < 1):
            raise ValueError(f"top must be an integer ≥ 1 or None, got {self.top!r}")

    @property
    def fixed_total(self) -> bool:  # type: ignore[override]
        return self.weighting == "none"

    @property
    def label(self) -> str:
        return "self-distillation"

    def method(self, teacher: str | None = None) -> tuple[str, ...]:
        unusual = [] if teacher is None else [f"{teacher} teacher"]
        if self.temperature != type(self).temperature:
            unusual.append(f"T = {self.temperature:g}")
        if self.weighting == "map":
            unusual.append("MAP weights")
        if self.top is not None:
            unusual.append(f"top {self.top}")
        return (self.label, *unusual)

    @property
    def teacher_temperature(self) -> float:
        return self.temperature

    def matched(self, smoothing: float, teacher_logits: Tensor, labels: Tensor) -> TeacherPrior:
        """The prior that smooths by so much; where none does, the nearest, and a warning."""
        try:
            temperature = matching.teacher_temperature(
                teacher_logits, labels, smoothing=smoothing, weight=self.strength
            )
        except matching.UnreachableError as error:
            temperature = error.nearest
            message = (
                f"{error}; taken is T = {temperature:.4g}, which smooths by {error.amount:.4g}"
            )
            warnings.warn(message, stacklevel=2)
        return replace(self, temperature=temperature)

    def counts(self, batch: Batch) -> Counts:
        teacher_logits, valid = batch.teacher_logits, batch.valid
        assert teacher_logits is not None  # needs_teacher
        checks.teacher_matrix(batch.logits, teacher_logits, valid, batch.class_mask)
        if self.top is not None and self.top < batch.num_classes - 1:
            return self._top(teacher_logits, self.top, batch)
        if self.weighting == "map":
            log_p = torch.log_softmax(teacher_logits, -1, dtype=batch.dtype)
            p = (log_p / self.temperature).exp_()
        else:
            p = torch.softmax(teacher_logits.to(batch.dtype) / self.temperature, -1)
        if valid is not None:  # an ignored row may be NaN
            p.masked_fill_(~valid.unsqueeze(1), 0.0)
        return p.mul_(self.strength)

    def _top(self, teacher_logits: Tensor, m: int, batch: Batch) -> Sparse:
        """Counts on the m likeliest classes, and the mean of the rest on each other one."""
        likely = teacher_logits.topk(m, -1)
        # The largest is taken off first, so that no constant in the logits costs precision.
        largest = likely.values[:, :1].to(batch.dtype)
        level = _log_sum_exp(teacher_logits, largest, self.temperature)
        total: Tensor | float = self.strength
        if self.weighting == "map":
            # ω = Σ exp(f / T) / (Σ exp f)^(1/T)
            one = _log_sum_exp(teacher_logits, largest, 1.0)
            total = self.strength * (level - one / self.temperature).exp_()
            level = one / self.temperature
        f = likely.values.to(batch.dtype) - largest
        values = (f / self.temperature - level.unsqueeze(1)).exp_()
        values.mul_(self.strength)
        others = batch.classes_left - m
        others = others.clamp(min=1) if isinstance(others, Tensor) else others
        rest = (total - values.sum(1)).clamp_(min=0) / others
        if batch.valid is not None:  # an ignored row may be NaN
            values.masked_fill_(~batch.valid.unsqueeze(1), 0.0)
            rest.masked_fill_(~batch.valid, 0.0)
        return Sparse(likely.indices, values, rest)


def _log_sum_exp(logits: Tensor, largest: Tensor, temperature: float) -> Tensor:
    """log Σ_c exp((f_c - max f) / T), (N,), in blocks that stay in the cache: no (N, K) temporary.

    ``largest``: max f, (N, 1), in the dtype to compute in.
    """
    rows = max(1, _BLOCK // logits.shape[1]) if logits.device.type == "cpu" else len(logits)
    sums = []
    for block, top in zip(torch.split(logits, rows), torch.split(largest, rows), strict=True):
        scaled = (block.to(top.dtype) - top) / temperature
        # log max softmax f' = -log Σ exp f', as max f' is 0: torch.logsumexp costs two softmaxes.
        sums.append(-torch.softmax(scaled, -1).amax(-1).log_())
    return torch.cat(sums)
