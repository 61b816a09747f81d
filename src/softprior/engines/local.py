"""Runs side by side on one machine, each in a single-thread process of its own."""

from __future__ import annotations

import os
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import IO, Any, TypeAlias

from softprior import own
from softprior.engines.child import ENDING, Child, Guard, TornEventError, launch
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
        A worker that cannot be started, dies, or gives no sign of life for a minute is a failed
        run, with the reason. An interrupt stops the workers; what has finished stays finished. What
        holds objects that no other process can import (of a notebook, lambdas) is trained in this
        process.
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
        workers: list[_Worker] = []
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

        guard = Guard()
        try:
            workers += [_Worker(store, tasks, events, core, guard) for core in pins[:size]]
            hand_out()
            ticked = time.monotonic()
            while running or here:
                if here:
                    recipe = here.pop(0)
                    take(recipe, _train_here(recipe, store, on_event))
                    continue
                # What is longer was this process's own doing, and is held against nobody.
                passed, ticked = min(time.monotonic() - ticked, 2.0), time.monotonic()
                for worker in workers:
                    worker.tick(passed)
                try:
                    recipe, event = events.get(timeout=1.0)
                except queue.Empty:
                    continue
                running -= event["event"] != "epoch"
                take(recipe, event)
        finally:
            for worker in workers:
                worker.stop(now=bool(running))
            for worker in workers:  # only now: any of them may take another's signal
                worker.join(2 * ENDING)
            guard.close()
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
        guard: Guard,
    ) -> None:
        super().__init__(daemon=True)
        self.store, self.tasks, self.events, self.core = store, tasks, events, core
        self.guard = guard
        self.child: Child | None = None
        self.busy = False
        self.stopped = self.killed = False
        self.start()

    def run(self) -> None:
        while (job := self.tasks.get()) is not None and not self.stopped:
            self.busy = True
            recipe, values = job
            try:
                event = self._one(recipe, values)
            except Exception as error:  # whatever it is: nobody must wait for this run for ever
                event = {"event": "failed", "message": f"{type(error).__name__}: {error}"}
            self.busy = False
            self.events.put((recipe, event))
        self._end()

    def _one(self, recipe: Recipe, job: dict[str, Any]) -> dict[str, Any]:
        """Have the run trained, and pass on its epochs; returns the event that ends it."""
        if self.child is None:
            try:
                self.child = Child(self._launched, self.guard, "the worker")
            except OSError as error:
                why = f"no worker process can be started ({error.strerror or error})"
                return {"event": "failed", "message": f"{why}: try fewer workers"}
        if self.killed:
            self.child.kill()
        try:
            self.child.send(job)
            for event in self.child.events():
                if event["event"] == "failed":
                    kind = event.get("kind")
                    return {**event, "message": f"{kind}: " * bool(kind) + event["message"]}
                if event["event"] != "epoch":
                    return event
                self.events.put((recipe, event))
        except OSError:  # nobody reads: it has died
            pass
        except TornEventError as error:
            self.child.given_up = str(error)
            self.child.kill()
        return {"event": "failed", "message": self._end()}

    def _launched(self, stderr: IO[bytes]) -> subprocess.Popen[str]:
        pin = [] if self.core is None else [str(self.core)]
        threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        return launch([str(self.store.root), *pin], stderr, threads)

    def tick(self, seconds: float) -> None:
        """So much time has passed: does it still live?"""
        child = self.child
        if self.busy and child is not None:
            child.tick(seconds)

    def stop(self, *, now: bool) -> None:
        """Take no further job; ``now``: nor finish the one that it has."""
        self.stopped, self.killed = True, now
        self.tasks.put(None)
        child = self.child
        if now and child is not None:
            child.kill()

    def _end(self) -> str:
        """Close what was open to the process and say how it ended."""
        child, self.child = self.child, None
        if child is None:
            return ""
        return child.end()
