"""Class weights, sample weights and masked classes: what they must look like."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from softprior import checks, devices
from softprior.counts import Counts, Sparse
from softprior.layout import Layout


def check_class_weight(class_weight: object, classes: int, device: torch.device) -> None:
    """Raise unless it is one finite number ≥ 0 for each class, (K,)."""
    _check_weights(class_weight, "class_weight", device)
    assert isinstance(class_weight, Tensor)
    if class_weight.shape != (classes,):
        raise ValueError(
            f"class_weight must have shape ({classes},), one for each class, got "
            f"{tuple(class_weight.shape)}"
        )


def sample_weights(sample_weight: object, layout: Layout, device: torch.device) -> Tensor:
    """One finite number ≥ 0 for each sample, of the labels' shape, as (N,)."""
    _check_weights(sample_weight, "sample_weight", device)
    assert isinstance(sample_weight, Tensor)
    return layout.each(sample_weight, "sample_weight")


def _check_weights(weight: object, name: str, device: torch.device) -> None:
    checks.floating(weight, name)
    assert isinstance(weight, Tensor)
    if weight.device != device:
        raise ValueError(
            f"{name} is on {weight.device} and logits on {device}; use {name}.to({str(device)!r})"
        )
    if devices.values_visible(weight) and weight.numel():
        low, high = (float(v) for v in weight.detach().aminmax())
        if not (low >= 0 and high < math.inf):
            raise ValueError(f"{name} must be finite and ≥ 0, found {low:g} to {high:g}")


def class_mask_rows(class_mask: object, logits: Tensor, layout: Layout) -> Tensor:
    """The mask, True where a class is masked: (K,) as it is, of the logits' shape as (N, K)."""
    checks.tensor(class_mask, "class_mask")
    assert isinstance(class_mask, Tensor)
    classes = logits.shape[layout.class_dim]
    if class_mask.dtype != torch.bool:
        raise TypeError(
            f"class_mask must be bool, True where a class is masked, got {class_mask.dtype}"
        )
    if class_mask.shape not in ((classes,), logits.shape):
        raise ValueError(
            f"class_mask must have shape ({classes},) or that of logits, {tuple(logits.shape)}, "
            f"got {tuple(class_mask.shape)}"
        )
    if class_mask.device != logits.device:
        raise ValueError(f"class_mask is on {class_mask.device}, logits on {logits.device}")
    return class_mask if class_mask.ndim == 1 else layout.rows(class_mask)


def check_masked(
    class_mask: Tensor, labels: Tensor, valid: Tensor | None, counts: Counts | None = None
) -> None:
    """Raise where a sample that counts has no class left, or its label, or counts, on a masked one.

    ``class_mask`` (K,) or (N, K), ``labels`` and ``counts`` are of rows.
    """
    mask = class_mask.expand(len(labels), class_mask.shape[-1])
    if labels.is_floating_point():
        on_masked = ((labels != 0) & mask).any(1)
    else:
        on_masked = mask.gather(1, labels.clamp(min=0).unsqueeze(1)).squeeze(1)
    _refuse(on_masked, valid, "labels are on a masked class (class_mask)")
    _refuse(mask.all(1), valid, "class_mask leaves no class")
    if isinstance(counts, Tensor):
        _refuse(((counts != 0) & mask).any(1), valid, "counts are on a masked class")
    elif isinstance(counts, Sparse):
        on_masked = mask.gather(1, counts.indices) & (counts.values != 0)
        _refuse(on_masked.any(1), valid, "counts are on a masked class")


def _refuse(wrong: Tensor, valid: Tensor | None, message: str) -> None:
    wrong = wrong if valid is None else wrong & valid
    if not devices.values_visible(wrong):
        devices.assert_later(torch.logical_not, wrong, message)
    elif bool(wrong.any()):
        at = int(wrong.nonzero()[0])
        raise ValueError(f"{message}: sample {at}, and {int(wrong.sum()) - 1} more")
