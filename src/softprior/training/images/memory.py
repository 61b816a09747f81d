"""How much memory a data set may take."""

from __future__ import annotations

import os

MIB = 2**20


def available() -> int | None:
    """Bytes of memory that are free for use; None where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:  # all there is, where what is free is not told (macOS)
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def affordable(images: int, height: int, width: int, channels: int) -> None:
    """Raise MemoryError if so many images would take more than half of what is available."""
    free = available()
    size = images * height * width * channels
    if free is not None and size > free / 2:
        raise MemoryError(
            f"{images:,} images of {height} × {width} × {channels} take {size / MIB:,.0f} MiB, "
            f"more than half of the {free / MIB:,.0f} MiB of memory available: lower "
            "--resolution or take a --subset"
        )
