"""The study of calibration: scaled on held-out data, and claims over all conventions."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from softprior import diagnostics
from softprior.evidence import Claim, Table
from softprior.studies import Scale, calibration
from softprior.studies._shared.methods import named
from softprior.studies._shared.scores import result, scaled
from softprior.studies.calibration import CONVENTIONS, PROPER, SELECTIVE
from softprior.training import Recipe

SMOKE = Scale(name="smoke", seeds=range(3))
SCORES = {**CONVENTIONS, **PROPER, **SELECTIVE}
SCALED = {name: replace(score, scaled=True) for name, score in SCORES.items()}
AFTER = ("NLL", "Brier score", "AURC", *CONVENTIONS)


@dataclass(frozen=True)
class Fake:
    """A run whose logits are calibrated ones times ``factor``, that of test data another."""

    recipe: Recipe
    factor: float = 1.0

    def predictions(self, part: str, epoch: str = "best") -> tuple[Tensor, Tensor]:
        g = torch.Generator().manual_seed(len(part) + 100 * self.recipe.seed)
        logits = 2 * torch.randn(400, 5, generator=g, dtype=torch.float64)
        return self.factor * logits, torch.multinomial(logits.softmax(1), 1, generator=g).flatten()


def test_the_temperature_is_that_of_the_validation_set() -> None:
    run = Fake(Recipe(), factor=3.0)
    held_out = diagnostics.fit_temperature(*run.predictions("validation"))
    assert held_out != diagnostics.fit_temperature(*run.predictions("test"))
    logits, labels = run.predictions("test")
    torch.testing.assert_close(scaled(run), (logits / held_out, labels))  # type: ignore[arg-type]


@pytest.mark.parametrize("factor", [0.2, 5.0])
def test_scaling_undoes_a_factor_of_the_logits(factor: float) -> None:
    plain, other = Fake(Recipe()), Fake(Recipe(), factor)
    after = [result(run, SCALED).scores for run in (plain, other)]  # type: ignore[arg-type]
    for what in AFTER:
        assert after[1][what] == pytest.approx(after[0][what], rel=1e-4, abs=1e-6), what
    before = result(other, SCORES).scores  # type: ignore[arg-type]
    assert all(before[what] > after[1][what] + 0.02 for what in ("NLL", "ECE, 20 bins"))


def test_risks_are_those_among_the_most_confident() -> None:
    logits, labels = Fake(Recipe()).predictions("test")
    confidence, predicted = logits.softmax(1).max(1)
    wrong = (predicted != labels).double()[confidence.argsort(descending=True)]
    found = result(Fake(Recipe()), SCORES).scores  # type: ignore[arg-type]
    assert found["Risk at 80 %"] == pytest.approx(wrong[:320].mean().item())
    assert found["Risk at 90 %"] == pytest.approx(wrong[:360].mean().item())
    assert found["ECE, 10 bins"] == diagnostics.ece(logits, labels, 10)
    assert found["ECE, 20 bins"] == diagnostics.ece(logits, labels)


def test_show_pairs_by_method_and_seed() -> None:
    factors = {"cross-entropy": 1.0, "label smoothing": 0.2, "confidence penalty": 4.0}
    runs = []
    for recipe in calibration.recipes(SMOKE):
        name = named(recipe).label
        runs.append(Fake(recipe, factors.get(name, 0.6)))
    items = list(calibration.show(sorted(runs, key=lambda run: -run.recipe.seed)))  # type: ignore[arg-type]
    tables = {item.key: item for item in items if isinstance(item, Table)}
    names = [row[0] for row in tables["scores"].rows]
    assert set(factors) < set(names)
    assert len(names) == 6
    for row in tables["selective_differences"].rows:  # one factor for all: the same order
        assert abs(row[1].mean) < 0.05  # type: ignore[union-attr]
    for row in tables["conventions_after_differences"].rows:
        assert all(abs(cell.mean) < 1e-4 for cell in row[1:])  # type: ignore[union-attr]
    claims = {item.text: item.verdict.outcome for item in items if isinstance(item, Claim)}
    (before,) = (
        v for t, v in claims.items() if t.startswith("Before") and "than label smoothing by" in t
    )
    assert before == "holds"
    (after,) = (
        v for t, v in claims.items() if t.startswith("After") and "than label smoothing by" in t
    )
    assert after == "cannot tell"
    alone = calibration.show([run for run in runs if run.recipe.seed == 0])  # type: ignore[misc]
    assert {c.verdict.outcome for c in alone if isinstance(c, Claim)} == {"cannot tell"}
