"""In which order a run sees its samples: a function of seed and epoch alone."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from softprior.training.images import generator
from softprior.training.runtime import Runtime


def order(n: int, batch_size: int, seed: int, epoch: int, runtime: Runtime) -> list[Tensor]:
    """The batches' indices of one epoch: a function of (seed, epoch) alone."""
    shuffled = torch.randperm(n, generator=generator("order", seed, epoch)).to(runtime.device)
    return _split(shuffled, batch_size, runtime)


def parts_of(index: Tensor, accumulate: int, runtime: Runtime) -> list[Tensor]:
    """A batch in the parts in which it is computed."""
    return _split(index, math.ceil(len(index) / accumulate), runtime)


def _split(index: Tensor, size: int, runtime: Runtime) -> list[Tensor]:
    chunks = list(torch.split(index, size))
    # Batch norm cannot train on one sample, and a process cannot on none.
    if len(chunks) > 1 and len(chunks[-1]) < min(size, 2 * runtime.processes):
        chunks[-2:] = [torch.cat(chunks[-2:])]
    return chunks
