"""The small residual networks for 32 × 32 pixels, with stages of 16, 32 and 64 channels.

He, Zhang, Ren and Sun, *Deep residual learning for image recognition*, CVPR 2016, section 4.2:
6n + 2 layers, and shortcuts without parameters (option A), which give the 0.27 M and 0.46 M
parameters of their table 6. Implementations whose shortcuts are 1×1 convolutions with batch norm
(option B) have 2,752 parameters more: 0.078 M instead of 0.075 M for ResNet-8.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from softprior.training.models.resnet import BasicBlock, head, initialise


def resnet8(shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """ResNet-8: 0.075 M parameters.

    >>> sum(p.numel() for p in resnet8((3, 32, 32), 10).parameters())
    75290
    """
    return CifarResNet(1, 16, shape, num_classes)


def resnet20(shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """ResNet-20: 0.27 M parameters.

    >>> sum(p.numel() for p in resnet20((3, 32, 32), 10).parameters())
    269722
    """
    return CifarResNet(3, 16, shape, num_classes)


def resnet32(shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """ResNet-32: 0.46 M parameters.

    >>> sum(p.numel() for p in resnet32((3, 32, 32), 10).parameters())
    464154
    """
    return CifarResNet(5, 16, shape, num_classes)


def resnet8_wide(shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """ResNet-8 of twice the width behind a stem that keeps every fourth row: 0.30 M parameters.

    For a desk: the stem (a convolution of stride 2 and a max-pool, as the networks for large
    images have) leaves a sixteenth of the pixels, so that twice the width costs a quarter of
    ResNet-8, and still learns a few thousand images by heart.

    >>> sum(p.numel() for p in resnet8_wide((3, 32, 32), 10).parameters())
    298026
    """
    return CifarResNet(1, 32, shape, num_classes, pooled=True)


NETWORKS = {
    "resnet8": resnet8,
    "resnet20": resnet20,
    "resnet32": resnet32,
    "resnet8-wide": resnet8_wide,
}


class Padding(nn.Module):
    """The shortcut without parameters (option A): every other pixel, and channels of zeros."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.extra, self.stride = outputs - inputs, stride

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))


class CifarResNet(nn.Sequential):
    """A 3×3 convolution, three stages of n blocks, mean over the pixels, one linear layer."""

    def __init__(
        self,
        n: int,
        width: int,
        shape: tuple[int, int, int],
        num_classes: int,
        pooled: bool = False,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(shape[0], width, 3, 2 if pooled else 1, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )
        if pooled:
            self.stem.append(nn.MaxPool2d(3, 2, padding=1))
        self.stage1 = _stage(n, width, width, 1)
        self.stage2 = _stage(n, width, 2 * width, 2)
        self.stage3 = _stage(n, 2 * width, 4 * width, 2)
        self.head = head(4 * width, num_classes)
        initialise(self)


def _stage(n: int, inputs: int, width: int, stride: int) -> nn.Sequential:
    first = BasicBlock(inputs, width, stride, shortcut=Padding)
    return nn.Sequential(first, *(BasicBlock(width, width, 1) for _ in range(n - 1)))
