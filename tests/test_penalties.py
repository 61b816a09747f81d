"""The laws of ``Penalty``'s docstring, over every penalty found in ``penalties/``.

A penalty dropped into that folder is tested with its defaults without being named here.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter

from properties import every, one_test_of_each
from softprior import Batch, PosteriorLoss, TeacherPrior, UniformPrior, penalties, records
from softprior.penalties import Penalty

B, K = 7, 5
WHEN: dict[str, Any] = {"epoch": 2, "epochs": 3}
close = torch.testing.assert_close
MADE = {
    name: {str(penalty): penalty for penalty in (kind(), kind(weight=0.7))}
    for name, kind in penalties.found().items()
}
every_penalty = one_test_of_each(MADE, "penalty")
KINDS = ["indices", "ignored", "probabilities"]


def batch(
    kind: str = "indices", dtype: torch.dtype = torch.float64, scale: float = 9.0
) -> tuple[Tensor, Tensor]:
    logits = (scale * torch.randn(B, K, dtype=torch.float64)).to(dtype).requires_grad_()
    labels = torch.randint(K, (B,))
    if kind == "ignored":
        labels[[1, 4]] = -1
    if kind == "probabilities":
        labels = torch.softmax(torch.randn(B, K, dtype=torch.float64), 1)
    return logits, labels


def ask(penalty: Penalty, logits: Tensor, labels: Tensor) -> Tensor:
    states = [(penalty, s) for s in [penalty.state(4 * B, K)] if s is not None]
    index = torch.arange(len(logits))
    return penalty(logits, Batch(logits, labels, index=index, states=states, **WHEN))


def criterion_of(penalty: Penalty, **options: Any) -> PosteriorLoss:
    """With all that a penalty may want to know."""
    known = {"num_samples": 4 * B, "num_classes": K, "ignore_index": -1}
    return PosteriorLoss(penalty=penalty, **{**known, **options})


def call(criterion: Callable[..., Tensor], *of: Tensor, **when: Any) -> Tensor:
    return criterion(*of, index=torch.arange(len(of[0])), **(when or WHEN))


@every_penalty
def test_value(penalty: Penalty) -> None:
    fields = {f.name: getattr(penalty, f.name) for f in dataclasses.fields(penalty)}
    assert type(penalty)(**fields) == penalty
    assert hash(type(penalty)(**fields)) == hash(penalty)
    assert dataclasses.replace(penalty, weight=penalty.weight + 1) != penalty
    assert penalty.label
    assert isinstance(type(penalty)(), Penalty)
    stored = json.loads(json.dumps(records.to_record("penalty", penalty)))
    assert records.from_record("penalty", stored, {}) == penalty
    with pytest.raises(dataclasses.FrozenInstanceError):
        penalty.weight = 1.0  # type: ignore[misc]
    with pytest.raises(ValueError, match=r"weight must be a number in \[0"):
        dataclasses.replace(penalty, weight=-0.1)


@every(kind=KINDS, dtype=[torch.float64, torch.float32, torch.bfloat16, torch.float16])
@every_penalty
def test_finite_and_never_in_half_precision(
    penalty: Penalty, kind: str, dtype: torch.dtype
) -> None:
    for scale in (3.0, None):
        logits, labels = batch(kind, dtype, scale or 1.0)
        if scale is None:
            logits = (logits.detach().sign() * 1e4).requires_grad_()
        got = ask(penalty, logits, labels)
        assert got.shape == (B,)
        assert got.dtype == torch.promote_types(dtype, torch.float32)
        (slope,) = torch.autograd.grad(got.sum(), logits)
        assert got.isfinite().all()
        assert slope.isfinite().all()
        close(got.double(), ask(penalty, logits.detach().double(), labels), rtol=1e-5, atol=1e-4)


@every(kind=KINDS)
@every_penalty
def test_gradcheck(penalty: Penalty, kind: str) -> None:
    logits, labels = batch(kind)
    assert torch.autograd.gradcheck(lambda f: ask(penalty, f, labels), logits)
    assert torch.autograd.gradgradcheck(lambda f: ask(penalty, f, labels), logits)


@every(kind=KINDS)
@every_penalty
def test_weight_shift_and_permutation(penalty: Penalty, kind: str) -> None:
    logits, labels = batch(kind)
    got = ask(penalty, logits, labels)
    close(ask(dataclasses.replace(penalty, weight=2 * penalty.weight), logits, labels), 2 * got)
    none = ask(dataclasses.replace(penalty, weight=0.0), logits, labels)
    assert not none.any()
    assert not torch.autograd.grad(none.sum(), logits)[0].any()
    close(ask(penalty, logits + torch.randn(B, 1, dtype=torch.float64), labels), got)
    order = torch.randperm(B)
    close(ask(penalty, logits[order], labels[order]), got[order])


@every_penalty
def test_ignored_samples_count_nothing(penalty: Penalty) -> None:
    """Whatever they contain; neither does their gradient."""
    logits, labels = batch("ignored")
    want = ask(penalty, logits, labels)
    assert not want[labels < 0].any()
    for value in (float("nan"), float("inf"), -float("inf"), 1e4):
        other = logits.detach().clone()
        other[labels < 0] = value
        other.requires_grad_()
        got = ask(penalty, other, labels)
        assert torch.equal(got, want)
        (slope,) = torch.autograd.grad(got.sum(), other)
        assert not slope[labels < 0].any()
        assert slope.isfinite().all()
    broken = logits.detach().clone()
    broken[0, 0] = torch.nan
    with pytest.raises(ValueError, match="logits has 1 entries that are not finite, the first in"):
        ask(penalty, broken, labels)


@every(kind=KINDS, reduction=["none", "mean", "sum"])
@every_penalty
def test_beside_cross_entropy_and_beside_a_prior(
    penalty: Penalty, kind: str, reduction: Any
) -> None:
    logits, labels = batch(kind)
    valid = torch.ones(B, dtype=torch.bool) if kind == "probabilities" else labels >= 0
    options: dict[str, Any] = {"reduction": "none"}
    if kind != "probabilities":
        options["ignore_index"] = -1

    extra = ask(penalty, logits, labels)
    teacher = torch.randn(B, K, dtype=torch.float64)
    y = labels if kind == "probabilities" else F.one_hot(labels.clamp(min=0), K).double()
    mixed = 0.6 * y + 0.4 * torch.softmax(teacher / 4, 1)
    distilled = F.cross_entropy(logits, mixed, reduction="none") * valid
    for prior, base in (
        (None, F.cross_entropy(logits, labels, **options)),
        (UniformPrior(0.2), F.cross_entropy(logits, labels, label_smoothing=0.2, **options)),
        (TeacherPrior(0.4, 4.0), distilled),
    ):
        each = base + extra
        want = {"none": each, "sum": each.sum(), "mean": each.sum() / valid.sum()}[reduction]
        got = call(criterion_of(penalty, prior=prior, reduction=reduction), logits, labels, teacher)
        close(got, want)
        slopes = [torch.autograd.grad(x.sum(), logits, retain_graph=True)[0] for x in (got, want)]
        close(*slopes)


@every_penalty
def test_all_ignored_is_zero(penalty: Penalty) -> None:
    logits, labels = batch()
    loss = call(criterion_of(penalty), logits, labels.fill_(-1))
    assert loss.item() == 0
    assert not torch.autograd.grad(loss, logits)[0].any()


@every(kind=KINDS)
@every_penalty
def test_autocast(penalty: Penalty, kind: str) -> None:
    logits, labels = batch(kind, torch.bfloat16)
    plain = call(criterion_of(penalty), logits, labels)
    with torch.autocast("cpu", torch.bfloat16):
        cast = call(criterion_of(penalty), logits, labels)
    assert cast.dtype == torch.float32
    close(cast, plain)
    close(*(torch.autograd.grad(loss, logits)[0] for loss in (cast, plain)))


@every_penalty
def test_what_is_remembered_goes_on(penalty: Penalty) -> None:
    """A copy gives the same losses, over batches and ends of epochs; nothing of ignored ones."""
    criterion, copy = criterion_of(penalty), criterion_of(penalty)
    for epoch in (1, 2):
        for kind in KINDS:
            call(criterion, *batch(kind), epoch=epoch, epochs=4)
        criterion.end_epoch()
    call(criterion, *batch("ignored"), epoch=3, epochs=4)
    before = {k: v.clone() for k, v in criterion.named_buffers()}
    logits, labels = batch()
    call(criterion, logits * torch.nan, torch.full_like(labels, -1), epoch=3, epochs=4)
    call(criterion.eval(), logits, labels, epoch=3, epochs=4)
    criterion.train().load_state_dict(nn.CrossEntropyLoss().state_dict())
    close(dict(criterion.named_buffers()), before, rtol=0, atol=0, equal_nan=True)
    copy.load_state_dict(criterion.state_dict())
    for epoch in (3, 4):
        for kind in KINDS:
            of = batch(kind)
            one, other = (call(c, *of, epoch=epoch, epochs=4) for c in (criterion, copy))
            assert torch.equal(one, other)
        for each in (criterion, copy):
            each.end_epoch()
    close(dict(copy.state_dict()), dict(criterion.state_dict()), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", MADE)
def test_compiles_in_one_graph(name: str) -> None:
    penalty = penalties.found()[name](weight=0.7)
    counter = CompileCounter()
    plain, traced = criterion_of(penalty), criterion_of(penalty)
    try:
        compiled = torch.compile(traced, fullgraph=True, backend=counter)
        for kind in ("ignored", "probabilities"):
            before = counter.frame_count
            for epoch in range(1, 5):
                of = batch(kind)
                got, want = (call(c, *of, epoch=epoch, epochs=4) for c in (compiled, plain))
                close(got, want)
                close(*(torch.autograd.grad(x, of[0])[0] for x in (got, want)))
            assert counter.frame_count <= before + 2
    finally:
        torch._dynamo.reset()


DROPPED = '''
"""A penalty of somebody's own."""

from dataclasses import dataclass

import torch

from softprior.component import State
from softprior.penalties.base import Penalty


class _Seen(State):
    def __init__(self):
        super().__init__()
        self.register_buffer("steps", torch.zeros(()), persistent=True)

    def observe(self, batch):
        self.steps += 1 if batch.valid is None else batch.valid.sum()


@dataclass(frozen=True)
class Squares(Penalty):
    """weight · the variance of the logits, more of it with each sample seen."""

    weight: float = 0.1

    def state(self, num_samples, num_classes):
        return _Seen()

    def losses(self, logits, batch):
        return self.weight * (1 + batch.state(self).steps) * logits.var(1, correction=0)
'''
# What is broken in a copy of it; the law that finds it.
BROKEN = {
    "shifted": ("logits.var(1, correction=0)", "logits.square().sum(1)", "test_weight_shift"),
    "of_batch": ("logits.var(1, correction=0)", "logits.var(0)[:1]", "test_finite_and"),
    "unweighted": ("self.weight *", "", "test_weight_shift"),
    "halved": ("logits.var(", "logits.half().float().var(", "test_finite_and_never"),
    "forgetful": ("persistent=True", "persistent=False", "test_what_is_remembered"),
    "stepwise": ("batch.valid.sum()", "1", "test_what_is_remembered"),
}


@pytest.mark.slow
def test_files_dropped_into_penalties_are_tested(
    run_with_dropped: Callable[..., tuple[str, set[str]]],
) -> None:
    """A lawful one passes; each broken copy of it does not."""
    sources, chosen = {"squares": DROPPED}, ["squares"]
    for name, (old, new, law) in BROKEN.items():
        assert old in DROPPED
        named = name.title().replace("_", "")
        sources[name] = DROPPED.replace(old, new).replace("Squares", named)
        chosen.append(f"({name} and {law})")
    report, failed = run_with_dropped(
        pathlib.Path(__file__), "penalties", sources, " or ".join(chosen)
    )
    assert not any("squares" in test for test in failed), report
    for name, (*_, law) in BROKEN.items():
        assert any(name in test and test.startswith(law) for test in failed), (name, report)
