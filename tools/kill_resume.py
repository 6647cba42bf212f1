"""Kills a training run many times at random moments, resumes it each time, and compares it with an uninterrupted run.

Prints a line per kill and whether the final weights are equal byte for byte; exit code 0 only if they are.

Run: python tools/kill_resume.py --kills 20
     python tools/kill_resume.py --kills 5 --data csv:labels.csv --words "--backbone resnet18 --epochs 3"
"""

from __future__ import annotations

import argparse
import hashlib
import random
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from labelwise.runs.run import WEIGHTS
from labelwise.training.checkpoint import STATE, load_state

ARGUMENTS = (
    "--backbone resnet10t --weights none --image-size 64 --epochs 12 --batch-size 16 --set save_every=5 "
    "--set extractor.dim=64 --set extractor.ffn=64 --set augment.randaugment_ops=1"
)


def main() -> int:
    """Runs the comparison of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="kills that must happen (default: 20)")
    parser.add_argument("--data", default="digits:?train=256&val=64&test=64&size=64", help="SOURCE")
    parser.add_argument("--words", default=ARGUMENTS, help="further arguments of `labelwise train`")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the kills")
    parser.add_argument("--out", type=Path, help="folder of the two runs (default: a temporary one)")
    args = parser.parse_args()
    chance = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as scratch:
        base = args.out or Path(scratch)
        program = [sys.executable, "-m", "labelwise", "train", "--no-report"]
        command = [*program, "--data", args.data, *shlex.split(args.words)]
        started = time.perf_counter()
        subprocess.run([*command, "--out", str(base / "whole")], check=True)
        print(f"uninterrupted: {time.perf_counter() - started:.1f} s", flush=True)
        command += ["--out", str(base / "killed"), "--resume"]
        kills = _train_through_kills(command, base, args.kills, chance)
        whole, killed = (_digest(base / name / WEIGHTS) for name in ("whole", "killed"))
    equal = whole == killed and kills == args.kills
    print(f"{kills} kills; weights {whole} and {killed}: {'equal' if whole == killed else 'DIFFERENT'}")
    return 0 if equal else 1


def _train_through_kills(command: list[str], base: Path, kills: int, chance: random.Random) -> int:
    """Trains to the end with a number of kills, each after a save; returns the number of kills before the end."""
    state = base / "killed" / STATE
    total = load_state(base / "whole" / STATE)[0].step
    for kill in range(kills):
        before = load_state(state)[0].step if state.exists() else 0
        stamp = state.stat().st_mtime_ns if state.exists() else 0
        goal = before + (total - before) / (kills - kill + 1) * chance.uniform(0, 1)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not _reached(state, stamp, goal):
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.3))
        process.kill()
        if process.wait() != -9:
            return kill
        step = load_state(state)[0].step
        print(f"kill {kill + 1}: from step {before}, killed at or after {step} of {total}", flush=True)
    subprocess.run(command, check=True)
    return kills


def _reached(state: Path, stamp: int, goal: float) -> bool:
    return state.exists() and state.stat().st_mtime_ns > stamp and load_state(state)[0].step >= goal


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


if __name__ == "__main__":
    sys.exit(main())
