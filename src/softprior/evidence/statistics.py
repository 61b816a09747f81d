"""Tests and intervals over matched seeds. Numbers in, numbers out."""

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
LEVEL = 0.95
_EXACT = 16  # seeds: 32,768 flips that differ; beyond, so many are drawn
_FLIPS = 1 << (_EXACT - 1)
_RESAMPLINGS = 1999


class Interval(NamedTuple):
    """A number and its 95 % interval (NaN bounds where there is none)."""

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
    half = _quantile(len(values)) * stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def t_statistic(interval: Interval, n: int) -> float:
    """The t statistic of the mean against zero, read back from its :func:`t_interval`.

    Infinite where the values have no spread; NaN where there is no interval.
    """
    if n < 2 or math.isnan(interval.low):
        return math.nan
    half = (interval.high - interval.low) / 2
    if half <= 1e-12 * abs(interval.value):  # equal up to rounding
        return math.copysign(math.inf, interval.value) if interval.value else 0.0
    return interval.value * _quantile(n) / half


def t_p(interval: Interval, n: int) -> float:
    """Two-sided p-value of the t test that the mean is zero: below 0.05 where 0 is outside.

    Values without any spread (a few seeds whose accuracies differ by the same one sample) would
    have p = 0: an artefact of small n, so the sign-flip test's ``2^(1-n)`` stands in.
    """
    t = t_statistic(interval, n)
    if math.isinf(t):
        return float(2.0 ** (1 - n))
    return float(2 * stdtr(n - 1, -abs(t)))


def sign_flip_p(values: Sequence[float]) -> float:
    """Two-sided p-value of the sign-flip (paired permutation) test that the mean is zero.

        p = share of the 2^n ways to flip signs whose |Σ ± d_i| is at least |Σ d_i|

    Exact up to 16 values, and so never below ``2^(1-n)``: 0.0625 for five. Beyond 16, of 32,768
    flips drawn from a fixed seed, the given one counted among them. Assumes no normal
    distribution: symmetry about zero is enough. Source: Fisher (1935).

    NaN for n = 1, and where a value is not finite.
    """
    n = len(values)
    d = np.asarray(values, dtype=np.float64)
    if n < 2 or not np.isfinite(d).all():
        return math.nan
    sums = np.abs(_signs(n) @ d)
    # Sums of the same numbers in another order differ by rounding.
    return float((sums >= abs(d.sum()) - 1e-12 * np.abs(d).sum()).mean())


@lru_cache(maxsize=8)
def _signs(n: int) -> Array:
    """Rows of ±1, the first all +1; up to 16 all that differ by more than a common sign."""
    if n <= _EXACT:
        row = np.arange(1 << (n - 1))[:, None]
        negative = (row >> np.arange(n)) & 1  # never the last: its sign is the common one
    else:
        negative = _integers(2, (_FLIPS, n), seed=n)
        negative[0] = 0
    return np.asarray(1.0 - 2.0 * negative, dtype=np.float64)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values of one family, in the given order.

        p̃_(i) = max_{j ≤ i} min(1, (m - j + 1) p_(j)),   p_(1) ≤ … ≤ p_(m)

    To reject where p̃ < 0.05 rejects any true hypothesis with probability ≤ 0.05, however the
    tests depend on one another. Source: Holm (1979). A NaN stays NaN, and counts as a
    member of the family.
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
    """Correlation of two series that were measured along each seed, with a bootstrap interval.

    ``x[s][k]`` and ``y[s][k]`` are measured together, at step k (say, a generation) of seed s.
    All pairs are pooled. Steps of one seed hang together, so whole seeds are resampled: the 95 %
    percentile interval says what other seeds would have given. Spearman's is Pearson's of the
    ranks, ties sharing their mean rank.

    NaN where a series has no spread or is not finite; NaN bounds for one seed.
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
    drawn = _integers(seeds, (_RESAMPLINGS, seeds), seed=0)
    chosen = np.concatenate([np.arange(seeds)[None], drawn])
    series = [np.asarray(rows, np.float64)[chosen].reshape(len(chosen), -1) for rows in (x, y)]
    r = _pearson(*(series if kind == "pearson" else map(_ranks, series)))
    value = float(r[0])
    if seeds < 2 or math.isnan(value):
        return Interval(value, math.nan, math.nan)
    # A resample of one seed only may have no spread, and then no correlation.
    low, high = np.nanquantile(r[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))


def _pearson(x: Array, y: Array) -> Array:
    """Of each row; NaN where one of the two has no spread."""
    flat = (x.min(1) == x.max(1)) | (y.min(1) == y.max(1))
    x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        r = (x * y).sum(1) / np.sqrt((x**2).sum(1) * (y**2).sum(1))
    return np.where(flat, np.nan, r)


def _ranks(x: Array) -> Array:
    """Ranks from 1 in each row; equal values share their mean rank, a NaN makes all NaN."""
    from scipy.stats import rankdata  # half a second, only where it is needed

    return np.asarray(rankdata(x, axis=1, nan_policy="propagate"))


def _integers(below: int, shape: tuple[int, int], seed: int) -> NDArray[np.int64]:
    """Uniform whole numbers from a fixed seed; the modulo's bias is below 1e-8."""
    drawn = np.random.RandomState(seed).randint(0, 2**32, shape, dtype=np.uint32)
    return (drawn % below).astype(np.int64)


def _quantile(n: int) -> float:
    return float(stdtrit(n - 1, (1 + LEVEL) / 2))
