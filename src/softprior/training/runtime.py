"""The device and the processes that a run executes on, and what they mean for a batch.

N processes with batch B/N train as one with batch B: each takes every N-th sample of the same
batch, the loss is divided by the whole batch's size, and whatever a teacher learns from or a
prior ranks is the whole batch. (Batch norm sees each process's own part, as everywhere.)
"""

from __future__ import annotations

import atexit
import math
import os
from collections.abc import Callable
from typing import Any, Literal, TypeAlias, TypeVar

import torch
import torch.distributed as dist
from accelerate.accelerator import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils.dataclasses import DistributedDataParallelKwargs
from torch import Tensor, nn

from softprior.teachers import Teacher
from softprior.training.augment import EpochViews
from softprior.training.images import Dataset, Images
from softprior.training.models import OwnNetwork
from softprior.training.recipe import Recipe

IGNORED = -100
T = TypeVar("T")
AskTeacher: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
Prepared: TypeAlias = tuple[Callable[[Tensor], Tensor], AskTeacher | None]


class Runtime:
    """Accelerate, and how a batch is shared out.

    Args:
        precision: "fp32" or "bf16" (autocast in the networks).
        cpu: stay on the CPU where there is an accelerator.
    """

    def __init__(self, precision: str = "fp32", *, cpu: bool = False) -> None:
        started = launched()
        self.accelerator: Any = _accelerator(precision, cpu)
        if started > 1 == self.accelerator.num_processes and self.accelerator.device.type == "cpu":
            # Accelerate trains on the CPU with several processes where it is asked to stay there.
            self.accelerator = _accelerator(precision, cpu=True)
        if started > 1 == self.accelerator.num_processes:
            raise ValueError(
                f"{started} processes cannot train together on {self.accelerator.device}: take one "
                "process, or stay on the CPU (--cpu)"
            )
        self.device: torch.device = self.accelerator.device
        self.processes: int = self.accelerator.num_processes
        self.rank: int = self.accelerator.process_index
        self.is_main: bool = self.accelerator.is_main_process

    def prepare(self, model: nn.Module, teacher: Teacher | None, compiled: bool) -> Prepared:
        """Student and teacher as training calls them: the student under autocast, with gradients
        averaged over the processes; both through ``torch.compile`` where asked for."""
        student = self.accelerator.prepare_model(model)
        if not compiled:
            return student, teacher
        # A memory is looked up: there is no network in it to compile.
        ask_teacher: Any = teacher
        if teacher is not None and any(True for _ in teacher.children()):
            ask_teacher = torch.compile(teacher)
        return torch.compile(student), ask_teacher

    def place(self, data: Dataset) -> Dataset:
        """The whole data set on the device; pixels that it has no room for stay in memory."""
        pixels = sum(part.pixels.numel() for part in (data.train, data.validation, data.test))
        fits = pixels < _free(self.device) / 2

        def here(part: Images) -> Images:
            labels, clean = part.labels.to(self.device), part.clean.to(self.device)
            return Images(part.pixels.to(self.device) if fits else part.pixels, labels, clean)

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

    def batch_views(self, view: EpochViews, index: Tensor) -> Tensor:
        """The views of these samples, on the device, wherever the pixels are kept."""
        return view(index.to(view.views.pixels.device)).to(self.device)

    def total(self, value: Tensor) -> Tensor:
        """The sum over the processes."""
        if self.processes > 1:
            dist.all_reduce(value)
        return value

    def sync_buffers(self, model: nn.Module) -> None:
        """Average the buffers (running statistics) over the processes: the same for all."""
        if self.processes > 1:
            for buffer in model.buffers():
                if buffer.is_floating_point():
                    total = buffer.to(torch.promote_types(buffer.dtype, torch.float32))
                    dist.all_reduce(total)
                    buffer.copy_(total.div_(self.processes))

    def wait(self) -> None:
        """Go on when every process is here."""
        self.accelerator.wait_for_everyone()


def launched() -> int:
    """How many processes a launcher has started to train together; 1 without one."""
    if not {"RANK", "LOCAL_RANK", "WORLD_SIZE"} <= os.environ.keys():
        return 1
    return int(os.environ["WORLD_SIZE"])


def _accelerator(precision: str, cpu: bool) -> Any:
    before = _group()
    # Precision and device are global to a process in accelerate, and ours are the run's.
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(
        cpu=cpu,
        mixed_precision="bf16" if precision == "bf16" else "no",
        # Buffers are averaged after each step instead: see sync_buffers.
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
    )
    if before is None and (group := _group()) is not None:
        atexit.register(_leave, group)
    return accelerator


def _group() -> dist.ProcessGroup | None:
    """Of all processes that were launched together, where they have met."""
    return dist.group.WORLD if dist.is_available() and dist.is_initialized() else None


def _leave(group: dist.ProcessGroup) -> None:
    """End the process group, if it is still the one that was started here.

    Its threads may still put away the tensors of the last step. One that needs the interpreter for
    it when that is already at its end would abort the process, after all its work was done.
    """
    if group is _group():
        dist.destroy_process_group()


def first_says(ask: Callable[[], T]) -> T:
    """What the first of the processes answers, for all of them.

    What lies on a disk may be another thing a moment later, where another command is at work.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return ask()
    answer: list[Any] = [ask() if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(answer)
    said: T = answer[0]
    return said


def fastest_precision(model: str | OwnNetwork, cpu: bool = False) -> Literal["fp32", "bf16"]:
    """ "bf16" for a deep network, where the accelerator, or else the processor, multiplies it.

    Not for the two small networks of digits, whose layers are too small to gain by it. What bf16
    costs in accuracy and calibration: ``benchmarks/precision.py``.
    """
    if model in ("mlp", "convnet"):
        return "fp32"
    if torch.cuda.is_available() and not cpu:
        own = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        own = bool(_bf16_instructions())
    return "bf16" if own else "fp32"


def described(recipe: Recipe, cpu: bool = False) -> str:
    """On what a run executes, and how: one line for the user."""
    device = Runtime(recipe.precision, cpu=cpu).device
    if device.type == "cpu":
        threads = torch.get_num_threads()
        words = [f"cpu, {threads} thread{'s' * (threads > 1)}"]
    elif device.type == "cuda":
        words = [f"{device} ({torch.cuda.get_device_name(device)})"]
    else:
        words = [str(device)]
    if recipe.precision == "bf16":
        instructions = "".join(f" ({i})" for i in _bf16_instructions() if device.type == "cpu")
        words.append(f"bf16 autocast{instructions}")
    else:
        words.append("fp32")
    words += ["channels_last"] * recipe.channels_last + ["torch.compile"] * recipe.compile
    return ", ".join(words)


def _bf16_instructions() -> list[str]:
    """What the processor has for products in bfloat16, where the system tells."""
    names = ("amx_bf16", "avx512_bf16")
    try:
        with open("/proc/cpuinfo", encoding="ascii") as lines:
            flags = next((line.split() for line in lines if line.startswith("flags")), [])
    except OSError:
        return []
    return [name for name in names if name in flags][:1]


def _free(device: torch.device) -> float:
    """Bytes that the device has free; the CPU is where the data is already."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else math.inf
