"""Densely connected networks with bottlenecks and compression, DenseNet-BC.

Huang, Liu, van der Maaten and Weinberger, *Densely connected convolutional networks*, CVPR 2017.
Convolutions start as He et al. have them and the last layer with bias 0, as in the code of the
self-distillation paper.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from softprior.training.models.resnet import SMALL, head, initialise, stem


def densenet100(shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """DenseNet-BC of 100 layers and growth 12, the paper's: 0.8 M parameters.

    >>> sum(p.numel() for p in densenet100((3, 32, 32), 100).parameters())
    800032
    """
    return DenseNet(100, 12, shape, num_classes)


NETWORKS = {"densenet100": densenet100}
VERSION = 2  # 1: the last layer's bias as torch has it


class DenseNet(nn.Sequential):
    """Three dense blocks of (depth - 4) / 6 layers, with a halving between two of them.

    Images of more than 64 pixels are first taken to a quarter of their size, by the stem that the
    authors use for ImageNet.
    """

    def __init__(
        self, depth: int, growth: int, shape: tuple[int, int, int], num_classes: int
    ) -> None:
        channels, *size = shape
        super().__init__()
        width = 2 * growth
        # A layer begins with batch norm and ReLU itself: a small image needs none before it.
        # So does one that is small in one direction alone: two halvings follow.
        small = max(size) <= SMALL or min(size) < 16
        conv = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.stem = conv if small else stem(channels, width, small=False)
        for i in range(3):
            if i > 0:
                self.add_module(f"transition{i}", _transition(width, width // 2))
                width //= 2
            block = nn.Sequential()
            for _ in range((depth - 4) // 6):
                block.append(_Layer(width, growth))
                width += growth
            self.add_module(f"block{i + 1}", block)
        self.norm = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        self.head = head(width, num_classes)
        initialise(self)
        nn.init.zeros_(self.get_parameter("head.2.bias"))


class _Layer(nn.Module):
    """``growth`` new channels, from a 1×1 and a 3×3 convolution, after all that came before."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, 4 * growth, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.relu(self.bn1(x), inplace=True))
        y = self.conv2(F.relu(self.bn2(y), inplace=True))
        return torch.cat((x, y), 1)


def _transition(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.BatchNorm2d(inputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.AvgPool2d(2),
    )
