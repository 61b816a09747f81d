"""Statistical tests and intervals over seeds: functions from numbers to numbers.

In all of them one value belongs to one seed, and the seeds are independent of one another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import fmean, stdev
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

Array: TypeAlias = NDArray[np.float64]
CONFIDENCE = 0.95  # level of every interval
_MOST_EXACT = 16  # largest number of seeds for which the sign-flip test tries all sign flips
_DRAWN_FLIPS = 1 << (_MOST_EXACT - 1)  # with more seeds it draws as many as 16 seeds have
_RESAMPLINGS = 1999  # of a bootstrap; with the sample itself 2,000


class Interval(NamedTuple):
    """A number and its 95 % interval (both bounds are NaN where there is no interval)."""

    value: float
    low: float
    high: float


def t_interval(values: Sequence[float]) -> Interval:
    """Mean of independent values, and its two-sided 95 % t interval.

        mean ± t_{n-1, 0.975} · s / √n

    NaN bounds for n = 1, and where a value is not finite.
    """
    mean = fmean(values) if all(map(math.isfinite, values)) else sum(values) / len(values)
    if len(values) < 2 or not math.isfinite(mean):
        return Interval(mean, math.nan, math.nan)
    half_width = _t_quantile(len(values)) * stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - half_width, mean + half_width)


def t_statistic(interval: Interval, n: int) -> float:
    """The t statistic of the mean against zero, computed back from its :func:`t_interval`.

    Infinite where all values are equal; NaN where there is no interval.
    """
    if n < 2 or math.isnan(interval.low):
        return math.nan
    half_width = (interval.high - interval.low) / 2
    if half_width <= 1e-12 * abs(interval.value):  # equal up to rounding
        return math.copysign(math.inf, interval.value) if interval.value else 0.0
    return interval.value * _t_quantile(n) / half_width


def t_p(interval: Interval, n: int) -> float:
    """Two-sided p-value of the t test that the mean is zero: below 0.05 where 0 is outside.

    If all values are equal, the t test has p = 0. With few seeds that happens by accident (each
    accuracy differs by the same one sample), so p is then that of the sign-flip test, ``2^(1-n)``.
    """
    t = t_statistic(interval, n)
    if math.isinf(t):
        return float(2.0 ** (1 - n))
    return float(2 * stdtr(n - 1, -abs(t)))


def sign_flip_p(values: Sequence[float]) -> float:
    """Two-sided p-value of the sign-flip (paired permutation) test that the mean is zero.

        p = share of the 2^n ways to flip signs whose |Σ ± d_i| is at least |Σ d_i|

    Up to 16 values it tries all flips, so p is never below ``2^(1-n)``: 0.0625 for five values.
    With more values it draws 32,768 flips from a fixed seed, one of which leaves all signs as they
    are. The test assumes no normal distribution, only symmetry about zero. Source: Fisher (1935).

    NaN for n = 1, and where a value is not finite.
    """
    n = len(values)
    d = np.asarray(values, dtype=np.float64)
    if n < 2 or not np.isfinite(d).all():
        return math.nan
    sums = np.abs(_sign_flips(n) @ d)
    # The tolerance: sums of the same numbers in another order differ by rounding.
    return float((sums >= abs(d.sum()) - 1e-12 * np.abs(d).sum()).mean())


@lru_cache(maxsize=8)
def _sign_flips(n: int) -> Array:
    """Rows of n signs ±1, the first all +1.

    Up to 16 signs, every row once. A row and its negative have the same ``|Σ ± d_i|``, so one of
    the two is enough: the last sign is always +1.
    """
    if n <= _MOST_EXACT:
        row = np.arange(1 << (n - 1))[:, None]
        negative = (row >> np.arange(n)) & 1  # bit i of the row's number; the last bit is 0
    else:
        negative = _random_integers(2, (_DRAWN_FLIPS, n), seed=n)
        negative[0] = 0
    return np.asarray(1.0 - 2.0 * negative, dtype=np.float64)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values of a family of tests, in the given order.

        p̃_(i) = max_{j ≤ i} min(1, (m - j + 1) p_(j)),   p_(1) ≤ … ≤ p_(m)

    Rejecting every hypothesis with p̃ < 0.05 rejects one or more true ones with probability
    ≤ 0.05, whatever the dependence between the tests. A NaN stays NaN, and counts as a member of
    the family. Source: Holm (1979).
    """
    order = sorted(range(len(p_values)), key=lambda i: (math.isnan(p_values[i]), p_values[i]))
    adjusted, largest = [math.nan] * len(order), 0.0
    for rank, i in enumerate(order):
        if not math.isnan(p_values[i]):
            largest = max(largest, min(1.0, (len(order) - rank) * p_values[i]))
            adjusted[i] = largest
    return adjusted


def correlation(
    x: Sequence[Sequence[float]],
    y: Sequence[Sequence[float]],
    kind: Literal["pearson", "spearman"] = "spearman",
) -> Interval:
    """Correlation of two numbers that each seed has at several steps, with a bootstrap interval.

    ``x[s][k]`` and ``y[s][k]`` belong to step k (a generation, for example) of seed s. The value
    is the correlation of all pairs together. The steps of one seed are not independent, so the
    bootstrap resamples whole seeds; the interval holds the middle 95 % of its correlations.
    Spearman's correlation is Pearson's of the ranks; equal values share their mean rank.

    NaN where x or y is constant or not finite; NaN bounds for one seed.
    Source: Field and Welsh (2007), the cluster bootstrap.

    >>> correlation([[1, 2, 3], [1, 2, 4]], [[2, 4, 9], [1, 5, 7]]).value > 0.9
    True
    """
    if kind not in ("pearson", "spearman"):
        raise ValueError(f"unknown kind of correlation {kind!r}: known are 'pearson', 'spearman'")
    lengths = [[len(row) for row in rows] for rows in (x, y)]
    if lengths[0] != lengths[1] or len(set(lengths[0])) != 1 or not lengths[0][0]:
        raise ValueError(
            "x and y must have a number for each step of each seed, equally many steps, got steps "
            f"{lengths[0]} and {lengths[1]}"
        )
    seeds = len(x)
    drawn = _random_integers(seeds, (_RESAMPLINGS, seeds), seed=0)
    chosen = np.concatenate([np.arange(seeds)[None], drawn])  # row 0: the sample itself
    series = [np.asarray(rows, np.float64)[chosen].reshape(len(chosen), -1) for rows in (x, y)]
    r = _pearson(*(series if kind == "pearson" else map(_ranks, series)))
    value = float(r[0])
    if seeds < 2 or math.isnan(value):
        return Interval(value, math.nan, math.nan)
    # nan: a resample that holds one seed only may be constant, and then has no correlation.
    low, high = np.nanquantile(r[1:], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(value, float(low), float(high))


def _pearson(x: Array, y: Array) -> Array:
    """Pearson's correlation of each row of x with that of y; NaN where one of them is constant."""
    constant = (x.min(1) == x.max(1)) | (y.min(1) == y.max(1))
    x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        r = (x * y).sum(1) / np.sqrt((x**2).sum(1) * (y**2).sum(1))
    return np.where(constant, np.nan, r)


def _ranks(x: Array) -> Array:
    """Ranks from 1 in each row; equal values share their mean rank; a NaN makes its row NaN."""
    from scipy.stats import rankdata  # here, not at the top: the import takes half a second

    return np.asarray(rankdata(x, axis=1, nan_policy="propagate"))


def _random_integers(below: int, shape: tuple[int, int], seed: int) -> NDArray[np.int64]:
    """Uniform integers in [0, below) from a fixed seed.

    Made from raw 32-bit numbers of the legacy generator, whose stream NumPy keeps unchanged: every
    version gives the same p-values and intervals. The bias of the modulo is below 1e-8.
    """
    drawn = np.random.RandomState(seed).randint(0, 2**32, shape, dtype=np.uint32)
    return (drawn % below).astype(np.int64)


def _t_quantile(n: int) -> float:
    """The 97.5 % quantile of the t distribution for the mean of n values."""
    return float(stdtrit(n - 1, (1 + CONFIDENCE) / 2))
