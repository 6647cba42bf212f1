"""Kills a training many times at random moments, resumes it each time, and compares it with an uninterrupted one.

A single training is killed a random time after it has saved a state. A training in stages goes on from the plan of the
uninterrupted one, with a cache of its own but for its graphs: their time decides once whether a machine uses them, and
another decision is another run. It is killed at moments drawn uniformly over the time of its stages, of the
evaluation on test and of the report. From the end of the first stage on, `labelwise predict` must answer after each
kill.

Prints a line per kill. Exit code 0 only if every kill happened, every prediction was made, and all files are equal byte
for byte, without states, reports and times.

Run: python tools/kill_resume.py --kills 20
     python tools/kill_resume.py --kills 5 --data csv:labels.csv --words "--backbone resnet18 --epochs 3 --no-report"
     python tools/kill_resume.py --data csv:labels.csv --words "--time 10m" --image photo.jpg
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from forked import ended, is_alive, start
from labelwise.training.checkpoint import PREVIOUS, STATE, load_state

ARGUMENTS = (
    "--backbone resnet10t --weights none --image-size 64 --epochs 12 --batch-size 16 --set save_every=5 "
    "--set extractor.dim=64 --set extractor.ffn=64 --set augment.randaugment_ops=1 --no-report"
)
PROGRAM = [sys.executable, "-m", "labelwise"]
IMPORTED = ("labelwise.anytime.ladder", "labelwise.inference", "labelwise.reports", "pandas")
TIMES = ("seconds", "images_per_second")
"""Entries of JSON files that differ between two equal runs."""
LAST = "evaluation on test, report"


def main() -> int:
    """Runs the comparison of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="kills that must happen (default: 20)")
    parser.add_argument("--data", default="digits:?train=256&val=64&test=64&size=64", help="SOURCE")
    parser.add_argument("--words", default=ARGUMENTS, help="further arguments of `labelwise train`")
    parser.add_argument(
        "--image", type=Path, help="a photograph to predict after each kill of a training in stages"
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed of the kills")
    parser.add_argument("--out", type=Path, help="folder of the two runs (default: a temporary one)")
    args = parser.parse_args()
    chance = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as scratch:
        base = args.out or Path(scratch)
        killed, whole = base / "run", base / "whole"
        command = [*PROGRAM, "train", "--data", args.data, *shlex.split(args.words), "--out", str(killed)]
        started = time.time()
        _use_cache(base / "whole-cache")
        subprocess.run(command, check=True)
        ended = time.time()
        killed.rename(whole)  # the killed run has the same path, which its settings hold
        print(f"uninterrupted: {ended - started:.1f} s", flush=True)
        _use_cache(base / "killed-cache")
        plan = whole / "plan.json"
        if plan.is_file():
            if (graphs := base / "whole-cache" / "engines").is_dir():
                shutil.copytree(graphs, base / "killed-cache" / "engines")
            rest = ended - plan.stat().st_mtime
            kills, refused = _train_through_stages(killed, plan, rest, args.kills, args.image, chance)
        else:
            kills, refused = _train_through_kills([*command, "--resume"], base, args.kills, chance), 0
        ours, theirs = _files(killed), _files(whole)
    different = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    print(
        f"{kills} kills, {refused} refused predictions; {len(theirs)} files, different: {different or 'none'}"
    )
    return 0 if kills == args.kills and not refused and not different else 1


def _use_cache(folder: Path) -> None:
    """Makes the programs that follow store maps, graphs and fingerprints in a folder."""
    os.environ["LABELWISE_CACHE"] = str(folder)


def _train_through_kills(command: list[str], base: Path, kills: int, chance: random.Random) -> int:
    """Trains to the end with a number of kills, each after a save; returns the number of kills before the end."""
    state = base / "run" / STATE
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


def _train_through_stages(
    out: Path, plan: Path, rest: float, kills: int, image: Path | None, chance: random.Random
) -> tuple[int, int]:
    """Trains the stages of a plan to the end with a number of kills.

    Args:
        out: the run's folder.
        plan: the plan of an uninterrupted run with its times.
        rest: seconds of that run after its last stage.
        kills: how many.
        image: a photograph to predict after each kill.
        chance: draws the moments.

    Returns:
        the number of kills before the end, and of predictions that failed after the first stage.
    """
    stored = json.loads(plan.read_text(encoding="utf-8"))
    left_out = [row for row in stored["ladder"] if "left_out" in row]  # decided by time, so taken over
    out.mkdir(parents=True)
    (out / "plan.json").write_text(json.dumps({**stored, "ladder": left_out}), encoding="utf-8")
    parts = [(row["stage"], row["seconds"]) for row in stored["ladder"] if "seconds" in row] + [(LAST, rest)]
    train, predict = ["train", "--out", str(out), "--resume"], ["predict", str(out), str(image)]
    refused, log = 0, out.with_name("killed.log")
    for name in IMPORTED:
        import_module(name)  # once, for every forked program
    for kill, (stage, wait) in enumerate(_moments(parts, kills, chance)):
        earlier = {name for name, _ in parts[: [name for name, _ in parts].index(stage)]}
        log.write_bytes(b"")
        (process,) = start(train, log)
        while is_alive(process) and not (b"plan for" in log.read_bytes() and earlier <= _done(out)):
            time.sleep(0.01)
        time.sleep(wait)
        os.kill(process, signal.SIGKILL)
        if ended([process]) != [-signal.SIGKILL]:
            print(f"kill {kill + 1}: the program had ended: {log.read_text(encoding='utf-8')}")
            return kill, refused
        finished, answer = _done(out), "no prediction yet"
        if image is not None and parts[0][0] in finished:
            log.write_bytes(b"")
            is_answered = ended(start(predict, log)) == [0] and log.stat().st_size > 0
            answer = "predicts" if is_answered else f"REFUSES: {log.read_text(encoding='utf-8')}"
            refused += not is_answered
        current = next((name for name, _ in parts if name not in finished), LAST)
        print(f"kill {kill + 1}: in {current}, {wait:.1f} s after {stage} went on; {answer}", flush=True)
    subprocess.run([*PROGRAM, *train], check=True)
    return kills, refused


def _moments(parts: list[tuple[str, float]], kills: int, chance: random.Random) -> list[tuple[str, float]]:
    """For each kill the part in which it falls and the seconds since that part began or the kill before it."""
    moments, (end, last, previous) = [], (0.0, "", 0.0)
    drawn = sorted(chance.uniform(0, sum(seconds for _, seconds in parts)) for _ in range(kills))
    for name, seconds in parts:
        start, end = end, end + seconds
        for moment in (m for m in drawn if start <= m < end):
            moments.append((name, moment - (previous if last == name else start)))
            last, previous = name, moment
    return moments


def _done(out: Path) -> set[str]:
    """Names of the stages that the plan records."""
    return {row["stage"] for row in json.loads((out / "plan.json").read_text(encoding="utf-8"))["ladder"]}


def _files(folder: Path) -> dict[str, Any]:
    """Contents of the files that equal runs have in common, JSON without times."""
    contents: dict[str, Any] = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = file.relative_to(folder).as_posix()
        if name.endswith((STATE, PREVIOUS, ".html", ".lock")):
            continue
        if file.suffix == ".json":
            contents[name] = _without_times(json.loads(file.read_text(encoding="utf-8")))
        elif file.suffix == ".jsonl":
            lines = file.read_text(encoding="utf-8").splitlines()
            contents[name] = [_without_times(json.loads(line)) for line in lines]
        else:
            contents[name] = file.read_bytes()
    return contents


def _without_times(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_times(entry) for key, entry in value.items() if key not in TIMES}
    return [_without_times(entry) for entry in value] if isinstance(value, list) else value


if __name__ == "__main__":
    sys.exit(main())
