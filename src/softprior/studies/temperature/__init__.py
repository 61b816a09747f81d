"""One teacher, students at many temperatures.

Claim: with the teacher's temperature the uncertainty of its probabilities keeps growing while their
    diversity levels off; accuracy stops rising there, too high a temperature costs NLL, and one
    student at a good temperature beats the best of ten generations at T = 1.
Paper: RQ1 and RQ5, figure 2 (there CIFAR-100).
Run: softprior study temperature
Cost: 190 runs at desk scale, 2 min 57 s of training in total on one core of an AMD EPYC; on images
    19 runs a seed.
Expected: the teacher's uncertainty grows with T; on digits its diversity levels off, and no
    temperature makes a student that is clearly more accurate; on images that the teacher knows by
    heart diversity does not level off but falls again beyond T = 2 (seen on 20 classes of
    Tiny-ImageNet), where all images become equally uncertain.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from softprior.evidence import (
    Claim,
    Column,
    Comparison,
    Difference,
    Figure,
    Method,
    Panel,
    Series,
    Table,
    curves,
)
from softprior.evidence.claims import level
from softprior.evidence.palette import COLOURS, GREY
from softprior.evidence.tables import notes
from softprior.priors import TeacherPrior
from softprior.studies import generations
from softprior.studies._shared.recipes import Scale, base, teacher
from softprior.studies.temperature.measures import (
    SHOWN,
    Found,
    measure,
    middle,
    per_doubling,
)
from softprior.training import Recipe, Run

SEEDS = {"smoke": 2, "desk": 10, "paper": 10}
LEVEL = 0.1  # nats of diversity for each doubling of T: less is a plateau
# Close together where the probabilities of a teacher that knows its training set by heart soften,
# and on to where hardly anything of them is left.
TEMPERATURES = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 10.0, 20.0)
SMOKE = (1.0, 4.0, 20.0)


def recipes(scale: Scale) -> Iterable[Recipe]:
    """For each seed a teacher, its students, and the generations to compare with."""
    for seed in scale.seeds:
        start = base(scale, seed)
        yield teacher(start)
        for temperature in SMOKE if scale.name == "smoke" else TEMPERATURES:
            alone = TeacherPrior(strength=1.0, temperature=temperature)
            yield replace(start, prior=alone, teacher=teacher(start))
        yield from generations.chain(scale, seed)


def show(runs: Sequence[Run]) -> Iterable[Table | Figure | Claim]:
    """The students' scores, their teacher's probabilities, and where the curves turn."""
    found = measure(runs)
    networks = found.networks
    best = networks.highest(found.students, "validation_accuracy")
    chain = networks.where(kind="generation")
    chosen = networks.highest(chain, "validation_accuracy")
    yield from _on_teacher(found)
    yield from _on_students(found, best, chosen)
    shown = [*found.students, networks.the(kind="teacher"), chain[0], chosen]
    rows = networks.only(dict.fromkeys(shown), [*SHOWN, "training_accuracy"])
    note = (
        "The students learn from the teacher's probabilities alone (label weight 0). Generation 1 "
        "is cross-entropy from the students' initialisation, the teacher from another; generations "
        f"learn at T = 1, each from the one before it; {chosen.label} is the best of {len(chain)} "
        "by validation accuracy."
    )
    title = "Students by the temperature of their teacher"
    yield rows.levels("levels", title, first="Network", note=note)
    coolest = found.students[0]
    yield rows.only(rows.methods, SHOWN).differences(
        "differences", f"Difference to the student at {coolest.label}", coolest, first="Network"
    )
    yield _teacher_table(found)
    yield _curves(found, chosen)


def _on_teacher(found: Found) -> Iterable[Claim]:
    """Between fixed temperatures: nothing is chosen on the numbers that decide.

    That uncertainty grows with T is no claim but a theorem: dH/dT ≥ 0.
    """
    *_, high = found.temperatures
    mid = middle(found.temperatures)
    at_mid, at_high = (found.softened.values(found.student(t), "diversity") for t in (mid, high))
    yield level(
        f"The diversity of the teacher's probabilities is level beyond T = {mid:g}: each doubling "
        f"of T changes it by less than {LEVEL:g} nats.",
        Difference.over_seeds(per_doubling(mid, high, at_mid, at_high), [0.0] * len(at_mid)),
        LEVEL,
        found.softened.columns["diversity"],
    )


def _on_students(found: Found, best: Method, chosen: Method) -> Iterable[Claim]:
    """Temperatures are chosen on training or validation samples, and tested on test samples."""
    networks, students = found.networks, found.students
    coolest, hottest = students[0], students[-1]
    diverse = found.softened.highest(students, "diversity")
    calm = networks.highest(students, "validation_nll", sign=-1)
    for at, why in (
        (diverse, "the one at which the teacher's probabilities are the most diverse"),
        (best, "the best by validation accuracy"),
    ):
        yield networks.claim_gaps(
            f"Accuracy rises with T and falls again: at {at.label}, {why}, it is higher than at "
            "both ends.",
            {
                f"against {end.label}": networks.gap(at, end, "accuracy")
                for end in (coolest, hottest)
            },
            "accuracy",
            "higher",
        )
    yield networks.claim_gaps(
        f"Too high a temperature raises the NLL: it is higher at {hottest.label} than at "
        f"{calm.label}, the best by validation NLL.",
        {"difference": networks.gap(hottest, calm, "nll")},
        "nll",
        "higher",
    )
    yield networks.claim_gaps(
        f"The student at {best.label}, the best by validation accuracy, is more accurate than "
        f"{chosen.label}, the best by validation accuracy of "
        f"{len(networks.where(kind='generation'))} generations at T = 1.",
        {"difference": networks.gap(best, chosen, "accuracy")},
        "accuracy",
        "higher",
    )


def _teacher_table(found: Found) -> Table:
    networks, teacher_ = found.networks, found.softened
    mine = [networks.columns[name] for name in ("uncertainty", "diversity")]
    return Table(
        key="teacher",
        title="The teacher's probabilities, and those of its students",
        caption=f"Mean ± standard deviation over seeds. {teacher_.about} The teacher's: "
        "softmax(teacher's logits / T), their mean on the label, and what they are like. The "
        f"students' own are at temperature 1. {notes(list(teacher_.columns.values()))}",
        columns=(
            Column(name="Temperature"),
            *teacher_.columns.values(),
            *(column.with_name(f"Students' {column.name.lower()}") for column in mine),
        ),
        rows=[
            (
                f"{m['T']:g}",
                *(teacher_.measured(m, name) for name in teacher_.columns),
                networks.measured(m, "uncertainty"),
                networks.measured(m, "diversity"),
            )
            for m in found.students
        ],
    )


def _curves(found: Found, chosen: Method) -> Figure:
    """Accuracy and NLL of the students, uncertainty and diversity of both, over T."""
    networks = found.networks
    shown = networks.only([*found.students, *networks.where(kind="teacher"), chosen])
    ticks = [t for t in found.temperatures if t.is_integer()]
    names = {chosen: f"{chosen.label},\nat T = 1"} | dict.fromkeys(found.students, "students")

    def panel(score: str, of: Comparison = shown) -> Panel:
        return of.panel(
            score,
            "T",
            "Teacher's temperature T",
            series=lambda method: names.get(method, method.label),
            log="x",
            ticks=ticks,
        )

    def as_curve(name: str, colour: str, drawn: Panel) -> list[Series]:
        return [Series(name, colour, curve.points) for curve in drawn.series]

    def both(score: str) -> Panel:
        own = panel(score, networks.only(found.students))
        teachers = as_curve("teacher at T", GREY, panel(score, found.softened))
        return replace(own, series=[*teachers, *own.series])

    nll = panel("nll")
    after = as_curve("students,\nscaled", COLOURS["label smoothing"], panel("scaled_nll"))
    return curves(
        "curves",
        "Curves over the temperature",
        [
            panel("accuracy"),
            replace(nll, series=[*nll.series, *after]),
            both("uncertainty"),
            both("diversity"),
        ],
        caption="Mean over seeds. Dashed: the teacher, and the best generation by validation "
        f"accuracy. Upper row: test set; lower row: {found.softened.about} There the teacher's "
        "probabilities are at temperature T, and the students' own at temperature 1. Scaled: after "
        "temperature scaling on the validation set.",
        alt="Four curves over the temperature, on a log scale: test accuracy and test NLL of the "
        "students, beside the teacher's and the best generation's, and predictive uncertainty and "
        "confidence diversity of the teacher's probabilities and of the students'.",
        size=(6.9, 4.6),
    )
