"""One teacher, students at many temperatures.

Claim: with the teacher's temperature its votes' uncertainty keeps growing while their diversity
    levels off; accuracy stops rising there, too high a temperature costs NLL, and one student
    at a good temperature beats the best of ten generations at T = 1.
Paper: RQ1 and RQ5, figure 2 (there CIFAR-100).
Run: softprior study temperature
Cost: with the eight other studies 5 min 16 s (softprior study all, desk scale) on 2 cores of
    an AMD EPYC; on 20 classes of Tiny-ImageNet (--dataset, 5 seeds) with four others 1 h 50 min
    on 2 slower cores, which had some other work beside.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from softprior.priors import TeacherPrior
from softprior.studies import generations
from softprior.studies._kit import (
    INTERVALS,
    Claim,
    Column,
    Difference,
    Figure,
    Measured,
    Scale,
    Table,
    verdict,
)
from softprior.studies._settings import base, teacher
from softprior.studies._softened import curves
from softprior.studies._temperatures import Found, Scores, highest, measure, middle, per_doubling
from softprior.training import Recipe, Run

SEEDS = {"smoke": 2, "desk": 10, "paper": 10}
# Close together where the votes of a teacher that knows its training set by heart soften, and
# on to where hardly anything of them is left.
TEMPERATURES = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 10.0, 20.0)
SMOKE = (1.0, 4.0, 20.0)

COLUMNS = (
    Column(name="Accuracy", percent=True, better="high"),
    Column(name="NLL", digits=4, better="low"),
    Column(name="NLL, scaled", digits=4, better="low"),
    Column(name="ECE", percent=True, better="low"),
)


def recipes(scale: Scale) -> Iterable[Recipe]:
    """For each seed a teacher, its students, and the generations to compare with."""
    for seed in range(scale.seeds):
        start = base(scale, seed)
        yield teacher(start)
        for temperature in SMOKE if scale.name == "smoke" else TEMPERATURES:
            votes = TeacherPrior(strength=1.0, temperature=temperature)
            yield replace(start, prior=votes, teacher=teacher(start))
        yield from generations.chain(scale, seed)


def show(runs: Sequence[Run]) -> Iterable[Table | Figure | Claim]:
    """The students' scores, what their teacher told them, and where the curves turn."""
    found = measure(runs)
    best = highest({t: [s.validation_accuracy for s in of] for t, of in found.students.items()})
    chosen = highest(
        {k: [s.validation_accuracy for s in of] for k, of in found.generations.items()}
    )
    others = {
        "the teacher": found.teachers,
        "generation 1": found.generations[1],
        f"generation {chosen}, the best of {len(found.generations)}": found.generations[chosen],
    }
    yield from _on_votes(found)
    yield from _on_students(found, best, chosen)
    yield _levels(found, others)
    yield _differences(found, others)
    yield _votes(found)
    yield curves(found, chosen)


def _on_votes(found: Found) -> Iterable[Claim]:
    """Between fixed temperatures: nothing is chosen on the numbers that decide."""
    low, mid, high = min(found.votes), middle(found.votes), max(found.votes)
    u = {t: [v.uncertainty for v in found.votes[t]] for t in (mid, high)}
    yield verdict(
        f"The uncertainty of the votes still grows from T = {mid:g} to T = {high:g}.",
        {"difference, nats": Difference.paired(u[high], u[mid])},
        sign=+1,
        answers=("RQ5",),
    )
    h = {t: [v.diversity for v in found.votes[t]] for t in (low, mid, high)}
    yield verdict(
        f"The diversity of the votes levels off: beyond T = {mid:g} it gains less with each "
        f"doubling of T than up to T = {mid:g}.",
        {
            "difference, nats": Difference.paired(
                per_doubling(mid, high, h[mid], h[high]), per_doubling(low, mid, h[low], h[mid])
            )
        },
        sign=-1,
        answers=("RQ5",),
    )


def _on_students(found: Found, best: float, generation: int) -> Iterable[Claim]:
    """Temperatures are chosen on training or validation samples, and tested on test samples."""
    students, high = found.students, max(found.students)
    diverse = highest({t: [v.diversity for v in of] for t, of in found.votes.items()})
    calm = highest({t: [-s.validation_nll for s in of] for t, of in students.items()})
    for at, why in (
        (diverse, "the one with the most diverse votes"),
        (best, "the best by validation accuracy"),
    ):
        yield verdict(
            f"Accuracy rises with T and falls again: at T = {at:g}, {why}, it is higher than at "
            "both ends.",
            {
                f"than at T = {end:g}": _paired(students[at], students[end], 0)
                for end in (min(students), high)
            },
            sign=+1,
            percent=True,
            answers=("RQ5",),
        )
    yield verdict(
        f"Too high a temperature costs NLL: at T = {high:g} it is higher than at T = {calm:g}, the "
        "best by validation NLL.",
        {"difference": _paired(students[high], students[calm], 1)},
        sign=+1,
    )
    yield verdict(
        f"The student at T = {best:g}, the best by validation accuracy, is more accurate than "
        f"generation {generation}, so chosen from {len(found.generations)} at T = 1.",
        {"difference": _paired(students[best], found.generations[generation], 0)},
        sign=+1,
        percent=True,
        answers=("RQ1",),
    )


def _paired(ours: Sequence[Scores], theirs: Sequence[Scores], at: int) -> Difference:
    return Difference.paired([s[at] for s in ours], [s[at] for s in theirs])


def _levels(found: Found, others: dict[str, list[Scores]]) -> Table:
    training = Column(name="Training accuracy", percent=True)
    rows = {**{f"T = {t:g}": of for t, of in found.students.items()}, **others}
    return Table(
        key="levels",
        title="Students by the temperature of their teacher's votes",
        caption="Test set, mean ± standard deviation over seeds, selected epoch. "
        "The students learn from the votes alone (label weight 0). NLL in nats; scaled: "
        "after temperature scaling, fitted on the validation set. ECE: 20 equal-width bins. "
        "Generation 1 is cross-entropy from the students' initialisation, the teacher from "
        "another; generations learn at T = 1, each from the one before it.",
        columns=(Column(name="Network"), *COLUMNS, training),
        rows=[
            (name, *(Measured.of([s[at] for s in of]) for at in range(len(COLUMNS) + 1)))
            for name, of in rows.items()
        ],
    )


def _differences(found: Found, others: dict[str, list[Scores]]) -> Table:
    (first, reference), *hotter = found.students.items()
    rows = {**{f"T = {t:g}": of for t, of in hotter}, **others}
    return Table(
        key="differences",
        title=f"Difference to the student at T = {first:g}",
        caption="Test set, mean paired difference over seeds (same split, order and, between "
        f"students, initialisation) with its 95 % t interval. {INTERVALS}",
        columns=(Column(name="Network"), *COLUMNS),
        rows=[
            (name, *(_paired(of, reference, at) for at in range(len(COLUMNS))))
            for name, of in rows.items()
        ],
    )


def _votes(found: Found) -> Table:
    return Table(
        key="votes",
        title="What the teacher votes, and what its students then say",
        caption="On the training set, not augmented; mean ± standard deviation over seeds. Votes: "
        "softmax(teacher's logits / T), their mean on the label, predictive uncertainty, "
        "confidence diversity (both in nats) and variance of the confidence. The students' own "
        "predictions are at temperature 1.",
        columns=(
            Column(name="Temperature"),
            Column(name="On the label", percent=True),
            Column(name="Uncertainty", digits=4),
            Column(name="Diversity"),
            Column(name="Variance", digits=5),
            Column(name="Students' uncertainty", digits=4),
            Column(name="Students' diversity"),
        ),
        rows=[
            (
                f"{t:g}",
                *(Measured.of(values) for values in zip(*found.votes[t], strict=True)),
                Measured.of([s.uncertainty for s in of]),
                Measured.of([s.diversity for s in of]),
            )
            for t, of in found.students.items()
        ],
    )
