"""Mean and standard deviation of each channel."""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 2**24  # bytes looked at in one go, all channels: a mapped file is read once


def mean_and_std(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and (unbiased) standard deviation, each float32 (C,), of uint8 (n, H, W, C).

    From the counts of the 256 values: exact, and without a copy of the images in floats. A
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
