"""Calibration by every convention, before and after temperature scaling; selective prediction.

Claim: self-distillation and Beta smoothing are better calibrated than label smoothing, by every
    convention, before and after temperature scaling; and smoothing costs selective prediction.
Paper: RQ4, main table, ECE with 20 bins. The rest is not in it (temperature scaling: Guo et al.,
    ICML 2017; label smoothing and selective prediction: Xia et al., ICLR 2025).
Run: softprior study calibration
Cost: with the eight other studies 5 min 16 s (softprior study all, desk scale) on 2 cores of
    an AMD EPYC.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from softprior import diagnostics
from softprior.studies._calibration import (
    CONVENTIONS,
    Numbers,
    everywhere,
    measure,
    paired,
    scaled,
    temperature,
)
from softprior.studies._calibration_figures import (
    conventions_figure,
    reliability_figure,
    risk_figure,
)
from softprior.studies._kit import (
    INTERVALS,
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
from softprior.studies._settings import base, methods
from softprior.training import Recipe, Run

SEEDS = {"smoke": 2, "desk": 10, "paper": 10}
CE, LS = "cross-entropy", "label smoothing"

SCORES = ("NLL", "Brier score")
SELECTIVE = ("AURC", "Excess AURC", "Risk at 80 %", "Risk at 90 %")


def recipes(scale: Scale) -> Iterable[Recipe]:
    """All methods at the same average smoothing: the runs of the main table."""
    for seed in range(scale.seeds):
        yield from methods(base(scale, seed))


def show(runs: Sequence[Run]) -> Iterable[Table | Figure | Claim]:
    """Every convention before and after, what each method gains by it, and risk at coverage."""
    groups = {name.partition(",")[0]: of for name, of in by_method(runs).items()}
    before = {n: [measure(*run.predictions("test")) for run in of] for n, of in groups.items()}
    after = {n: [measure(*scaled(run)) for run in of] for n, of in groups.items()}
    yield from _claims(before, after)
    yield _scores(groups, before, after)
    for key, words, numbers in (
        ("before", "before temperature scaling", before),
        ("after", "after temperature scaling", after),
    ):
        yield _levels(f"conventions_{key}", f"Calibration error {words}", CONVENTIONS, numbers)
        yield _differences(
            f"conventions_{key}_differences", f"Calibration error {words}", CONVENTIONS, numbers
        )
    yield _levels("selective", "Selective prediction", SELECTIVE, before)
    yield _differences("selective_differences", "Selective prediction", SELECTIVE, before)
    yield _levels("selective_after", "Selective prediction after scaling", SELECTIVE, after)
    yield conventions_figure({"Before": before, "After": after}, list(CONVENTIONS))
    yield reliability_figure(
        {
            "before": {n: [r.predictions("test") for r in of] for n, of in groups.items()},
            "after": {n: [scaled(r) for r in of] for n, of in groups.items()},
        }
    )
    yield risk_figure(groups, CE)


def _claims(before: Numbers, after: Numbers) -> Iterable[Claim]:
    regularised = [name for name in before if name != CE]
    specific = [n for n in regularised if n.startswith(("Beta", "self-distillation"))]
    for words, numbers in (("Before", before), ("After", after)):
        start = f"{words} temperature scaling"
        yield everywhere(
            f"{start} self-distillation and Beta smoothing are better calibrated than {LS}, by "
            "every convention.",
            *(numbers, specific, LS),
            answers=("RQ4",),
        )
        yield everywhere(
            f"{start} every regulariser is better calibrated than {CE}, by every convention.",
            *(numbers, regularised, CE),
        )
    ece = "ECE, 20 bins"
    yield verdict(
        "Temperature scaling on held-out data lowers the ECE (20 bins) of every method.",
        {
            n: Difference.paired([row[ece] for row in after[n]], [row[ece] for row in before[n]])
            for n in before
        },
        sign=-1,
        percent=True,
    )
    yield verdict(
        f"After temperature scaling every regulariser has a lower NLL than {CE}.",
        {n: paired(after, n, CE, "NLL") for n in regularised},
        sign=-1,
    )
    yield verdict(
        f"Smoothing costs selective prediction: every regulariser has a higher excess AURC than "
        f"{CE}.",
        {n: paired(before, n, CE, "Excess AURC") for n in regularised},
        sign=+1,
        percent=True,
    )
    yield verdict(
        f"Self-distillation and Beta smoothing cost it less than {LS}: lower excess AURC.",
        {n: paired(before, n, LS, "Excess AURC") for n in specific},
        sign=-1,
        percent=True,
    )


NOTES = (
    "Selected epoch, test set. ECE: expected calibration error in equal-width bins; equal mass: 20 "
    "bins of equally many samples; classwise: of each class's probability, 20 equal-width bins, "
    "mean over classes; RMS, debiased: root mean square, 20 equal-mass bins."
)
SELECTIVE_NOTES = (
    "Selected epoch, test set. Risk: error rate among the most confident samples, here 80 and 90 % "
    "of "
    "them. AURC: mean risk over all coverages; excess: above that of the best order of the same "
    "predictions, so that accuracy is taken out of it. A temperature changes the order a little."
)


def _columns(names: Iterable[str]) -> list[Column]:
    fine = ("AURC", "Excess AURC")
    return [Column(name=n, percent=True, digits=3 if n in fine else 2, better="low") for n in names]


def _notes(names: Iterable[str]) -> str:
    return SELECTIVE_NOTES if "AURC" in names else NOTES


def _levels(key: str, title: str, names: Iterable[str], numbers: Numbers) -> Table:
    return Table(
        key=key,
        title=title,
        caption=f"Mean ± standard deviation over seeds. {_notes(names)}",
        columns=(Column(name="Method"), *_columns(names)),
        rows=[
            (name, *(Measured.of([row[what] for row in of]) for what in names))
            for name, of in numbers.items()
        ],
    )


def _differences(key: str, title: str, names: Iterable[str], numbers: Numbers) -> Table:
    return Table(
        key=key,
        title=f"{title}: difference to {CE}",
        caption="In points: mean paired difference over seeds (same split, order and "
        f"initialisation) with its 95 % t interval. {INTERVALS} {_notes(names)}",
        columns=(Column(name="Method"), *_columns(names)),
        rows=[
            (name, *(paired(numbers, name, CE, what) for what in names))
            for name in numbers
            if name != CE
        ],
    )


def _scores(groups: Mapping[str, Sequence[Run]], before: Numbers, after: Numbers) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name, runs in groups.items():
        test = [diagnostics.accuracy(*run.predictions("test")) for run in runs]
        train = [diagnostics.accuracy(*run.predictions("train", "last")) for run in runs]
        pairs = [[row[s] for row in of[name]] for s in SCORES for of in (before, after)]
        columns = [test, train, [temperature(run) for run in runs], *pairs]
        rows.append((name, *map(Measured.of, columns)))
    return Table(
        key="scores",
        title="Accuracy, temperature, and proper scores before and after scaling",
        caption="Mean ± standard deviation over seeds, selected epoch; training accuracy: last "
        "epoch. "
        "Temperature: the one with the lowest NLL on the validation set, below 1 where a method is "
        "underconfident; few errors there leave it uncertain. Scaled: test set at it. NLL in nats; "
        "Brier score in [0, 2].",
        columns=(
            Column(name="Method"),
            Column(name="Accuracy", percent=True, better="high"),
            Column(name="Training accuracy", percent=True),
            Column(name="Temperature"),
            *(
                Column(name=f"{s}{note}", digits=4, better="low")
                for s in SCORES
                for note in ("", ", scaled")
            ),
        ),
        rows=rows,
    )
