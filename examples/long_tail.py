"""Few samples of most classes: class weights, with and without Beta smoothing.

    python examples/long_tail.py

The weights are those of Cui et al. (CVPR 2019), (1 - β) / (1 - β^n) for a class of n samples.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import softprior

COUNTS = torch.tensor([400, 200, 100, 50, 25, 12, 6, 3])
K = len(COUNTS)
CENTRES = 1.6 * torch.randn(K, 6, generator=torch.Generator().manual_seed(7))


def samples(counts: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """So many samples of each class around its centre."""
    labels = torch.arange(K).repeat_interleave(counts)
    noise = torch.randn(len(labels), 6, generator=torch.Generator().manual_seed(seed))
    return CENTRES[labels] + noise, labels


def accuracy(criterion: nn.Module) -> tuple[float, float]:
    """Share of right answers among the three frequent classes and the three rare ones."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, K))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    inputs, labels = samples(COUNTS, seed=1)
    for _ in range(12):
        for index in torch.randperm(len(labels)).split(64):
            loss = criterion(net(inputs[index]), labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    inputs, labels = samples(torch.full((K,), 200), seed=2)
    right = (net(inputs).argmax(1) == labels).float()
    return right[labels < 3].mean().item(), right[labels >= K - 3].mean().item()


def main() -> None:
    """Print the accuracies of four criteria."""
    beta = 0.999
    weight = (1 - beta) / (1 - beta ** COUNTS.float())
    weight = weight * K / weight.sum()
    for name, criterion in {
        "nn.CrossEntropyLoss()": nn.CrossEntropyLoss(),
        "nn.CrossEntropyLoss(weight=weight)": nn.CrossEntropyLoss(weight=weight),
        "beta_smoothing(0.1)": softprior.beta_smoothing(0.1),
        "beta_smoothing(0.1, class_weight=weight)": softprior.beta_smoothing(
            0.1, class_weight=weight
        ),
    }.items():
        frequent, rare = accuracy(criterion)
        print(f"{name:42} frequent classes {frequent:.1%}, rare classes {rare:.1%}")


if __name__ == "__main__":
    main()
