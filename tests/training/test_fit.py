"""Training: equal recipes give equal bits, and only what is asked for is trained."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from bits import same_bits
from members import uncovered

from softprior import BetaPrior, TeacherPrior, UniformPrior, diagnostics
from softprior.matching import teacher_smoothing
from softprior.training import Recipe, Run, Store, fit, generations, models
from softprior.training.loop import order
from softprior.training.runtime import Runtime

BASE = Recipe(epochs=3)
METHODS = {
    "cross-entropy": BASE,
    "penalty": replace(BASE, penalty="confidence"),
    "uniform": replace(BASE, prior=UniformPrior(0.15)),
    "beta, own": replace(BASE, prior=BetaPrior()),
    "beta, ema": replace(BASE, prior=BetaPrior(), teacher="ema"),
    "beta, memory": replace(BASE, prior=BetaPrior(), teacher="memory"),
    "teacher, memory": replace(BASE, prior=TeacherPrior(), teacher="memory"),
    "teacher, frozen": replace(BASE, prior=TeacherPrior(), teacher=replace(BASE, initialisation=1)),
}
METHODS |= uncovered(BASE, METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_equal_recipes_give_equal_bits(
    name: str, tmp_path: Path, trained: Callable[[Recipe], Run]
) -> None:
    first = trained(METHODS[name])
    torch.rand(7)  # whatever else draws from the global generator
    same_bits(first, fit(METHODS[name], Store(tmp_path)))


@pytest.mark.parametrize("network", ["mlp", "convnet", "resnet8"])
def test_every_network_learns_the_digits(network: str, tmp_path: Path) -> None:
    run = fit(Recipe(model=network, epochs=5), Store(tmp_path))
    assert diagnostics.accuracy(*run.predictions("test")) > 0.85


def test_a_finished_run_is_not_repeated(tmp_path: Path) -> None:
    store = Store(tmp_path)
    epochs: list[float] = []
    fit(BASE, store, lambda row: epochs.append(row["epoch"]))
    fit(BASE, store, lambda row: epochs.append(row["epoch"]))
    assert epochs == [1, 2, 3]


def test_a_chain_trains_each_generation_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    chain = list(generations(replace(BASE, epochs=1), TeacherPrior(strength=1.0), 3))
    fit(chain[2], store)
    assert all(store.get(recipe) for recipe in chain)
    assert len(list(store.runs())) == 3
    run = store.get(chain[2])
    assert run is not None
    assert run.recipe.teacher == chain[1]


def test_matching_finds_the_temperature_once_and_stores_it(tmp_path: Path) -> None:
    teacher = replace(BASE, epochs=10, initialisation=1)
    prior = TeacherPrior(strength=0.6)
    recipe = replace(BASE, prior=prior, teacher=teacher, match_smoothing=0.15)
    store = Store(tmp_path)
    run = fit(recipe, store)
    assert isinstance(run.prior, TeacherPrior)
    temperature = run.prior.temperature
    assert run.prior == replace(prior, temperature=temperature)
    taught_by = store.get(teacher)
    assert taught_by is not None
    logits, labels = taught_by.predictions("train")
    smoothing = teacher_smoothing(logits, labels, temperature=temperature, weight=0.6)
    assert math.isclose(smoothing, 0.15, abs_tol=1e-6)
    again = replace(recipe, prior=replace(prior, temperature=temperature), match_smoothing=None)
    for key, value in fit(again, store).weights().items():
        assert torch.equal(value, run.weights()[key])


def test_best_epoch_is_by_validation_accuracy_with_ties_to_the_later(
    trained: Callable[[Recipe], Run],
) -> None:
    run = trained(replace(BASE, epochs=8))
    accuracies = [row["validation_accuracy"] for row in run.history]
    expected = max(e for e, a in enumerate(accuracies, 1) if a == max(accuracies))
    assert run.outcome["best_epoch"] == expected
    logits, labels = run.predictions("validation", "best")
    assert diagnostics.accuracy(logits, labels) == max(accuracies)
    logits, labels = run.predictions("validation", "last")
    assert diagnostics.accuracy(logits, labels) == accuracies[-1]


def test_learning_rate_falls_at_the_milestones(tmp_path: Path) -> None:
    run = fit(replace(BASE, epochs=6, milestones=(1 / 3, 2 / 3)), Store(tmp_path))
    rates = [row["learning_rate"] for row in run.history]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


@pytest.mark.parametrize("name", ["cross-entropy", "uniform", "beta, ema"])
def test_divergence_is_told_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    recipe = replace(METHODS[name], learning_rate=1e30)
    with pytest.raises(FloatingPointError, match="training diverged; try a learning_rate below"):
        fit(recipe, Store(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_the_history_alone(tmp_path: Path) -> None:
    def interrupt(row: dict[str, float]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(BASE, Store(tmp_path), interrupt)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files == [Store(tmp_path).partial(BASE) / "history.jsonl"]
    assert json.loads(files[0].read_text())["epoch"] == 1


def test_order_is_a_function_of_seed_and_epoch() -> None:
    def shuffled(seed: int, epoch: int) -> list[int]:
        torch.rand(3)
        return torch.cat(order(21, 4, seed, epoch, Runtime())).tolist()

    assert shuffled(0, 1) == shuffled(0, 1)
    assert sorted(shuffled(0, 1)) == list(range(21))
    assert len({tuple(shuffled(s, e)) for s in (0, 1) for e in (1, 2)}) == 4
    sizes = [len(index) for index in order(21, 4, 0, 1, Runtime())]
    assert sizes == [4, 4, 4, 4, 5]  # no batch of one sample


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown dataset 'digts': did you mean 'digits'"):
        fit(replace(BASE, dataset="digts"), Store("nowhere"))
    with pytest.raises(ValueError, match="unknown network 'convnett': did you mean 'convnet'"):
        replace(BASE, model="convnett")


def test_dropout_follows_from_the_recipe_and_leaves_the_global_generator_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(name: str, shape: tuple[int, ...], classes: int, seed: int) -> torch.nn.Module:
        torch.manual_seed(seed)
        linear = torch.nn.Linear(64, classes)
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.5), linear)

    monkeypatch.setattr(models, "build", build)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first = fit(BASE, Store(tmp_path / "a"))
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    second = fit(BASE, Store(tmp_path / "b"))
    assert torch.equal(first.predictions("test")[0], second.predictions("test")[0])


def test_the_history_holds_the_smoothing_that_was_trained_on(
    trained: Callable[[Recipe], Run],
) -> None:
    """Of every method, and of each epoch: from the very targets, not from what was asked for."""

    def smoothing(name: str) -> list[float]:
        return [row["smoothing"] for row in trained(METHODS[name]).history]

    assert smoothing("cross-entropy") == smoothing("penalty") == [0, 0, 0]
    assert smoothing("uniform") == pytest.approx([0.15 * 9 / 10] * 3)
    taught = METHODS["teacher, frozen"]
    assert isinstance(taught.teacher, Recipe)
    assert isinstance(taught.prior, TeacherPrior)
    logits, labels = trained(taught.teacher).predictions("train")
    w, temperature = taught.prior.strength, taught.prior.temperature
    p = (logits.double() / temperature).softmax(1).gather(1, labels[:, None])
    assert smoothing("teacher, frozen") == pytest.approx([w * (1 - p.mean().item())] * 3, rel=1e-4)
    for name in ("beta, own", "beta, ema", "beta, memory"):
        assert smoothing(name) == pytest.approx([0.6 / 4] * 3, abs=0.02), name
        assert len(set(smoothing(name))) == 3
