"""Cold starts of the program and of labelwise-runtime, each in a new process, before and after in turn.

    python benchmarks/cold.py EXPORT PHOTO --before OLD/src [--runtime RUNTIME/bin/python] [--repeats 9]
        [--csv results/cold.csv]

Wall time and processor time of the whole process, medians; the quickest is given too, since a busy machine adds to
both. Every command is run once before, so that files are in the memory of the system.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent))

from kept import keep

SOURCE = Path(__file__).resolve().parents[1] / "src"
REPEATS = 9


def cold(command: list[str], source: Path | None) -> tuple[float, float]:
    """Wall and processor seconds of a process."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", **({"PYTHONPATH": str(source)} if source else {})}
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    wall, now = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime


def main() -> None:
    """Runs the commands in turn and writes a row for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("export")
    parser.add_argument("photo")
    parser.add_argument("--before", type=Path, required=True)
    parser.add_argument("--runtime", help="Python of an environment with labelwise-runtime")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--csv", type=Path)
    given = parser.parse_args()
    program = [sys.executable, "-m", "labelwise"]
    predict = ["predict", given.export, given.photo]
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import labelwise": [sys.executable, "-c", "import labelwise"],
        "labelwise methods": [*program, "methods"],
        "labelwise predict EXPORT PHOTO": [*program, *predict],
    }
    sides = [(what, side, command, tree) for what, command in commands.items() for side, tree in
             (("before", given.before), ("now", SOURCE))]  # fmt: skip
    if given.runtime:
        sides.append(
            (
                "labelwise-runtime predict EXPORT PHOTO",
                "now",
                [given.runtime, "-m", "labelwise_runtime", *predict],
                None,
            )
        )
    times: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for repeat in range(given.repeats + 1):
        for what, side, command, tree in sides:
            spent = cold(command, tree)
            if repeat:
                times.setdefault((what, side), []).append(spent)
    rows = []
    for (what, side), spent in times.items():
        walls, used = zip(*spent, strict=True)
        rows.append(
            {
                "command": what,
                "side": side,
                "starts": len(spent),
                "wall_seconds": round(median(walls), 2),
                "quickest_wall_seconds": round(min(walls), 2),
                "processor_seconds": round(median(used), 2),
                "quickest_processor_seconds": round(min(used), 2),
                "load": round(os.getloadavg()[0], 1),
            }
        )
        print(rows[-1], flush=True)
    if given.csv:
        keep(given.csv, rows)


if __name__ == "__main__":
    main()
