"""What a run trains towards, in one line: so that a strength is not taken for something else."""

from __future__ import annotations

from softprior import records
from softprior.priors import Prior
from softprior.training import Recipe


def target(recipe: Recipe) -> str:
    """The soft label of a sample: the real label's share, the rest, and the effective smoothing.

    >>> from softprior import BetaPrior
    >>> target(Recipe(prior=BetaPrior()))
    'target: 0.4 of the label + 0.6 of Beta (own logits); smoothing 0.15 on average'
    """
    penalty = "" if recipe.penalty is None else f"; beside it a penalty: {recipe.penalty.label}"
    prior = recipe.prior
    if prior is None or not records.imported(prior):
        return f"target: the label alone{penalty}"
    name = ", ".join(prior.method(_teacher(recipe)))
    weight = recipe.effective_label_weight
    if weight is None:
        return f"target: the label + {name}, whose weight changes as it trains{penalty}"
    total = weight + prior.strength
    if not prior.fixed_total or total <= 0:
        parts = f"{weight:g} of the label + {prior.strength:g} of {name}, by its own weight"
        return f"target: {parts} for each sample{penalty}"
    shares = f"{weight / total:.4g} of the label + {prior.strength / total:.4g} of {name}"
    return f"target: {shares}; {_smoothing(recipe, prior, total)}{penalty}"


def _smoothing(recipe: Recipe, prior: Prior, total: float) -> str:
    if recipe.match_smoothing is not None:
        return f"smoothing {recipe.match_smoothing:g} on average, by the teacher's temperature"
    amount = prior.average_smoothing
    if amount is not None:
        return f"smoothing {amount / total:.4g} on average"
    if prior.uses_teacher or prior.needs_teacher:
        return "smoothing as the teacher's probabilities have it"
    return f"smoothing at most {prior.strength / total:.4g}"


def _teacher(recipe: Recipe) -> str | None:
    label = getattr(recipe.teacher, "label", None)
    return label if isinstance(label, str) else None
