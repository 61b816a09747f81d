"""A multi-layer perceptron."""

from __future__ import annotations

import math

from torch import nn


def mlp(shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Two hidden layers of 128 units with ReLU.

    >>> sum(p.numel() for p in mlp((1, 8, 8), 10).parameters())
    26122
    """
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(shape), 128),
        nn.ReLU(inplace=True),
        nn.Linear(128, 128),
        nn.ReLU(inplace=True),
        nn.Linear(128, num_classes),
    )


NETWORKS = {"mlp": mlp}
