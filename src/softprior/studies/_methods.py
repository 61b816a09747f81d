"""What the field calls a run's method, and the colour that it has in every figure."""

from __future__ import annotations

import math
from collections.abc import Iterable

from softprior.priors import BetaPrior, TeacherPrior, UniformPrior
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

    What stands before the first comma is a key of :data:`COLOURS`, but for a prior of your own
    and for ranks of a frozen teacher. Amounts (strength, a, the penalty) are not in the name: a
    study that varies one names it.

    >>> from softprior import BetaPrior
    >>> method(Recipe(prior=BetaPrior(draw="quantile"), label_weight=0.4, teacher="ema"))
    'Beta (EMA), quantile draws'
    """
    prior, unusual = recipe.prior, list[str]()
    if prior is None:
        name = "confidence penalty" if recipe.confidence_penalty else "cross-entropy"
    elif isinstance(prior, BetaPrior):
        name, unusual = _beta(recipe, prior)
    elif isinstance(prior, UniformPrior):
        name = "label smoothing"
        if prior.spread != "all":
            unusual.append("on the other classes")
    elif isinstance(prior, TeacherPrior):
        name, unusual = "self-distillation", _votes(recipe, prior)
    else:
        name = type(prior).__name__
    usual = 1 - prior.strength if prior else 1.0
    if not math.isclose(recipe.label_weight, usual, abs_tol=1e-6):
        unusual.append(f"label weight {recipe.label_weight:g}")
    if recipe.student_temperature != 1:
        unusual.append(f"student T = {recipe.student_temperature:g}")
    return ", ".join([name, *unusual])


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


def _beta(recipe: Recipe, prior: BetaPrior) -> tuple[str, list[str]]:
    """In brackets the control, or the window, or who ranks; the first of them that is there."""
    rankers = {"None": "own logits", "ema": "EMA", "memory": "memory"}
    kinds = [] if prior.order == "intact" else [f"{prior.order} order"]
    if prior.among == "running":
        kinds.append("running")
    if prior.order != "random" and (recipe.teacher is not None or not kinds):  # random asks nobody
        kinds.append(rankers.get(str(recipe.teacher), "frozen teacher"))
    if prior.among == "local":
        kinds.append("local ranks")
    if prior.draw == "quantile" and prior.among != "running":
        kinds.append("quantile draws")
    return f"Beta ({kinds[0]})", kinds[1:]


def _votes(recipe: Recipe, prior: TeacherPrior) -> list[str]:
    """The teacher, where it is no earlier generation; what is done to its votes."""
    unusual = []
    if not isinstance(recipe.teacher, Recipe):
        live = {"ema": "EMA", "memory": "memory"}
        unusual.append(f"{live.get(str(recipe.teacher), 'pretrained')} teacher")
    if recipe.votes != "live":
        unusual.append(f"{recipe.votes} votes")
    if recipe.match_smoothing is None and prior.temperature != TeacherPrior.temperature:
        unusual.append(f"T = {prior.temperature:g}")
    if prior.weighting == "map":
        unusual.append("MAP weights")
    return unusual
