"""Pseudo-counts: imaginary labels added to the one real label, in two forms.

A Dirichlet prior with concentration α acts on the loss only through ``α - 1``, its
*pseudo-counts*. They come

* **dense**: a tensor (B, K), one count for every sample and class; or
* **two-level**: :class:`TwoLevel`, one count on the label and one on every other class.
  Label smoothing and Beta smoothing are of this form, and no (B, K) target is built.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from softprior import checks


class TwoLevel(NamedTuple):
    """Counts ``on_label`` on the label and ``elsewhere`` on each of the other K - 1 classes.

    Each is a float or a tensor (B,). For labels given as class probabilities q the counts
    are linear in q, ``elsewhere + (on_label - elsewhere) · q_c``, so a one-hot q gives the
    same counts as its class index (ours; mixup and CutMix need it).
    """

    on_label: Tensor | float
    elsewhere: Tensor | float

    def total(self, num_classes: int) -> Tensor | float:
        """Pseudo-counts per sample: ``on_label + (K - 1) · elsewhere``."""
        return self.on_label + (num_classes - 1) * self.elsewhere

    def dense(self, labels: Tensor, num_classes: int, dtype: torch.dtype | None = None) -> Tensor:
        """The same counts as a tensor (B, K)."""
        dtype = dtype or torch.get_default_dtype()
        label = label_probabilities(labels, num_classes, dtype)
        on, off = (
            torch.as_tensor(level, dtype=dtype, device=label.device).reshape(-1, 1)
            for level in self
        )
        return off + (on - off) * label


Counts: TypeAlias = Tensor | TwoLevel


def label_probabilities(labels: Tensor, num_classes: int, dtype: torch.dtype) -> Tensor:
    """Labels as probabilities (B, K): one-hot rows for class indices; ignored rows are zero."""
    if labels.is_floating_point():
        return labels.to(dtype)
    classes = torch.arange(num_classes, device=labels.device)
    return (labels.unsqueeze(1) == classes).to(dtype)


def check_counts(logits: Tensor, counts: Counts, *, values: bool = True) -> None:
    """Raise unless ``counts`` go with ``logits`` (B, K); ``values=False`` looks at shapes only."""
    levels: tuple[tuple[str, Tensor | float, torch.Size], ...]
    if isinstance(counts, Tensor):
        levels = (("dense counts", counts, logits.shape),)
    elif isinstance(counts, TwoLevel):
        names = ("counts.on_label", "counts.elsewhere")
        levels = tuple((n, level, logits.shape[:1]) for n, level in zip(names, counts, strict=True))
    else:
        raise TypeError(
            f"counts must be a tensor (B, K) or softprior.TwoLevel, got {type(counts).__name__}"
        )
    for name, level, shape in levels:
        if not isinstance(level, Tensor):
            checks.number(name, level, 0)
            continue
        if level.shape != shape:
            raise ValueError(f"{name} must have shape {tuple(shape)}, got {tuple(level.shape)}")
        if not level.is_floating_point():
            raise TypeError(f"{name} must be floating point, got {level.dtype}")
        if level.device != logits.device:
            raise ValueError(
                f"{name} must be on the device of logits, {logits.device}, got {level.device}"
            )
        if values and checks.values_visible(level):
            low, high = (float(v) for v in level.detach().aminmax())
            if not (low >= 0 and high < float("inf")):
                raise ValueError(f"{name} must be finite and ≥ 0, found {low:g} to {high:g}")
