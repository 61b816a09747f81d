"""Selective prediction: whether a model that may abstain would abstain where it is wrong.

Of n samples the k most confident are answered: coverage k / n, and risk is the error rate among
them. Confidence is the largest probability of a prediction, ranked by its log-odds, which do not
saturate: in float32 a third of the probabilities of a well-trained network round to 1.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from softprior import checks
from softprior.diagnostics._given import of_predictions
from softprior.diagnostics._rows import per_sample
from softprior.margin import label_margin

# Equal predictions whose classes come in another order differ by rounding of logsumexp.
_ROUNDING = 2.0**-50


class RiskCoverage(NamedTuple):
    """One row per point, all (points,): risk and lowest confidence at that coverage."""

    coverage: Tensor
    risk: Tensor
    confidence: Tensor


@of_predictions
def risk_coverage(logits: Tensor, labels: Tensor, points: int = 200) -> RiskCoverage:
    """The risk-coverage curve, at about ``points`` coverages k / n that end in 1.

        risk(k / n) = (1/k) Σ_{i among the k most confident} [argmax_c f_ic ≠ y_i]

    Among samples of equal confidence the risk is its mean over all their orders, so that none of
    them matters. ``confidence`` is the threshold: answer where the largest probability is at
    least this.

    Source: El-Yaniv and Wiener (2010); ties: ours.

    Args:
        logits: (n, K), or log-probabilities.
        labels: class indices (n,).
        points: how many, ≥ 1; all n where there are no more.

    >>> curve = risk_coverage(torch.tensor([[3.0, 0], [2.0, 0], [1.0, 0]]), torch.tensor([0, 1, 0]))
    >>> [round(r, 4) for r in curve.risk.tolist()]
    [0.0, 0.5, 0.3333]
    """
    checks.whole("points", points, 1)
    margin, wrong = _ranked(logits, labels)
    n = len(wrong)
    risk = _risk(wrong)
    count = min(points, n)
    # Integers: the k of j / count, rounded up, are exact and end in n.
    k = -(torch.arange(1, count + 1, device=risk.device) * -n // count)
    return RiskCoverage(k.double() / n, risk[k - 1], torch.sigmoid(margin[k - 1]))


@of_predictions
def aurc(logits: Tensor, labels: Tensor) -> float:
    """Area under the risk-coverage curve, in [0, 1]: lower is better.

        (1/n) Σ_k risk(k / n)

    The error rate if confidence says nothing about errors; near 0 if errors come last, as far as
    there are few of them: :func:`excess_aurc` takes that part off.

    Source: Geifman and El-Yaniv (2017); ties as in :func:`risk_coverage`: ours.

    Args:
        logits: (n, K), or log-probabilities.
        labels: class indices (n,).

    >>> logits = torch.tensor([[3.0, 0], [2.0, 0], [1.0, 0]])
    >>> round(aurc(logits, torch.tensor([0, 1, 0])), 4)  # (0 + 1/2 + 1/3) / 3
    0.2778
    """
    _, wrong = _ranked(logits, labels)
    return _risk(wrong).mean().item()


@of_predictions
def excess_aurc(logits: Tensor, labels: Tensor) -> float:
    """E-AURC: :func:`aurc` minus that of the best order of the same predictions, in [0, 1].

        aurc - (1/n) Σ_{j=1..m} j / (n - m + j),   m errors among n samples

    0 where every error is less confident than every right answer. Accuracy is taken out of it:
    it is the order of the confidences that is judged.

    Source: Geifman, Uziel and El-Yaniv (2019), who approximate the sum by
    ``r + (1 - r) log(1 - r)`` with r = m / n; here it is exact.

    Args:
        logits: (n, K), or log-probabilities.
        labels: class indices (n,).

    >>> logits = torch.tensor([[3.0, 0], [2.0, 0], [1.0, 0]])
    >>> round(excess_aurc(logits, torch.tensor([0, 1, 0])), 4)  # 0.2778 - (0 + 0 + 1/3) / 3
    0.1667
    """
    _, wrong = _ranked(logits, labels)
    errors = round(wrong.sum().item())
    last = torch.zeros_like(wrong)
    last[len(last) - errors :] = 1
    # Rounding leaves -1e-17 where the order is the best one.
    return max(0.0, (_risk(wrong) - _risk(last)).mean().item())


def _risk(wrong: Tensor) -> Tensor:
    """Mean of the first k entries, for each k (n,)."""
    k = torch.arange(1, len(wrong) + 1, dtype=wrong.dtype, device=wrong.device)
    return wrong.cumsum(0) / k


def _ranked(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Log-odds of the predictions, falling, and how wrong each is, float64 (n,) each.

    Equally confident samples share their errors evenly: the mean over all their orders.
    """

    def value(f: Tensor, y: Tensor) -> Tensor:
        predicted = f.argmax(1)
        return torch.stack([label_margin(f, predicted), (predicted != y).double()], 1)

    margin, wrong = per_sample(value, logits, labels).T.contiguous()
    margin, order = margin.sort(descending=True)
    step = margin[:-1] - margin[1:] > _ROUNDING * margin[1:].abs().clamp(min=1)
    group = torch.cat([step.new_zeros(1), step]).long().cumsum(0)
    share = torch.bincount(group, wrong[order]) / torch.bincount(group)
    return margin, share[group]
