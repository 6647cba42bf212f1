"""Memory that is kept rather than handed back."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Have glibc keep freed blocks for the next step instead of returning their pages to the system.

    Activations of tens of megabytes are otherwise mapped and unmapped at each step, and on a CPU the page faults cost
    up to two fifths of the training time (measured: results/LOG.md). Gives whether the allocator took the setting.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return all(
        mallopt(name, value)
        for name, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 2**28))
    )
