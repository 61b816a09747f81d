"""The study of label noise: who is compared with whom, and right and wrong labels apart."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from softprior import TeacherPrior
from softprior.evidence import (
    Claim,
    Column,
    Comparison,
    Difference,
    Measured,
    Method,
    Result,
    Table,
)
from softprior.studies import Scale, noise
from softprior.studies._shared import recipes as shared
from softprior.studies.noise.samples import auroc, of_samples
from softprior.studies.noise.settings import across
from softprior.training import Recipe

SMOKE = Scale(name="smoke", seeds=range(2))


def distilled(weight: float) -> str:
    return f"self-distillation, w = {weight:g}"


@dataclass(frozen=True)
class Fake:
    """A run as far as show() asks for it: right about the share ``skill`` of the samples.

    Of wrong training labels it predicts the share ``1 - skill``.
    """

    recipe: Recipe
    skill: float
    n: int = 40

    def predictions(self, part: str, epoch: str = "best") -> tuple[Tensor, Tensor]:
        true = torch.arange(self.n) % 5
        labels = true.clone()
        if part != "test":
            labels[: round(self.recipe.label_noise * self.n)] += 1
            labels %= 5
        right = torch.arange(self.n) < round(self.skill * self.n)
        elsewhere = labels if part == "train" else (true + 1) % 5
        predicted = torch.where(right.flip(0) if part == "test" else right, true, elsewhere)
        margin = 2 + 0.01 * torch.arange(self.n) + 0.1 * self.recipe.seed
        return margin.unsqueeze(1) * torch.nn.functional.one_hot(predicted, 5), labels

    @property
    def history(self) -> list[dict[str, float]]:
        return [{"smoothing": 0.1 * self.recipe.seed}, {"smoothing": 0.3 * self.recipe.seed}]

    def true_labels(self) -> Tensor:
        return torch.arange(self.n) % 5


def shown(skill: dict[str, float], seeds: int = 8) -> list[object]:
    """What show() makes of runs, last seed first, each method with its skill under noise."""
    runs = []
    for at, recipe in enumerate(noise.recipes(replace(SMOKE, seeds=range(seeds)))):
        base = skill.get(noise.variant(recipe).label, 0.5) if recipe.label_noise else 0.9
        runs.append(Fake(recipe, base + 0.025 * (at % 2 + recipe.seed % 2)))
    return list(noise.show(sorted(runs, key=lambda run: -run.recipe.seed)))  # type: ignore[type-var]


def test_all_of_a_setting_see_the_same_noise() -> None:
    recipes = list(noise.recipes(Scale(name="desk", seeds=range(1))))
    assert len({r.digest for r in recipes}) == len(recipes)
    for recipe in recipes:
        if isinstance(recipe.teacher, Recipe):
            assert recipe.teacher in recipes
            assert recipe.teacher.label_noise == recipe.label_noise
            assert recipe.teacher.noise_kind == recipe.noise_kind
            assert recipe.teacher.initialisation != recipe.initialisation
    settings = {(r.noise_kind, r.label_noise) for r in recipes}
    assert noise.CLEAN in settings
    assert max(share for kind, share in settings if kind == "pair") < 0.5
    assert len(recipes) == len(settings) * 8


def test_all_methods_take_as_much_and_soft_weights_have_one_temperature() -> None:
    recipes = list(noise.recipes(SMOKE))
    methods = [r for r in recipes if "w" not in noise.variant(r).facts and r.prior is not None]
    assert len({noise.variant(r).label for r in methods}) == 3
    assert all(shared.amount(r) == pytest.approx(noise.SMOOTHING) for r in methods)
    students = [r for r in recipes if "w" in noise.variant(r).facts]
    assert {r.prior.strength for r in students} == {0.6, 1.0, 1.2}  # type: ignore[union-attr]
    for recipe in students:
        assert isinstance(recipe.prior, TeacherPrior)
        assert recipe.effective_label_weight is not None
        assert recipe.effective_label_weight + recipe.prior.strength == pytest.approx(1)
        assert recipe.match_smoothing is None
        assert recipe.prior.temperature == noise.TEMPERATURE


def test_auroc_is_scikit_learns() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    high = torch.randn(50).mul(2).round() / 2 + 0.5  # with ties
    low = torch.randn(30).mul(2).round() / 2
    truth = torch.cat([torch.ones(50), torch.zeros(30)])
    wanted = metrics.roc_auc_score(truth.numpy(), torch.cat([high, low]).numpy())
    assert auroc(high, low) == pytest.approx(wanted, abs=1e-9)
    assert auroc(low, high) == pytest.approx(1 - wanted, abs=1e-9)
    assert auroc(high.exp(), low.exp()) == pytest.approx(auroc(high, low))


def test_right_and_wrong_labels_by_hand() -> None:
    p = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.6, 0.3, 0.1], [0.2, 0.3, 0.5]])
    given, true = torch.tensor([0, 1, 1, 2]), torch.tensor([0, 1, 0, 0])
    found = of_samples(p.log(), given, true)
    assert tuple(found.values()) == pytest.approx((0.75, 0.4, 0.4, 0.5, 0.5, 1.0))


def test_right_and_wrong_labels_do_not_ask_for_an_order_or_a_constant() -> None:
    logits, true = torch.randn(60, 4).double(), torch.randint(4, (60,))
    given = torch.where(torch.rand(60) < 0.4, (true + 1) % 4, true)
    order = torch.randperm(60)
    found = of_samples(logits, given, true)
    assert of_samples(logits[order], given[order], true[order]) == pytest.approx(found)
    assert of_samples(logits + torch.randn(60, 1), given, true) == pytest.approx(found)
    hot = 100 * torch.nn.functional.one_hot(given, 4)
    assert list(of_samples(hot, given, true).values())[:5] == pytest.approx([1, 1, 0, 1, 0])


def test_claims_follow_the_numbers() -> None:
    better = dict.fromkeys(("label smoothing", "Beta (EMA)", "self-distillation"), 0.6)
    better |= {distilled(0.6): 0.65, distilled(1.0): 0.7, distilled(1.2): 0.8}
    claims = [item for item in shown({"cross-entropy": 0.3, **better}) if isinstance(item, Claim)]
    by_text = {c.text: c.verdict.outcome for c in claims}
    assert len(by_text) == len(claims)
    for start in ("With symmetric 40 %", "With pair 40 %"):
        (verdict,) = (v for t, v in by_text.items() if t.startswith(start) and "accurate" in t)
        assert verdict == "holds"
        (verdict,) = (v for t, v in by_text.items() if t.startswith(start) and "fewer" in t)
        assert verdict == "holds"
    assert {v for t, v in by_text.items() if "than at w =" in t} == {"holds"}
    worse = {"cross-entropy": 0.9, **dict.fromkeys(better, 0.4)}
    claims = [item for item in shown(worse) if isinstance(item, Claim)]
    assert {c.verdict.outcome for c in claims if "accurate" in c.text} == {"does not hold"}


def test_tables_pair_by_seed_and_leave_the_teacher_out() -> None:
    tables = {item.key: item for item in shown({}) if isinstance(item, Table)}
    names = [row[0] for row in tables["accuracy_best"].rows]
    assert names == ["cross-entropy", "label smoothing", "Beta (EMA)", "self-distillation"] + [
        distilled(w) for w in noise.WEIGHTS
    ]
    assert [c.name for c in tables["accuracy_best"].columns[1:]] == [
        "no noise",
        "symmetric 40 %",
        "pair 40 %",
    ]
    for row in tables["differences_best"].rows:
        for cell in row[1:]:
            assert isinstance(cell, Difference)
            # Seeds of a method differ from its neighbours' by nothing or one step throughout.
            assert cell.high - cell.low < 0.12
    assert [row[0] for row in tables["smoothing"].rows] == names[1:]
    for row in tables["smoothing"].rows:
        assert row[1:] == (Measured.of([0.2 * seed for seed in range(8)]),) * 3


def test_across_has_a_column_for_each_value() -> None:
    at = {
        share: [
            Method(name, facts={"noise": ("pair", share), "family": family})
            for name, family in (("a", "none"), ("b", "beta"))
        ]
        for share in (0.2, 0.4)
    }
    results = {
        m: {s: Result({"accuracy": share * (1 + (m.label == "b")) + 0.01 * s}) for s in range(2)}
        for share, of in at.items()
        for m in of
    }
    found = Comparison(results, {"accuracy": Column(name="Accuracy")})
    table = across(found, "k", "T", "accuracy", "")
    assert [c.name for c in table.columns] == ["Method", "pair 20 %", "pair 40 %"]
    assert table.rows[1][2] == found.measured(at[0.4][1], "accuracy")
    gaps = across(found, "k", "T", "accuracy", "", differences=True)
    (row,) = gaps.rows
    assert row == ("b", *(found.gap(of[1], of[0], "accuracy") for of in at.values()))


def test_one_seed_is_enough_to_show() -> None:
    items = shown({}, seeds=1)
    assert {c.verdict.outcome for c in items if isinstance(c, Claim)} == {"cannot tell"}
