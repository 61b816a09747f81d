"""Which data a recipe means: found out before training, checked when it goes on, and loaded."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from softprior.training import images, models
from softprior.training.images import Dataset, OwnData
from softprior.training.images.own import FOLDER
from softprior.training.models import OwnNetwork
from softprior.training.pretrained import Pretrained
from softprior.training.recipe import Recipe

Progress: TypeAlias = Callable[[int, int], None]


def resolve(recipe: Recipe, root: Path | None = None, progress: Progress | None = None) -> Recipe:
    """The recipe, and the teachers behind it, with the fingerprint of their data.

    Args:
        recipe: what is to be trained.
        root: folder of the store, into which data from memory is written, once.
        progress: called with (images looked at, images in all) where a data set is new.

    Raises:
        ValueError: the data has changed since the recipe was written, or its teacher was trained
            on other data.
        FileNotFoundError: there is nothing at the path.
    """
    return resolve_all([recipe], root, progress)[0]


def resolve_all(
    recipes: Iterable[Recipe], root: Path | None = None, progress: Progress | None = None
) -> list[Recipe]:
    """Every recipe resolved; each data set is looked at once."""
    found: dict[str, str] = {}
    done: dict[Recipe, Recipe] = {}

    def fingerprint(path: str) -> str:
        if path not in found:
            images.check(path)
            found[path] = images.fingerprint(path, progress=progress)
        return found[path]

    def one(recipe: Recipe) -> Recipe:
        if recipe not in done:
            teacher = recipe.teacher
            if isinstance(teacher, Recipe):
                teacher = one(teacher) if _is_there(teacher) else teacher
            done[recipe] = _with_data(recipe, root, fingerprint, teacher)
        return done[recipe]

    return [one(recipe) for recipe in recipes]


def _with_data(
    recipe: Recipe,
    root: Path | None,
    fingerprint: Callable[[str], str],
    teacher: object,
) -> Recipe:
    data = recipe.dataset
    if isinstance(data, OwnData):
        if root is None:
            raise ValueError("data from memory is written to a store: pass the store's folder")
        path = str(data.write(root / FOLDER))
        return replace(recipe, dataset=path, fingerprint=data.fingerprint, teacher=teacher)  # type: ignore[arg-type]
    now = fingerprint(data)
    if recipe.fingerprint not in (None, now):
        raise ValueError(
            f"the data in {data} has changed since this recipe was written: its fingerprint is "
            f"{now[:16]}, and the recipe's {str(recipe.fingerprint)[:16]}; leave fingerprint out "
            "to train on the data as it is now"
        )
    return replace(recipe, fingerprint=now, teacher=teacher)  # type: ignore[arg-type]


def _is_there(recipe: Recipe) -> bool:
    """Whether its data can be looked at: a finished teacher may come from another machine."""
    if recipe.fingerprint is None or isinstance(recipe.dataset, OwnData):
        return True
    return recipe.dataset in images.NAMES or Path(recipe.dataset).expanduser().exists()


def check_networks(recipes: Iterable[Recipe]) -> None:
    """Raise where images do not go through the network of a recipe, or of a teacher behind it.

    Each pair of data and network is tried once, with at most one image decoded.

    Raises:
        ValueError, TypeError: what :func:`.models.build` says.
    """
    tried: set[object] = set()
    for recipe in recipes:
        at: object = recipe
        while isinstance(at, Recipe) and _is_there(at):
            networks = [at.model]
            if isinstance(at.teacher, Pretrained):
                networks.append(at.teacher.model)
            for network in networks:
                one = (at.dataset, at.resolution, at.view_size, at.subset, network)
                if one not in tried:
                    tried.add(one)
                    _try_one(at, network)
            at = at.teacher


def _try_one(recipe: Recipe, network: str | OwnNetwork) -> None:
    data, size = recipe.dataset, recipe.view_size or recipe.resolution
    enough = models.smallest(network) if isinstance(network, str) else math.inf
    if size is not None and size >= enough:
        return
    shape = images.shape(data, size)
    if min(shape[1:]) >= enough:
        return
    classes = data.classes if isinstance(data, OwnData) else images.classes(data, recipe.subset)
    models.build(network, shape, len(classes), seed=0)


def load(recipe: Recipe, progress: Progress | None = None) -> Dataset:
    """The recipe's data, decoded, split and with its label noise."""
    return images.load(
        str(recipe.dataset),
        seed=recipe.seed,
        validation=recipe.validation,
        split_seed=recipe.split_seed,
        resolution=recipe.resolution,
        view_size=recipe.view_size,
        normalisation=recipe.normalisation,
        subset=recipe.subset,
        label_noise=recipe.label_noise,
        noise_kind=recipe.noise_kind,
        progress=progress,
    )
