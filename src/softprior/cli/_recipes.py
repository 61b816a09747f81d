"""From options to recipes: the teacher that is meant, what is the user's own, and chains."""

from __future__ import annotations

import dataclasses
import types
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from softprior import checks, records
from softprior.cli._kinds import home
from softprior.cli._own import is_own, own_data
from softprior.priors import Prior
from softprior.records import BASES, Role
from softprior.training import Pretrained, Recipe, files, presets
from softprior.training.runtime import fastest_precision

WEIGHTS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".tar")
NONE = (None, "none", "ce")  # names for: without one


def asked(options: Namespace) -> list[Recipe]:
    """The recipes that the options ask for: a chain, or one; mistakes are found before training."""
    objects = dict(options.objects)
    values = {field.name: getattr(options, field.name) for field in dataclasses.fields(Recipe)}
    preset, n, model = options.preset, options.generations, options.teacher_model
    for role in BASES:
        values[role] = _given(role, values[role], objects)
        if values[role] and "name" not in values[role]:
            known = ", ".join(records.found(role))
            raise ValueError(
                f"--{role}.{next(iter(values[role]))} needs to know which {role}: add --{role} "
                f"NAME ({known})"
            )
    if is_own(name := values["dataset"]):
        values["dataset"] = own_data(name)
    teacher = _teacher(values.pop("teacher"), model or values["model"])
    if n is None and preset is not None and teacher is None:
        length = presets.get(preset).generations
        n = length if length > 1 else None
    if values["precision"] == "auto":
        values["precision"] = fastest_precision(values["model"], options.cpu)
    if n is not None:
        if teacher is not None or model is not None:
            raise ValueError(
                "each of --generations has the one before as its teacher: leave --teacher and "
                "--teacher_model out"
            )
        return _chain(values, n, objects)
    for role in ("prior", "penalty"):
        values[role] = _unless_none(role, values[role])
    if model is not None and not isinstance(teacher, Pretrained):
        raise ValueError(
            f"--teacher_model goes with a file of weights: --teacher FILE{WEIGHTS[0]} or FILE.pt"
        )
    return [Recipe.from_dict({**values, "teacher": teacher}, objects)]


def _given(role: Role, component: Mapping[str, Any], objects: Mapping[str, Any]) -> dict[str, Any]:
    """Its name and fields; null is a value where the field takes it, and else the default."""
    name = component.get("name")
    member = {**objects, **records.found(role)}.get(name) if isinstance(name, str) else None
    hints = get_type_hints(member) if isinstance(member, type) else {}
    return {k: v for k, v in component.items() if v is not None or _takes_none(hints.get(k))}


def _takes_none(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType) and type(None) in get_args(hint)


def _chain(values: dict[str, Any], n: int, objects: dict[str, Any]) -> list[Recipe]:
    if n < 1:
        raise ValueError(f"--generations must be at least 1, got {n}")
    prior = values["prior"]
    asking = {
        name
        for name, member in {**records.found("prior"), **objects}.items()
        if isinstance(member, type) and issubclass(member, Prior) and member.uses_teacher
    }
    if prior and prior["name"] not in asking:
        raise ValueError(
            f"prior {prior['name']!r} asks no teacher, so there are no --generations of it: "
            f"wanted {' or '.join(map(repr, sorted(asking)))}"
        )
    values["prior"] = prior or {"name": "teacher", "strength": 1.0, "temperature": 1.0}
    values["penalty"] = _unless_none("penalty", values["penalty"])
    return presets.chain(values, n, objects)


def _unless_none(role: Role, component: dict[str, Any]) -> dict[str, Any] | None:
    name = component.get("name")
    if name not in NONE:
        return component
    if fields := [field for field in component if field != "name"]:
        raise ValueError(
            f"--{role}.{fields[0]} belongs to a {role}, and --{role} is {name}: name one "
            f"({', '.join(records.found(role))}), or leave the option out"
        )
    return None


def _teacher(component: dict[str, Any], model: str) -> Mapping[str, Any] | Pretrained | str | None:
    """What ``--teacher`` names: a live teacher, a recipe, or weights of a network."""
    name = component.get("name")
    if name in (None, "none"):
        return None
    if isinstance(name, str) and (name in records.found("teacher") or is_own(name)):
        return component
    if len(component) > 1:
        field = next(key for key in component if key != "name")
        raise ValueError(
            f"--teacher.{field} is an option of {', '.join(records.found('teacher'))}; --teacher "
            f"is {name if isinstance(name, str) else 'a recipe'}"
        )
    if not isinstance(name, str):
        recipe: Mapping[str, Any] = name  # of a file
        return recipe
    if name == "frozen":
        raise ValueError(
            "teacher 'frozen' is a finished run: pass its folder, --teacher OUT/runs/<digest>"
        )
    path = home(name)
    if path.suffix.lower() in WEIGHTS and not path.is_dir():
        return Pretrained.of(path, model)
    path = path / "recipe.json" if path.is_dir() else path
    if not path.is_file():
        known = checks.unknown("teacher", name, records.found("teacher"))
        raise ValueError(
            f"{known}, or the folder of a finished run, or a file of weights ({path} does not "
            "exist)"
        )
    try:
        values = files.read_json(path)
        if not isinstance(values, dict):
            raise ValueError("it holds no recipe")
        Recipe.from_dict(values)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise ValueError(f"--teacher {path}: {error}") from error
    return values


def finished_teacher(options: Namespace) -> Path | None:
    """The folder of the run that ``--teacher`` names, where it is a folder or its recipe.json."""
    name = options.teacher.get("name")
    if not isinstance(name, str) or name in records.found("teacher"):
        return None
    path = home(name)
    if path.is_dir():
        return path
    beside = path.name == "recipe.json" and (path.parent / "weights.safetensors").is_file()
    return path.parent if beside else None
