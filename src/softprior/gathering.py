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


def interleaved(*columns: Tensor) -> list[Tensor]:
    """Numbers per sample (m,) of every process, as those of the whole batch (N · m,).

    Sample j of process r is sample j · N + r of the whole batch: the reverse of
    ``index[rank::world]``. Every process must call this, with as many samples and the same dtypes.
    """
    mine = torch.stack(columns)
    everyone = [torch.empty_like(mine) for _ in range(processes())]
    dist.all_gather(everyone, mine)
    return list(torch.stack(everyone, -1).flatten(1))


def own(whole: Tensor) -> Tensor:
    """This process's samples (m,) of the whole batch (N · m,)."""
    return whole[dist.get_rank() :: processes()]
