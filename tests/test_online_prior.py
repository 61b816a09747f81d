"""Online label smoothing against its formula, over epochs."""

from __future__ import annotations

import pytest
import torch

from softprior import PosteriorLoss
from softprior.priors.online import OnlinePrior

N, K = 12, 4


@pytest.mark.parametrize("strength", [0.5, 0.2])
def test_formula_over_three_epochs(strength: float) -> None:
    """The slow way: means of softmax by class over the right answers of the epoch before."""
    criterion = PosteriorLoss(OnlinePrior(strength), num_classes=K)
    means = torch.full((K, K), 1 / K, dtype=torch.float64)
    for _ in range(3):
        right: dict[int, list[torch.Tensor]] = {}
        for _ in range(4):
            logits = (2 * torch.randn(N, K, dtype=torch.float64)).requires_grad_()
            labels = torch.randint(K - 1, (N,))  # the last class has no sample
            total = torch.zeros((), dtype=torch.float64)
            for f, y in zip(logits, labels.tolist(), strict=True):
                log_z = f - f.exp().sum().log()
                total = total - (1 - strength) * log_z[y]
                for c in range(K):
                    total = total - strength * means[y, c] * log_z[c]
                if f.argmax() == y:
                    right.setdefault(y, []).append(log_z.detach().exp())
            loss = criterion(logits, labels)
            torch.testing.assert_close(loss, total / N, rtol=1e-6, atol=1e-6)
            slopes = [torch.autograd.grad(x, logits)[0] for x in (loss, total / N)]
            torch.testing.assert_close(*slopes, rtol=1e-6, atol=1e-6)
        criterion.end_epoch()
        for y, predictions in right.items():
            means[y] = torch.stack(predictions).mean(0)
    assert len(right) == K - 1
    table = criterion.states["prior"].means
    torch.testing.assert_close(table.double(), means, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(table[K - 1], torch.full((K,), 1 / K))  # kept as it was


def test_evaluation_remembers_nothing() -> None:
    criterion = PosteriorLoss(OnlinePrior(), num_classes=K).eval()
    criterion(torch.eye(K), torch.arange(K))
    assert not criterion.states["prior"].right.any()


def test_classes_must_be_known() -> None:
    with pytest.raises(ValueError, match=r"PosteriorLoss\(OnlinePrior\(\), num_classes=K\)"):
        PosteriorLoss(OnlinePrior())
    with pytest.raises(ValueError, match="num_classes is 5, and the logits have 4"):
        PosteriorLoss(OnlinePrior(), num_classes=5)(torch.eye(K), torch.arange(K))
