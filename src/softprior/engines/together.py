"""Several processes that train one run together, on this machine."""

from __future__ import annotations

import builtins
import contextlib
import os
import queue
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import IO, Any

from softprior.engines.child import Child, Guard, TornEventError, launch
from softprior.training import Recipe, Store
from softprior.training.job import to_job

LAST_WORDS = 2.0  # seconds for the others to say why they failed, once one has


class ProcessesError(RuntimeError):
    """One of the processes has died, or does not answer; with its own last words."""


class Together:
    """N processes, each of which computes its part of every batch; a context manager.

    They find each other through a store in this process, so that two commands cannot take one
    port. They end with it, and with the first of them that fails.

    Args:
        processes: how many.
        keep_blocks: keep the allocator from returning freed memory at every step.
        on_start: called before the first run with on what it executes, and whether the allocator
            does so.
    """

    def __init__(
        self,
        processes: int,
        *,
        keep_blocks: bool = True,
        on_start: Callable[[str, bool], None] = lambda executed, kept: None,
    ) -> None:
        self.processes, self.keep_blocks, self.on_start = processes, keep_blocks, on_start
        from torch.distributed import TCPStore  # type: ignore[attr-defined]

        self._events: queue.SimpleQueue[tuple[int, dict[str, Any]]] = queue.SimpleQueue()
        self._meeting = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        self._guard = Guard()
        self._children: list[Child] = []
        self._started = False

    def fit(
        self,
        recipe: Recipe,
        store: Store,
        on_epoch: Callable[[dict[str, float]], None] | None = None,
        *,
        on_images: Callable[[int, int], None] | None = None,
        checkpoint_every: float | None = None,
        cpu: bool = False,
    ) -> None:
        """Train a run to its end, as :func:`softprior.training.fit` does.

        Raises:
            ProcessesError: one of the processes died, or does not answer.
        """
        job = to_job(recipe)
        if job is None:
            raise ValueError(
                "the recipe holds what no other process can import (of a notebook, a lambda): put "
                "it into a file, or train with one process"
            )
        how = {"checkpoint_every": checkpoint_every, "cpu": cpu}
        job |= {"keep_blocks": self.keep_blocks, "how": how}
        for rank in range(len(self._children), self.processes):
            self._children.append(self._start(rank, store))
            threading.Thread(target=self._listen, args=(rank,), daemon=True).start()
        for child in self._children:
            with contextlib.suppress(OSError):  # it has died, as is heard below
                child.send(job)
        for name, event in self._until_done():
            if name == "epoch" and on_epoch is not None:
                on_epoch(event["row"])
            elif name == "images" and on_images is not None:
                on_images(event["done"], event["total"])
            elif name == "warning":
                warnings.warn(event["text"], stacklevel=2)
            elif name == "execution" and not self._started:
                self._started = True
                self.on_start(event["on"], event["kept"])

    def _until_done(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """What the first process reports, until all have trained the run."""
        wanted = set(range(len(self._children)))
        ticked = time.monotonic()
        while wanted:
            # What is longer was this process's own doing, and is held against nobody.
            passed, ticked = min(time.monotonic() - ticked, 2.0), time.monotonic()
            for rank in wanted:
                self._children[rank].tick(passed)
            try:
                rank, event = self._events.get(timeout=1.0)
            except queue.Empty:
                continue
            if event["event"] == "done":
                wanted.discard(rank)
            elif event["event"] in ("failed", "ended"):
                raise self._reason({rank: event})
            elif rank == 0:
                yield event["event"], event

    def _start(self, rank: int, store: Store) -> Child:
        environment = {
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(self.processes),
            "LOCAL_WORLD_SIZE": str(self.processes),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(self._meeting.port),
            "TORCHELASTIC_USE_AGENT_STORE": "True",  # that is: the store of whoever started them
        }

        def launched(stderr: IO[bytes]) -> subprocess.Popen[str]:
            return launch([str(store.root)], stderr, environment)

        name = f"process {rank + 1} of {self.processes}"
        try:
            return Child(launched, self._guard, name)
        except OSError as error:
            raise ProcessesError(
                f"{name} cannot be started ({error.strerror or error}): try fewer processes"
            ) from error

    def _listen(self, rank: int) -> None:
        """Pass on what a process reports; at last, how it has ended."""
        child = self._children[rank]
        try:
            for event in child.events():
                self._events.put((rank, event))
        except (TornEventError, ValueError) as error:
            child.given_up = str(error)
            child.kill()
        self._events.put((rank, {"event": "ended", "message": child.end()}))

    def _reason(self, failed: dict[int, dict[str, Any]]) -> Exception:
        """Why they have failed, once one has: the others then lose the connection to it."""
        until = time.monotonic() + LAST_WORDS
        while len(failed) < len(self._children) and (left := until - time.monotonic()) > 0:
            try:
                rank, event = self._events.get(timeout=left)
            except queue.Empty:
                break
            if event["event"] in ("failed", "ended"):
                failed.setdefault(rank, event)
        # A process that has died says least and is the reason; then a mistake that has a message.
        for event in failed.values():
            if event["event"] == "ended":
                return ProcessesError(event["message"])
        for event in failed.values():
            if event["system"] is not None:
                return OSError(*event["system"])
            if event["expected"] is not None:
                error: Exception = getattr(builtins, event["expected"])(event["message"])
                return error
        rank, event = min(failed.items())
        name = self._children[rank].name
        first = (event["message"].splitlines() or [""])[0]
        return ProcessesError(f"{name} failed: {event['kind']}: {first}")

    def close(self) -> None:
        """End all of them, with what they have started."""
        for child in self._children:
            child.kill()
        self._guard.close()

    def __enter__(self) -> Together:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
