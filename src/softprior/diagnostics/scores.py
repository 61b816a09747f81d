"""Scores: how good the predictions are."""

from __future__ import annotations

import torch
from torch import Tensor

from softprior.diagnostics._given import of_predictions
from softprior.diagnostics._rows import at_label, per_sample


@of_predictions
def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of samples whose largest logit is the label's, in [0, 1].

        (1/n) Σ_i [argmax_c f_ic = y_i]

    Among equal largest logits the first class is the prediction.

    Args:
        logits: (n, K), or log-probabilities.
        labels: class indices (n,).

    >>> accuracy(torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1]))
    0.5
    """
    return per_sample(lambda f, y: (f.argmax(1) == y).double(), logits, labels).mean().item()


@of_predictions
def nll(logits: Tensor, labels: Tensor, *, temperature: float = 1.0) -> float:
    """Negative log-likelihood of the labels, in nats per sample: cross-entropy.

        -(1/n) Σ_i log softmax(f_i / T)_{y_i}

    From log-softmax, never from log(softmax): finite however small the probability is.

    Args:
        logits: (n, K), or log-probabilities.
        labels: class indices (n,).
        temperature: T, > 0.

    >>> round(nll(torch.zeros(1, 4), torch.tensor([2])), 4)  # log 4
    1.3863
    """

    def value(f: Tensor, y: Tensor) -> Tensor:
        return -at_label(torch.log_softmax(f, 1), y)

    return per_sample(value, logits, labels, temperature).mean().item()


@of_predictions
def brier(logits: Tensor, labels: Tensor) -> float:
    """Brier score, in [0, 2]: squared error summed over classes, averaged over samples.

        (1/n) Σ_i Σ_c (p_ic - [c = y_i])²

    Source: Brier (1950), whose sum runs over all K classes; for K = 2 it is twice the binary
    score.

    Args:
        logits: (n, K), or log-probabilities.
        labels: class indices (n,).

    >>> brier(torch.zeros(1, 2), torch.tensor([0]))
    0.5
    """

    def value(f: Tensor, y: Tensor) -> Tensor:
        error = torch.softmax(f, 1)
        error[torch.arange(len(y), device=y.device), y] -= 1
        return error.square().sum(1)

    return per_sample(value, logits, labels).mean().item()
