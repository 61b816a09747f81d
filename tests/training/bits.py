"""When two runs are one and the same."""

from __future__ import annotations

import torch

from softprior.training import Run


def timeless(history: list[dict[str, float]]) -> list[dict[str, float]]:
    """The rows of a history without what the clock says."""
    clock = ("seconds", "images_per_second")
    return [{key: value for key, value in row.items() if key not in clock} for row in history]


def same_bits(one: Run, other: Run) -> None:
    for epoch in ("last", "best"):
        for key, value in one.weights(epoch).items():
            assert torch.equal(value, other.weights(epoch)[key]), key
        for part in ("train", "validation", "test"):
            assert torch.equal(one.predictions(part, epoch)[0], other.predictions(part, epoch)[0])
    assert timeless(one.history) == timeless(other.history)
    assert one.outcome["best_epoch"] == other.outcome["best_epoch"]
