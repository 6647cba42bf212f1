"""Interrupts real training runs at seeded moments, resumes them, and compares them with an uninterrupted run.

Kinds of run: frozen, fine-tuned, dsrb, continual, and two processes. Faults: kill -9, SIGTERM, a full disk, unreadable
images, a killed decoding worker, one of two processes killed, and a file of the run truncated or its end filled with
zeros. Each trial runs the program in a forked process, interrupts it, resumes it with --resume, and compares
model.safetensors byte for byte. Prints and writes a row per kind and fault; exit code 0 only if nothing was lost.

Run: nice -n 5 python tools/faults.py --trials 200 --csv results/faults.csv
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import os
import pkgutil
import platform
import random
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType

from forked import children_of, ended, is_alive, photographs, start
from kept import keep
from labelwise.errors import LabelwiseError
from labelwise.runs.run import KEPT, WEIGHTS
from labelwise.training.checkpoint import PREVIOUS, STATE, load_state

PLAIN = shlex.split(
    "--backbone test_vit --weights none --image-size 32 --epochs 2 --batch-size 8 --no-report --set save_every=2 "
    "--set log_every=1 --set workers=0"
)
TINY = [*PLAIN, *shlex.split("--set extractor.dim=16 --set extractor.ffn=16 --set extractor.dropout=0.2")]
STREAM = shlex.split(
    "--backbone test_vit --weights none --image-size 32 --method dlfl --strategy prs --memory 8 --tasks 1,1,1 "
    "--set extractor.dim=16 --set extractor.ffn=16 --set continual.batch=4 --set save_every=1"
)
CONTINUAL = "continual"
PAIR = "two-process"
KINDS: dict[str, list[str]] = {
    "frozen": ["train", *TINY, "--freeze-backbone"],
    "fine-tuned": ["train", *TINY],
    "dsrb": ["train", *PLAIN, "--method", "dsrb", "--known-proportion", "0.6"],
    CONTINUAL: ["continual", *STREAM],
    PAIR: ["train", *TINY],
}
FAULTS = ("kill", "sigterm", "disk", "read", "worker", "rank", "cut", "zeros")
FILES = (STATE, PREVIOUS, KEPT, WEIGHTS, "config.yaml", "labels.json", "metrics.jsonl")


@dataclass
class Tally:
    """Outcomes of the trials of a kind under a fault, and the longest time from a signal to the end."""

    counts: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0


@dataclass(frozen=True)
class Scene:
    """One kind of run with its uninterrupted run.

    Args:
        kind: one of `KINDS`.
        base: folder of all runs.
        seconds: duration of the uninterrupted run.
    """

    kind: str
    base: Path
    seconds: float

    def arguments(self, out: Path, *more: str) -> list[str]:
        """The command's arguments."""
        command, *rest = KINDS[self.kind]
        source = "--stream" if command == CONTINUAL else "--data"
        return [command, source, f"csv:{self.base}/photos/labels.csv", "--out", str(out), *rest, *more]

    @property
    def processes(self) -> int:
        """How many processes train."""
        return 2 if self.kind == PAIR else 1

    @property
    def expected(self) -> bytes:
        """The final weights that every trial must reproduce."""
        return (self.base / f"whole-{self.kind}" / WEIGHTS).read_bytes()


def wait_for_moment(scene: Scene, chance: random.Random, pids: list[int]) -> None:
    """Waits until a random moment of the run."""
    ends = time.monotonic() + scene.seconds * chance.uniform(0.05, 1.0)
    while time.monotonic() < ends and all(is_alive(pid) for pid in pids):
        time.sleep(0.001)


def _failing_disk(chance: random.Random, writes: int) -> Callable[[], None]:
    """Makes every fsync fail from a random one on, as on a full disk."""
    left = [chance.randrange(writes)]

    def prepare() -> None:
        original = os.fsync

        def fsync(descriptor: int) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            original(descriptor)

        os.fsync = fsync

    return prepare


def _failing_reads(chance: random.Random, reads: int) -> Callable[[], None]:
    """Makes every image fail with an input/output error from a random one on."""
    from labelwise.data import decoding

    left = [chance.randrange(reads)]

    def prepare() -> None:
        original = decoding._open_file

        def opened(source: Path | str | bytes, name: str) -> io.BufferedReader | io.BytesIO:
            left[0] -= 1
            if left[0] < 0:
                error = OSError(errno.EIO, os.strerror(errno.EIO), name)
                raise decoding.UnreadableImage(
                    f"{name} cannot be opened ({error.strerror})", "a readable file", "check it"
                )
            return original(source, name)

        decoding._open_file = opened

    return prepare


def break_it(
    scene: Scene, fault: str, out: Path, log: Path, chance: random.Random
) -> tuple[list[int], float]:
    """Starts and interrupts a run; returns exit codes of its processes, and the seconds from the signal to the end."""
    prepare, more = None, []
    if fault == "disk":
        prepare = _failing_disk(chance, 40)
    if fault == "read":
        prepare, more = _failing_reads(chance, 120), ["--set", "data.max_unreadable=1"]
    if fault == "worker":
        more = ["--set", "workers=1"]
    pids = start(scene.arguments(out, *more), log, prepare, scene.processes)
    if fault in ("disk", "read"):
        return ended(pids), 0.0
    if fault == "worker":
        ends = time.monotonic() + scene.seconds * 3
        while is_alive(pids[0]) and not children_of(pids[0]) and time.monotonic() < ends:
            time.sleep(0.002)
    wait_for_moment(scene, chance, pids)
    victims = {"worker": children_of(pids[0])[:1], "rank": [chance.choice(pids)]}.get(fault, pids)
    signalled = time.monotonic()
    for pid in victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM if fault == "sigterm" else signal.SIGKILL)
    return ended(pids), time.monotonic() - signalled


def damage(out: Path, fault: str, chance: random.Random) -> str:
    """Truncates one file of the run, or fills its end with zeros, as a power cut may; returns a description."""
    file = out / chance.choice([name for name in FILES if (out / name).is_file()])
    data = file.read_bytes()
    length = int(len(data) * chance.choice([0.0, 0.1, 0.5, 0.9, 0.999, chance.random()]))
    file.write_bytes(data[:length] + (bytes(len(data) - length) if fault == "zeros" else b""))
    return f"{file.name} from byte {length} of {len(data)}"


def trial(scene: Scene, fault: str, number: int, chance: random.Random, tally: Tally) -> tuple[str, str]:
    """One fault and the resumed run: `equal`, `refused` (intact, but not resumed) or `lost`, and a note."""
    out, log = scene.base / f"trial{number}", scene.base / f"trial{number}.log"
    try:
        hit = "kill" if fault in ("cut", "zeros") else fault
        codes, seconds = break_it(scene, hit, out, log, chance)
        tally.slowest = max(tally.slowest, seconds)
        note = f"codes {codes}"
        if fault in ("cut", "zeros") and (out / "config.yaml").is_file():
            note = damage(out, fault, chance)
        done = any((out / name).is_file() for name in ("results.json", "continual.json"))
        if fault == "sigterm" and not set(codes) <= ({0, 75, -15} if done else {0, 75}):
            return "lost", f"SIGTERM ended with {codes}; {end_of(log)}"
        if fault not in ("cut", "zeros") and not _opens(out):
            return "lost", "a state that cannot be opened"
        resumed = ended(start(scene.arguments(out, "--resume"), log, None, scene.processes))
        if any(resumed):
            outcome = "refused" if all(code == 2 for code in resumed) else "lost"
            return outcome, f"{note}; {end_of(log)}"
        if (out / WEIGHTS).read_bytes() != scene.expected:
            return "lost", f"{note}; other weights"
        return "equal", note
    except TimeoutError as error:
        return "lost", f"{error}; {end_of(log)}"
    finally:
        shutil.rmtree(out, ignore_errors=True)


def end_of(log: Path) -> str:
    """The last lines that the program wrote."""
    return log.read_text(errors="replace").strip()[-300:]


def _opens(out: Path) -> bool:
    for name in (STATE, PREVIOUS):
        if (out / name).is_file():
            try:
                load_state(out / name)
            except LabelwiseError:
                return False
    return True


def scene_of(kind: str, base: Path) -> Scene:
    """The uninterrupted run of a kind."""
    scene, started = Scene(kind, base, 0.0), time.monotonic()
    out, log = base / f"whole-{kind}", base / f"whole-{kind}.log"
    codes = ended(start(scene.arguments(out), log, None, scene.processes))
    if any(codes):
        raise SystemExit(f"{kind}: {log.read_text(errors='replace')}")
    return Scene(kind, base, time.monotonic() - started)


def faults_of(kind: str) -> list[str]:
    """Faults that apply to a kind."""
    left_out = {
        "frozen": {"read", "worker", "rank"},  # it reads stored maps
        CONTINUAL: {"read", "worker", "rank"},
        PAIR: {"worker"},
    }.get(kind, {"rank"})
    return [fault for fault in FAULTS if fault not in left_out]


def measure(
    trials: int, seed: int, base: Path, kinds: list[str], faults: list[str]
) -> dict[tuple[str, str], Tally]:
    """Runs all trials, distributed evenly over kinds and over each kind's faults."""
    tallies: dict[tuple[str, str], Tally] = {}
    photographs(base / "photos")
    os.environ["LABELWISE_CACHE"] = str(base / "cache")
    number = 0
    for index, kind in enumerate(kinds):
        scene = scene_of(kind, base)
        count = trials // len(kinds) + (index < trials % len(kinds))
        for i in range(count):
            fault = faults_of(kind)[i % len(faults_of(kind))]
            if fault not in faults:
                continue
            number += 1
            tally = tallies.setdefault((kind, fault), Tally())
            outcome, note = trial(scene, fault, number, random.Random(f"{seed} {kind} {i}"), tally)
            tally.counts[outcome] += 1
            if outcome != "equal":
                print(f"{kind}, {fault}, trial {number}: {outcome}: {note}", flush=True)
    return tallies


def row_of(kind: str, fault: str, seed: int, tally: Tally) -> dict[str, object]:
    """The row of a kind and fault."""
    counts = {name: tally.counts[name] for name in ("equal", "refused", "lost")}
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    return {
        **{"kind": kind, "fault": fault, "seed": seed, "trials": sum(counts.values()), **counts},
        "slowest_end_s": round(tally.slowest, 2),
        "conditions": f"32 photographs, test_vit, 1 thread, {machine}, beside other work",
    }


def _training_modules(package: ModuleType) -> list[str]:
    """All modules that a training may import."""
    names = [module.name for module in pkgutil.walk_packages(package.__path__, "labelwise.")]
    left_out = ("labelwise.serving", "labelwise.__main__", "labelwise.export", "labelwise.reports")
    return [name for name in names if not name.startswith(left_out)]


def main() -> int:
    """Runs the trials of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trials", type=int, default=200, help="over all kinds (default: 200)")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the moments")
    parser.add_argument("--kinds", default=",".join(KINDS), help="comma-separated subset")
    parser.add_argument("--faults", default=",".join(FAULTS), help="comma-separated subset")
    parser.add_argument("--csv", type=Path, help="table to write")
    args = parser.parse_args()
    import torch

    import labelwise

    for name in ("pandas", "torch.distributed.algorithms.join", *_training_modules(labelwise)):
        import_module(name)  # once, for every forked trial
    torch.set_num_threads(1)
    started = time.process_time()
    with tempfile.TemporaryDirectory() as scratch:
        chosen = args.kinds.split(","), args.faults.split(",")
        tallies = measure(args.trials, args.seed, Path(scratch), *chosen)
    total: Counter[str] = sum((tally.counts for tally in tallies.values()), Counter())
    for (kind, fault), tally in tallies.items():
        print(f"{kind:12} {fault:8} " + "  ".join(f"{k} {v}" for k, v in sorted(tally.counts.items())))
    spent = time.process_time() - started + sum(os.times()[2:4])
    print(f"{total.total()} trials: {dict(total)}; {spent:.0f} s of processor time")
    keep(args.csv, [row_of(*which, args.seed, tally) for which, tally in tallies.items()])
    return 0 if set(total) == {"equal"} else 1


if __name__ == "__main__":
    sys.exit(main())
