"""MaxSup against its formula, and as signed counts."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from softprior import PosteriorLoss, Sparse, TwoLevel, posterior_loss
from softprior.penalties.maxsup import MaxSup

N, K = 9, 6


@pytest.mark.parametrize("weight", [0.0, 0.1, 1.5])
def test_formula(weight: float) -> None:
    """The slow way, in float64: sample by sample and class by class."""
    logits = (3 * torch.randn(N, K, dtype=torch.float64)).requires_grad_()
    labels = torch.randint(K, (N,))
    total = torch.zeros((), dtype=torch.float64)
    for f, y in zip(logits, labels, strict=True):
        cross_entropy = -(f[y] - f.exp().sum().log())
        total = total + cross_entropy + weight * (max(f) - sum(f) / K)
    loss = PosteriorLoss(penalty=MaxSup(weight))(logits, labels)
    torch.testing.assert_close(loss, total / N)
    slopes = [torch.autograd.grad(x, logits)[0] for x in (loss, total / N)]
    torch.testing.assert_close(*slopes)


@pytest.mark.parametrize("weight", [0.1, 1.5])
def test_signed_counts_are_the_same(weight: float) -> None:
    """w/K on every class, and w less on the likeliest."""
    logits = (3 * torch.randn(N, K, dtype=torch.float64)).requires_grad_()
    labels = torch.randint(K, (N,))
    top = logits.detach().argmax(1, keepdim=True)
    counts = Sparse(top, torch.full((N, 1), weight / K - weight, dtype=torch.float64), weight / K)
    ours = PosteriorLoss(penalty=MaxSup(weight), reduction="none")(logits, labels)
    theirs = posterior_loss(logits, labels, counts, reduction="none", signed=True)
    torch.testing.assert_close(ours, theirs)
    slopes = [torch.autograd.grad(x.sum(), logits)[0] for x in (ours, theirs)]
    torch.testing.assert_close(*slopes)
    with pytest.raises(ValueError, match=r"counts\.values must be finite and ≥ 0"):
        posterior_loss(logits, labels, counts)


def test_label_smoothing_is_the_same_where_the_network_is_right() -> None:
    """CE + w (f_y - mean f) is label smoothing by w."""
    logits = 3 * torch.randn(N, K, dtype=torch.float64)
    ours = PosteriorLoss(penalty=MaxSup(0.2), reduction="none")
    right = logits.argmax(1)
    smoothed = F.cross_entropy(logits, right, label_smoothing=0.2, reduction="none")
    torch.testing.assert_close(ours(logits, right), smoothed)
    wrong = (right + 1) % K
    smoothed = F.cross_entropy(logits, wrong, label_smoothing=0.2, reduction="none")
    assert (ours(logits, wrong) > smoothed).all()
    signed = TwoLevel(0.2 / K - 0.2, 0.2 / K)
    ls = posterior_loss(logits, wrong, signed, reduction="none", signed=True)
    torch.testing.assert_close(ls, smoothed)
