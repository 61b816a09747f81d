"""Methods at several amounts of smoothing: sorted, compared at every amount and over all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import TypeAlias

from softprior import diagnostics
from softprior.studies._ablation import COLUMNS, Score, Scores, measure
from softprior.studies._kit import LEVEL, Claim, Difference, adjusted, method, verdict
from softprior.studies._settings import amount, penalised
from softprior.training import Recipe, Run

CE, LS, SD = "cross-entropy", "label smoothing", "self-distillation"
SMOOTHINGS = (0.05, 0.10, 0.15, 0.20, 0.30)

Groups: TypeAlias = Mapping[str, Mapping[float, Sequence[Run]]]  # by method and amount, by seed
Numbers: TypeAlias = Mapping[str, Mapping[float, Sequence[Scores]]]


def asked(recipe: Recipe) -> float:
    """The smoothing ε that a recipe asks for: the confidence penalty's by its weight, too."""
    if recipe.penalty is None:
        return round(amount(recipe), 9)  # Beta smoothing: read back from a, up to rounding
    weights = {penalised(recipe, ε).penalty: ε for ε in SMOOTHINGS}
    return weights[recipe.penalty]


def grouped(runs: Iterable[Run]) -> dict[str, dict[float, list[Run]]]:
    """Runs by method in the order of appearance, by rising amount, and by rising seed."""
    found: dict[str, dict[float, list[Run]]] = {}
    for run in sorted(runs, key=lambda run: (asked(run.recipe), run.recipe.seed)):
        name = method(run.recipe).partition(",")[0]
        found.setdefault(name, {}).setdefault(asked(run.recipe), []).append(run)
    return found


def shown(ε: float) -> str:
    """An amount as it is written.

    >>> shown(0.15)
    '15 %'
    """
    return f"{100 * ε:g} %"


def numbers_of(groups: Groups) -> dict[str, dict[float, list[Scores]]]:
    """The scores of every run."""
    return {
        n: {ε: [measure(run) for run in of] for ε, of in by.items()} for n, by in groups.items()
    }


def at_amount(by: Mapping[float, Sequence[Scores]], ε: float) -> Sequence[Scores]:
    """A method's scores at an amount; cross-entropy has but one."""
    return by[0.0] if 0.0 in by else by[ε]


def gap(numbers: Numbers, name: str, reference: str, score: Score, ε: float) -> Difference:
    """``name`` minus ``reference`` at the same amount, seed by seed."""
    ours, theirs = (at_amount(numbers[n], ε) for n in (name, reference))
    return Difference.paired([getattr(s, score) for s in ours], [getattr(s, score) for s in theirs])


def over_all(numbers: Numbers, name: str, reference: str, score: Score) -> Difference:
    """``name`` minus ``reference``, each seed's mean over the amounts."""

    def means(of: str) -> list[float]:
        rows = [at_amount(numbers[of], ε) for ε in numbers[name]]
        return [fmean(getattr(s, score) for s in row) for row in zip(*rows, strict=True)]

    return Difference.paired(means(name), means(reference))


def at_every(
    text: str,
    numbers: Numbers,
    names: Sequence[str],
    reference: str,
    score: Score,
    *,
    sign: int,
) -> Claim:
    """That each of ``names`` is on the claimed side of the reference at every amount.

    Decided as any claim, with Holm's correction for all comparisons. That many would be no
    evidence to read, so that it is summed up method by method.
    """
    gaps = {
        (name, ε): gap(numbers, name, reference, score, ε) for name in names for ε in numbers[name]
    }
    flat = {f"{name}, {shown(ε)}": d for (name, ε), d in gaps.items()}
    factor, unit = (100, " points") if COLUMNS[score].percent else (1, "")
    odds, told = adjusted(flat), []
    for name in names:
        of = {f"{n}, {shown(ε)}": d for (n, ε), d in gaps.items() if n == name}
        means = [factor * d.mean for d in of.values()]
        sure = [d.mean for key, d in of.items() if d.clear and odds[key] < LEVEL]
        span = f"{min(means):+.3g} to {max(means):+.3g}".replace("-", "−")
        told.append(
            f"{name} {span}{unit}, clearly higher at {sum(m > 0 for m in sure)} and lower at "
            f"{sum(m < 0 for m in sure)} of {len(of)} amounts"
        )
    n = next(iter(flat.values())).n
    evidence = "; ".join(told)
    return replace(
        verdict(text, flat, sign=sign, percent=COLUMNS[score].percent),
        evidence=f"{evidence} (seeds: {n}; paired t tests, Holm-adjusted for {len(flat)})",
        brief=evidence,
    )


def chosen(groups: Groups) -> dict[str, float]:
    """Each method's amount with the highest mean validation accuracy; of equals the smallest.

    One for all seeds, and no test sample has a say in it.
    """
    validated = {
        name: {
            ε: fmean(diagnostics.accuracy(*run.predictions("validation")) for run in of)
            for ε, of in by.items()
        }
        for name, by in groups.items()
    }
    return {name: max(sorted(by), key=by.__getitem__) for name, by in validated.items()}
