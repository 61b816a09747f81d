"""What the field calls a run's method, as a value that a comparison is made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from softprior import records
from softprior.evidence.palette import COLOURS, GREY
from softprior.evidence.results import Method
from softprior.priors import Prior
from softprior.teachers import TeacherSpec
from softprior.training import Recipe, Run


def method(recipe: Recipe) -> Method:
    """A recipe's method: its name, and after commas what is unusual in it.

    Amounts (strength, a, the penalty's weight) are not in the label: a study that varies one
    names it. Facts:

    * ``name``: what stands before the first comma;
    * ``family``: the short name of the prior, or of the penalty where there is no prior; "none"
      for cross-entropy, "own" for somebody's own;
    * ``specific``: whether its targets differ from image to image (Beta smoothing,
      self-distillation).

    >>> from softprior import BetaPrior
    >>> method(Recipe(prior=BetaPrior(draw="quantile"), teacher="ema")).label
    'Beta (EMA), quantile draws'
    """
    name, *unusual = _words(recipe)
    family = _family(recipe)
    return Method(
        label=", ".join([name, *unusual]),
        colour=COLOURS.get(name, GREY),
        facts={"name": name, "family": family, "specific": family in ("teacher", "beta")},
    )


def named(recipe: Recipe) -> Method:
    """The method by its name alone, for studies in which nothing else differs."""
    found = method(recipe)
    return found.but(str(found["name"]))


def by_method(
    runs: Iterable[Run], of: Callable[[Recipe], Method] = method
) -> dict[Method, list[Run]]:
    """Runs by method in the order of first appearance, each in the order of its seeds."""
    groups: dict[Method, list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.recipe.seed):
        groups.setdefault(of(run.recipe), []).append(run)
    return groups


def split_teachers(runs: Sequence[Run]) -> tuple[list[Run], dict[Recipe, Run]]:
    """The runs that teach nobody, in the order of their seeds; and the teachers by recipe."""
    asked = {run.recipe.teacher for run in runs}
    teachers = {run.recipe: run for run in runs if run.recipe in asked}
    students = [run for run in runs if run.recipe not in teachers]
    return sorted(students, key=lambda run: run.recipe.seed), teachers


def _family(recipe: Recipe) -> str:
    if recipe.prior is not None:
        return records.short_name("prior", recipe.prior) or "own"
    if recipe.penalty is not None:
        return records.short_name("penalty", recipe.penalty) or "own"
    return "none"


def _words(recipe: Recipe) -> list[str]:
    prior = recipe.prior
    if prior is None:
        words = ["cross-entropy" if recipe.penalty is None else recipe.penalty.label]
    else:
        shown = prior if recipe.match_smoothing is None else _unmatched(prior)
        words = list(shown.method(_teacher(recipe)))
        if recipe.penalty is not None:
            words.append(recipe.penalty.label)
    if recipe.teacher_targets != "live":
        words.append(f"{recipe.teacher_targets} targets")
    if recipe.target_diversity != 1:
        words.append(f"λ = {recipe.target_diversity:g}")
    weight = recipe.effective_label_weight
    usual = 1.0 if prior is None else prior.usual_label_weight
    if weight is not None and not math.isclose(weight, usual, abs_tol=1e-6):
        words.append(f"label weight {weight:g}")
    if recipe.student_temperature != 1:
        words.append(f"student T = {recipe.student_temperature:g}")
    return words


def _teacher(recipe: Recipe) -> str | None:
    """The teacher's label; None for the usual one: nobody, or an earlier generation for a prior
    that cannot do without a teacher."""
    if isinstance(recipe.teacher, TeacherSpec):
        return recipe.teacher.label
    if isinstance(recipe.teacher, Recipe):
        needs_one = recipe.prior is not None and recipe.prior.needs_teacher
        return None if needs_one else "earlier generation"
    return None if recipe.teacher is None else "pretrained"


def _unmatched(prior: Any) -> Prior:
    """The prior at its usual temperature: matching replaces whichever it has."""
    usual = getattr(type(prior), "temperature", None)
    unmatched: Prior = prior if usual is None else replace(prior, temperature=usual)
    return unmatched
