"""What is somebody's own reaches the workers, by name or by the file of a script."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

from softprior import own
from softprior.engines import LocalEngine
from softprior.training import Recipe, Store
from softprior.training.job import from_job, to_job

SOURCE = """
from dataclasses import dataclass
from torch import nn
from softprior import Prior, TwoLevel
from softprior.engines import LocalEngine
from softprior.training import Recipe, Store

@dataclass(frozen=True)
class Mine(Prior):
    strength: float = 0.2

    def counts(self, batch):
        return TwoLevel(0.0, self.strength / (batch.num_classes - 1))

def network(shape, num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))

def train():
    recipes = [Recipe(prior=Mine(), model=network, epochs=1, seed=seed) for seed in range(2)]
    failures = LocalEngine(2).run(recipes, Store("runs"))
    print(*[failure.message for failure in failures], sep="\\n")
"""
GUARD = 'if __name__ == "__main__":\n    train()\n'


def script(folder: Path, source: str) -> str:
    (folder / "mine_script.py").write_text(source)
    done = subprocess.run(
        [sys.executable, "mine_script.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    return done.stdout + done.stderr


@pytest.mark.slow
def test_of_a_script_that_is_run(tmp_path: Path) -> None:
    assert script(tmp_path, SOURCE + GUARD).strip() == ""
    runs = list(Store(tmp_path / "runs").runs())
    assert {run.recipe.to_dict()["prior"]["name"] for run in runs} == {"mine_script:Mine"}
    assert len(runs) == 2
    # Found again by whoever imports it, as one and the same.
    module = own.load_module(str(tmp_path / "mine_script.py"))
    recipe = Recipe(prior=module.Mine(), model=module.network, epochs=1, seed=1)
    assert Store(tmp_path / "runs").get(recipe) is not None


@pytest.mark.slow
def test_of_a_script_without_a_guard(tmp_path: Path) -> None:
    """It would start processes for ever; it fails with the line to write."""
    said = script(tmp_path, SOURCE + "train()\n")
    assert 'put that part below if __name__ == "__main__":' in said
    assert list(Store(tmp_path / "runs").runs()) == []


@pytest.mark.slow
def test_of_a_module_that_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine_module.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    module = own.load_module("mine_module")
    recipe = Recipe(prior=module.Mine(), model=module.network, epochs=1)
    assert LocalEngine(1).run([recipe], Store(tmp_path / "runs")) == []
    assert Store(tmp_path / "runs").get(recipe) is not None
    job = to_job(recipe)
    assert job is not None
    assert from_job(job) == recipe


@pytest.mark.slow
def test_source_that_changes_before_it_is_trained(tmp_path: Path) -> None:
    file = tmp_path / "mine_changed.py"
    file.write_text(SOURCE)
    recipe = Recipe(prior=own.load(f"{file}:Mine")(), epochs=1)
    assert recipe.digest
    file.write_text(SOURCE + "# changed\n")
    (failure,) = LocalEngine(1).run([recipe], Store(tmp_path / "runs"))
    assert "the source of mine_changed:Mine has changed since" in failure.message


@pytest.mark.slow
def test_what_cannot_be_imported_trains_here(tmp_path: Path) -> None:
    recipe = Recipe(
        model=lambda shape, num_classes: nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes)),
        epochs=1,
    )
    assert to_job(recipe) is None
    events: list[tuple[int, str]] = []
    store = Store(tmp_path / "runs")
    other = replace(recipe, model="mlp", seed=1)
    failures = LocalEngine(1).run(
        [recipe, other], store, lambda r, event: events.append((r.seed, event))
    )
    assert failures == []
    assert sorted(events) == [(0, "done"), (0, "epoch"), (1, "done"), (1, "epoch")]
    assert store.get(recipe) is not None
    broken = replace(recipe, model=lambda shape, num_classes: nn.Identity())
    (failure,) = LocalEngine(1).run([broken], store)
    assert failure.message


@pytest.mark.slow
def test_of_a_module_that_trains_as_soon_as_it_is_imported(tmp_path: Path) -> None:
    """By name too it would start processes for ever."""
    (tmp_path / "mine_eager.py").write_text(SOURCE + "train()\n")
    done = subprocess.run(
        [sys.executable, "-c", "import mine_eager"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert 'put that part below if __name__ == "__main__":' in done.stdout + done.stderr
    assert list(Store(tmp_path / "runs").runs()) == []


def test_what_is_carried_along_is_refused_or_decides() -> None:
    """Values around a function or a class, and the defaults of a function within one."""

    def network(width: int) -> object:
        def build(shape: object, num_classes: int, width: int = width) -> nn.Module:
            return nn.Linear(width, num_classes)

        return build

    assert Recipe(model=network(3)).digest != Recipe(model=network(4)).digest  # type: ignore[arg-type]

    def local(k: float) -> type:
        class Local:
            def counts(self) -> float:
                return k

        return Local

    with pytest.raises(TypeError, match="uses the values of k around it"):
        own.origin(local(0.5))


@pytest.mark.slow
def test_a_lambda_has_one_digest_in_every_process(tmp_path: Path) -> None:
    source = "from softprior import Recipe\nmodel = lambda s, n: [x for x in {'a', 'b'}]\n"
    (tmp_path / "mine_lambda.py").write_text(source + "print(Recipe(model=model).digest)\n")
    command = [sys.executable, str(tmp_path / "mine_lambda.py")]
    said = {subprocess.run(command, capture_output=True, text=True).stdout for _ in range(2)}
    assert len(said) == 1
    assert len(said.pop().strip()) == 16
