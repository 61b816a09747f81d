"""Does it matter that each sample has a soft target of its own?

Claim: at the same average smoothing, votes that belong to their sample make a better student than
    the same votes permuted or averaged, and Beta smoothing in the order of confidence than in
    random or reversed order.
Paper: RQ3, ablations (there CIFAR-100, CUB-200 and Tiny-ImageNet; here digits, or any data set).
Run: softprior study instance
Cost: with the eight other studies 5 min 16 s (softprior study all, desk scale) on 2 cores of
    an AMD EPYC; on 20 classes of Tiny-ImageNet (--dataset, 5 seeds) with four others 1 h 50 min
    on 2 slower cores, which had some other work beside.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, cast

import torch
from torch import Tensor

from softprior.priors import BetaPrior
from softprior.studies import _settings
from softprior.studies._ablation import (
    against,
    apart,
    differences,
    fitted,
    forest,
    label_targets,
    levels,
    measure,
    paired,
)
from softprior.studies._kit import (
    Cell,
    Claim,
    Column,
    Figure,
    Measured,
    Scale,
    Table,
    by_method,
    verdict,
)
from softprior.teachers import EMA, Memory
from softprior.training import Recipe, Run

SEEDS = {"smoke": 2, "desk": 10, "paper": 5}
TARGETS: tuple[Literal["stored", "permuted", "class mean", "overall mean"], ...] = (
    *("stored", "permuted"),
    *("class mean", "overall mean"),
)


def recipes(scale: Scale) -> Iterable[Recipe]:
    """Cross-entropy, the teacher, four kinds of votes, six of Beta smoothing; all for each seed."""
    for seed in range(scale.seeds):
        base = _settings.base(scale, seed)
        distilled, ranked = _settings.distilled(base), _settings.beta(base, EMA())
        own = _settings.beta(base, None)
        yield base
        yield _settings.teacher(base)
        yield from (replace(distilled, teacher_targets=targets) for targets in TARGETS)
        yield ranked
        yield _settings.beta(base, Memory())
        yield own
        yield _with(ranked, draw="quantile")
        # Nobody's confidence is asked for: an average of the weights would be kept for nothing.
        yield _with(own, order="random")
        yield _with(ranked, order="reversed")


def _with(recipe: Recipe, **changes: Any) -> Recipe:
    return replace(recipe, prior=replace(_beta(recipe), **changes))


def _beta(recipe: Recipe) -> BetaPrior:
    """The prior of a recipe that ``_settings.beta`` has made."""
    return cast(BetaPrior, recipe.prior)


def show(runs: Sequence[Run]) -> Iterable[Table | Figure | Claim]:
    """Verdicts, levels, differences to the intact variant, and what was in the targets."""
    students, teachers = apart(runs)
    groups = by_method(students)
    numbers = {name: [measure(run) for run in of] for name, of in groups.items()}
    votes = [name for name, of in groups.items() if of[0].recipe.teacher_targets != "live"]
    beta = [name for name, of in groups.items() if of[0].recipe.prior and name not in votes]
    intact, ranked = votes[0], beta[0]
    controls = [name for name in beta if _beta(groups[name][0].recipe).order != "intact"]
    yield verdict(
        "Self-distillation with the sample's own votes is more accurate than with votes permuted "
        "within the class, averaged over the class, or averaged over all.",
        {f"over {n}": paired(numbers, intact, n, "accuracy") for n in votes[1:]},
        sign=+1,
        percent=True,
        answers=("RQ3",),
    )
    yield verdict(
        "After temperature scaling, the sample's own votes give a lower NLL than permuted or "
        "averaged ones.",
        {f"over {n}": paired(numbers, intact, n, "scaled_nll") for n in votes[1:]},
        sign=-1,
    )
    yield verdict(
        f"{ranked} is more accurate in the order of confidence than in random or reversed order.",
        {f"over {n}": paired(numbers, ranked, n, "accuracy") for n in controls},
        sign=+1,
        percent=True,
        answers=("RQ3",),
    )
    yield verdict(
        f"After temperature scaling, {ranked} has a lower NLL in the order of confidence than in "
        "random or reversed order.",
        {f"over {n}": paired(numbers, ranked, n, "scaled_nll") for n in controls},
        sign=-1,
    )
    yield levels("levels", "Every variant at the same average smoothing", numbers)
    by_votes = against(numbers, votes[1:], intact)
    by_order = against(numbers, beta[1:], ranked)
    yield differences("votes", f"Difference to {intact}", by_votes)
    yield differences("ranking", f"Difference to {ranked}", by_order)
    groups_of_gaps = {f"against {intact}": by_votes, f"against {ranked}": by_order}
    yield forest(
        "forest",
        "Controls against the sample's own votes and order",
        groups_of_gaps,
        ("accuracy", "scaled_nll"),
    )
    yield _targets(groups, teachers)
    yield fitted(groups)


def _targets(groups: Mapping[str, Sequence[Run]], teachers: Mapping[Recipe, Run]) -> Table:
    """What was held equal, and what differs, in the target of the true class."""
    rows: list[tuple[Cell, ...]] = []
    own: list[Tensor] = []
    for name, runs in groups.items():
        recipe = runs[0].recipe
        if recipe.prior is None:
            continue
        if recipe.teacher_targets == "live":
            mean, spread = _beta_moments(_beta(recipe), recipe.effective_label_weight or 0.0)
            rows.append((name, mean, spread, "–"))
        else:
            targets = [label_targets(run, teachers) for run in runs]
            own = own or targets  # stored votes come first
            rows.append(
                (
                    name,
                    Measured.of([t.mean().item() for t in targets]),
                    Measured.of([t.std().item() for t in targets]),
                    Measured.of([_correlation(t, o) for t, o in zip(targets, own, strict=True)]),
                )
            )
    return Table(
        key="targets",
        title="The soft label's entry for the true class",
        caption="Over the training set: its mean, which is held equal; its standard deviation "
        "over samples; and how it correlates with the one of the sample's own votes (Pearson; "
        "–: no spread, or another for each draw). Self-distillation: from the teacher's "
        "predictions, mean ± standard deviation over seeds. Beta smoothing: expected, by formula.",
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
    """Pearson's; NaN where one of the two has no spread (that of rounding is none)."""
    if min(x.std().item(), y.std().item()) < 1e-6:
        return math.nan
    return torch.corrcoef(torch.stack([x, y]))[0, 1].item()
