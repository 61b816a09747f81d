"""What is said when something is wrong: what came, what was wanted, what to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from softprior import (
    Batch,
    BetaPrior,
    ConfidencePenalty,
    Penalty,
    PosteriorLoss,
    Sparse,
    TeacherPrior,
    TwoLevel,
    UniformPrior,
    beta_smoothing,
    confidence_penalty,
    label_smoothing,
    matching,
    posterior_loss,
    self_distillation,
    soft_labels,
)

B, K = 4, 3
COUNTS = TwoLevel(0.1, 0.1)
META = torch.device("meta")
nan, inf = float("nan"), float("inf")


def logits(*shape: int, **options: Any) -> Tensor:
    return torch.zeros(*(shape or (B, K)), **options)


def labels(*values: int) -> Tensor:
    return torch.tensor(values or [0, 1, 2, 0])


def with_first(value: float, tensor: Tensor) -> Tensor:
    tensor = tensor.clone()
    tensor[(1,) if tensor.ndim == 1 else (1, 2)] = value
    return tensor


def on_classes(indices: Any, m: int | None = None, off: float = 0.0, sign: int = 1) -> Sparse:
    """One count on each of these classes."""
    at = torch.as_tensor(indices)
    return Sparse(at, sign * torch.ones(B, m or at.shape[-1]), off)


LOSSES: dict[str, Callable[..., Tensor]] = {
    "posterior_loss": lambda f, y, t=None: posterior_loss(f, y, COUNTS),
    "posterior_loss, dense": lambda f, y, t=None: posterior_loss(f, y, torch.ones(B, K)),
    "PosteriorLoss(None)": PosteriorLoss(None),
    "label_smoothing": label_smoothing(),
    "self_distillation": lambda f, y, t=None: self_distillation()(f, y, logits()),
    "beta_smoothing": beta_smoothing(),
    "beta_smoothing, ranked": lambda f, y, t=None: beta_smoothing()(f, y, torch.ones(B)),
    "confidence_penalty": confidence_penalty(),
}


def refused_by_all(
    f: Any,
    y: Any,
    error: type[Exception],
    message: str,
    losses: Mapping[str, Callable[..., Tensor]] = LOSSES,
) -> None:
    """Each of the losses raises this error with this message."""
    said: dict[str, str] = {}
    for name, loss in losses.items():
        try:
            loss(f, y)
        except error as raised:
            said[name] = str(raised)
    wrong = {name: said.get(name) for name in losses if not re.search(message, said.get(name, ""))}
    assert not wrong


@pytest.mark.parametrize(
    ("f", "error", "message"),
    [
        ([[0.0]], TypeError, "logits must be a torch.Tensor, got list"),
        (
            logits(K),
            ValueError,
            r"\(3,\) have their 3 classes in dimension 0, so labels must have shape \(\)",
        ),
        (
            logits(B, K, 2),
            ValueError,
            r"must have shape \(4, 2\), got \(4,\); torch has the classes in dimension 1",
        ),
        (logits().long(), TypeError, "logits must be floating point, got torch.int64"),
        (logits(0, K), ValueError, r"the batch is empty, got shape \(0, 3\)"),
        (logits(B, 1), ValueError, r"K = 1 class, wanted at least 2; .*torch.stack"),
    ],
)
def test_logits(f: Any, error: type[Exception], message: str) -> None:
    refused_by_all(f, labels(), error, message)


@pytest.mark.parametrize("bad", [nan, inf, -inf])
def test_logits_that_are_not_finite(bad: float) -> None:
    """-inf is a masked class: plain cross-entropy can take it where it is not the label."""
    f = with_first(bad, logits())
    message = rf"logits has 1 entries that are not finite, the first in row 1, column 2 \({bad}\)"
    plain = LOSSES["PosteriorLoss(None)"]
    if bad == -inf:
        assert plain(f, labels()).isfinite()
        with pytest.raises(ValueError, match="a masked class"):
            plain(f, labels(0, 2, 0, 0))
    losses = {name: loss for name, loss in LOSSES.items() if loss is not plain or bad != -inf}
    refused_by_all(f, labels(), ValueError, message + "; a masked class", losses)


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        ([0, 1, 2, 0], TypeError, "labels must be a torch.Tensor, got list"),
        (labels(0, 1), ValueError, r"labels must have shape \(4,\) .* \(4, 3\), got \(2,\)"),
        (labels()[:, None], ValueError, r"shape \(4, 1\), wanted \(B,\): use labels.squeeze\(1\)"),
        (torch.eye(K)[labels()].long(), ValueError, r"look one-hot .*labels.argmax\(1\)"),
        (labels().float(), TypeError, r"class indices must be integers.*labels.long\(\)"),
        (labels().bool(), TypeError, "integers or probabilities, got torch.bool"),
        (labels().cfloat(), TypeError, "integers or probabilities, got torch.complex64"),
        (labels().to(META), ValueError, r"labels are on meta and logits on cpu; use .*\('cpu'\)"),
        (labels(0, 1, 3, 0), ValueError, r"in 0..2 \(K = 3\), got 3 at position 2"),
        (labels(0, -1, 2, 0), ValueError, r"in 0..2 \(K = 3\), got -1 at position 1"),
        (torch.ones(B, 2), ValueError, r"the shape of logits, \(4, 3\), got \(4, 2\)"),
        (torch.ones(B, K), ValueError, "sum to 1 over the classes, row 0 sums to 3"),
        (torch.tensor([[2.0, -1.0, 0.0]] * B), ValueError, "must be ≥ 0, found -1"),
        (torch.full((B, K), nan), ValueError, "must be ≥ 0, found nan"),
    ],
)
def test_labels(y: Any, error: type[Exception], message: str) -> None:
    refused_by_all(logits(), y, error, message)


def test_labels_legitimately_odd() -> None:
    assert posterior_loss(logits(), labels(0, -100, 2, 0), COUNTS).isfinite()
    assert posterior_loss(logits(), labels(0, 255, 2, 0), COUNTS, ignore_index=255).isfinite()
    assert posterior_loss(logits(), labels(0, 1, 2, 0), COUNTS, ignore_index=1).isfinite()
    assert posterior_loss(logits() + 3e38, labels(), TwoLevel(0.0, 0.0)).isfinite()
    half = torch.full((B, K), 1 / 3, dtype=torch.bfloat16)
    assert posterior_loss(logits(dtype=torch.bfloat16), half, COUNTS).isfinite()
    assert posterior_loss(logits(dtype=torch.float16) + 6e4, labels(), COUNTS).isfinite()


@pytest.mark.parametrize(
    ("counts", "error", "message"),
    [
        (0.1, TypeError, r"counts must be a tensor \(B, K\), .* or softprior.TwoLevel, got float"),
        ((0.1, 0.1), TypeError, "TwoLevel, got tuple"),
        (None, TypeError, "TwoLevel, got NoneType"),
        (torch.ones(K), ValueError, r"dense counts must have shape \(4, 3\), got \(3,\)"),
        (torch.ones(B, K).long(), TypeError, "dense counts must be floating point, got torch.int"),
        (torch.ones(B, K, device=META), ValueError, "device of logits, cpu, got meta"),
        (with_first(-0.5, torch.ones(B, K)), ValueError, "finite and ≥ 0, found -0.5 to 1"),
        (with_first(nan, torch.ones(B, K)), ValueError, "finite and ≥ 0, found nan"),
        (with_first(inf, torch.ones(B, K)), ValueError, "finite and ≥ 0, found 1 to inf"),
        (TwoLevel(-0.1, 0.1), ValueError, r"counts.on_label must be a number in \[0, inf\), got -"),
        (TwoLevel(0.1, nan), ValueError, "counts.elsewhere must be a number in .* got nan"),
        (TwoLevel(0.1, inf), ValueError, "counts.elsewhere must be a number in .* got inf"),
        (TwoLevel("1", 0.1), ValueError, "counts.on_label must be a number in .* got '1'"),
        (TwoLevel(torch.ones(2), 0.1), ValueError, r"on_label must have shape \(4,\), got \(2,\)"),
        (TwoLevel(0.1, torch.ones(B, 1)), ValueError, r"elsewhere must have .*got \(4, 1\)"),
        (TwoLevel(0.1, torch.ones(B, K)), ValueError, r"elsewhere must have .*got \(4, 3\)"),
        (TwoLevel(torch.ones(B).int(), 0.1), TypeError, "on_label must be floating point"),
        (TwoLevel(with_first(-1, torch.ones(B)), 0.1), ValueError, "on_label must be finite and"),
        (Sparse([[0]] * B, torch.ones(B, 1), 0.0), TypeError, "counts.indices must be a torch.Te"),
        (on_classes(torch.zeros(B, 1)), TypeError, r"indices must be int64.* use .long\(\)"),
        (on_classes(torch.zeros(B, 1).int()), TypeError, "indices must be int64, got torch.int32"),
        (on_classes([[0]]), ValueError, r"indices must have shape \(4, m\) .* got \(1, 1\)"),
        (on_classes([0] * B, 1), ValueError, r"indices must have shape \(4, m\) .* got \(4,\)"),
        (
            on_classes(torch.zeros(B, 1, device=META).long()),
            ValueError,
            "indices must be on the dev",
        ),
        (on_classes([[0], [1], [2], [-1]]), ValueError, r"indices must be in 0..2, found -1 to 2"),
        (on_classes([[0] * 4] * B), ValueError, r"with m ≤ K = 3, got \(4, 4\)"),
        (on_classes([[0], [1], [2], [3]]), ValueError, r"indices must be in 0..2, found 0 to 3"),
        (on_classes([[0, 1], [2, 0], [1, 1], [0, 2]]), ValueError, "a class twice in row 2"),
        (on_classes([[0]] * B, 2), ValueError, r"values must have shape \(4, 1\), got \(4, 2\)"),
        (
            Sparse(torch.zeros(B, 1).long(), torch.ones(B, 1).int(), 0.0),
            TypeError,
            "counts.values must be floating point, got torch.int32",
        ),
        (
            Sparse(torch.zeros(B, 1).long(), torch.ones(B, 1), torch.ones(B, 1)),
            ValueError,
            r"counts.elsewhere must have shape \(4,\), got \(4, 1\)",
        ),
        (
            on_classes([[0]] * B, off=inf),
            ValueError,
            "counts.elsewhere must be a number in .* got inf",
        ),
        (on_classes([[0]] * B, off=-0.1), ValueError, r"elsewhere must be a number in \[0, inf"),
        (on_classes([[0]] * B, sign=-1), ValueError, "values must be finite and ≥ 0, found -1"),
    ],
)
def test_counts(counts: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        posterior_loss(logits(), labels(), counts)
    with pytest.raises(error, match=message):
        soft_labels(labels(), counts, num_classes=K)
    with pytest.raises(error, match=message):  # of a function, or of somebody's own prior
        PosteriorLoss(lambda batch: counts)(logits(), labels())


@pytest.mark.parametrize(
    "form",
    [
        lambda each: each.unsqueeze(1).expand(B, K),
        lambda each: TwoLevel(each, 0.1),
        lambda each: TwoLevel(0.1, each),
        lambda each: Sparse(torch.zeros(B, 1).long(), each.unsqueeze(1), 0.1),
    ],
)
def test_counts_of_ignored_samples_may_be_anything(form: Callable[[Tensor], Any]) -> None:
    criterion = PosteriorLoss(lambda batch: form(torch.tensor([nan, 0.1, 0.1, 0.1])))
    f = logits().requires_grad_()
    criterion(f, labels(-100, 1, 2, 0)).backward()
    assert f.grad is not None
    assert f.grad.isfinite().all()
    assert not f.grad[0].any()
    with pytest.raises(ValueError, match="must be finite and ≥ 0, found nan"):
        criterion(f, labels())


def test_soft_labels() -> None:
    for counts in (COUNTS, on_classes([[0]] * B)):
        with pytest.raises(ValueError, match="num_classes is needed"):
            soft_labels(labels(), counts)
    with pytest.raises(TypeError, match=r"labels must be a torch\.Tensor, got list"):
        soft_labels([0, 1], COUNTS, num_classes=K)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"labels must be in 0\.\.2"):
        soft_labels(labels(-100, 1, 1, 1), COUNTS, num_classes=K)
    with pytest.raises(ValueError, match="K = 1 class"):
        soft_labels(labels(0), COUNTS, num_classes=1)
    with pytest.raises(ValueError, match=r"counts of shape \(4, 3\) have K = 3 classes, wanted 7"):
        soft_labels(labels(), torch.ones(B, K), num_classes=7)
    with pytest.raises(ValueError, match=r"labels of shape \(4, 3\) have K = 3 .* wanted 7"):
        soft_labels(torch.eye(K)[labels()], COUNTS, num_classes=7)
    with pytest.raises(ValueError, match=r"counts of shape \(4, 5\) have K = 5 .* wanted 3"):
        soft_labels(torch.eye(K)[labels()], torch.ones(B, 5))


@pytest.mark.parametrize("prior", [TeacherPrior(), BetaPrior()])
@pytest.mark.parametrize(
    ("t", "error", "message"),
    [
        (logits(B, 2), ValueError, r"the shape of logits, \(4, 3\), got \(4, 2\)"),
        (logits(2, K), ValueError, r"the shape of logits, \(4, 3\), got \(2, 3\)"),
        (logits(B, K, 1), ValueError, r"teacher_logits must have shape \(B, K\), got \(4, 3, 1\)"),
        (logits().long(), TypeError, "teacher_logits must be floating point"),
        (logits(device=META), ValueError, "teacher_logits are on meta, logits on cpu"),
        (with_first(nan, logits()), ValueError, "teacher_logits has 1 entries .* column 2"),
        (with_first(-inf, logits()), ValueError, "teacher_logits has 1 entries .*-inf"),
    ],
)
def test_teacher_logits(prior: Any, t: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        PosteriorLoss(prior)(logits(), labels(), t)


def test_no_teacher() -> None:
    with pytest.raises(ValueError, match=r"TeacherPrior needs teacher_logits, got None; call crit"):
        self_distillation()(logits(), labels())
    with pytest.raises(ValueError, match=r"teacher_logits must have shape \(B, K\), got \(4,\)$"):
        self_distillation()(logits(), labels(), torch.zeros(B))


@pytest.mark.parametrize(
    ("t", "error", "message"),
    [
        (
            torch.zeros(B + 1),
            ValueError,
            r"one number per sample must have shape \(4,\), got \(5,\)",
        ),
        (
            torch.zeros(B).long(),
            TypeError,
            "teacher_logits must be floating point, got torch.int64",
        ),
        (with_first(nan, torch.zeros(B)), ValueError, "one number per sample contain NaN"),
        (torch.zeros(B, device=META), ValueError, "teacher_logits are on meta, logits on cpu"),
    ],
)
def test_one_confidence_per_sample(t: Tensor, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        beta_smoothing()(logits(), labels(), t)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("strength", UniformPrior),
        ("strength", TeacherPrior),
        ("strength", BetaPrior),
        ("weight", ConfidencePenalty),
        ("weight", confidence_penalty),
        ("temperature", lambda v: TeacherPrior(temperature=v)),
        ("a", lambda v: BetaPrior(a=v)),
        ("smoothing", label_smoothing),
        ("smoothing", beta_smoothing),
        ("temperature", self_distillation),
        ("weight", lambda v: self_distillation(weight=v)),
        ("weight", lambda v: beta_smoothing(weight=v)),
        ("strength", lambda v: BetaPrior.matching(0.1, strength=v)),
        ("smoothing", lambda v: matching.uniform_smoothing(v, K)),
        ("label_smoothing", lambda v: matching.true_class_smoothing(v, K)),
        (
            "temperature",
            lambda v: matching.teacher_smoothing(logits(), labels(), temperature=v, weight=0.4),
        ),
        (
            "weight",
            lambda v: matching.teacher_temperature(logits(), labels(), smoothing=0.1, weight=v),
        ),
        (
            "smoothing",
            lambda v: matching.teacher_temperature(logits(), labels(), smoothing=v, weight=0.4),
        ),
    ],
)
def test_numbers_out_of_range(name: str, make: Callable[[Any], Any]) -> None:
    for bad in (-0.1, nan, inf, "0.1", None, True):
        message = rf"^{name} must be a number in [\[(]0, .*got {bad!r}$"
        with pytest.raises(ValueError, match=message):
            make(bad)


@pytest.mark.parametrize("bad", [-1.1, nan, inf, -inf, "0.1", None, True])
@pytest.mark.parametrize(
    "make",
    [
        lambda v: posterior_loss(logits(), labels(), COUNTS, label_weight=v),
        lambda v: soft_labels(labels(), COUNTS, label_weight=v, num_classes=K),
    ],
)
def test_label_weights_out_of_range(make: Callable[[Any], Any], bad: Any) -> None:
    message = rf"^label_weight must be a number in \[-1, inf\), got {bad!r}$"
    with pytest.raises(ValueError, match=message):
        make(bad)
    make(-1)


@pytest.mark.parametrize("bad", [-1.1, nan, inf, -inf, "0.1", True])
def test_label_weights_of_a_criterion_out_of_range(bad: Any) -> None:
    """None asks the prior for its usual mix."""
    message = rf"^label_weight must be a number in \[-1, inf\), got {bad!r}$"
    with pytest.raises(ValueError, match=message):
        PosteriorLoss(None, label_weight=bad)
    assert PosteriorLoss(None, label_weight=-1).label_weight == -1
    assert PosteriorLoss(None).label_weight == 1


@pytest.mark.parametrize("penalty", [0.1, "confidence", ConfidencePenalty, BetaPrior(), nn.ReLU()])
def test_what_is_not_a_penalty(penalty: Any) -> None:
    with pytest.raises(TypeError, match="penalty must be a softprior Penalty or None, got"):
        PosteriorLoss(penalty=penalty)


@pytest.mark.parametrize("top", [0, -1, 2.0, "2", True])
def test_tops_of_a_teacher(top: Any) -> None:
    with pytest.raises(ValueError, match=rf"^top must be an integer ≥ 1 or None, got {top!r}$"):
        TeacherPrior(top=top)


def test_a_strength_above_one_leaves_the_label_nothing() -> None:
    message = (
        r"TeacherPrior\(strength=1.5, .*\) leaves -0.5 to the label: pass label_weight \(1 for"
    )
    with pytest.raises(ValueError, match=message):
        PosteriorLoss(TeacherPrior(1.5))
    assert PosteriorLoss(TeacherPrior(1.5), label_weight=-0.5).label_weight == -0.5
    assert PosteriorLoss(TeacherPrior(1.0)).label_weight == 0


@pytest.mark.parametrize("known", [{}, {"epoch": 1}, {"epochs": 3}])
def test_an_epoch_that_is_asked_for(known: dict[str, int]) -> None:
    message = (
        r"the epoch decides here, and it is not known: call criterion\(logits, labels, teacher"
    )
    criterion = PosteriorLoss(lambda batch: TwoLevel(0.0, batch.progress / 9))
    with pytest.raises(ValueError, match=message):
        criterion(logits(), labels(), **known)
    assert criterion(logits(), labels(), epoch=1, epochs=3).isfinite()
    for epoch in (0, 4):  # counted from 0, or one too many
        with pytest.raises(ValueError, match=rf"epoch must be in 1..3 .* got {epoch}"):
            criterion(logits(), labels(), epoch=epoch, epochs=3)


@dataclass(frozen=True)
class Mean(Penalty):
    """Answers with what is not one number a sample."""

    weight: float = 1.0
    shape: tuple[int, ...] = ()

    def losses(self, logits: Tensor, batch: Batch) -> Tensor:
        return logits.new_ones(self.shape)


@pytest.mark.parametrize("shape", [(), (B, 1), (1,), (B, K), (B - 1,)])
def test_a_penalty_of_another_shape(shape: tuple[int, ...]) -> None:
    criterion = PosteriorLoss(penalty=Mean(shape=shape))
    for y in (labels(), labels(-100, 1, 2, 0)):
        with pytest.raises(ValueError, match=r"losses of Mean\(.*\) must have shape \(4,\), one"):
            criterion(logits(), y)


@pytest.mark.parametrize(
    "make",
    [
        lambda: TeacherPrior(temperature=0),
        lambda: BetaPrior(a=0),
        lambda: beta_smoothing(weight=0),
        lambda: matching.uniform_smoothing(0, K),
    ],
)
def test_numbers_that_must_not_be_zero(make: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match=r"must be a number in \(0, .*got 0$"):
        make()


@pytest.mark.parametrize("make", [label_smoothing, lambda v: beta_smoothing(0.1, v)])
def test_weights_above_one(make: Callable[[float], Any]) -> None:
    with pytest.raises(ValueError, match=r"must be a number in [\[(]0, 1\], got 1.5"):
        make(1.5)


def test_distillation_weights_above_two() -> None:
    self_distillation(weight=2)
    with pytest.raises(ValueError, match=r"weight must be a number in \[0, 2\], got 2.5"):
        self_distillation(weight=2.5)


def test_ranks_among_the_samples_seen_last_want_somebody_who_keeps_them() -> None:
    message = r"remembers what it has seen, .* use softprior.PosteriorLoss, which keeps it"
    with pytest.raises(ValueError, match=message):
        BetaPrior(among="running")(Batch(logits(), labels()))


def test_more_smoothing_than_strength() -> None:
    with pytest.raises(
        ValueError, match=r"smoothing must be in \(0, strength\) = \(0, 0.6\), got 0.7"
    ):
        beta_smoothing(0.7)


@pytest.mark.parametrize("classes", [1, 0, 2.5, "3"])
def test_matching_classes(classes: Any) -> None:
    for convert in (matching.uniform_smoothing, matching.true_class_smoothing):
        with pytest.raises(ValueError, match="num_classes must be an integer ≥ 2, got"):
            convert(0.1, classes)


def test_matching_wants_indices() -> None:
    with pytest.raises(TypeError, match="matching wants class indices"):
        matching.teacher_temperature(logits(), torch.eye(K)[labels()], smoothing=0.1, weight=0.4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: posterior_loss(logits(), labels(), COUNTS, reduction="meen"),  # type: ignore[arg-type]
            "unknown reduction 'meen': did you mean 'mean'? known are 'mean', 'none', 'sum'",
        ),
        (
            lambda: PosteriorLoss(None, reduction="batchmean"),  # type: ignore[arg-type]
            "unknown reduction 'batchmean': did you mean 'mean'? known are 'mean', 'none', 'sum'",
        ),
        (
            lambda: confidence_penalty(reduction="x"),  # type: ignore[arg-type]
            "unknown reduction 'x': known are 'mean', 'none', 'sum'",
        ),
        (
            lambda: BetaPrior(draw="quantiles"),  # type: ignore[arg-type]
            "unknown draw 'quantiles': did you mean 'quantile'? known are 'quantile', 'random'",
        ),
        (
            lambda: BetaPrior(order="reverse"),  # type: ignore[arg-type]
            (
                "unknown order 'reverse': did you mean 'reversed'? known are 'reversed', "
                "'intact', 'random'"
            ),
        ),
        (
            lambda: BetaPrior(order=1.5),
            (
                "order (intact, random, reversed, or a rank correlation) must be a number in "
                "[-1, 1], got 1.5"
            ),
        ),
        (
            lambda: BetaPrior(among="globally"),  # type: ignore[arg-type]
            (
                "unknown among 'globally': did you mean 'global'? known are 'global', 'local', "
                "'running'"
            ),
        ),
        (
            lambda: UniformPrior(spread="other"),  # type: ignore[arg-type]
            "unknown spread 'other': did you mean 'others'? known are 'others', 'all'",
        ),
        (
            lambda: TeacherPrior(weighting="mop"),  # type: ignore[arg-type]
            "unknown weighting 'mop': did you mean 'map'? known are 'map', 'none'",
        ),
    ],
)
def test_unknown_names(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole text is compared
        make()
    assert str(caught.value) == message


def test_ignored_rows_are_not_blamed() -> None:
    """They may be NaN; the row that is wrong is named."""
    f, t, y = (with_first(nan, logits()) for _ in range(2)), logits(), labels(0, -100, 2, 0)
    one, advice = f
    for bad in (one, advice):
        bad[3, 0] = nan
    with pytest.raises(ValueError, match=r"logits has 1 entries .* first in row 3, column 0"):
        label_smoothing()(one, y)
    with pytest.raises(ValueError, match=r"logits has 1 entries .* first in row 3, column 0"):
        confidence_penalty()(one.index_fill(0, torch.tensor([1]), 0.0), y)
    with pytest.raises(ValueError, match=r"teacher_logits has 1 entries .* first in row 3, column"):
        self_distillation()(t, y, advice)
    with pytest.raises(ValueError, match="one number per sample contain NaN"):
        beta_smoothing()(t, y, advice[:, 0])


@pytest.mark.parametrize("prior", [0.15, UniformPrior, "uniform", nn.Linear])
def test_what_is_not_a_prior(prior: Any) -> None:
    with pytest.raises(TypeError, match="prior must be a softprior Prior or None, got"):
        PosteriorLoss(prior)


def test_autocast_lets_a_scaler_see_the_infinity() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert not label_smoothing()(with_first(inf, logits()), labels()).isfinite()


def test_values_are_not_read_off_the_cpu() -> None:
    """Shapes are still checked: nothing here would stall an accelerator."""
    f = logits(device=META).requires_grad_()
    running = beta_smoothing(among="running").to(META)
    few = PosteriorLoss(TeacherPrior(top=1), penalty=ConfidencePenalty())
    for criterion in (label_smoothing(), beta_smoothing(), self_distillation(), running, few):
        loss = criterion(f, labels().to(META), logits(device=META))
        assert loss.shape == ()
        loss.backward()
    elsewhere = Sparse(torch.zeros(B, 1).long().to(META), logits(B, 1, device=META), 0.0)
    assert posterior_loss(f, labels().to(META), elsewhere).shape == ()
    with pytest.raises(ValueError, match=r"must have shape \(4,\)"):
        label_smoothing()(f, labels(0, 1).to(META))
    with pytest.raises(ValueError, match=r"counts.indices must have shape \(4, m\)"):
        posterior_loss(f, labels().to(META), Sparse(elsewhere.indices[:2], elsewhere.values, 0.0))
