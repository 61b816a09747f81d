"""The study of the amount: what is asked for, compared at each amount, over all, at the best."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import fmean

import pytest
import torch
from torch import Tensor

from softprior import Prior
from softprior.studies import _settings, amount
from softprior.studies._ablation import Scores
from softprior.studies._amount import SMOOTHINGS, asked, at_every, chosen, gap, grouped, over_all
from softprior.studies._drawing import End, name_ends, spaced
from softprior.studies._kit import Claim, Figure, Scale, Table, method
from softprior.training import Recipe

DESK = Scale(name="desk", seeds=6)
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
        name, ε = method(recipe).partition(",")[0], asked(recipe)
        level = 0.03 * recipe.seed + 0.015 * torch.rand(()).item()
        found.append(Fake(recipe, test(name, ε) + level, validation(name, ε)))
    return sorted(found, key=lambda run: -run.recipe.seed)


def shown(of: list[Fake]) -> list[Table | Figure | Claim]:
    return list(amount.show(of))  # type: ignore[arg-type]


def test_every_method_at_every_amount() -> None:
    recipes = list(amount.recipes(replace(DESK, seeds=1)))
    assert len({r.digest for r in recipes}) == len(recipes) == 26
    by_name: dict[str, list[float]] = {}
    for recipe in recipes:
        by_name.setdefault(method(recipe).partition(",")[0], []).append(asked(recipe))
    assert by_name.pop(CE) == [0]
    assert len(by_name) == 5
    assert all(tuple(amounts) == SMOOTHINGS for amounts in by_name.values())
    shared = _settings.methods(_settings.base(DESK, 0))
    assert set(shared) <= set(recipes)  # the main table's


def test_fewer_runs_on_images() -> None:
    scale = Scale(name="desk", seeds=1, dataset="some/images")
    recipes = list(amount.recipes(scale))
    assert len(recipes) == 1 + 4 * len(amount.DESK)
    assert not any(r.penalty for r in recipes)
    assert {asked(r) for r in recipes} == {0, *amount.DESK}
    assert set(_settings.methods(_settings.base(scale, 0))[:-1]) <= set(recipes)  # the main table's


def test_groups_whatever_the_order() -> None:
    of = runs(lambda *_: 0.5)
    some = grouped(of)  # type: ignore[arg-type]
    again = grouped([of[i] for i in torch.randperm(len(of))])  # type: ignore[misc]
    assert some == again
    assert next(iter(some)) == CE
    for by in some.values():
        assert list(by) == sorted(by)
        assert all([run.recipe.seed for run in group] == list(range(6)) for group in by.values())


def table(**accuracy: dict[float, list[float]]) -> dict[str, dict[float, list[Scores]]]:
    return {
        name.replace("_", " "): {
            ε: [Scores(value, 0, 0, 0, 0) for value in of] for ε, of in by.items()
        }
        for name, by in accuracy.items()
    }


def test_mean_over_the_amounts_is_the_mean_of_the_gaps() -> None:
    values = torch.rand(3, 2, 7, dtype=torch.float64).tolist()
    numbers = table(
        ours=dict(zip((0.1, 0.2), values[0], strict=True)),
        theirs=dict(zip((0.1, 0.2), values[1], strict=True)),
        plain={0.0: values[2][0]},
    )
    for reference in ("theirs", "plain"):
        gaps = [gap(numbers, "ours", reference, "accuracy", ε) for ε in (0.1, 0.2)]
        whole = over_all(numbers, "ours", reference, "accuracy")
        assert whole.mean == pytest.approx(fmean(g.mean for g in gaps))
        back = over_all(numbers, "theirs", "ours", "accuracy")
        assert reference != "theirs" or back.mean == pytest.approx(-whole.mean)
    alone = gap(numbers, "ours", "plain", "accuracy", 0.2)
    wanted = torch.tensor(values[0][1]) - torch.tensor(values[2][0])
    assert alone.mean == pytest.approx(wanted.mean().item())


@pytest.mark.parametrize(
    ("second", "sign", "expected", "told"),
    [
        (+0.1, +1, "holds", "higher at 2 and lower at 0 of 2"),
        (+0.1, -1, "does not hold", "higher at 2 and lower at 0 of 2"),
        (-0.1, +1, "does not hold", "higher at 1 and lower at 1 of 2"),
        (0.0, +1, "cannot tell", "higher at 1 and lower at 0 of 2"),
    ],
)
def test_at_every_amount(second: float, sign: int, expected: str, told: str) -> None:
    noise = [0.001, -0.002, 0.001, 0.002, -0.002]
    numbers = table(
        theirs={0.1: [0.5] * 5, 0.2: [0.5] * 5},
        ours={0.1: [0.6 + e for e in noise], 0.2: [0.5 + second + e for e in noise]},
    )
    claim = at_every("So it is.", numbers, ["ours"], "theirs", "accuracy", sign=sign)
    assert (claim.text, claim.verdict) == ("So it is.", expected)
    assert told in claim.evidence
    assert "Holm-adjusted for 2" in claim.evidence


def test_the_best_amount_is_validations_and_the_smallest_of_equals() -> None:
    peaks = {LS: 0.20, SD: 0.10}

    def validation(name: str, ε: float) -> float:
        return 0.9 if peaks.get(name) == ε else 0.6

    of = runs(lambda _, ε: 0.3 + ε, validation)
    best = chosen(grouped(of))  # type: ignore[arg-type]
    assert best[CE] == 0
    assert (best[LS], best[SD], best["Beta (EMA)"]) == (0.20, 0.10, 0.05)
    items = shown(of)
    claim = next(i for i in items if isinstance(i, Claim) and i.text.startswith("Each at its best"))
    assert "self-distillation (10 % against 20 %) −" in claim.evidence
    rows = next(i for i in items if isinstance(i, Table) and i.key == "best").rows
    assert [row[1] for row in rows if row[0] == LS] == [0.20]


def test_claims_follow_the_numbers() -> None:
    skill = {CE: 0.4, LS: 0.5, "confidence penalty": 0.5}
    items = shown(runs(lambda name, _: skill.get(name, 0.6)))
    verdicts = {item.text: item.verdict for item in items if isinstance(item, Claim)}
    assert len(verdicts) == 9
    assert {v for t, v in verdicts.items() if "accurate" in t} == {"holds"}
    items = shown(runs(lambda name, _: 1 - skill.get(name, 0.6) - 0.2))
    verdicts = {item.text: item.verdict for item in items if isinstance(item, Claim)}
    assert {v for t, v in verdicts.items() if "accurate" in t} == {"does not hold"}


def test_one_seed_decides_nothing() -> None:
    items = shown(runs(lambda *_: 0.6, scale=replace(DESK, seeds=1)))
    assert {item.verdict for item in items if isinstance(item, Claim)} == {"cannot tell"}


def test_curves_hold_the_tables_numbers() -> None:
    items = shown(runs(lambda name, ε: 0.4 + ε + 0.1 * (name == LS)))
    levels = next(i for i in items if isinstance(i, Table) and i.key == "levels")
    curves = next(i for i in items if isinstance(i, Figure) and i.key == "curves")
    assert len(levels.rows) == 26
    for name, ε, cell, *_ in levels.rows:
        value, low, high = curves.data["accuracy"][name][f"{ε:g}"]
        assert value == pytest.approx(100 * cell.mean)  # type: ignore[union-attr]
        assert low < value < high


def test_names_apart_are_isotonic_regression() -> None:
    isotonic = pytest.importorskip("sklearn.isotonic").isotonic_regression
    wanted, gap = torch.rand(9, dtype=torch.float64), 0.12
    found = torch.tensor(spaced(wanted.tolist(), gap), dtype=torch.float64)
    order = wanted.argsort()
    steps = gap * torch.arange(9)
    expected = torch.from_numpy(isotonic((wanted[order] - steps).numpy())) + steps
    torch.testing.assert_close(found[order], expected)
    assert found[order].diff().min() >= gap - 1e-12
    assert found.mean().item() == pytest.approx(wanted.mean().item())
    shuffled = torch.randperm(9)
    torch.testing.assert_close(
        torch.tensor(spaced(wanted[shuffled].tolist(), gap), dtype=torch.float64), found[shuffled]
    )
    apart = [0.9, 0.1, 0.4]
    assert spaced(apart, 0.2) == pytest.approx(apart)
    assert spaced([], 0.2) == []


def test_names_of_curves_do_not_touch_or_move_the_axes() -> None:
    text_of = pytest.importorskip("matplotlib.text").Text.get_window_extent
    figure = pytest.importorskip("matplotlib.figure").Figure(figsize=(4, 3), layout="constrained")
    agg = pytest.importorskip("matplotlib.backends.backend_agg").FigureCanvasAgg(figure)
    ax = figure.add_subplot()
    ax.plot([0, 1], [0, 1])
    before = ax.get_xlim(), ax.get_ylim()
    heights = (0.5, 0.51, 0.49, 0.52)
    name_ends(ax, [End(f"method {i}", 1, y, "#000000") for i, y in enumerate(heights)])
    agg.draw()
    assert (ax.get_xlim(), ax.get_ylim()) == before
    boxes = [text_of(text) for text in ax.texts]  # without their lines
    boxes.sort(key=lambda box: box.y0)
    assert all(low.y1 < high.y0 for low, high in pairwise(boxes))
    assert all(box.x0 > ax.get_window_extent().x1 for box in boxes)
    assert all(math.isfinite(box.x1) and box.x1 <= figure.bbox.x1 for box in boxes)
