"""The same average smoothing for every method, so that methods differ only in how it is spread.

The amount of smoothing of a set of targets is ``ε = 1 - mean_i target_{i,y_i}`` (paper).
For Beta smoothing see :meth:`softprior.BetaPrior.matching`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from softprior import checks


def uniform_smoothing(smoothing: float, num_classes: int) -> float:
    """PyTorch's label smoothing s with true-class target ``1 - ε``: ``s = ε · K / (K - 1)``.

    Reaches ``ε = (K - 1) / K``, where s = 1 and every class has target 1 / K.

    PyTorch spreads ``s / K`` over all classes, the label included; the paper's code gives
    ``1 - ε`` to the label and ``ε / (K - 1)`` to every other class. The latter is also
    ``UniformPrior(ε, spread="others")``, which needs no K.

    >>> round(uniform_smoothing(0.15, 10), 6)
    0.166667
    """
    _amount(smoothing, num_classes)
    checks.number("smoothing", smoothing, 0, (num_classes - 1) / num_classes, open_low=True)
    return min(1.0, smoothing * num_classes / (num_classes - 1))


def true_class_smoothing(label_smoothing: float, num_classes: int) -> float:
    """The inverse of :func:`uniform_smoothing`: ``ε = s · (K - 1) / K``.

    >>> round(true_class_smoothing(uniform_smoothing(0.15, 10), 10), 12)
    0.15
    """
    _amount(label_smoothing, num_classes, "label_smoothing")
    return label_smoothing * (num_classes - 1) / num_classes


def teacher_smoothing(
    teacher_logits: Tensor, labels: Tensor, *, temperature: float, weight: float
) -> float:
    """Average smoothing of distillation, ``ε = weight · (1 - mean_i softmax(f_i / T)_{y_i})``."""
    checks.number("temperature", temperature, 0, open_low=True)
    checks.number("weight", weight, 0, open_low=True)
    checks.logits_matrix(teacher_logits, "teacher_logits")
    labels = checks.class_labels(teacher_logits, labels)
    if labels.is_floating_point():
        raise TypeError(f"matching wants class indices (n,), got {labels.dtype} labels")
    checks.finite_logits(teacher_logits, "teacher_logits")
    p = torch.softmax(teacher_logits.double() / temperature, -1)
    return weight * (1 - p.gather(1, labels.unsqueeze(1)).mean().item())


class UnreachableError(ValueError):
    """No temperature smooths by so much, or so little; ``nearest`` smooths by ``amount``."""

    def __init__(self, nearest: float, amount: float, message: str) -> None:
        super().__init__(message)
        self.nearest = nearest
        self.amount = amount


def teacher_temperature(
    teacher_logits: Tensor, labels: Tensor, *, smoothing: float, weight: float
) -> float:
    """The temperature at which a teacher's probabilities smooth by ``smoothing`` on average.

    Solves ``mean_i [(1 - w) + w · softmax(f_i / T)_{y_i}] = 1 - ε`` over a training set, by
    bisection on log T between 1e-3 and 1e4. Where the teacher is wrong about some samples the
    left side need not be monotone in T; the largest solution is taken, the one next to the
    uniform prior.

    Args:
        teacher_logits: the teacher's on the training set, (n, K).
        labels: class indices (n,).
        smoothing: ε, in (0, 1).
        weight: soft weight w = strength at label weight 1 - w.

    Raises:
        UnreachableError: where no temperature reaches ε; the message says which range is reachable.
            Under label noise a teacher's smoothing cannot fall below about w times its
            training error; and no teacher's can exceed ``w · (1 - 1/K)``.

    Source: paper (that smoothing is matched); the bisection: ours.

    >>> logits = torch.tensor([[4.0, 0.0], [0.0, 4.0]])
    >>> T = teacher_temperature(logits, torch.tensor([0, 1]), smoothing=0.15, weight=0.6)
    >>> round(teacher_smoothing(logits, torch.tensor([0, 1]), temperature=T, weight=0.6), 6)
    0.15
    """
    _amount(smoothing, teacher_logits.shape[-1] if teacher_logits.ndim == 2 else 2)
    checks.number("weight", weight, 0, open_low=True)

    def amount(log_t: float) -> float:
        return teacher_smoothing(teacher_logits, labels, temperature=math.exp(log_t), weight=weight)

    grid = [math.log(1e-3) + i * math.log(1e7) / 56 for i in range(57)]
    amounts = [amount(u) for u in grid]
    below = [e <= smoothing for e in amounts]
    crossings = [i for i in range(len(grid) - 1) if below[i] != below[i + 1]]
    if not crossings:
        gaps = [abs(e - smoothing) for e in amounts]
        # Of equally near ones the largest: it says most of how a teacher's classes are alike.
        nearest = max(u for u, gap in zip(grid, gaps, strict=True) if gap < min(gaps) + 1e-6)
        wrong = 1 - (teacher_logits.argmax(1) == labels).float().mean().item()
        raise UnreachableError(
            math.exp(nearest),
            amount(nearest),
            f"no temperature smooths by {smoothing:g} at weight {weight:g}: this teacher reaches "
            f"{min(amounts):.4g} to {max(amounts):.4g} (it is wrong about {wrong:.1%} of its "
            "training set); choose a smoothing in that range, or another weight",
        )
    last = crossings[-1]
    low, high = grid[last], grid[last + 1]
    while high - low > 1e-10:
        middle = (low + high) / 2
        low, high = (
            (middle, high) if (amount(middle) <= smoothing) == below[last] else (low, middle)
        )
    return math.exp((low + high) / 2)


def penalty_weight(smoothing: float, num_classes: int) -> float:
    """The confidence penalty's λ whose optimum on one sample is ``p = 1 - ε`` on the label.

    The loss ``-log p_y - λ H(p)`` is smallest, with ``(1 - p)/(K - 1)`` on every other class, where

        λ = 1 / (p · log(p (K - 1) / (1 - p))),    p = 1 - ε

    so that a network that fits every sample as well as the loss wants it is as smooth as with
    the other methods. Needs ``ε < (K - 1)/K``. Source: ours.

    >>> round(penalty_weight(0.15, 10), 4)
    0.2992
    """
    _amount(smoothing, num_classes)
    checks.number("smoothing", smoothing, 0, (num_classes - 1) / num_classes, open_low=True)
    p = 1 - smoothing
    odds = p * (num_classes - 1) / smoothing
    if odds <= 1:
        raise ValueError(
            f"smoothing must be below (K - 1)/K = {1 - 1 / num_classes:g}, got {smoothing!r}: no "
            "penalty makes the label less likely than the other classes"
        )
    return 1 / (p * math.log(odds))


def _amount(smoothing: float, num_classes: int, name: str = "smoothing") -> None:
    if not isinstance(num_classes, int) or num_classes < 2:
        raise ValueError(f"num_classes must be an integer of at least 2, got {num_classes!r}")
    checks.number(name, smoothing, 0, 1, open_low=True)
