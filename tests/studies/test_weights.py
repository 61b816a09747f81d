"""Which run is which, and MAP weights against none at the same smoothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from softprior.studies import _settings, weights
from softprior.studies._ablation import Scores, apart, label_targets
from softprior.studies._kit import Claim, Figure, Scale, Table
from softprior.studies._sweeps import interpolated, sweep
from softprior.training import Recipe, Run

figure = pytest.importorskip("matplotlib.figure")
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
            votes, labels = FakeRun(self.recipe.teacher, self.path).predictions("train")
            prior = prior.matched(self.recipe.match_smoothing, votes, labels)
        return {"best_epoch": 3, "prior": prior and dataclasses.asdict(prior)}


def runs(seeds: int = 3, name: Any = "desk") -> list[Run]:
    return [FakeRun(r, Path()) for r in weights.recipes(Scale(name=name, seeds=seeds))]


@pytest.mark.parametrize("name", ["smoke", "desk", "paper"])
def test_each_run_is_asked_for_once_and_has_its_own_name(name: str) -> None:
    students, _ = apart(runs(1, name))
    names = [weights.called(run.recipe) for run in students]
    assert len({run.recipe.digest for run in students}) == len(students)
    assert len(set(names)) == len(names)
    assert weights.PLAIN in names


def test_the_reference_is_shared_with_the_other_studies() -> None:
    by_name = {weights.called(r): r for r in weights.recipes(Scale(name="desk", seeds=1))}
    base = _settings.base(Scale(name="desk", seeds=1), 0)
    assert by_name[weights.PLAIN] == _settings.distilled(base)
    assert by_name["smoothing by 0.3"] == _settings.distilled(base, 0.3)


def test_smoothing_is_matched_but_for_map_weights() -> None:
    students, teachers = apart(runs(1))
    found = {
        weights.called(run.recipe): 1 - label_targets(run, teachers).mean().item()
        for run in students
        if run.recipe.teacher in teachers
    }
    more = found.pop(weights.MAP)
    for name, ε in found.items():
        asked = float(name.rpartition(" ")[2]) if name.startswith("smoothing") else 0.15
        assert ε == pytest.approx(asked, abs=1e-6)
    assert 0.15 < more < 0.25


def test_soft_labels_with_map_weights_by_hand() -> None:
    students, teachers = apart(runs(1))
    run = next(run for run in students if weights.called(run.recipe) == weights.MAP)
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
    curve = [(at, Scores(*row)) for at, row in zip(x, rows, strict=True)]
    order = np.argsort(x)
    for at in (0.1, 0.15, 0.17, 0.2, 0.29, 0.3, 0.4):
        want = [np.interp(at, np.sort(x), np.array(rows)[order, k]) for k in range(5)]
        assert interpolated(curve, at) == pytest.approx(want)


def test_same_smoothing_goes_seed_by_seed() -> None:
    def scores(*accuracies: float) -> list[Scores]:
        return [Scores(a, 0, 0, 0, 0) for a in accuracies]

    numbers = {"low": scores(0.5, 0.9), "high": scores(0.7, 0.8), weights.MAP: scores(0.1, 0.1)}
    smoothing = {"low": [0.1, 0.1], "high": [0.2, 0.2], weights.MAP: [0.15, 0.12]}
    found = [s.accuracy for s in weights.same_smoothing(numbers, smoothing)]
    assert found == pytest.approx([0.6, 0.88])


def test_show_asks_four_questions() -> None:
    items = list(weights.show(runs()))
    claims = [item for item in items if isinstance(item, Claim)]
    assert len(claims) == 4
    assert "student T = 2" in claims[2].evidence
    assert "student T = 4" in claims[2].evidence
    assert "label weight 0.4" in claims[0].text
    assert "(label weight 0)" in claims[0].text
    figures = {item.key: item for item in items if isinstance(item, Figure)}
    along = figures["label_weight"].data
    curve = [value["x"] for name, value in along.items() if name.startswith("label weight")]
    assert curve == [0.0, 0.2, 0.4, 0.6]
    assert along["cross-entropy"]["x"] == 1
    assert [v["x"] for v in figures["student"].data.values()] == [1, 2, 4]
    (differences,) = (i for i in items if isinstance(i, Table) and i.key == "differences")
    assert weights.PLAIN not in [row[0] for row in differences.rows]
    assert len(list(weights.show(runs(1)))) == len(items)


def test_sweep_draws_percent_and_marks() -> None:
    def one(accuracy: float) -> list[Scores]:
        return [Scores(accuracy, 1, 0, 1, 0)]

    numbers = {"a": one(0.8), "b": one(0.9), "cross-entropy": one(0.7)}
    drawing = sweep(
        *("k", "K", "Weight", numbers, {"a": 0.0, "b": 0.5}, ["accuracy"]),
        marked={"cross-entropy": 1.0},
        caption="",
    )
    ax = figure.Figure().add_subplot()
    drawing.draw([ax])
    curve, mark = ax.lines
    assert curve.get_xydata().tolist() == [[0, 80], [0.5, 90]]
    assert mark.get_xydata().tolist() == [[1, 70]]
    assert [text.get_text() for text in ax.texts] == ["cross-entropy"]
