"""The losses by the names the field knows, for whoever wants no theory."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from softprior import checks
from softprior.criterion import PosteriorLoss
from softprior.penalties import ConfidencePenalty
from softprior.posterior import Reduction
from softprior.priors import BetaPrior, TeacherPrior, UniformPrior


def label_smoothing(
    smoothing: float = 0.15,
    *,
    spread: Literal["all", "others"] = "all",
    reduction: Reduction = "mean",
    ignore_index: int = -100,
    class_weight: Tensor | None = None,
    class_dim: int | None = None,
) -> PosteriorLoss:
    """Label smoothing: ``smoothing / K`` on every class, the rest on the label.

        loss = (1 - s) · CE(y, z) + s · CE(1/K, z)

    The same as ``nn.CrossEntropyLoss(label_smoothing=smoothing)``. ``spread="others"`` is the
    paper's code: ``1 - smoothing`` on the label, ``smoothing / (K - 1)`` on every other class.

    >>> label_smoothing(0.15)
    PosteriorLoss(UniformPrior(strength=0.15, spread='all'), label_weight=0.85, reduction='mean')
    """
    checks.number("smoothing", smoothing, 0, 1)
    return PosteriorLoss(
        UniformPrior(smoothing, spread),
        label_weight=1 - smoothing,
        reduction=reduction,
        ignore_index=ignore_index,
        class_weight=class_weight,
        class_dim=class_dim,
    )


def self_distillation(
    temperature: float = 4.0,
    weight: float = 0.4,
    *,
    weighting: Literal["none", "map"] = "none",
    reduction: Reduction = "mean",
    ignore_index: int = -100,
    class_weight: Tensor | None = None,
    class_dim: int | None = None,
) -> PosteriorLoss:
    """(Self-)distillation with the usual mix; call it with ``teacher_logits`` as third argument.

        loss = (1 - w) · CE(y, z) + w · CE(softmax(teacher_logits / T), z)

    Under much label noise the best weight is above 1 (Das & Sanghavi, ICML 2023): up to 2 it may
    be. The label then counts against itself, and the loss has no lower bound for samples to
    whose label the teacher gives less than ``(w - 1) / w``.

    >>> self_distillation(temperature=4.0, weight=0.4).label_weight
    0.6
    """
    _no_class_weights(weight)
    checks.number("weight", weight, 0, 2)
    return PosteriorLoss(
        TeacherPrior(weight, temperature, weighting),
        label_weight=1 - weight,
        reduction=reduction,
        ignore_index=ignore_index,
        class_weight=class_weight,
        class_dim=class_dim,
    )


def beta_smoothing(
    smoothing: float = 0.15,
    weight: float = 0.6,
    *,
    draw: Literal["random", "quantile"] = "random",
    among: Literal["global", "local", "running"] = "global",
    reduction: Reduction = "mean",
    ignore_index: int = -100,
    class_weight: Tensor | None = None,
    class_dim: int | None = None,
    seed: int = 0,
) -> PosteriorLoss:
    """Beta smoothing (teacher-free) with an average true-class target of ``1 - smoothing``.

        loss = (1 - w) · CE(y, z) + w · CE(π, z),   π: b on the label, (1-b)/(K-1) elsewhere,
        b ~ Beta(w/smoothing - 1, 1), handed out in order of confidence

    Without a third argument samples are ranked by the student's own logits; pass an EMA's or
    a memory's ``teacher_logits`` to rank by theirs. The draws come from the criterion's own
    generator, which ``torch.manual_seed`` does not touch: pass ``seed=...`` for those of
    another run. Batches of a few samples rank too few: pass ``among="running"``.

    >>> beta_smoothing(0.15, weight=0.6).prior
    BetaPrior(strength=0.6, a=3.0, draw='random', order='intact', among='global')
    """
    _no_class_weights(weight)
    checks.number("weight", weight, 0, 1, open_low=True)
    return PosteriorLoss(
        BetaPrior.matching(smoothing, strength=weight, draw=draw, among=among),
        label_weight=1 - weight,
        reduction=reduction,
        ignore_index=ignore_index,
        class_weight=class_weight,
        class_dim=class_dim,
        seed=seed,
    )


def confidence_penalty(
    weight: float = 0.1,
    *,
    reduction: Reduction = "mean",
    ignore_index: int = -100,
    class_weight: Tensor | None = None,
    class_dim: int | None = None,
) -> PosteriorLoss:
    """Cross-entropy minus a multiple of the entropy of the prediction (no Dirichlet prior).

        loss = CE(y, z) - weight · H(z),    H(z) = -Σ_c z_c log z_c   in nats

    Source: Pereyra et al. 2017; a baseline of the paper's official code.

    >>> import torch
    >>> loss = confidence_penalty(0.1)(torch.zeros(1, 2), torch.tensor([0]))
    >>> round(loss.item(), 4)  # 0.9 · ln 2
    0.6238
    """
    _no_class_weights(weight)
    return PosteriorLoss(
        penalty=ConfidencePenalty(weight),
        reduction=reduction,
        ignore_index=ignore_index,
        class_weight=class_weight,
        class_dim=class_dim,
    )


def _no_class_weights(weight: object) -> None:
    """``weight`` is torch's name for what is ``class_weight`` here."""
    if isinstance(weight, (Tensor, list, tuple)):
        raise TypeError(
            "weight is how much the imaginary labels weigh, one number; the weights of the "
            "classes, nn.CrossEntropyLoss(weight=…), are class_weight=…"
        )
