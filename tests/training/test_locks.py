"""Two commands on one folder: neither harms the other, whoever dies, and wherever they run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch

from softprior.training import Recipe, Store, checkpoint, files, locks
from softprior.training import store as store_module

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no locks of this kind")

# Writes into a hidden folder until it is killed; a module of its own, without torch.
WRITER = """
import importlib.util, pathlib, sys, time
spec = importlib.util.spec_from_file_location("locks", sys.argv[1])
locks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(locks)
with locks.hidden_folder(pathlib.Path(sys.argv[2]), "run") as folder:
    (folder / "half").write_text("half")
    print(folder, flush=True)
    time.sleep(600)
"""


def _heed_ctrl_c() -> None:
    """Whoever runs the tests in the background has told its children to ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def writer(root: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    command = [sys.executable, "-c", WRITER, locks.__file__, str(root)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, preexec_fn=_heed_ctrl_c
    ) as process:
        assert process.stdout is not None
        try:
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


@pytest.mark.parametrize("state", ["writes", "is stopped", "has ended", "was killed"])
def test_what_the_dead_left_is_swept_and_nothing_else(
    state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its process id says: here it is never that of a living process, as in a container
    that does not see the writer."""

    def unknown(*_: object) -> None:
        raise ProcessLookupError

    with writer(tmp_path) as (process, folder):
        if state == "is stopped":
            process.send_signal(signal.SIGSTOP)
        elif state != "writes":
            process.send_signal(signal.SIGINT if state == "has ended" else signal.SIGKILL)
            process.wait()
        with monkeypatch.context() as patched:
            patched.setattr(os, "kill", unknown)
            Store(tmp_path).sweep()
        living = state in ("writes", "is stopped")
        assert (folder / "half").exists() == living
        assert len(list(tmp_path.iterdir())) == 2 * living  # the folder and its lock


def test_without_a_lock_only_what_is_old_is_swept(tmp_path: Path) -> None:
    """As it is where the file system has no locks."""
    for name, age in {"young": 3600.0, "old": 2 * locks.OLD}.items():
        folder = tmp_path / f".{name}-1-abc"
        folder.mkdir()
        os.utime(folder, (time.time() - age,) * 2)
    (tmp_path / "a-finished-run").mkdir()
    Store(tmp_path).sweep()
    assert {path.name for path in tmp_path.iterdir()} == {".young-1-abc", "a-finished-run"}


def test_a_lock_lets_one_in_at_a_time_and_dies_with_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "lock"
    source = WRITER.partition("with ")[0] + (
        "with locks.exclusive(pathlib.Path(sys.argv[2])):\n"
        "    print('in', flush=True)\n    time.sleep(600)\n"
    )
    command = [sys.executable, "-c", source, locks.__file__, str(lock)]
    monkeypatch.setattr(locks, "PATIENCE", 0.3)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        message = "another process has held .*lock for 0 s; going on"
        try:
            with pytest.warns(UserWarning, match=message), locks.exclusive(lock):
                assert lock.exists()
            assert lock.exists()
        finally:
            process.kill()
    with locks.exclusive(lock):
        pass
    assert not lock.exists()


@contextmanager
def at_line(number: int, modules: set[str], act: Callable[[], None]) -> Iterator[list[int]]:
    """Do something before a line of these modules is executed, the ``number``th from here."""
    lines = [0]

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in modules:
            return None
        if event == "line":
            lines[0] += 1
            if lines[0] == number:
                sys.settrace(None)
                act()
                sys.settrace(trace)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield lines
    finally:
        sys.settrace(before)


RECIPE = Recipe(epochs=3)
TENSORS = {"model": {"w": torch.arange(4.0)}}


def save(store: Store, epoch: int) -> None:
    state = {"epoch": epoch, "history": []}
    checkpoint.save(store.partial(RECIPE), RECIPE.digest, TENSORS, state, step=0)


def load(store: Store) -> None:
    found = checkpoint.load(store.partial(RECIPE), RECIPE.digest)
    assert found is None or torch.equal(found[0]["model"]["w"], TENSORS["model"]["w"])


def put(store: Store) -> None:
    run = store.put(
        RECIPE,
        tensors={name: {"w": torch.ones(2)} for name in ("weights", "best", "predictions")},
        history=[{"epoch": 1.0}],
        outcome={"best_epoch": 1, "seconds": 1.0},
        provenance={"versions": {}},
    )
    assert run.weights("last")["w"].sum() == 2


def history(store: Store) -> None:
    store.write_history(RECIPE, [{"epoch": 1.0}])


def in_order(*steps: Callable[[Store], None]) -> Callable[[Store], None]:
    def act(store: Store) -> None:
        for step in steps:
            step(store)

    return act


# What one command does, and what the other does in the middle of it.
DOES: dict[str, Callable[[Store], None]] = {
    "saves": lambda store: save(store, 3),
    "is ahead": lambda store: save(store, 4),
    "resumes": load,
    "writes its history": history,
    "finishes": put,
    "sweeps": Store.sweep,
}
MEANWHILE: dict[str, Callable[[Store], None]] = {
    "resumes": load,
    "saves the same": lambda store: save(store, 3),
    "is ahead": in_order(*(partial(save, epoch=epoch) for epoch in (4, 5, 6))),
    "finishes": put,
    "finishes and sweeps": in_order(put, Store.sweep),
    "takes a step after the end": in_order(put, history),
}


@pytest.mark.parametrize("stride", [23, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("meanwhile", MEANWHILE)
@pytest.mark.parametrize("does", DOES)
def test_wherever_the_other_command_steps_in(
    does: str, meanwhile: str, stride: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between any two lines, or some of them: both end well, without a warning, and one whole run
    is left."""
    for module in (files, checkpoint, store_module):
        monkeypatch.setattr(module, "flush", lambda path: None, raising=False)
    store = Store(tmp_path)
    modules = {module.__file__ for module in (files, checkpoint, locks, shutil, store_module)}
    number, lines = 1, [1]
    while number <= lines[0]:
        for epoch in (1, 2):
            save(store, epoch)
        with at_line(number, modules, lambda: MEANWHILE[meanwhile](store)) as lines:
            DOES[does](store)
        load(store)
        put(store)
        store.sweep()
        assert [path.name for path in tmp_path.iterdir()] == [RECIPE.digest]
        assert json.loads((tmp_path / RECIPE.digest / "recipe.json").read_text())
        for path in (tmp_path / RECIPE.digest).iterdir():
            path.unlink()
        (tmp_path / RECIPE.digest).rmdir()
        number += stride
    assert number > 3
