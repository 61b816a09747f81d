"""The study of temperatures: which runs are whose, and how temperatures are chosen."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import pytest
import torch

from softprior import diagnostics
from softprior.priors import TeacherPrior
from softprior.studies import _settings, _temperatures, generations, temperature
from softprior.studies._kit import Claim, Figure, Measured, Scale, Table
from softprior.studies._settings import base
from softprior.studies._temperatures import Found, Scores, Votes
from softprior.training import Run, Store, fit


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Of one epoch."""
    store = Store(tmp_path_factory.mktemp("runs"))
    with pytest.MonkeyPatch.context() as patch:
        for module in (temperature, generations):
            patch.setattr(module, "base", lambda scale, seed: replace(base(scale, seed), epochs=1))
        return [fit(r, store) for r in temperature.recipes(Scale(name="smoke", seeds=2))]


def tables(items: Iterable[object]) -> dict[str, Table]:
    return {item.key: item for item in items if isinstance(item, Table)}


def test_grid_has_eight_temperatures_or_more() -> None:
    recipes = list(temperature.recipes(Scale(name="desk", seeds=1)))
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
    found = _temperatures.measure(runs)
    assert list(found.students) == list(found.votes) == list(temperature.SMOKE)
    assert list(found.generations) == [1, 2, 3]
    lists = [*found.students.values(), *found.votes.values(), *found.generations.values()]
    assert {len(of) for of in lists} == {len(found.teachers)} == {2}
    teacher, student, *_, first, second, _ = runs[: len(runs) // 2]
    assert isinstance(student.recipe.prior, TeacherPrior)
    assert student.recipe.prior == second.recipe.prior
    assert found.teachers[0] == _temperatures.scores(teacher)
    assert found.students[1.0][0] == _temperatures.scores(student)
    assert found.generations[1][0] == _temperatures.scores(first)
    assert found.generations[2][0] == _temperatures.scores(second)


def test_the_order_of_the_runs_changes_nothing(runs: list[Run]) -> None:
    assert _temperatures.measure(runs[::-1]) == _temperatures.measure(runs)


def test_votes_are_the_teachers_on_the_training_set(runs: list[Run]) -> None:
    logits, labels = runs[0].predictions("train")
    ours = _temperatures.measure(runs).votes[4.0][0]
    p = torch.softmax(logits.double() / 4, 1)
    on_label = p[torch.arange(len(labels)), labels]
    assert ours.on_label == pytest.approx(on_label.mean().item())
    assert ours.uncertainty == pytest.approx(
        torch.distributions.Categorical(p).entropy().mean().item()
    )
    assert ours.variance == pytest.approx(on_label.var(correction=0).item())
    log_p = torch.log_softmax(logits.double() / 4, 1)
    assert ours.diversity == pytest.approx(diagnostics.confidence_diversity(log_p, labels))


def test_uncertainty_of_votes_grows_up_to_log_k() -> None:
    logits, labels = 5 * torch.randn(50, 4), torch.randint(4, (50,))
    grid = [_temperatures.votes(logits, labels, t).uncertainty for t in (0.5, 1, 2, 8, 1e6)]
    assert grid == sorted(grid)
    assert grid[-1] == pytest.approx(math.log(4))


def test_one_seed_and_its_figure(runs: list[Run]) -> None:
    items = list(temperature.show(runs[: len(runs) // 2]))
    assert {i.verdict for i in items if isinstance(i, Claim)} == {"cannot tell"}
    (figure,) = [i for i in items if isinstance(i, Figure)]
    assert len(figure.data) == figure.panels
    accuracy = figure.data["Test accuracy, %"]["students"]
    rows = {row[0]: row[1] for row in tables(items)["levels"].rows}
    for t, mean in accuracy.items():
        cell = rows[f"T = {t}"]
        assert isinstance(cell, Measured)
        assert mean == pytest.approx(100 * cell.mean)


# --- choices ---------------------------------------------------------------------------------


def scores(test: float, validation: float, nll: float = 1.0) -> Scores:
    return Scores(test, nll, nll, 0.1, 1.0, validation, nll, 0.5, -1.0)


def found(
    test: dict[float, float], validation: dict[float, float], diversity: dict[float, float]
) -> Found:
    """Eight seeds that differ by a little; one generation but the first is the best."""

    def seeds(a: float, b: float) -> list[Scores]:
        return [scores(a + 0.001 * s, b, nll=2 - a) for s in range(8)]

    return Found(
        students={t: seeds(test[t], validation[t]) for t in test},
        votes={t: [Votes(0.5, math.log(t), diversity[t], 0.1)] * 8 for t in diversity},
        teachers=seeds(0.5, 0.5),
        generations={1: seeds(0.5, 0.5), 2: seeds(0.6, 0.7), 3: seeds(0.9, 0.6)},
    )


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
        found(test, validation, diversity), monkeypatch
    )
    assert "at T = 4, the one with the most diverse votes" in by_diversity.text
    assert "at T = 2, the best by validation accuracy" in by_validation.text
    assert "generation 2" in generation.text
    # NLL is 2 - test accuracy, on both sets.
    assert "at T = 16 it is higher than at T = 4" in nll.text
    verdicts = [c.verdict for c in (by_diversity, by_validation, nll, generation)]
    assert verdicts == ["holds"] * 4
    assert "than at T = 1 +20 " in by_diversity.evidence
    assert "than at T = 16 +30 " in by_diversity.evidence


def test_accuracy_that_never_turns_is_no_rise_and_fall(monkeypatch: pytest.MonkeyPatch) -> None:
    rising = {1.0: 0.6, 4.0: 0.7, 16.0: 0.8}
    given = found(rising, rising, {1.0: -8.0, 4.0: -1.0, 16.0: -2.0})
    *_, by_diversity, by_validation, nll, _ = claims_of(given, monkeypatch)
    assert by_diversity.verdict == "does not hold"  # the largest T is better still
    assert by_validation.verdict == "cannot tell"  # the chosen one is an end
    assert nll.verdict == "cannot tell"


@pytest.mark.parametrize(
    ("diversity", "expected"),
    [
        ({1.0: -8.0, 4.0: -2.0, 64.0: -1.0}, "holds"),  # 3 nats a doubling, then a quarter
        ({1.0: -8.0, 4.0: -2.0, 64.0: -3.0}, "holds"),
        ({1.0: -8.0, 4.0: -7.0, 64.0: 3.0}, "does not hold"),
    ],
)
def test_levelling_off(
    diversity: dict[float, float], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    flat = dict.fromkeys(diversity, 0.5)
    still_grows, levels_off, *_ = claims_of(found(flat, flat, diversity), monkeypatch)
    assert still_grows.verdict == "holds"
    assert "beyond T = 4" in levels_off.text
    assert levels_off.verdict == expected


def test_middle_is_the_geometric_one() -> None:
    assert _temperatures.middle([1.0, 2.0, 5.0, 16.0]) == 5.0  # √16 = 4 is nearer to 5 than to 2
    assert _temperatures.middle(temperature.TEMPERATURES) == 4.0


def test_gain_per_doubling() -> None:
    assert _temperatures.per_doubling(1.0, 8.0, [0.0, 1.0], [3.0, 1.0]) == [1.0, 0.0]


def test_highest_takes_the_first_of_equals() -> None:
    assert _temperatures.highest({1.0: [0.5, 0.7], 2.0: [0.6, 0.6], 4.0: [0.6, 0.5]}) == 1.0


def test_teacher_of_the_students_is_shared_by_the_studies() -> None:
    scale = Scale(name="smoke", seeds=1)
    teacher, *_ = temperature.recipes(scale)
    assert _settings.distilled(base(scale, 0)).teacher == teacher
