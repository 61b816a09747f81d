"""The identities behind the methods, each as the largest absolute difference of its two sides.

All in float64, over the samples of one batch. A prior here is that of the MAP objective (label
weight 1, strength β); random ones draw from a generator of their own, the same for both sides.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Categorical, Dirichlet

from softprior import Batch, posterior_loss, soft_labels
from softprior.counts import dense_counts
from softprior.priors import Prior, TeacherPrior, UniformPrior

TEMPERATURES = tuple(10.0**k for k in range(7))
SMOOTHING = 0.15
STEPS = 100  # of Newton's method; its last few square the error each


def drawn(samples: int, classes: int, seed: int) -> Tensor:
    """Student logits (B, K), N(0, 3²)."""
    g = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(samples, classes, generator=g, dtype=torch.float64)


def counts_of(prior: Prior, labels: Tensor, teacher_logits: Tensor) -> Tensor:
    """The prior's pseudo-counts, dense (B, K)."""
    teacher_logits = teacher_logits.double()
    batch = Batch(
        teacher_logits, labels, teacher_logits, generator=torch.Generator().manual_seed(0)
    )
    return dense_counts(prior(batch), labels, teacher_logits.shape[1], teacher_logits.dtype)


def posterior(
    prior: Prior, logits: Tensor, labels: Tensor, teacher_logits: Tensor
) -> dict[str, float]:
    """``posterior_loss`` against the negative log posterior, and their gradients in the logits.

    -log Categorical(y; z) - log Dirichlet(z; α) + log Γ(Σ α) - Σ log Γ(α),   α = 1 + counts
    """
    counts = counts_of(prior, labels, teacher_logits)
    logits = logits.clone().requires_grad_()
    ours = posterior_loss(logits, labels, counts, reduction="none")
    # Rounded rows miss a sum of 1 by more than the check of the support allows.
    dirichlet: Any = Dirichlet(1 + counts, validate_args=False)
    categorical: Any = Categorical(logits=logits)
    theirs = -categorical.log_prob(labels) - dirichlet.log_prob(logits.softmax(1))
    theirs = theirs + (1 + counts).sum(1).lgamma() - (1 + counts).lgamma().sum(1)
    slopes = [torch.autograd.grad(loss.sum(), logits)[0] for loss in (ours, theirs)]
    return {"loss": _difference(ours, theirs), "gradient": _difference(*slopes)}


def usual_mix(prior: Prior, logits: Tensor, labels: Tensor, teacher_logits: Tensor) -> float:
    """The MAP objective against ``[(1 - w) CE(y, z) + w CE(π, z)] / (1 - w)``, w = β / (1 + β)."""
    counts = counts_of(prior, labels, teacher_logits)
    w = prior.strength / (1 + prior.strength)
    π = counts / prior.strength
    hard = F.cross_entropy(logits, labels, reduction="none")
    soft = F.cross_entropy(logits, π, reduction="none")
    ours = posterior_loss(logits, labels, counts, reduction="none")
    return _difference(ours, ((1 - w) * hard + w * soft) / (1 - w))


def pytorch_smoothing(logits: Tensor, labels: Tensor, s: float = SMOOTHING) -> float:
    """The MAP objective of a uniform prior against PyTorch's label smoothing over 1 - s."""
    ours = posterior_loss(
        logits, labels, counts_of(UniformPrior(s / (1 - s)), labels, logits), reduction="none"
    )
    theirs = F.cross_entropy(logits, labels, label_smoothing=s, reduction="none")
    return _difference(ours, theirs / (1 - s))


def hot_teacher(
    logits: Tensor, labels: Tensor, teacher_logits: Tensor, temperature: float, s: float = SMOOTHING
) -> float:
    """Self-distillation at ``temperature`` against label smoothing of the same strength."""
    strength = s / (1 - s)
    losses = [
        posterior_loss(logits, labels, counts_of(prior, labels, teacher_logits), reduction="none")
        for prior in (TeacherPrior(strength, temperature), UniformPrior(strength))
    ]
    return _difference(*losses)


def optimum(prior: Prior, labels: Tensor, teacher_logits: Tensor) -> float:
    """Probabilities where optimisation ends, against ``soft_labels`` and the Dirichlet's mode."""
    counts = counts_of(prior, labels, teacher_logits)
    logits = torch.zeros_like(counts, requires_grad=True)
    weight = 1 + counts.sum(1, keepdim=True)
    for _ in range(STEPS):
        loss = posterior_loss(logits, labels, counts, reduction="sum")
        (slope,) = torch.autograd.grad(loss, logits)
        with torch.no_grad():
            # Newton's step: the Hessian is weight · (diag z - z zᵀ), and the slope sums to 0.
            logits -= (slope / (weight * logits.softmax(1))).clamp(-1, 1)
    reached = logits.detach().softmax(1)
    onehot = F.one_hot(labels, counts.shape[1])
    mode = Dirichlet(1 + counts + onehot).mode
    return max(_difference(reached, soft_labels(labels, counts)), _difference(reached, mode))


def _difference(ours: Tensor, theirs: Tensor) -> float:
    """Infinite where one side is NaN, which no comparison would find too large."""
    return (ours - theirs).abs().nan_to_num(nan=math.inf).max().item()
