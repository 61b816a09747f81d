"""Any network of timm, as ``timm:NAME``, where timm is installed.

Weights are drawn from the seed: a recipe says how a network was trained, and pretraining is not
part of it. So a name has no pretrained tag either (``resnet50``, not ``resnet50.a1_in1k``).
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from types import ModuleType
from typing import Any

from torch import nn

PREFIX = "timm:"
NETWORKS: dict[str, Any] = {}  # none has a fixed name


def check(name: str) -> None:
    """Raise ValueError for a name that timm does not know, the nearest ones first.

    Without timm nothing is said: the recipe of a run made elsewhere must be readable here.
    """
    if importlib.util.find_spec("timm") is None:
        return
    known, own_name = _timm().list_models(), name.removeprefix(PREFIX)
    if own_name not in known:
        untagged = own_name.partition(".")[0]
        near = difflib.get_close_matches(untagged, known, n=5, cutoff=0.4)
        nearest = ", ".join(repr(PREFIX + n) for n in near) or "none"
        raise ValueError(
            f"unknown network {name!r}: nearest are {nearest}; timm.list_models() lists all"
        )


def build(name: str, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """The network from inputs of this shape to logits, its weights not pretrained."""
    timm, own_name = _timm(), name.removeprefix(PREFIX)
    channels, *size = shape
    options: dict[str, Any] = {}
    if timm.models.get_pretrained_cfg_value(own_name, "fixed_input_size"):
        options["img_size"] = tuple(size)  # transformers: positions are parameters
    network = timm.create_model(
        own_name, pretrained=False, num_classes=num_classes, in_chans=channels, **options
    )
    assert isinstance(network, nn.Module)
    return network


def _timm() -> ModuleType:
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"networks named {PREFIX}NAME need timm ({error}); install it: pip install timm"
        ) from error
