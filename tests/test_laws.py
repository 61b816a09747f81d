"""The laws of ``Prior``'s docstring, over every prior found in ``priors/``.

A prior dropped into that folder is tested with its defaults without being named here; the
grid below adds hyper-parameters to the priors it names.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Dirichlet

import softprior
from softprior import PosteriorLoss, TwoLevel, posterior_loss, priors, soft_labels
from softprior.counts import Counts, label_probabilities
from softprior.priors import Prior
from softprior.recent import Recent

B, K = 7, 5
GRID: dict[str, list[dict[str, Any]]] = {
    "uniform": [
        {"strength": 0.0},
        {"strength": 2.5},
        {"spread": "others"},
        {"spread": "others", "strength": 2.5},
    ],
    "teacher": [
        {"strength": 1.0, "temperature": 1.0},
        {"strength": 0.4, "temperature": 0.5, "weighting": "map"},
        {"strength": 1.3, "temperature": 4.0, "weighting": "map"},
    ],
    "beta": [
        {"strength": 0.5, "a": 0.5},
        {"draw": "quantile"},
        {"order": "reversed", "strength": 1.5},
        {"order": "random"},
        {"draw": "quantile", "order": "random"},
        {"among": "local"},
        {"among": "running"},
        {"among": "running", "order": "reversed", "strength": 1.5},
        {"among": "running", "order": "random"},
    ],
}
CASES = [
    pytest.param(prior, kwargs, id="-".join([name, *map(str, kwargs.values())]))
    for name, prior in priors.found().items()
    for kwargs in [{}, *GRID.get(name, [])]
]
LABELS = ["indices", "ignored", "probabilities"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "prior" in metafunc.fixturenames:
        made = [pytest.param(c.values[0](**c.values[1]), id=c.id) for c in CASES]
        metafunc.parametrize("prior", made)
    if "kind" in metafunc.fixturenames:
        metafunc.parametrize("kind", LABELS)


def batch(
    kind: str = "indices", dtype: torch.dtype = torch.float64, scale: float = 2.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits that want a gradient, labels, and a teacher's logits."""
    logits = (scale * torch.randn(B, K, dtype=torch.float64)).to(dtype).requires_grad_()
    teacher = (scale * torch.randn(B, K, dtype=torch.float64)).to(dtype)
    labels = torch.randint(K, (B,))
    if kind == "ignored":
        labels[[1, 4]] = -1
    if kind == "probabilities":
        labels = torch.distributions.Dirichlet(torch.ones(K, dtype=torch.float64)).sample((B,))
    return logits, labels, teacher


def ask(
    prior: Prior, logits: Tensor, labels: Tensor, teacher: Tensor | None, seed: int | None = 0
) -> Counts:
    """With draws of that seed (None: the global ones), and where nothing was seen before."""
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    recent = Recent() if prior.needs_recent else None
    return prior(logits, labels, teacher, generator=generator, recent=recent)


def dense(counts: Counts, labels: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    """Counts (B, K); ignored rows, of which nothing is promised, are zero."""
    full = counts.dense(labels, K, dtype) if isinstance(counts, TwoLevel) else counts.to(dtype)
    return full if labels.is_floating_point() else full * (labels >= 0).unsqueeze(1)


def loss_of(
    logits: Tensor, labels: Tensor, counts: Counts, label_weight: float = 0.7, **kwargs: Any
) -> Tensor:
    return posterior_loss(
        logits, labels, counts, label_weight=label_weight, ignore_index=-1, **kwargs
    )


def gradient(loss: Tensor, logits: Tensor, **kwargs: Any) -> Tensor:
    return torch.autograd.grad(loss, logits, **kwargs)[0]


def test_value(prior: Prior) -> None:
    """It constructs with defaults; it equals and hashes as its fields do; it cannot change."""
    assert isinstance(type(prior)(), Prior)
    fields = {f.name: getattr(prior, f.name) for f in dataclasses.fields(prior)}
    assert type(prior)(**fields) == prior
    assert hash(type(prior)(**fields)) == hash(prior)
    assert dataclasses.replace(prior, strength=prior.strength + 1) != prior
    assert type(prior).__name__ in repr(prior)
    with pytest.raises(dataclasses.FrozenInstanceError):
        prior.strength = 1.0  # type: ignore[misc]
    with pytest.raises(ValueError, match="strength must be a number in"):
        dataclasses.replace(prior, strength=-0.1)


@pytest.mark.parametrize("scale", [2.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_counts_are_finite_and_not_negative(
    prior: Prior, kind: str, dtype: torch.dtype, scale: float
) -> None:
    logits, labels, teacher = batch(kind, dtype)
    logits, teacher = (t.detach().sign() * scale for t in (logits, teacher))
    counts = ask(prior, logits.requires_grad_(), labels, teacher.requires_grad_())
    full = dense(counts, labels)
    assert full.shape == (B, K)
    assert full.isfinite().all()
    assert (full >= 0).all()
    for level in counts if isinstance(counts, TwoLevel) else (counts,):
        if isinstance(level, Tensor):
            assert not level.requires_grad
            assert level.dtype == torch.promote_types(dtype, torch.float32)


def test_total(prior: Prior, kind: str) -> None:
    logits, labels, teacher = batch(kind)
    counts = ask(prior, logits, labels, teacher)
    total = dense(counts, labels).sum(1)
    if isinstance(counts, TwoLevel):
        kept = total != 0
        torch.testing.assert_close(
            total[kept], torch.as_tensor(counts.total(K)).double().expand(B)[kept]
        )
    if prior.fixed_total:
        want = torch.full((B,), float(prior.strength), dtype=torch.float64)
        if kind == "ignored":
            want[labels < 0] = 0
        torch.testing.assert_close(total, want)


def test_permutation(prior: Prior, kind: str) -> None:
    """Exactly where nothing is random, else in distribution: mean and variance over draws."""
    logits, labels, teacher = batch(kind)
    order = torch.randperm(B)
    permuted = logits[order], labels[order], teacher[order]

    def draws(seeds: range, *of: Tensor) -> Tensor:
        return torch.stack([dense(ask(prior, *of, seed=s), of[1]) for s in seeds])

    one = draws(range(2), logits, labels, teacher)
    if torch.equal(one[0], one[1]):
        torch.testing.assert_close(draws(range(1), *permuted)[0], one[0][order])
        return
    n = 400
    left = draws(range(n), logits, labels, teacher)[:, order]
    right = draws(range(n, 2 * n), *permuted)
    for moment in (lambda x: x, lambda x: (x - left.mean(0)) ** 2):
        a, b = moment(left), moment(right)
        error = ((a.var(0) + b.var(0)) / n).sqrt()
        assert ((a.mean(0) - b.mean(0)).abs() <= 5 * error + 1e-12).all()


def test_same_generator_state_same_counts(prior: Prior, kind: str) -> None:
    of = batch(kind)
    assert torch.equal(dense(ask(prior, *of), of[1]), dense(ask(prior, *of), of[1]))


def test_no_generator_draws_from_the_global_one(prior: Prior) -> None:
    logits, labels, teacher = batch()
    torch.manual_seed(3)
    first = dense(ask(prior, logits, labels, teacher, seed=None), labels)
    torch.manual_seed(3)
    assert torch.equal(dense(ask(prior, logits, labels, teacher, seed=None), labels), first)


def test_without_teacher(prior: Prior) -> None:
    logits, labels, _ = batch()
    if prior.needs_teacher:
        with pytest.raises(ValueError, match=f"{type(prior).__name__} needs teacher_logits"):
            prior(logits, labels)
    else:
        assert dense(ask(prior, logits, labels, None), labels).isfinite().all()


def test_without_window(prior: Prior) -> None:
    logits, labels, teacher = batch()
    if prior.needs_recent:
        with pytest.raises(ValueError, match=f"{type(prior).__name__} ranks among the samples"):
            prior(logits, labels, teacher)
    else:
        assert PosteriorLoss(prior).recent is None


@pytest.mark.parametrize("label_weight", [-0.5, 0.0, 0.7, 1.0])
def test_gradient_is_that_of_the_log_posterior(prior: Prior, label_weight: float) -> None:
    """By torch.distributions: y | z ~ Categorical(z), z ~ Dirichlet(1 + counts)."""
    logits, labels, teacher = batch()
    counts = ask(prior, logits, labels, teacher)
    full = dense(counts, labels)
    z = torch.softmax(logits, -1)
    log_posterior = label_weight * Categorical(probs=z).log_prob(labels)
    # With α = 1 + counts; Dirichlet's check of its support is off, as rounded rows miss 1.
    log_posterior = log_posterior + Dirichlet(1 + full, validate_args=False).log_prob(z)
    want = gradient(-log_posterior.sum(), logits)

    def loss(f: Tensor, counts: Counts = counts) -> Tensor:
        return loss_of(f, labels, counts, label_weight, reduction="sum")

    torch.testing.assert_close(gradient(loss(logits), logits), want)
    torch.testing.assert_close(gradient(loss(logits), logits, create_graph=True), want)
    torch.testing.assert_close(torch.func.grad(loss)(logits.detach()), want)
    torch.testing.assert_close(gradient(loss(logits, full.requires_grad_()), logits), want)


@pytest.mark.parametrize("label_weight", [0.3, 1.0])
def test_soft_label_is_the_mode_and_the_minimum(prior: Prior, label_weight: float) -> None:
    logits, labels, teacher = batch()
    counts = ask(prior, logits, labels, teacher)
    target = soft_labels(labels, counts, label_weight=label_weight, num_classes=K).double()
    onehot = label_probabilities(labels, K, torch.float64)
    posterior = Dirichlet(1 + dense(counts, labels) + label_weight * onehot)
    torch.testing.assert_close(target, posterior.mode, rtol=1e-6, atol=1e-7)
    # log 0 is out of reach for logits: nearly 0 has nearly no gradient.
    at = target.clamp(min=1e-30).log().requires_grad_()
    slope = gradient(loss_of(at, labels, counts, label_weight, reduction="sum"), at)
    assert slope.abs().max() < 1e-6


def test_dense_and_two_level_agree(prior: Prior, kind: str) -> None:
    logits, labels, teacher = batch(kind)
    counts = ask(prior, logits, labels, teacher)
    full = dense(counts, labels)
    got, want = (loss_of(logits, labels, c, reduction="none") for c in (counts, full))
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(gradient(got.sum(), logits), gradient(want.sum(), logits))


@pytest.mark.parametrize(
    ("reduction", "label_weight"), [("none", 0.7), ("mean", 0.7), ("sum", 0.7), ("mean", -0.5)]
)
def test_gradcheck(prior: Prior, kind: str, reduction: str, label_weight: float) -> None:
    logits, labels, teacher = batch(kind)
    counts = ask(prior, logits, labels, teacher)

    def loss(f: Tensor) -> Tensor:
        return loss_of(f, labels, counts, label_weight, reduction=reduction)

    assert torch.autograd.gradcheck(loss, logits, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(loss, logits, check_batched_grad=True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_finite_at_large_logits(prior: Prior, kind: str, dtype: torch.dtype) -> None:
    logits, labels, teacher = batch(kind, dtype)
    logits = (logits.detach().sign() * 1e4).requires_grad_()
    loss = PosteriorLoss(prior, ignore_index=-1)(logits, labels, teacher.sign() * 1e4)
    assert loss.isfinite()
    assert gradient(loss, logits).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(prior: Prior, kind: str, dtype: torch.dtype) -> None:
    """float32 inside and out; the gradient comes in the dtype of the logits."""
    logits, labels, teacher = batch(kind, dtype)
    counts = ask(prior, logits, labels, teacher)
    loss = loss_of(logits, labels, counts, reduction="none")
    exact = logits.detach().double().requires_grad_()
    want = loss_of(exact, labels, dense(counts, labels), reduction="none")
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), want, rtol=1e-5, atol=1e-5)
    slope = gradient(loss.sum(), logits)
    assert slope.dtype == dtype
    torch.testing.assert_close(slope.double(), gradient(want.sum(), exact), rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize("offset", [0.0, 1e2, 1e3, 1e4])
def test_a_constant_in_the_logits_costs_no_precision(
    prior: Prior, kind: str, offset: float
) -> None:
    """Loss and gradient in float32, where logits plus constant are representable exactly."""
    logits, labels, teacher = batch(kind)
    exact = ((64 * logits.detach()).round() / 64).requires_grad_()
    shifted = (exact.detach() + offset).float().requires_grad_()
    assert torch.equal(shifted.double() - offset, exact)
    counts = ask(prior, shifted, labels, teacher)
    got = loss_of(shifted, labels, counts, reduction="none")
    want = loss_of(exact, labels, dense(counts, labels), reduction="none")
    torch.testing.assert_close(got.double(), want, rtol=1e-6, atol=1e-6)
    slopes = gradient(got.sum(), shifted).double(), gradient(want.sum(), exact)
    torch.testing.assert_close(*slopes, rtol=1e-5, atol=1e-6)


def test_ignored_samples_change_nothing(prior: Prior) -> None:
    """For the others in loss and gradient; their own gradient is zero, whatever they contain."""
    logits, labels, teacher = batch("ignored")
    criterion = PosteriorLoss(prior, reduction="none", ignore_index=-1)
    losses, slopes = [], []
    for value in (0.0, 1e4, -1e4, 1e-3, float("nan"), float("inf")):
        other, advice = logits.detach().clone(), teacher.clone()
        other[labels < 0] = advice[labels < 0] = value * torch.randn(K, dtype=torch.float64)
        other.requires_grad_()
        criterion.generator.manual_seed(0)
        losses.append(criterion(other, labels, advice))
        slopes.append(gradient(losses[-1].sum(), other))
    for loss, slope in zip(losses, slopes, strict=True):
        assert torch.equal(loss, losses[0])
        torch.testing.assert_close(slope, slopes[0], rtol=0, atol=0)
        assert not loss[labels < 0].any()
        assert not slope[labels < 0].any()


def test_reductions(prior: Prior, kind: str) -> None:
    logits, labels, teacher = batch(kind)
    counts = ask(prior, logits, labels, teacher)
    each, mean, total = (
        loss_of(logits, labels, counts, reduction=r) for r in ("none", "mean", "sum")
    )
    kept = B - 2 if kind == "ignored" else B
    torch.testing.assert_close(total, each.sum())
    torch.testing.assert_close(mean, total / kept)
    torch.testing.assert_close(gradient(mean, logits) * kept, gradient(total, logits))


def test_one_hot_probabilities_are_class_indices(prior: Prior) -> None:
    logits, labels, teacher = batch()
    onehot = label_probabilities(labels, K, torch.float64)
    got = PosteriorLoss(prior, reduction="none")(logits, onehot, teacher)
    want = PosteriorLoss(prior, reduction="none")(logits, labels, teacher)
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(gradient(got.sum(), logits), gradient(want.sum(), logits))


def test_second_backward_pass_gives_the_same(prior: Prior, kind: str) -> None:
    logits, labels, teacher = batch(kind)
    loss = loss_of(logits, labels, ask(prior, logits, labels, teacher))
    first = gradient(loss, logits, retain_graph=True).clone()
    assert torch.equal(gradient(loss, logits, retain_graph=True), first)
    torch.testing.assert_close(gradient(loss, logits, create_graph=True), first)


def test_autocast(prior: Prior, kind: str) -> None:
    logits, labels, teacher = batch(kind, torch.bfloat16)
    counts = ask(prior, logits, labels, teacher)
    plain = loss_of(logits, labels, counts)
    with torch.autocast("cpu", torch.bfloat16):
        criterion = PosteriorLoss(prior, label_weight=0.7, ignore_index=-1)
        cast = criterion(logits, labels, teacher)
    assert cast.dtype == torch.float32
    torch.testing.assert_close(cast, plain)
    torch.testing.assert_close(gradient(cast, logits), gradient(plain, logits))


LAWFUL = '''
from dataclasses import dataclass
import torch
from softprior.priors.base import Prior


@dataclass(frozen=True)
class HalvesPrior(Prior):
    """All counts on the first class."""

    strength: float = 0.5

    def counts(self, logits, labels, teacher_logits, generator):
        counts = torch.zeros_like(logits, dtype=torch.promote_types(logits.dtype, torch.float32))
        counts[:, 0] = self.strength
        return counts
'''
LAWLESS = LAWFUL.replace("counts[:, 0] = self.strength", "counts[:, 0] = -self.strength")


@pytest.mark.parametrize(("source", "passes"), [(LAWFUL, True), (LAWLESS, False)])
def test_a_file_dropped_into_priors_is_tested(
    tmp_path: pathlib.Path, source: str, passes: bool
) -> None:
    package = pathlib.Path(softprior.__file__).parent
    shutil.copytree(
        package, tmp_path / "src/softprior", ignore=shutil.ignore_patterns("__pycache__")
    )
    (tmp_path / "src/softprior/priors/halves.py").write_text(source, encoding="utf-8")
    for name in ("conftest.py", "test_laws.py"):
        shutil.copy(pathlib.Path(__file__).parent / name, tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    run = subprocess.run(
        [*command, "-k", "halves", str(tmp_path / "test_laws.py")],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "src")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode == 0) is passes, run.stdout + run.stderr
    assert ("passed" in run.stdout) if passes else ("halves" in run.stdout), run.stdout
