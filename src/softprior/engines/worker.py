"""A worker process: jobs come in as lines of JSON, events go out as lines of JSON.

Started by :mod:`softprior.engines.local` as ``python -m softprior.engines.worker STORE [CORE]``.
It ends when its input closes, and, since it reports every epoch, soon after its parent dies.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import torch

from softprior.training import Store, fit
from softprior.training.allocator import keep_blocks
from softprior.training.job import from_job


def main() -> None:
    # Events keep the true stdout to themselves; whatever a library prints goes to stderr.
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    if len(sys.argv) > 2 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(sys.argv[2])})  # and stay there: its cache is warm
    torch.set_num_threads(1)  # the parallelism is in the number of workers
    keep_blocks()
    store = Store(sys.argv[1])

    def send(event: str, **more: Any) -> None:
        events.write(json.dumps({"event": event, **more}) + "\n")
        events.flush()

    for line in sys.stdin:
        try:
            recipe = from_job(json.loads(line))
            fit(recipe, store, on_epoch=lambda row: send("epoch", row=row))
        except Exception as error:  # a failed run is reported, and the next one begins
            send("failed", message=f"{type(error).__name__}: {error}")
        else:
            send("done")


if __name__ == "__main__":
    try:
        main()
    except (BrokenPipeError, KeyboardInterrupt):
        os._exit(1)  # nobody reads any more
