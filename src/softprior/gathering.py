"""One batch out of the batches of all processes, for what depends on the batch as a whole."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def processes() -> int:
    """How many processes share the batch: 1 without torch.distributed, and while compiling."""
    if torch.compiler.is_compiling() or not dist.is_available() or not dist.is_initialized():
        return 1
    return dist.get_world_size()


def all_gather(part: Tensor) -> Tensor:
    """The whole batch (N · m, …) from every process's part of it (m, …).

    Sample j of process r is sample j · N + r of the whole batch: the reverse of
    ``index[rank::world]``. Every process must call this, with as many samples and the same dtype.
    """
    if processes() == 1:
        return part
    parts = [torch.empty_like(part) for _ in range(processes())]
    dist.all_gather(parts, part.contiguous())
    return torch.stack(parts, 1).flatten(0, 1)


def gathered(part: Tensor | None) -> Tensor | None:
    """The whole of what there may be none of, without gradient."""
    return None if part is None else all_gather(part.detach())


def local_shard(batch: Tensor) -> Tensor:
    """This process's samples (m,) of the whole batch (N · m,)."""
    return batch[dist.get_rank() :: processes()]
