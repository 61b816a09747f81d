"""What the field calls a run's method, and the colour that it has in every figure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from softprior.priors import Prior
from softprior.teachers import TeacherSpec
from softprior.training import Recipe, Run

# The Okabe-Ito palette and beyond it: each with a contrast of 3 : 1 on the page's paper (so no
# yellow, and its orange darker), and as far apart as ten such can be for the colour-blind.
COLOURS = {
    "cross-entropy": "#7f7f7f",
    "label smoothing": "#0072B2",
    "Beta (EMA)": "#D55E00",
    "Beta (memory)": "#7A5200",
    "self-distillation": "#009E73",
    "Beta (own logits)": "#3F97D6",
    "Beta (running)": "#C9689F",
    "Beta (random order)": "#2B1A20",
    "Beta (reversed order)": "#4A4FD0",
    "confidence penalty": "#7B2D6B",
}


def colour(name: str) -> str:
    """The colour of a method: that of the name before its first comma, grey where it has none.

    >>> colour("Beta (EMA), quantile draws") == COLOURS["Beta (EMA)"]
    True
    """
    return COLOURS.get(name.partition(",")[0], COLOURS["cross-entropy"])


def method(recipe: Recipe) -> str:
    """What the field calls a recipe's method, and after commas what is unusual in it.

    What stands before the first comma is a key of :data:`COLOURS`, but for what has no colour of
    its own there. Amounts (strength, a, the penalty's weight) are not in the name: a study that
    varies one names it.

    >>> from softprior import BetaPrior
    >>> method(Recipe(prior=BetaPrior(draw="quantile"), teacher="ema"))
    'Beta (EMA), quantile draws'
    """
    unusual = list[str]()
    prior = recipe.prior
    if prior is None:
        name = "cross-entropy" if recipe.penalty is None else recipe.penalty.label
    else:
        shown = prior if recipe.match_smoothing is None else _unmatched(prior)
        name = shown.method(_teacher(recipe))
        if recipe.penalty is not None:
            unusual.append(recipe.penalty.label)
    if recipe.teacher_targets != "live":
        unusual.append(f"{recipe.teacher_targets} votes")
    weight = recipe.effective_label_weight
    usual = 1.0 if prior is None else prior.usual_label_weight
    if weight is not None and not math.isclose(weight, usual, abs_tol=1e-6):
        unusual.append(f"label weight {weight:g}")
    if recipe.student_temperature != 1:
        unusual.append(f"student T = {recipe.student_temperature:g}")
    return ", ".join([name, *unusual])


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


def by_method(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Runs by method in the order of first appearance, each in the order of its seeds."""
    groups: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.recipe.seed):
        groups.setdefault(method(run.recipe), []).append(run)
    return groups


def selected(runs: Iterable[Run]) -> str:
    """Which epoch the runs' results are of, for a caption."""
    names = {"best": "best epoch by validation accuracy", "last": "last epoch"}
    return " or ".join(sorted({names[run.recipe.select] for run in runs}))
