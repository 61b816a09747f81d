"""One file per family of networks; each lists its networks by name in ``NETWORKS``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import nn

from softprior import checks, discovery
from softprior.training.models import timm

# (channels, height, width) and number of classes → network from inputs to logits
Builder: TypeAlias = Callable[[tuple[int, int, int], int], nn.Module]


def found() -> dict[str, Builder]:
    """Every network of every file in this folder, by name; those of timm have no list here."""
    families = discovery.modules(sys.modules[__name__]).values()
    return {name: build for family in families for name, build in family.NETWORKS.items()}


def check(name: str) -> None:
    """Raise ValueError unless ``name`` is a network, here or (``timm:NAME``) in timm."""
    if name.startswith(timm.PREFIX):
        timm.check(name)
    else:
        checks.choice("network", name, [*found(), f"{timm.PREFIX}NAME"])


def build(name: str, shape: tuple[int, int, int], num_classes: int, seed: int) -> nn.Module:
    """A network by name, with weights drawn from the seed; torch's own generator is left alone."""
    check(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name.startswith(timm.PREFIX):
            return timm.build(name, shape, num_classes)
        return found()[name](shape, num_classes)
