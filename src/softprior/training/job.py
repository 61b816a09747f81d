"""A recipe as a job for another process: its values, and where the user's own objects are."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any

from softprior import own, records
from softprior.component import Component
from softprior.own import Origin
from softprior.training.models import OwnNetwork
from softprior.training.recipe import Recipe
from softprior.training.store import Store


def own_objects(recipe: Recipe) -> dict[str, Origin]:
    """Where each object of the user's own comes from that the recipe, or a teacher of it, holds."""
    found: dict[str, Origin] = {}
    at: object = recipe
    while isinstance(at, Recipe):
        parts = [getattr(at, role) for role in records.BASES]
        things = [
            type(part)
            for role, part in zip(records.BASES, parts, strict=True)
            if isinstance(part, Component)
            and records.imported(part)
            and records.short_name(role, part) is None
        ]
        if isinstance(at.model, OwnNetwork) and at.model.build is not None:
            things.append(at.model.build)  # type: ignore[arg-type]
        for thing in things:
            where = own.origin(thing)
            found[where.name] = where
        at = at.teacher
    return found


def warn_of_changed_source(recipe: Recipe, store: Store) -> None:
    """Say so where there is a run of the same recipe with other source of the user's own."""
    # Lambdas of one place have one name: two of them are two recipes, and nothing has changed.
    found = [name for name, where in own_objects(recipe).items() if where.importable]
    if found and (run := store.of_other_source(recipe)) is not None:
        warnings.warn(
            f"the source of {', '.join(found)} has changed since run {run.path.name}: this is "
            "another run",
            stacklevel=3,
        )


def to_job(recipe: Recipe) -> dict[str, Any] | None:
    """As plain JSON values; None where only this process can make the objects that it holds."""
    found = own_objects(recipe)
    if not all(where.importable for where in found.values()):
        return None
    return {
        "recipe": recipe.to_dict(),
        "digest": recipe.digest,
        "own": {name: where.file for name, where in found.items()},
        "path": [os.path.abspath(folder) for folder in sys.path],
    }


def from_job(job: dict[str, Any]) -> Recipe:
    """The recipe, with the caller's objects imported.

    Raises:
        ValueError: an object is not what it was for the caller.
    """
    sys.path += [folder for folder in job["path"] if folder not in sys.path]
    objects = {name: own.load(name, file) for name, file in job["own"].items()}
    recipe = Recipe.from_dict(job["recipe"], objects)
    if recipe.digest != job["digest"]:
        changed = ", ".join(job["own"]) or "softprior"
        raise ValueError(f"the source of {changed} has changed since the run was asked for")
    return recipe
