"""The study of calibration: scaled on held-out data, and claims over all conventions."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from softprior import diagnostics
from softprior.studies import calibration
from softprior.studies._calibration import CONVENTIONS, everywhere, measure, scaled, temperature
from softprior.studies._kit import Claim, Scale, Table, method
from softprior.training import Recipe

SMOKE = Scale(name="smoke", seeds=3)
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


def numbers(**errors: list[float]) -> dict[str, list[dict[str, float]]]:
    return {name: [dict.fromkeys(CONVENTIONS, e) for e in of] for name, of in errors.items()}


def test_the_temperature_is_that_of_the_validation_set() -> None:
    run = Fake(Recipe(), factor=3.0)
    held_out = diagnostics.fit_temperature(*run.predictions("validation"))
    assert temperature(run) == held_out  # type: ignore[arg-type]
    assert held_out != diagnostics.fit_temperature(*run.predictions("test"))
    logits, labels = run.predictions("test")
    torch.testing.assert_close(scaled(run), (logits / held_out, labels))  # type: ignore[arg-type]


@pytest.mark.parametrize("factor", [0.2, 5.0])
def test_scaling_undoes_a_factor_of_the_logits(factor: float) -> None:
    plain, other = Fake(Recipe()), Fake(Recipe(), factor)
    after = [measure(*scaled(run)) for run in (plain, other)]  # type: ignore[arg-type]
    for what in AFTER:
        assert after[1][what] == pytest.approx(after[0][what], rel=1e-4, abs=1e-6), what
    before = measure(*other.predictions("test"))
    assert all(before[what] > after[1][what] + 0.02 for what in ("NLL", "ECE, 20 bins"))


def test_risks_are_those_among_the_most_confident() -> None:
    logits, labels = Fake(Recipe()).predictions("test")
    confidence, predicted = logits.softmax(1).max(1)
    wrong = (predicted != labels).double()[confidence.argsort(descending=True)]
    found = measure(logits, labels)
    assert found["Risk at 80 %"] == pytest.approx(wrong[:320].mean().item())
    assert found["Risk at 90 %"] == pytest.approx(wrong[:360].mean().item())
    assert found["ECE, 10 bins"] == diagnostics.ece(logits, labels, 10)
    assert found["ECE, 20 bins"] == diagnostics.ece(logits, labels)


def test_everywhere_wants_every_convention() -> None:
    n = numbers(a=[0.10, 0.11, 0.12, 0.10], b=[0.30, 0.32, 0.31, 0.32])
    assert everywhere("It is so.", n, ["a"], "b").verdict == "holds"
    claim = everywhere("It is so.", n, ["b"], "a")
    assert claim.verdict == "does not hold"
    assert "b +20.5 to +20.5 points, clearly lower by 0 and higher by 6 of 6" in claim.evidence
    assert "seeds: 4" in claim.evidence
    for row in n["a"]:
        row["classwise ECE"] = 0.31  # one convention of six sees no difference
    claim = everywhere("It is so.", n, ["a"], "b")
    assert claim.verdict == "cannot tell"
    assert "a −20.5 to −0.25 points, clearly lower by 5 and higher by 0 of 6" in claim.evidence
    one = {name: rows[:1] for name, rows in n.items()}
    assert everywhere("It is so.", one, ["a"], "b").verdict == "cannot tell"


def test_show_pairs_by_method_and_seed() -> None:
    factors = {"cross-entropy": 1.0, "label smoothing": 0.2, "confidence penalty": 4.0}
    runs = []
    for recipe in calibration.recipes(SMOKE):
        name = method(recipe).partition(",")[0]
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
    claims = {item.text: item.verdict for item in items if isinstance(item, Claim)}
    (before,) = (v for t, v in claims.items() if t.startswith("Before") and "smoothing," in t)
    assert before == "holds"
    (after,) = (v for t, v in claims.items() if t.startswith("After") and "smoothing," in t)
    assert after == "cannot tell"
    alone = calibration.show([run for run in runs if run.recipe.seed == 0])  # type: ignore[misc]
    assert {c.verdict for c in alone if isinstance(c, Claim)} == {"cannot tell"}
