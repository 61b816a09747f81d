"""Paired differences over seeds and test images: how large, how sure, and what would be enough.

Another seed and another test set would both give another difference. So both are drawn at random
here: seeds are crossed with blocks of test images, and the variance has a part from each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

Array: TypeAlias = NDArray[np.float64]
LEVEL = 0.95
POWER = 0.8
MOST_SEEDS = 1000  # beyond, another design is wanted
_FEWEST = 6  # equal differences that cannot well be chance: 2^(1-6) is below 0.05


class Interval(NamedTuple):
    """A number and its 95 % interval (NaN bounds where there is none)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A mean paired difference, its standard error, and what that rests on.

    Attributes:
        mean: of ours - theirs, seed by seed.
        n: number of seeds.
        se: standard error of the mean (NaN for one seed).
        df: its degrees of freedom.
        images_variance: the part of ``se²`` that comes from the test images, which more seeds
            would not make smaller; 0 where only seeds are drawn.
    """

    mean: float
    n: int
    se: float = math.nan
    df: float = math.nan
    images_variance: float = 0.0

    @classmethod
    def over_seeds(cls, ours: ArrayLike, theirs: ArrayLike) -> Difference:
        """Only the seeds are drawn: of numbers that test images have no part in."""
        gaps = np.subtract(ours, theirs, dtype=np.float64)
        n = len(gaps)
        if n < 2 or not np.isfinite(gaps).all():
            return cls(float(gaps.mean()), n)
        return cls(float(gaps.mean()), n, float(gaps.std(ddof=1) / math.sqrt(n)), n - 1)

    @classmethod
    def crossed(cls, mean: float, blocks: Array) -> Difference:
        r"""Seeds (rows) crossed with blocks of test images (columns), both drawn.

        With the mean squares of an analysis of variance without repetition, for S seeds and G
        blocks,

            se² = (MS_seeds + MS_images - MS_rest) / (S G)
            df  = (MS_seeds + MS_images - MS_rest)² /
                  (MS_seeds²/(S-1) + MS_images²/(G-1) + MS_rest²/((S-1)(G-1)))

        and where one of the two is below MS_rest, only the larger counts: its own mean square and
        degrees of freedom. Source: Satterthwaite (1946).

        Args:
            mean: of the differences of the whole scores.
            blocks: what each block of images gives the difference of each seed (S, G).
        """
        seeds, images = blocks.shape
        if seeds < 2 or images < 2 or not np.isfinite(blocks).all():
            return cls(mean, seeds)
        rows, columns, middle = blocks.mean(1), blocks.mean(0), blocks.mean()
        rest = blocks - rows[:, None] - columns[None] + middle
        ms_rest = float((rest**2).sum()) / ((seeds - 1) * (images - 1))
        ms_seeds = images * float(rows.var(ddof=1))
        ms_images = seeds * float(columns.var(ddof=1))
        if min(ms_seeds, ms_images) <= ms_rest:
            total, df = max((ms_seeds, seeds - 1.0), (ms_images, images - 1.0))
        else:
            total = ms_seeds + ms_images - ms_rest
            df = total**2 / (
                ms_seeds**2 / (seeds - 1)
                + ms_images**2 / (images - 1)
                + ms_rest**2 / ((seeds - 1) * (images - 1))
            )
        size = seeds * images
        from_images = max(0.0, ms_images - ms_rest) / size
        return cls(mean, seeds, math.sqrt(total / size), df, from_images)

    def bounds(self, level: float = LEVEL) -> tuple[float, float]:
        """Of the two-sided t interval, ``mean ± t · se``; NaN where there is none.

        There is none for one seed, and for fewer than six whose differences are all the same:
        that few seeds differ by the same one image is no certainty.
        """
        if math.isnan(self.se) or (self.se == 0 and self.mean and self.n < _FEWEST):
            return math.nan, math.nan
        half = _quantile((1 + level) / 2, self.df) * self.se
        return self.mean - half, self.mean + half

    @property
    def low(self) -> float:
        return self.bounds()[0]

    @property
    def high(self) -> float:
        return self.bounds()[1]

    @property
    def interval(self) -> Interval:
        return Interval(self.mean, *self.bounds())

    def sign(self, level: float = LEVEL) -> int:
        """On which side of zero the whole interval is: 1, -1, or 0 where it includes zero."""
        low, high = self.bounds(level)
        return 1 if low > 0 else -1 if high < 0 else 0

    @property
    def p(self) -> float:
        """Two-sided p-value of the t test that there is no difference; NaN without an interval."""
        if math.isnan(self.low):
            return math.nan
        if self.se == 0:
            return float(2.0 ** (1 - self.n)) if self.mean else 1.0
        return float(2 * stdtr(self.df, -abs(self.mean) / self.se))

    def within(self, margin: float) -> bool:
        """Whether the true difference is shown to be smaller than the margin, either way.

        Two one-sided tests at 5 %: the 90 % interval lies between -margin and margin.
        Source: Schuirmann (1987).
        """
        low, high = self.bounds(0.9)
        return -margin < low and high < margin

    @property
    def detectable(self) -> float:
        """The true difference that as many seeds and images would find in four of five cases.

        (t_{0.975, df} + t_{0.8, df}) · se
        """
        return (_quantile(0.975, self.df) + _quantile(POWER, self.df)) * self.se

    def seeds_for(self, margin: float) -> int | None:
        """How many seeds it takes to find a true difference of the margin in four of five cases.

        None where no number of seeds does, as there are too few test images.
        """
        from_seeds = max(0.0, self.se**2 - self.images_variance) * self.n
        for n in range(2, MOST_SEEDS + 1):
            se = math.sqrt(self.images_variance + from_seeds / n)
            if (_quantile(0.975, n - 1) + _quantile(POWER, n - 1)) * se <= margin:
                return n
        return None

    @property
    def numbers(self) -> dict[str, float | int]:
        """For files: the mean, its interval, and what they rest on."""
        low, high = self.bounds()
        return {"mean": self.mean, "low": low, "high": high, "n": self.n} | {
            "se": self.se,
            "df": self.df,
        }


def _quantile(p: float, df: float) -> float:
    return float(stdtrit(df, p))
