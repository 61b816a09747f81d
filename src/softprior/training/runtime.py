"""The device and the processes that a run executes on, and what they mean for a batch.

N processes with batch B/N train as one with batch B: each takes every N-th sample of the same
batch, the loss is divided by the whole batch's size, and whatever a teacher learns from or a
prior ranks is the whole batch. (Batch norm sees each process's own part, as everywhere.)
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.distributed as dist
from accelerate.accelerator import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils.dataclasses import DistributedDataParallelKwargs
from torch import Tensor, nn

from softprior.training.images import Dataset, Images

IGNORED = -100


class Runtime:
    """Accelerate, and how a batch is shared out.

    Args:
        precision: "fp32" or "bf16" (autocast in the networks).
        cpu: stay on the CPU where there is an accelerator.
    """

    def __init__(self, precision: str = "fp32", *, cpu: bool = False) -> None:
        # The precision is global to a process in accelerate, and ours is the recipe's.
        AcceleratorState._reset_state()
        self.accelerator: Any = Accelerator(
            cpu=cpu,
            mixed_precision="bf16" if precision == "bf16" else "no",
            # Buffers are averaged after each step instead: see learnt_together.
            kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
        )
        self.device: torch.device = self.accelerator.device
        self.processes: int = self.accelerator.num_processes
        self.rank: int = self.accelerator.process_index
        self.is_main: bool = self.accelerator.is_main_process

    def prepare(self, model: nn.Module) -> nn.Module:
        """The model as training calls it: under autocast, gradients averaged over processes."""
        prepared: nn.Module = self.accelerator.prepare_model(model)
        return prepared

    def place(self, data: Dataset) -> Dataset:
        """The whole data set, on the device."""

        def here(part: Images) -> Images:
            return Images(*(tensor.to(self.device) for tensor in part))

        return data._replace(
            train=here(data.train),
            validation=here(data.validation),
            test=here(data.test),
            mean=data.mean.to(self.device),
            std=data.std.to(self.device),
        )

    def share(self, index: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """This process's part of a batch, ``index[rank::processes]``, and the labels of it.

        Where a batch cannot be divided evenly, the last ranks repeat a sample with an ignored
        label, so that all parts are equally long.
        """
        mine = index[self.rank :: self.processes]
        theirs = labels[mine]
        if len(mine) < math.ceil(len(index) / self.processes):
            mine = torch.cat([mine, index[:1]])
            theirs = torch.cat([theirs, torch.full_like(theirs[:1], IGNORED)])
        return mine, theirs

    def total(self, value: Tensor) -> Tensor:
        """The sum over the processes."""
        if self.processes > 1:
            dist.all_reduce(value)
        return value

    def learnt_together(self, model: nn.Module) -> None:
        """Average the buffers (running statistics) over the processes: the same for all."""
        if self.processes > 1:
            for buffer in model.buffers():
                if buffer.is_floating_point():
                    dist.all_reduce(buffer)
                    buffer.div_(self.processes)

    def wait(self) -> None:
        """Go on when every process is here."""
        self.accelerator.wait_for_everyone()
