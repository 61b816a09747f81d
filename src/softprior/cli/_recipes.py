"""From options to recipes: the teacher that is meant, what is the user's own, and chains."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from softprior import checks, own, records
from softprior.priors import Prior
from softprior.records import BASES, Role
from softprior.training import OwnData, Pretrained, Recipe, presets
from softprior.training.models import timm
from softprior.training.runtime import fastest_precision

WEIGHTS = (".safetensors", ".pt", ".pth", ".bin")
NONE = (None, "none", "ce")  # names for: without one


def asked(options: Namespace) -> list[Recipe]:
    """The recipes that the options ask for: a chain, or one; mistakes are told before training."""
    fields = [field.name for field in dataclasses.fields(Recipe)]
    given = options.as_dict()
    values: dict[str, Any] = {name: given[name] for name in fields}
    preset, n, model = options.preset, options.generations, options.teacher_model
    for role in BASES:
        values[role] = {k: v for k, v in (values.get(role) or {}).items() if v is not None}
        if values[role] and "name" not in values[role]:
            known = ", ".join(records.found(role))
            raise ValueError(
                f"--{role}.{next(iter(values[role]))} needs to know which {role}: add --{role} "
                f"NAME ({known})"
            )
    objects = _own_objects(values)
    if isinstance(data := objects.get(values["dataset"]), OwnData):
        values["dataset"] = data
    teacher = _teacher(values.pop("teacher"), options.teacher_recipe, model or values["model"])
    if n is None and preset is not None and teacher is None:
        length = presets.get(preset).generations
        n = length if length > 1 else None
    if values["precision"] == "auto":
        values["precision"] = fastest_precision(values["model"], options.cpu)
    if n is not None:
        if teacher is not None or model is not None:
            raise ValueError(
                "each of --generations is taught by the one before: leave --teacher and "
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


def is_own(name: object) -> bool:
    """Whether a name is that of an object of the user's, ``package.module:NAME``."""
    return isinstance(name, str) and ":" in name and not name.startswith(timm.PREFIX)


def _own_objects(values: dict[str, Any]) -> dict[str, Any]:
    """What the user has named of his own, imported; data sets made."""
    objects: dict[str, Any] = {}
    for option in (*BASES, "model"):
        value = values[option]
        name: Any = value.get("name") if isinstance(value, dict) else value
        if is_own(name) and not Path(name).exists():
            objects[name] = own.load(name)
            objects[own.origin(objects[name]).name] = objects[name]
    name = values["dataset"]
    if is_own(name) and not Path(name).expanduser().exists():
        objects[name] = own_data(name)
    return objects


def own_data(name: str) -> OwnData:
    """The data set of ``package.module:NAME``: an object, or a function that makes one."""
    found = own.load(name)
    if callable(found) and not isinstance(found, OwnData):
        found = found()
    return found if isinstance(found, OwnData) else OwnData.of(found, name=name.split(":")[1])


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


def _teacher(
    component: dict[str, Any], recipe: dict[str, Any] | None, model: str
) -> dict[str, Any] | Pretrained | str | None:
    """What ``--teacher`` names: a live teacher, a recipe, or weights of a network."""
    name = component.get("name")
    if name == "none" or (name is None and recipe is None):
        return None
    if name is None:
        return recipe
    assert isinstance(name, str)
    if name in records.found("teacher") or (is_own(name) and not Path(name).exists()):
        return component
    if len(component) > 1:
        field = next(key for key in component if key != "name")
        raise ValueError(
            f"--teacher.{field} is an option of {', '.join(records.found('teacher'))}; --teacher "
            f"is {name}"
        )
    if name == "frozen":
        raise ValueError(
            "teacher 'frozen' is a finished run: pass its folder, --teacher OUT/runs/<digest>"
        )
    path = Path(name)
    if path.suffix in WEIGHTS and not path.is_dir():
        return Pretrained.of(path, model)
    path = path / "recipe.json" if path.is_dir() else path
    if not path.is_file():
        known = checks.unknown("teacher", name, records.found("teacher"))
        raise ValueError(
            f"{known}, or the folder of a finished run, or a file of weights ({path} does not "
            "exist)"
        )
    try:
        values: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not a recipe in JSON: {error}") from error
    try:
        Recipe.from_dict(values)
    except (ValueError, TypeError) as error:
        raise ValueError(f"--teacher {path}: {error}") from error
    return values


def finished_teacher(options: Namespace) -> Path | None:
    """The folder of the run that ``--teacher`` names, where it is a folder or its recipe.json."""
    name = (options.as_dict()["teacher"] or {}).get("name")
    if not isinstance(name, str) or name in records.found("teacher"):
        return None
    path = Path(name)
    if path.is_dir():
        return path
    beside = path.name == "recipe.json" and (path.parent / "weights.safetensors").is_file()
    return path.parent if beside else None
