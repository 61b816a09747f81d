"""The study of generations: which runs belong together, and what its correlations are of."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from scipy import stats

from softprior import diagnostics
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
from softprior.evidence.statistics import Interval
from softprior.studies import Scale, generations
from softprior.studies._shared.recipes import base
from softprior.studies.generations import measures as module
from softprior.studies.generations.measures import ABOUT_TEACHERS, Chains, chains
from softprior.training import Run, Store, fit


def made(*seeds: tuple[list[float], list[float]]) -> Chains:
    """Chains of which accuracy and uncertainty matter; diversity falls as uncertainty rises."""
    generations_ = [Method(str(k)) for k in range(1, len(seeds[0][0]) + 1)]
    columns = {name: Column(name=name) for name in ("accuracy", *ABOUT_TEACHERS)}

    def scores(a: float, u: float) -> Result:
        return Result({"accuracy": a, "uncertainty": u, "diversity": -u, "variance": u})

    results = {
        m: {s: scores(a[k], u[k]) for s, (a, u) in enumerate(seeds)}
        for k, m in enumerate(generations_)
    }
    found = Comparison(results, columns)
    return Chains(generations_, [], found, found, found)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Of one epoch."""
    store = Store(tmp_path_factory.mktemp("runs"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generations, "base", lambda scale, seed: replace(base(scale, seed), epochs=1))
        return [fit(r, store) for r in generations.recipes(Scale(name="smoke", seeds=2))]


def tables(items: object) -> dict[str, Table]:
    return {item.key: item for item in items if isinstance(item, Table)}  # type: ignore[attr-defined]


def test_the_order_of_the_runs_changes_nothing(runs: list[Run]) -> None:
    there, back = tables(generations.show(runs)), tables(generations.show(runs[::-1]))
    assert [t.rows for t in there.values()] == [t.rows for t in back.values()]


def test_each_student_learns_from_the_one_before_alone(runs: list[Run]) -> None:
    assert [r.recipe.generation for r in runs] == [0, 1, 2] * 2
    for before, run in itertools.pairwise(runs):
        if run.recipe.generation:
            assert run.recipe.teacher == before.recipe
            assert run.recipe.effective_label_weight == 0
            assert run.recipe.prior is not None
            assert run.recipe.prior.strength == 1


def test_tables_against_the_predictions(runs: list[Run]) -> None:
    found = tables(generations.show(runs))
    second = [runs[1], runs[4]]
    accuracy = [diagnostics.accuracy(*run.predictions("test")) for run in second]
    assert found["generations"].rows[1][1] == Measured.of(accuracy)
    train = [diagnostics.predictive_uncertainty(*run.predictions("train")) for run in second]
    assert found["training"].rows[1][1] == Measured.of(train)
    together = []
    for a, b in (runs[:2], runs[3:5]):
        p = sum(run.predictions("test")[0].double().softmax(1) for run in (a, b))
        right = torch.as_tensor(p).argmax(1) == a.predictions("test")[1]
        together.append(right.double().mean().item())
    name, first, *_, gap, _ = found["ensembles"].rows[0]
    assert name == "1 to 2"
    assert isinstance(first, Measured)
    assert first.mean == pytest.approx(sum(together) / 2)
    assert isinstance(gap, Difference)
    assert gap.mean == pytest.approx(sum(together) / 2 - sum(accuracy) / 2)


def test_one_seed_leaves_the_rest_open(runs: list[Run]) -> None:
    claims = [item for item in generations.show(runs[:3]) if isinstance(item, Claim)]
    assert claims
    assert {claim.verdict.outcome for claim in claims} == {"cannot tell"}


def test_ensemble_of_one_is_that_one(runs: list[Run]) -> None:
    found = chains(runs)
    for score in found.alone.columns:
        one = found.together.values(found.ensembles[0], score)
        assert one == pytest.approx(found.alone.values(found.generations[0], score))


def test_gains_go_with_the_teacher_not_with_the_student() -> None:
    # The teachers' uncertainty is 1, 2, 3 and gains are .1, .2, .3; the last student's own
    # uncertainty must not count.
    found = made(*[([0.5, 0.6, 0.7, 0.8], [1.0, 2.0, 3.0, -9.0])] * 5)
    assert module.teachers(found, "uncertainty") == [[1.0, 2.0, 3.0]] * 5
    assert module.correlate(found, "uncertainty", "since generation 1").value == pytest.approx(1)
    assert module.correlate(found, "diversity", "since generation 1").value == pytest.approx(-1)


def test_gains_since_the_first_and_on_the_teacher() -> None:
    found = made(([0.5, 0.75, 0.625], [0.0] * 3))
    assert module.gains(found) == [[0.25, 0.125]]
    assert module.gains(found, "over the teacher") == [[0.25, -0.125]]


def test_correlation_against_scipy() -> None:
    g = torch.Generator().manual_seed(0)
    numbers = torch.randn(6, 2, 5, generator=g, dtype=torch.float64).tolist()
    found = made(*((a, u) for a, u in numbers))
    x = [u for _, us in numbers for u in us[:-1]]
    y = [a - accuracies[0] for accuracies, _ in numbers for a in accuracies[1:]]
    ours = module.correlate(found, "uncertainty", "since generation 1")
    assert ours.value == pytest.approx(stats.spearmanr(x, y).statistic)


def test_a_common_trend_is_taken_away() -> None:
    """Each seed a constant above the trend: without it, gains fall where uncertainty rises."""
    rise = [0.0, 1.0, 2.0, 3.0]
    found = made(
        *(([0.0, *(10 * a - s for a in rise[1:])], [10 * u + s for u in rise]) for s in range(6))
    )
    pooled = module.correlate(found, "uncertainty", "since generation 1")
    without = module.correlate(found, "uncertainty", "since generation 1", detrended=True)
    assert pooled.value > 0.5
    assert without.value == pytest.approx(-1)


def test_centred_columns_have_mean_zero() -> None:
    rows = torch.randn(7, 3, dtype=torch.float64)
    ours = torch.tensor(module.centred(rows.tolist()), dtype=torch.float64)
    torch.testing.assert_close(ours, rows - rows.mean(0))


@pytest.mark.parametrize(
    ("low", "high", "seeds", "expected"),
    [
        (0.1, 0.9, 10, "holds"),
        (-0.9, -0.1, 10, "does not hold"),
        (-0.1, 0.9, 10, "cannot tell"),
        (0.1, 0.9, 4, "cannot tell"),
        (-0.9, -0.1, 4, "cannot tell"),
        (math.nan, math.nan, 1, "cannot tell"),
    ],
)
def test_verdict_on_a_correlation(low: float, high: float, seeds: int, expected: str) -> None:
    claim = generations.associated("So.", Interval(0.5, low, high), seeds=seeds, students=9)
    assert claim.verdict.outcome == expected
    assert ("[" in claim.evidence) == (not math.isnan(low))
