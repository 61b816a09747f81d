"""Half the training images, the same number of steps: which method loses the most?

Claim: with half the images every method is less accurate, and the regularisers lose less than
    cross-entropy.
Paper: not in it; the methods and the amount of smoothing are those of the paper's main table.
Run: softprior study halves
Cost: 140 runs at desk scale, 2 min 39 s of training in total on one core of an AMD EPYC.
Expected: on digits every method loses one or two points; regularisers do not clearly lose less.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from softprior.evidence import (
    Claim,
    Column,
    Comparison,
    Figure,
    Method,
    Table,
    curves,
    forest,
)
from softprior.studies._shared.methods import by_method, named
from softprior.studies._shared.recipes import Scale, base, methods
from softprior.studies._shared.scores import OFFICIAL, compare
from softprior.training import Recipe, Run, images

SEEDS = {"smoke": 2, "desk": 10, "paper": 5}
SHARE = {"share": Column(name="Images", percent=True, digits=0)}


def recipes(scale: Scale) -> Iterable[Recipe]:
    """The methods of the main table, each on all images and on half of every class."""
    for seed in scale.seeds:
        whole = base(scale, seed)
        yield from methods(scale, whole)
        yield from methods(scale, half(whole))


def half(recipe: Recipe) -> Recipe:
    """Half the images of each class and twice the epochs: as many steps, up to the last batch."""
    kept = images.parse(recipe.subset) if recipe.subset else images.Subset()
    # A subset says how many there are: then a report is made of the runs without the data.
    each = kept.per_class or images.smallest_class(str(recipe.dataset), recipe.subset)
    subset = kept._replace(per_class=each // 2).text
    return replace(recipe, subset=subset, epochs=2 * recipe.epochs)


def show(runs: Sequence[Run]) -> Iterable[Table | Figure | Claim]:
    """What half the images cost each method."""
    longest = max(run.recipe.epochs for run in runs)

    def variant(recipe: Recipe) -> Method:
        return named(recipe).but(share=0.5 if recipe.epochs == longest else 1.0)

    # The test part of the half has images that the whole was trained on.
    found = compare(by_method(runs, variant), OFFICIAL)
    halves = found.where(share=0.5)

    yield from _claims(found)
    side_by_side = [m for w in found.where(share=1.0) for m in (w, w.but(share=0.5))]
    yield found.only(side_by_side).levels("levels", "All images and half of them", facts=SHARE)
    yield found.differences(
        "differences",
        "Half of the images minus all of them",
        whole,
        note="The half is a subset of all images; the validation set is halved, too.",
    )
    yield curves(
        "curves",
        "Scores by the share of the images",
        [
            found.panel(score, "share", "Training images, %", x=lambda share: 100 * share)
            for score in ("accuracy", "nll", "ece")
        ],
        caption=f"{found.about} Mean over seeds, the same number of steps. ECE: 20 equal-width "
        "bins.",
        alt="Accuracy, NLL and ECE of each method on half of the images and on all of them.",
        size=(8.8, 2.8),
    )
    yield forest(
        "costs",
        "What each method loses with half the images",
        found,
        {"half minus all": (whole, halves)},
        ("accuracy", "ece", "scaled_nll"),
    )


def whole(method: Method) -> Method:
    """The same method on all images."""
    return method.but(share=1.0)


def _claims(found: Comparison) -> Iterable[Claim]:
    halves = found.where(share=0.5)
    costs = found.relative_to(whole).only(halves)
    ce = costs.the(family="none")
    yield found.claim_gaps(
        "With half the images every method is less accurate.",
        {m.label: found.gap(m, whole(m), "accuracy") for m in halves},
        "accuracy",
        "lower",
    )
    yield costs.claim(
        f"With half the images every regulariser loses less accuracy than {ce.label}.",
        costs.without(ce),
        ce,
        "accuracy",
        "higher",
    )
