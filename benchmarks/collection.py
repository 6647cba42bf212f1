"""A collection answered here and on Ray Data, with 1 and 2 workers, and with workers that die: time, and equality.

    python benchmarks/collection.py RUN PHOTOS [--csv results/collection.csv]

Each row is one `labelwise predict` in a process of its own, start-up in it. `one killed`: a network gets SIGKILL once
half of the parts are written; `restarted`: the whole command does, and is given again. Every row's files are compared
byte for byte with those of this process alone.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from kept import keep
from pyarrow import dataset


def command(run: str, photos: list[str], out: Path, part: int, *more: str) -> subprocess.Popen:
    """The program at work, in a session of its own."""
    words = [
        sys.executable,
        "-m",
        "labelwise",
        "predict",
        run,
        *photos,
        "--out",
        str(out),
        "--part",
        str(part),
    ]
    return subprocess.Popen([*words, *more], stderr=subprocess.DEVNULL, start_new_session=True)


def written(out: Path) -> list[Path]:
    """The parts of a folder."""
    return sorted(out.glob("part-*.parquet"))


def networks() -> list[int]:
    """Processes of Ray that hold a network."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                told = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if told.startswith(b"ray::") and b"Network" in told:
                found.append(int(entry.name))
    return found


def half_done(process: subprocess.Popen, out: Path, parts: int) -> None:
    """Wait until half of the parts are there."""
    while len(written(out)) < parts // 2 and process.poll() is None:
        time.sleep(0.2)


def ways(
    run: str, photos: list[str], folder: Path, part: int, parts: int
) -> Iterator[tuple[str, int, Path, Callable[[Path], subprocess.Popen]]]:
    """Name, workers, folder and work of each row."""

    def plain(*more: str) -> Callable[[Path], subprocess.Popen]:
        return lambda out: command(run, photos, out, part, *more)

    def killed(out: Path) -> subprocess.Popen:
        process = command(run, photos, out, part, "--engine", "ray", "--workers", "2")
        half_done(process, out, parts)
        os.kill(networks()[0], signal.SIGKILL)
        return process

    def restarted(out: Path) -> subprocess.Popen:
        first = command(run, photos, out, part, "--engine", "ray", "--workers", "2")
        half_done(first, out, parts)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        return command(run, photos, out, part, "--engine", "ray", "--workers", "2")

    yield "here", 1, folder / "here", plain("--workers", "1")
    yield "ray", 1, folder / "ray1", plain("--engine", "ray", "--workers", "1")
    yield "ray", 2, folder / "ray2", plain("--engine", "ray", "--workers", "2")
    yield "ray, one killed", 2, folder / "killed", killed
    yield "ray, restarted", 2, folder / "restarted", restarted


def main() -> int:
    """Measure and print; 1 where an image was not answered once, or otherwise than here."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run")
    parser.add_argument("photos", type=Path)
    parser.add_argument("--part", type=int, default=512)
    parser.add_argument("--images", type=int, help="only the first so many")
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
                    "cores": os.cpu_count(),
                    "load": round(os.getloadavg()[0], 1),
                    "machine": platform.machine(),
                }
            )
            print("  ".join(f"{k} {v}" for k, v in rows[-1].items()), flush=True)
    if args.csv:
        keep(args.csv, rows)
    return int(not right)


if __name__ == "__main__":
    sys.exit(main())
