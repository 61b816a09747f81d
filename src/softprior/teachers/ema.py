"""The exponential moving average of the student."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from softprior import checks
from softprior.teachers.base import Setting, Teacher, TeacherSpec, frozen_copy, unwrapped

HALF = (torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class EMA(TeacherSpec):
    """The exponential moving average of the student's weights.

    Args:
        decay: in [0, 1).
        start: ``"copy"`` starts it at the student's weights, ``"random"`` at another
            initialisation (official code).
        mode: ``"eval"``, or ``"train"`` with batch statistics of its own (official code).

    >>> EMA(0.99)
    EMA(decay=0.99, start='copy', mode='eval')
    """

    decay: float = 0.999
    start: Literal["copy", "random"] = "copy"
    mode: Literal["eval", "train"] = "eval"
    has_network: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_decay(self.decay)
        checks.choice("start", self.start, ("copy", "random"))
        checks.choice("mode", self.mode, ("eval", "train"))

    @property
    def label(self) -> str:
        return "EMA"

    def build(self, student: nn.Module, setting: Setting) -> EMATeacher:
        start = student if self.start == "copy" else setting.another_network()
        if self.mode == "train":
            return EMATeacher(start, self.decay, buffers="own", training=True)
        return EMATeacher(start, self.decay)


class EMATeacher(Teacher):
    """A network whose weights follow the student's: mean teacher, and who ranks Beta smoothing.

        θ_ema ← d_t · θ_ema + (1 - d_t) · θ,    d_t = min(1 - 1/(t + 1), decay),  t = 1, 2, …

    so the first update averages the two and early weights are soon forgotten.

    Args:
        network: where the average starts: a copy of it is kept. Pass the student; or another
            network of the same architecture for the official code's start from random weights.
        decay: in [0, 1).
        warmup: False uses ``decay`` from the first step.
        buffers: ``"average"`` (running statistics are averaged like weights; integers copied),
            ``"copy"`` (taken from the student), or ``"own"`` (left to the EMA network's own
            forward passes, as in the official code together with ``training=True``).
        training: run the network in train mode (official code), not in eval mode.

    The average of a network in half precision is kept in float32, and cast where it is used.

    Source: paper (Beta smoothing) and its official code; starting from the student's weights,
    eval mode and averaged buffers: ours.

    >>> student = nn.Linear(3, 2)
    >>> teacher = EMATeacher(student, decay=0.999)
    >>> logits = student(torch.ones(4, 3))
    >>> teacher.observe(student, logits, torch.zeros(4).long(), torch.arange(4))
    >>> teacher.updates
    1
    """

    def __init__(
        self,
        network: nn.Module,
        decay: float = 0.999,
        *,
        warmup: bool = True,
        buffers: Literal["average", "copy", "own"] = "average",
        training: bool = False,
    ) -> None:
        super().__init__()
        _check_decay(decay)
        checks.flag("warmup", warmup)
        checks.flag("training", training)
        checks.choice("buffers", buffers, ("average", "copy", "own"))
        self.network = frozen_copy(network, training=training)
        self.decay = decay
        self.warmup = warmup
        self.buffer_rule = buffers
        self.updates = 0
        self.exact = nn.Module().eval()
        self._keep_exact({})

    @torch.no_grad()
    def forward(
        self, inputs: Tensor, index: Tensor | None = None, labels: Tensor | None = None
    ) -> Tensor:
        if isinstance(inputs, Tensor) and inputs.dtype in HALF and self._wider(inputs.device.type):
            inputs = inputs.float()  # the student was cast after its teacher was made
        logits: Tensor = self.network(inputs)
        return logits

    @torch.no_grad()
    def observe(self, model: nn.Module, logits: Tensor, labels: Tensor, index: Tensor) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"model must be a torch.nn.Module, got {checks.shown(model)}")
        student = unwrapped(model)
        mine, theirs = _paired(self.network.named_parameters(), student.named_parameters())
        buffers = _paired(self.network.named_buffers(), student.named_buffers())
        self.updates += 1
        decay = min(1 - 1 / (self.updates + 1), self.decay) if self.warmup else self.decay
        for to, of in zip(*buffers, strict=True):
            if self.buffer_rule == "average" and to.is_floating_point():
                mine.append(to)
                theirs.append(of)
            elif self.buffer_rule != "own":
                to.copy_(of)
        exact = dict(self.exact.named_buffers())
        if exact:
            mine = [exact.get(_key(name), to) for name, to in self._averaged().items()]
        theirs = [of.to(to.dtype) for to, of in zip(mine, theirs, strict=True)]
        torch._foreach_lerp_(mine, theirs, 1 - decay)
        for name, to in self._averaged().items() if exact else ():
            if _key(name) in exact:
                to.copy_(exact[_key(name)])

    def _averaged(self) -> dict[str, Tensor]:
        """What is averaged in the network, by name, in the order in which :meth:`observe` does."""
        averaged: dict[str, Tensor] = dict(self.network.named_parameters())
        if self.buffer_rule == "average":
            buffers = self.network.named_buffers()
            averaged.update((name, b) for name, b in buffers if b.is_floating_point())
        return averaged

    @torch.no_grad()
    def _keep_exact(self, before: Mapping[str, Tensor]) -> None:
        """Whatever is averaged and is of half precision, in float32, too.

        In bfloat16 an average stands still where a step moves it by less than 1/256. ``before``:
        more exact values than those of the network, by name.
        """
        self.exact = nn.Module().eval()
        for name, value in self._averaged().items():
            known = before.get(name, value)
            known = value if known.is_meta else known
            if value.dtype in HALF:
                self.exact.register_buffer(_key(name), known.to(value.device, torch.float32))
            elif name in before:
                value.copy_(known)

    def _apply(self, fn: Any, recurse: bool = True) -> EMATeacher:
        """``.half()`` and the like: of the network, and not of its averages."""
        exact = dict(self.exact.named_buffers())
        before = {name: exact.get(_key(name), value) for name, value in self._averaged().items()}
        before = {name: value.detach() for name, value in before.items()}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        narrow = any(value.dtype in HALF for value in self._averaged().values())
        if exact or narrow:
            self._keep_exact(before)
        return self

    def _wider(self, device: str) -> bool:
        """Whether the network wants float32, and no autocast sees to it."""
        if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
            return False
        return not any(value.dtype in HALF for value in self.network.parameters())

    def get_extra_state(self) -> Tensor:
        return torch.tensor(self.updates)

    def set_extra_state(self, state: Any) -> None:
        self.updates = int(state)


def _key(name: str) -> str:
    return name.replace(".", "/")  # a buffer's name has no dot


def _check_decay(decay: float) -> None:
    checks.number("decay", decay, 0, 1)
    if decay == 1:
        raise ValueError("decay must be in [0, 1), got 1: the average would never move")


Named = Iterable[tuple[str, Tensor]]


def _paired(mine: Named, theirs: Named) -> tuple[list[Tensor], list[Tensor]]:
    ours, others = list(mine), list(theirs)
    for one, other in zip_longest(ours, others):
        if one is None or other is None or one[1].shape != other[1].shape:
            raise ValueError(
                "the student's architecture is not that of the EMA network: "
                f"{_described(other)} against {_described(one)}"
            )
    return [t for _, t in ours], [t.detach() for _, t in others]


def _described(named: tuple[str, Tensor] | None) -> str:
    return "nothing" if named is None else f"{named[0]} {tuple(named[1].shape)}"
