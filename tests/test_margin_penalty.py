"""Margin-based label smoothing against its formula."""

from __future__ import annotations

import pytest
import torch

from softprior import PosteriorLoss
from softprior.penalties.margin import MarginPenalty

N, K = 9, 6


@pytest.mark.parametrize("margin", [0.0, 2.0, 10.0])
def test_formula(margin: float) -> None:
    """The slow way, in float64: sample by sample and class by class."""
    logits = (5 * torch.randn(N, K, dtype=torch.float64)).requires_grad_()
    labels = torch.randint(K, (N,))
    total = torch.zeros((), dtype=torch.float64)
    for f, y in zip(logits, labels, strict=True):
        total = total - (f[y] - f.exp().sum().log())
        for c in range(K):
            total = total + 0.1 / K * torch.clamp(max(f) - f[c] - margin, min=0)
    loss = PosteriorLoss(penalty=MarginPenalty(0.1, margin))(logits, labels)
    torch.testing.assert_close(loss, total / N)
    slopes = [torch.autograd.grad(x, logits)[0] for x in (loss, total / N)]
    torch.testing.assert_close(*slopes)


def test_logits_within_the_margin_cost_nothing() -> None:
    logits = 2 * torch.rand(N, K, dtype=torch.float64)
    labels = torch.randint(K, (N,))
    plain = PosteriorLoss(reduction="none")(logits, labels)
    penalised = PosteriorLoss(penalty=MarginPenalty(0.1, 2.0), reduction="none")(logits, labels)
    assert torch.equal(plain, penalised)


def test_a_margin_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match=r"margin must be a number in \[0"):
        MarginPenalty(margin=-1)
