"""Mean and standard deviation of each channel: of the training images, or known constants."""

from __future__ import annotations

import torch
from torch import Tensor

# Of red, green and blue, in 0..1: the constants that are passed from paper to paper, and stand in
# the code of the self-distillation paper, there for CIFAR-10, CIFAR-100 and Tiny-ImageNet.
CONSTANTS = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
NORMALISATIONS = ("training", *CONSTANTS)
CHUNK = 2**24  # bytes looked at in one go, all channels: a mapped file is read once


def mean_and_std(pixels: Tensor, normalisation: str = "training") -> tuple[Tensor, Tensor]:
    """What pixels are brought to 0 and 1 by, on the scale of 0..255: each float32 (C,).

    "training" are mean and (unbiased) standard deviation of the training images, uint8 (n, H, W,
    C); another name is that of constants.
    """
    if normalisation == "training":
        return _of_pixels(pixels)
    if (channels := pixels.shape[-1]) != 3:
        raise ValueError(
            f"normalisation {normalisation!r} is of red, green and blue, and the images have "
            f"{channels} channel: leave normalisation out"
        )
    mean, std = (255 * torch.tensor(of, dtype=torch.float64) for of in CONSTANTS[normalisation])
    return mean.float(), std.float()


def _of_pixels(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """From the counts of the 256 values: exact, and without a copy of the images in floats. A
    channel that never varies has deviation 1, so that dividing by it leaves it 0.
    """
    channels = pixels.shape[-1]
    counts = torch.zeros(channels, 256, dtype=torch.int64)
    for chunk in torch.split(pixels, max(1, CHUNK // pixels[0].numel())):
        for channel in range(channels):
            counts[channel] += torch.bincount(chunk[..., channel].reshape(-1), minlength=256)
    values = torch.arange(256, dtype=torch.float64)
    n = counts.sum(1)
    mean = (counts * values).sum(1) / n
    variance = (counts * (values - mean[:, None]) ** 2).sum(1) / (n - 1).clamp(min=1)
    std = torch.where(variance > 0, variance.sqrt(), 1.0)
    return mean.float(), std.float()
