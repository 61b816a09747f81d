"""The study of the amount: what is asked for, compared at each amount, over all, at the best."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import fmean

import pytest
import torch
from torch import Tensor

from softprior import Prior
from softprior.evidence import Claim, Column, Comparison, Figure, Method, Result, Table
from softprior.studies import Scale, amount
from softprior.studies._shared import recipes as shared
from softprior.studies._shared.methods import named
from softprior.studies._shared.scores import VALIDATION_NLL, compare
from softprior.studies.amount import SMOOTHINGS, asked, at_its_own, averaged, grouped
from softprior.training import Recipe

DESK = Scale(name="desk", seeds=range(6))
CE, LS, SD = "cross-entropy", "label smoothing", "self-distillation"


@dataclass(frozen=True)
class Fake:
    """A run as far as the study asks for it: right about a share of 200 samples of each part."""

    recipe: Recipe
    test: float
    validation: float = 0.5

    @property
    def outcome(self) -> dict[str, float]:
        return {"best_epoch": 4}

    @property
    def history(self) -> list[dict[str, float]]:
        return [{"smoothing": 0.14}, {"smoothing": 0.16}]

    @property
    def prior(self) -> Prior | None:
        prior = self.recipe.prior
        return replace(prior, temperature=3.0) if self.recipe.match_smoothing else prior

    def predictions(self, part: str, epoch: str | None = None) -> tuple[Tensor, Tensor]:
        labels = torch.arange(200) % 5
        share = self.validation if part == "validation" else self.test
        right = torch.arange(200) < round(200 * share)
        predicted = torch.where(right, labels, (labels + 1) % 5)
        return 3 * torch.nn.functional.one_hot(predicted, 5).float(), labels


Skill = Callable[[str, float], float]


def runs(test: Skill, validation: Skill = lambda *_: 0.5, scale: Scale = DESK) -> list[Fake]:
    """Of all seeds, the last first; a seed has about the same level for all of its runs."""
    found = []
    for recipe in amount.recipes(scale):
        name, ε = named(recipe).label, asked(recipe)
        level = 0.03 * recipe.seed + 0.015 * torch.rand(()).item()
        found.append(Fake(recipe, test(name, ε) + level, validation(name, ε)))
    return sorted(found, key=lambda run: -run.recipe.seed)


def shown(of: list[Fake]) -> list[Table | Figure | Claim]:
    return list(amount.show(of))  # type: ignore[arg-type]


def test_every_method_at_every_amount() -> None:
    recipes = list(amount.recipes(replace(DESK, seeds=range(1))))
    assert len({r.digest for r in recipes}) == len(recipes) == 26
    by_name: dict[str, list[float]] = {}
    for recipe in recipes:
        by_name.setdefault(named(recipe).label, []).append(asked(recipe))
    assert by_name.pop(CE) == [0]
    assert len(by_name) == 5
    assert all(tuple(amounts) == SMOOTHINGS for amounts in by_name.values())
    main = shared.methods(DESK, shared.base(DESK, 0))
    assert set(main) <= set(recipes)  # the main table's


def test_fewer_runs_on_images() -> None:
    scale = Scale(name="desk", seeds=range(1), dataset="some/images")
    recipes = list(amount.recipes(scale))
    assert len(recipes) == 1 + 4 * len(amount.DESK)
    assert not any(r.penalty for r in recipes)
    assert {asked(r) for r in recipes} == {0, *amount.DESK}
    main = shared.methods(scale, shared.base(scale, 0))
    assert set(main[:-1]) <= set(recipes)  # the main table's


def test_groups_whatever_the_order() -> None:
    of = runs(lambda *_: 0.5)
    some = grouped(of)  # type: ignore[arg-type]
    again = grouped([of[i] for i in torch.randperm(len(of))])  # type: ignore[misc]
    assert some == again
    assert next(iter(some)).label == next(iter(again)).label == CE
    amounts: dict[str, list[float]] = {}
    for method, group in some.items():
        assert [run.recipe.seed for run in group] == list(range(6))
        amounts.setdefault(method.label, []).append(method.facts.get("amount", 0.0))
    assert all(by == sorted(by) for by in amounts.values())


def test_mean_over_the_amounts_is_the_mean_of_the_gaps() -> None:
    values = torch.rand(3, 2, 7, dtype=torch.float64).tolist()
    ours, theirs = (
        [Method(label, facts={"amount": ε}) for ε in (0.1, 0.2)] for label in ("ours", "theirs")
    )
    plain = Method("plain")
    rows = dict(zip([*ours, *theirs, plain], [*values[0], *values[1], values[2][0]], strict=True))
    results = {m: {s: Result({"a": v}) for s, v in enumerate(of)} for m, of in rows.items()}
    found = Comparison(results, {"a": Column(name="A")})
    whole = averaged(found)
    mine, others, alone = whole.methods
    gaps = [found.gap(m, t, "a").mean for m, t in zip(ours, theirs, strict=True)]
    assert whole.gap(mine, others, "a").mean == pytest.approx(fmean(gaps))
    gaps = [found.gap(m, plain, "a").mean for m in ours]
    assert whole.gap(mine, alone, "a").mean == pytest.approx(fmean(gaps))


def test_the_best_amount_is_validations_and_the_smallest_of_equals() -> None:
    peaks = {LS: 0.20, SD: 0.10}

    def validation(name: str, ε: float) -> float:
        return 0.9 if peaks.get(name) == ε else 0.6

    of = runs(lambda _, ε: 0.3 + ε, validation)
    groups = grouped(of)  # type: ignore[arg-type]
    own = at_its_own(compare(groups), compare(groups, {"nll": VALIDATION_NLL}))
    amounts = {m.label: m.facts.get("amount") for m in own.methods}
    assert amounts[CE] is None
    named = (f"{LS} (20 %)", f"{SD} (10 %)", "Beta (EMA) (5 %)")
    assert tuple(amounts[name] for name in named) == (0.20, 0.10, 0.05)
    items = shown(of)
    text = f"Each at its own amount: self-distillation is more accurate than {LS} (20 %)."
    claim = next(i for i in items if isinstance(i, Claim) and i.text == text)
    assert claim.verdict.outcome == "does not hold"
    rows = next(i for i in items if isinstance(i, Table) and i.key == "own").rows
    assert [row[0] for row in rows][:2] == [CE, f"{LS} (20 %)"]


def test_claims_follow_the_numbers() -> None:
    skill = {CE: 0.4, LS: 0.5, "confidence penalty": 0.5}
    items = shown(runs(lambda name, _: skill.get(name, 0.6)))
    verdicts = {item.text: item.verdict.outcome for item in items if isinstance(item, Claim)}
    assert len(verdicts) == 8 + 12
    assert {v for t, v in verdicts.items() if "accurate" in t and "than self" not in t} == {"holds"}
    items = shown(runs(lambda name, _: 1 - skill.get(name, 0.6) - 0.2))
    verdicts = {item.text: item.verdict.outcome for item in items if isinstance(item, Claim)}
    decided = {v for t, v in verdicts.items() if "accurate" in t and "than self" not in t}
    assert decided == {"does not hold"}


def test_one_seed_decides_nothing() -> None:
    items = shown(runs(lambda *_: 0.6, scale=replace(DESK, seeds=range(1))))
    assert {item.verdict.outcome for item in items if isinstance(item, Claim)} == {"cannot tell"}


def test_curves_hold_the_tables_numbers() -> None:
    items = shown(runs(lambda name, ε: 0.4 + ε + 0.1 * (name == LS)))
    levels = next(i for i in items if isinstance(i, Table) and i.key == "levels")
    curves = next(i for i in items if isinstance(i, Figure) and i.key == "curves")
    assert len(levels.rows) == 26
    for name, ε, cell, *_ in levels.rows:
        point = curves.data["Accuracy, %"][name]
        value, low, high = point if ε == "–" else point[f"{100 * ε:g}"]
        assert value == pytest.approx(100 * cell.mean)  # type: ignore[union-attr]
        assert low < value < high
