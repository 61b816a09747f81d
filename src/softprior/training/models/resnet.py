"""Residual networks with stages of 64, 128, 256 and 512 channels.

He, Zhang, Ren and Sun, *Deep residual learning for image recognition*, CVPR 2016. Images of up to
64 pixels enter through a 3×3 convolution of stride 1 without pooling, as in the code of the
self-distillation paper; larger ones through a 7×7 convolution of stride 2 and a max-pool, and are
then torchvision's networks, parameter for parameter. All weights start as torch's layers have them,
as in that code: of convolutions, U(-1/√n, 1/√n) with n inputs.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

SMALL = 64  # pixels: up to here an image cannot spare four fifths of its rows at the door


def resnet18(shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """ResNet-18: 11.2 M parameters for 32 × 32 pixels and 100 classes."""
    return ResNet(BasicBlock, (2, 2, 2, 2), shape, num_classes)


def resnet34(shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """ResNet-34, the paper's: 21.3 M parameters for 32 × 32 pixels and 100 classes."""
    return ResNet(BasicBlock, (3, 4, 6, 3), shape, num_classes)


def resnet50(shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """ResNet-50: 23.7 M parameters for 32 × 32 pixels and 100 classes."""
    return ResNet(Bottleneck, (3, 4, 6, 3), shape, num_classes)


NETWORKS = {"resnet18": resnet18, "resnet34": resnet34, "resnet50": resnet50}
VERSION = 2  # 1: convolutions as He et al. have them


def projection(inputs: int, outputs: int, stride: int) -> nn.Module:
    """The shortcut where the shape changes: a 1×1 convolution with batch norm (option B)."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut."""

    expansion = 1

    def __init__(
        self,
        inputs: int,
        width: int,
        stride: int,
        shortcut: Callable[[int, int, int], nn.Module] = projection,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        same = stride == 1 and inputs == width
        self.shortcut = nn.Identity() if same else shortcut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        return F.relu(y + self.shortcut(x), inplace=True)


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions, the last with four times the width, and a shortcut."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = self.expansion * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else projection(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        return F.relu(y + self.shortcut(x), inplace=True)


class ResNet(nn.Sequential):
    """Stem, four stages of blocks, mean over the pixels, one linear layer."""

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: tuple[int, int, int, int],
        shape: tuple[int, int, int],
        num_classes: int,
    ) -> None:
        channels, *size = shape
        super().__init__()
        self.stem = stem(channels, 64, small=max(size) <= SMALL)
        inputs = 64
        for i, depth in enumerate(depths):
            width = 64 * 2**i
            stage = nn.Sequential()
            for j in range(depth):
                stage.append(block(inputs, width, 2 if i > 0 and j == 0 else 1))
                inputs = block.expansion * width
            self.add_module(f"stage{i + 1}", stage)
        self.head = head(inputs, num_classes)


def stem(channels: int, width: int, *, small: bool) -> nn.Sequential:
    """From pixels to the first ``width`` channels, at once or through a quarter of the size."""
    if small:
        first = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        return nn.Sequential(first, nn.BatchNorm2d(width), nn.ReLU(inplace=True))
    first = nn.Conv2d(channels, width, 7, 2, padding=3, bias=False)
    pool = nn.MaxPool2d(3, 2, padding=1)
    return nn.Sequential(first, nn.BatchNorm2d(width), nn.ReLU(inplace=True), pool)


def head(inputs: int, num_classes: int) -> nn.Sequential:
    """Mean over the pixels and one linear layer."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, num_classes))


def initialise(network: nn.Module) -> None:
    """Convolutions N(0, 2 / fan-out), after He et al., ICCV 2015; the rest as torch has it.

    For the families in the files beside this one: its own three start as torch's layers do.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
