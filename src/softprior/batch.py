"""Batch: what is known about N samples while their loss is computed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from softprior import checks
from softprior.labels import valid_mask
from softprior.margin import label_margin


class Batch:
    """N samples as priors and penalties see them: the one argument of every one of them.

    ``softprior.PosteriorLoss`` makes one at each call. By hand, to ask a prior without a loss:

    >>> from softprior import UniformPrior
    >>> UniformPrior(0.2, "others")(Batch(torch.zeros(1, 3), torch.tensor([0])))
    TwoLevel(on_label=0.0, elsewhere=0.1)

    Args:
        logits: the student's, (N, K).
        labels: class indices (N,), < 0 where ignored, or class probabilities (N, K).
        teacher_logits: a teacher's logits or log-probabilities (N, K); for priors that only rank,
            also one confidence per sample (N,).
        index: each sample's number in the training set, (N,), counted from 0.
        epoch: the epoch that is being trained, counted from 1; a number or a tensor ().
        epochs: how many there will be.
        generator: a CPU generator for random priors; None draws from torch's global one.
        states: what components remember, as pairs of the component and its state.
        class_mask: bool, (K,) or (N, K), True where a class is masked.

    Attributes:
        logits: without gradient, and -inf where a class is masked, as are the teacher's: a penalty
            gets those with a gradient beside the batch.
    """

    def __init__(
        self,
        logits: Tensor,
        labels: Tensor,
        teacher_logits: Tensor | None = None,
        *,
        index: Tensor | None = None,
        epoch: int | Tensor | None = None,
        epochs: int | None = None,
        generator: torch.Generator | None = None,
        states: Sequence[tuple[object, nn.Module]] = (),
        class_mask: Tensor | None = None,
    ) -> None:
        checks.logits_matrix(logits)
        checks.tensor(labels, "labels")
        probabilities = labels.dtype in checks.FLOATS
        if not probabilities and labels.dtype not in checks.INTEGERS:
            raise TypeError(f"labels must be integers or probabilities, got {labels.dtype}")
        if labels.shape != (logits.shape if probabilities else logits.shape[:1]):
            raise ValueError(
                f"labels must be class indices ({len(logits)},) or class probabilities "
                f"{tuple(logits.shape)} to go with logits, got shape {tuple(labels.shape)} of "
                f"{labels.dtype}"
            )
        if teacher_logits is not None:
            checks.floating(teacher_logits, "teacher_logits")
        if index is not None:
            index = checks.sample_numbers(index, len(logits))
        if epoch is not None and not isinstance(epoch, Tensor):
            checks.whole("epoch", epoch, 0)
        if epochs is not None:
            checks.whole("epochs", epochs, 1)
        self.class_mask = class_mask
        self.logits = self._masked(logits.detach())
        self.labels = labels
        if teacher_logits is not None and teacher_logits.shape == logits.shape:
            teacher_logits = self._masked(teacher_logits)
        self.teacher_logits = teacher_logits
        self.index = index
        self.epoch = epoch
        self.epochs = epochs
        self.generator = generator
        self._states = states
        # Not functools.cached_property, whose lock torch.compile cannot trace.
        self._valid: tuple[Tensor | None] | None = None
        self._label_margin: Tensor | None = None
        self._teacher_margin: Tensor | None = None

    def __len__(self) -> int:
        return len(self.logits)

    @property
    def num_classes(self) -> int:
        """K."""
        return self.logits.shape[1]

    @property
    def classes_left(self) -> Tensor | int:
        """How many classes a sample has: K, or (N,) where some are masked; at least 1."""
        if self.class_mask is None:
            return self.num_classes
        return (~self.class_mask).sum(-1).clamp(min=1).expand(len(self))

    @property
    def others_left(self) -> Tensor | int:
        """How many classes a sample has beside its label: K - 1, or (N,); at least 1."""
        left = self.classes_left
        return (left - 1).clamp(min=1) if isinstance(left, Tensor) else left - 1

    def _masked(self, logits: Tensor) -> Tensor:
        mask = self.class_mask
        return logits if mask is None else logits.masked_fill(mask, -torch.inf)

    def over_classes_left(self, p: Tensor) -> Tensor:
        """Probabilities (N, K) with nothing on masked classes, adding up to 1 again.

        What has nothing anywhere else becomes even.
        """
        if self.class_mask is None:
            return p
        left = (~self.class_mask).expand_as(p)
        p = torch.where(left, p, 0.0)
        total = p.sum(1, keepdim=True)
        even = left / left.sum(1, keepdim=True).clamp(min=1)
        return torch.where(total > 0, p / total, even.to(p.dtype))

    @property
    def dtype(self) -> torch.dtype:
        """That of counts and losses: the logits', but float32 for half precision."""
        return torch.promote_types(self.logits.dtype, torch.float32)

    @property
    def valid(self) -> Tensor | None:
        """Mask (N,) of the samples that are not ignored; None where all are known to count."""
        if self._valid is None:
            self._valid = (valid_mask(self.labels),)
        return self._valid[0]

    @valid.setter
    def valid(self, mask: Tensor | None) -> None:
        self._valid = (mask,)

    @property
    def label_margin(self) -> Tensor:
        """The student's log-odds of the label, (N,): see :func:`softprior.margin.label_margin`."""
        if self._label_margin is None:
            self._label_margin = label_margin(self.logits, self.labels)
        return self._label_margin

    @property
    def teacher_margin(self) -> Tensor | None:
        """The teacher's log-odds of the label, or its own one number per sample, (N,)."""
        given = self.teacher_logits
        if self._teacher_margin is None and given is not None:
            if given.ndim == 1:
                checks.teacher_confidence(self.logits, given, self.valid)
                margin = given.to(torch.promote_types(given.dtype, torch.float32))
            else:
                checks.teacher_matrix(self.logits, given, self.valid, self.class_mask)
                margin = label_margin(given, self.labels)
            self._teacher_margin = margin
        return self._teacher_margin

    @property
    def progress(self) -> float | Tensor:
        """How much of training there is up to the end of this epoch: ``epoch / epochs``, in (0, 1].

        Raises:
            ValueError: where the epoch was not passed.
        """
        if self.epoch is None or self.epochs is None:
            raise ValueError(
                "the epoch decides here, and it is not known: call criterion(logits, labels, "
                "teacher_logits, epoch=epoch, epochs=epochs), with epochs counted from 1"
            )
        if isinstance(self.epoch, int) and not 1 <= self.epoch <= self.epochs:
            raise ValueError(
                f"epoch must be in 1..{self.epochs} (epochs), counted from 1, got {self.epoch}"
            )
        return self.epoch / self.epochs

    def state(self, component: object) -> nn.Module:
        """What this component remembers: the module that its ``state`` method has built.

        Raises:
            ValueError: where nobody keeps it.
        """
        for owner, state in self._states:
            if owner is component:
                return state
        name = type(component).__name__
        raise ValueError(
            f"{component} remembers what it has seen, and a value keeps no state: use "
            f"softprior.PosteriorLoss, which keeps it for a {name}"
        )


def check_batch(batch: object) -> None:
    """Raise TypeError unless it is one."""
    if not isinstance(batch, Batch):
        raise TypeError(
            f"batch must be a softprior.Batch(logits, labels), got {checks.shown(batch)}"
        )
