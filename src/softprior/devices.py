"""What can be asked of a device without making it wait, and of values that are not at hand."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor

_ASSERT = "aten::_assert_async.msg"
# Devices that can assert without stopping. CUDA's are not known of in a build for the CPU.
_ASSERTING = {"cuda", "meta"} | {
    device
    for device, key in (("xpu", "XPU"), ("mps", "MPS"))
    if torch._C._dispatch_has_kernel_for_dispatch_key(_ASSERT, key)
}


def values_visible(values: Tensor) -> bool:
    """Whether values may be read: eager mode, on the CPU, outside functional transforms."""
    return not torch.compiler.is_compiling() and values.device.type == "cpu" and not _transformed()


def assert_later(holds: Callable[[Tensor], Tensor], values: Tensor, message: str) -> None:
    """Raise with ``message`` unless all of ``holds(values)`` is true, where values are not visible.

    Nothing waits: an accelerator stops when it comes to it, as at an index out of range. Under
    torch.func all samples are looked at, at once; but nobody can while that is being compiled.
    """
    compiling, transformed = torch.compiler.is_compiling(), _transformed()
    if compiling and transformed:
        return
    right = holds(values.detach())
    if transformed:
        while torch._C._functorch.is_functorch_wrapped_tensor(right):
            right = torch._C._functorch.get_unwrapped(right)
    with torch._C._DisableFuncTorch() if transformed else nullcontext():
        if compiling or right.device.type in _ASSERTING:
            torch._assert_async(right.all(), message)
        elif not bool(right.all()):  # the CPU; MPS, which cannot assert, and would go on
            raise ValueError(message)


def _transformed() -> bool:
    """Whether this runs inside a functional transform, such as torch.func.vmap."""
    return torch._C._are_functorch_transforms_active()


def widest(device: torch.device) -> torch.dtype:
    """float64 where the device has it: MPS has not."""
    return torch.float32 if device.type == "mps" else torch.float64


def float64_of(values: Tensor) -> Tensor:
    """In float64; of a device that has none, on the CPU."""
    return (values if widest(values.device) == torch.float64 else values.cpu()).double()
