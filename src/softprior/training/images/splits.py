"""Random choices that depend on a key alone, and stratified ones."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def generator(*key: str | int) -> torch.Generator:
    """A generator that is a pure function of its key: streams never run into one another."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def stratified(labels: Tensor, fraction: float, g: torch.Generator) -> tuple[Tensor, Tensor]:
    """Indices of a random ``fraction`` of every class (at least one sample), and of the rest.

    Both ascend.
    """
    taken = torch.zeros(len(labels), dtype=torch.bool)
    for c in range(int(labels.max()) + 1):
        members = (labels == c).nonzero().squeeze(1)
        size = max(1, round(fraction * len(members)))
        taken[members[torch.randperm(len(members), generator=g)[:size]]] = True
    return taken.nonzero().squeeze(1), (~taken).nonzero().squeeze(1)
