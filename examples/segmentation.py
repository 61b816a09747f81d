"""A class for every pixel: logits (B, K, H, W), labels (B, H, W), and a rim that does not count.

    python examples/segmentation.py

One line differs from training with nn.CrossEntropyLoss(weight=…, ignore_index=255).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import softprior

VOID = 255


def discs(n: int, seed: int, size: int = 32) -> tuple[Tensor, Tensor]:
    """Noisy pictures (n, 1, H, W) of a disc in a ring, and what each pixel is; rims are void."""
    draw = torch.Generator().manual_seed(seed)
    at = torch.arange(size).float()
    centre = size * (0.35 + 0.3 * torch.rand(n, 2, 1, 1, generator=draw))
    radius = ((at[:, None] - centre[:, 0]) ** 2 + (at - centre[:, 1]) ** 2).sqrt()
    kind = (radius < 9).long() + (radius < 5).long()  # 0 outside, 1 ring, 2 disc
    kind[((radius - 9).abs() < 0.5) | ((radius - 5).abs() < 0.5)] = VOID
    light = torch.tensor([0.0, 1.0, 2.0])[kind.clamp(max=2)]
    return (light + 0.7 * torch.randn(light.shape, generator=draw)).unsqueeze(1), kind


def main() -> None:
    """Train for a few seconds; print the share of right pixels by class."""
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 5, padding=2), nn.ReLU()),
        nn.Conv2d(16, 3, 1),
    )
    rare = torch.tensor([1.0, 2.0, 5.0])  # the disc is small
    # criterion = nn.CrossEntropyLoss(weight=rare, ignore_index=VOID)
    criterion = softprior.beta_smoothing(0.1, class_weight=rare, ignore_index=VOID)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for step in range(60):
        images, labels = discs(16, seed=step)
        loss = criterion(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    images, labels = discs(64, seed=10_000)
    predicted = net(images).argmax(1)
    for number, name in enumerate(("outside", "ring", "disc")):
        right = (predicted == number)[labels == number].float().mean()
        print(f"{name}: {right:.1%} of the pixels")


if __name__ == "__main__":
    main()
