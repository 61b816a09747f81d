"""A memory of past predictions, by sample index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from softprior import checks
from softprior.component import at_least_float32
from softprior.labels import observed_labels, valid_mask
from softprior.margin import label_margin
from softprior.teachers.base import Setting, Teacher, TeacherSpec


@dataclass(frozen=True)
class Memory(TeacherSpec):
    """The student's own prediction of each sample when it last saw it: no second network.

    One number per sample where the prior only ranks, else whole logits.

    >>> Memory()
    Memory()
    """

    @property
    def label(self) -> str:
        return "memory"

    def build(self, student: nn.Module, setting: Setting) -> MemoryTeacher:
        return MemoryTeacher(
            setting.num_samples, None if setting.ranks_only else setting.num_classes
        )


class MemoryTeacher(Teacher):
    """The student's own prediction of each sample when it last saw it: no second network.

    Args:
        size: number of training samples; ``index`` counts them from 0.
        num_classes: K remembers whole logits (size, K). None remembers one number per sample,
            the label's log-odds (:func:`softprior.margin.label_margin`): enough for
            :class:`BetaPrior`, which only ranks, at 4 bytes a sample.

    Samples not seen yet have logits 0 (uniform probabilities) or log-odds 0; those observed with a
    label < 0 (ignored) are remembered as they were. Source: ours.

    >>> memory = MemoryTeacher(size=3, num_classes=2)
    >>> logits = torch.tensor([[2.0, 1.0]])
    >>> memory.observe(nn.Identity(), logits, torch.tensor([0]), torch.tensor([1]))
    >>> memory(None, torch.tensor([0, 1]))
    tensor([[0., 0.],
            [2., 1.]])
    """

    memory: Tensor

    def __init__(self, size: int, num_classes: int | None = None) -> None:
        super().__init__()
        check_size(size, num_classes)
        shape = (size,) if num_classes is None else (size, num_classes)
        self.register_buffer("memory", torch.zeros(shape))

    def forward(
        self,
        inputs: Tensor | None,
        index: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Tensor:
        return self.memory[checks.sample_index(index, len(self.memory), self)]

    @torch.no_grad()
    def observe(self, model: nn.Module, logits: Tensor, labels: Tensor, index: Tensor) -> None:
        labels = self._checked(logits, labels)
        checks.finite_logits(logits, valid=valid_mask(labels))
        outputs = logits if self.memory.ndim == 2 else label_margin(logits, labels)
        remember(self.memory, outputs, valid_mask(labels), index, self)

    def _apply(self, fn: Any, recurse: bool = True) -> MemoryTeacher:
        super()._apply(at_least_float32(fn), recurse)  # type: ignore[no-untyped-call]
        return self

    def _checked(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The labels, < 0 where ignored, after looking at them and at the shape of the logits."""
        checks.logits_matrix(logits)
        if self.memory.ndim == 2 and logits.shape[1] != self.memory.shape[1]:
            raise ValueError(
                f"MemoryTeacher(num_classes={self.memory.shape[1]}) cannot remember logits of "
                f"shape {tuple(logits.shape)}"
            )
        return observed_labels(logits, labels)


def check_size(size: int, num_classes: int | None) -> None:
    """Raise ValueError unless a memory of these samples and classes can be made."""
    checks.whole("size", size, 1)
    if num_classes is not None:
        checks.whole("num_classes", num_classes, 2)


def remember(
    memory: Tensor, outputs: Tensor, valid: Tensor | None, index: Tensor, owner: Teacher
) -> None:
    """Write a batch's outputs (B,) or (B, K) into its rows of a memory (n,) or (n, K).

    Samples that the mask ``valid`` (B,) leaves out are not written.
    """
    index = checks.sample_index(index, len(memory), owner, rows=len(outputs))
    if not memory.is_meta:
        checks.on_device(index, "index")
    outputs, index = outputs.to(memory), index.to(memory.device)
    if valid is not None:
        # Ignored samples may repeat a valid one's index (padding): all write what the first
        # valid sample writes. To leave them out would stall an accelerator.
        valid = valid.to(memory.device)
        first = valid.int().argmax()
        column = valid if outputs.ndim == 1 else valid.unsqueeze(1)
        outputs = torch.where(column, outputs, memory[index])
        outputs = torch.where(column, outputs, outputs[first])
        index = index.where(valid, index[first])
    memory[index] = outputs
