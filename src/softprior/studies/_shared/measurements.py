"""What a run predicts, and the temperature that suits its validation set: each read once."""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

from torch import Tensor

from softprior import diagnostics
from softprior.diagnostics.temperature import doubt
from softprior.training import Recipe
from softprior.training.run import Part, Selection


class Predicting(Protocol):
    """A run, or what predicts as one."""

    @property
    def recipe(self) -> Recipe: ...

    def predictions(self, part: Part, epoch: Selection | None = None) -> tuple[Tensor, Tensor]: ...


class Measurements:
    """A run's predictions, each read once."""

    def __init__(self, run: Predicting, epoch: Selection | None) -> None:
        self.run, self.epoch = run, epoch
        self._read: dict[tuple[Part, Selection | None], tuple[Tensor, Tensor]] = {}

    def of(
        self, part: Part, epoch: Selection | None = None, *, scaled: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Logits and labels; scaled by the temperature that suits the validation set best."""
        logits, labels = self._predictions(part, epoch or self.epoch)
        return (logits / self.temperature if scaled else logits), labels

    @cached_property
    def temperature(self) -> float:
        """Fitted on the validation set."""
        return diagnostics.fit_temperature(*self._predictions("validation", self.epoch))

    @cached_property
    def doubtful(self) -> bool:
        """Whether that temperature says little."""
        logits, labels = self._predictions("validation", self.epoch)
        errors = int((logits.argmax(1) != labels).sum())
        return bool(doubt(self.temperature, errors))

    def _predictions(self, part: Part, epoch: Selection | None) -> tuple[Tensor, Tensor]:
        if (part, epoch) not in self._read:
            self._read[part, epoch] = self.run.predictions(part, epoch)
        return self._read[part, epoch]
