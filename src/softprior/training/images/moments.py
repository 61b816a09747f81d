"""Mean and standard deviation of each channel."""

from __future__ import annotations

import torch
from torch import Tensor


def mean_and_std(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and (unbiased) standard deviation, each float32 (C,), of uint8 (n, H, W, C).

    From the counts of the 256 values: exact, and without a copy of the images in floats. A
    channel that never varies has deviation 1, so that dividing by it leaves it 0.
    """
    values = torch.arange(256, dtype=torch.float64)
    means, deviations = [], []
    for channel in range(pixels.shape[-1]):
        counts = torch.zeros(256, dtype=torch.int64)
        for chunk in torch.split(pixels, 4096):
            counts += torch.bincount(chunk[..., channel].reshape(-1), minlength=256)
        n = counts.sum()
        mean = (counts * values).sum() / n
        variance = (counts * (values - mean) ** 2).sum() / (n - 1).clamp(min=1)
        means.append(mean)
        deviations.append(variance.sqrt() if variance > 0 else torch.ones_like(variance))
    return torch.stack(means).float(), torch.stack(deviations).float()
