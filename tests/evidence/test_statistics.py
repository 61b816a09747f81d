"""Statistics of the studies: parity with SciPy, false alarms, and truths that were put in."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from scipy import stats

from softprior import diagnostics as D
from softprior.evidence import Column, Difference
from softprior.evidence import statistics as S
from softprior.evidence.claims import adjusted, claim

PLAIN = Column(name="NLL")


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def within(count: int, trials: int, rate: float) -> bool:
    """Whether a count is one that a chance of ``rate`` gives, but for one time in 1,000."""
    return 0.0005 < stats.binom.cdf(count, trials, rate) < 0.9995


# --- one sample ------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 5, 15])
@pytest.mark.parametrize("shift", [0.0, 0.7, -3.0])
def test_t_test_and_interval_against_scipy(n: int, shift: float) -> None:
    values = (draws(n) + shift).tolist()
    test = stats.ttest_1samp(values, 0.0)
    interval = S.t_interval(values)
    assert interval[1:] == pytest.approx(tuple(test.confidence_interval(0.95)))
    assert S.t_statistic(interval, n) == pytest.approx(test.statistic)
    assert S.t_p(interval, n) == pytest.approx(test.pvalue)
    assert (S.t_p(interval, n) < 0.05) == (interval.low > 0 or interval.high < 0)


@pytest.mark.parametrize("n", [2, 3, 5, 10])
@pytest.mark.parametrize("shift", [0.0, 0.7, -3.0])
def test_sign_flips_against_scipy(n: int, shift: float) -> None:
    values = (draws(n, seed=n) + shift).tolist()
    test = stats.permutation_test(
        (values,), sum, permutation_type="samples", vectorized=False, n_resamples=2**n
    )
    assert S.sign_flip_p(values) == pytest.approx(test.pvalue)


def test_sign_flips_by_hand() -> None:
    # 1 + 2 + 3: of ±1 ± 2 ± 3 two of eight are as far from 0; of 1 + 1 - 1, all are.
    assert S.sign_flip_p([1.0, 2.0, 3.0]) == 2 / 8
    assert S.sign_flip_p([1.0, 1.0, -1.0]) == 1
    assert S.sign_flip_p([0.1, 0.2, 0.3]) == 2 / 8  # rounding makes no tie a miss
    assert S.sign_flip_p([0.1] * 16) == 2.0**-15


def test_drawn_flips_agree_with_exact_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    values = (draws(16) + 0.45).tolist()
    exact = S.sign_flip_p(values)
    assert 0.01 < exact < 0.5
    monkeypatch.setattr(S, "_MOST_EXACT", 10)
    S._sign_flips.cache_clear()
    drawn = S.sign_flip_p(values)
    assert drawn == S.sign_flip_p(values)
    S._sign_flips.cache_clear()
    assert drawn != exact
    assert drawn == pytest.approx(exact, abs=5 * math.sqrt(exact / S._DRAWN_FLIPS))
    assert S.sign_flip_p([1.0] * 40) > 0  # the given signs are among those drawn


@pytest.mark.parametrize("values", [[1.0], [1.0, math.inf], [-math.inf] * 2, [math.nan, 1.0, 2.0]])
def test_no_interval_where_there_is_none(values: list[float]) -> None:
    interval = S.t_interval(values)
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)
    assert math.isnan(S.t_p(S.t_interval(values), len(values)))
    assert math.isnan(S.sign_flip_p(values))
    difference = Difference.paired(values, [0.0] * len(values))
    assert not difference.excludes_zero
    assert math.isnan(difference.p_t)
    assert math.isnan(difference.effect)


def test_equal_differences_have_the_odds_of_their_signs() -> None:
    assert S.t_p(S.t_interval([0.25] * 3), 3) == 0.25
    assert S.t_p(S.t_interval([0.0] * 3), 3) == 1
    rounded = [0.9 - 0.8, 0.7 - 0.6, 0.4 - 0.3]  # a tenth, three times
    assert len(set(rounded)) == 2
    assert S.t_p(S.t_interval(rounded), 3) == S.sign_flip_p(rounded) == 0.25
    for n, outcome in ((2, "cannot tell"), (5, "cannot tell"), (6, "holds")):
        gap = Difference.paired([0.75] * n, [0.5] * n)
        assert gap.p_t == gap.p == 2.0 ** (1 - n)
        assert gap.effect == math.inf
        assert claim("More.", {"a": gap}, "higher", PLAIN).verdict.outcome == outcome


def test_effect_is_the_mean_in_standard_deviations() -> None:
    ours, theirs = (draws(7) + 0.8).tolist(), draws(7, seed=1).tolist()
    gaps = torch.tensor(ours) - torch.tensor(theirs)
    expected = (gaps.mean() / gaps.std()).item()
    assert Difference.paired(ours, theirs).effect == pytest.approx(expected, rel=1e-5)
    assert Difference.paired(theirs, ours).effect == pytest.approx(-expected, rel=1e-5)


# --- families --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_holm_is_the_closure_of_bonferroni(seed: int) -> None:
    """An adjusted p-value is the largest Bonferroni p of all subfamilies that hold the test."""
    p = (0.2 * torch.rand(5, generator=torch.Generator().manual_seed(seed))).tolist()
    p[3] = p[1]  # a tie
    expected = []
    for i in range(5):
        families = (f for r in range(1, 6) for f in itertools.combinations(range(5), r))
        expected.append(max(min(1, len(f) * min(p[j] for j in f)) for f in families if i in f))
    assert S.holm(p) == pytest.approx(expected)
    order = [3, 0, 4, 2, 1]
    assert S.holm([p[i] for i in order]) == pytest.approx([expected[i] for i in order])


def test_holm_by_hand() -> None:
    assert S.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert S.holm([0.9, 0.6]) == [1, 1]
    assert S.holm([]) == []
    first, second, third = S.holm([math.nan, 0.01, 0.02])
    assert math.isnan(first)
    assert (second, third) == pytest.approx((0.03, 0.04))


def test_a_correction_can_take_a_verdict_back() -> None:
    """p = 0.03 by itself, three times: not after Holm."""
    half = float(stats.t.ppf(0.975, 9))
    gap = Difference(float(stats.t.ppf(1 - 0.015, 9)), 0.0, 0.0, 10)
    gap = Difference(gap.mean, gap.mean - half, gap.mean + half, 10)
    assert gap.excludes_zero
    assert gap.p_t == pytest.approx(0.03)
    assert claim("More.", {"a": gap}, "higher", PLAIN).verdict.outcome == "holds"
    assert claim("More.", {"a": gap}, "lower", PLAIN).verdict.outcome == "does not hold"
    three = {"a": gap, "b": gap, "c": gap}
    assert list(adjusted(three).values()) == pytest.approx([0.09] * 3)
    assert claim("More.", three, "higher", PLAIN).verdict.outcome == "cannot tell"
    assert claim("More.", three, "lower", PLAIN).verdict.outcome == "cannot tell"


@pytest.mark.parametrize("n", [5, 10, 15])
@pytest.mark.parametrize("worth", [0.0, 0.9])  # how alike the methods of a seed are
def test_false_alarms_of_four_methods_that_do_not_differ(n: int, worth: float) -> None:
    """The chance that a claim about them is decided is at most 0.05, whichever way."""
    trials = 400
    seeds = worth * draws(trials, n, 1, seed=1) + (1 - worth) * draws(trials, n, 5, seed=2)
    alarms = 0
    for scores in seeds.transpose(1, 2).tolist():
        gaps = {str(i): Difference.paired(scores[i], scores[0]) for i in range(1, 5)}
        outcome = claim("Every one is better.", gaps, "higher", PLAIN).verdict.outcome
        alarms += outcome != "cannot tell"
        if outcome == "holds":
            assert all(gap.excludes_zero for gap in gaps.values())
    assert stats.binom.sf(alarms - 1, trials, 0.05) > 0.001
    # The same with every method by itself, uncorrected: the family errs far more often.
    if n == 15 and worth == 0:
        apart = sum(
            any(Difference.paired(s[i], s[0]).excludes_zero for i in range(1, 5))
            for s in seeds.transpose(1, 2).tolist()
        )
        assert apart > 1.5 * 0.05 * trials > alarms


@pytest.mark.parametrize("n", [5, 15])
def test_a_difference_that_was_put_in_is_found_and_covered(n: int) -> None:
    trials, truth = 400, 2.0
    ours, theirs = draws(trials, n, seed=3) + truth, draws(trials, n, seed=4)
    gaps = [Difference.paired(a, b) for a, b in zip(ours.tolist(), theirs.tolist(), strict=True)]
    assert within(sum(g.low <= truth <= g.high for g in gaps), trials, 0.95)
    outcomes = [claim("More.", {"a": g}, "higher", PLAIN).verdict.outcome for g in gaps]
    assert "does not hold" not in outcomes
    assert outcomes.count("holds") > {5: 0.6, 15: 0.99}[n] * trials
    # Sign flips of five seeds have p ≥ 0.0625: they could not drive a verdict.
    assert (min(g.p for g in gaps) < 0.05) == (n == 15)


# --- correlation -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pearson", "spearman"])
def test_correlation_against_scipy(kind: str) -> None:
    x, y = draws(6, 8), draws(6, 8, seed=1)
    y = (0.5 * x + y).round(decimals=0)  # ties
    theirs = {"pearson": stats.pearsonr, "spearman": stats.spearmanr}[kind]
    found = S.correlation(x.tolist(), y.tolist(), kind)  # type: ignore[arg-type]
    assert found.value == pytest.approx(theirs(x.flatten(), y.flatten()).statistic)
    assert found.low < found.value < found.high
    assert found == S.correlation(x.tolist(), y.tolist(), kind)  # type: ignore[arg-type]


def test_correlation_of_seeds_that_hang_together_has_a_wide_interval() -> None:
    """With one number per seed at all steps, 200 points tell no more than 10."""
    x, y = draws(10, 1), draws(10, 1, seed=1)
    once = S.correlation(x.tolist(), y.tolist(), "pearson")
    often = S.correlation(x.expand(10, 20).tolist(), y.expand(10, 20).tolist(), "pearson")
    assert often == pytest.approx(once)


def test_correlation_interval_covers_the_truth() -> None:
    trials, rho, hit = 200, 0.6, 0
    for trial in range(trials):
        x = draws(15, 10, seed=trial)
        y = rho * x + math.sqrt(1 - rho**2) * draws(15, 10, seed=1000 + trial)
        found = S.correlation(x.tolist(), y.tolist(), "pearson")
        hit += found.low <= rho <= found.high
    assert hit >= stats.binom.ppf(0.001, trials, 0.90)  # a percentile interval of 15 is short
    assert hit < trials  # nor is it endless


def test_correlation_where_there_is_none() -> None:
    assert math.isnan(S.correlation([[0.1] * 3] * 2, [[1, 2, 3]] * 2).value)
    assert math.isnan(S.correlation([[math.nan, 1, 2]] * 2, [[1, 2, 3]] * 2).value)
    alone = S.correlation([[1, 2, 3]], [[1, 3, 2]])
    assert alone.value == pytest.approx(0.5)
    assert math.isnan(alone.low)
    with pytest.raises(ValueError, match=r"for each step of each seed, .* \[3\] and \[2\]"):
        S.correlation([[1, 2, 3]], [[1, 2]])
    with pytest.raises(ValueError, match=r"equally many steps, got steps \[3, 2\]"):
        S.correlation([[1, 2, 3], [1, 2]], [[1, 2, 3], [1, 2]])
    with pytest.raises(ValueError, match="kind of correlation"):
        S.correlation([[1, 2]], [[1, 2]], "kendall")  # type: ignore[arg-type]


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
        gap = Difference.paired(ours, theirs)
        covered += gap.low <= truth <= gap.high
    assert within(covered, trials, 0.95)
