"""Rows of results, and what the system says of this process and its processor; for the scripts of this folder."""

from __future__ import annotations

import csv
import os
import platform
import resource
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


def show(row: Mapping[str, Any]) -> None:
    """Prints a row at once."""
    print("  ".join(f"{k} {v}" for k, v in row.items()), flush=True)


def keep(path: str | Path | None, rows: Sequence[Mapping[str, Any]], fields: Iterable[str] = ()) -> None:
    """Writes a line per row, where a path is given; columns are `fields`, or the keys of all rows."""
    if path:
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(fields) or list(dict.fromkeys(k for row in rows for k in row)))
            writer.writeheader()
            writer.writerows(rows)


def conditions() -> dict[str, Any]:
    """Cores, load of the last minute, and kind of processor."""
    return {"cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1), "machine": platform.machine()}


def timed(command: Sequence[str], environment: Mapping[str, str]) -> tuple[float, float]:
    """Wall and processor seconds of a process, with some variables of its environment.

    Raises:
        subprocess.CalledProcessError: the command failed.
    """
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, env=os.environ | environment, capture_output=True)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def processor() -> str:
    """The processor's name, if the system provides it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def resident(what: str = "VmRSS", process: int | str = "self") -> float:
    """Resident MiB of a process, current (`VmRSS`) or peak (`VmHWM`)."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(what))
