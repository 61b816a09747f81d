"""Component: a part of a method that is chosen by name and hyper-parameters."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from softprior.batch import Batch

Self = TypeVar("Self", bound="State")


@dataclass(frozen=True)
class Component:
    """A frozen value of hyper-parameters: hashable, printable, comparable, without a tensor.

    Priors, penalties and teachers are components. Each lies in a file of its own and is found by
    it; one of your own may lie anywhere. What a component must remember while training it keeps
    in a module that it builds: see :class:`State` and :class:`softprior.teachers.Teacher`.

    Attributes:
        version: raised whenever equal hyper-parameters give other bits than before: runs of
            another version are other runs.
    """

    version: ClassVar[int] = 1

    @property
    def label(self) -> str:
        """What tables and figures call it."""
        return type(self).__name__


class State(nn.Module):
    """What a prior or a penalty remembers from step to step, kept by the criterion.

    All that it remembers stands in buffers, so that it is in the criterion's ``state_dict()``
    and a resumed run goes on alike. Nothing is remembered of ignored samples. A ``state_dict``
    of a criterion that lacks a buffer leaves it as it is.
    """

    def observe(self, batch: Batch) -> None:
        """Called once a step, after the optimizer, with the samples of all processes and parts."""

    def end_epoch(self) -> None:
        """Called at the end of each epoch, by ``criterion.end_epoch()``."""

    def _apply(self: Self, fn: Any, recurse: bool = True) -> Self:
        super()._apply(at_least_float32(fn), recurse)  # type: ignore[no-untyped-call]
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # torch would call the checkpoint of a criterion that remembers nothing incomplete.
        for name, value in self.named_buffers(recurse=False):
            state_dict.setdefault(prefix + name, value)
        super()._load_from_state_dict(state_dict, prefix, *args)


def at_least_float32(cast: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """What ``module._apply`` is given, such as by ``.half()``, but for what adds things up.

    Sums and averages in half precision stop growing: they only change the device.
    """

    def apply(value: Tensor) -> Tensor:
        new = cast(value)
        narrower = new.dtype.itemsize < min(4, value.dtype.itemsize)
        return value.to(new.device) if narrower and value.is_floating_point() else new

    return apply


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """What a component computes is of full precision, whatever the network runs in."""
    known = torch.amp.is_autocast_available(device.type)
    if known and torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def follow(state: nn.Module, device: torch.device) -> None:
    """Bring a state's buffers to the device of a batch, where they are not there yet."""
    if any(buffer.device != device for buffer in state.buffers()):
        state.to(device)
