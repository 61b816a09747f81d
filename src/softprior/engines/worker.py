"""A worker process: jobs come in as lines of JSON, events go out as lines of JSON.

Started as ``python -m softprior.engines.worker STORE [CORE]``: by :mod:`softprior.engines.local`
for runs of its own, and by :mod:`softprior.engines.together`, where ``RANK`` is set, as one of
several for the same run. It ends when its input closes; and, since it gives a sign of life every
second, soon after its parent.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import warnings
from typing import Any

ALIVE = 1.0  # seconds between two signs of life
# What is raised with a message for the user; the first that fits.
EXPECTED = (
    *(FloatingPointError, ArithmeticError, MemoryError, ImportError),
    *(OSError, TypeError, ValueError),
)


class Events:
    """Writes events to what was stdout; whatever a library prints goes to stderr from now on."""

    def __init__(self) -> None:
        self._out = os.dup(sys.stdout.fileno())
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        self._lock = threading.Lock()
        threading.Thread(target=self._signs_of_life, daemon=True).start()

    def send(self, event: str, **more: Any) -> None:
        line = (json.dumps({"event": event, **more}) + "\n").encode()
        with self._lock:
            while line:
                line = line[os.write(self._out, line) :]

    def _signs_of_life(self) -> None:
        try:
            while True:
                self.send("alive")
                time.sleep(ALIVE)
        except OSError:
            os._exit(1)  # nobody reads any more


def main() -> None:
    events = Events()  # before torch is imported, which may take longer than the parent lives
    import torch

    from softprior.training import Store, fit
    from softprior.training.allocator import keep_blocks
    from softprior.training.job import from_job
    from softprior.training.runtime import described

    alone, first = "RANK" not in os.environ, os.environ.get("RANK", "0") == "0"
    if alone:
        if len(sys.argv) > 2 and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {int(sys.argv[2])})  # and stay there: its cache is warm
        torch.set_num_threads(1)  # the parallelism is in the number of workers
    elif first:
        warnings.filterwarnings("ignore", module=r"(torch|accelerate)\b")  # for whoever calls it
        warnings.showwarning = lambda message, *_, **__: events.send("warning", text=str(message))
    store = Store(sys.argv[1])
    kept: bool | None = None

    for line in sys.stdin:
        try:
            job = json.loads(line)
            if kept is None:  # once for all
                kept = job.get("keep_blocks", True) and keep_blocks()
            recipe, how = from_job(job), job.get("how", {})
            if not alone and first:
                events.send("execution", on=described(recipe, how["cpu"]), kept=kept)
                how["on_images"] = lambda done, total: events.send("images", done=done, total=total)
            fit(recipe, store, on_epoch=lambda row: events.send("epoch", row=row), **how)
        except Exception as error:  # a failed run is reported, and the next one begins
            known = next((kind.__name__ for kind in EXPECTED if isinstance(error, kind)), None)
            system = None
            if isinstance(error, OSError) and error.strerror:
                system = (error.errno, error.strerror, str(error.filename or "file system"))
            kind, message = type(error).__name__, str(error)
            events.send("failed", kind=kind, message=message, expected=known, system=system)
        else:
            events.send("done")


if __name__ == "__main__":
    try:
        main()
    except (BrokenPipeError, KeyboardInterrupt):
        os._exit(1)  # nobody reads any more
