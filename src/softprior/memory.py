"""How much memory a data set or a file of predictions may take."""

from __future__ import annotations

import os

import torch

MIB = 2**20
SMALL = 64 * MIB  # so little is never refused


def available() -> int | None:
    """Bytes of memory that are free for use; None where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:  # all there is, where the system does not say what is free (macOS)
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def fits(size: int, device: torch.device | None = None) -> bool:
    """Whether so many bytes are at most half of what is free, in memory or on a device.

    True where nobody says what is free.
    """
    if device is not None and device.type == "cuda":
        return size <= torch.cuda.mem_get_info(device)[0] / 2
    if device is not None and device.type != "cpu":
        return True
    free = available()
    return free is None or size <= free / 2


def check(what: str, size: int, remedy: str) -> None:
    """Refuse what a file states to be larger than half of the memory, before it is read.

    A file can state any size, and a small one can unpack to more than any machine has.

    Raises:
        ValueError: with the size that is stated.
    """
    if size > SMALL and not fits(size):
        raise ValueError(
            f"{what} would take {size / MIB:,.0f} MiB as the file states, more than half of the "
            f"memory available; {remedy}"
        )
