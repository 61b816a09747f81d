"""Ten generations of sequential self-distillation.

Claim: over the generations test accuracy rises and NLL falls; predictive uncertainty and confidence
    diversity of the predictions on the training set rise, and accuracy gains correlate with both;
    as an ensemble the generations are more accurate than as many independent networks.
Paper: RQ1, figure 1 (there CIFAR-100); the ensemble of generations: Born-Again Networks; that of
    independent networks, its control, is ours.
Run: softprior study generations
Cost: 140 runs at desk scale, of which the 100 of the chains are 1 min 35 s of training in total on
    one core of an AMD EPYC; on 20 classes of Tiny-ImageNet with 5 seeds 70 runs, 51 min 39 s for
    the 50 of the chains.
Expected: uncertainty and diversity rise over the generations; on digits accuracy and NLL do not
    clearly change.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from softprior.evidence import Claim, Column, Comparison, Figure, Method, Panel, Table
from softprior.evidence import curves as draw_curves
from softprior.evidence.claims import claim
from softprior.evidence.tables import notes
from softprior.priors import TeacherPrior
from softprior.studies._shared.recipes import Scale, base
from softprior.studies.generations.measures import (
    ABOUT_TEACHERS,
    Chains,
    Gain,
    association,
    chains,
    gains_figure,
)
from softprior.training import Recipe, Run, generations

SEEDS = {"smoke": 2, "desk": 10, "paper": 10}
FEW = 5  # generations, of which the first claim is: later ones change little
GENERATIONS = {"smoke": 3, "desk": 10, "paper": 10}
NETWORKS = {"smoke": 2, "desk": 5, "paper": 5}  # independent ones, of which generation 1 is one


def chain(scale: Scale, seed: int) -> list[Recipe]:
    """Generations that learn only from the probabilities of the one before (T = 1)."""
    alone = TeacherPrior(strength=1.0, temperature=1.0)
    return list(generations(base(scale, seed), alone, GENERATIONS[scale.name]))


def recipes(scale: Scale) -> Iterable[Recipe]:
    """A chain for each seed, and independent networks.

    Network k starts from the weights that generation k starts from: only the teacher differs.
    """
    for seed in scale.seeds:
        yield from chain(scale, seed)
        alone = base(scale, seed)
        for k in range(1, NETWORKS[scale.name]):
            yield replace(alone, initialisation=alone.initialisation + k)


def show(runs: Sequence[Run]) -> Iterable[Table | Figure | Claim]:
    """Each generation, the generations as an ensemble, and what the gains correlate with."""
    found = chains(runs)
    yield from _claims(found)
    yield found.alone.levels("generations", "Each generation", first="Generation")
    yield found.training.levels(
        "training",
        "Each generation on the training set",
        first="Generation",
        note="These probabilities teach the next generation.",
    )
    yield _ensembles(found)
    yield _control(found)
    yield _associations(found)
    yield _curves(found)
    yield gains_figure(found)


def _claims(found: Chains) -> Iterable[Claim]:
    first, *_, last = found.generations
    n = len(found.generations)
    rises = f"from generation 1 to generation {n}."

    def change(text: str, of: Comparison, score: str, rising: bool) -> Claim:
        gap = {"difference": of.gap(last, first, score)}
        return of.claim_gaps(text, gap, score, "higher" if rising else "lower")

    students = found.generations[1:FEW]
    weights = {**dict.fromkeys(students, 1 / len(students)), first: -1.0}
    yield found.alone.claim_gaps(
        f"Generations 2 to {len(students) + 1} are on average more accurate than generation 1.",
        {"difference": found.alone.contrast(weights, "accuracy")},
        "accuracy",
        "higher",
        ("RQ1",),
    )
    yield change(f"Test accuracy rises {rises}", found.alone, "accuracy", True)
    yield change(f"Test NLL falls {rises}", found.alone, "nll", False)
    yield change(f"Predictive uncertainty rises {rises}", found.training, "uncertainty", True)
    yield change(f"Confidence diversity rises {rises}", found.training, "diversity", True)
    yield claim(
        "A student's gain in accuracy since generation 1 grows with the diversity of its teacher's "
        "predictions.",
        {"slope": association(found, "diversity", "since generation 1")},
        "higher",
        Column(name="Slope", percent=True, unit="points per nat"),
        ("RQ1",),
    )
    ours = found.ensembles[-1]
    both = found.together.and_also(found.alone.results)
    yield both.claim_gaps(
        f"The ensemble of all {n} generations is more accurate than its first and its last member.",
        {f"against generation {m.label}": both.gap(ours, m, "accuracy") for m in (first, last)},
        "accuracy",
        "higher",
    )
    both, pairs = _paired(found)
    many, networks = pairs[-1]
    yield both.claim_gaps(
        f"The ensemble of generations 1 to {len(pairs)} is more accurate than that of "
        f"{len(pairs)} independent networks.",
        {"difference": both.gap(many, networks, "accuracy")},
        "accuracy",
        "higher",
    )


def _paired(found: Chains) -> tuple[Comparison, list[tuple[Method, Method]]]:
    """Ensembles of generations and of independent networks, of as many members."""
    both = found.together.and_also(found.independent.results)
    return both, list(zip(found.ensembles, found.networks, strict=False))


def _control(found: Chains) -> Table:
    both, pairs = _paired(found)
    columns = both.columns
    return Table(
        key="independent",
        title="The generations against independent networks",
        caption="Ensembles of k independent networks, which learn from the labels alone: "
        "generation 1, and others that start as generations 2 to k do. Their scores (mean ± "
        "standard deviation over seeds), and the paired difference of the ensemble of generations "
        f"1 to k to them with its 95 % interval. {found.independent.about} "
        f"{notes(list(columns.values()))} {both.covered}",
        columns=(
            Column(name="Networks"),
            *columns.values(),
            *(c.with_name(f"{c.name}, generations minus networks") for c in columns.values()),
        ),
        rows=[
            (
                str(k),
                *(both.measured(networks, score) for score in columns),
                *(both.gap(many, networks, score) for score in columns),
            )
            for k, (many, networks) in enumerate(pairs, 1)
            if k > 1
        ],
    )


def _ensembles(found: Chains) -> Table:
    both = found.together.and_also(found.alone.results)
    columns = found.together.columns
    shown = ("accuracy", "nll")
    pairs = list(zip(found.ensembles, found.generations, strict=True))[1:]
    return Table(
        key="ensembles",
        title="The generations as an ensemble",
        caption="An ensemble predicts the mean of the probabilities of generations 1 to k. Its "
        "scores (mean ± standard deviation over seeds), and their paired difference to generation "
        f"k alone with its 95 % interval. {found.together.about} "
        f"{notes(list(columns.values()))} {both.covered}",
        columns=(
            Column(name="Generations"),
            *columns.values(),
            *(columns[score].with_name(f"{columns[score].name}, difference") for score in shown),
        ),
        rows=[
            (
                many.label,
                *(both.measured(many, score) for score in columns),
                *(both.gap(many, one, score) for score in shown),
            )
            for many, one in pairs
        ],
    )


def _associations(found: Chains) -> Table:
    gains: tuple[Gain, ...] = ("since generation 1", "over the teacher")
    return Table(
        key="associations",
        title="What the gains in accuracy go with",
        caption="How much more a student gains in test accuracy for each nat (of the variance, for "
        "each unit) more in its teacher's predictions on the training set: slope with its 95 % "
        f"interval, {len(found.alone.seeds)} seeds with {len(found.generations) - 1} students "
        "each. Numbers that rise over the generations all go with one another; so the mean of "
        "each generation, and of each chain, is subtracted first. The interval leaves out whole "
        "seeds in turn (jackknife). The gain over the teacher is large where the teacher is bad "
        "by chance.",
        columns=(
            Column(name="Gain"),
            Column(name="Teacher's"),
            Column(name="Slope", percent=True),
        ),
        rows=[
            (since, about, association(found, about, since))
            for since in gains
            for about in ABOUT_TEACHERS
        ],
    )


def _curves(found: Chains) -> Figure:
    """Each score over the generations, and the ensemble's scores on the test set."""

    def curve(score: str, of: Comparison, name: str = "generation k") -> Panel:
        return of.panel(score, "k", "Generation k", series=lambda method: name)

    def both(score: str) -> Panel:
        together = curve(score, found.together, "ensemble of\n1 to k")
        independent = curve(score, found.independent, "ensemble of\nk independent")
        alone = curve(score, found.alone)
        return replace(alone, series=[*alone.series, *together.series, *independent.series])

    return draw_curves(
        "curves",
        "Curves over the generations",
        [
            *(both(score) for score in ("accuracy", "nll", "ece")),
            *(
                curve(score, found.training)
                for score in ("uncertainty", "diversity", "training_accuracy")
            ),
        ],
        caption="Mean over seeds. Upper row: "
        f"{found.alone.about} ECE: 20 bins. Lower row: {found.training.about}",
        alt="Six curves over the generations: accuracy, NLL and ECE on the test set, of each "
        "generation, of the ensemble up to it and of as many independent networks; and predictive "
        "uncertainty, confidence diversity and accuracy on the training set.",
        size=(7.6, 4.2),
    )
