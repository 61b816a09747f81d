"""One file per family of networks; each lists its networks by name in ``NETWORKS``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import nn

from softprior import checks, discovery

# (channels, height, width) and number of classes → network from inputs to logits
Builder: TypeAlias = Callable[[tuple[int, int, int], int], nn.Module]


def found() -> dict[str, Builder]:
    """Every network of every file in this folder, by name."""
    families = discovery.modules(sys.modules[__name__]).values()
    return {name: build for family in families for name, build in family.NETWORKS.items()}


def build(name: str, shape: tuple[int, int, int], num_classes: int, seed: int) -> nn.Module:
    """A network by name, with weights drawn from the seed; torch's own generator is left alone."""
    networks = found()
    checks.choice("network", name, networks)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return networks[name](shape, num_classes)
