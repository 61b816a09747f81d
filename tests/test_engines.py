"""Running many recipes: each once, teachers first, and a failure stops nothing else."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from bits import same_bits

from softprior import TeacherPrior
from softprior.engines import LocalEngine, with_teachers
from softprior.training import Recipe, Run, Store, fit, generations

BASE = Recipe(epochs=2)
VOTES = TeacherPrior(strength=1.0)


def test_teachers_come_first_and_once() -> None:
    chain = list(generations(BASE, VOTES, 4))
    assert with_teachers(reversed(chain)) == chain
    assert with_teachers([*chain, *chain]) == chain


@pytest.mark.slow
def test_runs_are_those_of_fit_bit_for_bit(tmp_path: Path) -> None:
    chain = list(generations(BASE, VOTES, 2))
    heard: list[tuple[str, str]] = []
    here, there = Store(tmp_path / "here"), Store(tmp_path / "there")
    engine = LocalEngine(workers=2)
    assert engine.run(chain[1:], there, lambda r, e: heard.append((r.digest, e))) == []
    assert [h for h in heard if h[1] == "done"] == [(r.digest, "done") for r in chain]
    assert len([h for h in heard if h[1] == "epoch"]) == 4
    for recipe in chain:
        run = there.get(recipe)
        assert run is not None
        for key, value in fit(recipe, here).weights().items():
            assert torch.equal(value, run.weights()[key])
    heard.clear()
    assert engine.run(chain, there, lambda r, e: heard.append((r.digest, e))) == []
    assert heard == []


@pytest.mark.slow
def test_a_failed_run_is_reported_and_the_rest_goes_on(
    tmp_path: Path, trained: Callable[[Recipe], Run]
) -> None:
    """With the bits that ``fit`` gives."""
    wild = replace(BASE, learning_rate=1e30)
    student = list(generations(wild, VOTES, 2))[1]
    fine = replace(BASE, seed=1)
    store = Store(tmp_path)
    failures = LocalEngine(workers=1).run([wild, student, fine], store)
    assert {f.recipe for f in failures} == {wild, student}
    told = {f.recipe: f.message for f in failures}
    assert "training diverged" in told[wild]
    assert told[student] == "its teacher's run failed"
    run = store.get(fine)
    assert run is not None
    same_bits(run, trained(fine))


@pytest.mark.slow
def test_a_worker_that_dies_is_reported_and_replaced(tmp_path: Path) -> None:
    store = Store(tmp_path)
    engine = LocalEngine(workers=1)
    long, short = replace(BASE, epochs=10_000), replace(BASE, seed=1)
    killed = False

    def kill(recipe: Recipe, event: str) -> None:
        nonlocal killed
        if recipe == long and not killed:
            killed = True
            for pid in _children():
                os.kill(pid, signal.SIGKILL)

    failures = engine.run([long, short], store, kill)
    assert [f.recipe for f in failures] == [long]
    assert "the worker ended with exit status -9" in failures[0].message
    assert store.get(short) is not None


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="Linux pins processes")
def test_each_worker_has_a_core_of_its_own(tmp_path: Path) -> None:
    mine = os.sched_getaffinity(0)
    seen: dict[int, set[int]] = {}

    def look(recipe: Recipe, event: str) -> None:
        seen.update({pid: os.sched_getaffinity(pid) for pid in _children()})

    LocalEngine().run([replace(BASE, seed=seed) for seed in range(4)], Store(tmp_path), look)
    assert seen
    assert all(len(cores) == 1 and cores <= mine for cores in seen.values())
    assert len({min(cores) for cores in seen.values()}) == len(seen)
    assert os.sched_getaffinity(0) == mine


def _children() -> list[int]:
    """Worker processes started by this one."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rsplit(")", 1)[1].split()
            command = (status.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == os.getpid() and b"softprior.engines.worker" in command:
            found.append(int(status.parent.name))
    return found


def test_workers_must_be_positive() -> None:
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        LocalEngine(workers=0)
