"""Does it matter that each sample has a soft target of its own?

Claim: at the same average smoothing, self-distillation is better with each sample's own teacher
    probabilities than with permuted or averaged ones, and Beta smoothing is better when it ranks
    the samples by confidence than in random or reversed order.
Paper: RQ3, in its question; who ranks Beta smoothing, or nobody, is an ablation there, as we recall
    it. Permuted and averaged targets, the reversed order and the memory are ours.
Run: softprior study instance
Cost: 120 runs at desk scale, 1 min 46 s of training in total on one core of an AMD EPYC; on 20
    classes of Tiny-ImageNet with 5 seeds 60 runs, 60 min 51 s.
Expected: on digits the controls win: permuted or averaged targets and the reversed order are more
    accurate by about a point; on Tiny-ImageNet the order of confidence beats the reversed one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, cast

import torch
from torch import Tensor

from softprior.evidence import Cell, Claim, Column, Figure, Measured, Method, Table, forest
from softprior.priors import BetaPrior
from softprior.studies._shared import recipes as shared
from softprior.studies._shared.methods import by_method, method, split_teachers
from softprior.studies._shared.recipes import Scale
from softprior.studies._shared.scores import compare
from softprior.studies._shared.training_set import fitted, label_targets
from softprior.teachers import Memory
from softprior.training import Recipe, Run

SEEDS = {"smoke": 2, "desk": 10, "paper": 5}
TARGETS: tuple[Literal["stored", "permuted", "class mean", "overall mean"], ...] = (
    *("stored", "permuted"),
    *("class mean", "overall mean"),
)


def recipes(scale: Scale) -> Iterable[Recipe]:
    """For each seed: cross-entropy, the teacher, four kinds of targets, six of Beta smoothing."""
    for seed in scale.seeds:
        base = shared.base(scale, seed)
        distilled = shared.distilled(base)
        ranked = shared.beta(base, shared.average(scale))
        own = shared.beta(base, None)
        yield base
        yield shared.teacher(base)
        yield from (replace(distilled, teacher_targets=targets) for targets in TARGETS)
        yield ranked
        yield shared.beta(base, Memory())
        yield own
        yield _with(ranked, draw="quantile")
        # A random order uses no confidence, so an average of the weights would be of no use.
        yield _with(own, order="random")
        yield _with(ranked, order="reversed")


def _with(recipe: Recipe, **changes: Any) -> Recipe:
    return replace(recipe, prior=replace(_beta(recipe), **changes))


def _beta(recipe: Recipe) -> BetaPrior:
    """The prior of a recipe that ``shared.beta`` has made."""
    return cast(BetaPrior, recipe.prior)


def variant(recipe: Recipe) -> Method:
    """The method, with the fact ``control``: whether its targets or its order were changed."""
    found = method(recipe)
    if found["family"] == "beta":
        return found.but(control=_beta(recipe).order != "intact")
    return found.but(control=recipe.teacher_targets not in ("live", "stored"))


def show(runs: Sequence[Run]) -> Iterable[Table | Figure | Claim]:
    """Verdicts, scores, differences to the unchanged variant, and statistics of the targets."""
    students, teachers = split_teachers(runs)
    groups = by_method(students, variant)
    found = compare(groups)
    intact, *targets = found.where(family="teacher")
    ranked, *orders = found.where(family="beta")
    controls = found.where(family="beta", control=True)

    def claim(text: str, ours: Method, others: Sequence[Method], score: str) -> Claim:
        gaps = {f"against {m.label}": found.gap(ours, m, score) for m in others}
        higher = score == "accuracy"
        return found.claim_gaps(text, gaps, score, "higher" if higher else "lower")

    yield claim(
        "Self-distillation with the sample's own targets is more accurate than with targets "
        "permuted within the class, averaged over the class, or averaged over all.",
        *(intact, targets, "accuracy"),
    )
    yield claim(
        "After temperature scaling, the sample's own targets give a lower NLL than permuted or "
        "averaged ones.",
        *(intact, targets, "scaled_nll"),
    )
    yield claim(
        f"{ranked.label} is more accurate when it ranks the samples by confidence than in random "
        "or reversed order.",
        *(ranked, controls, "accuracy"),
    )
    yield claim(
        f"After temperature scaling, {ranked.label} has a lower NLL when it ranks the samples by "
        "confidence than in random or reversed order.",
        *(ranked, controls, "scaled_nll"),
    )
    yield found.levels("levels", "Every variant at the same average smoothing")
    for key, reference, others in (("targets", intact, targets), ("ranking", ranked, orders)):
        yield found.only([reference, *others]).differences(
            f"differences_{key}", f"Difference to {reference.label}", reference
        )
    yield forest(
        "forest",
        "Controls against the sample's own targets and order",
        found,
        {
            f"against {intact.label}": (intact, targets),
            f"against {ranked.label}": (ranked, orders),
        },
        ("accuracy", "scaled_nll"),
    )
    yield _targets(groups, teachers)
    yield fitted(groups)


def _targets(groups: Mapping[Method, Sequence[Run]], teachers: Mapping[Recipe, Run]) -> Table:
    """The target of the true class: its mean, which is equal for all, its spread, its order."""
    rows: list[tuple[Cell, ...]] = []
    own: list[Tensor] = []
    for name, runs in groups.items():
        recipe = runs[0].recipe
        if name["family"] == "beta":
            mean, spread = _beta_moments(_beta(recipe), recipe.effective_label_weight or 0.0)
            rows.append((name.label, mean, spread, "–"))
        elif name["family"] == "teacher":
            targets = [label_targets(run, teachers) for run in runs]
            own = own or targets  # stored ones come first
            rows.append(
                (
                    name.label,
                    Measured.of([t.mean().item() for t in targets]),
                    Measured.of([t.std().item() for t in targets]),
                    Measured.of([_correlation(t, o) for t, o in zip(targets, own, strict=True)]),
                )
            )
    return Table(
        key="targets",
        title="The soft label's entry for the true class",
        caption="Mean over the training set (equal by design), standard deviation over its samples "
        "(spread), and Pearson's correlation with the entry in the sample's own, unchanged target "
        "(–: the entry has no spread, or is drawn anew each time). Self-distillation: from the "
        "teacher's predictions, mean ± standard deviation over seeds. Beta smoothing: expected "
        "values by formula.",
        columns=(
            Column(name="Method"),
            Column(name="Mean", digits=3),
            Column(name="Spread", digits=3),
            Column(name="Correlation"),
        ),
        rows=rows,
    )


def _beta_moments(prior: BetaPrior, label_weight: float) -> tuple[float, float]:
    """Mean and standard deviation of ``label_weight + w · b``, b ~ Beta(a, 1).

    E b = a / (a + 1),   Var b = a / ((a + 1)² (a + 2))
    """
    a, w = prior.a, prior.strength
    return label_weight + w * a / (a + 1), w / (a + 1) * math.sqrt(a / (a + 2))


def _correlation(x: Tensor, y: Tensor) -> float:
    """Pearson's; NaN where one of the two has no spread but that of rounding."""
    if min(x.std().item(), y.std().item()) < 1e-6:
        return math.nan
    return torch.corrcoef(torch.stack([x, y]))[0, 1].item()
