"""What the C library does with freed memory.

Tensors of large teams are so large that glibc asks the kernel for each of them and returns it at once. The kernel
clears every page again that it hands out: in an update of 4,096 agents that took longer than the computation
(benchmarks/scaling.md). With the settings below, freed memory is kept for the next tensor. A process holds its largest
use of memory until it ends.
"""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # malloc.h
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let the C library keep freed memory; returns whether it can, which takes glibc."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, _NEVER))
