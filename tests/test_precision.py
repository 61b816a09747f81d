"""What adds things up or averages them does so in float32 at least, on every device.

And how far rounding may take class probabilities from a sum of 1.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from properties import every
from softprior import (
    BetaPrior,
    EMATeacher,
    MemoryTeacher,
    PosteriorLoss,
    TwoLevel,
    diagnostics,
    matching,
    posterior_loss,
    priors,
)
from softprior.labels import sum_tolerance
from softprior.teachers.previous_epoch import PreviousLogitsTeacher
from softprior.teachers.stored import StoredTeacher

HALF = (torch.bfloat16, torch.float16)
close = torch.testing.assert_close


class Network(nn.Module):
    """Weights, running statistics and a counter."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)
        self.last = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(self.first(x)))  # type: ignore[no-any-return]


def averaged(teacher: EMATeacher) -> dict[str, Tensor]:
    """What is averaged, as the network uses it."""
    named = (*teacher.network.named_parameters(), *teacher.network.named_buffers())
    return {name: value for name, value in named if value.is_floating_point()}


def moved(network: nn.Module, to: float) -> None:
    with torch.no_grad():
        for value in (*network.parameters(), *network.buffers()):
            value.fill_(to)


CASTS: dict[str, Callable[[nn.Module, EMATeacher, torch.dtype], Any]] = {
    "before": lambda network, teacher, dtype: None,
    "the student, afterwards": lambda network, teacher, dtype: network.to(dtype),
    "both, afterwards": lambda network, teacher, dtype: (network.to(dtype), teacher.to(dtype)),
    "the teacher to float32 and back": lambda network, teacher, dtype: teacher.float().to(dtype),
}


@pytest.mark.parametrize("dtype", HALF)
@every(cast=list(CASTS), warmup=[False, True], at=[20])
def test_an_average_in_half_precision_follows_the_student(
    dtype: torch.dtype, cast: str, warmup: bool, at: int
) -> None:
    """As one in float64 does, weights and running statistics; ``at``: the step of the cast."""
    network = Network()
    network = network if "afterwards" in cast else network.to(dtype)
    decay = 0.99
    moved(network, 0)
    teacher = EMATeacher(network, decay, warmup=warmup)
    value, nothing = 0.0, torch.zeros(1, dtype=torch.long)
    for step in range(1, 121):
        if step == at:
            CASTS[cast](network, teacher, dtype)
        if step == 60:
            twin = EMATeacher(copy.deepcopy(teacher.network), decay, warmup=warmup)
            twin.load_state_dict(teacher.state_dict())
            teacher = copy.deepcopy(twin)
        to = 1.0 if step < 100 else 2.0
        moved(network, to)
        teacher.observe(network, torch.zeros(1, 2), nothing, nothing)
        kept = min(1 - 1 / (step + 1), decay) if warmup else decay
        value = kept * value + (1 - kept) * to
    for name, got in averaged(teacher).items():
        assert abs(got.float() - value).max() <= 2**-8 * value + 1e-5, name
    wanted = torch.float32 if cast == "the student, afterwards" else dtype
    assert {got.dtype for got in averaged(teacher).values()} == {wanted}
    assert teacher(torch.ones(5, 3, dtype=dtype)).dtype == wanted


def test_an_average_in_float32_keeps_no_second_one() -> None:
    names = EMATeacher(Network()).state_dict()
    assert {name.partition(".")[0] for name in names} == {"network", "_extra_state"}


REMEMBERS: dict[str, Callable[[], nn.Module]] = {
    "MemoryTeacher": lambda: MemoryTeacher(5, 3),
    "PreviousLogitsTeacher": lambda: PreviousLogitsTeacher(5, 3),
    "StoredTeacher": lambda: StoredTeacher(torch.randn(5, 3)),
    "running": lambda: PosteriorLoss(BetaPrior(among="running")),
    **{
        name: lambda kind=kind: PosteriorLoss(kind(), num_samples=5, num_classes=3)  # type: ignore[misc]
        for name, kind in priors.found().items()
    },
}


@pytest.mark.parametrize("name", REMEMBERS)
def test_what_is_remembered_is_not_cast(name: str) -> None:
    """With a model that it is part of; the device is followed, and float64."""
    for dtype in HALF:
        made = REMEMBERS[name]()
        before = {key: value.clone() for key, value in made.named_buffers()}
        nn.Sequential(nn.Linear(3, 3), made).to(dtype)
        after = dict(made.named_buffers())
        close(after, before, rtol=0, atol=0, equal_nan=True)
    wide = {b.dtype for b in REMEMBERS[name]().double().buffers()}
    assert wide <= {torch.float64, torch.int64}
    assert {b.device.type for b in REMEMBERS[name]().to("meta").buffers()} <= {"meta"}


def test_a_table_of_classes_counts_on_in_half_precision() -> None:
    """Sums in bfloat16 stop at 256."""
    criterion = PosteriorLoss(priors.found()["online"](), num_classes=2).bfloat16()
    logits = torch.tensor([[1.0, 0.0]], dtype=torch.bfloat16).expand(500, 2)
    for _ in range(4):
        criterion(logits, torch.zeros(500, dtype=torch.long))
    assert criterion.states["prior"].right.tolist() == [2000, 0]
    criterion.end_epoch()
    want = torch.softmax(torch.tensor([1.0, 0.0]), 0)
    close(criterion.states["prior"].means[0], want, rtol=1e-4, atol=1e-4)


class NoFloat64(TorchFunctionMode):
    """A device without float64: whatever is on it is marked, and refuses to become one."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        asked = [a for a in (*args, *kwargs.values()) if not isinstance(a, (list, tuple))]
        name = getattr(function, "__name__", "")
        there = isinstance(args[0] if args else None, torch.Tensor) and hasattr(args[0], "there")
        if name == "__get__" and there and getattr(function.__self__, "__name__", "") == "device":
            return torch.device("mps")
        if name == "cpu" or (name == "to" and torch.device("cpu") in asked):
            return function(*args, **kwargs).clone()
        if there and (name == "double" or torch.float64 in asked):
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        result = function(*args, **kwargs)
        marked = any(isinstance(a, torch.Tensor) and hasattr(a, "there") for a in asked)
        if isinstance(result, torch.Tensor) and marked:
            result.there = True  # type: ignore[attr-defined]
        return result


FUNCTIONS = {
    name: getattr(diagnostics, name)
    for name in diagnostics.__all__
    if inspect.isfunction(getattr(diagnostics, name))
}


@pytest.mark.parametrize("name", [*FUNCTIONS, "teacher_smoothing", "teacher_temperature"])
def test_nothing_is_float64_on_a_device_without_it(name: str) -> None:
    function: Callable[..., Any] = FUNCTIONS.get(name) or getattr(matching, name)
    more: dict[str, Any] = {}
    if name == "teacher_smoothing":
        more = {"temperature": 2.0, "weight": 0.4}
    if name == "teacher_temperature":
        more = {"smoothing": 0.15, "weight": 0.4}
    labels = torch.randint(4, (50,))
    logits = torch.randn(50, 4) + 3 * torch.eye(4)[labels]
    want = function(logits, labels, **more)
    logits.there = labels.there = True  # type: ignore[attr-defined]
    with NoFloat64():
        assert logits.device.type == "mps"
        with pytest.raises(TypeError, match="float64"):
            logits.double()
        got = function(logits, labels, **more)
    close(got, want, equal_nan=True)


def rounded() -> Iterator[tuple[torch.dtype, int]]:
    for dtype in (*HALF, torch.float32, torch.float64):
        for classes in (2, 10, 1000, 50_000):
            yield dtype, classes


@pytest.mark.parametrize(("dtype", "classes"), [*rounded()])
def test_probabilities_may_be_off_by_their_rounding(dtype: torch.dtype, classes: int) -> None:
    """And by no more; those in half precision then weigh as much as others. As in torch.func,
    which looks as an accelerator does."""
    scale = torch.tensor([0.0, 1.0, 3.0, 10.0])[:, None]
    q = torch.softmax(scale * torch.randn(4, classes, dtype=torch.float64), 1)
    q = (0.3 * q.to(dtype) + 0.7 * q.flip(0).to(dtype)).to(dtype)  # mixup
    logits, counts = torch.randn(4, classes), TwoLevel(0.1, 0.1)
    of = q.double() / q.double().sum(1, keepdim=True)

    def one(f: Tensor, labels: Tensor) -> Tensor:
        return posterior_loss(f[None], labels[None], counts)

    want = posterior_loss(logits.double(), of, counts, reduction="none")
    for got in (
        posterior_loss(logits + 100, q, counts, reduction="none"),
        torch.func.vmap(one)(logits, q),
        torch.func.vmap(one, in_dims=1)(logits.T.contiguous(), q.T.contiguous()),
    ):
        close(got.double(), want, rtol=2e-5, atol=2e-5)
    for factor in (1 + 3 * sum_tolerance(dtype, classes), 1 - 3 * sum_tolerance(dtype, classes)):
        wrong = (of * factor).to(dtype)
        with pytest.raises(ValueError, match=r"sum to 1 over the classes, row . sums to .* divide"):
            posterior_loss(logits, wrong, counts)
        with pytest.raises(ValueError, match="≥ 0 and sum to 1 over the classes"):
            torch.func.vmap(one)(logits, wrong)
