"""linear_posterior_loss and LinearPosteriorLoss: what the plain way gives, without its logits."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from softprior import (
    Batch,
    BetaPrior,
    PosteriorLoss,
    Prior,
    Sparse,
    TeacherPrior,
    TwoLevel,
    UniformPrior,
    checks,
    penalties,
    posterior_loss,
    priors,
)
from softprior.counts import Counts, dense_counts
from softprior.linear import LinearPosteriorLoss, TeacherHead, autograd, linear_posterior_loss

FORMS = ("none", "numbers", "levels", "sparse", "teacher", "map")
float64 = torch.float64


def head(rows: int, width: int, classes: int, dtype: torch.dtype = float64) -> list[Tensor]:
    """hidden, weight and bias, of which not all lie one after another in memory."""
    hidden = torch.randn(rows, 2 * width, dtype=dtype)[:, ::2]
    return [hidden, torch.randn(width, classes, dtype=dtype).t(), torch.randn(classes, dtype=dtype)]


def counts_of(form: str, rows: int, classes: int, dtype: torch.dtype = float64) -> Any:
    if form == "none":
        return None
    if form == "numbers":
        return TwoLevel(0.3, 0.02)
    if form == "levels":
        return TwoLevel(torch.rand(rows, dtype=dtype), torch.rand(rows, dtype=dtype) / classes)
    if form == "sparse":
        m = min(3, classes)
        few = torch.stack([torch.randperm(classes)[:m] for _ in range(rows)])
        return Sparse(few, torch.rand(rows, m, dtype=dtype), torch.rand(rows, dtype=dtype) / 9)
    hidden, weight, bias = head(rows, 3, classes, dtype)
    kind = "map" if form == "map" else "none"
    return TeacherHead(hidden, weight, bias, 0.4, 2.0, kind, scale=1.5, softcap=3.0)


def capped(f: Tensor, scale: float, softcap: float | None) -> Tensor:
    f = scale * f
    return f if softcap is None else softcap * torch.tanh(f / softcap)


def teacher_counts(teacher: TeacherHead) -> Tensor:
    """As TeacherPrior has it, of whole logits."""
    assert teacher.bias is not None
    f = capped(teacher.hidden @ teacher.weight.t() + teacher.bias, teacher.scale, teacher.softcap)
    batch = Batch(f, torch.zeros(len(f), dtype=torch.int64), f)
    answer = TeacherPrior(teacher.strength, teacher.temperature, teacher.weighting)(batch)
    assert isinstance(answer, Tensor)
    return answer


def plain(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    counts: Any,
    *,
    bias: Tensor | None = None,
    softcap: float | None = None,
    scale: float = 1.0,
    **options: Any,
) -> Tensor:
    """posterior_loss of whole logits."""
    f = hidden @ weight.t() if bias is None else hidden @ weight.t() + bias
    counts = teacher_counts(counts) if isinstance(counts, TeacherHead) else counts
    counts = TwoLevel(0.0, 0.0) if counts is None else counts
    return posterior_loss(capped(f, scale, softcap), labels, counts, **options)


@st.composite
def problems(draw: st.DrawFn) -> dict[str, Any]:
    rows, classes = draw(st.integers(1, 9)), draw(st.integers(2, 12))
    return {
        "seed": draw(st.integers(0, 2**31)),
        "shape": (rows, draw(st.integers(1, 5)), classes),
        "form": draw(st.sampled_from(FORMS)),
        "dtype": draw(st.sampled_from([float64, torch.float32])),
        "ignored": draw(st.sets(st.integers(0, rows - 1))),
        "biased": draw(st.booleans()),
        "weighted": draw(st.booleans()),
        "wanted": draw(st.lists(st.booleans(), min_size=3, max_size=3)),
        "options": {
            "label_weight": draw(st.sampled_from([1.0, 0.6, 0.0, -0.5])),
            "softcap": draw(st.sampled_from([None, 2.0])),
            "scale": draw(st.sampled_from([1.0, 0.3, 2.5])),
            "reduction": draw(st.sampled_from(["mean", "sum", "none"])),
        },
        "chunk": draw(st.sampled_from([None, 1, 3, 20])),
        "masked": draw(st.booleans()),
    }


def check(problem: dict[str, Any]) -> None:
    """Equal to the plain way: value, the gradients asked for, and those of a second backward."""
    torch.manual_seed(problem["seed"])
    rows, _, classes = problem["shape"]
    dtype, options = problem["dtype"], dict(problem["options"])
    inputs = head(*problem["shape"], dtype)
    counts = counts_of(problem["form"], rows, classes, dtype)
    labels = torch.randint(classes, (rows,))
    clean = [x.clone() for x in inputs]
    for row in problem["ignored"]:
        labels[row] = -100
        inputs[0][row] = torch.nan
    if problem["weighted"]:
        options["class_weight"] = torch.rand(classes, dtype=dtype) + 0.1
    for one, same, want in zip(inputs, clean, problem["wanted"], strict=True):
        one.requires_grad_(want)
        same.requires_grad_(want)
    pair = [(*xs[:2], xs[2] if problem["biased"] else None) for xs in (inputs, clean)]
    (h, w, b), (h_, w_, b_) = pair
    with pytest.MonkeyPatch.context() as patch:
        if problem["masked"]:  # as on an accelerator, which is not asked which samples count
            patch.setattr(autograd, "_kept", lambda problem: None)
        options["chunk"] = problem["chunk"]
        loss = linear_posterior_loss(h, w, labels, counts, bias=b, **options)
        del options["chunk"]
    wanted = plain(h_, w_, labels, counts, bias=b_, **options)
    near = {"rtol": 1e-12, "atol": 1e-12} if dtype == float64 else {"rtol": 1e-5, "atol": 2e-5}
    torch.testing.assert_close(loss, wanted, **near)
    asked = [(x, y) for x, y in zip(*pair, strict=True) if x is not None and x.requires_grad]
    if not asked:
        assert not loss.requires_grad
        return
    upstream = torch.randn_like(loss)
    expected = torch.autograd.grad(wanted, [y for _, y in asked], upstream)
    for retain in (True, False):
        made = torch.autograd.grad(loss, [x for x, _ in asked], upstream, retain_graph=retain)
        for gradient, other in zip(made, expected, strict=True):
            torch.testing.assert_close(gradient, other, **near)


@settings(max_examples=25)
@given(problem=problems())
def test_equals_the_plain_way(problem: dict[str, Any]) -> None:
    check(problem)


@pytest.mark.slow
@settings(max_examples=500)
@given(problem=problems())
def test_five_hundred_problems_equal_the_plain_way(problem: dict[str, Any]) -> None:
    check(problem)


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("form", FORMS)
def test_gradcheck(form: str, softcap: float | None) -> None:
    rows, classes = 4, 5
    batched = form == "levels"  # is_grads_batched=True
    inputs = [x.requires_grad_() for x in head(rows, 2, classes)]
    labels = torch.tensor([0, 4, -100, 2])
    counts, w = counts_of(form, rows, classes), torch.rand(classes, dtype=float64) + 0.1

    def loss(h: Tensor, weight: Tensor, bias: Tensor, reduction: Any, **more: Any) -> Tensor:
        options = {"softcap": softcap, "scale": 1.3, "chunk": 3, "reduction": reduction, **more}
        return linear_posterior_loss(h, weight, labels, counts, bias=bias, **options)

    for reduction, more in (("mean", {"class_weight": w}), ("none", {})):
        call = lambda *given, r=reduction, m=more: loss(*given, r, **m)  # noqa: E731
        assert torch.autograd.gradcheck(call, inputs, check_batched_grad=batched)
    call = lambda *given: loss(*given, "mean")  # noqa: E731
    assert torch.autograd.gradgradcheck(call, inputs, fast_mode=True)


def test_the_known_algebra() -> None:
    """With counts on / off and total t: t · CE + K · off · (h·W_y - h·mean W) beside the label."""
    hidden, weight, _ = head(6, 4, 7)
    labels, on, off = torch.randint(7, (6,)), 0.7, 0.05
    total = on + 6 * off
    hard = torch.nn.functional.cross_entropy(hidden @ weight.t(), labels, reduction="none")
    rest = (hidden * (weight[labels] - weight.mean(0))).sum(1)
    found = linear_posterior_loss(
        *(hidden, weight, labels, TwoLevel(on, off)), label_weight=0.0, reduction="none"
    )
    torch.testing.assert_close(found, total * hard + 7 * off * rest, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("form", FORMS)
def test_all_ignored_is_zero(form: str, reduction: Any) -> None:
    inputs = head(3, 2, 4)
    inputs[0].fill_(torch.nan)
    inputs = [x.requires_grad_() for x in inputs]
    labels = torch.full((3,), -100)
    for w in (None, torch.rand(4)):
        options = {"reduction": reduction, "bias": inputs[2], "class_weight": w}
        counts = counts_of(form, 3, 4)
        loss = linear_posterior_loss(inputs[0], inputs[1], labels, counts, **options)
        assert bool((loss == 0).all())
        for gradient in torch.autograd.grad(loss.sum(), inputs):
            assert bool((gradient == 0).all())


def test_leading_shapes() -> None:
    hidden, weight, _ = head(6, 4, 7)
    labels = torch.randint(7, (6,))
    levels, few = counts_of("levels", 6, 7), counts_of("sparse", 6, 7)
    teacher = counts_of("teacher", 6, 7)
    shaped = (
        (levels, TwoLevel(*(v.reshape(2, 3) for v in levels))),
        (few, Sparse(*(v.reshape(2, 3, *v.shape[1:]) for v in few))),
        (
            TeacherHead(teacher.hidden, teacher.weight),
            TeacherHead(teacher.hidden.reshape(2, 3, -1), teacher.weight),
        ),
    )
    for flat, other in shaped:
        wanted = linear_posterior_loss(hidden, weight, labels, flat, reduction="none")
        found = linear_posterior_loss(
            hidden.reshape(2, 3, 4), weight, labels.reshape(2, 3), other, reduction="none"
        )
        assert found.shape == (2, 3)
        assert torch.equal(found.flatten(), wanted)
    one = linear_posterior_loss(hidden[0], weight, labels[0], reduction="none")
    assert one.shape == ()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("way", ["inputs", "autocast"])
@pytest.mark.parametrize("form", FORMS)
def test_half_precision(form: str, way: str, dtype: torch.dtype) -> None:
    """As near to float64 as the plain way, which makes its products in half precision too."""
    rows, classes = 40, 50
    given = [x / 2 for x in head(rows, 8, classes, torch.float32)]
    counts = counts_of(form, rows, classes, torch.float32)
    labels = torch.randint(classes, (rows,))
    labels[3] = -100

    def run(function: Any, kind: torch.dtype) -> list[Tensor]:
        inputs = [x.to(dtype).to(kind).requires_grad_() for x in given]
        loss = function(inputs[0], inputs[1], labels, counts, bias=inputs[2])
        return [loss.detach(), *torch.autograd.grad(loss, inputs)]

    exact = run(plain, torch.float32)
    with torch.autocast("cpu", dtype, enabled=way == "autocast"):
        kind = torch.float32 if way == "autocast" else dtype
        found = run(lambda *a, **k: linear_posterior_loss(*a, **k, chunk=7), kind)
        usual = run(plain, kind)
    assert found[0].dtype == torch.float32
    for mine, theirs, right in zip(found, usual, exact, strict=True):
        error = float((mine.float() - right).norm() / right.norm())
        assert error <= 1.5 * float((theirs.float() - right).norm() / right.norm()) + 2e-3


def test_nearly_right_samples_keep_their_gradient() -> None:
    """1 - p of the label is 1e-12 here, and 0 as a difference in float32."""
    hidden = torch.tensor([[28.0, 0.0]], requires_grad=True)
    loss = linear_posterior_loss(hidden, torch.eye(2), torch.tensor([0]))
    loss.backward()
    assert hidden.grad is not None
    wanted = torch.exp(torch.tensor(-28.0))
    torch.testing.assert_close(loss.detach(), wanted, rtol=1e-5, atol=0)
    torch.testing.assert_close(hidden.grad, torch.stack([-wanted, wanted])[None], rtol=1e-5, atol=0)


@pytest.mark.parametrize("form", FORMS)
def test_functional_transforms_are_right(form: str) -> None:
    hidden, weight, bias = head(4, 3, 5)
    labels, counts = torch.tensor([0, 4, -100, 2]), counts_of(form, 4, 5)

    def loss(h: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return linear_posterior_loss(h, w, labels, counts, bias=b)

    found = torch.func.grad(loss, (0, 1, 2))(hidden, weight, bias)
    inputs = [x.clone().requires_grad_() for x in (hidden, weight, bias)]
    wanted = torch.autograd.grad(plain(*inputs[:2], labels, counts, bias=inputs[2]), inputs)
    for mine, right in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, right, rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch's own, of a graph break
def test_compiled_code_gives_the_same() -> None:
    hidden, weight, bias = (x.requires_grad_() for x in head(6, 3, 5))
    labels, counts = torch.randint(5, (6,)), counts_of("levels", 6, 5)
    criterion = LinearPosteriorLoss(PosteriorLoss(BetaPrior(draw="quantile")))

    def both(h: Tensor, w: Tensor, b: Tensor) -> Tensor:
        one = linear_posterior_loss(2 * h, w, labels, counts, bias=b)
        return one + criterion(3 * h, w, labels, bias=b)

    compiled = torch.compile(both, backend="eager")
    found, wanted = compiled(hidden, weight, bias), both(hidden, weight, bias)
    assert torch.equal(found, wanted)
    for mine, right in zip(
        torch.autograd.grad(found, [hidden, weight, bias]),
        torch.autograd.grad(wanted, [hidden, weight, bias]),
        strict=True,
    ):
        assert torch.equal(mine, right)


class Largest(TorchDispatchMode):
    """The most entries that any tensor has had."""

    def __init__(self) -> None:
        super().__init__()
        self.entries = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for made in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(made, Tensor):  # an expanded one takes no memory
                self.entries = max(self.entries, made.untyped_storage().nbytes() // 4)
        return out


def test_largest_finds_whole_logits() -> None:
    hidden, weight, _ = head(256, 8, 1024, torch.float32)
    with Largest() as largest:
        plain(hidden.requires_grad_(), weight, torch.arange(256), TwoLevel(0.1, 0.0)).backward()
    assert largest.entries >= 256 * 1024


@pytest.mark.parametrize("form", [*FORMS, "Beta", "Beta of a teacher", "top"])
@pytest.mark.parametrize(
    "shape", [(256, 8, 1024), pytest.param((2048, 64, 32_768), marks=pytest.mark.slow)]
)
def test_logits_are_never_whole(form: str, shape: tuple[int, int, int]) -> None:
    rows, _, classes = shape
    hidden, weight, bias = (x.requires_grad_() for x in head(*shape, torch.float32))
    labels = torch.randint(classes, (rows,))
    chunk = None if rows == 2048 else 16
    with Largest() as largest:
        if form in FORMS:
            counts = counts_of(form, rows, classes, torch.float32)
            loss = linear_posterior_loss(hidden, weight, labels, counts, bias=bias, chunk=chunk)
        else:
            prior = TeacherPrior(top=20) if form == "top" else BetaPrior()
            teacher = TeacherHead(hidden, weight, bias) if form != "Beta" else None
            criterion = LinearPosteriorLoss(PosteriorLoss(prior), chunk=chunk)
            loss = criterion(hidden, weight, labels, teacher, bias=bias)
        loss.backward()
    assert weight.numel() <= largest.entries <= max(2 * weight.numel(), 1 << 23)
    assert largest.entries < rows * classes / 2


# The criterion.

CRITERIA = {
    "none": None,
    "uniform": UniformPrior(),
    "others": UniformPrior(0.2, "others"),
    **{
        f"Beta {draw} {order} {among}": BetaPrior(0.6, 3.0, draw, order, among)
        for draw, order, among in (
            ("random", "intact", "global"),
            ("quantile", "reversed", "local"),
            ("random", "random", "global"),
            ("random", "intact", "running"),
        )
    },
    "teacher": TeacherPrior(),
    "top": TeacherPrior(0.4, 2.0, "none", 3),
    "map": TeacherPrior(0.4, 2.0, "map"),
    "map, top": TeacherPrior(0.4, 2.0, "map", 2),
    "PS-KD": priors.found()["pskd"](),
    "function": lambda batch: TwoLevel(0.1 * torch.sigmoid(batch.label_margin), 0.01),
}


@pytest.mark.parametrize(("softcap", "weighted"), [(None, False), (3.0, False), (None, True)])
@pytest.mark.parametrize("name", CRITERIA)
def test_criterion_is_that_of_whole_logits(
    name: str, softcap: float | None, weighted: bool
) -> None:
    """Three steps, then evaluation: the same losses, gradients, draws and states."""
    rows, classes, prior = 10, 6, CRITERIA[name]
    w = torch.rand(classes, dtype=float64) if weighted else None
    whole, inner = (PosteriorLoss(prior, class_weight=w, seed=3) for _ in range(2))
    mine = LinearPosteriorLoss(inner, softcap=softcap, scale=1.2, chunk=3)
    asks = prior is not None and getattr(prior, "uses_teacher", False)
    for step in range(4):
        whole.train(step < 3)
        mine.train(step < 3)
        hidden, weight, bias = (x.requires_grad_() for x in head(rows, 3, classes))
        teacher = counts_of("teacher", rows, classes)
        teacher = TeacherHead(
            teacher.hidden, teacher.weight, teacher.bias, scale=teacher.scale, softcap=3.0
        )
        if "Beta" in name and step % 2:
            teacher = None
        labels = torch.randint(classes, (rows,))
        labels[step] = -100
        when = {"epoch": step + 1, "epochs": 4}
        shown = teacher if asks else None
        loss = mine(hidden, weight, labels, shown, bias=bias, **when)
        f = capped(hidden @ weight.t() + bias, 1.2, softcap)
        theirs = None if shown is None else shown.logits(slice(None))
        wanted = whole(f, labels, theirs, **when)
        torch.testing.assert_close(loss, wanted, rtol=1e-10, atol=1e-10)
        for found, right in zip(
            torch.autograd.grad(loss, [hidden, weight, bias]),
            torch.autograd.grad(wanted, [hidden, weight, bias]),
            strict=True,
        ):
            torch.testing.assert_close(found, right, rtol=1e-10, atol=1e-10)
    for key, value in whole.state_dict().items():
        torch.testing.assert_close(inner.state_dict()[key], value, equal_nan=True)


@pytest.mark.parametrize("name", ["uniform", "Beta random intact global", "top", "PS-KD"])
def test_ignored_samples_cost_nothing(name: str) -> None:
    """Where the CPU may look: the logits are those of the samples that count."""
    hidden, weight, _ = head(64, 4, 100, torch.float32)
    labels = torch.full((64,), -100)
    labels[5:9] = 3
    teacher = TeacherHead(hidden, weight) if name in ("top", "PS-KD") else None
    with Largest() as largest:
        LinearPosteriorLoss(PosteriorLoss(CRITERIA[name]))(
            hidden.requires_grad_(), weight, labels, teacher, epoch=1, epochs=2
        ).backward()
    assert largest.entries <= 1000 < 64 * 100


def test_confidence_of_a_memory_ranks() -> None:
    hidden, weight, bias = head(8, 3, 5)
    labels, confidence = torch.randint(5, (8,)), torch.randn(8)
    found = LinearPosteriorLoss(PosteriorLoss(BetaPrior()))(
        hidden.reshape(2, 4, 3), weight, labels.reshape(2, 4), confidence.reshape(2, 4), bias=bias
    )
    wanted = PosteriorLoss(BetaPrior())(hidden @ weight.t() + bias, labels, confidence)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", sorted(priors.found()))
def test_priors_by_sample_may_be_asked_part_by_part(name: str) -> None:
    prior = priors.found()[name]()
    if not prior.by_sample:
        return
    f, teacher, labels = torch.randn(6, 4), torch.randn(6, 4), torch.arange(6) % 4
    when = {"epoch": 2, "epochs": 3}

    def dense(rows: slice) -> Tensor:
        answer = prior(Batch(f[rows], labels[rows], teacher[rows], **when))
        return dense_counts(answer, labels[rows], 4)

    whole = dense(slice(None))
    assert torch.equal(torch.cat([dense(slice(0, 1)), dense(slice(1, 6))]), whole)
    f = torch.randn(6, 4)  # nor does it look at the student
    assert torch.equal(dense(slice(None)), whole)


class Reads(Prior):
    """One of somebody's own, that reads the student's logits."""

    def counts(self, batch: Batch) -> Counts:
        return 0.1 * batch.logits.softmax(1)


class Sums(Prior):
    """One of somebody's own that ranks, and whose counts may not add up."""

    ranks_only = True

    def counts(self, batch: Batch) -> Counts:
        return TwoLevel(self.strength * torch.sigmoid(batch.label_margin), 0.0)


def test_counts_that_do_not_add_up_are_told_of() -> None:
    """Here their sum is taken for known before they are: unless the prior says that it is not."""
    hidden, weight, _ = head(4, 3, 5)
    labels = torch.arange(4)
    with pytest.raises(ValueError, match=r"must add up to its strength, 0\.5.*fixed_total"):
        LinearPosteriorLoss(PosteriorLoss(Sums(0.5)))(hidden, weight, labels)

    class Honest(Sums):
        fixed_total = False

    found = LinearPosteriorLoss(PosteriorLoss(Honest(0.5)))(hidden, weight, labels)
    wanted = PosteriorLoss(Honest(0.5))(hidden @ weight.t(), labels)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def test_what_needs_whole_logits_is_refused() -> None:
    hidden, weight, _ = head(4, 3, 5)
    labels = torch.arange(4)
    teacher = TeacherHead(hidden, weight)
    for criterion, message in (
        (nn.CrossEntropyLoss(), "criterion must be a softprior.PosteriorLoss"),
        (PosteriorLoss(penalty=penalties.found()["maxsup"]()), r"penalty .* hidden @ weight.T"),
        (PosteriorLoss(measure_smoothing=True), "measure_smoothing"),
        (PosteriorLoss(BetaPrior(among="running"), auto_observe=False), "observe"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            LinearPosteriorLoss(criterion)  # type: ignore[arg-type]
    for prior, shown, message in (
        (Reads(0.1), None, r"all logits of a batch .* softprior.PosteriorLoss"),
        (lambda batch: batch.logits * 0, None, "all logits"),
        (lambda batch: torch.ones(4, 5), None, r"counts of .* of all classes"),
        (lambda batch: TwoLevel(-1.0, 0.0), None, "counts.on_label"),
        (lambda batch: TwoLevel(0.1, 0.0), teacher, "by_sample"),
        (TeacherPrior(), None, r"needs a teacher.*TeacherHead"),
        (TeacherPrior(), torch.ones(4), "teacher must be a softprior.TeacherHead"),
        (TeacherPrior(), TeacherHead(hidden, weight, temperature=2.0), "temperature"),
        (BetaPrior(), torch.full((4,), torch.nan), "NaN"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            LinearPosteriorLoss(PosteriorLoss(prior))(hidden, weight, labels, shown)
    criterion = LinearPosteriorLoss(PosteriorLoss(BetaPrior()))
    with pytest.raises(ValueError, match=r"torch\.func"):
        torch.func.grad(lambda h: criterion(h, weight, labels))(hidden)


def test_malformed_heads_are_named() -> None:
    hidden, weight, bias = head(4, 3, 5)
    labels = torch.arange(4)
    right: dict[str, Any] = {"hidden": hidden, "weight": weight, "labels": labels, "bias": bias}
    for name, value, message in (
        ("weight", weight.float(), r"weight must have the dtype .* torch.float64"),
        ("bias", bias.float(), "bias must have the dtype"),
        ("weight", weight.t(), "weight must have shape"),
        ("weight", weight[:1], "K ≥ 2"),
        ("hidden", hidden[:0], "hidden"),
        ("bias", bias[:4], r"bias must have shape \(5,\)"),
        ("labels", labels[None], "labels must have the leading shape"),
        ("labels", labels + 3, r"labels must be in 0\.\.4"),
        ("labels", torch.eye(5)[labels], "labels must be class indices"),
        ("counts", torch.ones(4, 5), "as large as the logits"),
        ("counts", TwoLevel(torch.ones(3), 0.0), "counts.on_label must have shape"),
        ("counts", TwoLevel(torch.ones(4, requires_grad=True), 0.0), "on_label has a gradient"),
        ("counts", TeacherHead(hidden[:3], weight), "counts must have hidden of shape"),
        ("counts", TeacherHead(hidden, torch.cat([weight, weight])), "K = 5"),
        ("class_weight", torch.ones(4), r"class_weight must have shape \(5,\)"),
        ("class_weight", -torch.ones(5), "class_weight must be finite and ≥ 0"),
        ("softcap", 0.0, "softcap"),
        ("scale", 0.0, "scale"),
        ("chunk", 0, "chunk"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            linear_posterior_loss(**{**right, name: value})
    for name in ("hidden", "weight", "bias"):
        wrong = right[name].clone()
        wrong[-1] = torch.nan
        with pytest.raises(checks.NotFiniteError, match=rf"^{name} has entries .* not finite"):
            linear_posterior_loss(**{**right, name: wrong})
    wrong = hidden.clone()
    wrong[2] = torch.nan
    teacher = TeacherHead(wrong, weight)
    with pytest.raises(checks.NotFiniteError, match=r"teacher's counts .* in row 2"):
        linear_posterior_loss(**right, counts=teacher)
    labels = torch.tensor([0, 1, -100, 3])
    linear_posterior_loss(**{**right, "labels": labels}, counts=teacher)
    with pytest.raises(checks.NotFiniteError, match="overflow"):
        linear_posterior_loss(1e200 * hidden, 1e200 * weight, torch.arange(4))


@pytest.mark.parametrize("form", FORMS)
def test_large_logits(form: str) -> None:
    """Of ±10⁴: finite, and to the digits that the logits have."""
    hidden, weight, _ = head(6, 3, 8, torch.float32)
    hidden = (3e3 * hidden).requires_grad_()
    counts, labels = counts_of(form, 6, 8, torch.float32), torch.arange(6)
    found = linear_posterior_loss(hidden, weight, labels, counts, reduction="none")
    wanted = plain(hidden, weight, labels, counts, reduction="none")
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-2)
    made, right = (torch.autograd.grad(x.sum(), hidden)[0] for x in (found, wanted))
    torch.testing.assert_close(made, right, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_example_of_a_language_model() -> None:
    """Equal to the plain way to 1e-6, in a third of its memory or less."""
    script = Path(__file__).parents[1] / "examples" / "language_model.py"
    run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert "equal to the plain way" in run.stdout
    found = re.search(r": ([\d.]+) MiB, the plain way ([\d.]+) MiB", run.stdout)
    assert found
    assert float(found[1]) < float(found[2]) / 3
