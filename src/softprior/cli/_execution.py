"""How a run is executed: what changes nothing in its result."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass, fields
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Execution:
    """The options of ``softprior fit`` that are no part of the recipe.

    Attributes:
        out: the run goes to OUT/runs/<digest>/.
        processes: processes that train the one run together; all end where one dies, is stopped
            for a minute, or keeps the others waiting for 30 minutes (10 on NVIDIA GPUs).
        cpu: stay on the CPU where there is an accelerator.
        keep_blocks: false: let the allocator return freed memory to the system at every step.
        checkpoint_minutes: write a checkpoint every X minutes, within epochs too.
        tensorboard: write events to OUT/tensorboard/<digest>/.
    """

    out: Path = Path("results")
    processes: int = 1
    cpu: bool = False
    keep_blocks: bool = True
    checkpoint_minutes: float | None = None
    tensorboard: bool = False

    @classmethod
    def of(cls, options: Namespace) -> Execution:
        """As the options have it; raises ValueError where they cannot be."""
        how = cls(**{field.name: getattr(options, field.name) for field in fields(cls)})
        if how.processes < 1:
            raise ValueError(f"--processes must be at least 1, got {how.processes}")
        if how.checkpoint_minutes is not None and not how.checkpoint_minutes > 0:
            raise ValueError(f"--checkpoint_minutes must be above 0, got {how.checkpoint_minutes}")
        return how
