"""A label that is no class is an error wherever the loss is computed, and so is an index.

And what is only looked at, after ``criterion.eval()``, changes nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from softprior import (
    BetaPrior,
    MemoryTeacher,
    PosteriorLoss,
    Sparse,
    TwoLevel,
    beta_smoothing,
    confidence_penalty,
    devices,
    label_smoothing,
    posterior_loss,
    priors,
)
from softprior.teachers.previous_epoch import PreviousLogitsTeacher
from softprior.teachers.stored import StoredTeacher

B, K, IGNORED = 4, 3, -100
Loss = Callable[[Tensor, Tensor], Tensor]
AT = torch.tensor([[0]])
COUNTS: dict[str, Loss] = {
    "two-level": lambda f, y: posterior_loss(f, y, TwoLevel(0.1, 0.0)),
    "dense": lambda f, y: posterior_loss(f, y, torch.ones_like(f)),
    "sparse": lambda f, y: posterior_loss(
        f, y, Sparse(AT.expand(len(f), 1), torch.ones_like(f[:, :1]), 0.0)
    ),
    "beta": beta_smoothing(draw="quantile"),
    "label smoothing": label_smoothing(),
    "confidence penalty": confidence_penalty(),
}


def one_by_one(loss: Loss) -> Loss:
    return torch.func.vmap(lambda f, y: loss(f[None], y[None]))


def slopes(loss: Loss) -> Loss:
    each = torch.func.grad(lambda f, y: loss(f[None], y[None]))
    return torch.func.vmap(each)


def on_an_accelerator(loss: Loss) -> Loss:
    """Where values are not visible, and the device asserts (that of the CPU does so at once)."""

    def there(f: Tensor, y: Tensor) -> Tensor:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(devices, "values_visible", lambda values: False)
            patch.setattr(devices, "_ASSERTING", {"cpu"})
            return loss(f, y)

    return there


def without_assertions(loss: Loss) -> Loss:
    """Such as MPS, which has none: it is waited for."""

    def there(f: Tensor, y: Tensor) -> Tensor:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(devices, "values_visible", lambda values: False)
            return loss(f, y)

    return there


WAYS: dict[str, Callable[[Loss], Loss]] = {
    "plainly": lambda loss: loss,
    "an accelerator": on_an_accelerator,
    "without assertions": without_assertions,
    "vmap": one_by_one,
    "vmap of grad": slopes,
    "grad": lambda loss: torch.func.grad(loss),
    "compile": lambda loss: torch.compile(loss, backend="eager"),
    "compile of vmap": lambda loss: torch.compile(one_by_one(loss), backend="eager"),
}
TRACED = ("compile", "compile of vmap")


def wrong_labels() -> st.SearchStrategy[int]:
    far = st.integers(-(2**63), -1) | st.integers(K, 2**63 - 1)
    return (st.integers(-120, -1) | st.integers(K, K + 300) | far).filter(lambda y: y != IGNORED)


@pytest.fixture
def loss(name: str, way: str) -> Any:
    torch._dynamo.reset()
    yield WAYS[way](COUNTS[name])
    torch._dynamo.reset()
    # Where a graph of torch's own raises between its nodes, its no_grad is not undone.
    torch.set_grad_enabled(True)


@pytest.mark.filterwarnings("ignore")  # torch's own
@pytest.mark.parametrize(
    ("name", "way"),
    [
        *((name, way) for name in COUNTS for way in WAYS if way not in TRACED),
        *(("two-level", way) for way in TRACED),
        *(
            pytest.param(name, way, marks=pytest.mark.slow)
            for name in COUNTS
            for way in TRACED
            if name != "two-level"
        ),
    ],
)
def test_a_label_that_is_no_class_is_an_error(name: str, way: str, loss: Loss) -> None:
    """However the loss is asked for; and what ignore_index names is none."""

    @example(-7, 2)
    @example(K, 0)
    @example(-1, 1)
    @given(wrong_labels(), st.integers(0, B - 1))
    def law(wrong: int, place: int) -> None:
        logits, labels = torch.randn(B, K), torch.tensor([0, 2, IGNORED, 1])
        assert loss(logits, labels).isfinite().all()
        labels[place] = wrong
        with pytest.raises((ValueError, RuntimeError), match=r"labels must be in 0..2|out of boun"):
            loss(logits, labels)

    law()


REMEMBER: dict[str, Callable[[], Any]] = {
    "MemoryTeacher": lambda: MemoryTeacher(9, K),
    "margins": lambda: MemoryTeacher(9),
    "PreviousLogitsTeacher": lambda: PreviousLogitsTeacher(9, K),
    "StoredTeacher": lambda: StoredTeacher(torch.randn(9, K)),
}


@pytest.mark.parametrize("name", REMEMBER)
def test_indices_count_samples_and_are_no_masks(name: str) -> None:
    """Every integer dtype means the same; a mask, or a number, is refused; -1 is no sample."""
    ours = [torch.tensor(numbers) for numbers in ([0, 1, 1, 0], [1, 1, 0, 1], [8, 2, 0, 1])]
    for index in ours:
        want = REMEMBER[name]()
        logits, labels = torch.randn(B, K), torch.tensor([0, 1, 2, 1])
        for dtype in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.uint16):
            got = copy.deepcopy(want)
            for teacher, at in ((want, index), (got, index.to(dtype))):
                teacher.observe(None, logits, labels, at)
                teacher.end_epoch(None)
            assert torch.equal(got(None, index.to(dtype)), want(None, index))
            want = copy.deepcopy(got)
    teacher = REMEMBER[name]()
    for bad, error in (
        (ours[0].bool(), TypeError),
        (ours[0].float(), TypeError),
        ([0, 1, 1, 0], TypeError),
        (ours[0][None], ValueError),
        (torch.tensor(1), ValueError),
        (ours[0] - 1, ValueError),
        (ours[2] + 1, ValueError),
    ):
        with pytest.raises(error, match=r"^index must "):
            teacher(None, bad)
        if name != "StoredTeacher":  # which observes nothing
            with pytest.raises(error, match=r"^index must "):
                teacher.observe(None, logits, labels, bad)
    for wrong in (ours[0] - 1, ours[2] + 1):  # an index of -1 would be that of the last sample
        for way in (on_an_accelerator, without_assertions):
            with pytest.raises((ValueError, RuntimeError), match=r"index must be in 0\.\.8"):
                way(teacher)(None, wrong)  # type: ignore[arg-type]


PRIORS = {
    "beta": lambda: BetaPrior(),
    "beta, running": lambda: BetaPrior(among="running"),
    "beta, random order": lambda: BetaPrior(order="random", among="running"),
    **{name: kind for name, kind in priors.found().items() if name != "beta"},
}


@pytest.mark.parametrize("name", PRIORS)
def test_to_validate_more_often_changes_no_training(name: str) -> None:
    """Not one bit of the losses, nor of what is kept; and a validation is repeatable."""
    seldom = PosteriorLoss(PRIORS[name](), num_samples=40, num_classes=K)
    often = copy.deepcopy(seldom)
    for epoch in (1, 2, 3):
        logits, teacher, labels = torch.randn(8, K), torch.randn(8, K), torch.arange(8) % K
        more: dict[str, Any] = {"index": torch.arange(8), "epoch": epoch, "epochs": 3}
        often.eval()
        looked = [often(logits, labels, teacher, **more) for _ in range(epoch)]
        assert all(torch.equal(each, looked[0]) for each in looked)
        often.train()
        got, want = (c(logits, labels, teacher, **more) for c in (often, seldom))
        assert torch.equal(got, want)
        assert torch.equal(looked[0], want)  # the draws that training makes next
        for criterion in (often, seldom):
            criterion.end_epoch()
    for key, value in seldom.state_dict().items():
        torch.testing.assert_close(often.state_dict()[key], value, rtol=0, atol=0, equal_nan=True)
