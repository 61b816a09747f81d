"""Prior: how many imaginary labels of each class does a sample get?"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from softprior import checks
from softprior.batch import Batch, check_batch
from softprior.component import Component, State, without_autocast
from softprior.counts import Counts

Self = TypeVar("Self", bound="Prior")


@dataclass(frozen=True)
class Prior(Component):
    """Turns what is known about a batch into pseudo-counts.

    To add one, write a subclass with :meth:`counts` into its own file, in ``priors/`` or in code of
    your own. Every prior found in the folder must obey, and is tested for, these laws:

    * it constructs with defaults, and equals and hashes as its fields do;
    * counts are finite, ≥ 0 (unless ``signed``), carry no gradient, also at logits of ±1e4;
    * where ``fixed_total`` is true, the counts of each sample add up to ``strength``;
    * permuting the batch permutes the counts (in distribution for random priors);
    * where ``by_sample`` is true, a part of a batch gets the counts that it gets in the whole;
    * the same generator state gives the same counts;
    * the loss it makes has the gradient of the negative log-posterior of
      ``Dirichlet(1 + counts)`` and passes gradcheck; all forms of counts agree;
    * samples with a label < 0 (ignored) change nothing for the others, also where they are NaN;
    * what it remembers goes on after a ``state_dict()`` round trip as it would have.

    Attributes:
        strength: pseudo-counts per sample, ≥ 0 (the paper's β). With a label weight of
            ``1 - strength`` the loss is the usual mix and ``strength`` its soft weight w.
        fixed_total: whether the counts of each sample add up to ``strength``.
        needs_teacher: whether it cannot do without teacher logits.
        uses_teacher: whether it looks at teacher logits where there are some.
        ranks_only: whether one confidence per sample tells it as much as the teacher's logits.
        by_sample: whether a sample's counts come from its own label, teacher logits and index
            alone, without a draw or a state: the prior may then be shown a batch part by part.
        signed: whether counts may be below 0. The posterior reading then ends.
        decides_label_weight: whether the weight of the label changes while it trains; it then
            answers :meth:`label_weight_of`.
        matches_smoothing: whether it can be set to smooth by a given amount: :meth:`matched`.
    """

    strength: float
    fixed_total: ClassVar[bool] = True
    needs_teacher: ClassVar[bool] = False
    uses_teacher: ClassVar[bool] = False
    ranks_only: ClassVar[bool] = False
    by_sample: ClassVar[bool] = False
    signed: ClassVar[bool] = False
    decides_label_weight: ClassVar[bool] = False
    matches_smoothing: ClassVar[bool] = False

    def __post_init__(self) -> None:
        checks.number("strength", self.strength, 0)

    def __call__(self, batch: Batch) -> Counts:
        """Pseudo-counts for a batch, without gradient.

        Raises:
            ValueError: where the prior needs a teacher, or a state, and there is none.
        """
        check_batch(batch)
        if self.needs_teacher and batch.teacher_logits is None:
            raise ValueError(
                f"{type(self).__name__} needs teacher_logits, got None; call "
                "criterion(logits, labels, teacher_logits) with the logits of a teacher "
                "(softprior.FrozenTeacher, EMATeacher or MemoryTeacher)"
            )
        with torch.no_grad(), without_autocast(batch.logits.device):
            return self.counts(batch)

    @abstractmethod
    def counts(self, batch: Batch) -> Counts:
        """The answer: dense (N, K), :class:`softprior.TwoLevel` or :class:`softprior.Sparse`.

        Runs under no_grad.
        """

    def state(self, num_samples: int | None, num_classes: int | None) -> State | None:
        """A fresh state for a prior that remembers; :meth:`Batch.state` hands it back."""
        return None

    @property
    def usual_label_weight(self) -> float:
        """Weight of the label in the usual mix, in which all weights of a sample add up to 1."""
        # Rounded, so that 1 - 0.8 is 0.2 and not 0.2 - 6e-17.
        return round(1 - self.strength, 12)

    def label_weight_of(self, batch: Batch) -> Tensor | float:
        """Weight of the label, a tensor () or (N,), of a prior that decides it itself."""
        return self.usual_label_weight

    def method(self, teacher: str | None = None) -> tuple[str, ...]:
        """What tables call the method that this prior makes: its name, then what is unusual in it.

        Args:
            teacher: the label of who teaches, where it is not the usual one: nobody, or for a
                prior that needs a teacher an earlier generation.
        """
        return (self.label,) if teacher is None else (self.label, f"{teacher} teacher")

    @property
    def average_smoothing(self) -> float | None:
        """What it takes from the label on average in the usual mix, ``1 - mean target``; None
        where its hyper-parameters do not say."""
        return None

    @property
    def teacher_temperature(self) -> float:
        """The temperature at which it reads a teacher's logits; 1 where it has none of its own."""
        return 1.0

    def matched(self: Self, smoothing: float, teacher_logits: Tensor, labels: Tensor) -> Self:
        """The prior that smooths by this much on average, given what a teacher says of the
        training set; for a prior that ``matches_smoothing``."""
        raise NotImplementedError
