"""The main table: which epoch decides, who is compared with whom, and what was matched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from softprior import Prior
from softprior.evidence import Claim, Difference, Figure, Measured, Table
from softprior.studies import Scale, smoothing
from softprior.studies._shared import recipes as shared
from softprior.studies._shared.methods import named
from softprior.studies._shared.scores import on_label
from softprior.training import Recipe
from softprior.training.run import Selection

DESK = Scale(name="desk", seeds=range(6))
ELSEWHERE = Scale(name="desk", seeds=range(6), dataset="some/images")
METHODS = ["cross-entropy", "label smoothing", "Beta (EMA)", "Beta (memory)", "self-distillation"]
METHODS += ["confidence penalty"]


@dataclass(frozen=True)
class Fake:
    """A run as far as show() asks for it: right about a share of 200 samples, by epoch."""

    recipe: Recipe
    skill: dict[Selection, float]

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

    def predictions(self, part: str, epoch: Selection | None = None) -> tuple[Tensor, Tensor]:
        labels = torch.arange(200) % 5
        right = torch.arange(200) < round(200 * self.skill[epoch or self.recipe.select])
        predicted = torch.where(right, labels, (labels + 1) % 5)
        return 3 * torch.nn.functional.one_hot(predicted, 5).float(), labels


Runs = Sequence[Fake]


def runs(scale: Scale, skill: Callable[[str, Selection], float]) -> Runs:
    """Of all seeds, the last first; a seed has about the same level for all of its methods."""
    found = []
    for recipe in smoothing.recipes(scale):
        level = 0.03 * recipe.seed + 0.015 * torch.rand(()).item()
        of: dict[Selection, float] = {
            "best": skill(named(recipe).label, "best") + level,
            "last": skill(named(recipe).label, "last") + level,
        }
        found.append(Fake(recipe, of))
    return sorted(found, key=lambda run: -run.recipe.seed)


def shown(of: Runs) -> list[Table | Figure | Claim]:
    return list(smoothing.show(of))  # type: ignore[arg-type]


def test_six_methods_of_one_start() -> None:
    recipes = list(smoothing.recipes(Scale(name="desk", seeds=range(2))))
    assert len({r.digest for r in recipes}) == len(recipes) == 12
    for seed in range(2):
        of = [r for r in recipes if r.seed == seed]
        assert [named(r).label for r in of] == METHODS
        assert len({r.initialisation for r in of}) == 1
        assert of[4].teacher == shared.teacher(of[0])
        assert of[4].teacher.initialisation != of[0].initialisation


def cross_entropy_wins_early(name: str, epoch: Selection) -> float:
    return 0.7 if (name == "cross-entropy") == (epoch == "best") else 0.5


@pytest.mark.parametrize(
    ("scale", "epoch", "expected"),
    [(DESK, "best", "does not hold"), (ELSEWHERE, "last", "holds")],
)
def test_the_epoch_that_the_recipes_select_decides(
    scale: Scale, epoch: Selection, expected: str
) -> None:
    items = shown(
        [
            replace(run, recipe=replace(run.recipe, select=epoch))
            for run in runs(scale, lambda n, e: 0.3 + cross_entropy_wins_early(n, e) / 2)
        ]
    )
    claims = {item.text: item.verdict.outcome for item in items if isinstance(item, Claim)}
    assert claims["Every regulariser is more accurate than cross-entropy."] == expected
    tables = {item.key: item for item in items if isinstance(item, Table)}
    assert next(iter(tables)) == f"levels_{epoch}"
    figures = [item for item in items if isinstance(item, Figure) and item.key != "gaps"]
    word = {"best": "best validation accuracy", "last": "last epoch"}[epoch]
    assert all(word in figure.caption for figure in figures)
    for key in ("best", "last"):
        gaps = [row[1] for row in tables[f"differences_{key}"].rows]
        sign = -1 if key == "best" else +1
        assert all(isinstance(gap, Difference) and sign * gap.mean > 0.05 for gap in gaps)


def test_pairs_are_of_one_seed() -> None:
    items = shown(runs(DESK, lambda name, _: 0.6 + 0.05 * (name == "self-distillation")))
    tables = {item.key: item for item in items if isinstance(item, Table)}
    levels = {row[0]: row[1] for row in tables["levels_best"].rows}
    assert list(levels) == METHODS
    distilled = next(r for r in tables["differences_smoothed"].rows if r[0] == "self-distillation")
    assert isinstance(distilled[1], Difference)
    assert isinstance(levels["self-distillation"], Measured)
    assert distilled[1].mean == pytest.approx(0.05, abs=0.015)
    # Seeds differ by far more than the methods of a seed do: unpaired, it could not be told.
    assert distilled[1].high - distilled[1].low < 0.03 < levels["self-distillation"].std


def test_each_method_has_claims_of_its_own() -> None:
    better = {"self-distillation": 0.75, "Beta (EMA)": 0.5, "Beta (memory)": 0.5}
    items = shown(runs(DESK, lambda name, _: better.get(name, 0.6)))
    claims = [item for item in items if isinstance(item, Claim)]
    verdicts = {item.text: item.verdict.outcome for item in claims}
    assert verdicts["Self-distillation is more accurate than label smoothing."] == "holds"
    assert verdicts["Beta smoothing is more accurate than label smoothing."] == "does not hold"
    assert verdicts["Beta smoothing is more accurate than self-distillation."] == "does not hold"
    answering = {item.text: item.answers for item in claims if item.answers}
    assert sorted(answering.values()) == [("RQ3",), ("RQ3",), ("RQ4",)]
    assert len(claims) == 12  # four comparisons in three scores, decided on beforehand


def test_one_seed_decides_nothing() -> None:
    items = shown(runs(replace(DESK, seeds=range(1)), lambda *_: 0.6))
    assert {item.verdict.outcome for item in items if isinstance(item, Claim)} == {"cannot tell"}
    assert not any("1 seeds" in i.caption for i in items if isinstance(i, Figure))


def test_confidence_in_the_label() -> None:
    logits, labels = torch.tensor([[0.2, 0.8], [0.5, 0.5]]).log(), torch.tensor([1, 0])
    assert on_label(logits, labels) == pytest.approx(0.65)
    logits, labels = torch.randn(40, 6), torch.randint(6, (40,))
    nll = torch.nn.functional.cross_entropy(logits.double(), labels, reduction="none")
    assert on_label(logits, labels) == pytest.approx((-nll).exp().mean().item())
    assert on_label(logits + torch.randn(40, 1), labels) == pytest.approx(on_label(logits, labels))
