"""Every prior, penalty and teacher of the package, found by its file, as a recipe that uses it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from softprior import BetaPrior, Memory, Prior, TeacherPrior, penalties, priors, teachers
from softprior.training import Recipe


def members(base: Recipe) -> dict[str, Recipe]:
    """``base`` with each prior, each penalty, and each teacher with a prior that takes whole
    predictions and with one that only ranks; all with their default hyper-parameters."""
    recipes = {
        f"prior {name}": with_prior(base, member()) for name, member in priors.found().items()
    }
    for name, penalty in penalties.found().items():
        recipes[f"penalty {name}"] = replace(base, penalty=penalty())
    for name, teacher in teachers.found().items():
        for prior in (TeacherPrior(), BetaPrior()):
            recipe = replace(base, prior=prior, teacher=teacher())
            recipes[f"teacher {name}, {type(prior).__name__}"] = recipe
    return recipes


def with_prior(base: Recipe, prior: Prior) -> Recipe:
    """With a teacher where it cannot do without, at its usual mix where it has one."""
    teacher = Memory() if prior.needs_teacher else None
    has_mix = prior.decides_label_weight or prior.usual_label_weight >= 0
    return replace(base, prior=prior, teacher=teacher, label_weight=None if has_mix else 1.0)


def uncovered(base: Recipe, named: Mapping[str, Recipe]) -> dict[str, Recipe]:
    """The members that no recipe with a name of its own trains already."""
    covered = {_parts(recipe) for recipe in named.values()}
    return {name: r for name, r in members(base).items() if _parts(r) not in covered}


def _parts(recipe: Recipe) -> tuple[type, ...]:
    return type(recipe.prior), type(recipe.penalty), type(recipe.teacher)


def remembers(recipe: Recipe) -> bool:
    """Whether its prior, penalty or teacher keeps a state."""
    parts = [part for part in (recipe.prior, recipe.penalty) if part is not None]
    return recipe.teacher is not None or any(part.state(9, 3) is not None for part in parts)
