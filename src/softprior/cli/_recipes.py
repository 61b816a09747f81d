"""From options to recipes: the teacher that is meant, and chains of generations."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from softprior import checks, priors
from softprior.training import Pretrained, Recipe, presets
from softprior.training.runtime import fastest_precision

WEIGHTS = (".safetensors", ".pt", ".pth", ".bin")


def asked(options: Namespace) -> list[Recipe]:
    """The recipes that the options ask for: a chain, or one; mistakes are told before training."""
    fields = [field.name for field in dataclasses.fields(Recipe)]
    given = options.as_dict()
    values: dict[str, Any] = {name: given[name] for name in fields}
    preset, n, model = options.preset, options.generations, options.teacher_model
    prior = {k: v for k, v in (values.get("prior") or {}).items() if v is not None}
    if prior and "name" not in prior:
        raise ValueError(
            f"--prior.{next(iter(prior))} needs to know which prior: add --prior NAME "
            f"({', '.join(priors.found())})"
        )
    if n is None and preset is not None and values["teacher"] is None:
        length = presets.get(preset).generations
        n = length if length > 1 else None
    if values["precision"] == "auto":
        values["precision"] = fastest_precision(values["model"], options.cpu)
    if n is not None:
        return _chain(values, prior, n, model)
    if values["label_weight"] is None:
        values["label_weight"] = 1.0
    values["prior"] = None if prior.get("name") in (None, "none", "ce") else prior
    if isinstance(values["teacher"], str):
        values["teacher"] = _teacher(values["teacher"], model or values["model"])
    if model is not None and not isinstance(values["teacher"], Pretrained):
        raise ValueError(
            f"--teacher_model goes with a file of weights: --teacher FILE{WEIGHTS[0]} or FILE.pt"
        )
    return [Recipe.from_dict(values)]


def _chain(
    values: dict[str, Any], prior: dict[str, Any], n: int, model: str | None
) -> list[Recipe]:
    if n < 1:
        raise ValueError(f"--generations must be at least 1, got {n}")
    if values.pop("teacher") is not None or model is not None:
        raise ValueError(
            "each of --generations is taught by the one before: leave --teacher and "
            "--teacher_model out"
        )
    if values["confidence_penalty"]:
        raise ValueError(
            "the students of --generations have a prior: leave --confidence_penalty out"
        )
    if prior.get("name") in ("none", "ce", "uniform"):
        raise ValueError(
            f"prior {prior['name']!r} asks no teacher, so there are no --generations of it: "
            "wanted 'teacher' or 'beta'"
        )
    values["prior"] = prior or {"name": "teacher", "strength": 1.0, "temperature": 1.0}
    if values["label_weight"] is None:
        values["label_weight"] = 0.0
    return presets.chain(values, n)


def _teacher(name: str, model: str) -> dict[str, Any] | Pretrained | str | None:
    """What ``--teacher`` names: a live teacher, a recipe, or weights of a network."""
    if name in ("ema", "memory"):
        return name
    if name == "none":
        return None
    if name == "frozen":
        raise ValueError(
            "teacher 'frozen' is a finished run: pass its folder, --teacher OUT/runs/<digest>"
        )
    path = Path(name)
    if path.suffix in WEIGHTS and not path.is_dir():
        return Pretrained.of(path, model)
    path = path / "recipe.json" if path.is_dir() else path
    if not path.is_file():
        known = checks.unknown("teacher", name, ("ema", "memory"))
        raise ValueError(
            f"{known}, or the folder of a finished run, or a file of weights ({path} does not "
            "exist)"
        )
    try:
        values: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not a recipe in JSON: {error}") from error
    return values


def finished_teacher(options: Namespace) -> Path | None:
    """The folder of the run that ``--teacher`` names, where it is a folder or its recipe.json."""
    if not isinstance(options.teacher, str) or options.teacher in ("ema", "memory"):
        return None
    path = Path(options.teacher)
    if path.is_dir():
        return path
    beside = path.name == "recipe.json" and (path.parent / "weights.safetensors").is_file()
    return path.parent if beside else None
