"""The study of temperatures: which runs are whose, and how temperatures are chosen."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import pytest
import torch

from softprior import diagnostics
from softprior.evidence import Claim, Column, Comparison, Figure, Measured, Method, Result, Table
from softprior.priors import TeacherPrior
from softprior.studies import Scale, generations, temperature
from softprior.studies._shared import recipes as shared
from softprior.studies._shared.recipes import base
from softprior.studies._shared.scores import result
from softprior.studies.temperature import measures
from softprior.studies.temperature.measures import SCORES, SOFTENED, Found, measure
from softprior.training import Run, Store, fit


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Of one epoch."""
    store = Store(tmp_path_factory.mktemp("runs"))
    with pytest.MonkeyPatch.context() as patch:
        for module in (temperature, generations):
            patch.setattr(module, "base", lambda scale, seed: replace(base(scale, seed), epochs=1))
        return [fit(r, store) for r in temperature.recipes(Scale(name="smoke", seeds=range(2)))]


def tables(items: Iterable[object]) -> dict[str, Table]:
    return {item.key: item for item in items if isinstance(item, Table)}


def test_grid_has_eight_temperatures_or_more() -> None:
    recipes = list(temperature.recipes(Scale(name="desk", seeds=range(1))))
    teacher = recipes[0]
    students = [r for r in recipes if r.teacher == teacher]
    grid = [r.prior.temperature for r in students if isinstance(r.prior, TeacherPrior)]
    assert len(grid) == len(students) >= 8
    assert grid == sorted(set(grid))
    for student in students:
        assert student.effective_label_weight == 0
        assert student.prior is not None
        assert student.prior.strength == 1
        assert student.initialisation != teacher.initialisation


def test_students_at_temperature_1_are_not_the_second_generation(runs: list[Run]) -> None:
    found = measure(runs)
    assert tuple(found.temperatures) == temperature.SMOKE
    assert list(found.softened.methods) == found.students
    networks = found.networks
    assert [m["k"] for m in networks.where(kind="generation")] == [1, 2, 3]
    assert networks.seeds == found.softened.seeds == [0, 1]
    teacher, student, *_, first, second, _ = runs[: len(runs) // 2]
    assert isinstance(student.recipe.prior, TeacherPrior)
    assert student.recipe.prior == second.recipe.prior
    for method, run in (
        (networks.the(kind="teacher"), teacher),
        (found.student(1.0), student),
        (networks.the(kind="generation", k=1), first),
        (networks.the(kind="generation", k=2), second),
    ):
        assert networks.results[method][0].scores == result(run, SCORES).scores


def test_the_order_of_the_runs_changes_nothing(runs: list[Run]) -> None:
    there, back = measure(runs), measure(runs[::-1])
    for ours, theirs in zip(there, back, strict=True):
        assert ours.methods == theirs.methods
        for method in ours.methods:
            for score in ours.columns:
                assert ours.values(method, score) == theirs.values(method, score)


def test_softened_probabilities_are_the_teachers_on_the_training_set(runs: list[Run]) -> None:
    logits, labels = runs[0].predictions("train")
    found = measure(runs)
    ours = found.softened.results[found.student(4.0)][0].scores
    p = torch.softmax(logits.double() / 4, 1)
    on_label = p[torch.arange(len(labels)), labels]
    assert ours["on_label"] == pytest.approx(on_label.mean().item())
    entropy = torch.distributions.Categorical(p).entropy().mean().item()
    assert ours["uncertainty"] == pytest.approx(entropy)
    assert ours["variance"] == pytest.approx(on_label.var(correction=0).item())
    log_p = torch.log_softmax(logits.double() / 4, 1)
    assert ours["diversity"] == pytest.approx(diagnostics.confidence_diversity(log_p, labels))


def test_uncertainty_grows_with_temperature_up_to_log_k() -> None:
    logits, labels = 5 * torch.randn(50, 4), torch.randint(4, (50,))
    scores = [measures.softened(t)["uncertainty"] for t in (0.5, 1, 2, 8, 1e6)]
    grid = [score.function(logits, labels) for score in scores]
    assert grid == sorted(grid)
    assert grid[-1] == pytest.approx(math.log(4))


def test_one_seed_and_its_figure(runs: list[Run]) -> None:
    items = list(temperature.show(runs[: len(runs) // 2]))
    assert {i.verdict.outcome for i in items if isinstance(i, Claim)} == {"cannot tell"}
    (figure,) = [i for i in items if isinstance(i, Figure)]
    assert len(figure.data) == figure.panels
    accuracy = figure.data["Accuracy, %"]["students"]
    assert len(accuracy) == 3
    rows = {row[0]: row[1] for row in tables(items)["levels"].rows}
    for t, (mean, *_) in accuracy.items():
        cell = rows[f"T = {t}"]
        assert isinstance(cell, Measured)
        assert mean == pytest.approx(100 * cell.mean)


# --- choices ---------------------------------------------------------------------------------


def scores(test: float, validation: float, nll: float = 1.0) -> Result:
    values = dict.fromkeys(SCORES, 0.5)
    values |= {"accuracy": test, "nll": nll, "scaled_nll": nll}
    return Result({**values, "validation_accuracy": validation, "validation_nll": nll})


def made(
    test: dict[float, float], validation: dict[float, float], diversity: dict[float, float]
) -> Found:
    """Eight seeds that differ by a little; one generation but the first is the best."""

    def seeds(a: float, b: float) -> dict[int, Result]:
        return {s: scores(a + 0.001 * s, b, nll=2 - a) for s in range(8)}

    students = {t: Method(f"T = {t:g}", facts={"kind": "student", "T": t}) for t in test}
    chain = {1: (0.5, 0.5), 2: (0.6, 0.7), 3: (0.9, 0.6)}
    networks = {
        **{students[t]: seeds(test[t], validation[t]) for t in test},
        Method("the teacher", facts={"kind": "teacher"}): seeds(0.5, 0.5),
        **{
            Method(f"generation {k}", facts={"kind": "generation", "k": k}): seeds(*of)
            for k, of in chain.items()
        },
    }

    def softened(t: float) -> Result:
        values = {"on_label": 0.5, "uncertainty": math.log(t), "diversity": diversity[t]}
        return Result({**values, "variance": 0.1})

    at = {students[t]: dict.fromkeys(range(8), softened(t)) for t in diversity}
    of = {name: score.column for name, score in SCORES.items()}
    columns: dict[str, Column] = {name: score.column for name, score in SOFTENED.items()}
    return Found(Comparison(networks, of), Comparison(at, columns))


def claims_of(given: Found, monkeypatch: pytest.MonkeyPatch) -> list[Claim]:
    monkeypatch.setattr(temperature, "measure", lambda runs: given)
    return [item for item in temperature.show([]) if isinstance(item, Claim)]


def test_temperatures_and_generations_are_chosen_on_validation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    test = {1.0: 0.7, 2.0: 0.8, 4.0: 0.9, 16.0: 0.6}
    validation = {1.0: 0.7, 2.0: 0.9, 4.0: 0.8, 16.0: 0.6}  # the best is not the test set's best
    diversity = {1.0: -8.0, 2.0: -4.0, 4.0: -1.0, 16.0: -2.0}
    *_, by_diversity, by_validation, nll, generation = claims_of(
        made(test, validation, diversity), monkeypatch
    )
    assert "at T = 4, the one at which the teacher's probabilities are the" in by_diversity.text
    assert "at T = 2, the best by validation accuracy" in by_validation.text
    assert "generation 2" in generation.text
    # NLL is 2 - test accuracy, on both sets.
    assert "it is higher at T = 16 than at T = 4" in nll.text
    verdicts = [c.verdict.outcome for c in (by_diversity, by_validation, nll, generation)]
    assert verdicts == ["holds"] * 4
    assert "against T = 1 +20 " in by_diversity.evidence
    assert "against T = 16 +30 " in by_diversity.evidence


def test_accuracy_that_never_turns_is_no_rise_and_fall(monkeypatch: pytest.MonkeyPatch) -> None:
    rising = {1.0: 0.6, 4.0: 0.7, 16.0: 0.8}
    given = made(rising, rising, {1.0: -8.0, 4.0: -1.0, 16.0: -2.0})
    *_, by_diversity, by_validation, nll, _ = claims_of(given, monkeypatch)
    assert by_diversity.verdict.outcome == "does not hold"  # the largest T is better still
    assert by_validation.verdict.outcome == "cannot tell"  # the chosen one is an end
    assert nll.verdict.outcome == "no difference"  # so is the calmest


@pytest.mark.parametrize(
    ("diversity", "expected"),
    [
        ({1.0: -8.0, 4.0: -2.0, 64.0: -1.8}, "holds"),  # 0.05 nats a doubling
        ({1.0: -8.0, 4.0: -2.0, 64.0: -3.0}, "does not hold"),  # it collapses
        ({1.0: -8.0, 4.0: -7.0, 64.0: 3.0}, "does not hold"),  # it rises on
    ],
)
def test_a_plateau_is_one(
    diversity: dict[float, float], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    flat = dict.fromkeys(diversity, 0.5)
    plateau, *_ = claims_of(made(flat, flat, diversity), monkeypatch)
    assert "level beyond T = 4" in plateau.text
    assert plateau.verdict.outcome == expected


def test_probabilities_of_random_logits_have_no_plateau(monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim that held for them would say nothing of teachers."""
    g = torch.Generator().manual_seed(0)
    logits, labels = 3 * torch.randn(2000, 100, generator=g), torch.zeros(2000, dtype=torch.long)
    diversity = {t: diagnostics.confidence_diversity(logits / t, labels) for t in (1.0, 4.0, 20.0)}
    flat = dict.fromkeys(diversity, 0.5)
    plateau, *_ = claims_of(made(flat, flat, diversity), monkeypatch)
    assert plateau.verdict.outcome == "does not hold"


def test_middle_is_the_geometric_one() -> None:
    assert measures.middle([1.0, 2.0, 5.0, 16.0]) == 5.0  # √16 = 4 is nearer to 5 than to 2
    assert measures.middle(temperature.TEMPERATURES) == 4.0


def test_gain_per_doubling() -> None:
    assert measures.per_doubling(1.0, 8.0, [0.0, 1.0], [3.0, 1.0]) == [1.0, 0.0]


def test_highest_takes_the_first_of_equals() -> None:
    rows = {Method("1"): [0.5, 0.7], Method("2"): [0.6, 0.6], Method("4"): [0.6, 0.5]}
    results = {m: {s: Result({"a": v}) for s, v in enumerate(of)} for m, of in rows.items()}
    found = Comparison(results, {"a": Column(name="A")})
    assert found.highest(found.methods, "a").label == "1"
    assert found.highest(found.methods, "a", sign=-1).label == "4"


def test_teacher_of_the_students_is_shared_by_the_studies() -> None:
    scale = Scale(name="smoke", seeds=range(1))
    teacher, *_ = temperature.recipes(scale)
    assert shared.distilled(base(scale, 0)).teacher == teacher
