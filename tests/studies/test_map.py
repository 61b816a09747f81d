"""The identities can fail, and the triangle shows what it says."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Dirichlet

from softprior import BetaPrior, Prior, TeacherPrior, UniformPrior
from softprior.evidence import Claim
from softprior.studies import map as study
from softprior.studies.map import identities, simplex

PRIORS = [UniformPrior(0.3), TeacherPrior(1.5, 2.0), BetaPrior(1.5, 3.0)]


def batch(samples: int = 12, classes: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    logits = identities.drawn(samples, classes, seed=0)
    return logits, torch.arange(samples) % classes, 2 * torch.randn(samples, classes)


@pytest.mark.parametrize("prior", PRIORS, ids=lambda p: type(p).__name__)
def test_identities_hold(prior: Prior) -> None:
    logits, labels, teacher_logits = batch()
    errors = identities.posterior(prior, logits, labels, teacher_logits)
    assert max(errors.values()) < 1e-12
    assert identities.usual_mix(prior, logits, labels, teacher_logits) < 1e-12
    assert identities.optimum(prior, labels, teacher_logits) < 1e-12


def shifted(right: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A loss that forgets a hundredth of the log-probabilities."""

    def wrong(logits: Tensor, *args: Any, **options: Any) -> Tensor:
        return right(1.01 * logits, *args, **options)

    return wrong


def test_a_wrong_loss_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identities, "posterior_loss", shifted(identities.posterior_loss))
    logits, labels, teacher_logits = batch()
    prior = PRIORS[1]
    errors = identities.posterior(prior, logits, labels, teacher_logits)
    assert min(errors.values()) > study.ROUNDING
    assert identities.usual_mix(prior, logits, labels, teacher_logits) > study.ROUNDING
    assert identities.pytorch_smoothing(logits, labels) > study.ROUNDING
    assert identities.optimum(prior, labels, teacher_logits) > study.ROUNDING


def test_a_side_that_is_no_number_is_far_apart() -> None:
    logits, labels, _ = batch()
    teacher_logits = torch.full_like(logits, math.nan)
    with pytest.raises(ValueError, match="not finite"):
        identities.posterior(PRIORS[1], logits, labels, teacher_logits)
    assert identities._difference(teacher_logits, logits) == math.inf


def test_a_wrong_optimum_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = identities.posterior_loss

    def wrong(logits: Tensor, labels: Tensor, counts: Tensor, **options: Any) -> Tensor:
        return right(logits, labels, 1.01 * counts, **options)

    monkeypatch.setattr(identities, "posterior_loss", wrong)
    _, labels, teacher_logits = batch()
    assert identities.optimum(PRIORS[1], labels, teacher_logits) > study.ROUNDING


def test_hot_teacher_falls_as_one_over_its_temperature() -> None:
    logits, labels, teacher_logits = batch()
    gaps = [identities.hot_teacher(logits, labels, teacher_logits, T) for T in (1e3, 1e4, 1e5)]
    assert gaps[0] / gaps[1] == pytest.approx(10, rel=0.01)
    assert gaps[1] / gaps[2] == pytest.approx(10, rel=0.01)


def test_claims_can_fail() -> None:
    good = {"loss": 0.0, "gradient": 0.0, "usual mix": 0.0, "PyTorch": 0.0, "optimum": 0.0}
    falling = {1.0: 1.0, 10.0: 0.1, 100.0: 0.01}
    assert verdicts({"a": good}, falling) == ["holds"] * 5
    for at, name in enumerate(["loss", "usual mix", "PyTorch", "optimum"]):
        bad = {"a": good, "b": {**good, name: 1e-3}}
        outcome = verdicts(bad, falling)
        where = at if at < 3 else 4
        assert [i for i, v in enumerate(outcome) if v == "does not hold"] == [where]
    assert verdicts({"a": good}, {1.0: 1.0, 10.0: 2.0})[3] == "does not hold"
    assert verdicts({"a": good}, {10.0: 90.0, 1000.0: 80.0})[3] == "does not hold"
    assert verdicts({"a": {**good, "loss": math.inf}}, falling)[0] == "does not hold"


def verdicts(found: dict[str, dict[str, float]], hot: dict[float, float]) -> list[str]:
    claims = list(study._claims(found, hot))
    assert all(isinstance(claim, Claim) for claim in claims)
    return [claim.verdict.outcome for claim in claims]


def test_a_teacher_that_cannot_be_matched_will_do() -> None:
    teacher_logits, labels = torch.eye(4).repeat(3, 1), (torch.arange(12) + 1) % 4  # always wrong
    priors = study.methods(teacher_logits, labels)
    assert list(priors) == ["label smoothing", "self-distillation", "Beta smoothing"]


def test_panels_take_the_same_from_the_label() -> None:
    panels = simplex.panels()
    for name, panel in panels.items():
        assert panel.targets.shape == (simplex.SAMPLES, 3)
        torch.testing.assert_close(panel.targets.sum(1), torch.ones(40, dtype=torch.float64))
        # Quantile draws have the mean of Beta(a, 1) up to 1/m.
        tolerance = 5e-3 if name.startswith("Beta") else 1e-6
        assert panel.targets[:, 0].mean().item() == pytest.approx(0.85, abs=tolerance)
        mode = Dirichlet(1 + panel.counts + torch.eye(3, dtype=torch.float64)[0]).mode
        torch.testing.assert_close(panel.targets[panel.shown], mode)
    smoothing, distillation, beta = (p.targets for p in panels.values())
    assert (smoothing == smoothing[0]).all()
    torch.testing.assert_close(beta[:, 1], beta[:, 2])
    assert (distillation[:, 1] - distillation[:, 2]).abs().max() > 0.01


def test_thresholds_hold_their_mass() -> None:
    alpha = torch.tensor([3.0, 1.5, 2.0], dtype=torch.float64)
    points, triangles = simplex.grid()
    density = Dirichlet(alpha, validate_args=False).log_prob(points).exp()
    outer, inner = simplex.thresholds(density)
    drawn = Dirichlet(alpha).sample((20000,))
    heights = Dirichlet(alpha, validate_args=False).log_prob(drawn).exp()
    assert (heights > outer).double().mean().item() == pytest.approx(0.9, abs=0.02)
    assert (heights > inner).double().mean().item() == pytest.approx(0.5, abs=0.02)
    assert len(triangles) == 80**2  # they fill the triangle
    assert len({tuple(sorted(t)) for t in triangles}) == len(triangles)


def test_plane_keeps_distances_alike() -> None:
    x, y = simplex.plane(torch.eye(3, dtype=torch.float64))
    sides = [math.dist((x[i], y[i]), (x[j], y[j])) for i, j in ((0, 1), (1, 2), (0, 2))]
    assert sides == pytest.approx([1, 1, 1])
    centre = simplex.plane(torch.full((3,), 1 / 3))
    assert centre == (pytest.approx([0.5]), pytest.approx([math.sqrt(3) / 6]))


def test_scientific() -> None:
    shown = [study.scientific(v) for v in (0.0, 1.3, 0.37, 3.74e-6, 1e-14, 250.0, math.inf)]
    assert shown == ["0", "1.3", "0.37", "3.7 · 10⁻⁶", "1.0 · 10⁻¹⁴", "2.5 · 10²", "∞"]
