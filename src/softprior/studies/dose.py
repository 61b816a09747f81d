"""Dose and response: the same smoothing, more and more specific to the instance.

Claim: of soft targets that leave as much on the label on average, the more diverse teach the
    better student, and only where they belong to their instance.
Paper: RQ5, in its question; the dials, the permuted targets and the reversed order are ours.
Run: softprior study dose
Cost: 130 runs at desk scale.
Expected: on images the NLL after temperature scaling falls with the share of the teacher's own
    targets, and less where they are permuted within the class.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from softprior.evidence import Claim, Column, Comparison, Figure, Method, Table, curves
from softprior.evidence.palette import COLOURS
from softprior.priors import BetaPrior
from softprior.studies._shared import recipes as shared
from softprior.studies._shared.methods import by_method, split_teachers
from softprior.studies._shared.recipes import Scale
from softprior.studies._shared.scores import compare
from softprior.studies._shared.training_set import fitted
from softprior.training import Recipe, Run

SEEDS = {"smoke": 2, "desk": 10, "paper": 5}
OWN = (0.0, 0.25, 0.5, 0.75, 1.0)  # λ, the share of the teacher's own target
PERMUTED = (0.5, 1.0)
ORDERS = (-1.0, -0.5, 0.0, 0.5, 1.0)  # rank correlation of draw and confidence
DIAL = {"own": Column(name="λ"), "order": Column(name="Rank correlation", digits=1)}
SHOWN = ("accuracy", "scaled_nll", "ece")


def recipes(scale: Scale) -> Iterable[Recipe]:
    """The teacher, its targets at every λ, permuted ones, and Beta smoothing in five orders."""
    for seed in scale.seeds:
        base = shared.base(scale, seed)
        distilled = replace(shared.distilled(base), teacher_targets="stored")
        ranked = shared.beta(base, shared.average(scale))
        yield shared.teacher(base)
        yield from (replace(distilled, target_diversity=own) for own in OWN)
        for own in PERMUTED:
            yield replace(distilled, teacher_targets="permuted", target_diversity=own)
        for order in ORDERS:
            assert isinstance(ranked.prior, BetaPrior)
            yield replace(ranked, prior=replace(ranked.prior, order=order))


def variant(recipe: Recipe) -> Method:
    """Where on which dial a recipe is."""
    if isinstance(recipe.prior, BetaPrior):
        label = f"Beta, {recipe.prior.order_words}"
        facts = {"dial": "Beta smoothing", "order": recipe.prior.rank_correlation}
        return Method(label, COLOURS["Beta (EMA)"], facts)
    own, permuted = recipe.target_diversity, recipe.teacher_targets == "permuted"
    dial = "permuted targets" if permuted else "own targets"
    colour = COLOURS["label smoothing" if permuted else "self-distillation"]
    return Method(f"{dial}, λ = {own:g}", colour, {"dial": dial, "own": own})


def show(runs: Sequence[Run]) -> Iterable[Table | Figure | Claim]:
    """Verdicts on both dials, their curves, and the numbers."""
    students, _ = split_teachers(runs)
    groups = by_method(students, variant)
    found = compare(groups)
    yield from _claims(found)
    yield _dial(
        "own",
        "Scores by the share of the teacher's own target",
        found.only([m for m in found.methods if "own" in m.facts]),
        "Share λ of the own target",
        "Soft targets: λ · the teacher's own + (1 - λ) · its overall mean; as much on the label on "
        "average at every λ. Permuted: the own ones of another image of the class.",
    )
    yield _dial(
        "order",
        "Scores by the order in which Beta smoothing hands out its draws",
        found.only(found.where(dial="Beta smoothing")),
        "Rank correlation with confidence",
        "1: the most confident image gets the largest draw of its batch; 0: any; -1: the smallest; "
        "between: half of the draws in this order, the others at random.",
    )
    yield found.levels("levels", "Every target at the same average smoothing", facts=DIAL)
    none = found.the(dial="own targets", own=0.0)
    yield found.differences(
        "differences", "Difference to targets without diversity (λ = 0)", none, facts=DIAL
    )
    yield fitted(groups)


def _claims(found: Comparison) -> Iterable[Claim]:
    own = found.where(dial="own targets")
    gaps = {
        "from λ = 0 to 1": found.slope(own, "own", "scaled_nll"),
        "own minus permuted": found.gap(*_own_and_permuted(found), "scaled_nll"),
    }
    yield found.claim_gaps(
        "More diverse soft targets give a lower NLL after temperature scaling, and lower than "
        "permuted ones.",
        gaps,
        "scaled_nll",
        "lower",
        ("RQ5",),
    )
    for score, what in (("accuracy", "accurate"), ("ece", "well calibrated (ECE)")):
        yield found.claim_gaps(
            f"The more diverse the soft targets, the more {what} the student.",
            {"from λ = 0 to 1": found.slope(own, "own", score)},
            score,
            "higher" if score == "accuracy" else "lower",
        )
    orders = found.where(dial="Beta smoothing")
    yield found.claim_gaps(
        "The more the order of Beta smoothing's draws follows confidence, the lower the NLL after "
        "temperature scaling.",
        {"by 1": found.slope(orders, "order", "scaled_nll")},
        "scaled_nll",
        "lower",
    )


def _own_and_permuted(found: Comparison) -> tuple[Method, Method]:
    """Both undiluted."""
    return found.the(dial="own targets", own=1.0), found.the(dial="permuted targets", own=1.0)


def _dial(key: str, title: str, found: Comparison, xlabel: str, caption: str) -> Figure:
    return curves(
        key,
        title,
        [found.panel(s, key, xlabel, series=lambda method: str(method["dial"])) for s in SHOWN],
        caption=f"{caption} {found.only(found.methods, SHOWN).about} Mean over seeds.",
        alt=f"Three panels over the {xlabel.lower()}: accuracy, NLL after temperature scaling and "
        "ECE.",
        size=(8.8, 2.8),
    )
