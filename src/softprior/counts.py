"""Pseudo-counts: imaginary labels added to the one real label, in three forms.

A Dirichlet prior with concentration α acts on the loss only through ``α - 1``, its
*pseudo-counts*. They come

* **dense**: a tensor (B, K), one count for every sample and class; or
* **two-level**: :class:`TwoLevel`, one count on the label and one on every other class.
  Label smoothing and Beta smoothing are of this form; or
* **sparse**: :class:`Sparse`, counts on a few classes by index and one on every other class.

Of the last two no (B, K) target is built.
"""

from __future__ import annotations

import math
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from softprior import checks, devices


class TwoLevel(NamedTuple):
    """Counts ``on_label`` on the label and ``elsewhere`` on each of the other K - 1 classes.

    Each is a float or a tensor (B,). For labels given as class probabilities q the counts
    are linear in q, ``elsewhere + (on_label - elsewhere) · q_c``, so a one-hot q gives the
    same counts as its class index (ours; mixup and CutMix need it).
    """

    on_label: Tensor | float
    elsewhere: Tensor | float

    def total(self, num_classes: Tensor | int) -> Tensor | float:
        """Pseudo-counts per sample: ``on_label + (K - 1) · elsewhere``."""
        return self.on_label + (num_classes - 1) * self.elsewhere

    def dense(self, labels: Tensor, num_classes: int, dtype: torch.dtype | None = None) -> Tensor:
        """The same counts as a tensor (B, K)."""
        _check_dense(num_classes, dtype)
        checks.tensor(labels, "labels")
        soft = labels.dtype in checks.FLOATS
        shaped = labels.ndim == 2 and labels.shape[1] == num_classes if soft else labels.ndim == 1
        if not shaped or not (soft or labels.dtype in checks.INTEGERS):
            raise TypeError(
                "labels must be class indices (B,) or class probabilities (B, K), got shape "
                f"{tuple(labels.shape)} of {labels.dtype}"
            )
        dtype = dtype or torch.get_default_dtype()
        label = label_probabilities(labels, num_classes, dtype)
        on, off = (
            torch.as_tensor(level, dtype=dtype, device=label.device).reshape(-1, 1)
            for level in self
        )
        return off + (on - off) * label


class Sparse(NamedTuple):
    """Counts ``values`` on the classes ``indices`` and ``elsewhere`` on each of the others.

    Such as the few classes that a teacher finds likely, and what is left spread evenly.

    Attributes:
        indices: int64 (B, m), classes that differ within a row.
        values: (B, m).
        elsewhere: a float or a tensor (B,).

    >>> Sparse(torch.tensor([[2]]), torch.tensor([[0.4]]), 0.1).dense(4)
    tensor([[0.1000, 0.1000, 0.4000, 0.1000]])
    """

    indices: Tensor
    values: Tensor
    elsewhere: Tensor | float

    def total(self, num_classes: Tensor | int) -> Tensor:
        """Pseudo-counts per sample (B,): ``Σ values + (K - m) · elsewhere``."""
        rest: Tensor | float = (num_classes - self.indices.shape[1]) * self.elsewhere
        return self.values.sum(1) + rest

    def dense(self, num_classes: int, dtype: torch.dtype | None = None) -> Tensor:
        """The same counts as a tensor (B, K)."""
        _check_dense(num_classes, dtype)
        dtype = dtype or self.values.dtype
        off = torch.as_tensor(self.elsewhere, dtype=dtype, device=self.values.device)
        full = off.reshape(-1, 1).expand(len(self.values), num_classes)
        return full.scatter(1, self.indices, self.values.to(dtype))


Counts: TypeAlias = Tensor | TwoLevel | Sparse


def _check_dense(num_classes: int, dtype: torch.dtype | None) -> None:
    checks.whole("num_classes", num_classes, 2)
    if not (dtype is None or (isinstance(dtype, torch.dtype) and dtype in checks.FLOATS)):
        raise TypeError(f"dtype must be one of floating point, got {checks.shown(dtype)}")


def dense_counts(
    counts: Counts, labels: Tensor, num_classes: int, dtype: torch.dtype | None = None
) -> Tensor:
    """Counts of any form as a tensor (B, K)."""
    if isinstance(counts, TwoLevel):
        return counts.dense(labels, num_classes, dtype)
    if isinstance(counts, Sparse):
        return counts.dense(num_classes, dtype)
    return counts if dtype is None else counts.to(dtype)


def smoothing_of(
    counts: Counts, labels: Tensor, label_weight: Tensor | float, num_classes: Tensor | int
) -> Tensor:
    """How much each sample's target takes from its label, (B,):

        1 - (label_weight + counts_y) / (label_weight + Σ counts)

    ``labels`` are class indices (B,), < 0 where ignored: there it is 0, and so it is for a sample
    that has no target at all.
    """
    if labels.is_floating_point():
        raise ValueError("smoothing is measured of class indices; labels are class probabilities")
    valid = labels >= 0
    at = labels.clamp(min=0).unsqueeze(1)
    if isinstance(counts, TwoLevel):
        on_label, every = counts.on_label, counts.total(num_classes)
    elif isinstance(counts, Sparse):
        named = counts.indices == at
        on_label = torch.where(named.any(1), (counts.values * named).sum(1), counts.elsewhere)
        every = counts.total(num_classes)
    else:
        on_label, every = counts.gather(1, at).squeeze(1), counts.sum(1)
    whole = torch.as_tensor(label_weight + every, device=labels.device)
    return torch.where(valid & (whole > 0), (every - on_label) / whole, 0.0)


def label_probabilities(labels: Tensor, num_classes: int, dtype: torch.dtype) -> Tensor:
    """Labels as probabilities (B, K): one-hot rows for class indices; ignored rows are zero."""
    if labels.is_floating_point():
        return labels.to(dtype)
    classes = torch.arange(num_classes, device=labels.device)
    return (labels.unsqueeze(1) == classes).to(dtype)


def check_counts(
    logits: Tensor,
    counts: Counts,
    *,
    values: bool = True,
    signed: bool = False,
    valid: Tensor | None = None,
) -> None:
    """Raise unless ``counts`` go with ``logits`` (B, K).

    ``values=False`` looks at shapes only, and values of samples that are not ``valid`` are not
    looked at; ``signed`` allows counts below 0.
    """
    per_sample = logits.shape[:1]
    levels: tuple[tuple[str, Tensor | float, torch.Size], ...]
    if isinstance(counts, Tensor):
        levels = (("dense counts", counts, logits.shape),)
    elif isinstance(counts, TwoLevel):
        levels = (
            ("counts.on_label", counts.on_label, per_sample),
            ("counts.elsewhere", counts.elsewhere, per_sample),
        )
    elif isinstance(counts, Sparse):
        _check_indices(logits, counts.indices, values=values)
        levels = (
            ("counts.values", counts.values, counts.indices.shape),
            ("counts.elsewhere", counts.elsewhere, per_sample),
        )
    else:
        raise TypeError(
            "counts must be a tensor (B, K), softprior.Sparse or softprior.TwoLevel, got "
            f"{type(counts).__name__}"
        )
    for name, level, shape in levels:
        _check_level(name, level, shape, logits.device, values, signed, valid)


def _check_level(
    name: str,
    level: Tensor | float,
    shape: torch.Size,
    device: torch.device,
    values: bool,
    signed: bool,
    valid: Tensor | None,
) -> None:
    lowest = -math.inf if signed else 0
    if not isinstance(level, Tensor):
        checks.number(name, level, lowest)
        return
    checks.floating(level, name)
    if level.shape != shape:
        raise ValueError(f"{name} must have shape {tuple(shape)}, got {tuple(level.shape)}")
    if level.device != device:
        raise ValueError(f"{name} must be on the device of logits, {device}, got {level.device}")
    if not (values and devices.values_visible(level)):
        return
    if valid is not None:
        level = level[valid]
    if level.numel():
        low, high = (float(v) for v in level.detach().aminmax())
        if not (lowest <= low and -math.inf < low and high < math.inf):
            wanted = "finite" if signed else "finite and ≥ 0"
            raise ValueError(f"{name} must be {wanted}, found {low:g} to {high:g}")


def _check_indices(logits: Tensor, indices: object, *, values: bool) -> None:
    rows, classes = logits.shape
    checks.tensor(indices, "counts.indices")
    assert isinstance(indices, Tensor)
    if indices.dtype != torch.int64:
        raise TypeError(f"counts.indices must be int64, got {indices.dtype}; use .long()")
    if indices.ndim != 2 or len(indices) != rows or indices.shape[1] > classes:
        raise ValueError(
            f"counts.indices must have shape ({rows}, m) with m ≤ K = {classes}, got "
            f"{tuple(indices.shape)}"
        )
    if indices.device != logits.device:
        raise ValueError(
            f"counts.indices must be on the device of logits, {logits.device}, got {indices.device}"
        )
    if not (values and indices.numel() and devices.values_visible(indices)):
        return
    low, high = (int(v) for v in indices.aminmax())
    if low < 0 or high >= classes:
        raise ValueError(f"counts.indices must be in 0..{classes - 1}, found {low} to {high}")
    ordered = indices.sort(1).values
    twice = (ordered[:, 1:] == ordered[:, :-1]).any(1)
    if bool(twice.any()):
        row = int(twice.nonzero()[0])
        raise ValueError(
            f"counts.indices name a class twice in row {row} ({indices[row].tolist()}): add its "
            "values up first"
        )
