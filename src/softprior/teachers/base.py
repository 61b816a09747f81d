"""Teacher: somebody with an opinion on sample i."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import Tensor, nn

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

    def forward(self, inputs: Tensor, index: Tensor | None = None) -> Tensor:
        """Logits (B, K), or one confidence per sample (B,), for the samples ``index`` (B,)."""
        raise NotImplementedError

    def observe(self, model: nn.Module, logits: Tensor, labels: Tensor, index: Tensor) -> None:
        """Called after each optimizer step with what the student said; by default unused."""


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
        raise TypeError(f"a teacher's network must be a torch.nn.Module, got {model!r}")
    return copy.deepcopy(unwrapped(model)).requires_grad_(False).train(training)
