"""Optimizers, and the learning rate as a function of how much of training is over."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from softprior.training.recipe import Recipe


def optimizer(recipe: Recipe, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """SGD without Nesterov (the paper's), or AdamW with its default momenta."""
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(parameters, recipe.learning_rate, weight_decay=recipe.weight_decay)
    return torch.optim.SGD(
        parameters, recipe.learning_rate, recipe.momentum, weight_decay=recipe.weight_decay
    )


def rate(recipe: Recipe, progress: float) -> float:
    """The learning rate at ``progress`` in (0, 1): the middle of a step, as a share of training.

        step:    learning_rate · 0.1^(number of milestones reached)
        cosine:  learning_rate · (1 + cos π·progress) / 2

    both times ``progress / warmup`` while progress < warmup. Being a function of the fraction,
    it is right for every number of epochs and every place to resume.
    """
    if recipe.schedule == "cosine":
        factor = (1 + math.cos(math.pi * progress)) / 2
    else:
        factor = 0.1 ** sum(progress >= m for m in recipe.milestones)
    if progress < recipe.warmup:
        factor *= progress / recipe.warmup
    return recipe.learning_rate * factor
