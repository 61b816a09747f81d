"""How exactly a calibration error is known from this many samples."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from softprior import checks
from softprior.diagnostics._given import of_predictions
from softprior.diagnostics._rows import checked
from softprior.diagnostics.calibration import BINS, _bin_of, _confidence, _equal_width

_DRAWS = 2000
_ROWS = 1 << 13  # of samples × bins at once
_FEW = 12.0  # expected errors below which a bin's noise is Poisson's: a normal one is too narrow
_COUNTS = 48  # of errors in such a bin, at most


class EceInterval(NamedTuple):
    """The ECE as measured, its value without the bias of few samples, and the interval."""

    ece: float
    corrected: float
    low: float
    high: float


@of_predictions
def ece_interval(
    logits: Tensor, labels: Tensor, bins: int = BINS, *, level: float = 0.95
) -> EceInterval:
    """What the ECE in these bins would be on endlessly many samples: an interval.

        ECE = Σ_b |g_b|,    g_b = (1/n) Σ_{i in bin b} (confidence_i - [i is right])

    Noise in g_b only ever adds to the sum of sizes: a perfectly calibrated model has an ECE above
    0, and a bootstrap of the samples adds the noise a second time, so that its percentiles miss
    the truth. Here true values m_b are tried out, and the noise around them is drawn: the
    interval holds every Σ |m_b| under which an ECE as low, or as high, as the measured one (up to
    half a sample: they are counted) has a chance of (1 - level)/2.

    The noise is that of the values tried out, not that of the samples: among 100 predictions of
    confidence 0.99 there may be no error, and samples without errors seem to have no noise. With
    ``m_b ≥ 0`` (too sure) sample i is right with chance ``s · confidence_i``, with ``m_b < 0`` it
    is wrong with chance ``s · (1 - confidence_i)``, s such that the bin's mean is m_b. From this
    come the variance of g_b (larger where the samples vary more than so at g_b) and its skewness:
    normal with a correction, but Poisson's where fewer than 12 errors (or right ones) are expected.
    Bins are correlated as among the samples.

    The m_b of a given sum are those nearest to the g_b, each distance in units of its standard
    deviation: ``m_b = sign(g_b) max(0, |g_b| - λ var g_b)``; for ``high`` also those in which every
    g_b of less than 1.4 standard deviations has the sign with more room. ``corrected`` is the sum
    at which the measured ECE is the median. Both may lie below the measured ECE: it is biased. An
    ECE lower than a calibrated model's median counts as that median, or chance would make the
    interval empty.

    With logits of several runs on the same samples it is the mean of their ECEs, for these very
    runs; each sample is drawn with all its runs, since what is hard for one is hard for all.

    Source: hybrid resampling, Chuang and Lai (2000); variance of the value tried out, Wilson
    (1927), with skewness as in Cai (2005); the bound on chance, Cowan et al. (2011,
    power-constrained limits); their use here: ours. O(n · runs · bins²), no copy per draw; the
    draws are the same at each call.

    Args:
        logits: (n, K), or log-probabilities; or (runs, n, K).
        labels: class indices (n,).
        bins: number of equal-width bins, ≥ 1. It changes the answer: state it.
        level: chance that the interval holds the truth, in (0, 1).

    Returns:
        NaN for all but the first where n = 1.

    >>> p = torch.tensor([0.75]).expand(1000)
    >>> logits = torch.stack([p, 1 - p], 1).log()
    >>> found = ece_interval(logits, (torch.arange(1000) % 2))  # right half of the time: |.5 - .75|
    >>> [round(value, 2) for value in found]
    [0.25, 0.25, 0.22, 0.28]
    """
    checks.number("level", level, 0, 1, open_low=True)
    checks.floating(logits, "logits")
    runs = list(logits) if logits.ndim == 3 else [logits]
    if not runs:
        raise ValueError(f"logits have no runs, got shape {tuple(logits.shape)}")
    edges = _equal_width(bins)
    confidence, gaps, cells = [], [], []
    for run, f in enumerate(runs):
        p, right = (value.cpu() for value in _confidence(f, checked(f, labels)))
        confidence.append(p)
        gaps.append(p - right)
        cells.append(_bin_of(p, edges) + run * bins)
    trial = _Trial(torch.stack(confidence), torch.stack(gaps), torch.stack(cells))
    if len(labels) < 2:
        return EceInterval(trial.measured, *[torch.nan] * 3)
    tail = (1 - level) / 2
    corrected, low = trial.total_at(0.5), trial.total_at(1 - tail, -0.5)
    return EceInterval(trial.measured, corrected, low, trial.highest(tail))


class _Trial:
    """Draws of the ECE around true values that are tried out; a cell is a bin of a run.

    All is in units in which the ECE is a sum over cells: of several runs each counts 1/runs.
    """

    def __init__(self, confidence: Tensor, gaps: Tensor, cells: Tensor) -> None:
        self.runs, self.n = gaps.shape
        self.count = gaps.numel()
        cells = torch.unique(cells, return_inverse=True)[1]  # those that are not empty
        size = int(cells.max()) + 1

        def total(values: Tensor) -> Tensor:
            return torch.bincount(cells.flatten(), values.flatten(), minlength=size) / self.count

        self.g = total(gaps)
        self.measured = self.g.abs().sum().item()
        self.share = total(torch.ones_like(gaps))
        # Mean and mean square of the confidence, and of what is left of it.
        self.sure = total(confidence), total(confidence.square()) / self.runs
        self.unsure = total(1 - confidence), total((1 - confidence).square()) / self.runs
        # As far as a gap can go: all wrong, or none, and as sure as other samples may be.
        self.most_sure, self.most_unsure = (
            mean + 4 * ((square - mean.square()).clamp(min=0) / self.n).sqrt()
            for mean, square in (self.sure, self.unsure)
        )
        covariance = _covariance(gaps.T / self.runs, cells.T, size)
        calibrated = self._variance(torch.zeros_like(self.g))
        # How much more the samples vary than was thought; not where nearly nothing varies.
        some = 0.01 * calibrated
        excess = (covariance.diagonal() + some) / (self._variance(self.g) + some)
        self.excess = excess.nan_to_num(1, 1, 1).clamp(min=1)
        # Where all are sure and right there may still be errors: an odd one, at least.
        odd_one = torch.full_like(calibrated, 1 / self.count**2)
        self.variance = torch.stack([covariance.diagonal(), calibrated, odd_one]).amax(0)
        # Of no errors where k were promised, k = 1.85 is as far from 0 as from the 3.7 that there
        # may be (97.5 %), and 1.36 standard deviations: of fewer, the other sign is further.
        self.chance = self.g.abs() < 1.4 * calibrated.sqrt()
        # Where a gap is 0 either direction serves, but it must be able to grow.
        self.sign = torch.where(self.g < 0, -1.0, 1.0).double()
        varies = covariance.diagonal() > 1e-6 * self.variance
        root = torch.where(varies, covariance.diagonal(), torch.inf).sqrt()
        correlation = covariance / root / root.unsqueeze(1)
        correlation.diagonal().fill_(1)
        values, vectors = torch.linalg.eigh(correlation)
        # A Latin hypercube: the draws of each cell lie as evenly as can be.
        generator = torch.Generator().manual_seed(0)
        place = torch.rand(size, _DRAWS, generator=generator).argsort(1)
        z = torch.special.ndtri((place.double() + 0.5) / _DRAWS)
        self.z: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T @ z
        self.skew = (self.z.square() - 1) / 6
        self.u = torch.special.ndtr(self.z)
        noise = self._noise(torch.zeros_like(self.g)).abs().sum(0).median().item()
        self.counted = max(self.measured, noise)

    def highest(self, share: float) -> float:
        """The larger of the sums with the signs that were found and with those of more room."""
        found = self.total_at(share, 0.5)
        room = torch.where(self.sure[0] < self.unsure[0], -1.0, 1.0).double()
        other = torch.where(self.chance, room, self.sign)
        if torch.equal(other, self.sign):
            return found
        kept, self.sign = self.sign, other
        found = max(found, self.total_at(share, 0.5))
        self.sign = kept
        return found

    def total_at(self, share: float, half: float = 0.0) -> float:
        """The true Σ |m| at which ``share`` of the draws are below the measured ECE; at least 0.

        Args:
            half: of a sample, by which the measured ECE is moved.
        """
        below = self.counted + half / self.count
        # λ at which all m are 0, and far on the other side, up to where none can be larger.
        high = (self.g.abs() / self.variance).max().item()
        low = -1 / self.variance.max().sqrt().item()
        if self._below(high, below) <= share:
            return 0.0
        while self._below(low, below) > share:
            if torch.equal(self._true(low), self._true(2 * low)):
                return self._true(low).abs().sum().item()
            low *= 2
        for _ in range(25):
            middle = (low + high) / 2
            low, high = (low, middle) if self._below(middle, below) > share else (middle, high)
        return min(1.0, self._true(high).abs().sum().item())

    def _true(self, step: float) -> Tensor:
        m = self.sign * (self.sign * self.g - step * self.variance).clamp(min=0)
        return m.clamp(-self.most_unsure, self.most_sure)

    def _below(self, step: float, measured: float) -> float:
        m = self._true(step)
        drawn = (m.unsqueeze(1) + self._noise(m)).abs().sum(0)
        return float((drawn < measured).double().mean())

    def _variance(self, m: Tensor) -> Tensor:
        """Of g where m is true, (C,)."""
        mean = torch.where(m < 0, self.unsure[0], self.sure[0])
        square = torch.where(m < 0, self.unsure[1], self.sure[1])
        s = (1 - m.abs() / mean).nan_to_num(1, 1, 1).clamp(min=0)
        m = torch.minimum(m.abs(), mean)
        variance = square * (1 - 2 * s) + mean * s / self.runs - m.square()
        return variance.clamp(min=0) / self.n

    def _noise(self, m: Tensor) -> Tensor:
        """Draws of g - m where m is true, (C, draws)."""
        variance = self._variance(m)
        right = ((self.sure[0] - m) / self.share).clamp(0, 1)
        # The rarer outcome is as skewed as a Poisson number of this mean. Errors make g larger.
        odd = 2 * right - 1
        mean = self.share * self.count * right * (1 - right) / odd.square().clamp(min=1e-12)
        drawn = self.z + self.skew * (odd.sign() / mean.clamp(min=_FEW).sqrt()).unsqueeze(1)
        if len(few := (mean < _FEW).nonzero().squeeze(1)):
            mu, sign = mean[few].clamp(min=1e-9).unsqueeze(1), odd[few].sign().unsqueeze(1)
            k = torch.arange(_COUNTS, dtype=torch.float64)
            chance = (k * mu.log() - mu - torch.lgamma(k + 1)).exp().cumsum(1)
            u = 0.5 + sign * (self.u[few] - 0.5)
            drawn[few] = sign * (torch.searchsorted(chance, u) - mu) / mu.sqrt()
        # What is left is that of the confidences: where all are right, all that there is.
        counted = self.share * right * (1 - right) / self.count
        counted = torch.minimum(counted, variance)
        parts = [counted * self.excess, (variance - counted) * self.excess]
        outcome, rest = (part.sqrt().unsqueeze(1) for part in parts)
        noise: Tensor = drawn * outcome + self.z.flip(1) * rest
        return noise


def _covariance(gaps: Tensor, cells: Tensor, size: int) -> Tensor:
    """The covariance (C, C) of the mean over samples of the gap in each cell."""
    n = len(gaps)
    total = torch.zeros(size, dtype=torch.float64)
    squares = torch.zeros(size, size, dtype=torch.float64)
    for gap, cell in zip(torch.split(gaps, _ROWS), torch.split(cells, _ROWS), strict=True):
        rows = torch.zeros(len(gap), size, dtype=torch.float64).scatter_(1, cell, gap)
        total += rows.sum(0)
        squares += rows.T @ rows
    return (squares - torch.outer(total, total) / n) / (n * max(n - 1, 1))
