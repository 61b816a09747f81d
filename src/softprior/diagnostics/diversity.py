"""Confidence diversity: the differential entropy of the probability of the true class."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from softprior import checks
from softprior.diagnostics._given import of_predictions
from softprior.diagnostics._rows import per_sample
from softprior.margin import label_margin

_ROUNDING = 2.0**-50  # four units in the last place of float64, relative


@of_predictions
def confidence_diversity(logits: Tensor, labels: Tensor, k: int = 3) -> float:
    """Differential entropy of the probability c of the true class, in nats.

        h(C) = -∫ p(c) log p(c) dc

    At most 0, which is the value for c uniform on (0, 1). Estimated where confidence does not
    saturate, on the margin s = log c - log(1 - c), with the k-nearest-neighbour estimator of
    Kozachenko and Leonenko, and then transformed:

        h(S) = ψ(n) - ψ(k) + log 2 + (1/n) Σ_i log ε_i
        h(C) = h(S) + (1/n) Σ_i [log c_i + log(1 - c_i)]

    ε_i is the distance from s_i to its k-th nearest neighbour; dc/ds = c (1 - c). The
    sampling standard deviation is about .005 at n = 50,000. O(n log n).

    A sample whose k nearest neighbours have its very margin has ε = 0, and one such sample
    makes the mean, and so the result, ``-inf``: confidence then has atoms and no density.
    Constant confidence (plain label smoothing) is the extreme case. :func:`tied_share` says how
    many samples share their margin with another. Nothing is jittered or clipped, which would
    choose the answer. Margins that differ by no more than the rounding of float64 are equal;
    those that differ by float32 rounding are not, and constant confidence that has passed through a
    float32 log-softmax may come out as -15 instead of ``-inf``.

    Source: paper (the quantity, and that a k-NN estimator is used); Kozachenko and
    Leonenko (1987); the estimate in margin space: ours.

    Args:
        logits: (n, K), or log-probabilities.
        labels: class indices (n,).
        k: which neighbour, ≥ 1.

    Returns:
        NaN where n ≤ k: there is no k-th neighbour.

    >>> c = torch.rand(20_000, generator=torch.Generator().manual_seed(0))  # uniform: h = 0
    >>> logits = torch.stack([c, 1 - c], 1).log()
    >>> abs(confidence_diversity(logits, torch.zeros(20_000, dtype=torch.long))) < 0.05
    True
    """
    checks.whole("k", k, 1)
    s = per_sample(label_margin, logits, labels)
    n = len(s)
    if n <= k:
        return math.nan
    psi_n, psi_k = torch.digamma(torch.tensor([n, k], dtype=torch.float64)).tolist()
    h = psi_n - psi_k + math.log(2) + _neighbour_distance(s, k).log().mean().item()
    softplus = torch.nn.functional.softplus
    log_slope = -softplus(-s) - softplus(s)  # log c + log(1 - c)
    return float(h + log_slope.mean().item())


@of_predictions
def tied_share(logits: Tensor, labels: Tensor) -> float:
    """Share of samples whose margin is that of another sample, in [0, 1].

        (1/n) #{i : s_i = s_j for some j ≠ i}

    Equal up to the rounding of float64. Beside :func:`confidence_diversity`: more than k
    samples at one margin make that -inf.
    Source: ours.

    Args:
        logits: (n, K), or log-probabilities.
        labels: class indices (n,).

    >>> tied_share(torch.tensor([[1.0, 0], [1.0, 0], [2.0, 0], [3.0, 0]]), torch.zeros(4).long())
    0.5
    """
    s = per_sample(label_margin, logits, labels)
    return (_neighbour_distance(s, 1) == 0).double().mean().item()


@of_predictions
def saturated_share(logits: Tensor, labels: Tensor) -> float:
    """Share of samples whose true class has probability ≥ 1 - 2⁻²⁴, in [0, 1].

        (1/n) #{i : 1 - c_i ≤ 2⁻²⁴}

    There float32 has no number left between c and 1: their confidences are all but ties when
    predictions are stored as float32 probabilities. Source: ours.

    Args:
        logits: (n, K), or log-probabilities.
        labels: class indices (n,).

    >>> saturated_share(torch.tensor([[20.0, 0.0], [10.0, 0.0]]), torch.tensor([0, 0]))
    0.5
    """
    s = per_sample(label_margin, logits, labels)
    return (torch.sigmoid(-s) <= 2.0**-24).double().mean().item()


def _neighbour_distance(x: Tensor, k: int) -> Tensor:
    """Distance of each x_i to its k-th nearest neighbour (n,), in the order of sorted x.

    Infinite where there is none; 0 where it is below the rounding of a margin.
    """
    x = x.sort().values
    n = len(x)
    # The k nearest of x_i are a run of k + 1 sorted neighbours that holds x_i: j of them below
    # it, k - j above. Of all such runs the nearest end farthest out is the smallest.
    distance = torch.full_like(x, torch.inf)
    for j in range(k + 1):
        held = x[j : n - k + j]
        farthest = torch.maximum(held - x[: n - k], x[k:] - held)
        distance[j : n - k + j] = torch.minimum(distance[j : n - k + j], farthest)
    # Equal predictions whose classes come in another order differ by rounding of logsumexp, a
    # few units in the last place; without this, atoms would pass for a very narrow density.
    return distance.masked_fill(distance <= _ROUNDING * x.abs().clamp(min=1), 0.0)
