"""Kills `embed` at random moments, resumes it each time, and compares the collection with an uninterrupted one.

Run: python tools/embed_kills.py RUN PHOTOS [--kills 20] [--images 240] [--csv results/embed-kills.csv]

A process is killed by SIGKILL a random time after it has added a part, or, every third time, a random time after its
start. Exit code 0 only if every image is in both tables once and all rows are equal.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import torch

from kept import keep, show
from labelwise.collection.embedding import embed
from labelwise.inference.output import find_images


def started(run: str, files: list[str], out: Path, part: int) -> int:
    """Embeds in a forked process, which has all modules but LanceDB, whose threads do not survive a fork."""
    if (child := os.fork()) == 0:
        torch.set_num_threads(1)
        embed(run, files, out, every=True, part=part, batch_size=part)
        os._exit(0)
    return child


def versions(out: Path) -> int:
    """Number of commits to the table of images."""
    return sum(1 for _ in out.glob("images.lance/_versions/*"))


def main() -> int:
    """Runs the comparison of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("photos")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--images", type=int, default=240)
    parser.add_argument("--part", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    chance, files = random.Random(args.seed), find_images([args.photos])[: args.images]
    with tempfile.TemporaryDirectory() as scratch:
        whole, killed = Path(scratch) / "whole", Path(scratch) / "killed"
        os.waitpid(started(args.run, files, whole, args.part), 0)
        kills = early = 0
        while kills < args.kills:
            before, at_start = versions(killed), kills % 3 == 2
            child, begun = started(args.run, files, killed, args.part), time.perf_counter()
            delay = chance.uniform(0, 4 if at_start else 0.6)
            while not at_start and versions(killed) == before and not os.waitpid(child, os.WNOHANG)[0]:
                time.sleep(0.005)
            time.sleep(delay)
            try:
                os.kill(child, signal.SIGKILL)
                _, status = os.waitpid(child, 0)
            except (ProcessLookupError, ChildProcessError):
                break  # it had ended
            if not os.WIFSIGNALED(status):
                break
            kills, early = kills + 1, early + (versions(killed) == before)
            seconds = time.perf_counter() - begun
            print(f"kill {kills} after {seconds:.1f} s, {versions(killed)} commits", flush=True)
        os.waitpid(started(args.run, files, killed, args.part), 0)
        row = {"kills": kills, "without_a_new_part": early, **compared(whole, killed, len(files))}
    show(row)
    keep(args.csv, [{**row, "part": args.part, "seed": args.seed}])
    return 0 if row["rows_equal"] and row["images_once"] and kills == args.kills else 1


def compared(whole: Path, killed: Path, images: int) -> dict[str, object]:
    """Rows of both collections."""
    from labelwise.collection.store import FolderStore

    ours, theirs = FolderStore.open(killed), FolderStore.open(whole)
    paths = ours.images.to_arrow()["path"].to_pylist()
    cells = ours.features.to_arrow().select(["path", "label"]).to_pylist()
    once = len(paths) == images == len(set(paths))
    once &= len({(c["path"], c["label"]) for c in cells}) == len(cells)
    equal = all(
        getattr(ours, name).to_arrow().equals(getattr(theirs, name).to_arrow())
        for name in ("images", "features")
    )
    return {"images": len(paths), "features": len(cells), "images_once": once, "rows_equal": equal}


if __name__ == "__main__":
    sys.exit(main())
