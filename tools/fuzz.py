"""Coverage-guided fuzzing of every reader with damaged and hostile files.

Each reader runs in a separate process, so that a crash is a finding too. An input that covers a new transition between
lines is kept and mutated further. Exit code 0 only without findings.

Run: python tools/fuzz.py [--inputs 100000] [--seconds 600] [--seed 0] [--only csv] [--csv results/fuzz.csv]
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import platform
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "fuzz")]

import torch  # noqa: E402
from fuzz_mutate import mutated  # noqa: E402
from fuzz_targets import Target, targets  # noqa: E402
from fuzz_verdict import Verdict, judge  # noqa: E402

from kept import keep, show  # noqa: E402

SOURCE = str(ROOT / "src" / "labelwise")
SLOW = {"nuswide": 0.1}
"""Readers of many files, which get a smaller share of the inputs."""
EXTRA_MEMORY = 3 << 30
"""Bytes of address space beyond those of the start; larger allocations fail, as on a small machine."""


@dataclass
class Campaign:
    """The results of one reader's inputs."""

    name: str
    ends: Counter[str] = field(default_factory=Counter)
    findings: dict[str, bytes] = field(default_factory=dict)
    kept: int = 0
    steps: int = 0
    seconds: float = 0.0


class Steps:
    """The transitions between lines of the library that a call executes."""

    def __init__(self) -> None:
        self.seen: set[tuple[CodeType, int, int]] = set()
        self.new = 0
        self._last: dict[int, int] = {}

    def __enter__(self) -> None:
        self.new = 0
        sys.settrace(self._call)

    def __exit__(self, *_: Any) -> None:
        sys.settrace(None)
        self._last.clear()

    def _call(self, frame: FrameType, _event: str, _arg: Any) -> Any:
        if not frame.f_code.co_filename.startswith(SOURCE):
            return None
        self._last[id(frame)] = 0
        return self._line

    def _line(self, frame: FrameType, event: str, _arg: Any) -> Any:
        if event == "line":
            step = (frame.f_code, self._last.get(id(frame), 0), frame.f_lineno)
            self._last[id(frame)] = frame.f_lineno
            if step not in self.seen:
                self.seen.add(step)
                self.new += 1
        return self._line


def campaign(target: Target, inputs: int, seed: int, seconds: float, last: Path) -> Campaign:
    """Runs one reader on its seeds, then on mutations of seeds and of inputs with new coverage."""
    chance = random.Random(f"{seed} {target.name}")
    result, steps = Campaign(target.name), Steps()
    pool = list(target.seeds)
    queue = list(target.seeds)
    started = time.process_time()
    while sum(result.ends.values()) < inputs and time.process_time() - started < seconds:
        if queue:
            data = queue.pop()
        else:
            base = pool if chance.random() < 0.5 else target.seeds
            data = mutated(chance.choice(base), chance, target.seeds)
        last.write_bytes(data)
        with steps:
            verdict = judge(lambda data=data: target.call(data))  # type: ignore[misc]
        note(result, verdict, data)
        if steps.new and data not in target.seeds and len(data) < 1 << 15:
            pool.append(data)
    result.kept, result.steps = len(pool) - len(target.seeds), len(steps.seen)
    result.seconds = time.process_time() - started
    return result


def note(result: Campaign, verdict: Verdict, data: bytes) -> None:
    """Counts a verdict; of findings with the same message the shortest input is kept."""
    result.ends[verdict.end] += 1
    if verdict.end == "finding":
        known = result.findings.get(verdict.message)
        if known is None or len(data) < len(known):
            result.findings[verdict.message] = data


def child(target: Target, inputs: int, seed: int, seconds: float, last: Path, out: Any) -> None:
    """Runs a campaign in this process with a bound on memory, and sends its result."""
    page = os.sysconf("SC_PAGE_SIZE")
    sizes = Path("/proc/self/statm")
    if sizes.exists():
        most = int(sizes.read_text().split()[0]) * page + EXTRA_MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    # Decoders print warnings about damaged files.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    out.send(campaign(target, inputs, seed, seconds, last))


def guarded(target: Target, inputs: int, seed: int, seconds: float, scratch: Path) -> Campaign:
    """Runs a campaign in a separate process; a crash or a hang of the process is a finding."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    last = scratch / "last"
    process = context.Process(target=child, args=(target, inputs, seed, seconds, last, sender))
    process.start()
    sender.close()
    try:
        if receiver.poll(20 * seconds + 60):
            return receiver.recv()
        message = "the process hangs"
    except EOFError:
        process.join()
        message = f"the process ended with code {process.exitcode}"
    finally:
        process.kill()
        process.join()
    failed = Campaign(target.name)
    note(failed, Verdict("finding", message), last.read_bytes())
    return failed


def write_findings(result: Campaign, folder: Path) -> None:
    """Writes the inputs of findings, to inspect and to add to the corpus."""
    for message, data in result.findings.items():
        file = folder / result.name / hashlib.sha256(data).hexdigest()[:12]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        print(f"    {message}\n      {file}")


def main() -> int:
    """Runs all campaigns and prints a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000, help="total (default: 100000)")
    parser.add_argument("--seconds", type=float, default=1200, help="total CPU time (default: 1200)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="prefix of readers' names")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "fuzz-findings")
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        every = targets(Path(scratch))
        chosen = [t for t in every if t.name.startswith(args.only or "")]
        if not chosen:
            parser.error(
                f"--only {args.only}; expected the start of one of {', '.join(t.name for t in every)}"
            )
        shares = [next((s for n, s in SLOW.items() if t.name.startswith(n)), 1.0) for t in chosen]
        for target, share in zip(chosen, shares, strict=True):
            inputs = -(-int(args.inputs * share) // int(sum(shares)))
            result = guarded(target, inputs, args.seed, args.seconds * share / sum(shares), Path(scratch))
            row = {
                "reader": result.name,
                "inputs": sum(result.ends.values()),
                **{end: result.ends[end] for end in ("accepted", "refused", "finding")},
                "kept": result.kept,
                "steps": result.steps,
                "cpu_seconds": round(result.seconds, 1),
            }
            show(row)
            write_findings(result, args.keep)
            rows.append(row)
    total = {name: round(sum(float(r[name]) for r in rows), 1) for name in rows[0] if name != "reader"}
    print("all: " + "  ".join(f"{name} {value:g}" for name, value in total.items()))
    conditions = {"seed": args.seed, "python": platform.python_version(), "machine": platform.machine()}
    keep(args.csv, [{**row, **conditions} for row in rows])
    return 1 if total["finding"] else 0


if __name__ == "__main__":
    sys.exit(main())
