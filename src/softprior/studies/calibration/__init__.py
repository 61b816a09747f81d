"""Calibration by six conventions, before and after temperature scaling; selective prediction.

Claim: self-distillation and Beta smoothing are better calibrated than label smoothing by each of
    six conventions (ways to compute a calibration error), before and after temperature scaling;
    and smoothing makes selective prediction worse.
Paper: RQ4, main table, ECE with 20 bins. The rest is not in the paper (temperature scaling: Guo et
    al., ICML 2017; label smoothing and selective prediction: Xia et al., ICLR 2025).
Run: softprior study calibration
Cost: 70 runs at desk scale, 57 s of training in total on one core of an AMD EPYC; on 20
    classes of Tiny-ImageNet with 5 seeds 35 runs, 48 min 28 s.
Expected: on digits temperature scaling lowers the ECE of every method; after it no method is better
    by every convention; and smoothing does not make selective prediction worse.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from torch import Tensor

from softprior import diagnostics
from softprior.evidence import (
    Claim,
    Column,
    Comparison,
    Difference,
    Figure,
    Method,
    Table,
)
from softprior.evidence.claims import claim_everywhere
from softprior.evidence.comparison import LEVELS
from softprior.studies._shared.methods import by_method, named
from softprior.studies._shared.recipes import Scale, base, methods
from softprior.studies._shared.reliability import reliability_figure
from softprior.studies._shared.scores import (
    ACCURACY,
    NLL,
    TEMPERATURE,
    TRAINING_ACCURACY,
    OfPredictions,
    Score,
    about,
    compare,
    scaled,
)
from softprior.studies.calibration.figures import conventions_figure, risk_figure
from softprior.training import Recipe, Run

SEEDS = {"smoke": 2, "desk": 10, "paper": 10}

_ERRORS: dict[str, OfPredictions] = {
    "ECE, 10 bins": partial(diagnostics.ece, bins=10),
    "ECE, 15 bins": partial(diagnostics.ece, bins=15),
    "ECE, 20 bins": partial(diagnostics.ece, bins=20),
    "ECE, equal mass": diagnostics.ece_equal_mass,
    "classwise ECE": diagnostics.ece_classwise,
    "RMS, debiased": diagnostics.rms_calibration_debiased,
}
# All in [0, 1], 20 bins where no number is given.
CONVENTIONS = {
    name: Score(
        Column(name=name, percent=True, better="low", notes=("20 bins where no number is given.",)),
        error,
    )
    for name, error in _ERRORS.items()
}
ECE = "ECE, 20 bins"
PROPER = {
    "NLL": replace(NLL, column=replace(NLL.column, notes=())),
    "Brier score": Score(Column(name="Brier score", digits=4, better="low"), diagnostics.brier),
}


def _risk_at(coverage: int, logits: Tensor, labels: Tensor) -> float:
    """Error rate among the most confident tenths of the samples."""
    risk: list[float] = diagnostics.risk_coverage(logits, labels, points=10).risk.tolist()
    return risk[coverage - 1]


_RISK = Column(
    name="AURC",
    percent=True,
    digits=3,
    better="low",
    notes=(
        "Coverage: share of the samples that is kept, the most confident first.",
        "Risk: error rate among these.",
        "AURC: area under the risk–coverage curve, the mean risk over all coverages.",
        "Excess AURC: AURC minus that of the best possible order of the samples.",
    ),
)
SELECTIVE = {
    "AURC": Score(_RISK, diagnostics.aurc),
    "Excess AURC": Score(_RISK.with_name("Excess AURC"), diagnostics.excess_aurc),
    **{
        f"Risk at {10 * tenths} %": Score(
            replace(_RISK, name=f"Risk at {10 * tenths} %", digits=2), partial(_risk_at, tenths)
        )
        for tenths in (8, 9)
    },
}


class Stage(NamedTuple):
    """Before temperature scaling, or after."""

    name: str
    key: str
    found: Comparison


def recipes(scale: Scale) -> Iterable[Recipe]:
    """All methods at the same average smoothing: the runs of the main table."""
    for seed in scale.seeds:
        yield from methods(scale, base(scale, seed))


def show(runs: Sequence[Run]) -> Iterable[Table | Figure | Claim]:
    """Every convention before and after, what each method gains by it, and risk at coverage."""
    groups = by_method(runs, named)
    scores = {**CONVENTIONS, **PROPER, **SELECTIVE}
    after = {name: replace(score, scaled=True) for name, score in scores.items()}
    stages = [
        Stage("before temperature scaling", "before", compare(groups, scores)),
        Stage("after temperature scaling", "after", compare(groups, after)),
    ]
    first, last = stages
    ce = first.found.the(family="none")
    yield from _claims(*stages)
    yield _scores(groups, *stages)
    for name, key, found in stages:
        shown = found.only(found.methods, CONVENTIONS)
        title = f"Calibration error {name}"
        yield shown.levels(f"conventions_{key}", title)
        yield shown.differences(
            f"conventions_{key}_differences", f"{title}: difference to {ce.label}", ce
        )
    selective = first.found.only(first.found.methods, SELECTIVE)
    yield selective.levels("selective", "Selective prediction")
    yield selective.differences(
        "selective_differences", f"Selective prediction: difference to {ce.label}", ce
    )
    yield last.found.only(last.found.methods, SELECTIVE).levels(
        "selective_after", "Selective prediction after scaling"
    )
    yield conventions_figure({s.name.capitalize(): s.found for s in stages}, list(CONVENTIONS))
    which = about(runs, ACCURACY)
    before = {m: [run.predictions("test") for run in of] for m, of in groups.items()}
    yield reliability_figure(
        {
            "before scaling": before,
            "after scaling": {m: [scaled(run) for run in of] for m, of in groups.items()},
        },
        which,
    )
    yield risk_figure(before, ce, which)


def _claims(before: Stage, after: Stage) -> Iterable[Claim]:
    found = before.found
    ce, ls = found.the(family="none"), found.the(family="uniform")
    regularised, specific = found.without(ce), found.where(specific=True)

    def everywhere(text: str, of: Comparison, ours: Sequence[Method], reference: Method) -> Claim:
        gaps = {m.label: {c: of.gap(m, reference, c) for c in CONVENTIONS} for m in ours}
        column = of.columns[ECE]
        return claim_everywhere(text, gaps, "lower", column, "conventions")

    for stage in (before, after):
        start = stage.name.capitalize()
        yield everywhere(
            f"{start} self-distillation and Beta smoothing are better calibrated than {ls.label} "
            "by every convention.",
            *(stage.found, specific, ls),
        )
        yield everywhere(
            f"{start} every regulariser is better calibrated than {ce.label} by every convention.",
            *(stage.found, regularised, ce),
        )
    yield found.claim_gaps(
        "Temperature scaling on held-out data lowers the ECE (20 bins) of every method.",
        {
            m.label: Difference.over_seeds(after.found.values(m, ECE), found.values(m, ECE))
            for m in found.methods
        },
        ECE,
        "lower",
    )
    yield after.found.claim(
        f"After temperature scaling every regulariser has a lower NLL than {ce.label}.",
        regularised,
        ce,
        "NLL",
        "lower",
    )
    yield found.claim(
        "Smoothing makes selective prediction worse: every regulariser has a higher excess AURC "
        f"than {ce.label}.",
        regularised,
        ce,
        "Excess AURC",
        "higher",
    )
    yield found.claim(
        f"Self-distillation and Beta smoothing have a lower excess AURC than {ls.label}.",
        specific,
        ls,
        "Excess AURC",
        "lower",
    )


def _scores(groups: Mapping[Method, Sequence[Run]], before: Stage, after: Stage) -> Table:
    training = replace(TRAINING_ACCURACY, epoch="last")
    scores = {"accuracy": ACCURACY, "training": training, "temperature": TEMPERATURE}
    found = compare(groups, scores)
    columns = [
        column
        for score in PROPER
        for column in (
            before.found.columns[score],
            after.found.columns[score].with_name(f"{score}, scaled"),
        )
    ]
    return Table(
        key="scores",
        title="Accuracy, temperature, and proper scores before and after scaling",
        caption=f"{LEVELS} {found.about} The temperature is the one with the lowest "
        "NLL there; it is below 1 where a method is underconfident, and uncertain where the "
        "validation set has few errors. Scaled: test set, at that temperature. NLL in nats; Brier "
        "score in [0, 2].",
        columns=(
            Column(name="Method"),
            *found.columns.values(),
            *columns,
        ),
        rows=[
            (
                m.label,
                *(found.measured(m, name) for name in scores),
                *(stage.found.measured(m, score) for score in PROPER for stage in (before, after)),
            )
            for m in groups
        ],
    )
