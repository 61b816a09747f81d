"""The student as it was one epoch ago."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from softprior import checks
from softprior.component import at_least_float32
from softprior.labels import observed_labels, valid_mask
from softprior.margin import label_margin
from softprior.teachers.base import Setting, Teacher, TeacherSpec, frozen_copy, unwrapped
from softprior.teachers.memory import check_size, remember

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
LARGE = 1 << 30  # bytes: a memory above this is worth a line before it is made


@dataclass(frozen=True)
class PreviousEpoch(TeacherSpec):
    """The student's own prediction of each sample in the epoch before (PS-KD).

    Args:
        keep: ``"logits"`` remembers all predictions of two epochs, ``2 · n · K`` numbers: 10 GB in
            float32 for ImageNet; ``"network"`` keeps the previous epoch's network and asks it:
            the memory of one network, and a second forward pass.
        dtype: of the remembered logits: ``"float32"``, ``"float16"`` or ``"bfloat16"``.
        device: where they are kept, such as ``"cpu"``; None is the student's.

    >>> PreviousEpoch("network")
    PreviousEpoch(keep='network', dtype='float32', device=None)
    """

    keep: Literal["logits", "network"] = "logits"
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    device: str | None = None

    def __post_init__(self) -> None:
        checks.choice("keep", self.keep, ("logits", "network"))
        checks.choice("dtype", self.dtype, DTYPES)
        check_device(self.device)

    @property
    def has_network(self) -> bool:  # type: ignore[override]
        return self.keep == "network"

    @property
    def label(self) -> str:
        return "previous epoch's network" if self.keep == "network" else "previous epoch"

    def build(self, student: nn.Module, setting: Setting) -> Teacher:
        if self.keep == "network":
            return PreviousNetworkTeacher(student)
        classes = None if setting.ranks_only else setting.num_classes
        return PreviousLogitsTeacher(
            setting.num_samples, classes, dtype=DTYPES[self.dtype], device=self.device
        )


class PreviousLogitsTeacher(Teacher):
    """Two memories that change places at the end of each epoch: one teaches, one is written.

    Args:
        size: number of training samples; ``index`` counts them from 0.
        num_classes: K remembers whole logits; None one number per sample, the label's log-odds,
            which is enough for priors that only rank.
        dtype: of what is remembered.
        device: where it is kept whatever :meth:`to` says; None follows it.

    Until the first end of an epoch, and for samples not seen before, logits are 0.
    Above 1 GiB the size is said in a warning before it is allocated.
    """

    previous: Tensor
    current: Tensor

    def __init__(
        self,
        size: int,
        num_classes: int | None,
        *,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device | None = None,
    ) -> None:
        super().__init__()
        check_size(size, num_classes)
        if dtype not in DTYPES.values():
            raise ValueError(
                f"dtype must be one of {', '.join(f'torch.{d}' for d in DTYPES)}, got {dtype!r}"
            )
        check_device(device)
        shape = (size,) if num_classes is None else (size, num_classes)
        needed = 2 * size * (num_classes or 1) * dtype.itemsize
        if needed > LARGE:
            kept = " × ".join(f"{n:,}" for n in shape)
            warnings.warn(
                f"the previous epoch's logits take {needed / 1e9:.1f} GB (2 × {kept} {dtype}) on "
                f"{device or 'the device of the student'}; dtype='float16' halves it, device='cpu' "
                "moves it, keep='network' needs one network instead",
                stacklevel=2,
            )
        self.pinned = None if device is None else torch.device(device)
        self.register_buffer("previous", torch.zeros(shape, dtype=dtype, device=device))
        self.register_buffer("current", torch.zeros(shape, dtype=dtype, device=device))

    def forward(
        self,
        inputs: Tensor | None,
        index: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Tensor:
        rows = checks.sample_index(index, len(self.previous), self)
        device = rows.device if inputs is None else inputs.device
        outputs = self.previous[rows.to(self.previous.device)]
        return outputs.to(device, torch.promote_types(outputs.dtype, torch.float32))

    @torch.no_grad()
    def observe(self, model: nn.Module, logits: Tensor, labels: Tensor, index: Tensor) -> None:
        checks.logits_matrix(logits)
        labels = observed_labels(logits, labels)
        valid = valid_mask(labels)
        checks.finite_logits(logits, valid=valid)
        outputs = logits if self.current.ndim == 2 else label_margin(logits, labels)
        if outputs.shape[1:] != self.current.shape[1:]:
            raise ValueError(
                f"a memory of K = {self.current.shape[1]} classes cannot keep logits of shape "
                f"{tuple(logits.shape)}"
            )
        remember(self.current, outputs, valid, index, self)

    @torch.no_grad()
    def end_epoch(self, model: nn.Module) -> None:
        self.previous, self.current = self.current, self.previous

    def _apply(self, fn: Any, recurse: bool = True) -> PreviousLogitsTeacher:
        # What .to(device) would move stays where it was asked to be.
        if self.pinned is None:
            super()._apply(at_least_float32(fn), recurse)  # type: ignore[no-untyped-call]
        return self


def check_device(device: str | torch.device | None) -> None:
    """Raise ValueError unless torch knows a device of this name; None is the student's."""
    try:
        known = device is None or torch.device(device) is not None
    except (RuntimeError, TypeError):
        known = False
    if not known or isinstance(device, (bool, int)):
        raise ValueError(f"device must be such as 'cpu' or 'cuda:0', got {checks.shown(device)}")


class PreviousNetworkTeacher(Teacher):
    """The student's network as it was at the end of the epoch before, in eval mode.

    Args:
        network: the student; a copy of it teaches until the first epoch has ended.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = frozen_copy(network)

    @torch.no_grad()
    def forward(
        self, inputs: Tensor, index: Tensor | None = None, labels: Tensor | None = None
    ) -> Tensor:
        logits: Tensor = self.network(inputs)
        return logits

    @torch.no_grad()
    def end_epoch(self, model: nn.Module) -> None:
        self.network.load_state_dict(unwrapped(model).state_dict())
