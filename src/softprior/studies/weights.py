"""The weights of self-distillation: the label's, each sample's, and the student's temperature.

Claim: at the same average smoothing a student is more accurate with its label and teacher
    probabilities than with the probabilities alone, and with MAP weights (which let samples count
    for more where the teacher is unsure) than without; and a temperature on the student's logits
    makes calibration worse.
Paper: amortized MAP view (the weights ω) and ablations (the student's temperature); the label's
    weight at equal smoothing is ours.
Run: softprior study weights
Cost: 120 runs at desk scale, 1 min 48 s of training in total on one core of an AMD EPYC.
Expected: on digits the label beside the probabilities gains about 0.4 points; a temperature on the
    student's logits lowers the ECE before scaling; MAP weights make no clear difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import fmean

from softprior.evidence import (
    Claim,
    Column,
    Comparison,
    Difference,
    Figure,
    Method,
    Result,
    Table,
    curves,
)
from softprior.evidence.palette import COLOURS
from softprior.evidence.tables import notes
from softprior.priors import TeacherPrior
from softprior.studies._shared import recipes as shared
from softprior.studies._shared.methods import by_method, named, split_teachers
from softprior.studies._shared.recipes import SMOOTHING, WEIGHT, Scale
from softprior.studies._shared.scores import compare
from softprior.studies._shared.training_set import fitted, label_targets
from softprior.training import Recipe, Run

SEEDS = {"smoke": 2, "desk": 10, "paper": 5}
LABEL_WEIGHTS = {"smoke": (0.0, 0.4), "desk": (0.0, 0.2, 0.4, 0.6), "paper": (0.0, 0.2, 0.4, 0.6)}
STUDENT_TEMPERATURES = {"smoke": (2.0,), "desk": (2.0, 4.0), "paper": (2.0, 4.0)}
# Beside 0.15: from there to 0.25 MAP weights smooth at the temperature of 0.15, where T ≥ 1.
AMOUNTS = {"smoke": (0.3,), "desk": (0.2, 0.3), "paper": (0.2, 0.3)}
SMOOTHING_COLUMN = Column(name="Smoothing", percent=True)
HOW_VARIED = (
    f"Label weight {1 - WEIGHT:g} is self-distillation as where smoothing is matched: soft weight "
    f"{WEIGHT:g}, smoothing by {SMOOTHING:.0%}, every sample with the same weight, student's "
    "T = 1; each variant differs from it in one of them."
)


def recipes(scale: Scale) -> Iterable[Recipe]:
    """One teacher for each seed, and students that differ from one another in one weight."""
    for seed in scale.seeds:
        base = shared.base(scale, seed)
        distilled = shared.distilled(base)
        yield from (base, shared.teacher(base), shared.smoothed(base))
        for weight in LABEL_WEIGHTS[scale.name]:
            yield replace(distilled, prior=TeacherPrior(1 - weight), label_weight=weight)
        yield replace(distilled, prior=TeacherPrior(WEIGHT, weighting="map"))
        for amount in shared.reachable(scale, AMOUNTS[scale.name]):
            yield shared.distilled(base, amount)
        for temperature in STUDENT_TEMPERATURES[scale.name]:
            yield replace(distilled, student_temperature=temperature)


def variant(recipe: Recipe) -> Method:
    """What a recipe of this study varies: its facts say by how much."""
    label = float(recipe.effective_label_weight or 0.0)
    if recipe.prior is None or not recipe.generation:  # cross-entropy, label smoothing
        return named(recipe).but(reference=True, label_weight=label)
    colour, facts = COLOURS["self-distillation"], {"student_T": recipe.student_temperature}
    if not recipe.prior.fixed_total:
        return Method("MAP weights", COLOURS["Beta (reversed order)"], {"map": True})
    if recipe.student_temperature != 1:
        return Method(f"student T = {recipe.student_temperature:g}", colour, facts)
    if recipe.match_smoothing != SMOOTHING:
        return Method(f"smoothing by {recipe.match_smoothing:g}", colour, {"smooths": True})
    facts = {"label_weight": label}
    if label == round(1 - WEIGHT, 9):
        facts |= {"plain": True, "smooths": True, "student_T": 1.0}
    return Method(f"label weight {label:g}", colour, facts)


def show(runs: Sequence[Run]) -> Iterable[Table | Figure | Claim]:
    """Verdicts, every variant, and then one question after the other."""
    students, teachers = split_teachers(runs)
    groups = by_method(students, variant)
    found = compare(groups)
    plain = found.the(plain=True)
    smoothing = {
        m: [1 - label_targets(run, teachers).mean().item() for run in of]
        for m, of in groups.items()
        if m.facts.keys() & {"smooths", "map"}
    }
    equal = Method("none, same smoothing")
    found_equal = found.and_also({equal: same_smoothing(found, smoothing)})
    yield from _claims(found_equal, equal)
    yield found.levels("levels", "Every variant", first="Variant", note=HOW_VARIED)
    yield found.differences("differences", f"Difference to {plain.label}", plain, first="Variant")
    yield _sweep(
        "label_weight",
        "The label's weight",
        found.only([m for m in found.methods if "label_weight" in m.facts]),
        *("label_weight", "Weight of the label", ("accuracy", "ece", "scaled_nll")),
        caption="Teacher probabilities and label together smooth by the same amount at each "
        "weight. The larger the label's weight, the higher the teacher's temperature must be, up "
        "to label smoothing, where all probabilities are equal. Cross-entropy has no smoothing.",
    )
    yield _map_table(found_equal, equal, smoothing)
    means = {m: fmean(values) for m, values in smoothing.items()}
    smooths = {m.but(smoothing=mean): m for m, mean in means.items()}
    yield _sweep(
        "map",
        "MAP weights against none",
        replace(found, results={new: found.results[old] for new, old in smooths.items()}),
        *("smoothing", "Average smoothing", ("accuracy", "ece", "scaled_nll")),
        caption="Curve: no weights, temperature matched to three amounts of smoothing (two at "
        "smoke scale). Diamond: MAP weights at the temperature of the first, which smooth more. "
        "Where it lies on the curve, another temperature would do the same as MAP weights.",
    )
    yield _sweep(
        "student",
        "Temperature on the student's logits",
        found.only([m for m in found.methods if "student_T" in m.facts]),
        *("student_T", "Student's temperature", ("accuracy", "ece", "scaled_ece")),
        caption="The student's logits are divided by this temperature in training, not in testing. "
        "That also makes the gradient smaller, at least by the same factor.",
    )
    yield fitted(groups, first="Variant")


def same_smoothing(
    found: Comparison, smoothing: Mapping[Method, Sequence[float]]
) -> dict[int, Result]:
    """Scores without weights where they smooth as much as MAP weights do, seed by seed.

    Linear between the amounts that were trained; the nearest of them outside.
    """
    ours = found.the(map=True)
    results = {}
    for at, seed in enumerate(found.seeds):
        curve = [
            (amounts[at], found.results[m][seed].scores)
            for m, amounts in smoothing.items()
            if m != ours
        ]
        results[seed] = Result(interpolated(curve, smoothing[ours][at]))
    return results


def interpolated(
    curve: Sequence[tuple[float, Mapping[str, float]]], x: float
) -> Mapping[str, float]:
    """Every score at ``x``, linearly between the two neighbours of it on a curve.

    Outside the curve that of its nearest end.

    >>> interpolated([(0.2, {"nll": 2.0}), (0.1, {"nll": 1.0})], 0.125)
    {'nll': 1.25}
    """
    points = sorted(curve, key=lambda point: point[0])
    for (left, low), (right, high) in pairwise(points):
        if left <= x <= right and left < right:
            part = (x - left) / (right - left)
            return {name: low[name] + part * (high[name] - low[name]) for name in low}
    return points[0][1] if x < points[0][0] else points[-1][1]


def _sweep(
    key: str,
    title: str,
    found: Comparison,
    over: str,
    xlabel: str,
    scores: Sequence[str],
    caption: str,
) -> Figure:
    """Self-distillation over one of its weights; what is no such variant is a diamond."""
    beside = [m for m in found.methods if m.facts.keys() & {"reference", "map"}]

    def series(method: Method) -> str:
        return method.label if method in beside else "self-distillation"

    return curves(
        key,
        title,
        [found.panel(score, over, xlabel, series=series) for score in scores],
        caption=f"{caption} {found.about} Mean over seeds. "
        f"{notes([found.columns[score] for score in scores])}",
        alt=f"{len(scores)} panels over {xlabel.lower()}: "
        f"{', '.join(found.columns[score].name for score in scores)} of self-distillation"
        + (" and, as diamonds, of what it is compared with." if beside else "."),
        size=(8.8, 2.8),
    )


def _claims(found: Comparison, equal: Method) -> Iterable[Claim]:
    plain, map_weights = found.the(plain=True), found.the(map=True)
    alone = next(m for m in found.methods if m.facts.get("label_weight") == 0)
    hot = [m for m in found.methods if m.facts.get("student_T", 1.0) != 1.0]
    yield found.claim_gaps(
        f"At the same average smoothing, teacher probabilities beside the label ({plain.label}) "
        f"give a more accurate student than alone ({alone.label}).",
        {"difference": found.gap(plain, alone, "accuracy")},
        "accuracy",
        "higher",
    )
    yield found.claim_gaps(
        "At the same average smoothing, MAP weights give a more accurate student than none.",
        {"difference": found.gap(map_weights, equal, "accuracy")},
        "accuracy",
        "higher",
    )
    for score, more in (("ece", ""), ("scaled_ece", ", also after temperature scaling")):
        yield found.claim(
            f"A temperature on the student's logits raises the ECE{more}.",
            hot,
            plain,
            score,
            "higher",
        )


def _map_table(
    found: Comparison, equal: Method, smoothing: Mapping[Method, Sequence[float]]
) -> Table:
    """MAP weights against none at the same temperature, and at the same smoothing."""
    plain, ours = found.the(plain=True), found.the(map=True)
    columns = list(found.columns.values())
    more = Difference.over_seeds(smoothing[ours], smoothing[plain])
    return Table(
        key="map",
        title="MAP weights minus none",
        caption="Mean paired difference over seeds with its 95 % interval. MAP weights let a "
        "sample of which the teacher is unsure count for more, and so smooth more than no weights "
        "at the same temperature (column Smoothing: of the training set's soft labels, from the "
        "teacher's predictions). Their loss is also larger, as it is not divided by the weights. "
        f"Same smoothing: interpolated between the amounts that were trained. {found.about} "
        f"{notes(columns)} {found.covered}",
        columns=(Column(name="Against"), SMOOTHING_COLUMN, *columns),
        rows=[
            (name, gap, *(found.gap(ours, theirs, score) for score in found.columns))
            for name, theirs, gap in (
                ("none, same temperature", plain, more),
                (equal.label, equal, "–"),
            )
        ],
    )
