"""How often the interval of the ECE holds the truth; near certainty, too, where errors are few."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from scipy import stats
from torch import Tensor

from softprior import diagnostics

# Confidence of a sample, of two uniform draws; all above 1/2.
CONFIDENCE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "0.99": lambda u, v: torch.full_like(u, 0.99),
    "0.999": lambda u, v: torch.full_like(u, 0.999),
    "1": lambda u, v: torch.ones_like(u),
    "mean 0.99": lambda u, v: 1 + (0.01 * u.log()).clamp(min=-0.5),
    "most 0.999 and more": lambda u, v: torch.where(v < 0.9, 1 - 0.001 * u, 0.5 + 0.5 * u),
    "all": lambda u, v: 0.5 + 0.5 * u,
}
# Chance of an error, where the confidence promises q.
ERRORS: dict[str, Callable[[Tensor], Tensor]] = {
    "calibrated": lambda q: q,
    "three times": lambda q: (3 * q).clamp(max=1),
    "a third": lambda q: q / 3,
    "one more in 100": lambda q: (q + 0.01).clamp(max=1),
    "five more in 100": lambda q: (q + 0.05).clamp(max=1),
    "none": lambda q: 0 * q,
}
TRIALS = 40


def confidences(kind: str, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """And a uniform draw beside each."""
    generator = torch.Generator().manual_seed(seed)
    u, v, w = torch.rand(3, n, generator=generator, dtype=torch.float64)
    return CONFIDENCE[kind](u, v), w


def true_ece(kind: str, errors: str) -> float:
    p, _ = confidences(kind, 1_000_000, 99)
    at = (20 * p - 1e-9).ceil().long()
    return torch.bincount(at, ERRORS[errors](1 - p) - (1 - p)).abs().sum().item() / len(p)


def interval(p: Tensor, wrong: Tensor) -> diagnostics.EceInterval:
    return diagnostics.ece_interval(probs=torch.stack([p, 1 - p], 1), labels=wrong.long())


@pytest.mark.slow
@pytest.mark.parametrize("kind", CONFIDENCE)
@pytest.mark.parametrize("n", [100, 500])
def test_coverage(kind: str, n: int) -> None:
    held = 0
    for number, (errors, chance) in enumerate(ERRORS.items()):
        truth, here = true_ece(kind, errors), 0
        for trial in range(TRIALS):
            p, w = confidences(kind, n, 1 + 1000 * number + trial)
            found = interval(p, w < chance(1 - p))
            here += found.low - 1e-9 <= truth <= found.high + 1e-9
        assert stats.binom.cdf(here, TRIALS, 0.94) > 0.0005, errors
        held += here
    assert stats.binom.cdf(held, TRIALS * len(ERRORS), 0.94) > 0.01


@pytest.mark.parametrize("q", [0.0, 0.001, 0.01, 0.04])
@pytest.mark.parametrize("wrong", [0, 1, 3, 12])
def test_one_confidence_is_a_binomial_number(wrong: int, q: float) -> None:
    """The exact interval of the share of errors (Clopper and Pearson), as a distance from q.

    Near 0 the distance may be wider: chance moves the measured ECE upwards alone.
    """
    n = 400
    p = torch.full((n,), 1 - q, dtype=torch.float64)
    low, high = stats.binomtest(wrong, n).proportion_ci(0.95, "exact")
    found = interval(p, torch.arange(n) < wrong)
    furthest, nearest, some = max(high - q, q - low), max(0, low - q, q - high), 0.12 * (high - low)
    assert furthest - some <= found.high <= furthest + (some if nearest else 5 * some)
    assert (nearest - some if nearest else 0) <= found.low <= nearest + some
    assert found.ece == pytest.approx(abs(wrong / n - q))
