"""The study of generations: which runs belong together, and what its correlations are of."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch

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
from softprior.evidence.claims import claim
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
    return Chains(generations_, [], found, found, found, [], found)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Of one epoch."""
    store = Store(tmp_path_factory.mktemp("runs"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generations, "base", lambda scale, seed: replace(base(scale, seed), epochs=1))
        return [fit(r, store) for r in generations.recipes(Scale(name="smoke", seeds=range(2)))]


def tables(items: object) -> dict[str, Table]:
    return {item.key: item for item in items if isinstance(item, Table)}  # type: ignore[attr-defined]


def test_the_order_of_the_runs_changes_nothing(runs: list[Run]) -> None:
    there, back = tables(generations.show(runs)), tables(generations.show(runs[::-1]))
    assert [t.rows for t in there.values()] == [t.rows for t in back.values()]


def test_each_student_learns_from_the_one_before_alone(runs: list[Run]) -> None:
    assert [r.recipe.generation for r in runs] == [0, 1, 2, 0] * 2
    for before, run in itertools.pairwise(runs):
        if run.recipe.generation:
            assert run.recipe.teacher == before.recipe
            assert run.recipe.effective_label_weight == 0
            assert run.recipe.prior is not None
            assert run.recipe.prior.strength == 1


def test_tables_against_the_predictions(runs: list[Run]) -> None:
    found = tables(generations.show(runs))
    second = [runs[1], runs[5]]
    accuracy = [diagnostics.accuracy(*run.predictions("test")) for run in second]
    assert found["generations"].rows[1][1] == Measured.of(accuracy)
    train = [diagnostics.predictive_uncertainty(*run.predictions("train")) for run in second]
    assert found["training"].rows[1][1] == Measured.of(train)
    together = []
    for a, b in (runs[:2], runs[4:6]):
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
    claims = [item for item in generations.show(runs[:4]) if isinstance(item, Claim)]
    assert claims
    assert {claim.verdict.outcome for claim in claims} == {"cannot tell"}


def test_ensemble_of_one_is_that_one(runs: list[Run]) -> None:
    found = chains(runs)
    for score in found.alone.columns:
        one = found.together.values(found.ensembles[0], score)
        assert one == pytest.approx(found.alone.values(found.generations[0], score))


def test_gains_go_with_the_teacher_not_with_the_student() -> None:
    """The last student's own uncertainty must not count."""
    g = torch.Generator().manual_seed(0)
    asked = torch.randn(5, 3, generator=g, dtype=torch.float64)
    found = made(*(([0.5, *(0.5 + 0.1 * u).tolist()], [*u.tolist(), -9.0]) for u in asked))
    assert module.teachers(found, "uncertainty") == asked.tolist()
    assert module.association(found, "uncertainty", "since generation 1").mean == pytest.approx(0.1)


def test_gains_since_the_first_and_on_the_teacher() -> None:
    found = made(([0.5, 0.75, 0.625], [0.0] * 3))
    assert module.gains(found) == [[0.25, 0.125]]
    assert module.gains(found, "over the teacher") == [[0.25, -0.125]]


def test_a_common_trend_is_taken_away() -> None:
    """All rise alike over the generations: beyond that, gains fall where uncertainty rises."""
    g = torch.Generator().manual_seed(0)
    apart = torch.randn(6, 4, generator=g, dtype=torch.float64)
    rise = torch.arange(4, dtype=torch.float64)
    rows = [(10 * rise - a.roll(1)).tolist() for a in apart]
    found = made(*((row, (10 * rise + a).tolist()) for row, a in zip(rows, apart, strict=True)))
    assert module.association(found, "uncertainty", "since generation 1").mean == pytest.approx(-1)


def test_the_claim_of_rq1_is_decided_by_the_slope(runs: list[Run]) -> None:
    *_, about_diversity, _, _ = (i for i in generations.show(runs) if isinstance(i, Claim))
    assert about_diversity.answers == ("RQ1",)
    gap = module.association(module.chains(runs), "diversity", "since generation 1")
    assert claim("So.", {"slope": gap}, "higher", Column(name="S")).verdict == (
        about_diversity.verdict
    )


def test_independent_networks_are_generation_1_from_other_initialisations(runs: list[Run]) -> None:
    """And start as the generations do; as many are compared as there are."""
    first, second, _, other = (run.recipe for run in runs[:4])
    assert other == replace(first, initialisation=second.initialisation)
    found = tables(generations.show(runs))["independent"]
    assert [row[0] for row in found.rows] == ["2"]
    networks, gaps = [], []
    for seed in (runs[:4], runs[4:]):
        one, two, _, other_run = seed
        labels = one.predictions("test")[1]

        def accuracy(*of: Run, labels: torch.Tensor = labels) -> float:
            p = torch.stack([run.predictions("test")[0].double().softmax(1) for run in of]).mean(0)
            return (p.argmax(1) == labels).double().mean().item()

        networks.append(accuracy(one, other_run))
        gaps.append(accuracy(one, two) - networks[-1])
    _, measured, _, _, gap, *_ = found.rows[0]
    assert isinstance(measured, Measured)
    assert measured.mean == pytest.approx(sum(networks) / 2)
    assert isinstance(gap, Difference)
    assert gap.mean == pytest.approx(sum(gaps) / 2)


@pytest.mark.parametrize(("ahead", "outcome"), [(0.05, "holds"), (-0.05, "does not hold")])
def test_the_control_can_fail(runs: list[Run], ahead: float, outcome: str) -> None:
    found = chains(runs)
    more = {
        m: {s: Result({**dict.fromkeys(("accuracy", "nll", "ece"), 0.5 + ahead)}) for s in (0, 1)}
        for m in found.ensembles
    }
    less = {
        m: {s: Result(dict.fromkeys(("accuracy", "nll", "ece"), 0.5 + 0.001 * s)) for s in (0, 1)}
        for m in found.networks
    }
    found = found._replace(
        together=replace(found.together, results=more),
        independent=replace(found.independent, results=less),
    )
    *_, control = generations._claims(found)
    assert "independent networks" in control.text
    assert control.verdict.outcome == outcome
