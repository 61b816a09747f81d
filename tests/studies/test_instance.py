"""What is held equal between the variants, what is compared with what, and the drawing of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor

from softprior import BetaPrior, diagnostics
from softprior.evidence import Claim, Difference, Table
from softprior.studies import Scale, by_method, instance
from softprior.studies._shared.methods import split_teachers
from softprior.studies._shared.scores import TEST, result
from softprior.studies._shared.training_set import label_targets
from softprior.training import Recipe, Run

SEEDS, CLASSES, TRAIN = 3, 4, 60


class FakeRun(Run):
    """Predictions drawn from the recipe; temperature and epoch as a real run would say."""

    def predictions(self, part: str, epoch: str = "best") -> tuple[Tensor, Tensor]:
        n = TRAIN if part == "train" else 40
        g = torch.Generator().manual_seed(int(self.recipe.digest, 16) % 2**31 + len(part))
        labels = torch.arange(n) % CLASSES
        # A teacher must be right about most of its training set, or nothing can be matched.
        logits = torch.randn(n, CLASSES, generator=g) + 3 * torch.eye(CLASSES)[labels]
        return logits, labels

    @property
    def outcome(self) -> dict[str, Any]:  # type: ignore[override]
        prior = self.recipe.prior
        if prior is not None and self.recipe.match_smoothing is not None:
            assert isinstance(self.recipe.teacher, Recipe)
            logits, labels = FakeRun(self.recipe.teacher, self.path).predictions("train")
            prior = prior.matched(self.recipe.match_smoothing, logits, labels)
        return {"best_epoch": 3, "prior": prior and dataclasses.asdict(prior)}


def runs(seeds: int = SEEDS) -> list[Run]:
    scale = Scale(name="smoke", seeds=range(seeds))
    return [FakeRun(recipe, Path()) for recipe in instance.recipes(scale)]


def variants() -> Iterator[tuple[str, Run, dict[Recipe, Run]]]:
    students, teachers = split_teachers(runs())
    for method, of in by_method(students).items():
        for run in of:
            yield method.label, run, teachers


def test_every_variant_takes_as_much_from_the_label() -> None:
    seen = set()
    for name, run, teachers in variants():
        if run.recipe.teacher in teachers:
            target = label_targets(run, teachers)
            assert target.shape == (TRAIN,)
            assert target.mean().item() == pytest.approx(0.85, abs=1e-6)
            seen.add(name)
        elif isinstance(prior := run.recipe.prior, BetaPrior):
            mean, _ = instance._beta_moments(prior, run.recipe.effective_label_weight)
            assert mean == pytest.approx(0.85)
            seen.add(name)
    assert len(seen) == 10


def test_permuted_targets_are_the_class_s_own() -> None:
    found = {name: (run, teachers) for name, run, teachers in variants()}
    targets = {
        kind: label_targets(*found[f"self-distillation, {kind} targets"])
        for kind in ("stored", "permuted", "class mean", "overall mean")
    }
    for label in range(CLASSES):
        stored, permuted, mean, overall = (t[label::CLASSES] for t in targets.values())
        assert not torch.equal(stored, permuted)
        torch.testing.assert_close(stored.sort().values, permuted.sort().values)
        torch.testing.assert_close(mean, stored.mean().expand_as(mean), atol=1e-6, rtol=0)
        torch.testing.assert_close(overall, overall[:1].expand_as(overall))


@pytest.mark.parametrize("a", [1.0, 3.0, 11.0])
def test_moments_of_beta_smoothing(a: float) -> None:
    mean, spread = instance._beta_moments(BetaPrior(0.6, a), 0.4)
    b = stats.beta(a, 1)
    assert mean == pytest.approx(0.4 + 0.6 * b.mean())
    assert spread == pytest.approx(0.6 * b.std())


def test_correlation() -> None:
    x, y = torch.randn(20), torch.randn(20)
    assert instance._correlation(x, y) == pytest.approx(stats.pearsonr(x, y)[0], abs=1e-5)
    assert math.isnan(instance._correlation(x, torch.full((20,), 0.85) + 1e-8 * y))


def test_teachers_are_split_from_students() -> None:
    students, teachers = split_teachers(runs()[::-1])
    assert [r.initialisation for r in teachers] == [1] * SEEDS
    assert len(students) == 11 * SEEDS
    assert [run.recipe.seed for run in students] == sorted(run.recipe.seed for run in students)
    assert {run.recipe.initialisation for run in students} == {0}


def test_seeds_stay_together() -> None:
    """Seeds in any order: every difference is between runs of the same seed."""
    given = runs()
    swapped = sorted(given, key=lambda run: -run.recipe.seed)
    accuracy = {run.recipe: result(run, TEST).scores["accuracy"] for run in given}
    groups = {m.label: of for m, of in by_method(split_teachers(given)[0]).items()}
    tables = {i.key: i for i in instance.show(swapped) if isinstance(i, Table)}
    stored = "self-distillation, stored targets"
    for key, reference in (("targets", stored), ("ranking", "Beta (EMA)")):
        for name, *cells in tables[f"differences_{key}"].rows:
            pairs = zip(groups[str(name)], groups[reference], strict=True)
            gaps = [accuracy[a.recipe] - accuracy[b.recipe] for a, b in pairs]
            assert isinstance(cells[0], Difference)
            assert cells[0].mean == pytest.approx(sum(gaps) / len(gaps), abs=1e-12)
    assert [row[0] for row in tables["differences_ranking"].rows][-2:] == [
        "Beta (random order)",
        "Beta (reversed order), EMA",
    ]


def test_claims_compare_with_the_controls() -> None:
    claims = [item for item in instance.show(runs()) if isinstance(item, Claim)]
    controls = [
        ["permuted", "class mean", "overall mean"],
        ["random order", "reversed order"],
    ]
    for claim, names in zip(claims, [controls[0]] * 2 + [controls[1]] * 2, strict=True):
        assert claim.evidence.count("against ") == len(names)
        assert all(name in claim.evidence for name in names)


def test_one_seed_has_no_intervals() -> None:
    items = list(instance.show(runs(1)))
    assert {i.verdict.outcome for i in items if isinstance(i, Claim)} == {"cannot tell"}


def test_scaled_scores_are_after_the_validation_set_s_temperature() -> None:
    run = runs(1)[0]
    temperature = diagnostics.fit_temperature(*run.predictions("validation"))
    logits, labels = run.predictions("test")
    want = diagnostics.nll(logits / temperature, labels)
    scores = result(run, TEST).scores
    assert scores["scaled_nll"] == pytest.approx(want)
    assert scores["nll"] == pytest.approx(diagnostics.nll(logits, labels))
