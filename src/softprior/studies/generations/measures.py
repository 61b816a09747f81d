"""What is measured along chains of generations, and what their gains go with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple, TypeAlias

from softprior.evidence.comparison import Comparison
from softprior.evidence.differences import Difference
from softprior.evidence.figure import Figure
from softprior.evidence.palette import COLOURS, MUTED
from softprior.evidence.results import Method
from softprior.evidence.statistics import slope
from softprior.studies._shared.scores import (
    DIVERSITY,
    TEST,
    TRAINING_ACCURACY,
    UNCERTAINTY,
    VARIANCE,
    Ensemble,
    compare,
)
from softprior.training import Run

Gain: TypeAlias = Literal["since generation 1", "over the teacher"]
About: TypeAlias = Literal["uncertainty", "diversity", "variance"]
ABOUT_TEACHERS: tuple[About, ...] = ("uncertainty", "diversity", "variance")
TRAINING = {
    "uncertainty": UNCERTAINTY,
    "diversity": DIVERSITY,
    "variance": VARIANCE,
    "training_accuracy": TRAINING_ACCURACY,
}


class Chains(NamedTuple):
    """The generations of every seed.

    Attributes:
        generations: generation k is ``generations[k - 1]``.
        ensembles: of the first k generations.
        alone: test scores of each generation.
        together: test scores of each ensemble.
        training: each generation on the training set.
        networks: ensembles of the first k of as many independent networks: generation 1 and others
            like it from other initialisations.
        independent: test scores of each of these.
    """

    generations: list[Method]
    ensembles: list[Method]
    alone: Comparison
    together: Comparison
    training: Comparison
    networks: list[Method]
    independent: Comparison


def chains(runs: Iterable[Run]) -> Chains:
    """Runs in any order by seed, and in each seed by generation; the first of those without a
    teacher is generation 1."""
    seeds: dict[int, list[Run]] = {}
    alike: dict[int, list[Run]] = {}  # without a teacher
    for run in sorted(runs, key=_place):
        recipe = run.recipe
        if not recipe.generation:
            alike.setdefault(recipe.seed, []).append(run)
        if recipe.generation or run is alike[recipe.seed][0]:
            seeds.setdefault(recipe.seed, []).append(run)
    n, most = len(next(iter(seeds.values()))), min(map(len, alike.values()))
    one, many = COLOURS["self-distillation"], COLOURS["label smoothing"]
    generations = [Method(str(k), one, {"k": k}) for k in range(1, n + 1)]
    ensembles = [Method(f"1 to {k}", many, {"k": k}) for k in range(1, n + 1)]
    networks = [
        Method(f"{k} independent", COLOURS["cross-entropy"], {"k": k}) for k in range(1, most + 1)
    ]
    apart = {m: [Ensemble(of[:k]) for of in alike.values()] for k, m in enumerate(networks, 1)}
    alone = {m: [of[k] for of in seeds.values()] for k, m in enumerate(generations)}
    together = {m: [Ensemble(of[:k]) for of in seeds.values()] for k, m in enumerate(ensembles, 1)}
    three = {name: TEST[name] for name in ("accuracy", "nll", "ece")}
    return Chains(
        generations,
        ensembles,
        compare(alone, three),
        compare(together, three),
        compare(alone, TRAINING),
        networks,
        compare(apart, three),
    )


def _place(run: Run) -> tuple[int, int, int]:
    return run.recipe.seed, run.recipe.generation, run.recipe.initialisation


def teachers(found: Chains, about: About) -> list[list[float]]:
    """A row for each seed, a number for each student: what its teacher's predictions are like.

    The teacher of generation k is generation k - 1; the last one teaches nobody.
    """
    return _by_seed([found.training.values(m, about) for m in found.generations[:-1]])


def gains(found: Chains, since: Gain = "since generation 1") -> list[list[float]]:
    """A row for each seed, a number for each student: what it gained in test accuracy."""
    accuracies = _by_seed([found.alone.values(m, "accuracy") for m in found.generations])
    if since == "over the teacher":
        return [[b - a for a, b in pairwise(row)] for row in accuracies]
    return [[a - row[0] for a in row[1:]] for row in accuracies]


def association(found: Chains, about: About, since: Gain) -> Difference:
    """How much more a student gains the more there is in its teacher's predictions.

    In accuracy per nat (of the variance: per unit), beyond what all chains have in common in a
    generation, and all generations in a chain: see :func:`.slope`.
    """
    return slope(teachers(found, about), gains(found, since))


def _by_seed(rows: Sequence[Sequence[float]]) -> list[list[float]]:
    """Rows for each generation as rows for each seed."""
    return [list(column) for column in zip(*rows, strict=True)]


def gains_figure(found: Chains) -> Figure:
    """A point for each student: what it gained, against its teacher's predictions."""
    gained = [100 * g for row in gains(found) for g in row]
    abouts: tuple[About, ...] = ("uncertainty", "diversity")
    asked: dict[str, list[float]] = {
        about: [v for row in teachers(found, about) for v in row] for about in abouts
    }

    def draw(axes: Sequence[Any]) -> None:
        for ax, (name, x) in zip(axes, asked.items(), strict=True):
            ax.scatter(x, gained, s=14, color=COLOURS["self-distillation"], alpha=0.6, linewidth=0)
            ax.axhline(0, color=MUTED, linewidth=0.9, dashes=(4, 3), zorder=0.9)
            ax.set_xlabel(f"Teacher's {name}, nats")
            ax.set_ylabel("Accuracy gain, points")

    return Figure(
        key="gains",
        title="Gain in accuracy against the teacher's predictions",
        caption="One point per student: its gain in test accuracy on generation 1 of its seed, in "
        "points, against its teacher's predictive uncertainty and confidence diversity. Teacher: "
        f"{found.training.about}",
        alt="Two scatter plots of the students' gains in test accuracy: against the teacher's "
        "predictive uncertainty, and against its confidence diversity.",
        draw=draw,
        data={"gain, points": gained, **asked},
        panels=2,
        size=(6.9, 2.9),
    )
