"""The main table: five ways to spread the same amount of smoothing.

Claim: at the same average smoothing, self-distillation and Beta smoothing are more accurate and
    better calibrated than label smoothing, and every regulariser is more accurate than
    cross-entropy.
Paper: RQ3 and RQ4, main table (there CIFAR-100, CUB-200 and Tiny-ImageNet).
Run: softprior study smoothing
Cost: 105 runs at desk scale, 1 min 58 s of training in total on one core of an AMD EPYC; on 20
    classes of Tiny-ImageNet with 5 seeds 35 runs, 48 min 28 s.
Expected: on digits label smoothing is the most accurate (1.4 points above cross-entropy);
    self-distillation and Beta smoothing have a lower ECE than label smoothing; before temperature
    scaling all are worse calibrated than cross-entropy. Written down before the runs on CIFAR-100
    (seeds from 100 on), after pilots with others: where cross-entropy learns its training set by
    heart, self-distillation is the most accurate, then Beta smoothing, then label smoothing; after
    temperature scaling self-distillation has the lowest NLL and label smoothing the highest; ECE
    is ordered by how much each method lowers confidence on images that it has not seen, so that a
    network that is overconfident by far is best calibrated by label smoothing, not by
    self-distillation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from softprior.evidence import Claim, Comparison, Figure, Table, forest
from softprior.studies._shared.methods import by_method, named
from softprior.studies._shared.primary import primary
from softprior.studies._shared.recipes import SMOOTHING, Scale, base, methods
from softprior.studies._shared.reliability import confidences_figure, reliability_figure
from softprior.studies._shared.scores import ACCURACY, EPOCHS, about, compare
from softprior.studies._shared.training_set import training_summary
from softprior.training import Recipe, Run
from softprior.training.run import Selection

SEEDS = {"smoke": 2, "desk": 15, "paper": 20}


def recipes(scale: Scale) -> Iterable[Recipe]:
    """Every method for each seed, matched in split, order and initialisation."""
    for seed in scale.seeds:
        yield from methods(scale, base(scale, seed))


def show(runs: Sequence[Run]) -> Iterable[Table | Figure | Claim]:
    """Verdicts, scores, paired differences, and how the confidences are distributed."""
    groups = by_method(runs, named)
    decisive = runs[0].recipe.select  # the epoch that the recipes were made for
    other: Selection = "last" if decisive == "best" else "best"
    found, beside = compare(groups, epoch=decisive), compare(groups, epoch=other)
    ce, ls = found.the(family="none"), found.the(family="uniform")
    regularised, specific = found.without(ce), found.where(specific=True)
    sd, ranked = found.the(family="teacher"), found.where(family="beta")
    yield from primary(found, answers=True)
    yield found.levels(f"levels_{decisive}", f"Test set, {EPOCHS[decisive]}")
    yield _differences(decisive, found, decisive)
    yield found.only([ls, *specific]).differences(
        "differences_smoothed", f"Difference to {ls.label}, {EPOCHS[decisive]}", ls
    )
    yield found.only([sd, *ranked]).differences(
        "differences_distilled", f"Difference to {sd.label}, {EPOCHS[decisive]}", sd
    )
    yield forest(
        "gaps",
        "Difference to what each is compared with",
        found,
        {
            f"to {ce.label}": (ce, regularised),
            f"to {ls.label}": (ls, specific),
            f"to {sd.label}": (sd, ranked),
        },
        ("accuracy", "ece", "scaled_nll"),
    )
    yield beside.levels(f"levels_{other}", f"Test set, {EPOCHS[other]}")
    yield _differences(other, beside, other)
    matched = all(run.recipe.match_smoothing is not None for run in groups[sd])
    other_than = "" if matched else f" but {sd.label}, whose teacher says how much,"
    yield training_summary(
        groups,
        f"The target of every regulariser{other_than} has {100 * (1 - SMOOTHING):g} % on the label "
        "on average. Label smoothing spreads the rest evenly over the other classes; for the "
        "confidence penalty, the optimum on one sample counts as the target.",
    )
    predictions = {m: [run.predictions("test") for run in of] for m, of in groups.items()}
    which = about(runs, ACCURACY)
    yield reliability_figure({"": predictions}, which)
    yield confidences_figure(predictions, which)


def _differences(key: str, found: Comparison, epoch: Selection) -> Table:
    ce = found.the(family="none")
    title = f"Difference to {ce.label}, {EPOCHS[epoch]}"
    return found.differences(f"differences_{key}", title, ce)
