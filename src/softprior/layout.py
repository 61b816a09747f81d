"""Where the classes lie in a batch, and how it becomes rows of classes."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from softprior import checks
from softprior.counts import Counts, Sparse, TwoLevel


class Layout(NamedTuple):
    """How a batch lies in memory.

    Attributes:
        class_dim: the dimension of the classes in logits, counted from 0.
        shape: of the labels: that of logits without the classes. N is the product of it.
    """

    class_dim: int
    shape: torch.Size

    @property
    def is_rows(self) -> bool:
        """Whether logits are (N, K) as they are."""
        return self.class_dim == 1 and len(self.shape) == 1

    def rows(self, values: Tensor) -> Tensor:
        """Values of the logits' shape as (N, K): without a copy where the classes lie last."""
        if self.is_rows:
            return values
        return values.movedim(self.class_dim, -1).reshape(-1, values.shape[self.class_dim])

    def labels(self, labels: Tensor) -> Tensor:
        """Class indices as (N,), class probabilities as (N, K)."""
        if self.is_rows:
            return labels
        return self.rows(labels) if labels.is_floating_point() else labels.reshape(-1)

    def each(self, values: Tensor, name: str) -> Tensor:
        """Values of the labels' shape, one for each sample, as (N,)."""
        if values.shape != self.shape:
            raise ValueError(
                f"{name} must have the shape of the labels, {tuple(self.shape)}, got "
                f"{tuple(values.shape)}"
            )
        return values.reshape(-1)

    def of_teacher(self, teacher_logits: Tensor | None) -> Tensor | None:
        """A teacher's logits as (N, K), or its one number for each sample as (N,)."""
        if teacher_logits is None or self.is_rows or not isinstance(teacher_logits, Tensor):
            return teacher_logits
        if teacher_logits.ndim == len(self.shape) + 1:
            return self.rows(teacher_logits)
        return self.each(teacher_logits, "teacher_logits")

    def of_index(self, index: Tensor | None) -> Tensor | None:
        """The samples' numbers as (N,)."""
        if index is None or self.is_rows:
            return index
        return self.each(index, "index")

    def counts(self, counts: Counts) -> Counts:
        """Counts as of rows: those on few classes have them last, (…, m)."""
        if self.is_rows:
            return counts
        if isinstance(counts, TwoLevel):
            return TwoLevel(*(self._level(level, "counts") for level in counts))
        if isinstance(counts, Sparse):
            m = counts.indices.shape[-1]
            rest = self._level(counts.elsewhere, "counts.elsewhere")
            return Sparse(counts.indices.reshape(-1, m), counts.values.reshape(-1, m), rest)
        return self.rows(counts) if isinstance(counts, Tensor) else counts

    def _level(self, level: Tensor | float, name: str) -> Tensor | float:
        return self.each(level, name) if isinstance(level, Tensor) else level


def layout_of(logits: Tensor, labels: Tensor, class_dim: int | None) -> Layout:
    """The layout of a batch: classes in ``class_dim``, by default where torch has them.

    Raises:
        ValueError: labels that do not go with such logits, with the layouts that would.
    """
    checks.floating(logits, "logits")
    checks.tensor(labels, "labels")
    ndim = logits.ndim
    if class_dim is None:
        dim = min(1, ndim - 1)
    else:
        checks.whole("class_dim", class_dim, -ndim, ndim - 1)
        dim = class_dim % ndim
    if ndim == 2 and dim == 1:  # what does not go together, the labels' own check says
        return Layout(1, logits.shape[:1])
    if ndim == 0:
        raise ValueError("logits must have a dimension of classes, got a number")
    shape = logits.shape[:dim] + logits.shape[dim + 1 :]
    if labels.dtype in checks.FLOATS:
        if labels.shape != logits.shape:
            raise ValueError(
                "labels given as class probabilities must have the shape of logits, "
                f"{tuple(logits.shape)}, got {tuple(labels.shape)}"
            )
    elif labels.shape != shape:
        raise ValueError(
            f"logits of shape {tuple(logits.shape)} have their {logits.shape[dim]} classes in "
            f"dimension {dim}, so labels must have shape {tuple(shape)}, got "
            f"{tuple(labels.shape)}{_elsewhere(logits, labels, dim)}"
        )
    elif class_dim is None and ndim > 2 and labels.shape == logits.shape[:-1]:
        _say_what_was_taken(logits)
    return Layout(dim, shape)


def _say_what_was_taken(logits: Tensor) -> None:
    if not torch.compiler.is_compiling():
        warnings.warn(
            f"logits of shape {tuple(logits.shape)} could have their classes in dimension 1 or in "
            "the last one: taken is 1, where torch has them, (B, K, …); pass class_dim=-1 for "
            "(B, …, K), or class_dim=1",
            stacklevel=5,
        )


def _elsewhere(logits: Tensor, labels: Tensor, dim: int) -> str:
    """What to do, where the labels go with classes in another dimension."""
    for other in (logits.ndim - 1, 1, 0):
        if other != dim and labels.shape == logits.shape[:other] + logits.shape[other + 1 :]:
            asked = -1 if other == logits.ndim - 1 else other
            return f"; for classes in dimension {other} pass class_dim={asked}"
    return "; torch has the classes in dimension 1, (B, K, …), and labels (B, …)"
