"""What the loss of a linear head is asked for: samples, and their targets some rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from softprior.counts import Counts, TwoLevel

Rows = slice | Tensor  # some of the flat samples: one after another, or by their numbers
# Logits at a time; and rows at least: each chunk reads and writes something of the size of weight.
_BLOCK, _ROWS = 1 << 22, 128


@dataclass(frozen=True)
class Problem:
    """The targets of N flat samples, and how their logits are made: all without a gradient.

    The counts are those of ``counts``, asked for some rows at a time; or they are ``two_level``, of
    all rows; or two-level and found out by ``of_margins`` from the label margins (N,) of a pass:
    then each row's ``label_weight + Σ counts`` is known before, and is ``total``.
    """

    labels: Tensor  # int64 (N,), < 0 where ignored
    valid: Tensor | None  # mask (N,), None where all count
    label_weight: Tensor | float
    product: torch.dtype  # of matrix products
    class_weight: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None
    chunk: int | None = None
    counts: Callable[[Rows], Counts] | None = None
    two_level: TwoLevel | None = None
    of_margins: Callable[[Tensor], TwoLevel] | None = None
    total: float = 0.0

    def parts(self, classes: int) -> Iterator[slice]:
        size = self.chunk or max(_BLOCK // classes, _ROWS)
        for start in range(0, len(self.labels), size):
            yield slice(start, min(start + size, len(self.labels)))

    def only(self, rows: Tensor) -> Problem:
        """Of the samples of these numbers, all of which count."""
        counts, of_margins = self.counts, self.of_margins

        def of_these(margins: Tensor) -> TwoLevel:
            assert of_margins is not None
            whole = margins.new_zeros(len(self.labels)).index_copy(0, rows, margins)
            return TwoLevel(*(cut(level, rows) for level in of_margins(whole)))

        return replace(
            self,
            labels=self.labels[rows],
            valid=None,
            label_weight=cut(self.label_weight, rows),
            counts=None if counts is None else lambda part: counts(rows[part]),
            two_level=self.two_level and TwoLevel(*(cut(v, rows) for v in self.two_level)),
            of_margins=None if of_margins is None else of_these,
        )

    def counts_of(self, rows: Rows) -> Counts:
        if self.two_level is not None:
            return TwoLevel(*(cut(level, rows) for level in self.two_level))
        assert self.counts is not None
        return self.counts(rows)

    def each_class(self, classes: int) -> Tensor | float:
        """Σ of the class weights."""
        return float(classes) if self.class_weight is None else self.class_weight.sum()

    def divisor(self) -> Tensor | int:
        """Of the mean: the number of samples that count, or Σ of their labels' class weights."""
        if self.class_weight is None:
            return len(self.labels) if self.valid is None else self.valid.sum().clamp(min=1)
        weights = self.class_weight[self.labels.clamp(min=0)]
        total = (weights if self.valid is None else weights * self.valid).sum()
        return torch.where(total == 0, 1.0, total)

    def column(self, level: Tensor | float, rows: Rows, dtype: torch.dtype) -> Tensor:
        """A number for each of the rows, (n, 1), 0 where ignored."""
        labels = self.labels[rows]
        if isinstance(level, Tensor):
            column = level.to(dtype).expand(len(labels))
        else:  # a number that would have to be copied to an accelerator makes it wait
            column = torch.full(labels.shape, level, dtype=dtype, device=labels.device)
        if self.valid is not None:
            column = column.masked_fill(~self.valid[rows], 0.0)
        return column.unsqueeze(1)


class Target(NamedTuple):
    """q of some rows: ``on`` at the label, ``off`` everywhere, ``more`` at the classes ``at``, and
    ``dense``, all added up; the class weights are in it, but for ``off``, which has them to come.
    """

    labels: Tensor  # (n, 1), 0 where ignored
    on: Tensor  # (n, 1)
    off: Tensor | None  # (n, 1)
    others: Tensor  # (n, 1): all but ``on``, summed over the classes
    at: Tensor | None = None  # (n, m)
    more: Tensor | None = None  # (n, m)
    dense: Tensor | None = None  # (n, K)


def target(
    problem: Problem, rows: Rows, counts: Counts, classes: int, dtype: torch.dtype
) -> Target:
    labels, w = problem.labels[rows].clamp(min=0).unsqueeze(1), problem.class_weight
    ignored = None if problem.valid is None else ~problem.valid[rows].unsqueeze(1)
    on = problem.column(cut(problem.label_weight, rows), rows, dtype)
    off = at = more = dense = None
    others = torch.zeros_like(on)
    if isinstance(counts, Tensor):
        dense = counts.to(dtype) if w is None else counts.to(dtype) * w
        dense = dense if ignored is None else dense.masked_fill(ignored, 0.0)
        others = others + dense.sum(1, keepdim=True)
    else:
        if isinstance(counts.elsewhere, Tensor) or counts.elsewhere != 0:
            off = problem.column(counts.elsewhere, rows, dtype)
            others = others + off * problem.each_class(classes)
        if isinstance(counts, TwoLevel):
            on = on + problem.column(counts.on_label, rows, dtype)
            on = on if off is None else on - off
        else:
            at, more = counts.indices, counts.values.to(dtype)
            more = more if ignored is None else more.masked_fill(ignored, 0.0)
            more = more if off is None else more - off
            more = more if w is None else more * w[at]
            others = others + more.sum(1, keepdim=True)
    return Target(labels, on if w is None else on * w[labels], off, others, at, more, dense)


def cut(level: Any, rows: Rows) -> Any:
    """Some rows of a tensor (N, ...); what is one number is that number in every row."""
    return level[rows] if isinstance(level, Tensor) and level.ndim else level
