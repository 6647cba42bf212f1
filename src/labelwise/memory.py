"""How the C library keeps freed memory."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8


def keep_freed_memory() -> bool:
    """Have glibc keep freed blocks for the next step or batch instead of returning their pages to the system.

    Activations of tens of megabytes are otherwise mapped and unmapped at each step, and on a CPU the page faults cost
    up to two fifths of the training time (measured: results/LOG.md). Gives whether the allocator took the setting.
    """
    return _set((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 2**28))


def share_freed_memory() -> bool:
    """Have all threads of glibc allocate from two arenas, so that what one frees is there for the others.

    A server's threads decode and compute in turn; with an arena each, the freed blocks of all of them stay resident
    (measured: results/LOG.md). To be called before the threads start. Gives whether the allocator took the setting.
    """
    return _set((_ARENA_MAX, 2))


def give_back_freed_memory() -> None:
    """Have Arrow and glibc return the blocks that were freed to the system, after work that needed many of them."""
    arrow = sys.modules.get("pyarrow")
    if arrow is not None:
        arrow.default_memory_pool().release_unused()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)


def _set(*settings: tuple[int, int]) -> bool:
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return all(mallopt(name, value) for name, value in settings)
