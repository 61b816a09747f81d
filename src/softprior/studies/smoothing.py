"""The main table: five ways to spread the same amount of smoothing.

Claim: at the same average smoothing, self-distillation and Beta smoothing beat label smoothing,
    and every regulariser beats cross-entropy.
Paper: main table (there CIFAR-100, CUB-200 and Tiny-ImageNet; here digits).
Run: softprior study smoothing
Cost: 27 s at desk scale (15 seeds, 90 runs) on 2 cores of an AMD EPYC.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from softprior import diagnostics
from softprior.matching import uniform_smoothing
from softprior.priors import BetaPrior, TeacherPrior, UniformPrior
from softprior.studies._drawing import confidence_histogram, reliability_diagram
from softprior.studies._kit import (
    COLOURS,
    Cell,
    Claim,
    Column,
    Difference,
    Figure,
    Measured,
    Scale,
    Table,
    by_method,
    verdict,
)
from softprior.training import Recipe, Run
from softprior.training.store import Epoch

SEEDS = {"smoke": 2, "desk": 15, "paper": 20}
EPOCHS = {"smoke": 8, "desk": 30, "paper": 150}
SMOOTHING = 0.15
WEIGHT = 0.6


def recipes(scale: Scale) -> Iterable[Recipe]:
    """Five methods for each seed, matched in split, order and initialisation."""
    for seed in range(scale.seeds):
        base = Recipe(model="mlp", validation=0.25, epochs=EPOCHS[scale.name], seed=seed)
        spread = uniform_smoothing(SMOOTHING, num_classes=10)
        beta = replace(
            base, prior=BetaPrior.matching(SMOOTHING, strength=WEIGHT), label_weight=1 - WEIGHT
        )
        yield base
        yield replace(base, prior=UniformPrior(spread), label_weight=1 - spread)
        yield replace(beta, teacher="ema")
        yield replace(beta, teacher="memory")
        yield replace(
            base,
            prior=TeacherPrior(strength=WEIGHT),
            label_weight=1 - WEIGHT,
            teacher=replace(base, initialisation=1),
            match_smoothing=SMOOTHING,
        )


def show(runs: Sequence[Run]) -> Iterable[Table | Figure | Claim]:
    """Levels, paired differences, verdicts, and what the confidences look like."""
    methods = by_method(runs)
    numbers = {
        epoch: {name: [measure(run, epoch) for run in of] for name, of in methods.items()}
        for epoch in ("best", "last")
    }
    best = numbers["best"]
    yield from _claims(best)
    yield _levels("best", "the epoch with the best validation accuracy", best)
    yield _differences("best", "the epoch with the best validation accuracy", best)
    yield _levels("last", "the last epoch", numbers["last"])
    yield _differences("last", "the last epoch", numbers["last"])
    yield _amounts(methods)
    yield _reliability(methods)
    yield _confidences(methods)


COLUMNS = (
    Column(name="Accuracy", percent=True, better="high"),
    Column(name="NLL", digits=4, better="low"),
    Column(name="ECE", percent=True, better="low"),
    Column(name="NLL, scaled", digits=4, better="low"),
    Column(name="ECE, scaled", percent=True, better="low"),
)


def measure(run: Run, epoch: Epoch) -> tuple[float, ...]:
    """Test accuracy, NLL and ECE, and the last two after temperature scaling on validation."""
    logits, labels = run.predictions("test", epoch)
    scaled = logits / diagnostics.fit_temperature(*run.predictions("validation", epoch))
    return (
        diagnostics.accuracy(logits, labels),
        diagnostics.nll(logits, labels),
        diagnostics.ece(logits, labels),
        diagnostics.nll(scaled, labels),
        diagnostics.ece(scaled, labels),
    )


Numbers = dict[str, list[tuple[float, ...]]]


def _levels(key: str, epoch: str, numbers: Numbers) -> Table:
    return Table(
        key=f"levels_{key}",
        title=f"Test set, {epoch}",
        caption="Mean ± standard deviation over seeds. ECE: 20 equal-width bins. Scaled: after "
        "temperature scaling, fitted on the validation set. NLL in nats.",
        columns=(Column(name="Method"), *COLUMNS),
        rows=[
            (name, *(Measured.of(values) for values in zip(*rows, strict=True)))
            for name, rows in numbers.items()
        ],
    )


def _differences(key: str, epoch: str, numbers: Numbers) -> Table:
    reference, *others = numbers
    return Table(
        key=f"differences_{key}",
        title=f"Difference to {reference}, {epoch}",
        caption="Mean paired difference over seeds (same split, order and initialisation) with "
        "its 95 % t interval, not corrected for the number of comparisons.",
        columns=(Column(name="Method"), *COLUMNS),
        rows=[
            (name, *(paired(numbers, name, reference, at) for at in range(len(COLUMNS))))
            for name in others
        ],
    )


def paired(numbers: Numbers, name: str, reference: str, at: int) -> Difference:
    """``name`` minus ``reference`` in the metric number ``at``, seed by seed."""
    return Difference.paired([r[at] for r in numbers[name]], [r[at] for r in numbers[reference]])


def _claims(numbers: Numbers) -> Iterable[Claim]:
    reference, smoothed, *specific = numbers
    accuracy, ece, scaled_nll = 0, 2, 3
    yield verdict(
        f"Every regulariser is more accurate than {reference}.",
        {n: paired(numbers, n, reference, accuracy) for n in (smoothed, *specific)},
        sign=+1,
        percent=True,
    )
    yield verdict(
        f"Self-distillation and Beta smoothing are more accurate than {smoothed}.",
        {n: paired(numbers, n, smoothed, accuracy) for n in specific},
        sign=+1,
        percent=True,
    )
    yield verdict(
        f"Self-distillation and Beta smoothing have a lower ECE than {smoothed}.",
        {n: paired(numbers, n, smoothed, ece) for n in specific},
        sign=-1,
        percent=True,
    )
    yield verdict(
        f"After temperature scaling, every regulariser has a lower NLL than {reference}.",
        {n: paired(numbers, n, reference, scaled_nll) for n in (smoothed, *specific)},
        sign=-1,
    )


def _amounts(methods: dict[str, list[Run]]) -> Table:
    """What was matched, and whether the training set was memorised."""
    rows: list[tuple[Cell, ...]] = []
    for name, runs in methods.items():
        temperatures = [t for run in runs if (t := run.outcome["temperature"]) is not None]
        train = [diagnostics.accuracy(*run.predictions("train")) for run in runs]
        rows.append(
            (
                name,
                Measured.of(temperatures) if temperatures else "–",
                Measured.of(train),
                Measured.of([float(run.outcome["best_epoch"]) for run in runs]),
            )
        )
    return Table(
        key="amounts",
        title="How the runs went",
        caption=f"Every regulariser takes {SMOOTHING:.0%} from the label on average. Temperature: "
        "the one at which the teacher's votes do.",
        columns=(
            Column(name="Method"),
            Column(name="Temperature"),
            Column(name="Training accuracy", percent=True),
            Column(name="Best epoch", digits=1),
        ),
        rows=rows,
    )


def _pooled(runs: Sequence[Run]) -> tuple[Tensor, Tensor]:
    """Test logits and labels of all seeds in one."""
    pairs = [run.predictions("test") for run in runs]
    return torch.cat([p[0] for p in pairs]), torch.cat([p[1] for p in pairs])


def _reliability(methods: dict[str, list[Run]]) -> Figure:
    tables = {n: diagnostics.reliability(*_pooled(runs)) for n, runs in methods.items()}

    def draw(axes: Sequence[object]) -> None:
        for ax, (name, table) in zip(axes, tables.items(), strict=True):
            reliability_diagram(ax, *(t.tolist() for t in table), colour=COLOURS[name], label=name)

    return Figure(
        key="reliability",
        title="Reliability on the test set",
        caption="Bars: accuracy in each of 20 bins of confidence; ticks: mean confidence there; "
        "all seeds pooled, best epoch. Above the diagonal a model is underconfident.",
        alt="One reliability diagram per method: accuracy against confidence, with the diagonal.",
        draw=draw,
        data={name: _finite(table._asdict()) for name, table in tables.items()},
        panels=len(tables),
        size=(9.0, 2.6),
    )


def _confidences(methods: dict[str, list[Run]]) -> Figure:
    p = {}
    for name, runs in methods.items():
        logits, labels = _pooled(runs)
        p[name] = logits.softmax(1).gather(1, labels.unsqueeze(1)).squeeze(1)

    def draw(axes: Sequence[object]) -> None:
        for ax, (name, values) in zip(axes, p.items(), strict=True):
            confidence_histogram(ax, values.tolist(), colour=COLOURS[name], label=name)

    return Figure(
        key="confidences",
        title="Distribution of the true-class confidence",
        caption="Probability given to the true class on the test set, all seeds pooled, best "
        "epoch; 20 bins, log scale.",
        alt="One histogram per method of the probability that it gives to the true class.",
        draw=draw,
        data={n: torch.histc(v, 20, 0, 1).int().tolist() for n, v in p.items()},
        panels=len(p),
        size=(9.0, 2.4),
    )


def _finite(columns: dict[str, Tensor]) -> dict[str, list[float | None]]:
    return {
        key: [v if v == v else None for v in values.tolist()] for key, values in columns.items()
    }
