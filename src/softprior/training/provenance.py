"""Where and with what something was measured."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("softprior", "torch", "numpy", "scikit-learn", "scipy")


def provenance() -> dict[str, Any]:
    """Versions, machine and time, as plain JSON values; no name of host or user."""
    return {
        "versions": {
            "python": platform.python_version(),
            **{name: v for name in PACKAGES if (v := _version(name)) is not None},
        },
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def processor() -> str:
    """The processor's name as its maker gives it, where the system tells."""
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
