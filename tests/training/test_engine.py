"""What changes how a run is computed, and not what is computed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from softprior import TeacherPrior, UniformPrior
from softprior.training import Recipe, Run, Store, fit
from softprior.training.runtime import described, fastest_precision

# No batch norm in an MLP: a batch in parts is the batch. 809 samples make five steps and a rest.
BASE = Recipe(model="mlp", epochs=1, batch_size=150, learning_rate=0.02, milestones=())
FIRST = replace(BASE, initialisation=1)
METHODS = {
    "cross-entropy": BASE,
    "clipped": replace(BASE, clip_norm=0.1),
    "penalty": replace(BASE, penalty="confidence"),
    "uniform": replace(BASE, prior=UniformPrior()),
    "teacher, ema": replace(BASE, prior=TeacherPrior(), teacher="ema"),
    "teacher, memory": replace(BASE, prior=TeacherPrior(), teacher="memory", epochs=2),
    "teacher, frozen": replace(BASE, prior=TeacherPrior(), teacher=FIRST),
}


def close(one: Run, other: Run, atol: float) -> None:
    for key, value in one.weights("last").items():
        torch.testing.assert_close(other.weights("last")[key], value, rtol=0, atol=atol)
    for row, again in zip(one.history, other.history, strict=True):
        assert row["loss"] == pytest.approx(again["loss"], abs=10 * atol)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        *[(name, 2) for name in METHODS],
        *[
            pytest.param(name, 150, marks=[] if name == "clipped" else pytest.mark.slow)
            for name in METHODS
        ],
    ],
)
def test_a_batch_in_parts_has_the_gradient_of_the_batch(
    name: str, parts: int, tmp_path: Path, trained: Callable[[Recipe], Run]
) -> None:
    part_by_part = fit(replace(METHODS[name], accumulate=parts), Store(tmp_path))
    close(trained(METHODS[name]), part_by_part, 1e-6)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # the compiler's own
@pytest.mark.parametrize("name", ["teacher, ema"])
def test_compiled_networks_learn_the_same(
    name: str, tmp_path: Path, trained: Callable[[Recipe], Run]
) -> None:
    torch._dynamo.utils.counters.clear()
    compiled = fit(replace(METHODS[name], compile=True), Store(tmp_path))
    assert torch._dynamo.utils.counters["frames"]["ok"] >= 1
    close(trained(METHODS[name]), compiled, 1e-5)


def test_the_order_of_the_pixels_in_memory_changes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    recipe = replace(BASE, model="resnet8")
    close(fit(recipe, store), fit(replace(recipe, channels_last=False), store), 1e-3)


def test_history_can_be_read_while_a_run_trains(tmp_path: Path) -> None:
    store = Store(tmp_path)
    recipe = replace(BASE, epochs=3)
    seen: list[int] = []

    def look(row: dict[str, float]) -> None:
        lines = (store.partial(recipe) / "history.jsonl").read_text().splitlines()
        assert json.loads(lines[-1]) == row
        assert row["images_per_second"] > 0
        seen.append(len(lines))

    run = fit(recipe, store, look)
    assert seen == [1, 2, 3]
    assert len(run.history) == 3
    assert not store.partial(recipe).exists()


def test_progress_of_the_decoding_reaches_the_caller(tmp_path: Path) -> None:
    from on_disk import cifar

    seen: list[tuple[int, int]] = []
    recipe = replace(BASE, dataset=str(cifar(tmp_path / "data")), batch_size=20)
    fit(recipe, Store(tmp_path), on_images=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (80, 80)


def test_how_a_run_executes_is_told() -> None:
    assert fastest_precision("mlp") == "fp32"
    assert fastest_precision("resnet34", cpu=True) in ("fp32", "bf16")
    said = described(replace(BASE, precision="bf16", compile=True), cpu=True)
    assert said.startswith("cpu, ")
    assert "bf16 autocast" in said
    assert said.endswith("channels_last, torch.compile")
    assert "fp32" in described(replace(BASE, channels_last=False), cpu=True)
