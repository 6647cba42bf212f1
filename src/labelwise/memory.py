"""Settings of the C library's allocator for freed memory."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8


def keep_freed_memory() -> bool:
    """Make glibc keep freed blocks for the next step or batch instead of returning their pages to the system.

    Otherwise activations of tens of megabytes are mapped and unmapped at each step, and on a CPU the page faults cost
    up to two fifths of the training time (measured: results/LOG.md). Returns whether the allocator accepts the setting.
    """
    return _set_options((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 2**28))


def share_freed_memory() -> bool:
    """Make all threads allocate from two glibc arenas, so that they share freed blocks.

    A server's threads decode and compute in turn; with one arena each, all of their freed blocks stay resident
    (measured: results/LOG.md). Call before the threads start. Returns whether the allocator accepts the setting.
    """
    return _set_options((_ARENA_MAX, 2))


def give_back_freed_memory() -> None:
    """Make Arrow and glibc return freed blocks to the system, after work that needed many of them."""
    arrow = sys.modules.get("pyarrow")
    if arrow is not None:
        arrow.default_memory_pool().release_unused()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)


def _set_options(*settings: tuple[int, int]) -> bool:
    """Sets options of glibc's allocator; returns whether it accepts all of them."""
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return all(mallopt(name, value) for name, value in settings)
