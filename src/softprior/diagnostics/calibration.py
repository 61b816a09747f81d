"""Calibration: whether predictions of confidence 0.8 are right 80 % of the time.

Throughout, confidence is the largest probability of a prediction, and bins are half-open,
``(low, high]``, with 0 in the first and 1 in the last.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from softprior import checks
from softprior.diagnostics._given import of_predictions
from softprior.diagnostics._rows import at_label, per_sample

BINS = 20  # the paper's code; other sources use 10 or 15, so the number is shown beside the ECE

# Softmax in float64 returns 0.85 as 0.85 ± 1e-16. A probability that is an edge up to such
# rounding counts as the edge itself, and so belongs to the lower bin.
_ROUNDING = 2.0**-48


class Reliability(NamedTuple):
    """One row per bin, all (bins,). Mean confidence and accuracy of an empty bin are NaN."""

    low: Tensor
    high: Tensor
    count: Tensor  # type: ignore[assignment]  # hides tuple.count, which nobody needs here
    confidence: Tensor
    accuracy: Tensor


@of_predictions
def reliability(
    logits: Tensor, labels: Tensor, bins: int = BINS, *, temperature: float = 1.0
) -> Reliability:
    """The reliability diagram as a table: confidence and accuracy in equal-width bins.

    Bin b is ``((b - 1) / bins, b / bins]``. A confidence within 2⁻⁴⁸ of an edge (rounding of
    softmax) counts as on the edge: 0.85 of 20 bins is in (0.80, 0.85].

    Args:
        logits: (n, K), or log-probabilities.
        labels: class indices (n,).
        bins: number of bins, ≥ 1.
        temperature: of the softmax, > 0.

    >>> table = reliability(torch.tensor([[0.9, 0.1], [0.7, 0.3]]).log(), torch.tensor([0, 1]), 4)
    >>> table.count.tolist(), table.accuracy[2:].tolist()
    ([0, 0, 1, 1], [0.0, 1.0])
    """
    edges = _equal_width(bins)
    p, right = _confidence(logits, labels, temperature)
    edges = edges.to(p.device)
    at = _bin_of(p, edges)
    count = torch.bincount(at, minlength=bins)
    return Reliability(
        low=edges[:-1],
        high=edges[1:],
        count=count,
        confidence=torch.bincount(at, p, minlength=bins) / count,
        accuracy=torch.bincount(at, right, minlength=bins) / count,
    )


@of_predictions
def ece(logits: Tensor, labels: Tensor, bins: int = BINS, *, temperature: float = 1.0) -> float:
    """Expected calibration error with equal-width bins, in [0, 1].

        Σ_b (n_b / n) · |accuracy_b - confidence_b|

    Source: Naeini et al. (2015), Guo et al. (2017); half-open bins, 20 of them: the paper's
    code.

    Args:
        logits: (n, K), or log-probabilities.
        labels: class indices (n,).
        bins: number of bins, ≥ 1. It changes the answer: state it.
        temperature: of the softmax, > 0.

    >>> logits = torch.tensor([[0.75, 0.25], [0.75, 0.25]]).log()
    >>> round(ece(logits, torch.tensor([0, 1])), 6)  # |0.5 - 0.75|
    0.25
    """
    at, gap = calibration_gaps(logits, labels, bins, temperature=temperature)
    return torch.bincount(at, gap).abs().sum().item() / len(gap)


@of_predictions
def calibration_gaps(
    logits: Tensor, labels: Tensor, bins: int = BINS, *, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """What :func:`ece` is made of, sample by sample: the bin of each, and its gap.

        ece = (1/n) Σ_b |Σ_{i in b} gap_i|,    gap_i = confidence_i - right_i

    Args:
        logits: (n, K), or log-probabilities.
        labels: class indices (n,).
        bins: number of bins, ≥ 1.
        temperature: of the softmax, > 0.

    Returns:
        Bins from 0, int64 (n,), and gaps, float64 (n,).
    """
    edges = _equal_width(bins)
    p, right = _confidence(logits, labels, temperature)
    return _bin_of(p, edges.to(p.device)), p - right


@of_predictions
def ece_with_bins(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """:func:`ece` and, beside it as always, its number of bins: ``ece`` and ``ece_bins``."""
    return {"ece": ece(logits, labels), "ece_bins": BINS}


@of_predictions
def ece_equal_mass(logits: Tensor, labels: Tensor, bins: int = BINS) -> float:
    """Expected calibration error with bins of equal numbers of samples, in [0, 1].

    As :func:`ece`, but bin b ends at the ⌈b n / bins⌉-th smallest confidence. Equal
    confidences stay together, so that the order of the samples does not matter; with many of
    them some bins are larger and others empty.

    Source: Nixon et al. (2019), Nguyen and O'Connor (2015).

    Args:
        logits: (n, K), or log-probabilities.
        labels: class indices (n,).
        bins: number of bins, ≥ 1.

    >>> logits = torch.tensor([[0.6, 0.4], [0.7, 0.3]]).log()
    >>> round(ece_equal_mass(logits, torch.tensor([0, 1]), bins=2), 6)  # (|1 - .6| + |0 - .7|) / 2
    0.55
    """
    _check_bins(bins)
    p, right = _confidence(logits, labels)
    gap = torch.bincount(_bin_of(p, _equal_mass(p, bins)), p - right)
    return gap.abs().sum().item() / len(p)


@of_predictions
def ece_classwise(logits: Tensor, labels: Tensor, bins: int = BINS) -> float:
    """Static calibration error, in [0, 1]: the binary ECE of each class, averaged over classes.

        (1/K) Σ_c Σ_b (n_bc / n) · |share of label c in bin - mean p_c in bin|

    Equal-width bins of the probability p_c, over all samples. The value shrinks as K grows,
    since most p_c are near 0: compare at equal K only.

    Source: Nixon et al. (2019), "static calibration error"; Kull et al. (2019), "classwise
    ECE".

    Args:
        logits: (n, K), or log-probabilities.
        labels: class indices (n,).
        bins: number of bins, ≥ 1.

    >>> round(ece_classwise(torch.tensor([[0.75, 0.25]]).log(), torch.tensor([0])), 6)
    0.25
    """
    edges = _equal_width(bins)
    checks.logits_matrix(logits)
    classes = logits.shape[1]
    gap = torch.zeros(classes * bins, dtype=torch.float64)

    def tally(f: Tensor, y: Tensor) -> Tensor:
        error = torch.softmax(f, 1)
        # Bin (c, b) has place c · bins + b.
        at = _bin_of(error, edges.to(f.device)) + bins * torch.arange(classes, device=f.device)
        error[torch.arange(len(y), device=y.device), y] -= 1
        gap.add_(torch.bincount(at.flatten(), error.flatten(), minlength=len(gap)).cpu())
        return y

    n = len(per_sample(tally, logits, labels))
    return gap.abs().sum().item() / (n * classes)


@of_predictions
def rms_calibration_debiased(logits: Tensor, labels: Tensor, bins: int = BINS) -> float:
    """Root-mean-square calibration error of the confidence, bias removed, in [0, 1].

        sqrt max(0, Σ_b (n_b / n) · [(conf_b - acc_b)² - acc_b (1 - acc_b) / (n_b - 1)])

    Bins of equal numbers of samples, as in :func:`ece_equal_mass`. The second term estimates
    the sampling variance of the accuracy acc_b, by which the plug-in estimate is too large,
    even for a perfectly calibrated model. A bin of one sample, where it is unknown, counts 0; NaN
    where no bin has two samples, as where there are no more samples than bins (but for ties).

    Source: Kumar, Liang and Ma (2019), the debiased ℓ2 estimator.

    Args:
        logits: (n, K), or log-probabilities.
        labels: class indices (n,).
        bins: number of bins, ≥ 1.

    >>> logits = torch.tensor([[0.9, 0.1]]).log().expand(4, 2)
    >>> round(rms_calibration_debiased(logits, torch.tensor([0, 1, 1, 1])), 6)
    0.6
    """
    _check_bins(bins)
    p, right = _confidence(logits, labels)
    at = _bin_of(p, _equal_mass(p, bins))
    count = torch.bincount(at).double()
    gap = torch.bincount(at, p - right) / count
    accuracy = torch.bincount(at, right) / count
    if not bool((count > 1).any()):
        return math.nan
    squares = gap.square() - accuracy * (1 - accuracy) / (count - 1)
    return (count * squares)[count > 1].sum().clamp(min=0).div(len(p)).sqrt().item()


def _confidence(logits: Tensor, labels: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Confidence and whether the prediction is right, float64, (n,) each."""

    def value(f: Tensor, y: Tensor) -> Tensor:
        # The class from the logits: confidences that saturate would be ties.
        predicted = f.argmax(1)
        confidence = at_label(torch.softmax(f, 1), predicted)
        return torch.stack([confidence, (predicted == y).double()], 1)

    p, right = per_sample(value, logits, labels, temperature).T.contiguous()
    return p, right


def _equal_width(bins: int) -> Tensor:
    _check_bins(bins)
    # b / bins, each rounded once: multiples of a rounded 1 / bins would drift off the edges.
    return torch.arange(bins + 1, dtype=torch.float64) / bins


def _equal_mass(p: Tensor, bins: int) -> Tensor:
    last = -(torch.arange(1, bins + 1, device=p.device) * -len(p) // bins) - 1  # ⌈b n / bins⌉ - 1
    return torch.cat([p.new_zeros(1), p.sort().values[last]])


def _bin_of(p: Tensor, edges: Tensor) -> Tensor:
    """Index of the bin (edges[b], edges[b + 1]] of each p; what is outside, in the nearest."""
    return torch.bucketize(p, edges[1:-1] + _ROUNDING)


def _check_bins(bins: int) -> None:
    checks.whole("bins", bins, 1)
