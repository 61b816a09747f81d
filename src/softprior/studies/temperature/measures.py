"""What is measured at each temperature: of the teacher's probabilities, and of its students."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from torch import Tensor

from softprior.evidence import Column, Comparison, Method
from softprior.evidence.palette import COLOURS, GREY, INK
from softprior.studies._shared.methods import by_method
from softprior.studies._shared.scores import (
    DIVERSITY,
    ON_LABEL,
    TEST,
    TRAINING_ACCURACY,
    UNCERTAINTY,
    VALIDATION_ACCURACY,
    VALIDATION_NLL,
    VARIANCE,
    OfPredictions,
    Score,
    columns_of,
    compare,
    result,
)
from softprior.training import Recipe, Run

SHOWN = {name: TEST[name] for name in ("accuracy", "nll", "scaled_nll", "ece")}
SCORES = {
    **SHOWN,
    "training_accuracy": TRAINING_ACCURACY,
    "uncertainty": UNCERTAINTY,
    "diversity": DIVERSITY,
    "validation_accuracy": VALIDATION_ACCURACY,
    "validation_nll": VALIDATION_NLL,
}
SOFTENED = {
    "on_label": replace(ON_LABEL, column=Column(name="On the label", percent=True)),
    "uncertainty": UNCERTAINTY,
    "diversity": DIVERSITY,
    "variance": VARIANCE,
}


class Found(NamedTuple):
    """All networks, and the teacher's probabilities at each of the students' temperatures."""

    networks: Comparison
    softened: Comparison

    @property
    def students(self) -> list[Method]:
        return self.networks.where(kind="student")

    @property
    def temperatures(self) -> list[float]:
        return [m["T"] for m in self.students]

    def student(self, temperature: float) -> Method:
        return self.networks.the(kind="student", T=temperature)


def variant(recipe: Recipe) -> Method:
    """What descends from initialisation 0 is the chain of generations; the one teacher of the
    students at all temperatures is initialisation 1."""
    at = recipe
    while isinstance(at.teacher, Recipe):
        at = at.teacher
    if at.initialisation == 0:
        k = recipe.generation + 1
        return Method(f"generation {k}", INK, {"kind": "generation", "k": k})
    if recipe.prior is None:
        return Method("the teacher", GREY, {"kind": "teacher"})
    temperature = recipe.prior.teacher_temperature
    facts = {"kind": "student", "T": temperature}
    return Method(f"T = {temperature:g}", COLOURS["self-distillation"], facts)


def softened(temperature: float) -> dict[str, Score]:
    """Scores of ``softmax(logits / temperature)``."""
    return {
        name: replace(score, function=partial(_at, score.function, temperature))
        for name, score in SOFTENED.items()
    }


def _at(function: OfPredictions, temperature: float, logits: Tensor, labels: Tensor) -> float:
    return function(logits.double() / temperature, labels)


def measure(runs: Iterable[Run]) -> Found:
    """Runs in any order."""
    groups = by_method(runs, variant)
    order = sorted(groups, key=lambda m: (str(m["kind"]), m.facts.get("T", m.facts.get("k", 0))))
    networks = compare({m: groups[m] for m in order}, SCORES)
    (teachers,) = (of for m, of in groups.items() if m["kind"] == "teacher")
    at = {m: m["T"] for m in networks.where(kind="student")}
    results = {
        m: {run.recipe.seed: result(run, softened(t)) for run in teachers} for m, t in at.items()
    }
    return Found(networks, Comparison(results, columns_of(teachers, SOFTENED)))


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
