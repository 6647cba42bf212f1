"""Time and equality of predictions in one process and on Ray Data, with 1 and 2 workers and with killed workers.

Run: python benchmarks/collection.py RUN PHOTOS [--csv results/collection.csv]

Each row is one `labelwise predict` in a separate process, including its start. `one killed`: a model actor receives
SIGKILL once half of the parts are written; `restarted`: the whole command receives it and is run again. The files of
every row are compared byte for byte with those of the single process.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pyarrow import dataset

from measuring import conditions, keep, show


def command(run: str, photos: list[str], out: Path, part: int, *more: str) -> subprocess.Popen:
    """Starts the program in its own session."""
    program = [sys.executable, "-m", "labelwise", "predict", run, *photos]
    options = ["--out", str(out), "--part", str(part), *more]
    return subprocess.Popen([*program, *options], stderr=subprocess.DEVNULL, start_new_session=True)


def written(out: Path) -> list[Path]:
    """The parts of a folder."""
    return sorted(out.glob("part-*.parquet"))


def networks() -> list[int]:
    """Ids of Ray's processes that hold a model."""
    pids = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if line.startswith(b"ray::") and b"Network" in line:
                pids.append(int(entry.name))
    return pids


def half_done(process: subprocess.Popen, out: Path, parts: int) -> None:
    """Waits until half of the parts are written."""
    while len(written(out)) < parts // 2 and process.poll() is None:
        time.sleep(0.2)


def ways(
    run: str, photos: list[str], folder: Path, part: int, parts: int
) -> Iterator[tuple[str, int, Path, Callable[[Path], subprocess.Popen]]]:
    """Name, workers, folder and start function of each row."""

    def plain(workers: int, *more: str) -> Callable[[Path], subprocess.Popen]:
        return lambda out: command(run, photos, out, part, "--workers", str(workers), *more)

    ray, two = ("--engine", "ray"), plain(2, "--engine", "ray")

    def killed(out: Path) -> subprocess.Popen:
        process = two(out)
        half_done(process, out, parts)
        os.kill(networks()[0], signal.SIGKILL)
        return process

    def restarted(out: Path) -> subprocess.Popen:
        first = two(out)
        half_done(first, out, parts)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        return two(out)

    yield "here", 1, folder / "here", plain(1)
    yield "ray", 1, folder / "ray1", plain(1, *ray)
    yield "ray", 2, folder / "ray2", two
    yield "ray, one killed", 2, folder / "killed", killed
    yield "ray, restarted", 2, folder / "restarted", restarted


def main() -> int:
    """Runs the benchmark; returns 1 if an image was not predicted exactly once, or differs from the single process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("photos", type=Path)
    parser.add_argument("--part", type=int, default=512)
    parser.add_argument("--images", type=int, help="only the first N images")
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    files = sorted(str(p) for p in args.photos.iterdir())[: args.images]
    parts, rows, right = -(-len(files) // args.part), [], True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "list").write_text("\n".join(files))
        for way, workers, out, start in ways(args.run, [f"@{folder / 'list'}"], folder, args.part, parts):
            began = time.perf_counter()
            code = start(out).wait()
            seconds = time.perf_counter() - began
            answered = dataset.dataset(written(out)).to_table(["image"])["image"].to_pylist()
            ours, theirs = written(out), written(folder / "here")
            equal = [p.read_bytes() for p in ours] == [p.read_bytes() for p in theirs]
            right &= equal and code == 0 and sorted(answered) == files
            rows.append(
                {
                    "way": way,
                    "workers": workers,
                    "images": len(files),
                    "answered": len(answered),
                    "answered_once": len(set(answered)),
                    "parts": len(ours),
                    "equal_to_here": equal,
                    "seconds": round(seconds, 1),
                    "images_per_second": round(len(files) / seconds, 1),
                    **conditions(),
                }
            )
            show(rows[-1])
    keep(args.csv, rows)
    return int(not right)


if __name__ == "__main__":
    sys.exit(main())
