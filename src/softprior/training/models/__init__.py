"""One file per family of networks; each lists its networks by name in ``NETWORKS``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from softprior import checks, discovery, own
from softprior.component import Component
from softprior.training.models import timm

# Pixels: whatever is as large goes through every network of this package, and of timm.
SMALLEST, SMALLEST_OF_TIMM = 32, 224
# (channels, height, width) and number of classes → network from inputs to logits
Builder: TypeAlias = Callable[[tuple[int, int, int], int], nn.Module]


def found() -> dict[str, Builder]:
    """Every network of every file in this folder, by name; those of timm have no list here."""
    families = discovery.modules(sys.modules[__name__]).values()
    return {name: build for family in families for name, build in family.NETWORKS.items()}


@dataclass(frozen=True)
class OwnNetwork:
    """A network from outside the package: a function or class from shape and classes to a module.

    Attributes:
        name: ``module:Name``.
        source: SHA-256 of the file that defines it.
        build: the function or class itself; None where it was not imported.
    """

    name: str
    source: str
    build: Builder | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return self.name

    @classmethod
    def of(cls, build: Any) -> OwnNetwork:
        """From the function or class."""
        if isinstance(build, nn.Module):
            raise TypeError(
                f"model is a network, {type(build).__name__}; pass what makes one: a function or "
                "class that is called with (channels, height, width) and the number of classes"
            )
        if isinstance(build, type) and issubclass(build, Component):
            raise TypeError(
                f"model is {build.__name__}, which is a prior, penalty or teacher; wanted what "
                "makes a network"
            )
        where = own.origin(build)
        return cls(where.name, where.source, build)

    def to_record(self) -> dict[str, str]:
        """As plain JSON values."""
        return {"name": self.name, "source": self.source}

    @classmethod
    def from_record(cls, record: Mapping[str, str] | str, objects: Mapping[str, Any]) -> OwnNetwork:
        """With its code where the user has named it in this call, else as a plain record."""
        name = record if isinstance(record, str) else record.get("name", "")
        if name in objects:
            return cls.of(objects[name])
        if isinstance(record, str) or not name or "source" not in record:
            raise ValueError(
                f"network {record!r} is neither a name nor the record of one with its source; one "
                "of your own is passed as an object, or named with --model"
            )
        return cls(name, record["source"])


def version(name: str) -> int:
    """Of the family: raised whenever equal recipes give other bits. 1 where a file states none."""
    for family in discovery.modules(sys.modules[__name__]).values():
        if name in family.NETWORKS:
            return int(getattr(family, "VERSION", 1))
    return 1


def check(name: str) -> None:
    """Raise ValueError unless ``name`` is a network, here or (``timm:NAME``) in timm."""
    if name.startswith(timm.PREFIX):
        timm.check(name)
    elif ":" in name:
        raise ValueError(
            f"network {name!r} is somebody's own: pass the function or class itself, or name it on "
            "the command line with --model"
        )
    else:
        checks.choice("network", name, [*found(), f"{timm.PREFIX}NAME"])


def smallest(network: str) -> int:
    """Pixels from which on any image goes through a network of the package, or of timm."""
    return SMALLEST_OF_TIMM if network.startswith(timm.PREFIX) else SMALLEST


def build(
    network: str | OwnNetwork, shape: tuple[int, int, int], num_classes: int, seed: int
) -> nn.Module:
    """A network, with weights drawn from the seed; torch's own generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if isinstance(network, OwnNetwork):
            return _build_own(network, shape, num_classes)
        check(network)
        if network.startswith(timm.PREFIX):
            make: Builder = partial(timm.build, network)
        else:
            make = found()[network]
        if min(shape[1:]) >= smallest(network):
            return make(shape, num_classes)
        return _build_for_small(make, network, shape, num_classes)


def _build_own(network: OwnNetwork, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    if network.build is None:
        raise ValueError(
            f"network {network.name} is somebody's own and was not imported: to train it name it, "
            f"--model {network.name}, or pass the object in Python"
        )
    try:
        made = network.build(shape, num_classes)
    except TypeError as error:
        raise TypeError(
            f"network {network.name} was called with shape={shape}, num_classes={num_classes} and "
            f"failed: {error}"
        ) from error
    if not isinstance(made, nn.Module):
        raise TypeError(f"network {network.name} must return a torch.nn.Module, got {made!r}")
    _try(made, network.name, shape, num_classes)
    return made


@torch.no_grad()
def _build_for_small(
    make: Builder, name: str, shape: tuple[int, int, int], num_classes: int
) -> nn.Module:
    """Raise where nothing is left of images after a network has halved them several times."""
    try:
        made = make(shape, num_classes)
        made.eval()
        made(torch.zeros(2, *shape))
    except (RuntimeError, ValueError, AssertionError, ArithmeticError) as error:
        _, height, width = shape
        raise ValueError(
            f"images of {height} × {width} pixels are too small for network {name}: take a larger "
            "resolution, or another network, such as mlp"
        ) from error
    return made.train()


@torch.no_grad()
def _try(made: nn.Module, name: str, shape: tuple[int, int, int], num_classes: int) -> None:
    """Raise unless it makes logits of images: more classes than there are train without a word."""
    made.eval()
    try:
        outputs = made(torch.zeros(2, *shape))
    except Exception as error:  # whatever somebody's code stumbles over
        raise ValueError(
            f"network {name} failed at a batch of two images, (2, {', '.join(map(str, shape))}): "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(outputs, Tensor) or outputs.shape != (2, num_classes):
        shapes = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise ValueError(
            f"network {name} must make logits of shape (B, {num_classes}), one for each class; a "
            f"batch of two images gave {shapes}"
        )
    made.train()
