"""Who teaches: predictions that were written down, weights from elsewhere, ensembles of a chain."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from bits import same_bits

from softprior import EMA, BetaPrior, TeacherPrior, diagnostics
from softprior.matching import teacher_smoothing
from softprior.training import Pretrained, Recipe, Run, Store, ensemble, fit, generations
from softprior.training.augment import Views, normalise
from softprior.training.resolve import load
from softprior.training.teaching import build_teacher, control_targets, network

BASE = Recipe(model="mlp", epochs=8)
FIRST = replace(BASE, initialisation=1)
TAUGHT = replace(BASE, prior=TeacherPrior(strength=0.6), label_weight=0.4, teacher=FIRST)
TARGETS = ("stored", "permuted", "class mean", "overall mean")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def first(store: Store) -> Run:
    return fit(FIRST, store)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_every_arrangement_smooths_as_much(first: Run, temperature: float) -> None:
    logits, labels = first.predictions("train")
    prior = TeacherPrior(strength=0.6, temperature=temperature)
    on_label = {}
    for targets in TARGETS:
        recipe = replace(TAUGHT, prior=prior, teacher_targets=targets)
        q = torch.softmax(control_targets(recipe, logits, labels) / temperature, 1)
        on_label[targets] = q.gather(1, labels[:, None]).mean().item()
        if targets in ("class mean", "overall mean"):
            for c in range(10):
                assert q[labels == c].std(0).max() < 1e-6  # nothing is specific to the instance
    assert list(on_label.values()) == pytest.approx([on_label["stored"]] * 4, abs=1e-5)
    assert on_label["stored"] < 0.999


def test_permuted_targets_are_the_class_s_in_another_order(first: Run) -> None:
    logits, labels = first.predictions("train")
    dealt = control_targets(replace(TAUGHT, teacher_targets="permuted"), logits, labels)
    moved = (dealt != logits).any(1).float().mean()
    assert moved > 0.9
    for c in range(10):
        ours, theirs = dealt[labels == c], logits[labels == c]
        assert torch.equal(ours.sort(0).values, theirs.sort(0).values)
        rows = {tuple(row) for row in theirs.tolist()}
        assert all(tuple(row) in rows for row in ours.tolist())
    other = control_targets(
        replace(TAUGHT, teacher_targets="permuted", seed=1, teacher=replace(FIRST, seed=1)),
        logits,
        labels,
    )
    assert not torch.equal(other, dealt)


def test_stored_targets_are_the_live_ones_without_augmentation(store: Store, first: Run) -> None:
    live, stored = fit(TAUGHT, store), fit(replace(TAUGHT, teacher_targets="stored"), store)
    for key, value in live.weights("last").items():
        torch.testing.assert_close(stored.weights("last")[key], value, rtol=0, atol=1e-5)


def test_arrangements_train_differently(store: Store, first: Run) -> None:
    losses = {fit(replace(TAUGHT, teacher_targets=v), store).history[-1]["loss"] for v in TARGETS}
    assert len(losses) == len(TARGETS)


@pytest.mark.parametrize("kind", ["safetensors", "pt", "nested", "wrapped"])
def test_weights_from_elsewhere_teach_as_their_run_does(
    kind: str, store: Store, first: Run, tmp_path: Path
) -> None:
    weights = first.weights()
    file = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pt")
    content: Any = weights
    if kind == "nested":
        content = {"epoch": 3, "state_dict": weights}
    if kind == "wrapped":
        content = {f"module.{key}": value for key, value in weights.items()}
    if kind == "safetensors":
        safetensors.torch.save_file(weights, file)
    else:
        torch.save(content, file)
    recipe = replace(TAUGHT, teacher=Pretrained.of(file, "mlp"), match_smoothing=0.1)
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    run = fit(recipe, Store(tmp_path / "runs"))
    same_bits(run, fit(replace(TAUGHT, match_smoothing=0.1), store))
    assert run.prior is not None
    assert run.prior.teacher_temperature > 1


@pytest.mark.parametrize("targets", ["stored", "permuted"])
@pytest.mark.parametrize("own", [0.0, 0.25, 0.5, 1.0])
def test_targets_between_the_own_and_the_overall_mean(targets: str, own: float, first: Run) -> None:
    """As much on the label on average, and its spread is λ times the own one's."""
    logits, labels = first.predictions("train")
    prior = TeacherPrior(strength=0.6, temperature=2.0)
    recipe = replace(TAUGHT, prior=prior, teacher_targets=targets)

    def on_label(of: Recipe) -> torch.Tensor:
        q = torch.softmax(control_targets(of, logits, labels).double() / 2, 1)
        torch.testing.assert_close(q.sum(1), torch.ones(len(q), dtype=torch.float64))
        return q.gather(1, labels[:, None])[:, 0]

    mixed, whole = on_label(replace(recipe, target_diversity=own)), on_label(recipe)
    middle = whole.mean()
    torch.testing.assert_close(mixed, middle + own * (whole - middle), rtol=1e-4, atol=1e-5)


def test_diversity_is_of_targets_that_have_some() -> None:
    with pytest.raises(ValueError, match="mixes targets that are stored or permuted"):
        replace(TAUGHT, target_diversity=0.5)


def test_smoothing_is_matched_on_the_views_that_are_taught(store: Store, first: Run) -> None:
    """Of a view a teacher is less sure: what fits the stored images would smooth by more."""
    recipe, teacher = replace(TAUGHT, augment="flip", match_smoothing=0.3), first
    data, student = load(recipe), network(recipe, load(recipe))
    prior, state = build_teacher(recipe, student, data, teacher)
    assert isinstance(prior, TeacherPrior)
    view = Views(data.train.pixels, "flip").epoch(torch.Generator().manual_seed(5))
    inputs = normalise(view(torch.arange(len(data.train.labels))), data.mean, data.std)
    assert state is not None
    logits = state(inputs, torch.arange(len(inputs)), data.train.labels)

    def smoothing(of: torch.Tensor) -> float:
        return teacher_smoothing(of, data.train.labels, temperature=prior.temperature, weight=0.6)

    assert smoothing(logits) == pytest.approx(0.3, abs=0.02)
    assert smoothing(teacher.predictions("train")[0]) < 0.25
    again, _ = build_teacher(recipe, student, data, teacher)
    assert again == prior
    on_images = replace(recipe, teacher_targets="stored")
    stored, _ = build_teacher(on_images, student, data, teacher)
    assert stored is not None
    assert stored.teacher_temperature > prior.temperature


def test_weights_that_do_not_fit_are_told_before_training(
    store: Store, first: Run, tmp_path: Path
) -> None:
    weights = first.weights()
    data, student = load(TAUGHT), network(TAUGHT, load(TAUGHT))

    def refused(content: Any, message: str, model: str = "mlp", name: str = "w.pt") -> None:
        file = tmp_path / name
        if isinstance(content, bytes):
            file.write_bytes(content)
        else:
            torch.save(content, file)
        recipe = replace(TAUGHT, teacher=Pretrained.of(file, model))
        with pytest.raises(ValueError, match=message):
            build_teacher(recipe, student, data, None)

    key = next(iter(weights))
    refused({k: v for k, v in weights.items() if k != key}, f"has no '{key}'")
    refused({**weights, "extra": torch.ones(1)}, "has 'extra', which network 'mlp' has not")
    refused(
        {**weights, key: torch.ones(3)}, rf"'{key}' has shape \(3,\), network 'mlp' for 10 classes"
    )
    refused(weights, "which network 'convnet'", model="convnet")
    refused([1, 2], "holds no state_dict")
    refused(b"not weights", "cannot be read as weights")
    refused(b"not weights", "cannot be read as weights", name="w.safetensors")
    with pytest.raises(ValueError, match=r"teacher nowhere\.pt cannot be read: No such file"):
        Pretrained.of("nowhere.pt", "mlp")
    with pytest.raises(ValueError, match="unknown network 'mlpp'"):
        Pretrained.of(tmp_path / "w.pt", "mlpp")


class Executed:
    """Unpickled by a careless reader, it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_strangers_file_is_not_executed(tmp_path: Path) -> None:
    file, touched = tmp_path / "w.pt", tmp_path / "touched"
    torch.save({"weight": Executed(touched)}, file)
    data = load(BASE)
    with pytest.raises(ValueError, match="cannot be read as weights"):
        Pretrained.of(file, "mlp").network((1, 8, 8), len(data.classes))
    assert not touched.exists()


def test_a_file_that_changed_is_refused(first: Run, tmp_path: Path) -> None:
    file = tmp_path / "w.pt"
    torch.save(first.weights(), file)
    recipe = replace(TAUGHT, teacher=Pretrained.of(file, "mlp"))
    torch.save({k: v + 1 for k, v in first.weights().items()}, file)
    with pytest.raises(ValueError, match="has changed: its SHA-256 is"):
        fit(recipe, Store(tmp_path / "runs"))


def test_paper_mode_of_the_average(store: Store) -> None:
    recipe = replace(
        BASE, model="convnet", prior=BetaPrior(), label_weight=0.4, teacher="ema", epochs=1
    )
    data = load(recipe)
    student = network(recipe, data)
    ours = build_teacher(recipe, student, data, None)[1]
    official = build_teacher(
        replace(recipe, teacher=EMA(start="random", mode="train")), student, data, None
    )[1]
    assert ours is not None
    assert official is not None
    ours_weights, official_weights = ours.state_dict(), official.state_dict()
    for key, value in student.state_dict().items():
        assert torch.equal(ours_weights[f"network.{key}"], value)
    assert any(
        not torch.equal(official_weights[f"network.{k}"], v) for k, v in student.named_parameters()
    )
    assert not any(m.training for m in ours.modules())
    assert all(m.training for m in next(official.children()).modules())


def test_ensemble_is_the_log_of_the_mean_probability(store: Store, first: Run) -> None:
    runs = [first, fit(BASE, store), fit(replace(BASE, initialisation=2), store)]
    said, labels = ensemble(runs)
    mean = torch.stack([torch.softmax(r.predictions("test")[0].double(), 1) for r in runs]).mean(0)
    torch.testing.assert_close(said.exp(), mean)
    assert torch.equal(labels, first.predictions("test")[1])
    torch.testing.assert_close(ensemble(runs[::-1])[0], said)
    alone = ensemble([first])[0]
    torch.testing.assert_close(alone, torch.log_softmax(first.predictions("test")[0].double(), 1))
    # NLL is convex in the probabilities (Jensen).
    members = [diagnostics.nll(*run.predictions("test")) for run in runs]
    assert diagnostics.nll(said, labels) <= sum(members) / 3
    with pytest.raises(ValueError, match="at least one run"):
        ensemble([])
    with pytest.raises(ValueError, match="runs' train samples differ"):
        ensemble([first, fit(replace(BASE, seed=1, epochs=1), store)], "train")


def test_the_selected_epoch_is_the_result_and_teaches(store: Store) -> None:
    wild = replace(FIRST, initialisation=0, milestones=(), learning_rate=0.3, seed=1)
    by_last = fit(replace(wild, select="last"), store)
    by_best = fit(wild, store)
    assert by_best.outcome["best_epoch"] < BASE.epochs
    for run, epoch in ((by_last, "last"), (by_best, "best")):
        for part in ("train", "test"):
            assert torch.equal(run.predictions(part)[0], run.predictions(part, epoch)[0])
        student = replace(TAUGHT, seed=1, teacher=run.recipe)
        teacher = build_teacher(student, network(student, load(student)), load(student), run)[1]
        assert teacher is not None
        for key, value in run.weights(epoch).items():
            assert torch.equal(teacher.state_dict()[f"network.{key}"], value)


def test_a_chain_may_keep_some_of_the_label() -> None:
    chain = list(generations(BASE, TeacherPrior(strength=0.6), 3, label_weight=0.4))
    assert [r.effective_label_weight for r in chain] == [1, 0.4, 0.4]


def test_student_temperature_divides_the_logits_in_the_loss_alone(tmp_path: Path) -> None:
    still = replace(BASE, epochs=1, batch_size=2000, learning_rate=1e-30)
    cold = replace(still, student_temperature=2.0)
    store = Store(tmp_path)
    logits, labels = fit(still, store).predictions("train")
    loss = torch.nn.functional.cross_entropy(logits / 2, labels).item()
    assert math.isclose(fit(cold, store).history[0]["loss"], loss, rel_tol=1e-5)
    assert torch.equal(fit(cold, store).predictions("train")[0], logits)


def test_a_run_is_adopted_from_another_store(store: Store, first: Run, tmp_path: Path) -> None:
    other = Store(tmp_path / "runs")
    adopted = other.adopt(first.path)
    assert adopted.path.parent == other.root
    same_bits(adopted, first)
    assert other.adopt(first.path).path == adopted.path
    assert [run.recipe for run in other.runs()] == [FIRST]
    (first.path.parent / "half").mkdir()
    with pytest.raises(ValueError, match="is damaged"):
        other.adopt(first.path.parent / "half")
