"""A memory of past predictions, by sample index."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from softprior import checks
from softprior.margin import label_margin
from softprior.teachers.base import Teacher


class MemoryTeacher(Teacher):
    """What the student said about each training sample when it last saw it: no second network.

    Args:
        size: number of training samples; ``index`` counts them from 0.
        num_classes: K remembers whole logits (size, K). None remembers one number per sample,
            the label's log-odds (:func:`softprior.margin.label_margin`): enough for
            :class:`BetaPrior`, which only ranks, at 4 bytes a sample.

    Samples not seen yet have logits 0 (a uniform vote) or log-odds 0; those observed with a
    label < 0 (ignored) are remembered as they were. Source: ours.

    >>> memory = MemoryTeacher(size=3, num_classes=2)
    >>> said = torch.tensor([[2.0, 1.0]])
    >>> memory.observe(nn.Identity(), said, torch.tensor([0]), torch.tensor([1]))
    >>> memory(None, torch.tensor([0, 1]))
    tensor([[0., 0.],
            [2., 1.]])
    """

    memory: Tensor

    def __init__(self, size: int, num_classes: int | None = None) -> None:
        super().__init__()
        if size < 1 or (num_classes is not None and num_classes < 2):
            raise ValueError(
                "MemoryTeacher wants size ≥ 1 samples and num_classes ≥ 2 or None, "
                f"got size={size}, num_classes={num_classes}"
            )
        shape = (size,) if num_classes is None else (size, num_classes)
        self.register_buffer("memory", torch.zeros(shape))

    def forward(self, inputs: Tensor | None, index: Tensor | None = None) -> Tensor:
        return self.memory[self._rows(index)]

    @torch.no_grad()
    def observe(self, model: nn.Module, logits: Tensor, labels: Tensor, index: Tensor) -> None:
        labels, index = self._checked(logits, labels), self._rows(index)
        if index.shape != (len(logits),):
            raise ValueError(f"index must have shape ({len(logits)},), got {tuple(index.shape)}")
        kept = checks.kept(labels)
        checks.finite_logits(logits, kept=kept)
        said = logits if self.memory.ndim == 2 else label_margin(logits, labels)
        said = said.to(self.memory.dtype)
        if kept is not None:
            # Ignored samples may repeat a kept one's index (padding): all write what the first
            # kept sample writes. To leave them out would stall an accelerator.
            first = kept.int().argmax()
            column = kept if said.ndim == 1 else kept.unsqueeze(1)
            said = torch.where(column, said, self.memory[index])
            said, index = torch.where(column, said, said[first]), index.where(kept, index[first])
        self.memory[index] = said

    def _checked(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The labels, < 0 where ignored, after looking at them and at the shape of the logits."""
        checks.logits_matrix(logits)
        if self.memory.ndim == 2 and logits.shape[1] != self.memory.shape[1]:
            raise ValueError(
                f"MemoryTeacher(num_classes={self.memory.shape[1]}) cannot remember logits of "
                f"shape {tuple(logits.shape)}"
            )
        if isinstance(labels, Tensor) and not labels.is_floating_point():
            labels = labels.clamp(min=-1)  # whatever the ignore_index
        return checks.class_labels(logits, labels, ignore_index=-1)

    def _rows(self, index: Tensor | None) -> Tensor:
        if index is None:
            raise ValueError("MemoryTeacher needs the samples' index: teacher(inputs, index)")
        if checks.values_visible(index) and index.numel():
            low, high = (int(i) for i in index.aminmax())
            if low < 0 or high >= len(self.memory):
                raise ValueError(
                    f"index must be in 0..{len(self.memory) - 1}, found {low} to {high}; "
                    "MemoryTeacher(size) wants the size of the whole training set"
                )
        return index
