"""Cold starts of the program and of labelwise-runtime, each in a new process, before and after in turn.

Run: python benchmarks/cold.py EXPORT PHOTO --before OLD/src [--runtime RUNTIME/bin/python] [--repeats 9]
         [--csv results/cold.csv]

Wall time and processor time of the whole process, medians; the quickest is given too, since a busy machine adds to
both. Every command is run once before, so that files are in the memory of the system.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from statistics import median

from measuring import keep, timed

SOURCE = Path(__file__).resolve().parents[1] / "src"
REPEATS = 9


def main() -> None:
    """Runs the commands in turn and writes a row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
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
        command = [given.runtime, "-m", "labelwise_runtime", *predict]
        sides.append(("labelwise-runtime predict EXPORT PHOTO", "now", command, None))
    times: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for repeat in range(given.repeats + 1):
        for what, side, command, tree in sides:
            source = {"PYTHONPATH": str(tree)} if tree else {}
            spent = timed(command, {"HF_HUB_OFFLINE": "1", **source})
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
    keep(given.csv, rows)


if __name__ == "__main__":
    main()
