"""Ten generations of sequential self-distillation.

Claim: over the generations test accuracy rises and NLL falls, while predictive uncertainty and
    confidence diversity of the training-set predictions rise.
Paper: figure 1 (there CIFAR-100; here digits).
Run: softprior study generations
Cost: 29 s at desk scale (10 seeds, 100 runs) on 2 cores of an AMD EPYC.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from softprior import diagnostics
from softprior.priors import TeacherPrior
from softprior.studies._drawing import curve_with_band
from softprior.studies._kit import (
    COLOURS,
    Claim,
    Column,
    Difference,
    Figure,
    Measured,
    Scale,
    Table,
    verdict,
)
from softprior.training import Recipe, Run, generations

SEEDS = {"smoke": 2, "desk": 10, "paper": 10}
EPOCHS = {"smoke": 4, "desk": 30, "paper": 150}
GENERATIONS = {"smoke": 3, "desk": 10, "paper": 10}

COLUMNS = (
    Column(name="Accuracy", percent=True, better="high"),
    Column(name="NLL", digits=4, better="low"),
    Column(name="ECE", percent=True, better="low"),
    Column(name="Uncertainty", digits=4),
    Column(name="Diversity"),
    Column(name="Variance", digits=5),
)


def recipes(scale: Scale) -> Iterable[Recipe]:
    """A chain for each seed; a student sees its teacher's votes alone (label weight 0, T = 1)."""
    votes = TeacherPrior(strength=1.0, temperature=1.0)
    for seed in range(scale.seeds):
        first = Recipe(model="mlp", validation=0.25, epochs=EPOCHS[scale.name], seed=seed)
        yield from generations(first, votes, GENERATIONS[scale.name])


def show(runs: Sequence[Run]) -> Iterable[Table | Figure | Claim]:
    """Each generation's test scores, and how unsure and diverse it is on the training set."""
    chains: dict[int, list[tuple[float, ...]]] = {}
    for run in sorted(runs, key=lambda run: (run.recipe.seed, run.recipe.generation)):
        chains.setdefault(run.recipe.seed, []).append(measure(run))
    seeds = list(chains.values())
    columns = [
        [Measured.of(v) for v in zip(*step, strict=True)] for step in zip(*seeds, strict=True)
    ]
    yield from _claims(seeds)
    yield Table(
        key="generations",
        title="Each generation",
        caption="Mean ± standard deviation over seeds, best epoch by validation accuracy. "
        "Accuracy, NLL and ECE (20 bins) on the test set; predictive uncertainty, confidence "
        "diversity (both in nats) and variance of the true-class confidence on the training set.",
        columns=(Column(name="Generation"), *COLUMNS),
        rows=[(str(k), *cells) for k, cells in enumerate(columns, 1)],
    )
    yield _curves(columns)


def measure(run: Run) -> tuple[float, ...]:
    """Accuracy, NLL, ECE on the test set; uncertainty, diversity, variance on the training set."""
    test, train = run.predictions("test"), run.predictions("train")
    return (
        diagnostics.accuracy(*test),
        diagnostics.nll(*test),
        diagnostics.ece(*test),
        diagnostics.predictive_uncertainty(*train),
        diagnostics.confidence_diversity(*train),
        diagnostics.confidence_variance(*train),
    )


def _claims(seeds: Sequence[Sequence[tuple[float, ...]]]) -> Iterable[Claim]:
    last = len(seeds[0])
    for text, at, sign in (
        ("Test accuracy rises", 0, +1),
        ("Test NLL falls", 1, -1),
        ("Predictive uncertainty rises", 3, +1),
        ("Confidence diversity rises", 4, +1),
    ):
        gap = Difference.paired([c[-1][at] for c in seeds], [c[0][at] for c in seeds])
        yield verdict(
            f"{text} from generation 1 to generation {last}.",
            {"difference": gap},
            sign=sign,
            percent=COLUMNS[at].percent,
        )


def _curves(columns: Sequence[Sequence[Measured]]) -> Figure:
    panels = [(0, "Test accuracy, %", 100), (1, "Test NLL, nats", 1)]
    panels += [(3, "Predictive uncertainty, nats", 1), (4, "Confidence diversity, nats", 1)]
    steps = list(range(1, len(columns) + 1))

    def draw(axes: Sequence[object]) -> None:
        for ax, (at, label, factor) in zip(axes, panels, strict=True):
            curve_with_band(
                ax,
                steps,
                [factor * cells[at].mean for cells in columns],
                [factor * cells[at].std for cells in columns],
                colour=COLOURS["self-distillation"],
                xlabel="Generation",
                ylabel=label,
            )

    return Figure(
        key="curves",
        title="Curves over the generations",
        caption="Mean over seeds; the band is ± one standard deviation.",
        alt="Four curves over the generations: test accuracy, test NLL, and predictive "
        "uncertainty and confidence diversity of the training-set predictions.",
        draw=draw,
        data={label: [cells[at].mean for cells in columns] for at, label, _ in panels},
        panels=len(panels),
        size=(9.0, 2.6),
    )
