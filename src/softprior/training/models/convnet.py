"""A small convolutional network for images of 8 to 32 pixels."""

from __future__ import annotations

from torch import nn


def convnet(shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Two 3×3 convolutions with batch norm (32, 64 channels), pooling, one linear layer.

    >>> sum(p.numel() for p in convnet((1, 8, 8), 10).parameters())
    21482
    """
    channels, height, width = shape
    if min(height, width) < 4:
        raise ValueError(
            f"images of {height} × {width} pixels are too small for network convnet, which halves "
            "them twice: take a larger resolution, or another network, such as mlp"
        )
    return nn.Sequential(
        nn.Conv2d(channels, 32, 3, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * (height // 4) * (width // 4), num_classes),
    )


NETWORKS = {"convnet": convnet}
