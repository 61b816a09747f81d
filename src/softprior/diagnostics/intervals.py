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
    the truth. Here the noise is drawn as resampling the samples would (normal, with the covariance
    of the g_b), around true values m_b that are tried out: the interval holds every Σ |m_b|
    under which an ECE as low, or as high, as the measured one has a chance of (1 - level)/2.
    The m_b of a given sum are those nearest to the g_b, each distance in units of its standard
    deviation: ``m_b = sign(g_b) max(0, |g_b| - λ var g_b)``. ``corrected`` is the sum at which the
    measured ECE is the median. Both may lie below the measured ECE: it is biased. An ECE lower
    than a calibrated model's median counts as that median, or chance would make the interval empty.

    With logits of several runs on the same samples it is the mean of their ECEs, for these very
    runs; each sample is drawn with all its runs, since what is hard for one is hard for all.

    Source: hybrid resampling, Chuang and Lai (2000); the bound on chance, Cowan et al. (2011,
    power-constrained limits); their use here: ours. O(n · runs · bins²),
    no copy per draw; the draws are the same at each call.

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
    gaps, cells = [], []
    for run, f in enumerate(runs):
        p, right = _confidence(f, checked(f, labels))
        gaps.append((p - right).cpu() / len(runs))
        cells.append(_bin_of(p.cpu(), edges) + run * bins)
    g, covariance = _moments(torch.stack(gaps, 1), torch.stack(cells, 1), len(runs) * bins)
    measured = g.abs().sum().item()
    if len(labels) < 2:
        return EceInterval(measured, *[torch.nan] * 3)
    trial = _Trial(g, covariance)
    tail = (1 - level) / 2
    return EceInterval(measured, *(trial.total_at(q) for q in (0.5, 1 - tail, tail)))


def _moments(gaps: Tensor, cells: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Mean over samples of the gap in each cell (C,), and the covariance of that mean (C, C)."""
    n = len(gaps)
    total = torch.zeros(size, dtype=torch.float64)
    squares = torch.zeros(size, size, dtype=torch.float64)
    for gap, cell in zip(torch.split(gaps, _ROWS), torch.split(cells, _ROWS), strict=True):
        rows = torch.zeros(len(gap), size, dtype=torch.float64).scatter_(1, cell, gap)
        total += rows.sum(0)
        squares += rows.T @ rows
    return total / n, (squares - torch.outer(total, total) / n) / (n * max(n - 1, 1))


class _Trial:
    """Draws of the ECE around true values that are tried out."""

    def __init__(self, g: Tensor, covariance: Tensor) -> None:
        self.g, self.variance = g, covariance.diagonal().clamp(min=0)
        # Where a gap is 0 either direction serves, but it must be able to grow.
        self.sign = torch.where(g < 0, -1.0, 1.0).double()
        values, vectors = torch.linalg.eigh(covariance)
        z = torch.randn(
            _DRAWS, len(g), generator=torch.Generator().manual_seed(0), dtype=torch.float64
        )
        self.noise = z @ (vectors * values.clamp(min=0).sqrt()).T
        self.measured = torch.maximum(g.abs().sum(), self.noise.abs().sum(1).median())

    def total_at(self, share: float) -> float:
        """The true Σ |m| at which ``share`` of the draws are below the measured ECE; at least 0."""
        loose = self.variance > 0
        if not loose.any():
            return self.measured.item()
        # λ at which all m are 0, and far on the other side.
        high = (self.g.abs()[loose] / self.variance[loose]).max().item()
        low = -1 / self.variance[loose].max().sqrt().item()
        if self._below(high) <= share:
            return 0.0
        while self._below(low) > share:
            low *= 2
        for _ in range(25):
            middle = (low + high) / 2
            low, high = (low, middle) if self._below(middle) > share else (middle, high)
        return min(1.0, self._true(high).abs().sum().item())

    def _true(self, step: float) -> Tensor:
        return self.sign * (self.g.abs() - step * self.variance).clamp(min=0)

    def _below(self, step: float) -> float:
        draws = (self._true(step) + self.noise).abs().sum(1)
        return float((draws < self.measured).double().mean())
