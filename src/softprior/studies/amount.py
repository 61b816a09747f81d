"""How much smoothing: every method over the amount that it takes from the label.

Claim: no conclusion hangs on one amount: between 5 and 30 % self-distillation and Beta smoothing
    are more accurate and better calibrated than as much label smoothing, and every regulariser
    is more accurate than cross-entropy.
Paper: RQ3; the main table has one amount, 15 %, and matches it; the range is ours.
Run: softprior study amount
Cost: with the eight other studies 5 min 16 s (softprior study all, desk scale) on 2 cores of
    an AMD EPYC; on 20 classes of Tiny-ImageNet (--dataset, 5 seeds) with four others 1 h 50 min
    on 2 slower cores, which had some other work beside.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from softprior.studies._ablation import COLUMNS, HOW, Score
from softprior.studies._amount import (
    CE,
    LS,
    SD,
    SMOOTHINGS,
    Groups,
    Numbers,
    at_every,
    chosen,
    gap,
    grouped,
    numbers_of,
    over_all,
    shown,
)
from softprior.studies._amount_figures import gaps_figure, levels_figure
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
from softprior.studies._settings import base, methods
from softprior.studies._went import COLUMNS as WENT
from softprior.studies._went import NOTES, went
from softprior.training import Recipe, Run

SEEDS = {"smoke": 2, "desk": 10, "paper": 10}
FEW = (
    "Few errors on the validation set leave the fitted temperature, and what is scaled, uncertain."
)
SMOKE = (0.15, 0.30)
DESK = (0.05, 0.15, 0.30)  # on images, where every run costs
AMOUNT = Column(name="Amount", percent=True, digits=0)


def recipes(scale: Scale) -> Iterable[Recipe]:
    """Cross-entropy once, and every other method at each amount.

    On a data set of images without the confidence penalty, and at a desk at fewer amounts.
    """
    smoothings: tuple[float, ...] = SMOKE if scale.name == "smoke" else SMOOTHINGS
    if scale.name == "desk" and scale.dataset is not None:
        smoothings = DESK
    for seed in range(scale.seeds):
        reference = base(scale, seed)
        yield reference
        for smoothing in smoothings:
            for recipe in methods(reference, smoothing)[1:]:
                if scale.dataset is None or recipe.penalty is None:
                    yield recipe


def show(runs: Sequence[Run]) -> Iterable[Table | Figure | Claim]:
    """Verdicts at every amount, over all and at the best; the curves; the numbers."""
    groups = grouped(runs)
    numbers = numbers_of(groups)
    best = chosen(groups)
    yield from _claims(numbers, best)
    yield levels_figure(numbers, ("accuracy", "nll", "ece", "scaled_nll"))
    yield gaps_figure(numbers, LS, ("accuracy", "ece"))
    yield _best(numbers, best)
    yield _levels(numbers)
    yield _differences("over_cross_entropy", CE, numbers)
    yield _differences("over_label_smoothing", LS, numbers)
    yield _runs(groups)


def _claims(numbers: Numbers, best: dict[str, float]) -> Iterable[Claim]:
    regularised = [name for name in numbers if name != CE]
    specific = [name for name in regularised if name == SD or name.startswith("Beta")]
    ours = "self-distillation and Beta smoothing"
    questions: list[tuple[str, list[str], str, Score, int]] = [
        (f"every regulariser is more accurate than {CE}.", regularised, CE, "accuracy", +1),
        (f"{ours} are more accurate than {LS}.", specific, LS, "accuracy", +1),
        (f"{ours} have a lower ECE (20 bins) than {LS}.", specific, LS, "ece", -1),
    ]
    for text, names, reference, score, sign in questions:
        yield at_every(f"At every amount {text}", numbers, names, reference, score, sign=sign)
        yield verdict(
            f"On average over the amounts {text}",
            {name: over_all(numbers, name, reference, score) for name in names},
            sign=sign,
            percent=True,
            answers=() if reference == CE else ("RQ3",) if score == "accuracy" else ("RQ4",),
        )
    yield verdict(
        f"Each at its best amount by validation accuracy, {ours} are more accurate on the test "
        f"set than {LS}.",
        {
            f"{name} ({shown(best[name])} against {shown(best[LS])})": Difference.paired(
                [s.accuracy for s in numbers[name][best[name]]],
                [s.accuracy for s in numbers[LS][best[LS]]],
            )
            for name in specific
        },
        sign=+1,
        percent=True,
    )
    yield verdict(
        "On average over the amounts, after temperature scaling, every regulariser has a lower NLL "
        f"than {CE}.",
        {name: over_all(numbers, name, CE, "scaled_nll") for name in regularised},
        sign=-1,
    )
    least, most = min(numbers[LS]), max(numbers[LS])
    yield verdict(
        f"The more is taken from the label, the worse calibrated before scaling: a higher ECE at "
        f"{shown(most)} than at {shown(least)}.",
        {
            name: Difference.paired(
                [s.ece for s in numbers[name][most]], [s.ece for s in numbers[name][least]]
            )
            for name in regularised
        },
        sign=+1,
        percent=True,
    )


def _best(numbers: Numbers, best: dict[str, float]) -> Table:
    return Table(
        key="best",
        title="Each method at its best amount",
        caption="Amount with the highest validation accuracy, mean over seeds. Mean ± standard "
        f"deviation over seeds. {HOW} {FEW}",
        columns=(Column(name="Method"), AMOUNT, *COLUMNS.values()),
        rows=[
            (name, ε, *(Measured.of(values) for values in zip(*numbers[name][ε], strict=True)))
            for name, ε in best.items()
        ],
    )


def _levels(numbers: Numbers) -> Table:
    return Table(
        key="levels",
        title="Every method at every amount",
        caption=f"Mean ± standard deviation over seeds. {HOW} {FEW}",
        columns=(Column(name="Method"), AMOUNT, *COLUMNS.values()),
        rows=[
            (name, ε, *(Measured.of(values) for values in zip(*of, strict=True)))
            for name, by in numbers.items()
            for ε, of in by.items()
        ],
    )


def _differences(key: str, reference: str, numbers: Numbers) -> Table:
    return Table(
        key=key,
        title=f"Difference to {reference} at every amount",
        caption="Mean paired difference over seeds (same split, order and initialisation) with "
        f"its 95 % t interval. {HOW} {INTERVALS}",
        columns=(Column(name="Method"), AMOUNT, *COLUMNS.values()),
        rows=[
            (name, ε, *(gap(numbers, name, reference, score, ε) for score in COLUMNS))
            for name, by in numbers.items()
            if name not in (CE, reference)
            for ε in by
        ],
    )


def _runs(groups: Groups) -> Table:
    return Table(
        key="runs",
        title="How the runs went",
        caption="Amount: what the targets take from the label on average; confidence penalty: what "
        f"its optimum on one sample does, which training may not come to. {NOTES}",
        columns=(Column(name="Method"), AMOUNT, *WENT),
        rows=[(name, ε, *went(runs)) for name, by in groups.items() for ε, runs in by.items()],
    )
