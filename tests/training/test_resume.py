"""Whatever kills a run, the finished one has the bits of an undisturbed one."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
from bits import same_bits
from members import uncovered
from own_members import ClassMeansPrior, FallingPrior, GrowingPenalty, Snapshot, network

from softprior import BetaPrior, TeacherPrior, UniformPrior
from softprior.training import Recipe, Run, Store, checkpoint, fit, generations, integrity, loop
from softprior.training.job import to_job

BASE = Recipe(model="mlp", epochs=3, batch_size=128)
CONV = {"model": "convnet"}  # whose batch norm has buffers
BETA = replace(BASE, prior=BetaPrior())
VOTES = TeacherPrior(strength=0.6)
METHODS = {
    "cross-entropy": replace(BASE, **CONV),
    "adamw, cosine": replace(
        BASE, optimizer="adamw", schedule="cosine", warmup=0.2, learning_rate=1e-3, clip_norm=1.0
    ),
    "uniform, bf16": replace(BASE, **CONV, prior=UniformPrior(), precision="bf16"),
    "beta, own logits": replace(BETA, label_noise=0.2),
    "beta, ema": replace(BETA, **CONV, teacher="ema"),
    "beta, memory": replace(BETA, teacher="memory"),
    "beta, running": replace(BETA, prior=BetaPrior(among="running"), accumulate=2),
    "teacher, memory": replace(BASE, prior=VOTES, teacher="memory"),
    "teacher, frozen": list(generations(replace(BASE, **CONV), VOTES, 2))[1],
    "teacher, stored": replace(list(generations(BASE, VOTES, 2))[1], teacher_targets="permuted"),
}
# Killed in the second epoch: what changes at the end of one is in the checkpoint.
LATER = {
    **uncovered(BASE, METHODS),
    "own, of each class": replace(BASE, prior=ClassMeansPrior(), penalty=GrowingPenalty()),
    "own, of each epoch": replace(BASE, prior=FallingPrior(), model=network),
    "own, teacher": replace(BASE, prior=TeacherPrior(), teacher=Snapshot()),
}
# Once enough checkpoints are written each takes long, between its file and its name, so that a busy
# machine does not let the training end before it is killed.
SCRIPT = """
import json, pathlib, sys, time
import safetensors.torch, torch
from softprior.training import Store, fit
from softprior.training.job import from_job
torch.set_num_threads(1)
job, folder, partial, after = sys.argv[1:]
save, written = safetensors.torch.save_file, 0
def slowly(tensors, file):
    global written
    save(tensors, file)
    written += pathlib.Path(file).parents[1] == pathlib.Path(partial)
    if written > int(after):
        print("enough", flush=True)
        time.sleep(0.5)
safetensors.torch.save_file = slowly
fit(from_job(json.loads(job)), Store(folder), checkpoint_every=0)
"""


RECIPES = METHODS | LATER
# All are stopped by `make test`, without a process of their own. `make test-slow` kills one that
# keeps no state, and each kind of state: what is read back goes by the same files.
KILLED = (
    *("cross-entropy", "adamw, cosine", "beta, ema", "beta, memory", "beta, running"),
    *("teacher, stored", "own, of each class", "own, of each epoch", "own, teacher"),
)


def killed(recipe: Recipe, folder: Path, after: int, watched: Recipe | None = None) -> None:
    """Start training in a process and kill it once it has written ``after`` checkpoints more,
    of the recipe or of the ``watched`` teacher behind it."""
    partial = Store(folder).partial(watched or recipe)
    given = [json.dumps(to_job(recipe)), str(folder), str(partial), str(after)]
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *given], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "enough\n", "training ended before it could be killed"
        time.sleep(random.random())  # while it writes, or while it trains
        assert process.poll() is None, "training ended before it could be killed"
        process.send_signal(signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("name", KILLED)
def test_kill_and_resume(name: str, tmp_path: Path, trained: Callable[[Recipe], Run]) -> None:
    recipe = RECIPES[name]
    undisturbed = trained(recipe)
    store = Store(tmp_path)
    killed(recipe, store.root, after=4 if name in METHODS else 11)  # of eight in an epoch
    if name == "beta, ema":
        killed(recipe, store.root, after=6)  # and once more, in the second
    assert store.get(recipe) is None
    assert list(store.partial(recipe).glob("[0-9]*"))
    epochs: list[float] = []
    same_bits(undisturbed, fit(recipe, store, lambda row: epochs.append(row["epoch"])))
    assert len(epochs) <= (3 if name in METHODS else 2)
    assert not store.partial(recipe).exists()


class StopError(Exception):
    """Raised by a test in the middle of training."""


def stopped(recipe: Recipe, store: Store, epoch: int, every: float = 0) -> Path:
    """Train with a checkpoint after each step, or ``every`` so many seconds, and stop after an
    epoch; the folder of the checkpoints."""

    def stop(row: dict[str, float]) -> None:
        if row["epoch"] == epoch:
            raise StopError

    with pytest.raises(StopError):
        fit(recipe, store, stop, checkpoint_every=every)
    return store.partial(recipe)


@pytest.mark.parametrize("name", RECIPES)
def test_stop_and_resume(name: str, tmp_path: Path, trained: Callable[[Recipe], Run]) -> None:
    """In the middle of the second epoch: what changes at the end of one is in the checkpoint."""
    recipe, store = RECIPES[name], Store(tmp_path)
    if isinstance(recipe.teacher, Recipe):
        fit(recipe.teacher, store)
    folder = stopped(recipe, store, epoch=2)
    last, at_the_end = sorted(folder.glob("[0-9]*"))
    shutil.rmtree(at_the_end)
    assert last.name == "00001-0000007"
    epochs: list[float] = []
    run = fit(recipe, store, lambda row: epochs.append(row["epoch"]))
    assert epochs == [2, 3]
    same_bits(trained(recipe), run)
    assert not folder.exists()


def test_a_chain_goes_on_in_the_generation_it_was_killed_in(
    tmp_path: Path, trained: Callable[[Recipe], Run]
) -> None:
    chain = list(generations(replace(BASE, epochs=2), TeacherPrior(strength=1.0), 4))
    store = Store(tmp_path)
    fit(chain[1], store)
    stopped(chain[2], store, epoch=1)
    rows: list[float] = []
    run = fit(chain[3], store, lambda row: rows.append(row["epoch"]))
    assert rows == [2, 1, 2]  # the rest of generation 3, and generation 4
    same_bits(trained(chain[3]), run)


@pytest.mark.slow
def test_ten_generations_killed_in_the_sixth(tmp_path: Path) -> None:
    chain = list(generations(replace(BASE, model="mlp"), TeacherPrior(strength=1.0), 10))
    store = Store(tmp_path / "b")
    fit(chain[4], store)
    killed(chain[9], store.root, after=4, watched=chain[5])
    done = [run for run in chain if store.get(run)]
    assert done == chain[:5]
    rows: list[float] = []
    run = fit(chain[9], store, lambda row: rows.append(row["epoch"]))
    assert len(rows) <= 3 * 5  # the sixth and those after it: the first five are not repeated
    assert rows[-12:] == [1, 2, 3] * 4
    undisturbed = fit(chain[9], Store(tmp_path / "a"))
    same_bits(undisturbed, run)


@pytest.mark.parametrize("damage", ["truncated", "altered", "no json", "half json"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    damage: str, tmp_path: Path, trained: Callable[[Recipe], Run]
) -> None:
    store = Store(tmp_path)
    folder = stopped(BETA, store, epoch=2)
    kept = sorted(folder.glob("[0-9]*"))
    assert len(kept) == 2
    tensors, state = kept[-1] / "tensors.safetensors", kept[-1] / "state.json"
    content = tensors.read_bytes()
    if damage == "truncated":
        tensors.write_bytes(content[:-10])
    elif damage == "altered":
        tensors.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "no json":
        state.unlink()
    else:
        state.write_text(state.read_text()[:40])
    with pytest.warns(UserWarning, match=rf"checkpoint .*{kept[-1].name} is passed over"):
        run = fit(BETA, store)
    same_bits(trained(BETA), run)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recipe": "0123456789abcdef"}, r"belongs to recipe 0123456789abcdef, not to"),
        ({"format": 99}, r"written by a newer softprior \(format 99, this one reads up to 2\)"),
    ],
)
def test_a_foreign_checkpoint_is_refused(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    folder = stopped(BASE, store, epoch=1)
    newest = max(folder.glob("[0-9]*")) / "state.json"
    newest.write_text(json.dumps({**json.loads(newest.read_text()), **change}))
    (newest.parent / integrity.LIST).unlink()
    integrity.seal(newest.parent)
    with pytest.raises(checkpoint.RefusedError, match=message):
        fit(BASE, store)


def test_a_full_disk_leaves_the_last_checkpoint_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: Callable[[Recipe], Run]
) -> None:
    store = Store(tmp_path)
    folder = stopped(BETA, store, epoch=1)
    before = sorted(path.name for path in folder.iterdir())
    with monkeypatch.context() as patched:

        def full(*args: Any, **more: Any) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        patched.setattr(safetensors.torch, "save_file", full)
        with (
            pytest.warns(UserWarning, match="no checkpoint is written: No space left"),
            pytest.raises(OSError, match="No space left"),
        ):
            fit(BETA, store, checkpoint_every=0)
    assert sorted(path.name for path in folder.iterdir()) == before
    same_bits(trained(BETA), fit(BETA, store))


def test_only_the_last_two_are_kept(tmp_path: Path) -> None:
    folder = stopped(BASE, Store(tmp_path), epoch=2)
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    assert names == ["00001-0000007", "00002-0000000"]


def test_minutes_come_on_top_of_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "MIN_CHECKPOINT_AGE", 0.0)
    folder = stopped(BASE, Store(tmp_path), epoch=1, every=3600)
    assert [path.name for path in folder.iterdir() if path.is_dir()] == ["00001-0000000"]
