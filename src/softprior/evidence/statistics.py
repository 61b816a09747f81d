"""Intervals of means, and slopes, over seeds. Numbers in, numbers out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from softprior.evidence.differences import LEVEL, Array, Difference, Interval

__all__ = ["Interval", "slope", "t_interval"]


def t_interval(values: Sequence[float]) -> Interval:
    """Mean of independent values, and its two-sided 95 % t interval.

        mean ± t_{n-1, 0.975} · s / √n

    NaN bounds for n = 1, and where a value is not finite.
    """
    mean = fmean(values) if all(map(math.isfinite, values)) else sum(values) / len(values)
    if len(values) < 2 or not math.isfinite(mean):
        return Interval(mean, math.nan, math.nan)
    half = float(stdtrit(len(values) - 1, (1 + LEVEL) / 2)) * stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def slope(x: ArrayLike, y: ArrayLike) -> Difference:
    """How much y changes with x, beyond what all seeds and all steps have in common.

    ``x[s][k]`` and ``y[s][k]`` are measured together, at step k (say, a generation) of seed s.
    The means of each step and of each seed are taken away from both: two series that both rise
    with k, or are both high in a seed, would otherwise seem to belong together. With what is
    left, x̃ and ỹ,

        slope = Σ x̃ ỹ / Σ x̃²

    Steps of one seed hang together, so whole seeds are left out in turn, and its standard error
    is that of the jackknife, with S - 1 degrees of freedom. Source: Tukey (1958); two-way fixed
    effects.

    Without an interval for fewer than three seeds or two steps; NaN where x has no spread.

    >>> round(slope([[1, 2, 3], [1, 4, 2], [3, 1, 5]], [[2, 4, 6], [2, 8, 4], [6, 2, 10]]).mean, 9)
    2.0
    """
    x, y = (np.asarray(values, np.float64) for values in (x, y))
    if x.shape != y.shape or x.ndim != 2 or not x.size:
        raise ValueError(
            "x and y must have a number for each step of each seed, got shapes "
            f"{x.shape} and {y.shape}"
        )
    seeds, steps = x.shape
    value = _slope(x, y)
    if seeds < 3 or steps < 2 or not math.isfinite(value):
        return Difference(value, seeds)
    without = np.asarray([_slope(np.delete(x, s, 0), np.delete(y, s, 0)) for s in range(seeds)])
    se = math.sqrt((seeds - 1) * float(without.var()))
    return Difference(value, seeds, se, seeds - 1)


def _slope(x: Array, y: Array) -> float:
    x, y = (v - v.mean(0) - v.mean(1, keepdims=True) + v.mean() for v in (x, y))
    spread = float((x**2).sum())
    return float((x * y).sum()) / spread if spread > 1e-24 else math.nan
