"""Which run is which, and MAP weights against none at the same smoothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from softprior.evidence import Claim, Column, Comparison, Figure, Method, Result, Table
from softprior.studies import Scale, weights
from softprior.studies._shared import recipes as shared
from softprior.studies._shared.methods import split_teachers
from softprior.studies._shared.training_set import label_targets
from softprior.studies.weights import interpolated
from softprior.training import Recipe, Run

MAP, PLAIN = "MAP weights", "label weight 0.4"
CLASSES, TRAIN = 5, 200


class FakeRun(Run):
    """Predictions drawn from the recipe; temperature and epoch as a real run would say."""

    def predictions(self, part: str, epoch: str = "best") -> tuple[Tensor, Tensor]:
        n = TRAIN if part == "train" else 40
        g = torch.Generator().manual_seed(int(self.recipe.digest, 16) % 2**31 + len(part))
        labels = torch.arange(n) % CLASSES
        return torch.randn(n, CLASSES, generator=g) + 5 * torch.eye(CLASSES)[labels], labels

    @property
    def outcome(self) -> dict[str, Any]:  # type: ignore[override]
        prior = self.recipe.prior
        if prior is not None and self.recipe.match_smoothing is not None:
            assert isinstance(self.recipe.teacher, Recipe)
            logits, labels = FakeRun(self.recipe.teacher, self.path).predictions("train")
            prior = prior.matched(self.recipe.match_smoothing, logits, labels)
        return {"best_epoch": 3, "prior": prior and dataclasses.asdict(prior)}


def runs(seeds: int = 3, name: Any = "desk") -> list[Run]:
    return [FakeRun(r, Path()) for r in weights.recipes(Scale(name=name, seeds=range(seeds)))]


@pytest.mark.parametrize("name", ["smoke", "desk", "paper"])
def test_each_run_is_asked_for_once_and_has_its_own_name(name: str) -> None:
    students, _ = split_teachers(runs(1, name))
    names = [weights.variant(run.recipe).label for run in students]
    assert len({run.recipe.digest for run in students}) == len(students)
    assert len(set(names)) == len(names)
    assert PLAIN in names


def test_the_reference_is_shared_with_the_other_studies() -> None:
    by_name = {
        weights.variant(r).label: r for r in weights.recipes(Scale(name="desk", seeds=range(1)))
    }
    base = shared.base(Scale(name="desk", seeds=range(1)), 0)
    assert by_name[PLAIN] == shared.distilled(base)
    assert by_name["smoothing by 0.3"] == shared.distilled(base, 0.3)


def test_smoothing_is_matched_but_for_map_weights() -> None:
    students, teachers = split_teachers(runs(1))
    found = {
        weights.variant(run.recipe).label: 1 - label_targets(run, teachers).mean().item()
        for run in students
        if run.recipe.teacher in teachers
    }
    more = found.pop(MAP)
    for name, ε in found.items():
        asked = float(name.rpartition(" ")[2]) if name.startswith("smoothing") else 0.15
        assert ε == pytest.approx(asked, abs=1e-6)
    assert 0.15 < more < 0.25


def test_soft_labels_with_map_weights_by_hand() -> None:
    students, teachers = split_teachers(runs(1))
    run = next(run for run in students if weights.variant(run.recipe).label == MAP)
    teacher = run.recipe.teacher
    assert isinstance(teacher, Recipe)
    logits, labels = teachers[teacher].predictions("train")
    assert run.prior is not None
    p = logits.double().softmax(1) ** (1 / run.prior.teacher_temperature)
    ω = p.sum(1)
    on_label = p[torch.arange(TRAIN), labels] / ω
    want = (0.4 + 0.6 * ω * on_label) / (0.4 + 0.6 * ω)
    torch.testing.assert_close(label_targets(run, teachers), want, rtol=1e-5, atol=1e-6)


def test_interpolation_is_numpy_s() -> None:
    x = [0.3, 0.15, 0.2]
    rows = torch.rand(3, 5).tolist()
    curve = [(at, {str(k): v for k, v in enumerate(row)}) for at, row in zip(x, rows, strict=True)]
    order = np.argsort(x)
    for at in (0.1, 0.15, 0.17, 0.2, 0.29, 0.3, 0.4):
        want = {str(k): np.interp(at, np.sort(x), np.array(rows)[order, k]) for k in range(5)}
        assert interpolated(curve, at) == pytest.approx(want)


def test_same_smoothing_goes_seed_by_seed() -> None:
    low, high, ours = Method("low"), Method("high"), Method(MAP, facts={"map": True})
    accuracies = {low: (0.5, 0.9), high: (0.7, 0.8), ours: (0.1, 0.1)}
    results = {m: {s: Result({"a": v}) for s, v in enumerate(of)} for m, of in accuracies.items()}
    smoothing = {low: [0.1, 0.1], high: [0.2, 0.2], ours: [0.15, 0.12]}
    found = weights.same_smoothing(Comparison(results, {"a": Column(name="A")}), smoothing)
    assert [found[seed].scores["a"] for seed in (0, 1)] == pytest.approx([0.6, 0.88])


def test_show_asks_four_questions() -> None:
    items = list(weights.show(runs()))
    claims = [item for item in items if isinstance(item, Claim)]
    assert len(claims) == 4
    assert "student T = 2" in claims[2].evidence
    assert "student T = 4" in claims[2].evidence
    assert "label weight 0.4" in claims[0].text
    assert "(label weight 0)" in claims[0].text
    figures = {item.key: item for item in items if isinstance(item, Figure)}
    accuracy = figures["label_weight"].data["Accuracy, %"]
    assert list(accuracy["self-distillation"]) == ["0", "0.2", "0.4", "0.6"]
    assert list(accuracy["cross-entropy"]) == ["1"]
    assert list(accuracy["label smoothing"]) == ["0.85"]
    assert list(figures["student"].data["ECE, %"]["self-distillation"]) == ["1", "2", "4"]
    assert len(figures["map"].data["ECE, %"]["self-distillation"]) == 3
    (differences,) = (i for i in items if isinstance(i, Table) and i.key == "differences")
    assert PLAIN not in [row[0] for row in differences.rows]
    assert len(list(weights.show(runs(1)))) == len(items)
