"""The weights of self-distillation: the label's, each sample's, and the student's temperature.

Claim: at the same average smoothing a student is more accurate with votes beside its label than
    with votes alone, and with MAP weights than without; and a temperature on the student's
    logits costs calibration.
Paper: amortized MAP view (the weights ω) and ablations (the student's temperature); the label's
    weight at equal smoothing is ours.
Run: softprior study weights
Cost: with the eight other studies 5 min 16 s (softprior study all, desk scale) on 2 cores of
    an AMD EPYC.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from softprior.priors import TeacherPrior
from softprior.studies import _settings
from softprior.studies._ablation import (
    COLUMNS,
    HOW,
    Numbers,
    Score,
    Scores,
    against,
    apart,
    differences,
    fitted,
    label_targets,
    levels,
    measure,
    paired,
)
from softprior.studies._kit import (
    INTERVALS,
    Claim,
    Column,
    Difference,
    Figure,
    Measured,
    Scale,
    Table,
    method,
    verdict,
)
from softprior.studies._sweeps import interpolated, sweep
from softprior.training import Recipe, Run

SEEDS = {"smoke": 2, "desk": 10, "paper": 5}
LABEL_WEIGHTS = {"smoke": (0.0, 0.4), "desk": (0.0, 0.2, 0.4, 0.6), "paper": (0.0, 0.2, 0.4, 0.6)}
STUDENT_TEMPERATURES = {"smoke": (2.0,), "desk": (2.0, 4.0), "paper": (2.0, 4.0)}
# Beside 0.15: from there to 0.25 MAP weights smooth at the temperature of 0.15, where T ≥ 1.
AMOUNTS = {"smoke": (0.3,), "desk": (0.2, 0.3), "paper": (0.2, 0.3)}
MAP = "MAP weights"
PLAIN = f"label weight {1 - _settings.WEIGHT:g}"
EVERY_DAY = (
    f"{PLAIN} is self-distillation as in the other studies: soft weight {_settings.WEIGHT:g}, "
    f"smoothing by {_settings.SMOOTHING:.0%}, every sample with the same weight, student's T = 1; "
    "each variant differs from it in one of them."
)


def recipes(scale: Scale) -> Iterable[Recipe]:
    """One teacher for each seed, and students that differ from one another in one weight."""
    for seed in range(scale.seeds):
        base = _settings.base(scale, seed)
        distilled = _settings.distilled(base)
        yield from (base, _settings.teacher(base), _settings.smoothed(base))
        for weight in LABEL_WEIGHTS[scale.name]:
            yield replace(distilled, prior=TeacherPrior(1 - weight), label_weight=weight)
        yield replace(distilled, prior=TeacherPrior(_settings.WEIGHT, weighting="map"))
        yield from (_settings.distilled(base, amount) for amount in AMOUNTS[scale.name])
        for temperature in STUDENT_TEMPERATURES[scale.name]:
            yield replace(distilled, student_temperature=temperature)


def called(recipe: Recipe) -> str:
    """What a recipe of this study varies."""
    if recipe.prior is None or not recipe.generation:
        return method(recipe)
    if not recipe.prior.fixed_total:
        return MAP
    if recipe.student_temperature != 1:
        return f"student T = {recipe.student_temperature:g}"
    if recipe.match_smoothing != _settings.SMOOTHING:
        return f"smoothing by {recipe.match_smoothing:g}"
    return f"label weight {recipe.effective_label_weight:g}"


def show(runs: Sequence[Run]) -> Iterable[Table | Figure | Claim]:
    """Verdicts, every variant, and then one question after the other."""
    students, teachers = apart(runs)
    groups: dict[str, list[Run]] = {}
    for run in students:
        groups.setdefault(called(run.recipe), []).append(run)
    numbers = {name: [measure(run) for run in of] for name, of in groups.items()}
    first = {name: of[0].recipe for name, of in groups.items()}
    kept = {n: r.effective_label_weight or 0.0 for n, r in first.items()}
    label = {n: kept[n] for n in first if n.startswith("label weight")}
    ends = {n: kept[n] for n, r in first.items() if not r.generation}
    student = {n: r.student_temperature for n, r in first.items() if n.startswith("student")}
    smoothing = {
        name: [1 - label_targets(run, teachers).mean().item() for run in groups[name]]
        for name in groups
        if name in (PLAIN, MAP) or name.startswith("smoothing")
    }
    equal = same_smoothing(numbers, smoothing)
    yield from _claims(numbers, equal, list(student))
    yield levels("levels", "Every variant", numbers, first="Variant", note=EVERY_DAY)
    others = [name for name in groups if name != PLAIN]
    yield differences(
        "differences", f"Difference to {PLAIN}", against(numbers, others, PLAIN), first="Variant"
    )
    three: tuple[Score, ...] = ("accuracy", "ece", "scaled_nll")
    yield sweep(
        *("label_weight", "The label's weight", "Weight of the label"),
        *(numbers, label, three),
        marked=ends,
        caption="Votes and label together smooth by the same amount at each weight: the more the "
        "label weighs, the higher the teacher's temperature, up to votes that are all alike: "
        "label smoothing. Cross-entropy has no smoothing. Scaled: after temperature scaling.",
    )
    yield _map_table(numbers, equal, smoothing)
    means = {name: Measured.of(values).mean for name, values in smoothing.items()}
    yield sweep(
        *("map", "MAP weights against none", "Average smoothing"),
        *(numbers, {n: x for n, x in means.items() if n != MAP}, three),
        marked={MAP: means[MAP]},
        caption="Curve: no weights, temperature matched to three amounts of smoothing (two at "
        "smoke scale). Diamond: MAP weights at the temperature of the first, which smooth more. "
        "On the curve, they do no more than another temperature would.",
    )
    yield sweep(
        *("student", "Temperature on the student's logits", "Student's temperature"),
        *(numbers, {PLAIN: 1.0, **student}, ("accuracy", "ece", "scaled_ece")),
        marked={},
        caption="In training the student's logits are divided by it, in testing they are not. "
        "This makes the gradient smaller, too, by at least as much. ECE: "
        "20 equal-width bins; scaled: after temperature scaling.",
    )
    yield fitted(groups, first="Variant")


def same_smoothing(numbers: Numbers, smoothing: Mapping[str, Sequence[float]]) -> list[Scores]:
    """Scores without weights where they smooth as much as MAP weights do, seed by seed.

    Linear between the amounts that were trained; the nearest of them outside.
    """
    curve = [name for name in smoothing if name != MAP]
    return [
        interpolated([(smoothing[name][seed], numbers[name][seed]) for name in curve], x)
        for seed, x in enumerate(smoothing[MAP])
    ]


def _claims(numbers: Numbers, equal: Sequence[Scores], student: Sequence[str]) -> Iterable[Claim]:
    alone = next(name for name in numbers if name.startswith("label weight"))
    both = {"map": numbers[MAP], "equal": equal}
    yield verdict(
        f"At the same average smoothing, votes beside the label ({PLAIN}) give a more accurate "
        f"student than votes alone ({alone}).",
        {"difference": paired(numbers, PLAIN, alone, "accuracy")},
        sign=+1,
        percent=True,
    )
    yield verdict(
        "At the same average smoothing, MAP weights give a more accurate student than none.",
        {"difference": paired(both, "map", "equal", "accuracy")},
        sign=+1,
        percent=True,
    )
    eces: tuple[tuple[Score, str], ...] = (
        ("ece", ""),
        ("scaled_ece", ", also after temperature scaling"),
    )
    for score, text in eces:
        yield verdict(
            f"A temperature on the student's logits raises the ECE{text}.",
            {name: paired(numbers, name, PLAIN, score) for name in student},
            sign=+1,
            percent=True,
        )


def _map_table(
    numbers: Numbers, equal: Sequence[Scores], smoothing: Mapping[str, Sequence[float]]
) -> Table:
    """MAP weights against none at the same temperature, and at the same smoothing."""
    rivals = {
        "none, same temperature": (numbers[PLAIN], smoothing[PLAIN]),
        "none, same smoothing": (equal, smoothing[MAP]),
    }
    more = [
        Difference.paired(smoothing[MAP], theirs) if theirs is smoothing[PLAIN] else "–"
        for _, theirs in rivals.values()
    ]
    both = {"map": numbers[MAP], **{name: scores for name, (scores, _) in rivals.items()}}
    return Table(
        key="map",
        title="MAP weights minus none",
        caption="Mean paired difference over seeds with its 95 % t interval. MAP weights let an "
        "uncertain vote count for more, and so smooth more than none at the same temperature "
        "(column Smoothing: of the training set's soft labels, from the teacher's predictions); "
        "their loss is larger, too, as it is not divided by the weights. Same smoothing: "
        f"interpolated between the amounts that were trained. {HOW} {INTERVALS}",
        columns=(
            Column(name="Against"),
            Column(name="Smoothing", percent=True),
            *COLUMNS.values(),
        ),
        rows=[
            (name, gap, *(paired(both, "map", name, score) for score in COLUMNS))
            for name, gap in zip(rivals, more, strict=True)
        ],
    )
