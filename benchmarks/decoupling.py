"""Time and peak memory of semantic decoupling compared with its published five-layer form.

The published form computes `[B, P, L, C]` and passes every pair of position and label through fc3. Each form runs in
a separate process with one thread and is measured in CPU seconds, which other load hardly affects; its peak is the
largest resident set minus that before the first call. Linux only.

Run: python benchmarks/decoupling.py [--labels 80] [--repeats 5] [--csv FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from labelwise.extractors import SemanticDecoupling
from labelwise.memory import keep_freed_memory
from labelwise.relations import LabelVectors
from measuring import keep, processor, resident, show


class FiveLayers(nn.Module):
    """The published computation: U, V, tanh, fc3, fc4 on all pairs, then a weighted sum of the map per label."""

    def __init__(self, channels: int, labels: int, joint: int) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.randn(labels, 300))
        self.U, self.V = nn.Linear(channels, joint, bias=False), nn.Linear(300, joint, bias=False)
        self.fc3, self.fc4 = nn.Linear(joint, joint), nn.Linear(joint, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Label features of a map."""
        positions = x.flatten(2).transpose(1, 2)
        pairs = torch.tanh(self.U(positions).unsqueeze(2) * self.V(self.vectors))
        a = self.fc4(self.fc3(pairs)).softmax(1)
        return (a * positions.unsqueeze(2)).sum(1)


class Fused(nn.Module):
    """The same function as implemented in this library."""

    def __init__(self, channels: int, labels: int, joint: int) -> None:
        super().__init__()
        vectors = LabelVectors(labels, given=torch.randn(labels, 300))
        self.head = SemanticDecoupling(
            channels, labels, vectors, joint=joint, map_dropout=0.0, normalise="none"
        )

    def forward(self, x: Tensor) -> Tensor:
        """Label features of a map."""
        return self.head(x).features


FORMS: dict[str, type[nn.Module]] = {"five layers": FiveLayers, "fused": Fused}


def measure(form: str, backward: bool, args: argparse.Namespace) -> dict[str, float]:
    """Median processor seconds and peak megabytes of one form, in this process."""
    if args.keep_freed:
        keep_freed_memory()
    torch.manual_seed(0)
    module = FORMS[form](args.channels, args.labels, args.joint)
    x = torch.rand(args.batch, args.channels, args.side, args.side, requires_grad=backward)

    def work() -> None:
        module.zero_grad(set_to_none=True)
        with torch.set_grad_enabled(backward):
            out = module(x)
        if backward:
            out.square().mean().backward()

    # A small call initialises threads and kernels, so that they are not measured.
    small = FORMS[form](8, 2, 4)
    small(torch.rand(1, 8, 2, 2)).mean().backward()
    before = resident("VmRSS")
    work()
    peak = resident("VmHWM") - before
    return {"seconds": median(work, args.repeats), "megabytes": peak}


def median(work: Callable[[], None], repeats: int) -> float:
    """Median CPU seconds of a function."""
    times = []
    for _ in range(repeats):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return statistics.median(times)


def measure_in_process(form: str, backward: bool) -> dict[str, float]:
    """`measure` in a separate process."""
    command = [sys.executable, __file__, *sys.argv[1:], "--form", form, *(["--backward"] if backward else [])]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def largest_difference(args: argparse.Namespace) -> float:
    """Largest difference between the two forms' features, with equal weights."""
    naive, fused = (kind(args.channels, args.labels, args.joint) for kind in FORMS.values())
    state = naive.state_dict()
    renamed = {f"head.scores.{k}": v for k, v in state.items() if not k.endswith("bias") and k != "vectors"}
    fused.load_state_dict({**renamed, "head.scores.vectors.given": state["vectors"]})
    x = torch.rand(1, args.channels, args.side, args.side)
    with torch.no_grad():
        return (naive(x) - fused(x)).abs().max().item()


def main() -> None:
    """Runs the benchmark and prints ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    numbers = {"labels": 80, "side": 14, "channels": 2048, "joint": 512, "batch": 2, "repeats": 5}
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--keep-freed", action="store_true", help="keep freed memory, as training here does")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--form", choices=FORMS, help=argparse.SUPPRESS)
    parser.add_argument("--backward", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.form:
        print(json.dumps(measure(args.form, args.backward, args)))
        return
    sizes = {k: getattr(args, k) for k in numbers}
    where = {
        "threads": 1,
        "torch": torch.__version__,
        "processor": processor(),
        "keep_freed": args.keep_freed,
    }
    show({**sizes, **where})
    print(f"largest difference of features with equal weights: {largest_difference(args):.2g}")
    rows = []
    for backward in (False, True):
        results = {form: measure_in_process(form, backward) for form in FORMS}
        naive = results["five layers"]
        for form, row in results.items():
            rows.append({
                "form": form,
                "pass": "forward + backward" if backward else "forward",
                "cpu_milliseconds": round(1000 * row["seconds"], 1),
                "megabytes": round(row["megabytes"], 1),
                "times_faster": round(naive["seconds"] / row["seconds"], 1),
                "times_less_memory": round(naive["megabytes"] / max(row["megabytes"], 0.1), 1),
            })  # fmt: skip
            show(rows[-1])
    keep(args.csv, [{**row, **sizes, **where} for row in rows])


if __name__ == "__main__":
    main()
