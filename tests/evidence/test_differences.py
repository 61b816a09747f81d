"""Differences over seeds and images: against SciPy and by hand; error and power by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from softprior.evidence import Difference, blocks
from softprior.evidence.differences import Array

TRIALS = 400


def within(count: int, rate: float, trials: int = TRIALS) -> bool:
    """Whether a count is one that a chance of ``rate`` gives, but for one time in 1,000."""
    return 0.0005 < stats.binom.cdf(count, trials, rate) < 0.9995


def at_most(count: int, rate: float, trials: int = TRIALS) -> bool:
    return bool(stats.binom.sf(count - 1, trials, rate) > 0.001)


def crossed(rng: np.random.Generator, seeds: int, images: int, parts: tuple[float, ...]) -> Array:
    """Effects of seeds, of images, and of both together, with these standard deviations."""
    of_seeds, of_images, rest = parts
    return (
        of_seeds * rng.standard_normal((seeds, 1))
        + of_images * rng.standard_normal((1, images))
        + rest * rng.standard_normal((seeds, images))
    )


# --- over seeds ------------------------------------------------------------------------------


@given(st.integers(2, 12), st.floats(-3, 3), st.integers(0, 1000))
def test_over_seeds_it_is_the_paired_t_test(n: int, shift: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    ours, theirs = rng.standard_normal(n) + shift, rng.standard_normal(n)
    found, test = Difference.over_seeds(ours, theirs), stats.ttest_rel(ours, theirs)
    for level in (0.9, 0.95):
        assert found.bounds(level) == pytest.approx(tuple(test.confidence_interval(level)))
    assert found.p == pytest.approx(test.pvalue)
    assert (found.sign() != 0) == (test.pvalue < 0.05)
    back = Difference.over_seeds(theirs, ours)
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low))


def test_one_seed_and_no_spread() -> None:
    assert math.isnan(Difference.over_seeds([1.0], [0.5]).low)
    for n, sign in ((2, 0), (5, 0), (6, 1)):  # 2^(1-6) is the first below 0.05
        same = Difference.over_seeds([0.75] * n, [0.5] * n)
        assert same.sign() == sign
        assert math.isnan(same.p) if n < 6 else same.p == 2.0 ** (1 - n)
    none = Difference.over_seeds([0.5] * 3, [0.5] * 3)
    assert (none.low, none.high, none.p) == (0, 0, 1)
    assert none.within(0.001)
    assert math.isnan(Difference.over_seeds([-math.inf, 1], [0, 0]).low)


# --- seeds and images ------------------------------------------------------------------------


def test_crossed_by_hand() -> None:
    """Two seeds, two images: 1 2 / 3 8, so mean squares 16, 9 and 4."""
    found = Difference.crossed(3.5, np.array([[1.0, 2.0], [3.0, 8.0]]))
    assert found.se**2 == pytest.approx((16 + 9 - 4) / 4)
    assert found.df == pytest.approx(21**2 / (16**2 + 9**2 + 4**2))
    assert found.images_variance == pytest.approx((9 - 4) / 4)


@given(st.integers(2, 8), st.integers(0, 1000))
def test_images_that_all_say_the_same_leave_the_t_test_over_seeds(seeds: int, seed: int) -> None:
    gaps = np.random.default_rng(seed).standard_normal(seeds)
    found = Difference.crossed(float(gaps.mean()), np.repeat(gaps[:, None], 7, 1))
    plain = Difference.over_seeds(gaps, 0 * gaps)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high))


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5, 15])
@pytest.mark.parametrize(
    "parts", [(1, 0, 1), (0, 3, 1), (1, 7, 3), (0, 0, 1)], ids=["seeds", "images", "both", "rest"]
)
def test_intervals_over_seeds_and_images_cover_the_truth(
    seeds: int, parts: tuple[float, ...]
) -> None:
    """In at least 95 % of cases, wherever the variance comes from: no false alarms above 5 %."""
    rng = np.random.default_rng(seeds)
    missed = shorter = 0
    for _ in range(TRIALS):
        d = crossed(rng, seeds, 50, parts)
        found = Difference.crossed(float(d.mean()), d)
        missed += found.sign() != 0
        alone = Difference.over_seeds(d.mean(1), np.zeros(seeds))
        shorter += alone.sign() != 0
    assert at_most(missed, 0.05)
    if parts == (0, 3, 1):  # seeds alone would be far too sure
        assert shorter > 3 * 0.05 * TRIALS


@pytest.mark.slow
def test_equivalence_is_claimed_wrongly_in_five_percent_and_found_where_it_is() -> None:
    rng, margin = np.random.default_rng(0), 1.0
    wrong = right = 0
    for _ in range(TRIALS):
        d = crossed(rng, 10, 50, (0.5, 1.0, 2.0))
        at_margin = Difference.crossed(float(d.mean()) + margin, d)
        wrong += at_margin.within(margin)
        right += Difference.crossed(float(d.mean()), d).within(margin)
    assert at_most(wrong, 0.05)
    assert right > 0.95 * TRIALS


@pytest.mark.slow
@pytest.mark.parametrize("parts", [(1, 0, 1), (1, 2, 5)])
def test_power_is_as_foretold(parts: tuple[float, ...]) -> None:
    """``detectable`` is found in four of five cases, with the seeds that ``seeds_for`` asks."""
    rng = np.random.default_rng(1)
    pilot = crossed(rng, 200, 50, parts)
    d = Difference.crossed(0.0, pilot)
    n = d.seeds_for(0.9)
    assert n is not None
    assert n > 4
    found = sum(
        Difference.crossed(float(x.mean()), x).sign() == 1
        for x in (0.9 + crossed(rng, n, 50, parts) for _ in range(TRIALS))
    )
    assert 0.7 < found / TRIALS < 0.93
    sizes = [Difference.crossed(0.0, crossed(rng, n, 50, parts)).detectable for _ in range(50)]
    assert np.median(sizes) == pytest.approx(0.9, rel=0.25)


def test_no_number_of_seeds_makes_up_for_too_few_images() -> None:
    d = Difference.crossed(0.0, crossed(np.random.default_rng(0), 10, 50, (0.1, 5.0, 0.1)))
    assert d.seeds_for(0.01) is None
    assert d.seeds_for(10.0) == 2


# --- blocks of images ------------------------------------------------------------------------


@given(st.integers(2, 300), st.integers(0, 1000))
def test_blocks_of_a_mean_are_means_of_blocks(n: int, seed: int) -> None:
    each = np.random.default_rng(seed).standard_normal(n)
    block = blocks.block_of(n)
    sizes = np.bincount(block)
    assert sizes.max() - sizes.min() <= 1
    found = blocks.of_mean(each)
    slow = blocks.of_function(lambda rows: float(each[rows].mean()), n)
    assert found == pytest.approx(slow, abs=1e-9)
    assert found == pytest.approx([each[block == g].mean() for g in range(len(sizes))], abs=1e-9)


@given(st.integers(2, 300), st.integers(0, 1000))
def test_blocks_of_a_calibration_error_are_those_of_leaving_out(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    cells, gaps = rng.integers(0, 20, n), rng.standard_normal(n)

    def error(rows: blocks.Indices) -> float:
        return float(np.abs(np.bincount(cells[rows], gaps[rows])).sum() / len(rows))

    assert blocks.of_gaps(cells, gaps) == pytest.approx(blocks.of_function(error, n), abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("sure", [1.0, 1.6])
def test_ece_differences_of_two_methods_that_do_not_differ(sure: float) -> None:
    """Seeds that err on images of their own difficulty: no false alarms above 5 %."""
    rng, alarms = np.random.default_rng(3), 0
    trials, seeds, images = 200, 5, 2000
    for _ in range(trials):
        hard = rng.standard_normal(images)
        values = np.empty((2, seeds)), np.empty((2, seeds, blocks.BLOCKS))
        for method in range(2):
            for s in range(seeds):
                margin = hard + 0.7 * rng.standard_normal(images) + 0.5
                p = 1 / (1 + np.exp(-sure * np.abs(margin)))
                right = rng.random(images) < 1 / (1 + np.exp(-np.abs(margin)))
                cells, gaps = np.ceil(20 * p).astype(int), p - right
                values[0][method, s] = np.abs(np.bincount(cells, gaps)).sum() / images
                values[1][method, s] = blocks.of_gaps(cells, gaps)
        mean = float(values[0][0].mean() - values[0][1].mean())
        alarms += Difference.crossed(mean, values[1][0] - values[1][1]).sign() != 0
    assert at_most(alarms, 0.05, trials)
