"""Runs side by side on one machine, each in a single-thread process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from softprior import own
from softprior.training import Recipe, Store, fit, resolve_all
from softprior.training.job import to_job, warn_of_changed_source

Job: TypeAlias = tuple[Recipe, dict[str, Any]]  # a recipe, and what a worker needs to train it


@dataclass(frozen=True)
class Failure:
    """A run that did not finish, and why."""

    recipe: Recipe
    message: str


def with_teachers(recipes: Iterable[Recipe]) -> list[Recipe]:
    """The recipes and every teacher behind them, each once, teachers before students."""
    ordered: dict[str, Recipe] = {}

    def add(recipe: Recipe) -> None:
        if isinstance(recipe.teacher, Recipe):
            add(recipe.teacher)
        ordered.setdefault(recipe.digest, recipe)

    for recipe in recipes:
        add(recipe)
    return list(ordered.values())


def cores() -> list[int]:
    """The cores that this process may use; without names where the system does not tell them."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


class LocalEngine:
    """N single-thread worker processes: on small networks faster than one with N threads.

    Each is pinned to a core of its own, where there are enough and the system allows it.

    Args:
        workers: processes at a time; None is one for each core this process may use.
    """

    def __init__(self, workers: int | None = None) -> None:
        if workers is not None and workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        self.workers = workers or len(cores())

    def run(
        self,
        recipes: Iterable[Recipe],
        store: Store,
        on_event: Callable[[Recipe, str], None] = lambda recipe, event: None,
    ) -> list[Failure]:
        """Run what the store does not hold yet; a shared teacher is trained once.

        ``on_event`` receives ("epoch" | "done" | "failed") of each recipe, in the calling thread.
        A failed run does not stop the others, except the students whose teacher it was to be.
        An interrupt stops the workers; what has finished stays finished. What holds objects that
        no other process can import (of a notebook, lambdas) is trained in this process.
        """
        own.refuse_while_loading()
        store.sweep()
        ordered = with_teachers(resolve_all(recipes, store.root))
        waiting = [r for r in ordered if store.get(r) is None]
        finished = {r.digest for r in ordered} - {r.digest for r in waiting}
        failures: list[Failure] = []
        if not waiting:
            return failures
        warn_of_changed_source(waiting[0], store)  # one for all: workers cannot be heard
        tasks: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        events: queue.SimpleQueue[tuple[Recipe, dict[str, Any]]] = queue.SimpleQueue()
        size = min(self.workers, len(waiting))
        pins: list[int | None] = [*cores()] if size <= len(cores()) else [None] * size
        workers = [_Worker(store, tasks, events, core) for core in pins[:size]]
        here: list[Recipe] = []  # for this process
        running = 0

        def hand_out() -> None:
            nonlocal running, waiting
            still: list[Recipe] = []
            for recipe in waiting:  # teachers come before their students
                teacher = recipe.teacher if isinstance(recipe.teacher, Recipe) else None
                if any(f.recipe == teacher for f in failures):
                    failures.append(Failure(recipe, "its teacher's run failed"))
                    on_event(recipe, "failed")
                elif teacher is not None and teacher.digest not in finished:
                    still.append(recipe)
                elif (job := to_job(recipe)) is None:
                    here.append(recipe)
                else:
                    running += 1
                    tasks.put((recipe, job))
            waiting = still

        def take(recipe: Recipe, event: dict[str, Any]) -> None:
            if event["event"] == "done":
                finished.add(recipe.digest)
            if event["event"] == "failed":
                failures.append(Failure(recipe, event["message"]))
            on_event(recipe, event["event"])
            if event["event"] != "epoch":
                hand_out()

        try:
            hand_out()
            while running or here:
                if here:
                    recipe = here.pop(0)
                    take(recipe, _train_here(recipe, store, on_event))
                    continue
                recipe, event = events.get()
                running -= event["event"] != "epoch"
                take(recipe, event)
        finally:
            for worker in workers:
                worker.stop()
            for worker in workers:  # only now: any of them may take another's signal
                worker.join()
        return failures


def _train_here(
    recipe: Recipe, store: Store, on_event: Callable[[Recipe, str], None]
) -> dict[str, Any]:
    try:
        fit(recipe, store, on_epoch=lambda row: on_event(recipe, "epoch"))
    except Exception as error:  # as a worker reports it
        return {"event": "failed", "message": f"{type(error).__name__}: {error}"}
    return {"event": "done"}


class _Worker(threading.Thread):
    """Feeds one process with jobs and passes on the events that it sends."""

    def __init__(
        self,
        store: Store,
        tasks: queue.SimpleQueue[Job | None],
        events: queue.SimpleQueue[tuple[Recipe, dict[str, Any]]],
        core: int | None,
    ) -> None:
        super().__init__(daemon=True)
        self.store, self.tasks, self.events, self.core = store, tasks, events, core
        self.process: subprocess.Popen[str] | None = None
        self.stopped = False
        self.start()

    def run(self) -> None:
        with tempfile.TemporaryFile("w+") as stderr:
            while (job := self.tasks.get()) is not None and not self.stopped:
                self._one(*job, stderr)
            if self.process is not None:
                self._ended()

    def _one(self, recipe: Recipe, job: dict[str, Any], stderr: Any) -> None:
        if self.process is None:
            self.process = self._launched(stderr)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(job) + "\n")
            self.process.stdin.flush()
            for line in self.process.stdout:
                event = json.loads(line)
                self.events.put((recipe, event))
                if event["event"] != "epoch":
                    return
        except BrokenPipeError:
            pass
        code = self._ended()
        self.process = None
        stderr.seek(0)
        last = (stderr.read().strip().splitlines() or ["it printed nothing"])[-1]
        message = f"the worker ended with exit status {code}: {last}"
        self.events.put((recipe, {"event": "failed", "message": message}))

    def _launched(self, stderr: Any) -> subprocess.Popen[str]:
        pin = [] if self.core is None else [str(self.core)]
        # A session of its own: Ctrl-C reaches the parent alone, which then stops the workers.
        return subprocess.Popen(
            [sys.executable, "-m", "softprior.engines.worker", str(self.store.root), *pin],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
            start_new_session=True,
        )

    def stop(self) -> None:
        self.stopped = True
        self.tasks.put(None)
        if self.process is not None:
            self.process.terminate()

    def _ended(self) -> int:
        """Close what was open to the process and say how it ended."""
        assert self.process is not None
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(BrokenPipeError):
                if pipe is not None:
                    pipe.close()
        return self.process.wait()
