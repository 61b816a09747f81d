"""What the losses must equal: torch's own, the paper's formulas done the slow way, numbers."""

from __future__ import annotations

import copy
import itertools
import math
import pickle
import shutil
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy
import pytest
import scipy.stats
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from properties import every
from softprior import (
    Batch,
    BetaPrior,
    PosteriorLoss,
    Prior,
    Sparse,
    TeacherPrior,
    TwoLevel,
    UniformPrior,
    beta_smoothing,
    confidence_penalty,
    kernel,
    label_smoothing,
    matching,
    posterior_loss,
    self_distillation,
    soft_labels,
)
from softprior.counts import dense_counts
from softprior.labels import valid_mask
from softprior.margin import label_margin
from softprior.recent import WINDOW, Recent

B, K = 9, 6
close = torch.testing.assert_close
REDUCTIONS = ("none", "mean", "sum")


@pytest.fixture(scope="module", autouse=True)
def as_of_many_logits() -> Iterator[None]:
    """Few logits go another way, which tests/test_everywhere.py compares with the one of many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "FEW", 0)
        yield


def batch(rows: int = B, classes: int = K) -> tuple[Tensor, Tensor, Tensor]:
    logits = (2 * torch.randn(rows, classes, dtype=torch.float64)).requires_grad_()
    return (
        logits,
        torch.randint(classes, (rows,)),
        2 * torch.randn(rows, classes, dtype=torch.float64),
    )


def same(got: Tensor, want: Tensor, logits: Tensor, **kwargs: Any) -> None:
    """The same values and the same gradients."""
    close(got, want, **kwargs)
    slopes = (torch.autograd.grad(x.sum(), logits, retain_graph=True)[0] for x in (got, want))
    close(*slopes, **kwargs)


# ---------------------------------------------------------------- label smoothing


@every(
    strength=[0.0, 0.15, 1.0], kind=["indices", "ignored", "probabilities"], reduction=REDUCTIONS
)
def test_uniform_prior_is_torch_label_smoothing(strength: float, kind: str, reduction: Any) -> None:
    logits, labels, _ = batch()
    ignored = {"ignore_index": 2} if kind == "ignored" else {}
    if kind == "probabilities":
        labels = torch.softmax(torch.randn(B, K, dtype=torch.float64), -1)
    for label_weight, factor, s in (
        (1 - strength, 1.0, strength),
        (1.0, 1 + strength, strength / (1 + strength)),
    ):
        got = posterior_loss(
            logits,
            labels,
            UniformPrior(strength)(Batch(logits, labels)),
            label_weight=label_weight,
            reduction=reduction,
            **ignored,
        )
        want = F.cross_entropy(logits, labels, label_smoothing=s, reduction=reduction, **ignored)
        same(got, factor * want, logits)
    got = label_smoothing(strength, reduction=reduction, **ignored)(logits, labels)
    want = F.cross_entropy(logits, labels, label_smoothing=strength, reduction=reduction, **ignored)
    same(got, want, logits)


@every(
    classes=[2, 10],
    smoothing=[0.05, 0.15, 0.5],
    kind=["indices", "ignored", "probabilities"],
    reduction=REDUCTIONS,
)
def test_all_on_the_others_is_torch_label_smoothing(
    classes: int, smoothing: float, kind: str, reduction: Any
) -> None:
    """1 - ε on the label and ε / (K - 1) elsewhere is PyTorch's with s = ε K / (K - 1)."""
    logits, labels, _ = batch(classes=classes)
    options: dict[str, Any] = {"reduction": reduction}
    if kind == "ignored":
        options["ignore_index"] = 1
    if kind == "probabilities":
        labels = torch.softmax(torch.randn(B, classes, dtype=torch.float64), -1)
    s = matching.uniform_smoothing(smoothing, classes)
    want = F.cross_entropy(logits, labels, label_smoothing=s, **options)
    same(label_smoothing(smoothing, spread="others", **options)(logits, labels), want, logits)
    counts = UniformPrior(smoothing, "others")(Batch(logits, labels))
    loss = posterior_loss(logits, labels, counts, label_weight=1 - smoothing, **options)
    same(loss, want, logits)
    assert isinstance(counts, TwoLevel)
    assert counts.total(classes) == pytest.approx(smoothing)


@every(reduction=REDUCTIONS)
def test_no_prior_is_cross_entropy(reduction: Any) -> None:
    logits, labels, _ = batch()
    got = PosteriorLoss(None, reduction=reduction)(logits, labels)
    same(got, F.cross_entropy(logits, labels, reduction=reduction), logits)


@every(reduction=REDUCTIONS)
def test_without_a_label_weight_it_is_the_usual_mix(reduction: Any) -> None:
    logits, labels, teacher = batch()
    got = PosteriorLoss(UniformPrior(0.15), reduction=reduction)
    want = F.cross_entropy(logits, labels, label_smoothing=0.15, reduction=reduction)
    assert got.label_weight == 0.85
    same(got(logits, labels), want, logits)
    got = PosteriorLoss(TeacherPrior(0.4, 4.0), reduction=reduction)
    mixed = 0.6 * F.one_hot(labels, K).double() + 0.4 * torch.softmax(teacher / 4, -1)
    want = F.cross_entropy(logits, mixed, reduction=reduction)
    same(got(logits, labels, teacher), want, logits)


def test_a_function_may_be_the_prior() -> None:
    """From a batch to counts, with the weight of a whole label beside them."""
    logits, labels, teacher = batch()
    asked: list[Batch] = []

    def counts(batch: Batch) -> Tensor:
        asked.append(batch)
        return torch.softmax(batch.teacher_logits, -1)

    criterion = PosteriorLoss(counts)
    got = criterion(logits, labels, teacher, index=torch.arange(B), epoch=2, epochs=8)
    want = posterior_loss(logits, labels, torch.softmax(teacher, -1))
    assert criterion.label_weight == 1
    same(got, want, logits)
    (seen,) = asked
    assert not seen.logits.requires_grad
    assert (len(seen), seen.num_classes, seen.dtype) == (B, K, torch.float64)
    assert (seen.epoch, seen.epochs, seen.progress) == (2, 8, 0.25)
    assert seen.valid is None
    close(seen.label_margin, label_margin(logits.detach(), labels))
    close(seen.teacher_margin, label_margin(teacher, labels))
    close(Batch(logits, labels, teacher[:, 0]).teacher_margin, teacher[:, 0])
    assert Batch(logits, labels).teacher_margin is None
    assert Batch(logits.bfloat16(), labels).dtype == torch.float32
    close(Batch(logits, labels - 1).valid, labels > 0)
    later = Batch(logits, labels, epoch=torch.tensor(3), epochs=4)
    close(later.progress, torch.tensor(0.75))


@every(dtype=[torch.uint8, torch.int16, torch.int32])
def test_labels_of_any_integer_type(dtype: torch.dtype) -> None:
    logits, labels, _ = batch()
    want = F.cross_entropy(logits, labels, label_smoothing=0.15)
    close(label_smoothing(0.15)(logits, labels.to(dtype)), want)


def test_masked_class_without_smoothing_is_cross_entropy() -> None:
    logits, labels, _ = batch()
    labels = labels.clamp(max=K - 2)
    masked = logits.detach().clone()
    masked[:, K - 1] = -torch.inf
    masked.requires_grad_()
    same(PosteriorLoss(None)(masked, labels), F.cross_entropy(masked, labels), masked)


def test_all_ignored_is_zero() -> None:
    logits, labels, teacher = batch()
    labels.fill_(-100)
    for criterion in (
        label_smoothing(),
        self_distillation(),
        beta_smoothing(),
        confidence_penalty(),
    ):
        loss = criterion(logits, labels, teacher)
        assert loss.item() == 0
        assert not torch.autograd.grad(loss, logits)[0].any()


@pytest.mark.parametrize(
    "criterion",
    [
        label_smoothing(),
        self_distillation(),
        self_distillation(weighting="map"),
        beta_smoothing(draw="quantile"),
        PosteriorLoss(None),
        confidence_penalty(),
    ],
    ids=repr,
)
@every(
    bad=[float("nan"), float("inf"), -float("inf")],
    create_graph=[False, True],
    ranked=["teacher", "confidence"],
)
def test_ignored_rows_may_be_anything(
    criterion: Any, bad: float, create_graph: bool, ranked: str
) -> None:
    """As in torch: padding often carries NaN, in what the teacher says too."""
    logits, labels, teacher = batch()
    if ranked == "confidence" and isinstance(criterion, PosteriorLoss):
        teacher = teacher[:, 0] if isinstance(criterion.prior, BetaPrior) else teacher
    labels[3] = -100
    broken = logits.detach().clone()
    want = criterion(logits, labels, teacher)
    broken[3] = teacher[3] = bad
    broken.requires_grad_()
    got = criterion(broken, labels, teacher)
    close(got, want)
    slopes = (
        torch.autograd.grad(x, f, create_graph=create_graph)[0]
        for x, f in ((got, broken), (want, logits))
    )
    close(*slopes)


@every(
    form=["dense", "two-level", "sparse"],
    counts=["float64", "float32", "bfloat16"],
    offset=[0.0, 1e4],
)
def test_counts_of_another_dtype(form: str, counts: str, offset: float) -> None:
    exact, labels, teacher = batch()
    exact = (exact.detach() + offset).float().double().requires_grad_()
    logits = exact.detach().float().requires_grad_()
    dtype = getattr(torch, counts)
    if form == "dense":
        given: Any = torch.softmax(teacher, -1).to(dtype)
        wide: Any = given.double()
    elif form == "sparse":
        at, values, off = sparse()
        given = Sparse(at, values.to(dtype), off.to(dtype))
        wide = Sparse(at, given.values.double(), given.elsewhere.double())
    else:
        given = TwoLevel(torch.rand(B).to(dtype), torch.rand(B).to(dtype))
        wide = TwoLevel(*(level.double() for level in given))
    for labels_ in (labels, F.one_hot(labels, K).to(dtype)):
        got = posterior_loss(logits, labels_, given, reduction="none")
        assert got.dtype == torch.float32
        want = posterior_loss(exact, labels, wide, reduction="none")
        close(got.double(), want, rtol=1e-5, atol=1e-5)
        slopes = (torch.autograd.grad(x.sum(), f)[0] for x, f in ((got, logits), (want, exact)))
        close(*(s.double() for s in slopes), rtol=1e-5, atol=1e-6)


def test_gradient_reaches_labels_and_counts() -> None:
    """Where they ask for one: learnt soft labels, learnt counts."""
    logits, _, _ = batch()
    q = torch.softmax(torch.randn(B, K, dtype=torch.float64), -1).requires_grad_()
    dense = torch.rand(B, K, dtype=torch.float64, requires_grad=True)
    levels = TwoLevel(*(torch.rand(B, dtype=torch.float64, requires_grad=True) for _ in range(2)))
    few = sparse()
    few = Sparse(few.indices, few.values.requires_grad_(), few.elsewhere.requires_grad_())
    on_few = few.elsewhere[:, None].expand(B, K).scatter(1, few.indices, few.values)
    z = torch.log_softmax(logits, -1)
    for counts, spread, learnt in (
        (dense, dense, (q, dense)),
        (levels, levels[1][:, None] + (levels[0] - levels[1])[:, None] * q, (q, *levels)),
        (few, on_few, (q, few.values, few.elsewhere)),
    ):
        want = -((0.7 * q + spread) * z).sum()
        got = posterior_loss(logits, q, counts, label_weight=0.7, reduction="sum")
        close(got, want)
        inputs = (logits, *learnt)
        grads = (torch.autograd.grad(x, inputs, retain_graph=True) for x in (got, want))
        for a, b in zip(*grads, strict=True):
            close(a, b)


@every(
    label_weight=[-0.5, 0, 0.7],
    on=[0.0, 0.2, "tensor"],
    off=[0.0, 0.3, "tensor"],
    kind=["indices", "ignored", "probabilities"],
    reduction=REDUCTIONS,
)
def test_levels_of_every_kind(
    label_weight: float, on: Any, off: Any, kind: str, reduction: Any
) -> None:
    """Numbers and tensors, zero or not: against the cross-entropy sums, written out."""
    logits, labels, _ = batch()
    if kind == "ignored":
        labels[[0, 3]] = -100
    y = F.one_hot(labels.clamp(min=0), K).double()
    if kind == "probabilities":
        labels = y = torch.softmax(torch.randn(B, K, dtype=torch.float64), -1)
    on, off = (torch.rand(B) if level == "tensor" else level for level in (on, off))
    columns = (torch.as_tensor(level).double().expand(B)[:, None] for level in (on, off))
    one, other = columns
    q = label_weight * y + other + (one - other) * y
    each = -(q * torch.log_softmax(logits, -1)).sum(-1)
    kept = B - 2 if kind == "ignored" else B
    if kind == "ignored":
        each = each * (labels >= 0)
    want = {"none": each, "sum": each.sum(), "mean": each.sum() / kept}[reduction]
    got = posterior_loss(
        logits, labels, TwoLevel(on, off), label_weight=label_weight, reduction=reduction
    )
    same(got, want, logits, rtol=1e-6, atol=1e-7)


@every(
    form=["uniform", "levels", "dense", "sparse"],
    kind=["indices", "ignored", "probabilities"],
    block=[1, 4 * K],
)
def test_blocks_change_nothing(form: str, kind: str, block: int) -> None:
    logits, labels, teacher = batch()
    if kind == "ignored":
        labels[[0, 3]] = -100
    if kind == "probabilities":
        labels = torch.softmax(torch.randn(B, K, dtype=torch.float64), -1)
    counts: Any = {
        "uniform": TwoLevel(0.1, 0.05),
        "levels": TwoLevel(torch.rand(B), torch.rand(B)),
        "dense": torch.softmax(teacher, -1),
        "sparse": sparse(),
    }[form]
    want = posterior_loss(logits, labels, counts, reduction="none")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("softprior.fused._BLOCK", block)
        same(posterior_loss(logits, labels, counts, reduction="none"), want, logits)


@every(form=["uniform", "dense", "sparse"])
def test_a_constant_in_many_logits_costs_no_precision(form: str) -> None:
    """As the law in test_laws.py, at a size where sums over classes are long."""
    exact = torch.randint(-256, 257, (64, 5000)).double() / 64
    labels = torch.randint(5000, (64,))
    counts: Any = TwoLevel(2e-4, 2e-4)
    if form == "dense":
        counts = torch.softmax(torch.randn(64, 5000), -1)
    if form == "sparse":
        counts = Sparse(torch.arange(320).reshape(64, 5), torch.rand(64, 5), 2e-4)
    want = posterior_loss(exact, labels, counts).item()
    for offset in (0, 1e3, 1e4):
        got = posterior_loss((exact + offset).float(), labels, counts).item()
        assert got == pytest.approx(want, rel=1e-6)


class Live(TorchDispatchMode):
    """Counts how many tensors of at least so many numbers live at once, save the given ones."""

    def __init__(self, numbers: int, given: list[Tensor]) -> None:
        super().__init__()
        self.numbers = numbers
        self.given = {t.untyped_storage().data_ptr() for t in given}
        self.seen: dict[int, weakref.ref[Any]] = {}
        self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor) and out.numel() >= self.numbers:
            self.seen[out.untyped_storage().data_ptr()] = weakref.ref(out)
        live = [p for p, r in self.seen.items() if p not in self.given and r() is not None]
        self.most = max(self.most, len(live))
        return out


@every(form=["uniform", "dense", "sparse"])
def test_one_buffer(form: str) -> None:
    """Forward and backward pass hold one (B, K) buffer beside the logits: the gradient."""
    rows, classes = 32, 64
    logits = torch.randn(rows, classes, requires_grad=True)
    labels = torch.randint(classes, (rows,))
    counts: Any = TwoLevel(torch.rand(rows), torch.rand(rows))
    if form == "dense":
        counts = torch.rand(rows, classes)
    if form == "sparse":
        counts = Sparse(torch.randint(classes, (rows, 1)), torch.rand(rows, 1), torch.rand(rows))
    with Live(rows * classes, [logits, counts] if form == "dense" else [logits]) as live:
        posterior_loss(logits, labels, counts).backward()
    assert live.most == 1


@pytest.mark.parametrize("weighting", ["none", "map"])
def test_the_top_of_a_teacher_is_no_buffer(weighting: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is anything of (B, K) made of what it says, while the whole of it is one buffer more."""
    rows, classes = 32, 64
    monkeypatch.setattr("softprior.priors.teacher._BLOCK", 4 * classes)
    logits, teacher = (torch.randn(rows, classes, requires_grad=wants) for wants in (True, False))
    most = []
    for top in (3, None):
        criterion = PosteriorLoss(TeacherPrior(weighting=weighting, top=top))
        with Live(rows * classes, [logits, teacher]) as live:
            criterion(logits, torch.randint(classes, (rows,)), teacher).backward()
        most.append(live.most)
    assert most[0] == 1
    assert most[1] > 1


# ---------------------------------------------------------------- self-distillation


@every(temperature=[0.5, 1.0, 4.0], weighting=["none", "map"])
def test_teacher_prior_by_hand(temperature: float, weighting: Any) -> None:
    logits, labels, teacher = batch()
    prior = TeacherPrior(0.8, temperature, weighting)
    counts = prior(Batch(logits, labels, teacher))
    for i in range(B):
        exps = [math.exp(v) for v in teacher[i].tolist()]
        p = [e / sum(exps) for e in exps]
        heat = [v ** (1 / temperature) for v in p]
        omega = sum(heat) if weighting == "map" else 1.0
        want = [0.8 * omega * v / sum(heat) for v in heat]
        close(counts[i], torch.tensor(want, dtype=torch.float64))
        if weighting == "map" and temperature >= 1:
            assert 1 - 1e-9 <= omega <= K ** (1 - 1 / temperature) + 1e-9
    shifted = prior(Batch(logits, labels, teacher + torch.randn(B, 1, dtype=torch.float64) * 5))
    close(shifted, counts)
    close(prior(Batch(logits, labels, torch.log_softmax(teacher, -1))), counts)


def test_distillation_is_cross_entropy_plus_kl() -> None:
    """The gradient of CE + strength · KL; the value up to the teacher's entropy."""
    logits, labels, teacher = batch()
    strength, temperature = 0.7, 4.0
    soft = torch.softmax(teacher / temperature, -1)
    got = PosteriorLoss(TeacherPrior(strength, temperature), label_weight=1)(
        logits, labels, teacher
    )
    kl = F.kl_div(torch.log_softmax(logits, -1), soft, reduction="batchmean")
    entropy = torch.special.entr(soft).sum(-1).mean()
    same(got, F.cross_entropy(logits, labels) + strength * (kl + entropy), logits)
    mixed = 0.6 * F.one_hot(labels, K).double() + 0.4 * soft
    same(
        self_distillation(4.0, 0.4)(logits, labels, teacher), F.cross_entropy(logits, mixed), logits
    )


@every(weighting=["none", "map"])
def test_hot_teacher_is_uniform(weighting: Any) -> None:
    logits, labels, teacher = batch()
    counts = TeacherPrior(0.4, 1e9, weighting)(Batch(logits, labels, teacher))
    total = 0.4 * K if weighting == "map" else 0.4
    close(counts, torch.full_like(counts, total / K), rtol=1e-6, atol=1e-6)


@every(weight=[1.0, 1.5, 2.0], reduction=REDUCTIONS)
def test_weights_above_one_are_the_same_mix(weight: float, reduction: Any) -> None:
    """Values and gradients of torch's cross-entropy with the label's own weight 1 - w < 0."""
    logits, labels, teacher = batch()
    mixed = (1 - weight) * F.one_hot(labels, K).double() + weight * torch.softmax(teacher / 4.0, -1)
    criterion = self_distillation(4.0, weight, reduction=reduction)
    assert criterion.label_weight == 1 - weight
    want = F.cross_entropy(logits, mixed, reduction=reduction)
    same(criterion(logits, labels, teacher), want, logits)


def test_where_negative_label_weights_end() -> None:
    """The gradient is total · (z - target) with a total above 0, whatever the target's signs."""
    logits, labels, teacher = batch()
    counts = TeacherPrior(1.8, 1.0)(Batch(logits, labels, teacher))
    target = soft_labels(labels, counts, label_weight=-0.5).double()
    close(target.sum(1), torch.ones(B, dtype=torch.float64))
    negative = (counts[range(B), labels] < 0.5).nonzero().flatten()
    assert torch.equal((target < 0).any(1).nonzero().flatten(), negative)
    assert 0 < len(negative) < B
    losses = posterior_loss(logits, labels, counts, label_weight=-0.5, reduction="none")
    slope = torch.autograd.grad(losses.sum(), logits)[0]
    close(slope, 1.3 * (torch.softmax(logits, -1) - target), rtol=1e-6, atol=1e-6)
    # There the loss falls for ever as z_y → 0; elsewhere it rises.
    falls = [
        posterior_loss(
            logits.detach().scatter(1, labels[:, None], f),
            labels,
            counts,
            label_weight=-0.5,
            reduction="none",
        )
        for f in (-1e4, -1e6)
    ]
    assert torch.equal((falls[1] < falls[0]).nonzero().flatten(), negative)
    for total in (-0.1, 0.0):
        few = torch.full((B, K), (0.5 + total) / K)
        assert soft_labels(labels, few, label_weight=-0.5 - 1e-6).isnan().all()


# ---------------------------------------------------------------- Beta smoothing


def slow_beta(
    prior: BetaPrior, b: list[float], confidence: list[float], labels: list[int]
) -> list[list[float]]:
    """Beta smoothing in Python: sort the draws, hand them out, spread the rest."""
    rank = sorted(range(len(b)), key=lambda i: confidence[i])
    if prior.order == "reversed":
        rank = rank[::-1]
    pi = [[0.0] * K for _ in b]
    for draw, i in zip(sorted(b), rank, strict=True):
        for c in range(K):
            pi[i][c] = draw if c == labels[i] else (1 - draw) / (K - 1)
    return [[prior.strength * v for v in row] for row in pi]


@every(
    ignored=[False, True],
    ranked=["teacher", "confidence", "own"],
    order=["intact", "reversed"],
    draw=["random", "quantile"],
)
def test_beta_prior_by_hand(draw: Any, order: Any, ranked: str, ignored: bool) -> None:
    logits, labels, teacher = batch()
    prior = BetaPrior(0.6, 3.0, draw, order)
    if ignored:
        labels[[0, 5]] = -100
    keep = [i for i in range(B) if labels[i] >= 0]
    generator = torch.Generator().manual_seed(11)
    u = torch.rand(B, dtype=torch.float64, generator=torch.Generator().manual_seed(11))
    u = u[keep]  # the draws of ignored samples are thrown away
    if draw == "quantile":
        m, c = len(keep), 4 / 3  # the mean of u^(1/3) over each part, by its antiderivative
        b = [m / c * ((r / m) ** c - ((r - 1) / m) ** c) for r in range(1, m + 1)]
    else:
        b = [v ** (1 / 3.0) for v in u.tolist()]
    advice = {"teacher": teacher, "own": None, "confidence": torch.rand(B)}[ranked]
    votes = torch.softmax(logits if ranked == "own" else teacher, -1)
    confidence = (
        advice.tolist()
        if ranked == "confidence" and advice is not None
        else votes[range(B), labels.clamp(min=0)].tolist()
    )
    counts = posterior_counts(prior, logits, labels, advice, generator)
    want = slow_beta(prior, b, [confidence[i] for i in keep], labels[keep].tolist())
    close(counts[keep], torch.tensor(want, dtype=torch.float64), rtol=1e-6, atol=1e-7)
    pi = counts[keep] / 0.6
    mixed = 0.4 * F.one_hot(labels[keep], K).double() + 0.6 * pi
    got = posterior_loss(
        logits, labels, TwoLevel(*levels(counts, labels)), label_weight=0.4, reduction="mean"
    )
    same(got, F.cross_entropy(logits[keep], mixed), logits)


def posterior_counts(
    prior: BetaPrior,
    logits: Tensor,
    labels: Tensor,
    advice: Tensor | None,
    generator: torch.Generator,
) -> Tensor:
    counts = prior(Batch(logits, labels, advice, generator=generator))
    assert isinstance(counts, TwoLevel)
    return counts.dense(labels.clamp(min=0), K, torch.float64)


def levels(counts: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    rows, at = range(B), labels.clamp(min=0)
    return counts[rows, at], counts[rows, (at + 1) % K]


def test_random_order_is_a_permutation_of_the_same_draws() -> None:
    logits, labels, _ = batch()
    random, intact = (
        BetaPrior(draw="quantile", order=order)(
            Batch(logits, labels, generator=torch.Generator().manual_seed(5))
        )
        for order in ("random", "intact")
    )
    assert not torch.equal(random.on_label, intact.on_label)
    close(random.on_label.sort().values, intact.on_label.sort().values)


@every(order=["intact", "reversed", "random"])
def test_ignored_samples_take_no_draw(order: Any) -> None:
    logits, labels, _ = batch()
    labels[[0, 4]] = -100
    confidence = torch.randn(B)
    confidence[2], confidence[3] = -torch.inf, torch.inf
    counts = BetaPrior(1.0, 1.0, "quantile", order)(Batch(logits, labels, confidence))
    got = counts.on_label[labels >= 0].sort().values
    close(got, (torch.arange(7) + 0.5).double() / 7)


@pytest.mark.parametrize("a", [0.5, 3.0, 11.0])
def test_draws_follow_beta(a: float) -> None:
    logits, labels, _ = batch(5000)
    counts = BetaPrior(1.0, a)(Batch(logits, labels, generator=torch.Generator().manual_seed(1)))
    assert scipy.stats.kstest(counts.on_label.numpy(), scipy.stats.beta(a, 1).cdf).pvalue > 0.01


@pytest.mark.parametrize("smoothing", [0.05, 0.15, 0.3])
def test_mean_target_of_the_true_class(smoothing: float) -> None:
    logits, labels, _ = batch(200)
    criterion = beta_smoothing(smoothing, weight=0.6)
    targets = []
    for _ in range(200):
        counts = criterion.prior(Batch(logits, labels, generator=criterion.generator))
        target = soft_labels(labels, counts, label_weight=criterion.label_weight, num_classes=K)
        targets.append(target[range(200), labels])
    every = torch.stack(targets)
    error = every.std().item() / math.sqrt(every.numel())
    assert abs(every.mean().item() - (1 - smoothing)) < 4 * error
    quantile = BetaPrior.matching(smoothing, draw="quantile")(Batch(logits, labels))
    assert abs((0.4 + quantile.on_label).mean().item() - (1 - smoothing)) < 1e-6


@pytest.mark.parametrize("a", [1e-3, 0.1, 0.5, 1.0, 2.0, 3.0, 11.0, 1e3, 1e12, 1e300])
def test_quantile_draws_have_the_mean_of_beta_in_every_batch(a: float) -> None:
    """Sorted and in [0, 1]; also where some samples are ignored."""
    prior = BetaPrior(1.0, a, draw="quantile")
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
        for m in range(1, 1001):
            b = prior._quantiles(torch.arange(1, m + 1, dtype=dtype), m)
            assert abs(b.double().mean().item() - a / (a + 1)) < tolerance
            assert b[0] >= 0
            assert b[-1] <= 1
            assert bool((b[1:] >= b[:-1]).all())
    logits, labels, _ = batch(40)
    labels[::3] = -1
    b = prior(Batch(logits.double(), labels)).on_label[labels >= 0]
    assert abs(b.mean().item() - a / (a + 1)) < 1e-12


def test_saturated_logits_are_still_ranked() -> None:
    """Probabilities of 1.0 in float32 are ties; log-odds are not."""
    margins = torch.linspace(20, 9000, 50)[torch.randperm(50)]
    logits = torch.zeros(50, K)
    logits[:, 0] = margins
    labels = torch.zeros(50, dtype=torch.long)
    assert torch.softmax(logits, -1)[:, 0].unique().numel() == 1
    b = BetaPrior(draw="quantile")(Batch(logits, labels)).on_label
    assert torch.equal(b.argsort(), margins.argsort())


@pytest.mark.parametrize("kind", ["indices", "probabilities"])
def test_label_margin(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels, _ = batch(40)
    q = F.one_hot(labels, K).double()
    if kind == "probabilities":
        labels = q = torch.softmax(torch.randn(40, K, dtype=torch.float64), -1)
    p = torch.softmax(logits, -1)
    want = (q * p).sum(-1).log() - ((1 - q) * p).sum(-1).log()
    close(label_margin(logits, labels), want)
    monkeypatch.setattr("softprior.margin._BLOCK", 7 * K)
    close(label_margin(logits, labels), want)
    close(label_margin(logits.bfloat16(), labels).double(), want, rtol=0.1, atol=0.1)


def test_label_margin_of_large_logits() -> None:
    exact = torch.randint(-256, 257, (40, K)).double() / 64
    labels = torch.randint(K, (40,))
    want = label_margin(exact, labels)
    close(label_margin((exact + 1e4).float(), labels).double(), want, rtol=1e-6, atol=1e-6)


def test_label_margin_at_the_edges() -> None:
    inf = torch.inf
    logits = torch.tensor([[0.0, -inf], [-inf, 0.0], [1e4, -1e4]])
    labels = torch.tensor([0, 0, 0])
    close(label_margin(logits, labels), torch.tensor([inf, -inf, 2e4]))
    close(label_margin(logits, F.one_hot(labels, 2).float()), torch.tensor([inf, -inf, 2e4]))


# ---------------------------------------------------------------- ranks among the last seen


def two_classes(margins: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and labels of these margins."""
    logits = torch.stack([margins, torch.zeros_like(margins)], 1)
    return logits, torch.zeros(len(margins), dtype=torch.long)


def test_running_ranks_by_hand() -> None:
    """A window of three scores: margins against the quartiles of the batch and the two before."""
    prior = beta_smoothing(0.15, 0.6, among="running").prior
    recent = Recent(prior.margins, window=3, near=2)
    inf, nan = torch.inf, torch.nan
    # margins that come; their places; the scores that are kept afterwards
    for margins, places, window in (
        ([2.0], [1 / 2], [nan, nan, 0]),  # alone, it is the median
        ([0.0, 4.0], [1 / 6, 5 / 6], [0, -1, 1]),  # quartiles of 0, 2, 4: 0, 2 and 2
        ([2.0], [3 / 6], [-1, 1, 0]),  # of 0, 2, 4
        ([nan, 4.0], [1 / 2, 2 / 6], [1, 0, 0]),  # of 2, 4, 4
        ([inf, -inf], [5 / 6, 1 / 6], [0, 1, -1]),  # the largest that there are
        ([4.0, 1.0, 3.0, 2.0], [7 / 8, 1 / 8, 5 / 8, 3 / 8], [-0.5, 0.5, 0]),
    ):
        of = torch.tensor(margins)
        logits, labels = two_classes(of.nan_to_num())
        labels[of.isnan()] = -1
        asked = Batch(logits, labels, of, states=[(prior, recent)])
        counts = prior(asked)
        close(counts.on_label, 0.6 * torch.tensor(places) ** (1 / 3))
        close(counts.elsewhere, 0.6 * (1 - torch.tensor(places) ** (1 / 3)))
        close(recent.places(of), torch.tensor(places))
        recent.observe(asked)
        close(recent.scores, torch.tensor(window, dtype=torch.float32), equal_nan=True)


@every(dtype=[torch.float32, torch.float64])
def test_places_are_mid_ranks(dtype: torch.dtype) -> None:
    """Of scipy, of the scores among the last W or the batch, with ties, ignored samples and NaN."""
    recent = Recent(lambda batch: batch.label_margin, window=20, near=8)
    seen, scores = numpy.empty(0), numpy.empty(0)
    generator = torch.Generator().manual_seed(1)
    for rows in (1, 4, 1, 13, 20, 1, 50, 21, 3, 1):
        margins = torch.randint(-12, 12, (rows,), generator=generator).to(dtype) / 4
        kept = torch.rand(rows, generator=generator) < 0.8
        margins[torch.rand(rows, generator=generator) < 0.1] = torch.nan
        of = kept & ~margins.isnan()
        count, values = int(of.sum()), margins[of].double().numpy()
        want = torch.full((rows,), 0.5, dtype=dtype)
        if count:
            near = numpy.sort(numpy.concatenate([seen[-8:], values]))
            low, middle, high = (near[k * (len(near) - 1) // 4] for k in (1, 2, 3))
            new = ((values - middle) / ((high - low) or 1.0)).astype(numpy.float32)
            scores = numpy.concatenate([scores, new])
            among = scores[-max(20, count) :]
            mid = (scipy.stats.rankdata(among) - 0.5) / len(among)
            want[of] = torch.tensor(mid[-count:], dtype=dtype)
            seen = numpy.concatenate([seen, values])
        close(recent.places(margins, kept), want)
        recent.remember(margins, kept)
        for buffer, past in ((recent.margins, seen), (recent.scores, scores)):
            last = [*[torch.nan] * len(buffer), *past.tolist()][-len(buffer) :]
            close(buffer, torch.tensor(last), equal_nan=True)


def placed(criterion: PosteriorLoss, logits: Tensor, labels: Tensor) -> TwoLevel:
    """Counts of a batch among what was seen before, which then is seen as well."""
    prior, state = criterion.prior, criterion.states["prior"]
    asked = Batch(logits, labels, states=[(prior, state)])
    counts = prior(asked)
    state.observe(asked)
    return counts


@pytest.mark.parametrize("rows", [pytest.param(1, marks=pytest.mark.slow), 7, 64, 5000])
@pytest.mark.parametrize("a", [0.5, 3.0])
def test_running_draws_follow_beta_at_any_batch_size(rows: int, a: float) -> None:
    """In distribution, on average, and in the order of the margins."""
    criterion = PosteriorLoss(BetaPrior(0.6, a, among="running"), label_weight=0.4)
    generator = torch.Generator().manual_seed(2)
    margins = 3 * torch.randn(WINDOW + max(1500, rows), generator=generator)
    for past in margins[:WINDOW].split(64):
        criterion(*two_classes(past))
    targets = torch.cat(
        [0.4 + placed(criterion, *two_classes(m)).on_label for m in margins[WINDOW:].split(rows)]
    )
    b = ((targets - 0.4) / 0.6).numpy()
    assert scipy.stats.kstest(b, scipy.stats.beta(a, 1).cdf).statistic < 0.03
    assert targets.mean().item() == pytest.approx(1 - 0.6 / (a + 1), rel=0.01)
    assert scipy.stats.spearmanr(b, margins[WINDOW:].numpy()).statistic > 0.99
    if rows == 1:  # what it is for: the ranks of a batch of one say nothing
        alone = BetaPrior(0.6, a)
        draws = [
            alone(Batch(*two_classes(v), generator=generator)).on_label for v in margins.split(1)
        ]
        order = scipy.stats.spearmanr(torch.cat(draws).numpy(), margins.numpy())
        assert abs(order.statistic) < 0.05


# How margins of an epoch e = 0 … 10 lie around a standard normal x: level and spread.
DRIFTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "none": lambda x, e: x,
    "steady": lambda x, e: x + 2 * e,
    "levels off": lambda x, e: x + 9 * (1 - torch.exp(-e / 2)),
    "spreads": lambda x, e: x * (1 + e / 2),
    "grows and spreads": lambda x, e: (2 + x) * (1 + e),
    "forgets": lambda x, e: x - 1.5 * e,
    "learning rate falls": lambda x, e: x + e + 3 * torch.sigmoid(8 * (e - 5)),
}


@pytest.mark.parametrize(
    ("drift", "rows"),
    [
        *((drift, 128) for drift in DRIFTS),
        ("learning rate falls", 16),
        *(
            pytest.param(drift, rows, marks=pytest.mark.slow)
            for rows, drifts in ((1, ("steady", "spreads")), (16, list(DRIFTS)[:-1]))
            for drift in drifts
        ),
    ],
)
def test_running_draws_follow_beta_while_margins_drift(drift: str, rows: int) -> None:
    """In each epoch of a small data set: b on average, in distribution, and in order."""
    a, size, epochs = 3.0, 1300, 10
    recent = Recent(lambda batch: batch.label_margin)
    x = torch.randn(size * epochs, generator=torch.Generator().manual_seed(3))
    margins = DRIFTS[drift](x, torch.arange(len(x)) / size)
    places = []
    for batch_margins in margins.split(rows):
        places.append(recent.places(batch_margins))
        recent.remember(batch_margins)
    b = torch.cat(places) ** (1 / a)
    for epoch, (of, who) in enumerate(zip(b.split(size), x.split(size), strict=True)):
        assert abs(of.mean().item() - a / (a + 1)) < (0.03 if epoch == 0 else 0.02), epoch
        distance = scipy.stats.kstest(of.numpy(), scipy.stats.beta(a, 1).cdf).statistic
        assert distance < (0.1 if epoch == 0 else 0.07), epoch
        assert scipy.stats.spearmanr(of.numpy(), who.numpy()).statistic > 0.95, epoch
    assert b.mean().item() == pytest.approx(a / (a + 1), abs=0.007)  # smoothing .15 ± .004


@every(ranked=["own", "teacher", "confidence"])
def test_running_order(ranked: str) -> None:
    """Reversed places, and places that are drawn; each by whoever is asked."""
    logits, labels, teacher = batch()
    advice = {"own": None, "teacher": teacher, "confidence": teacher[:, 0]}[ranked]
    of = {"own": logits.detach(), "teacher": teacher}.get(ranked)
    margins = teacher[:, 0] if of is None else label_margin(of, labels)
    u = (scipy.stats.rankdata(margins.numpy()) - 0.5) / B
    drawn = torch.rand(B, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    for order, places in (
        ("intact", torch.tensor(u)),
        ("reversed", 1 - torch.tensor(u)),
        ("random", drawn),
    ):
        prior = BetaPrior(1.0, 2.0, order=order, among="running")  # type: ignore[arg-type]
        generator = torch.Generator().manual_seed(9)
        states = [(prior, prior.state(None, None))]
        counts = prior(Batch(logits, labels, advice, generator=generator, states=states))
        close(counts.on_label, places.sqrt())


def test_evaluation_places_without_remembering() -> None:
    criterion = beta_smoothing(among="running")
    criterion(*batch()[:2])
    before, twin = copy.deepcopy(criterion.state_dict()), copy.deepcopy(criterion)
    logits, labels, _ = batch()
    criterion.eval()
    got = [criterion(logits, labels) for _ in range(2)]
    close(got[0], twin(logits, labels))
    assert torch.equal(got[0], got[1])
    for name, value in criterion.state_dict().items():
        close(value, before[name], equal_nan=True, rtol=0, atol=0)
    assert not torch.equal(
        twin.states["prior"].margins.isnan(), before["states.prior.margins"].isnan()
    )


def test_the_window_resumes() -> None:
    """By state_dict, exactly; and one that has no window leaves it as it is."""
    one, other = beta_smoothing(among="running"), beta_smoothing(among="running")
    one(*batch()[:2])
    kept = {"states.prior.margins", "states.prior.scores"}
    assert set(one.state_dict()) == {*kept, "_extra_state"}
    assert set(beta_smoothing().state_dict()) == {"_extra_state"}
    assert not other.load_state_dict(one.state_dict()).missing_keys
    one.load_state_dict(nn.CrossEntropyLoss().state_dict())
    one.load_state_dict(beta_smoothing().state_dict())
    for _ in range(2):
        logits, labels, _ = batch()
        want = one(logits, labels)
        assert torch.equal(other(logits, labels), want)
        assert want != beta_smoothing(among="running")(logits, labels)
    assert int((~other.states["prior"].scores.isnan()).sum()) == 3 * B


@pytest.mark.filterwarnings("ignore")  # torch's own
def test_running_ranks_compile_in_one_graph() -> None:
    torch._dynamo.reset()
    eager = beta_smoothing(among="running")
    module = copy.deepcopy(eager)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    for _ in range(3):
        logits, labels, teacher = batch()
        logits = logits.detach().float().requires_grad_()
        labels[2] = -100
        for advice in (None, teacher):
            want = eager(logits, labels, advice)
            same(compiled(logits, labels, advice), want, logits, rtol=1e-5, atol=1e-6)
    for name, seen in eager.states["prior"].named_buffers():
        close(module.states["prior"].get_buffer(name), seen, equal_nan=True)


# ---------------------------------------------------------------- named losses


def test_named_losses_are_their_priors() -> None:
    logits, labels, teacher = batch()
    for named, prior, weight in (
        (label_smoothing(0.2), UniformPrior(0.2), 0.8),
        (self_distillation(3.0, 0.3, weighting="map"), TeacherPrior(0.3, 3.0, "map"), 0.7),
        (label_smoothing(0.2, spread="others"), UniformPrior(0.2, "others"), 0.8),
        (beta_smoothing(0.2, 0.8, draw="quantile"), BetaPrior(0.8, 3.0, "quantile"), 0.2),
        (beta_smoothing(0.2, 0.8, among="running"), BetaPrior(0.8, 3.0, among="running"), 0.2),
    ):
        assert named.prior == prior
        want = PosteriorLoss(prior, label_weight=weight)(logits, labels, teacher)
        close(named(logits, labels, teacher), want)


@every(reduction=REDUCTIONS, kind=["indices", "ignored", "probabilities"])
def test_confidence_penalty(kind: str, reduction: Any) -> None:
    logits, labels, _ = batch()
    if kind == "ignored":
        labels[[1, 2]] = -100
    if kind == "probabilities":
        labels = torch.softmax(torch.randn(B, K, dtype=torch.float64), -1)
    criterion = confidence_penalty(0.3, reduction=reduction)
    z = torch.softmax(logits, -1)
    each = F.cross_entropy(logits, labels, reduction="none") + 0.3 * (z * z.log()).sum(-1)
    if kind == "ignored":
        each = each * (labels >= 0)
    kept = B - 2 if kind == "ignored" else B
    want = {"none": each, "sum": each.sum(), "mean": each.sum() / kept}[reduction]
    same(criterion(logits, labels), want, logits)
    assert torch.autograd.gradcheck(lambda f: criterion(f, labels), logits)
    assert criterion((logits.detach().sign() * 1e4), labels).isfinite().all()


# ---------------------------------------------------------------- state


def test_state_dict_resumes_the_same_draws() -> None:
    logits, labels, _ = batch()
    one, other = beta_smoothing(seed=1), beta_smoothing(seed=2)
    one(logits, labels)
    other.load_state_dict(one.state_dict())
    duplicates = [other, copy.deepcopy(one), pickle.loads(pickle.dumps(one))]
    want = [one(logits, labels).item() for _ in range(3)]
    assert len(set(want)) == 3
    for duplicate in duplicates:
        assert [duplicate(logits, labels).item() for _ in range(3)] == want
    assert beta_smoothing(seed=1)(logits, labels) != beta_smoothing(seed=2)(logits, labels)


def test_the_criterion_of_a_checkpoint_may_be_another() -> None:
    """A state without draws leaves the generator as it is; one with draws restores them."""

    class Holder(nn.Module):
        def __init__(self, criterion: nn.Module) -> None:
            super().__init__()
            self.network, self.criterion = nn.Linear(2, 2), criterion

    logits, labels, _ = batch()
    plain, smoothed = Holder(nn.CrossEntropyLoss()), Holder(beta_smoothing(seed=3))
    fresh = beta_smoothing(seed=3)
    assert not smoothed.load_state_dict(plain.state_dict()).missing_keys
    assert "criterion._extra_state" not in plain.state_dict()
    close(smoothed.network.weight, plain.network.weight)
    smoothed.criterion.load_state_dict(nn.CrossEntropyLoss().state_dict())
    close(smoothed.criterion(logits, labels), fresh(logits, labels))
    resumed = Holder(beta_smoothing(seed=4))
    resumed.load_state_dict(smoothed.state_dict(), strict=True)
    close(resumed.criterion(logits, labels), fresh(logits, labels))
    with pytest.raises(RuntimeError, match=r"Missing key\(s\) in state_dict: \"network.weight\""):
        resumed.load_state_dict({})


def test_padding_at_the_end_leaves_the_draws_alone() -> None:
    logits, labels, teacher = batch()
    pad = torch.full((3, K), torch.nan, dtype=torch.float64)
    ignored = torch.cat([labels, torch.full((3,), -100)])
    kinds = itertools.product(("random", "quantile"), ("intact", "random", "reversed"))
    for draw, order in kinds:
        prior = BetaPrior(draw=draw, order=order)  # type: ignore[arg-type]
        for advice in (None, teacher, teacher[:, 0]):
            one, other = (torch.Generator().manual_seed(7) for _ in range(2))
            want = prior(Batch(logits, labels, advice, generator=one))
            if advice is not None:
                advice = torch.cat([advice, pad if advice.ndim == 2 else pad[:, 0]])
            got = prior(
                Batch(torch.cat([logits, pad]), ignored.clamp(min=-1), advice, generator=other)
            )
            assert torch.equal(got.on_label[:B], want.on_label)


def test_numbers_may_be_numpys() -> None:
    logits, labels, teacher = batch()
    number = numpy.float32(0.25)
    for make in (
        lambda v: label_smoothing(v),
        lambda v: self_distillation(4, v),
        lambda v: beta_smoothing(v, 0.5, draw="quantile"),
        lambda v: PosteriorLoss(UniformPrior(v), label_weight=v),
        lambda v: PosteriorLoss(lambda batch: TwoLevel(v, v)),
        confidence_penalty,
    ):
        same(make(number)(logits, labels, teacher), make(0.25)(logits, labels, teacher), logits)
        assert repr(make(number))


def test_drawing_leaves_the_global_generator_alone() -> None:
    logits, labels, _ = batch()
    state = torch.get_rng_state()
    beta_smoothing()(logits, labels)
    assert torch.equal(torch.get_rng_state(), state)


# ---------------------------------------------------------------- compile and func


FORMS: list[Callable[[Tensor], Any]] = [
    lambda teacher: TwoLevel(0.1, 0.05),
    lambda teacher: TwoLevel(torch.rand(B), torch.rand(B)),
    lambda teacher: torch.softmax(teacher.float(), -1),
    lambda teacher: TeacherPrior(top=2)(
        Batch(teacher.float(), torch.zeros(B).long(), teacher.float())
    ),
]
FORM_NAMES = ["floats", "levels", "dense", "sparse"]


@pytest.mark.parametrize(
    ("form", "kind", "reduction"),
    [
        pytest.param(
            form,
            kind,
            reduction,
            marks=[] if (kind, reduction) == ("ignored", "mean") else pytest.mark.slow,
            id=f"{kind}-{reduction}-{name}",
        )
        for kind in ("ignored", "probabilities")
        for reduction in ("none", "mean")
        for name, form in zip(FORM_NAMES, FORMS, strict=True)
    ],
)
@pytest.mark.filterwarnings("ignore")  # torch's own
def test_compiles_in_one_graph(form: Callable[[Tensor], Any], kind: str, reduction: Any) -> None:
    torch._dynamo.reset()
    logits, labels, teacher = batch()
    logits = logits.detach().float().requires_grad_()
    labels[2] = -100
    if kind == "probabilities":
        labels = torch.softmax(torch.randn(B, K), -1)
    counts = form(teacher)
    compiled = torch.compile(posterior_loss, fullgraph=True, backend="aot_eager")
    got, want = (
        loss(logits, labels, counts, label_weight=0.4, reduction=reduction)
        for loss in (compiled, posterior_loss)
    )
    same(got, want, logits, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="inductor wants a C++ compiler")
@pytest.mark.filterwarnings("ignore")
def test_compiles_with_inductor() -> None:
    torch._dynamo.reset()
    logits, labels, _ = batch()
    logits = logits.detach().float().requires_grad_()
    compiled = torch.compile(posterior_loss, fullgraph=True)
    got, want = (f(logits, labels, TwoLevel(0.1, 0.05)) for f in (compiled, posterior_loss))
    same(got, want, logits, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("draw", ["random", pytest.param("quantile", marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore")
def test_random_criterion_under_compile(draw: Any) -> None:
    torch._dynamo.reset()
    logits, labels, _ = batch()
    logits = logits.detach().float().requires_grad_()
    eager, compiled = (
        beta_smoothing(draw=draw),
        torch.compile(beta_smoothing(draw=draw), backend="eager"),
    )
    for _ in range(2):
        same(compiled(logits, labels), eager(logits, labels), logits, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", FORMS, ids=FORM_NAMES)
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # jacfwd's own
def test_functional_transforms(form: Callable[[Tensor], Any]) -> None:
    logits, labels, teacher = batch()
    counts = form(teacher)

    def each(f: Tensor) -> Tensor:
        return posterior_loss(f, labels, counts, label_weight=0.4, reduction="none")

    losses = each(logits)
    want = torch.autograd.grad(losses.sum(), logits, create_graph=True)[0]
    flat = logits.detach()
    close(torch.func.grad(lambda f: each(f).sum())(flat), want.detach())
    rows = torch.stack([torch.autograd.grad(l, logits, retain_graph=True)[0] for l in losses])
    for jacobian in (
        torch.func.jacrev(each)(flat),
        torch.func.jacfwd(each)(flat),
        torch.autograd.functional.jacobian(each, flat, vectorize=True),
    ):
        close(jacobian, rows)
    if form is not FORMS[0]:
        return

    def one(f: Tensor, y: Tensor) -> Tensor:
        return posterior_loss(f[None], y[None], TwoLevel(0.1, 0.05), label_weight=0.4)

    close(torch.func.vmap(torch.func.grad(one))(flat, labels), want.detach())


def test_gradient_accumulation() -> None:
    """ "sum" over unequal parts, divided once, is "mean" over the whole."""
    logits, labels, _ = batch()
    whole = label_smoothing(0.1)(logits, labels)
    parts = [
        label_smoothing(0.1, reduction="sum")(logits[s], labels[s])
        for s in (slice(2), slice(2, None))
    ]
    same(sum(parts) / B, whole, logits)


# ---------------------------------------------------------------- matching


@pytest.mark.parametrize(("smoothing", "a"), [(0.05, 11), (0.1, 5), (0.15, 3), (0.2, 2), (0.3, 1)])
def test_matching_beta(smoothing: float, a: float) -> None:
    assert BetaPrior.matching(smoothing, strength=0.6).a == a
    assert beta_smoothing(smoothing, 0.6).prior == BetaPrior(0.6, a)


@every(smoothing=[0.05, 0.15, 0.5], classes=[2, 10])
def test_uniform_smoothing(smoothing: float, classes: int) -> None:
    s = matching.uniform_smoothing(smoothing, classes)
    assert s <= 1
    assert matching.true_class_smoothing(s, classes) == pytest.approx(smoothing)
    logits, labels, _ = batch(B, classes)
    target = torch.full_like(logits, smoothing / (classes - 1))
    target = target.detach().scatter(1, labels[:, None], 1 - smoothing)
    same(
        F.cross_entropy(logits, labels, label_smoothing=s),
        F.cross_entropy(logits, target),
        logits,
    )
    soft = soft_labels(
        labels, UniformPrior(s)(Batch(logits, labels)), label_weight=1 - s, num_classes=classes
    )
    close(soft.double(), target, rtol=1e-6, atol=1e-7)


@every(classes=[2, 3, 7, 10, 49, 1000])
def test_most_uniform_smoothing(classes: int) -> None:
    most = (classes - 1) / classes
    label_smoothing(matching.uniform_smoothing(most, classes))
    assert matching.uniform_smoothing(most, classes) == pytest.approx(1)
    with pytest.raises(ValueError, match=rf"smoothing must be a number in \(0, {most:g}\], got"):
        matching.uniform_smoothing(most + 0.001 / classes, classes)


@every(weight=[0.4, 1.0], smoothing=[0.05, 0.15, 0.3])
def test_teacher_temperature_solves_the_equation(smoothing: float, weight: float) -> None:
    logits, labels, _ = batch(300)
    teacher = logits.detach().scatter(1, labels[:, None], 9.0)
    t = matching.teacher_temperature(teacher, labels, smoothing=smoothing, weight=weight)
    soft = torch.softmax(teacher / t, -1)[range(300), labels]
    assert ((1 - weight) + weight * soft).mean().item() == pytest.approx(1 - smoothing, abs=1e-8)


def test_teacher_temperature_unreachable() -> None:
    """A teacher wrong about 30 % of noisy labels smooths by more than 0.4 · 0.3 = 0.12."""
    logits = 30 * torch.eye(10).repeat(10, 1)
    labels = torch.arange(10).repeat(10)
    labels[:30] = (labels[:30] + 1) % 10
    with pytest.raises(ValueError, match=r"reaches 0.12 to 0.\d+ \(it is wrong about 30.0% of its"):
        matching.teacher_temperature(logits, labels, smoothing=0.1, weight=0.4)
    with pytest.raises(ValueError, match=r"no temperature smooths by 0\.5 at weight 0\.4"):
        matching.teacher_temperature(logits, labels, smoothing=0.5, weight=0.4)


@pytest.mark.parametrize("smoothing", [0.55, 0.7])
def test_teacher_temperature_takes_the_largest(smoothing: float) -> None:
    """Confidently wrong about 60 %: smoothing falls from .6, then rises, or falls, to 1 - 1/K."""
    torch.manual_seed(0)
    classes, n = 4, 100
    labels = torch.randint(classes, (n,))
    said = torch.where(torch.arange(n) < 60, (labels + 1) % classes, labels)
    logits = 2.0 * F.one_hot(said, classes).double()
    logits[:60] += 1.9 * F.one_hot(labels[:60], classes)  # nearly right
    t = matching.teacher_temperature(logits, labels, smoothing=smoothing, weight=1.0)

    def amount(temperature: float) -> float:
        return matching.teacher_smoothing(logits, labels, temperature=temperature, weight=1.0)

    temperatures = [math.exp(v) for v in torch.linspace(-6.9, 9.2, 2000).tolist()]
    signs = [amount(v) > smoothing for v in temperatures]
    last = max(i for i in range(1999) if signs[i] != signs[i + 1])
    assert temperatures[last] <= t <= temperatures[last + 1]
    assert amount(t) == pytest.approx(smoothing, abs=1e-8)


def test_temperature_of_a_teacher_that_cools_towards_uniform() -> None:
    """Wrong about everything: it smooths more than the uniform prior, at every temperature."""
    logits = 5 * torch.eye(4, dtype=torch.float64)
    labels = torch.tensor([1, 2, 3, 0])
    t = matching.teacher_temperature(logits, labels, smoothing=0.9, weight=1.0)
    got = matching.teacher_smoothing(logits, labels, temperature=t, weight=1.0)
    assert got == pytest.approx(0.9, abs=1e-8)


# ---------------------------------------------------------------- sparse and signed counts


def sparse(signed: bool = False) -> Sparse:
    """Counts on two classes of each row, and the same on all others."""
    indices = torch.stack([torch.randperm(K)[:2] for _ in range(B)])
    values = torch.rand(B, 2, dtype=torch.float64) - (0.5 if signed else 0.0)
    return Sparse(indices, values, torch.rand(B, dtype=torch.float64) / 10)


@every(signed=[False, True], reduction=REDUCTIONS, kind=["indices", "ignored", "probabilities"])
def test_sparse_counts_are_their_dense_form(kind: str, reduction: Any, signed: bool) -> None:
    logits, labels, _ = batch()
    counts = sparse(signed)
    if kind == "ignored":
        labels[[1, 4]] = -100
    if kind == "probabilities":
        labels = torch.softmax(torch.randn(B, K, dtype=torch.float64), -1)
    options: dict[str, Any] = {"label_weight": 0.7, "reduction": reduction, "signed": True}

    def loss(f: Tensor, of: Any = counts) -> Tensor:
        return posterior_loss(f, labels, of, **options)

    full = counts.dense(K)
    slow = torch.zeros(B, K, dtype=torch.float64)
    for i in range(B):
        on = dict(zip(counts.indices[i].tolist(), counts.values[i].tolist(), strict=True))
        for c in range(K):
            slow[i, c] = on.get(c, float(counts.elsewhere[i]))
    close(slow, full)
    close(counts.total(K), full.sum(1))
    same(loss(logits), loss(logits, full), logits)
    if (REDUCTIONS.index(reduction) + len(kind)) % 2 == signed:  # every pair of the three
        assert torch.autograd.gradcheck(loss, logits, check_batched_grad=True)
        assert torch.autograd.gradgradcheck(loss, logits, check_batched_grad=True)
    slope = torch.autograd.grad(loss(logits).sum(), logits)[0]
    close(torch.func.grad(lambda f: loss(f).sum())(logits.detach()), slope)
    close(torch.func.grad(lambda f: loss(f, full).sum())(logits.detach()), slope)
    if kind == "ignored":
        broken = logits.detach().clone()
        broken[4] = torch.nan
        broken.requires_grad_()
        for graph in (False, True):
            got = torch.autograd.grad(loss(broken).sum(), broken, create_graph=graph)[0]
            close(got, slope)
    elif not signed:
        known = {} if kind == "probabilities" else {"num_classes": K}
        target = soft_labels(labels, counts, label_weight=0.7, **known)
        close(target, soft_labels(labels, full, label_weight=0.7))
        close(slope, gradient_towards(target, logits, 0.7 + full.sum(1), reduction))


def gradient_towards(target: Tensor, logits: Tensor, total: Tensor, reduction: str) -> Tensor:
    """total · (z - target), of a sum or a mean."""
    slope = total[:, None] * (torch.softmax(logits.detach(), -1) - target)
    return slope / B if reduction == "mean" else slope


def test_sparse_counts_by_hand() -> None:
    counts = Sparse(torch.tensor([[2, 0]]), torch.tensor([[0.5, 0.25]]), 0.125)
    close(counts.dense(4), torch.tensor([[0.25, 0.125, 0.5, 0.125]]))
    close(counts.total(4), torch.tensor([1.0]))


@every(dtype=[torch.bfloat16, torch.float16])
def test_sparse_counts_in_half_precision(dtype: torch.dtype) -> None:
    logits, labels, _ = batch()
    half = logits.detach().to(dtype).requires_grad_()
    counts = sparse()
    counts = Sparse(counts.indices, counts.values.float(), counts.elsewhere.float())
    got = posterior_loss(half, labels, counts)
    exact = half.detach().double().requires_grad_()
    want = posterior_loss(exact, labels, counts.dense(K).double())
    assert got.dtype == torch.float32
    close(got.double(), want, rtol=1e-5, atol=1e-5)
    slopes = [
        torch.autograd.grad(loss, at)[0].double() for loss, at in ((got, half), (want, exact))
    ]
    close(*slopes, rtol=1e-2, atol=1e-5)


@every(top=[1, 2, K - 2, K - 1, K, K + 3], temperature=[0.5, 1.0, 4.0], weighting=["none", "map"])
def test_the_top_of_a_teacher(top: int, temperature: float, weighting: Any) -> None:
    """Its m likeliest classes as they are, and the mean of the others on each of them."""
    logits, labels, teacher = batch()
    full = TeacherPrior(0.8, temperature, weighting)(Batch(logits, labels, teacher))
    counts = TeacherPrior(0.8, temperature, weighting, top)(Batch(logits, labels, teacher))
    if top >= K - 1:
        assert isinstance(counts, Tensor)
        close(counts, full)
        return
    assert isinstance(counts, Sparse)
    assert counts.indices.shape == (B, top)
    for row, got in zip(full, counts.dense(K), strict=True):
        ranked = row.sort(descending=True).indices
        want = row.clone()
        want[ranked[top:]] = row[ranked[top:]].mean()
        close(got, want)
    close(counts.total(K), full.sum(1))


@every(m=[0, 1, K - 1, K], elsewhere=[0, 0.0, 0.3, "tensor"])
def test_sparse_counts_on_none_and_on_all_classes(m: int, elsewhere: Any) -> None:
    logits, labels, _ = batch()
    indices = torch.stack([torch.randperm(K)[:m] for _ in range(B)])
    off = torch.rand(B, dtype=torch.float64) if elsewhere == "tensor" else elsewhere
    counts = Sparse(indices, torch.rand(B, m, dtype=torch.float64), off)
    full = counts.dense(K)
    close(counts.total(K), full.sum(1))
    same(posterior_loss(logits, labels, counts), posterior_loss(logits, labels, full), logits)


@every(
    shape=[(), (1,), (B,)],
    kind=["indices", "ignored", "probabilities"],
    form=["two-level", "dense", "sparse"],
)
def test_label_weights_as_tensors(shape: tuple[int, ...], kind: str, form: str) -> None:
    """Equal the loop over samples with a number each; so does what is traced."""
    logits, labels, teacher = batch()
    weight = 2 * torch.rand(shape, dtype=torch.float64) - 0.5
    counts: Any = {"two-level": TwoLevel(0.1, 0.02), "dense": torch.softmax(teacher, -1)}.get(form)
    counts = sparse() if counts is None else counts
    parts = [TwoLevel(0.1, 0.02)] * B
    if form == "dense":
        parts = list(counts.split(1))
    if form == "sparse":
        parts = [Sparse(*rows) for rows in zip(*(t.split(1) for t in counts), strict=True)]
    if kind == "ignored":
        labels[[1, 4]] = -1
    if kind == "probabilities":
        labels = torch.softmax(torch.randn(B, K, dtype=torch.float64), -1)
    each = torch.stack(
        [
            posterior_loss(f, y, c, label_weight=w, ignore_index=-1)
            for f, y, c, w in zip(
                logits.split(1), labels.split(1), parts, weight.expand(B).tolist(), strict=True
            )
        ]
    )
    valid = B - 2 if kind == "ignored" else B
    for reduction in REDUCTIONS:

        def loss(f: Tensor, reduction: Any = reduction) -> Tensor:
            return kernel.loss(f, labels, counts, weight, reduction, valid=valid_mask(labels))

        want = {"none": each, "sum": each.sum(), "mean": each.sum() / valid}[reduction]
        same(loss(logits), want, logits)
        slope = torch.autograd.grad(want.sum(), logits, retain_graph=True)[0]
        close(torch.func.grad(lambda f, loss=loss: loss(f).sum())(logits.detach()), slope)


def test_a_learnt_label_weight_gets_a_gradient() -> None:
    logits, labels, _ = batch()
    weight = torch.rand(B, dtype=torch.float64, requires_grad=True)
    loss = kernel.loss(logits, labels, TwoLevel(0.1, 0.02), weight, "sum", valid=None)
    want = F.cross_entropy(logits, labels, reduction="none")
    close(torch.autograd.grad(loss, weight)[0], want)


@every(form=["dense", "two-level", "sparse"])
def test_signed_counts(form: str) -> None:
    """total · z - (onehot + counts), whatever their signs; refused unless they are meant."""
    logits, labels, _ = batch()
    counts: Any = {
        "dense": torch.randn(B, K, dtype=torch.float64),
        "two-level": TwoLevel(torch.randn(B, dtype=torch.float64), -0.1),
        "sparse": sparse(signed=True),
    }[form]
    full = dense_counts(counts, labels, K, torch.float64)
    assert (full < 0).any()
    with pytest.raises(ValueError, match=r"finite and ≥ 0, found -|a number in \[0, inf\), got -"):
        posterior_loss(logits, labels, counts)
    for weight in (1.0, 0.4):
        loss = posterior_loss(
            logits, labels, counts, label_weight=weight, reduction="sum", signed=True
        )
        z, target = torch.softmax(logits, 1), weight * F.one_hot(labels, K).double() + full
        close(torch.autograd.grad(loss, logits)[0], target.sum(1, keepdim=True) * z - target)
        close(loss, -(target * z.log()).sum())
    for bad in (torch.nan, torch.inf):
        broken = full.clone()
        broken[2, 1] = bad
        with pytest.raises(ValueError, match=r"dense counts must be finite, found"):
            posterior_loss(logits, labels, broken, signed=True)


def test_a_prior_that_pushes_away() -> None:
    """Its counts below 0 are taken where it says so, and are told of where they are not finite."""

    @dataclass(frozen=True)
    class Away(Prior):
        strength: float = 0.3
        signed: ClassVar[bool] = True

        def counts(self, batch: Batch) -> TwoLevel:
            return TwoLevel(0.0, -self.strength / (batch.num_classes - 1))

    @dataclass(frozen=True)
    class Unsaid(Away):
        signed: ClassVar[bool] = False

    logits, labels, _ = batch()
    got = PosteriorLoss(Away(), label_weight=1)(logits, labels)
    z = torch.log_softmax(logits, 1)
    others = z.sum(1) - z.gather(1, labels[:, None]).squeeze(1)
    same(got, F.cross_entropy(logits, labels) + (0.3 / (K - 1) * others).mean(), logits)
    with pytest.raises(ValueError, match=r"counts.elsewhere must be a number in \[0, inf\), got -"):
        PosteriorLoss(Unsaid())(logits, labels)
