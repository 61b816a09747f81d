"""Teacher: somebody with an opinion on sample i."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, TypeVar

from torch import Tensor, nn

from softprior import checks
from softprior.component import Component

Self = TypeVar("Self", bound="Teacher")


class Teacher(nn.Module):
    """Gives logits for a batch, and may learn from the student after each step.

    Keep a teacher beside the student and the loss, never as an attribute of either: its
    weights then stay out of their ``state_dict()`` and ``parameters()``. Laws, tested for
    every teacher in ``teachers/``:

    * ``.train()`` and ``.eval()`` change nothing: a teacher stays in the mode it was made in;
    * no output and no parameter carries a gradient, and the student's keep theirs;
    * making or asking a teacher changes nothing in the student;
    * ``state_dict()`` round-trips: the copy gives the same logits, also after the same
      observations.
    """

    def __init__(self) -> None:
        super().__init__()
        super().train(False)

    def train(self: Self, mode: bool = True) -> Self:
        """Does nothing: a teacher does not study."""
        return self

    def forward(
        self, inputs: Tensor, index: Tensor | None = None, labels: Tensor | None = None
    ) -> Tensor:
        """Logits (B, K), or one confidence per sample (B,).

        Args:
            inputs: the student's batch.
            index: each sample's number in the training set, (B,).
            labels: as the student's loss gets them.
        """
        raise NotImplementedError

    def observe(self, model: nn.Module, logits: Tensor, labels: Tensor, index: Tensor) -> None:
        """Called after each optimizer step with the student's logits; by default unused."""

    def end_epoch(self, model: nn.Module) -> None:
        """Called at the end of each epoch, before the student is evaluated; by default unused."""


class Setting(NamedTuple):
    """What a teacher may know of the training that it is built for.

    Attributes:
        num_samples: size of the training set.
        num_classes: K.
        ranks_only: whether one confidence per sample tells the prior as much as logits do.
        another_network: makes a network like the student with other initial weights.
    """

    num_samples: int
    num_classes: int
    ranks_only: bool
    another_network: Callable[[], nn.Module]


@dataclass(frozen=True)
class TeacherSpec(Component):
    """How to build a teacher: the value that stands in a recipe.

    To add a teacher, write a subclass with :meth:`build` into its own file, in ``teachers/`` or in
    your own code, beside the :class:`Teacher` that it builds. It constructs with defaults.

    Attributes:
        has_network: whether asking it costs a forward pass of a second network.
    """

    has_network: ClassVar[bool] = False

    @abstractmethod
    def build(self, student: nn.Module, setting: Setting) -> Teacher:
        """A teacher of this student, on the student's device."""


def unwrapped(model: nn.Module) -> nn.Module:
    """The network inside ``torch.compile`` and DistributedDataParallel wrappers."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(model, nn.parallel.DistributedDataParallel):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def frozen_copy(model: nn.Module, *, training: bool = False) -> nn.Module:
    """A deep copy without wrappers, without gradients, in the given mode for good."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"a teacher's network must be a torch.nn.Module, got {checks.shown(model)}")
    return copy.deepcopy(unwrapped(model)).requires_grad_(False).train(training)
