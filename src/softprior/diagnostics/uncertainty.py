"""Uncertainty: how spread out a prediction is, and how much confidence varies."""

from __future__ import annotations

import torch
from torch import Tensor

from softprior.diagnostics._given import of_predictions
from softprior.diagnostics._rows import at_label, per_sample


@of_predictions
def predictive_uncertainty(logits: Tensor, labels: Tensor) -> float:
    """Mean Shannon entropy of the predictions, in nats, in [0, log K].

        (1/n) Σ_i H(p_i),   H(p) = -Σ_c p_c log p_c

    The labels are not used. Source: paper, where it is measured on the training
    set of the model that serves as teacher.

    Args:
        logits: (n, K), or log-probabilities.
        labels: class indices (n,).

    >>> round(predictive_uncertainty(torch.zeros(1, 4), torch.tensor([0])), 4)  # log 4
    1.3863
    """

    def value(f: Tensor, y: Tensor) -> Tensor:
        log_p = torch.log_softmax(f, 1)
        return -(log_p.exp() * log_p).sum(1)

    # Rounding leaves -1e-17 where a prediction is certain.
    return max(0.0, per_sample(value, logits, labels).mean().item())


@of_predictions
def confidence_variance(logits: Tensor, labels: Tensor) -> float:
    """Variance of the probability of the true class, in [0, 1/4].

        (1/n) Σ_i (c_i - mean c)²,   c_i = softmax(f_i)_{y_i}

    The population variance (divided by n, not n - 1): the samples are the set that is
    described, and one sample has variance 0. Source: the authors' answer to the paper's reviewers,
    as an alternative to the entropy of c, :func:`confidence_diversity`, which is the paper's.

    Args:
        logits: (n, K), or log-probabilities.
        labels: class indices (n,).

    >>> logits = torch.tensor([[0.75, 0.25], [0.25, 0.75]]).log()
    >>> round(confidence_variance(logits, torch.tensor([0, 0])), 6)  # of 0.75 and 0.25
    0.0625
    """
    c = per_sample(lambda f, y: at_label(torch.softmax(f, 1), y), logits, labels)
    return c.var(correction=0).item()
