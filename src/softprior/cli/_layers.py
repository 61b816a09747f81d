"""Where an option's value comes from: defaults, then a preset, then files, then the command line.

Each of these is a layer: the values that it gives, by name. A component is a mapping of its name
and its fields.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

Layer: TypeAlias = Mapping[str, Any]

COMPONENTS = ("prior", "penalty", "teacher")


def nested(values: Layer) -> dict[str, Any]:
    """``prior.a`` as the field ``a`` of the component ``prior``.

    >>> nested({"epochs": 3, "prior.name": "beta", "prior.a": 5.0})
    {'epochs': 3, 'prior': {'name': 'beta', 'a': 5.0}}
    """
    result: dict[str, Any] = {}
    for name, value in values.items():
        component, dot, field = name.partition(".")
        if dot:
            result.setdefault(component, {})[field] = value
        else:
            result[name] = value
    return result


def merged(layers: Iterable[Layer], same: Callable[[Any, Any], bool]) -> dict[str, Any]:
    """All layers as one; what a later one gives is taken.

    A component that a later layer names anew leaves nothing of the one before it; fields without
    a name change the one before. Another data set leaves nothing of an earlier fingerprint.

    Args:
        layers: the first is the one that all others win over.
        same: whether two names of components mean one.

    >>> merged([{"prior": {"name": "beta", "a": 5}}, {"prior": {"name": "uniform"}}], str.__eq__)
    {'prior': {'name': 'uniform'}}
    >>> merged([{"prior": {"name": "beta", "a": 5}}, {"prior": {"a": 3}}], str.__eq__)
    {'prior': {'name': 'beta', 'a': 3}}
    """
    result: dict[str, Any] = {}
    for layer in layers:
        before = result
        result = {**before, **layer}
        if "dataset" in layer and "fingerprint" in before and "fingerprint" not in layer:
            result["fingerprint"] = None
        for role in COMPONENTS:
            if role in before and role in layer and not _is_another(before, layer, role, same):
                result[role] = {**before[role], **layer[role]}
    return result


def _is_another(before: Layer, layer: Layer, role: str, same: Callable[[Any, Any], bool]) -> bool:
    """Whether a layer names another component than the one before it."""
    names = [component["name"] for component in (before[role], layer[role]) if "name" in component]
    return len(names) == 2 and not same(*names)
