"""Gradient accumulation that is exact: parts of a batch with unequal numbers of tokens that count.

    python examples/accumulation.py

The mean of the parts' means is not the mean of the batch: a part with one token left would weigh
as much as one with a hundred. Add sums, and divide all of them by what the whole batch counts.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

import softprior

PADDING = -100


def batch() -> tuple[Tensor, Tensor]:
    """Inputs (B, T, D), and labels (B, T) of which the first sample has all, the last has one."""
    inputs, labels = torch.randn(4, 6, 8), torch.randint(5, (4, 6))
    for row, kept in enumerate((6, 5, 2, 1)):
        labels[row, kept:] = PADDING
    return inputs, labels


def gradient(net: nn.Module) -> Tensor:
    """All of it in one row."""
    return torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])


def main() -> None:
    """The gradient of the whole batch; of its parts in plain torch; of its parts in accelerate."""
    torch.manual_seed(0)
    net, (inputs, labels) = nn.Linear(8, 5), batch()
    whole, plain, parts = net, copy.deepcopy(net), copy.deepcopy(net)
    softprior.label_smoothing(0.1, class_dim=-1)(whole(inputs), labels).backward()

    criterion = softprior.label_smoothing(0.1, class_dim=-1, reduction="sum")
    count = (labels != PADDING).sum()
    for x, y in zip(inputs.split(1), labels.split(1), strict=True):
        (criterion(plain(x), y) / count).backward()
    torch.testing.assert_close(gradient(plain), gradient(whole))
    print(f"plain torch: the gradient of the batch, of {int(count)} tokens in 4 parts")

    try:
        from accelerate import Accelerator
    except ImportError:
        return print("accelerate is not installed")
    accelerator = Accelerator(gradient_accumulation_steps=4, cpu=True)
    model = accelerator.prepare(parts)
    for x, y in zip(inputs.split(1), labels.split(1), strict=True):
        with accelerator.accumulate(model):
            # accelerate divides by the number of parts, and averages over the processes
            times = accelerator.gradient_accumulation_steps * accelerator.num_processes
            accelerator.backward(criterion(model(x), y) * times / count)
    torch.testing.assert_close(gradient(accelerator.unwrap_model(model)), gradient(whole))
    return print("accelerate: the same")


if __name__ == "__main__":
    main()
