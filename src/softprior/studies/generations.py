"""Ten generations of sequential self-distillation.

Claim: over the generations test accuracy rises and NLL falls, while predictive uncertainty and
    confidence diversity of the training-set predictions rise, and accuracy gains go with both.
Paper: RQ1, figure 1 (there CIFAR-100); the ensemble of generations: Born-Again Networks.
Run: softprior study generations
Cost: with the eight other studies 5 min 16 s (softprior study all, desk scale) on 2 cores of
    an AMD EPYC; on 20 classes of Tiny-ImageNet (--dataset, 5 seeds) with four others 1 h 50 min
    on 2 slower cores, which had some other work beside.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from softprior.priors import TeacherPrior
from softprior.studies._chains import About, Chain, Gain, chains, correlate
from softprior.studies._generations import curves, gains_against
from softprior.studies._kit import (
    INTERVALS,
    Claim,
    Column,
    Difference,
    Figure,
    Measured,
    Scale,
    Table,
    Verdict,
    verdict,
)
from softprior.studies._settings import base
from softprior.studies._statistics import Interval
from softprior.training import Recipe, Run, generations

SEEDS = {"smoke": 2, "desk": 10, "paper": 10}
GENERATIONS = {"smoke": 3, "desk": 10, "paper": 10}
FEWEST = 5  # seeds of which an interval by resampling may decide

SCORES = (
    Column(name="Accuracy", percent=True, better="high"),
    Column(name="NLL", digits=4, better="low"),
    Column(name="ECE", percent=True, better="low"),
)
SAID = (
    Column(name="Uncertainty", digits=4),
    Column(name="Diversity"),
    Column(name="Variance", digits=5),
    Column(name="Training accuracy", percent=True),
)


def chain(scale: Scale, seed: int) -> list[Recipe]:
    """Generations of which each sees the votes of the one before alone (label weight 0, T = 1)."""
    votes = TeacherPrior(strength=1.0, temperature=1.0)
    return list(generations(base(scale, seed), votes, GENERATIONS[scale.name]))


def recipes(scale: Scale) -> Iterable[Recipe]:
    """A chain for each seed."""
    for seed in range(scale.seeds):
        yield from chain(scale, seed)


def show(runs: Sequence[Run]) -> Iterable[Table | Figure | Claim]:
    """Each generation, the generations as an ensemble, and what goes with the gains."""
    found = chains(runs)
    alone = _steps([c.alone for c in found])
    together = _steps([c.together for c in found])
    said = _steps([c.said for c in found])
    yield from _claims(found)
    yield Table(
        key="generations",
        title="Each generation",
        caption="Test set, mean ± standard deviation over seeds, selected epoch. "
        "NLL in nats; ECE: 20 equal-width bins.",
        columns=(Column(name="Generation"), *SCORES),
        rows=[(str(k), *cells) for k, cells in enumerate(alone, 1)],
    )
    yield Table(
        key="votes",
        title="What each generation says of the training set",
        caption="Its votes, as they teach the next generation, not augmented; mean ± standard "
        "deviation over seeds. Predictive uncertainty and confidence diversity in nats; variance: "
        "of the true-class confidence.",
        columns=(Column(name="Generation"), *SAID),
        rows=[(str(k), *cells) for k, cells in enumerate(said, 1)],
    )
    yield _ensembles(found, together)
    yield _correlations(found)
    yield curves(alone, together, said)
    yield gains_against(found)


def _steps(rows: Sequence[Sequence[tuple[float, ...]]]) -> list[list[Measured]]:
    """For each generation its numbers, each over the seeds."""
    return [
        [Measured.of(values) for values in zip(*step, strict=True)]
        for step in zip(*rows, strict=True)
    ]


def _claims(found: Sequence[Chain]) -> Iterable[Claim]:
    n = len(found[0].alone)
    alone, said = [c.alone for c in found], [c.said for c in found]
    rises = f"from generation 1 to generation {n}."
    for text, gap, sign in (
        (f"Test accuracy rises {rises}", _change(alone, 0), +1),
        (f"Test NLL falls {rises}", _change(alone, 1), -1),
        (f"Predictive uncertainty rises {rises}", _change(said, 0), +1),
        (f"Confidence diversity rises {rises}", _change(said, 1), +1),
    ):
        share = "accuracy" in text
        unit = "difference" if share else "difference, nats"
        yield verdict(text, {unit: gap}, sign=sign, percent=share, answers=("RQ1",))
    about: About
    for about in ("uncertainty", "diversity"):
        yield associated(
            f"The more {about} in the teacher's votes, the more accuracy its student has gained "
            "since generation 1.",
            correlate(found, about, "since generation 1"),
            seeds=len(found),
            students=n - 1,
        )
    ours = [c.together[-1].accuracy for c in found]
    yield verdict(
        f"The ensemble of all {n} generations is more accurate than its first and its last member.",
        {
            f"than generation {k}": Difference.paired(
                ours, [c.alone[k - 1].accuracy for c in found]
            )
            for k in (1, n)
        },
        sign=+1,
        percent=True,
    )


def _change(rows: Sequence[Sequence[tuple[float, ...]]], at: int) -> Difference:
    """Of number ``at`` from the first generation to the last."""
    return Difference.paired([row[-1][at] for row in rows], [row[0][at] for row in rows])


def associated(text: str, rho: Interval, *, seeds: int, students: int) -> Claim:
    """A claim that a correlation is positive, decided by its interval.

    Open where the interval includes zero, and with fewer than five seeds: their resamples are
    too few for the interval to mean anything.
    """
    outcome: Verdict = "cannot tell"
    if rho.low > 0 and seeds >= FEWEST:
        outcome = "holds"
    elif rho.high < 0 and seeds >= FEWEST:
        outcome = "does not hold"
    value, low, high = (f"{v:+.2f}".replace("-", "−") for v in rho)
    interval = f" [{low}, {high}]" if rho.low == rho.low else ""  # NaN: one seed
    sample = f"seeds: {seeds}, of {students} students; 95 % interval: whole seeds resampled"
    if seeds < FEWEST:
        sample += f", and fewer than {FEWEST} decide nothing"
    brief = f"Spearman's ρ {value}{interval}"
    return Claim(
        text=text,
        verdict=outcome,
        evidence=f"{brief} ({sample})",
        brief=brief,
        answers=("RQ1",),
    )


def _ensembles(found: Sequence[Chain], together: Sequence[Sequence[Measured]]) -> Table:
    def gap(k: int, at: int) -> Difference:
        ours = [c.together[k][at] for c in found]
        return Difference.paired(ours, [c.alone[k][at] for c in found])

    accuracy, nll, _ = SCORES
    return Table(
        key="ensembles",
        title="The generations as an ensemble",
        caption="Test scores of the mean of the probabilities of generations 1 to k (mean ± "
        "standard deviation over seeds), and their paired difference to generation k alone, with "
        f"its 95 % t interval. {INTERVALS}",
        columns=(
            Column(name="Generations"),
            *SCORES,
            replace(accuracy, name="Accuracy, difference"),
            replace(nll, name="NLL, difference"),
        ),
        rows=[
            (f"1 to {k + 1}", *cells, gap(k, 0), gap(k, 1))
            for k, cells in enumerate(together)
            if k > 0
        ],
    )


def _correlations(found: Sequence[Chain]) -> Table:
    kinds: list[tuple[str, Gain, bool]] = [
        ("since generation 1", "since generation 1", False),
        ("since generation 1, generation's mean taken away", "since generation 1", True),
        ("on the teacher", "on the teacher", False),
    ]
    abouts: tuple[About, ...] = ("uncertainty", "diversity", "variance")
    return Table(
        key="correlations",
        title="What goes with the gains",
        caption="Spearman's correlation of a student's gain in test accuracy with what its teacher "
        f"says of the training set: {len(found)} seeds of {len(found[0].alone) - 1} students. From "
        "and to: 95 % interval, whole seeds resampled (2,000 times), none for one seed; with few "
        "seeds it is rather too short. What rises over the generations correlates with all "
        "that does; where each generation's mean is taken away, chains are compared at the same "
        "generation. A teacher that did badly by chance is easily gained on.",
        columns=(
            Column(name="Gain"),
            Column(name="Teacher's"),
            *(Column(name=name) for name in ("Correlation", "From", "To")),
        ),
        rows=[
            (name, about, *correlate(found, about, since, detrended=detrended))
            for name, since, detrended in kinds
            for about in abouts
        ],
    )
