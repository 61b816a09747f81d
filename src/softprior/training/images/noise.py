"""Label noise with a known truth."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from softprior import checks

Kind = Literal["symmetric", "pair"]
KINDS = ("symmetric", "pair")


def noisy(labels: Tensor, classes: int, rate: float, kind: str, g: torch.Generator) -> Tensor:
    """Labels of which exactly ``round(rate · n)`` are wrong, drawn without replacement.

    * ``symmetric``: one of the other K - 1 classes, each as likely as the next;
    * ``pair``: class c becomes c + 1, the last becomes the first.

    An exact share, not a coin per sample: so that runs of several seeds differ in which labels
    are wrong and not in how many. With the same generator the samples that are wrong at a lower
    rate are wrong, and in the same way, at a higher one.
    """
    checks.number("label_noise", rate, 0, 1)
    checks.choice("noise_kind", kind, KINDS)
    order = torch.randperm(len(labels), generator=g)
    shift = torch.randint(1, classes, (len(labels),), generator=g)
    if kind == "pair":
        shift = torch.ones_like(shift)
    shift[order[round(rate * len(labels)) :]] = 0
    return (labels + shift) % classes
