"""How much smoothing: every method at several amounts.

Claim: no conclusion depends on one amount of smoothing: between 5 and 30 % self-distillation and
    Beta smoothing are more accurate and better calibrated than label smoothing by the same amount,
    and every regulariser is more accurate than cross-entropy.
Paper: RQ3; the paper's main table has one amount, 15 %, for all methods; the range is ours.
Run: softprior study amount
Cost: 270 runs at desk scale, 3 min 53 s of training in total on one core of an AMD EPYC; on 20
    classes of Tiny-ImageNet with 5 seeds 70 runs, 76 min 45 s.
Expected: on digits label smoothing is the most accurate at every amount (by 0.6 points on average);
    self-distillation and Beta smoothing have a lower ECE; and the larger the amount, the worse the
    calibration before scaling.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from softprior.evidence import (
    Claim,
    Column,
    Comparison,
    Difference,
    Figure,
    Method,
    Panel,
    Table,
    curves,
)
from softprior.evidence.claims import Direction, claim_everywhere
from softprior.studies._shared.methods import by_method, named
from softprior.studies._shared.primary import primary
from softprior.studies._shared.recipes import (
    Scale,
    amount,
    base,
    methods,
    penalised,
    reachable,
)
from softprior.studies._shared.scores import VALIDATION_NLL, compare
from softprior.studies._shared.training_set import training_summary
from softprior.training import Recipe, Run

SEEDS = {"smoke": 2, "desk": 10, "paper": 10}
SMOOTHINGS = (0.05, 0.10, 0.15, 0.20, 0.30)
SMOKE = (0.15, 0.30)
DESK = (0.05, 0.15, 0.30)  # on images, where every run costs
AMOUNT = {"amount": Column(name="Amount", percent=True, digits=0)}
FEW = (
    "Few errors on the validation set leave the fitted temperature, and what is scaled, uncertain."
)


def recipes(scale: Scale) -> Iterable[Recipe]:
    """Cross-entropy once, and every other method at each amount.

    On a data set of images at a desk at fewer amounts.
    """
    smoothings: tuple[float, ...] = SMOKE if scale.name == "smoke" else SMOOTHINGS
    if scale.name == "desk" and scale.dataset is not None:
        smoothings = DESK
    smoothings = reachable(scale, smoothings)
    for seed in scale.seeds:
        reference = base(scale, seed)
        yield reference
        for smoothing in smoothings:
            yield from methods(scale, reference, smoothing)[1:]


def asked(recipe: Recipe) -> float:
    """The smoothing ε that a recipe asks for: the confidence penalty's by its weight, too."""
    if recipe.penalty is None:
        return round(amount(recipe), 9)  # Beta smoothing: read back from a, up to rounding
    weights = {penalised(recipe, ε).penalty: ε for ε in SMOOTHINGS}
    return weights[recipe.penalty]


def variant(recipe: Recipe) -> Method:
    """The method at its amount; cross-entropy has none."""
    found = named(recipe)
    return found if found["family"] == "none" else found.but(amount=asked(recipe))


def grouped(runs: Sequence[Run]) -> dict[Method, list[Run]]:
    """Runs by method, cross-entropy first, and by rising amount."""
    groups = by_method(runs, variant)
    labels = list(dict.fromkeys(m.label for m in groups))
    order = sorted(
        groups,
        key=lambda m: ("amount" in m.facts, labels.index(m.label), m.facts.get("amount")),
    )
    return {method: groups[method] for method in order}


def show(runs: Sequence[Run]) -> Iterable[Table | Figure | Claim]:
    """Verdicts at every amount, over all and at its own; the curves; the numbers."""
    groups = grouped(runs)
    found = compare(groups)
    ce = found.the(family="none")
    own = at_its_own(found, compare(groups, {"nll": VALIDATION_NLL}))
    alike = _at_its_amount(found)
    smoothed = found.only(found.without(ce))
    yield from _claims(found)
    yield from primary(own, "Each at its own amount: ")

    def panels(of: Comparison, scores: Sequence[str], **options: Any) -> list[Panel]:
        xlabel = "Taken from the label, %"
        return [of.panel(s, "amount", xlabel, x=lambda ε: 100 * ε, **options) for s in scores]

    yield curves(
        "curves",
        "Each score against the amount of smoothing",
        panels(found, ("accuracy", "nll", "ece", "scaled_nll")),
        caption=f"{found.about} Mean over seeds. ECE: 20 equal-width bins; scaled: after "
        "temperature scaling on the validation set.",
        alt="Four panels over the amount of smoothing: accuracy, NLL, ECE and scaled NLL of each "
        "method, with cross-entropy as a dashed level.",
        size=(6.9, 5.0),
        names="below",
    )
    ls = found.where(family="uniform")[0].label
    yield curves(
        "gaps",
        f"Difference to {ls} at the same amount",
        panels(smoothed, ("accuracy", "ece"), reference=alike),
        caption=f"{found.about} Mean paired difference over seeds, not corrected for the number of "
        f"comparisons. Line at zero: {ls}.",
        alt=f"Two panels over the amount of smoothing: difference of each method to {ls} in "
        "accuracy and in ECE.",
        size=(6.9, 3.2),
        names="below",
    )
    yield own.levels(
        "own",
        "Each method at its own amount",
        note="The amount with the lowest mean NLL on the validation set, of all seeds together; "
        f"cross-entropy has none. {FEW}",
    )
    yield found.levels("levels", "Every method at every amount", facts=AMOUNT, note=FEW)
    yield found.differences(
        "over_cross_entropy", f"Difference to {ce.label} at every amount", ce, facts=AMOUNT
    )
    yield smoothed.differences(
        "over_label_smoothing", f"Difference to {ls} at every amount", alike, facts=AMOUNT
    )
    yield training_summary(
        groups,
        "Amount: what the targets take from the label on average. For the confidence penalty, its "
        "optimum on one sample counts as the target; training may not reach it.",
        AMOUNT,
    )


def shown(ε: float) -> str:
    """An amount as it is written.

    >>> shown(0.15)
    '15 %'
    """
    return f"{100 * ε:g} %"


def at_its_own(found: Comparison, validated: Comparison) -> Comparison:
    """Each method at the amount with the lowest mean validation NLL; of equal ones the smallest.

    One amount for all seeds, each method's out of equally many, and no test image has a say in it.
    NLL, as it falls both where the network is more often right and where it is less overconfident.
    """
    by_label: dict[str, list[Method]] = {}
    for method in validated.methods:  # by rising amount
        by_label.setdefault(method.label, []).append(method)
    best = [validated.highest(of, "nll", -1) for of in by_label.values()]
    return found.averaged({_with_its_amount(method): [method] for method in best})


def _with_its_amount(method: Method) -> Method:
    if "amount" not in method.facts:
        return method
    return method.but(f"{method.label} ({shown(method['amount'])})")


def averaged(found: Comparison) -> Comparison:
    """Each method's mean over the amounts, seed by seed; cross-entropy has but one."""
    groups: dict[Method, list[Method]] = {}
    for method in found.methods:
        facts = {name: value for name, value in method.facts.items() if name != "amount"}
        groups.setdefault(Method(method.label, method.colour, facts), []).append(method)
    return found.averaged(groups)


def _at_its_amount(found: Comparison) -> Callable[[Method], Method]:
    """Label smoothing at the amount of a method."""
    return lambda method: found.the(family="uniform", amount=method["amount"])


def _claims(found: Comparison) -> Iterable[Claim]:
    over_all = averaged(found)
    ce, smoothing = over_all.the(family="none"), over_all.the(family="uniform")
    regularised, specific = over_all.without(ce), over_all.where(specific=True)
    every, ours = "every regulariser", "self-distillation and Beta smoothing"
    questions: list[tuple[str, list[Method], Method, str, Direction]] = [
        (f"{every} is more accurate than {ce.label}.", regularised, ce, "accuracy", "higher"),
        (f"{ours} are more accurate than {smoothing.label}.", specific, smoothing, "accuracy",
         "higher"),
        (f"{ours} have a lower ECE (20 bins) than {smoothing.label}.", specific, smoothing, "ece",
         "lower"),
    ]  # fmt: skip
    alike = _at_its_amount(found)
    for text, methods_, reference, score, direction in questions:
        gaps: dict[str, dict[str, Difference]] = {}
        for m in found.methods:
            if m.label in [other.label for other in methods_]:
                theirs = found.the(family="none") if reference == ce else alike(m)
                at = shown(m["amount"])
                gaps.setdefault(m.label, {})[at] = found.gap(m, theirs, score)
        column = found.columns[score]
        yield claim_everywhere(f"At every amount {text}", gaps, direction, column, "amounts")
        yield over_all.claim(
            f"On average over the amounts {text}",
            methods_,
            reference,
            score,
            direction,
        )
    yield over_all.claim(
        f"On average over the amounts, after temperature scaling, {every} has a lower NLL than "
        f"{ce.label}.",
        regularised,
        ce,
        "scaled_nll",
        "lower",
    )
    amounts = [m["amount"] for m in found.where(family="uniform")]
    least, most = min(amounts), max(amounts)
    yield found.claim_gaps(
        "With more smoothing every method is worse calibrated before scaling: the ECE is higher at "
        f"{shown(most)} than at {shown(least)}.",
        {
            m.label: found.gap(
                found.the(**m.facts, amount=most), found.the(**m.facts, amount=least), "ece"
            )
            for m in regularised
        },
        "ece",
        "higher",
    )
