"""What is measured along chains of generations, and what their gains go with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Literal, NamedTuple

from torch import Tensor

from softprior import diagnostics
from softprior.studies._statistics import Interval, correlation
from softprior.training import Run
from softprior.training.ensemble import ensemble


class Scores(NamedTuple):
    """Of a generation, or of an ensemble, on the test set."""

    accuracy: float
    nll: float
    ece: float


class Said(NamedTuple):
    """What a generation says of the training set: the votes that teach the next one."""

    uncertainty: float
    diversity: float
    variance: float
    accuracy: float


class Chain(NamedTuple):
    """A seed's generations in their order; ``together[k]`` is the ensemble of the first k + 1."""

    alone: list[Scores]
    together: list[Scores]
    said: list[Said]


Gain = Literal["since generation 1", "on the teacher"]
About = Literal["uncertainty", "diversity", "variance"]


def chains(runs: Iterable[Run]) -> list[Chain]:
    """Runs in any order by seed, and in each seed by generation."""
    seeds: dict[int, list[Run]] = {}
    for run in sorted(runs, key=lambda run: (run.recipe.seed, run.recipe.generation)):
        seeds.setdefault(run.recipe.seed, []).append(run)
    return [
        Chain(
            alone=[scores(*run.predictions("test")) for run in of],
            together=[scores(*ensemble(of[: k + 1])) for k in range(len(of))],
            said=[said(*run.predictions("train")) for run in of],
        )
        for of in seeds.values()
    ]


def scores(logits: Tensor, labels: Tensor) -> Scores:
    """Of test predictions."""
    accuracy = diagnostics.accuracy(logits, labels)
    return Scores(accuracy, diagnostics.nll(logits, labels), diagnostics.ece(logits, labels))


def said(logits: Tensor, labels: Tensor) -> Said:
    """Of training-set predictions."""
    return Said(
        diagnostics.predictive_uncertainty(logits, labels),
        diagnostics.confidence_diversity(logits, labels),
        diagnostics.confidence_variance(logits, labels),
        diagnostics.accuracy(logits, labels),
    )


def teachers(found: Sequence[Chain], about: About) -> list[list[float]]:
    """A row for each seed, a number for each student: what its teacher says.

    The teacher of generation k is generation k - 1; the last one teaches nobody.
    """
    return [[getattr(s, about) for s in chain.said[:-1]] for chain in found]


def gains(found: Sequence[Chain], since: Gain = "since generation 1") -> list[list[float]]:
    """A row for each seed, a number for each student: what it gained in test accuracy."""
    accuracies = [[s.accuracy for s in chain.alone] for chain in found]
    if since == "on the teacher":
        return [[b - a for a, b in pairwise(row)] for row in accuracies]
    return [[a - row[0] for a in row[1:]] for row in accuracies]


def correlate(
    found: Sequence[Chain], about: About, since: Gain, *, detrended: bool = False
) -> Interval:
    """Spearman's, of the students' gains with what their teachers say; seeds are resampled.

    Whatever rises over the generations correlates with all else that does. ``detrended`` takes
    each generation's mean over the seeds away first: what is left is a difference between
    chains, of the same generation.
    """
    x, y = teachers(found, about), gains(found, since)
    return correlation(centred(x), centred(y)) if detrended else correlation(x, y)


def centred(rows: Sequence[Sequence[float]]) -> list[list[float]]:
    """Each column less its mean."""
    means = [fmean(column) for column in zip(*rows, strict=True)]
    return [[v - m for v, m in zip(row, means, strict=True)] for row in rows]
