"""Keep glibc from handing activations back to the kernel after every training step.

Blocks above 128 KiB come from mmap and go back at once when they are freed; the next step
faults every page in again. ``benchmarks/allocator.py`` measures what that costs.
"""

from __future__ import annotations

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # <malloc.h>


def keep_blocks() -> bool:
    """Let freed blocks stay with the process; True where the allocator understood.

    Costs no memory at the peak. Call it before the first large tensor is made.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_THRESHOLD, 1 << 30) and mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1))
