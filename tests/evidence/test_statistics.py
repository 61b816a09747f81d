"""Statistics of the studies: parity with SciPy, and truths that were put in."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from softprior import diagnostics as D
from softprior.evidence import Difference
from softprior.evidence import statistics as S


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def within(count: int, trials: int, rate: float) -> bool:
    """Whether a count is one that a chance of ``rate`` gives, but for one time in 1,000."""
    return 0.0005 < stats.binom.cdf(count, trials, rate) < 0.9995


@pytest.mark.parametrize("n", [2, 5, 15])
@pytest.mark.parametrize("shift", [0.0, 0.7, -3.0])
def test_t_interval_against_scipy(n: int, shift: float) -> None:
    values = (draws(n, seed=n) + shift).tolist()
    interval = S.t_interval(values)
    test = stats.ttest_1samp(values, 0)
    assert interval == pytest.approx((test._estimate, *test.confidence_interval(0.95)))


@pytest.mark.parametrize("values", [[1.0], [1.0, math.inf], [-math.inf] * 2, [math.nan, 1.0, 2.0]])
def test_no_interval_where_there_is_none(values: list[float]) -> None:
    assert all(map(math.isnan, S.t_interval(values)[1:]))


# --- slopes ----------------------------------------------------------------------------------


def test_slope_is_that_of_least_squares_with_a_mean_for_each_seed_and_step() -> None:
    x, y = draws(4, 6).numpy(), draws(4, 6, seed=1).numpy()
    seeds, steps = np.divmod(np.arange(24), 6)
    columns = [x.ravel(), *(seeds == s for s in range(4)), *(steps == k for k in range(1, 6))]
    found = np.linalg.lstsq(np.stack(columns, 1).astype(float), y.ravel(), rcond=None)[0][0]
    assert S.slope(x, y).mean == pytest.approx(found, rel=1e-9)
    assert S.slope(x, 3 * x + 1).mean == pytest.approx(3)
    assert S.slope(x, 3 * x + 1).se == pytest.approx(0, abs=1e-9)


def test_slope_where_there_is_none() -> None:
    x = draws(5, 4).numpy()
    assert math.isnan(S.slope(np.arange(4) + np.arange(5)[:, None], x).mean)  # nothing is left
    assert math.isnan(S.slope(x[:2], x[:2]).low)
    with pytest.raises(ValueError, match=r"got shapes \(5, 4\) and \(5, 3\)"):
        S.slope(x, x[:, :3])


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [5, 15])
@pytest.mark.parametrize("trend", [0.0, 2.0])
def test_two_series_that_only_rise_together_have_no_slope(seeds: int, trend: float) -> None:
    """Random walks along the steps, all rising alike: found to belong together in 5 % of cases."""
    trials, steps = 400, 9
    rise = trend * torch.arange(steps) / steps
    x = draws(trials, seeds, steps, seed=1).cumsum(2) / 3 + rise
    y = draws(trials, seeds, steps, seed=2).cumsum(2) / 3 + rise
    found = [S.slope(a.numpy(), b.numpy()).sign() for a, b in zip(x, y, strict=True)]
    assert stats.binom.sf(trials - found.count(0) - 1, trials, 0.05) > 0.001
    linked = [S.slope(a.numpy(), (b + 2 * a).numpy()).sign() for a, b in zip(x, y, strict=True)]
    assert linked.count(1) > 0.9 * trials


# --- truths put into predictions -------------------------------------------------------------


def predictions(n: int, factor: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels drawn from softmax(f), a model that says ``factor · f``."""
    f = 3 * draws(n, 10, seed=seed)
    generator = torch.Generator().manual_seed(seed + 10_000)
    return factor * f, torch.multinomial(f.softmax(1), 1, generator=generator).squeeze(1)


def true_ece(factor: float) -> float:
    """ECE with 20 bins, where the chance of being right takes the place of being right."""
    logits, _ = predictions(200_000, factor, seed=99_999)
    p, top = logits.softmax(1).max(1)
    chance = (logits / factor).softmax(1).gather(1, top.unsqueeze(1)).squeeze(1)
    at = (20 * p).ceil().long().clamp(1, 20)
    return torch.bincount(at, p - chance).abs().sum().item() / len(p)


@pytest.mark.slow
@pytest.mark.parametrize("factor", [1.0, 1.1, 1.5, 0.5])
def test_ece_interval_covers_the_true_ece(factor: float) -> None:
    """At its rate: calibrated (a true 0), a little and far too sure, too unsure."""
    truth, trials = true_ece(factor), 100
    found = [D.ece_interval(*predictions(500, factor, seed)) for seed in range(trials)]
    covered = sum(i.low <= truth <= i.high for i in found)
    if factor in (1.0, 1.1):  # so near to 0 that the truth cannot be missed from above
        assert stats.binom.cdf(covered, trials, 0.975) > 0.0005
        assert any(i.low == 0 for i in found)
    else:
        assert within(covered, trials, 0.95)
        assert sum(i.low > 0 for i in found) > 0.9 * trials
    assert sorted(i.high - i.low for i in found)[trials // 2] < 0.1
    middle = sorted(i.corrected for i in found)[trials // 2]
    raw = sorted(i.ece for i in found)[trials // 2]
    assert abs(middle - truth) <= abs(raw - truth) + 0.002
    assert all(i.low <= i.corrected <= i.high for i in found)


def test_percentiles_of_the_samples_would_miss_a_calibrated_model() -> None:
    """Why the interval is not a bootstrap's: that one never holds the true 0."""
    for seed in range(5):
        logits, labels = predictions(500, 1.0, seed)
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randint(500, (50, 500), generator=generator)
        assert min(D.ece(logits[r], labels[r]) for r in rows) > 0.02
    assert sum(D.ece_interval(*predictions(500, 1.0, s)).low == 0 for s in range(5)) >= 4


@pytest.mark.slow
def test_differences_of_diversity_cover_the_truth() -> None:
    """Confidences drawn from Beta(a, 1): h = -log a + (a - 1)/a; two of them, five seeds."""
    trials, n, truth = 120, 1000, -math.log(3) + 2 / 3

    def measured(a: float, seed: int) -> float:
        c = torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        logits = torch.stack([torch.logit(c ** (1 / a)), torch.zeros(n)], 1)
        return D.confidence_diversity(logits, torch.zeros(n, dtype=torch.long))

    covered = 0
    for trial in range(trials):
        seeds = range(5 * trial, 5 * trial + 5)
        ours, theirs = [measured(3, s) for s in seeds], [measured(1, 10_000 + s) for s in seeds]
        gap = Difference.over_seeds(ours, theirs)
        covered += gap.low <= truth <= gap.high
    assert within(covered, trials, 0.95)
