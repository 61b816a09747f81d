"""Prior: how many imaginary labels of each class does a sample get?"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from softprior import checks
from softprior.counts import Counts
from softprior.recent import Recent


@dataclass(frozen=True)
class Prior(ABC):
    """Turns what is known about a batch into pseudo-counts.

    A prior is a frozen value of hyper-parameters: hashable, printable, comparable; no tensor,
    no network, no state. To add one, put a subclass into its own file in ``priors/`` and write
    :meth:`counts`. Every prior found there must obey, and is tested for, these laws:

    * it constructs with defaults, and equals and hashes as its fields do;
    * counts are finite, ≥ 0, carry no gradient, also at logits of ±1e4;
    * where ``fixed_total`` is true, the counts of each sample add up to ``strength``;
    * permuting the batch permutes the counts (in distribution for random priors);
    * the same generator state gives the same counts;
    * the loss it makes has the gradient of the negative log-posterior of
      ``Dirichlet(1 + counts)`` and passes gradcheck; dense and two-level forms agree;
    * samples with a label < 0 (ignored) change nothing for the others, also where they are NaN.

    Attributes:
        strength: pseudo-counts per sample, ≥ 0 (the paper's β). With a label weight of
            ``1 - strength`` the loss is the usual mix and ``strength`` its soft weight w.
        fixed_total: whether the counts of each sample add up to ``strength``.
        needs_teacher: whether it cannot do without teacher logits.
        needs_recent: whether it ranks among the samples seen last. Its :meth:`counts` then takes
            a fifth argument, ``recent``.
    """

    strength: float
    fixed_total: ClassVar[bool] = True
    needs_teacher: ClassVar[bool] = False
    needs_recent: ClassVar[bool] = False

    def __post_init__(self) -> None:
        checks.number("strength", self.strength, 0)

    def __call__(
        self,
        logits: Tensor,
        labels: Tensor,
        teacher_logits: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
        recent: Recent | None = None,
    ) -> Counts:
        """Pseudo-counts for a batch, without gradient.

        Args:
            logits: the student's, (B, K).
            labels: class indices (B,), < 0 where ignored, or class probabilities (B, K).
            teacher_logits: logits or log-probabilities (B, K) of whoever advises; for priors
                that only rank, also one confidence per sample (B,).
            generator: a CPU generator for random priors; None draws from torch's global one.
            recent: the window of a prior with ``needs_recent``, else not used.

        Raises:
            ValueError: where the prior needs a teacher, or a window, and there is none.
        """
        if self.needs_teacher and teacher_logits is None:
            raise ValueError(
                f"{type(self).__name__} needs teacher_logits, got None; call "
                "criterion(logits, labels, teacher_logits) with the logits of a teacher "
                "(softprior.FrozenTeacher, EMATeacher or MemoryTeacher)"
            )
        if self.needs_recent and recent is None:
            raise ValueError(
                f"{type(self).__name__} ranks among the samples seen last and keeps no state: "
                "got recent=None; use softprior.PosteriorLoss(prior), which keeps them for it"
            )
        window: dict[str, Any] = {"recent": recent} if self.needs_recent else {}
        with torch.no_grad():
            return self.counts(logits.detach(), labels, teacher_logits, generator, **window)

    @abstractmethod
    def counts(
        self,
        logits: Tensor,
        labels: Tensor,
        teacher_logits: Tensor | None,
        generator: torch.Generator | None,
    ) -> Counts:
        """The answer: dense (B, K), or :class:`softprior.TwoLevel`. Runs under no_grad."""
