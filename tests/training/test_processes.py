"""Two processes train as one, and are killed and resumed as one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from members import remembers, uncovered
from own_members import ClassMeansPrior, GrowingPenalty

from softprior import BetaPrior, TeacherPrior, UniformPrior
from softprior.training import Recipe, Run, Store
from softprior.training.job import to_job

pytestmark = pytest.mark.slow  # each trains in two processes

# 809 samples: five batches of 150 and one of 59, which two processes cannot halve.
BASE = Recipe(epochs=1, batch_size=150, learning_rate=0.02, milestones=())
BETA = replace(BASE, prior=BetaPrior())
TAUGHT: dict[str, Any] = {"prior": TeacherPrior()}
METHODS = {
    "cross-entropy": BASE,
    "penalty": replace(BASE, penalty="confidence"),
    "uniform": replace(BASE, prior=UniformPrior()),
    "beta, own logits": BETA,
    "beta, running": replace(BETA, prior=BetaPrior(among="running")),
    "beta, quantiles": replace(BETA, prior=BetaPrior(draw="quantile")),
    "beta, random order": replace(BETA, prior=BetaPrior(order="random")),
    "beta, ema": replace(BETA, teacher="ema"),
    "beta, memory": replace(BETA, teacher="memory", epochs=2),
    "teacher, memory": replace(BASE, **TAUGHT, teacher="memory", epochs=2),
    "teacher, ema": replace(BASE, **TAUGHT, teacher="ema"),
    "teacher, frozen": replace(BASE, **TAUGHT, teacher=replace(BASE, initialisation=1)),
    "accumulated": replace(BASE, accumulate=3),
}
# What is found by its file and has no name above; two epochs, as some change at their ends.
FOUND = {name: replace(r, epochs=2) for name, r in uncovered(BASE, METHODS).items()}
FOUND["own, of each class"] = replace(
    BASE, prior=ClassMeansPrior(), penalty=GrowingPenalty(), epochs=2
)
METHODS |= FOUND
STORED = replace(METHODS["teacher, frozen"], teacher_targets="stored")
LOCAL = replace(BETA, prior=BetaPrior(among="local"))
SCRIPT = """
import json, sys, time
import safetensors.torch, torch
from softprior.training import Store, fit
from softprior.training.job import from_job
torch.set_num_threads(1)
save = safetensors.torch.save_file
def slowly(tensors, file):
    save(tensors, file)
    time.sleep(0.5)
if sys.argv[3] == "0":  # to be killed: a busy machine must not let the training end before
    safetensors.torch.save_file = slowly
for job in json.loads(sys.argv[1]):
    fit(from_job(job), Store(sys.argv[2]), checkpoint_every=float(sys.argv[3]), cpu=True)
"""


def start(recipes: list[Recipe], folder: Path, checkpoint_every: float) -> subprocess.Popen[bytes]:
    script = folder.parent / "script.py"
    script.write_text(SCRIPT)
    jobs = json.dumps([to_job(recipe) for recipe in recipes])
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.Popen(
        [sys.executable, *launch, script, jobs, folder, str(checkpoint_every)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


@pytest.fixture(scope="module")
def together(once: Callable[..., Path]) -> Store:
    """Every method, trained by two processes."""

    def train(folder: Path) -> None:
        process = start([*METHODS.values(), LOCAL, STORED], folder / "runs", 1e9)
        assert process.wait(timeout=600) == 0

    return Store(once("together", train) / "runs")


@pytest.mark.parametrize("name", METHODS)
def test_two_processes_train_as_one(
    name: str, together: Store, trained: Callable[[Recipe], Run]
) -> None:
    alone = trained(METHODS[name])
    run = together.get(METHODS[name])
    assert run is not None
    for key, value in alone.weights("last").items():
        torch.testing.assert_close(run.weights("last")[key], value, rtol=0, atol=1e-6)
    for row, other in zip(run.history, alone.history, strict=True):
        assert row["loss"] == pytest.approx(other["loss"], abs=1e-6)


def test_ranks_among_the_local_batch_are_others(together: Store) -> None:
    runs = (together.get(LOCAL), together.get(BETA))
    weights = [run.weights("last") for run in runs if run is not None]
    assert len(weights) == 2
    assert any(not torch.equal(value, weights[1][key]) for key, value in weights[0].items())


# Each kind of state, and what is found by its file and keeps one.
_ROWS = ("beta, running", "beta, ema", "beta, memory")
KILLED = {name: METHODS[name] for name in _ROWS} | {"teacher, stored": STORED}
KILLED |= {name: recipe for name, recipe in FOUND.items() if remembers(recipe)}


def killed(recipe: Recipe, folder: Path, first: str) -> None:
    """Trained by two processes that are killed two checkpoints after the ``first``."""
    process = start([recipe], folder, 0)
    partial = Store(folder).partial(recipe)
    while len([path for path in partial.glob("[0-9]*") if path.name >= first]) < 2:
        assert process.poll() is None, "training ended before it could be killed"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert Store(folder).get(recipe) is None


@pytest.fixture(scope="module")
def resumed(once: Callable[..., Path]) -> Store:
    """Each was killed; then two processes went on with all of them."""

    def train(folder: Path) -> None:
        for name, recipe in KILLED.items():
            first = "00001-0000001" if name in FOUND else "0"  # of the second epoch
            killed(recipe, folder / "runs", first)
        assert start([*KILLED.values()], folder / "runs", 1e9).wait(timeout=600) == 0

    return Store(once("resumed", train) / "runs")


@pytest.mark.parametrize("name", KILLED)
def test_two_processes_killed_and_resumed(name: str, together: Store, resumed: Store) -> None:
    run, undisturbed = resumed.get(KILLED[name]), together.get(KILLED[name])
    assert run is not None
    assert undisturbed is not None
    for key, value in undisturbed.weights("last").items():
        assert torch.equal(value, run.weights("last")[key])


# What is registered first is called last: after all that is registered by a library.
AT_THE_END = """
import atexit, os
import torch.distributed as dist
from softprior.training.runtime import Runtime
atexit.register(lambda: print(dist.is_initialized()))
os.environ |= dict(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="localhost",
                   MASTER_PORT="0", ACCELERATE_USE_CPU="true")
if "{who}" == "theirs":
    dist.init_process_group("gloo")
for _ in range(2):
    Runtime(cpu=True)
assert dist.is_initialized()
if "{who}" == "ended":
    dist.destroy_process_group()
"""


@pytest.mark.parametrize("who", ["ours", "theirs", "ended"])
def test_a_process_group_is_ended_by_whoever_started_it(who: str) -> None:
    """Before the interpreter ends: a thread of it that still wants the interpreter would abort."""
    command = [sys.executable, "-c", AT_THE_END.format(who=who)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{who == 'theirs'}\n"), done.stderr
