"""Training with 1, 2 and 4 processes of this machine: equal loss curves, and images per second of each.

Every process gets its share of the same global batches. Augmentation and dropout, which are random in each process,
are off, so that a step depends only on its global batch.

Run: python benchmarks/processes.py [--processes 1 2 4] [--csv results/processes.csv]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from labelwise.data import digits
from labelwise.data.table import write_table
from measuring import keep, processor

SAME = [
    "extractor.dropout=0",
    "extractor.map_dropout=0",
    "augment.flip=0",
    "augment.multi_scale=[]",
    "log_every=1",
]
WITHIN = 1e-4


def train(count: int, table: Path, out: Path, args: argparse.Namespace) -> tuple[list[float], float]:
    """Loss of each step, and images per second, of a run with `count` processes."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    arguments = ["-m", "labelwise", "train", "--data", f"parquet:{table}", "--out", str(out), "--no-report",
             "--backbone", args.backbone, "--weights", "none", "--image-size", str(args.size),
             "--batch-size", str(args.batch), "--epochs", str(args.epochs)]  # fmt: skip
    arguments += [part for setting in SAME for part in ("--set", setting)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launch, *arguments], capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    rate = json.loads((out / "results.json").read_text(encoding="utf-8"))["training"]["images_per_second"]
    return [line["loss"] for line in lines if line["kind"] == "step"], rate


def main() -> None:
    """Trains with each number of processes; fails if a curve differs from the first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--backbone", default="test_vit")
    for name, default in {"size": 96, "batch": 32, "epochs": 2, "images": 512}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    rows, first = [], []
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "scenes.parquet"
        write_table(digits.make_scenes(train=args.images, val=64, test=0), table)
        for count in args.processes:
            curve, rate = train(count, table, Path(folder) / str(count), args)
            first = first or curve
            difference = max(abs(a - b) for a, b in zip(first, curve, strict=True))
            comparison = f"{len(curve)} steps, losses within {difference:.1e} of the first"
            print(f"{count} processes  {rate:8.1f} images/s  {comparison}", flush=True)
            rows.append({"processes": count, "images_per_second": rate, "steps": len(curve),
                         "largest_difference": f"{difference:.1e}",
                         "backbone": args.backbone, "image_size": args.size, "batch": args.batch, 
                         "cores": os.cpu_count(),
                         "threads": 1, "torch": torch.__version__, "processor": processor()})  # fmt: skip
    keep(args.csv, rows)
    if any(float(row["largest_difference"]) > WITHIN for row in rows):
        sys.exit(f"the curves differ by more than {WITHIN:g}")


if __name__ == "__main__":
    main()
