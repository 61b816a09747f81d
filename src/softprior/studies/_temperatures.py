"""What is measured at each temperature: of the teacher's votes, and of the student they teach."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple, TypeVar

from torch import Tensor

from softprior import diagnostics
from softprior.training import Recipe, Run

T = TypeVar("T", float, int)


class Votes(NamedTuple):
    """Of a teacher on the training set, at a temperature: what its students are to learn."""

    on_label: float
    uncertainty: float
    diversity: float
    variance: float


class Scores(NamedTuple):
    """Of a network on the test, the validation and the training set, at temperature 1."""

    accuracy: float
    nll: float
    nll_scaled: float
    ece: float
    training_accuracy: float
    validation_accuracy: float
    validation_nll: float
    uncertainty: float
    diversity: float


class Found(NamedTuple):
    """By temperature, or by number of the generation; each list in the order of the seeds."""

    students: dict[float, list[Scores]]
    votes: dict[float, list[Votes]]
    teachers: list[Scores]
    generations: dict[int, list[Scores]]


def measure(runs: Iterable[Run]) -> Found:
    """Runs in any order.

    What descends from initialisation 0 is the chain of generations; the one teacher of the
    students at all temperatures is initialisation 1.
    """
    teachers: list[Run] = []
    students: dict[float, list[Run]] = {}
    generations: dict[int, list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.recipe.seed):
        recipe = run.recipe
        if _first(recipe).initialisation == 0:
            generations.setdefault(recipe.generation + 1, []).append(run)
        elif recipe.prior is not None:
            students.setdefault(recipe.prior.teacher_temperature, []).append(run)
        else:
            teachers.append(run)
    said = [run.predictions("train") for run in teachers]
    return Found(
        students={t: [scores(run) for run in students[t]] for t in sorted(students)},
        votes={t: [votes(*one, t) for one in said] for t in sorted(students)},
        teachers=[scores(run) for run in teachers],
        generations={k: [scores(run) for run in generations[k]] for k in sorted(generations)},
    )


def _first(recipe: Recipe) -> Recipe:
    """The generation that all began with."""
    return _first(recipe.teacher) if isinstance(recipe.teacher, Recipe) else recipe


def votes(logits: Tensor, labels: Tensor, temperature: float) -> Votes:
    """Of ``softmax(logits / temperature)``."""
    softened = logits.double() / temperature
    on_label = softened.softmax(1).gather(1, labels.unsqueeze(1)).mean().item()
    return Votes(
        on_label,
        diagnostics.predictive_uncertainty(softened, labels),
        diagnostics.confidence_diversity(softened, labels),
        diagnostics.confidence_variance(softened, labels),
    )


def scores(run: Run) -> Scores:
    """Of the selected epoch; scaled: by validation's temperature."""
    test, validation, train = (run.predictions(p) for p in ("test", "validation", "train"))
    fitted = diagnostics.fit_temperature(*validation)
    return Scores(
        diagnostics.accuracy(*test),
        diagnostics.nll(*test),
        diagnostics.nll(*test, temperature=fitted),
        diagnostics.ece(*test),
        diagnostics.accuracy(*train),
        diagnostics.accuracy(*validation),
        diagnostics.nll(*validation),
        diagnostics.predictive_uncertainty(*train),
        diagnostics.confidence_diversity(*train),
    )


def highest(of: Mapping[T, Sequence[float]]) -> T:
    """The key with the highest mean; of equally high ones the first."""
    return max(of, key=lambda key: fmean(of[key]))


def middle(temperatures: Iterable[float]) -> float:
    """The temperature nearest to the geometric mean of the lowest and the highest."""
    logs = {t: math.log(t) for t in temperatures}
    centre = (min(logs.values()) + max(logs.values())) / 2
    return min(logs, key=lambda t: abs(logs[t] - centre))


def per_doubling(
    low: float, high: float, at_low: Sequence[float], at_high: Sequence[float]
) -> list[float]:
    """What each seed gains from one temperature to another, for each doubling on the way."""
    doublings = math.log2(high / low)
    return [(b - a) / doublings for a, b in zip(at_low, at_high, strict=True)]
