"""The main table: five ways to spread the same amount of smoothing.

Claim: at the same average smoothing, self-distillation and Beta smoothing are more accurate and
    better calibrated than label smoothing, and every regulariser is more accurate than
    cross-entropy.
Paper: RQ3 and RQ4, main table (there CIFAR-100, CUB-200 and Tiny-ImageNet).
Run: softprior study smoothing
Cost: with the eight other studies 5 min 16 s (softprior study all, desk scale) on 2 cores of
    an AMD EPYC; on 20 classes of Tiny-ImageNet (--dataset, 5 seeds) with four others 1 h 50 min
    on 2 slower cores, which had some other work beside.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from softprior.studies._ablation import (
    COLUMNS,
    Numbers,
    Score,
    against,
    forest,
    measure,
    paired,
)
from softprior.studies._kit import (
    INTERVALS,
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
from softprior.studies._settings import SMOOTHING, base, methods
from softprior.studies._smoothing_figures import confidences_figure, reliability_figure
from softprior.studies._went import COLUMNS as WENT
from softprior.studies._went import NOTES, went
from softprior.training import Recipe, Run
from softprior.training.store import Selection

SEEDS = {"smoke": 2, "desk": 15, "paper": 20}
CE, LS, SD = "cross-entropy", "label smoothing", "self-distillation"
EPOCHS: dict[Selection, str] = {
    "best": "the epoch with the best validation accuracy",
    "last": "the last epoch",
}


def recipes(scale: Scale) -> Iterable[Recipe]:
    """Six methods for each seed, matched in split, order and initialisation."""
    for seed in range(scale.seeds):
        yield from methods(base(scale, seed))


def show(runs: Sequence[Run]) -> Iterable[Table | Figure | Claim]:
    """Levels, paired differences, verdicts, and what the confidences look like."""
    groups = {name.partition(",")[0]: of for name, of in by_method(runs).items()}
    counts = runs[0].recipe.select  # the epoch that the recipes were made for decides
    other: Selection = "last" if counts == "best" else "best"
    deciding, beside = (
        {name: [measure(run, epoch) for run in of] for name, of in groups.items()}
        for epoch in (counts, other)
    )
    regularised, specific = [name for name in groups if name != CE], _specific(deciding)
    yield from _claims(deciding)
    yield _levels(counts, deciding)
    yield _differences(counts, counts, deciding, CE, regularised)
    yield _differences("smoothed", counts, deciding, LS, specific)
    yield forest(
        "gaps",
        f"Difference to {CE} and to {LS}",
        {
            f"to {CE}": against(deciding, regularised, CE),
            f"to {LS}": against(deciding, specific, LS),
        },
        ("accuracy", "ece", "scaled_nll"),
    )
    yield _levels(other, beside)
    yield _differences(other, other, beside, CE, regularised)
    yield _amounts(groups)
    yield reliability_figure(groups)
    yield confidences_figure(groups)


def _specific(numbers: Numbers) -> list[str]:
    """The methods whose targets differ from sample to sample."""
    return [name for name in numbers if name == SD or name.startswith("Beta")]


def _claims(numbers: Numbers) -> Iterable[Claim]:
    regularised, specific = [name for name in numbers if name != CE], _specific(numbers)
    distilled, ranked = ([n for n in specific if (n == SD) is same] for same in (True, False))

    def gaps(names: Sequence[str], reference: str, score: Score) -> dict[str, Difference]:
        return {name: paired(numbers, name, reference, score) for name in names}

    yield verdict(
        f"Every regulariser is more accurate than {CE}.",
        gaps(regularised, CE, "accuracy"),
        sign=+1,
        percent=True,
    )
    for subject, names in (("Self-distillation", distilled), ("Beta smoothing", ranked)):
        yield verdict(
            f"{subject} is more accurate than {LS}.",
            gaps(names, LS, "accuracy"),
            sign=+1,
            percent=True,
            answers=("RQ3",) if subject == "Self-distillation" else ("RQ3", "RQ4"),
        )
    yield verdict(
        f"Self-distillation and Beta smoothing have a lower ECE (20 bins) than {LS}.",
        gaps(specific, LS, "ece"),
        sign=-1,
        percent=True,
        answers=("RQ4",),
    )
    yield verdict(
        f"After temperature scaling, every regulariser has a lower NLL than {CE}.",
        gaps(regularised, CE, "scaled_nll"),
        sign=-1,
    )


def _levels(epoch: Selection, numbers: Numbers) -> Table:
    return Table(
        key=f"levels_{epoch}",
        title=f"Test set, {EPOCHS[epoch]}",
        caption="Mean ± standard deviation over seeds. ECE: 20 equal-width bins. Scaled: after "
        "temperature scaling, fitted on the validation set. NLL in nats.",
        columns=(Column(name="Method"), *COLUMNS.values()),
        rows=[
            (name, *(Measured.of(values) for values in zip(*scores, strict=True)))
            for name, scores in numbers.items()
        ],
    )


def _differences(
    key: str, epoch: Selection, numbers: Numbers, reference: str, names: Sequence[str]
) -> Table:
    return Table(
        key=f"differences_{key}",
        title=f"Difference to {reference}, {EPOCHS[epoch]}",
        caption="Mean paired difference over seeds (same split, order and initialisation) with "
        f"its 95 % t interval. ECE: 20 equal-width bins; NLL in nats. {INTERVALS}",
        columns=(Column(name="Method"), *COLUMNS.values()),
        rows=[(name, *gaps.values()) for name, gaps in against(numbers, names, reference).items()],
    )


def _amounts(groups: Mapping[str, Sequence[Run]]) -> Table:
    return Table(
        key="amounts",
        title="How the runs went",
        caption=f"Every regulariser is to leave {100 * (1 - SMOOTHING):g} % on the label on "
        "average; label smoothing: the rest evenly on the other classes; confidence penalty: by "
        f"its optimum on one sample. {NOTES}",
        columns=(Column(name="Method"), *WENT),
        rows=[(name, *went(runs)) for name, runs in groups.items()],
    )
