"""The processor cores that this process may use."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path

_CONTROL_GROUPS = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """The number of cores, at least 1: those of the process's affinity, and no more than its container's limit.

    `os.cpu_count` has all cores of the machine, also in a container that may use one of them. The limit is that of
    control groups, version 2 (`cpu.max`) or 1 (`cpu.cfs_quota_us`), rounded up.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = _core_limit()
    return allowed if math.isinf(limit) else max(1, min(allowed, math.ceil(limit)))


def _core_limit() -> float:
    """Cores that the control group of this process may use."""
    with suppress(OSError, ValueError):
        quota, period = (_CONTROL_GROUPS / "cpu.max").read_text().split()
        return math.inf if quota == "max" else int(quota) / int(period)
    with suppress(OSError, ValueError):
        quota, period = (
            (_CONTROL_GROUPS / "cpu" / f"cpu.cfs_{name}_us").read_text().strip()
            for name in ("quota", "period")
        )
        return int(quota) / int(period) if int(quota) > 0 else math.inf
    return math.inf
