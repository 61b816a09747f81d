"""Hyper-parameters at which every method smooths by the same amount on average.

The amount of smoothing is what the targets take from the label on average:
``ε = 1 - mean_i target_{i,y_i}`` (paper). At an equal amount, methods differ only in how they
spread it over samples and classes. For Beta smoothing see :meth:`softprior.BetaPrior.matching`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from softprior import checks, devices
from softprior.labels import class_labels


def uniform_smoothing(smoothing: float, num_classes: int) -> float:
    """PyTorch's ``label_smoothing`` s whose true-class target is 1 - ε: ``s = ε · K / (K - 1)``.

    PyTorch gives ``s / K`` to every class, the label included. The paper's code gives ``1 - ε``
    to the label and ``ε / (K - 1)`` to every other class: the same targets, which
    ``UniformPrior(ε, spread="others")`` makes without knowing K. The largest ε is
    ``(K - 1) / K``: then s = 1 and every class has target 1 / K.

    >>> round(uniform_smoothing(0.15, 10), 6)
    0.166667
    """
    _check_amount(smoothing, num_classes)
    checks.number("smoothing", smoothing, 0, (num_classes - 1) / num_classes, open_low=True)
    return min(1.0, smoothing * num_classes / (num_classes - 1))


def true_class_smoothing(label_smoothing: float, num_classes: int) -> float:
    """The amount ε of PyTorch's ``label_smoothing`` s: ``ε = s · (K - 1) / K``.

    The inverse of :func:`uniform_smoothing`.

    >>> round(true_class_smoothing(uniform_smoothing(0.15, 10), 10), 12)
    0.15
    """
    _check_amount(label_smoothing, num_classes, "label_smoothing")
    return label_smoothing * (num_classes - 1) / num_classes


def teacher_smoothing(
    teacher_logits: Tensor, labels: Tensor, *, temperature: float, weight: float
) -> float:
    """Average smoothing of distillation, ``ε = weight · (1 - mean_i softmax(f_i / T)_{y_i})``."""
    checks.number("temperature", temperature, 0, open_low=True)
    checks.number("weight", weight, 0, open_low=True)
    checks.logits_matrix(teacher_logits, "teacher_logits")
    checks.on_device(teacher_logits, "teacher_logits")
    labels = class_labels(teacher_logits, labels)
    if labels.is_floating_point():
        raise TypeError(f"matching wants class indices (n,), got {labels.dtype} labels")
    checks.finite_logits(teacher_logits, "teacher_logits")
    p = torch.softmax(devices.float64_of(teacher_logits) / temperature, -1)
    return weight * (1 - p.gather(1, labels.to(p.device).unsqueeze(1)).mean().item())


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

    Solves ``mean_i [(1 - w) + w · softmax(f_i / T)_{y_i}] = 1 - ε`` over a training set for T in
    [1e-3, 1e4]. Where the teacher is wrong about some samples there may be several solutions; the
    largest is taken, whose targets are the closest to uniform ones.

    Args:
        teacher_logits: the teacher's logits f on the training set, (n, K).
        labels: class indices y, (n,).
        smoothing: the amount ε, in (0, 1).
        weight: the weight w of the soft target; the label has weight 1 - w.

    Raises:
        UnreachableError: where no temperature reaches ε; the message says which range is reachable.
            As T falls, the amount tends to w times the teacher's training error (large under
            label noise); as T grows, to ``w · (1 - 1/K)``.

    Source: the paper for matching the amounts; the algorithm is ours.

    >>> logits = torch.tensor([[4.0, 0.0], [0.0, 4.0]])
    >>> T = teacher_temperature(logits, torch.tensor([0, 1]), smoothing=0.15, weight=0.6)
    >>> round(teacher_smoothing(logits, torch.tensor([0, 1]), temperature=T, weight=0.6), 6)
    0.15
    """
    checks.logits_matrix(teacher_logits, "teacher_logits")
    _check_amount(smoothing, teacher_logits.shape[1])
    checks.number("weight", weight, 0, open_low=True)

    def amount_at(log_t: float) -> float:
        return teacher_smoothing(teacher_logits, labels, temperature=math.exp(log_t), weight=weight)

    # A grid over log T finds the intervals in which the amount crosses ε: eight steps per decade.
    grid = [math.log(1e-3) + i * math.log(1e7) / 56 for i in range(57)]
    amounts = [amount_at(log_t) for log_t in grid]
    reached = [amount <= smoothing for amount in amounts]
    crossings = [i for i in range(len(grid) - 1) if reached[i] != reached[i + 1]]
    if not crossings:
        gaps = [abs(e - smoothing) for e in amounts]
        # Of equally near ones the largest: it says most of how a teacher's classes are alike.
        nearest = max(u for u, gap in zip(grid, gaps, strict=True) if gap < min(gaps) + 1e-6)
        wrong = 1 - (teacher_logits.argmax(1) == labels).float().mean().item()
        raise UnreachableError(
            math.exp(nearest),
            amount_at(nearest),
            f"no temperature smooths by {smoothing:g} at weight {weight:g}: this teacher reaches "
            f"{min(amounts):.4g} to {max(amounts):.4g} (it is wrong about {wrong:.1%} of its "
            "training set); choose a smoothing in that range, or another weight",
        )
    # Bisection in the last of them.
    last = crossings[-1]
    low, high = grid[last], grid[last + 1]
    while high - low > 1e-10:
        middle = (low + high) / 2
        if (amount_at(middle) <= smoothing) == reached[last]:
            low = middle
        else:
            high = middle
    return math.exp((low + high) / 2)


def penalty_weight(smoothing: float, num_classes: int) -> float:
    """The confidence penalty's λ for which the best prediction has ``p = 1 - ε`` on the label.

    On one sample the loss ``-log p_y - λ H(p)`` is smallest with p on the label and
    ``(1 - p)/(K - 1)`` on every other class, where

        λ = 1 / (p · log(p (K - 1) / (1 - p))),    p = 1 - ε

    So a network that minimises the loss on every sample predicts what label smoothing by ε would
    have it predict. Needs ``ε < (K - 1)/K``. Source: ours.

    >>> round(penalty_weight(0.15, 10), 4)
    0.2992
    """
    _check_amount(smoothing, num_classes)
    checks.number("smoothing", smoothing, 0, (num_classes - 1) / num_classes, open_low=True)
    p = 1 - smoothing
    odds = p * (num_classes - 1) / smoothing
    if odds <= 1:
        raise ValueError(
            f"smoothing must be below (K - 1)/K = {1 - 1 / num_classes:g}, got {smoothing!r}: no "
            "penalty makes the label less likely than the other classes"
        )
    return 1 / (p * math.log(odds))


def _check_amount(smoothing: float, num_classes: int, name: str = "smoothing") -> None:
    checks.whole("num_classes", num_classes, 2)
    checks.number(name, smoothing, 0, 1, open_low=True)
