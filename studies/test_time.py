"""Gain and cost of test-time augmentation on photographs: test mAP and images per second of predict.

Run: python studies/test_time.py --work FOLDER [--seeds 0,1,2] [--rows dlfl,ssgrl] [--csv results/test-time.csv]

Each row and seed is trained once, backbone frozen, and evaluated with each value of `test_time` on the photographs.
`images_per_second` is of `Predictor.predict` from JPEG files, including decoding, in one process; `times` is the time
per image relative to `none`. All values are timed in turn over several rounds of the same files, so that other load
affects all of them, and the median round is reported.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import labelwise as lw
from kept import FROZEN, keep, show
from labelwise.data import Dataset, read
from labelwise.data.splits import ensure_splits
from labelwise.data.transforms import build_transform
from labelwise.evaluation import evaluate
from labelwise.export.engines import Eager
from labelwise.inference.predictor import Predictor
from labelwise.runs.run import Run

ROWS: dict[str, dict[str, Any]] = {
    "dlfl": {"method": "dlfl"},
    "ssgrl": {"method": "ssgrl", "discriminative": {"weight": 0.1}},
}
VALUES = ("none", "flip", "multi-scale")


def trained(data: Dataset, out: Path, seed: int, settings: dict[str, Any]) -> Path:
    """The folder of a run, which is trained if it does not exist."""
    if not (out / "results.json").is_file():
        lw.fit(data, backbone=FROZEN, out=out, epochs=8, seed=seed, quiet=True, **settings)
    return out


def predictor_of(run: Run) -> Predictor:
    """A predictor of a run under another `test_time` than its decisions; only its speed is used."""
    transform = build_transform(run.config.transform(), train=False)
    return Predictor(run.labels, run.decisions(), transform, Eager(run.model()))


def rates(predictors: Sequence[Predictor], files: list[str], rounds: int) -> list[float]:
    """Images per second of each, in turn, by the median round."""
    seconds: list[list[float]] = [[] for _ in predictors]
    for predictor in predictors:
        list(predictor.predict(files[:32]))
    for _ in range(rounds):
        for predictor, times in zip(predictors, seconds, strict=True):
            start = time.perf_counter()
            list(predictor.predict(files))
            times.append(time.perf_counter() - start)
    return [len(files) / median(times) for times in seconds]


def main() -> None:
    """Prints a line per row, seed and value, and writes them as CSV with --csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", default="voc:../shared/data/voc2007")
    parser.add_argument("--work", type=Path, required=True, help="folder of the runs; old ones are reused")
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--judged", type=int, default=0, help="number of test images to evaluate; 0 for all")
    parser.add_argument("--images", type=int, default=64, help="photographs to time predict on")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1, help="decoding processes of the evaluation")
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    data = replace(ensure_splits(read(args.data)), boxes=None)
    test = data.split("test")
    rows = test.take(np.linspace(0, len(test) - 1, args.judged).astype(int)) if args.judged else test
    files = [str(test.encoded(i)) for i in np.linspace(0, len(test) - 1, args.images).astype(int)]
    lines: list[dict[str, Any]] = []
    for seed in map(int, args.seeds.split(",")):
        for row in args.rows.split(","):
            path = trained(data, args.work / f"{row}-seed{seed}", seed, ROWS[row])
            runs = [Run.open(path, value) for value in VALUES]
            speeds = rates([predictor_of(run) for run in runs], files, args.rounds)
            plain = None
            for run, rate in zip(runs, speeds, strict=True):
                result = evaluate(run, rows, "test", pointing=False, workers=args.workers)
                plain = result.metrics["mAP"] if plain is None else plain
                lines.append(
                    {
                        "row": row,
                        "seed": seed,
                        "test_time": run.config.test_time,
                        "mAP": round(result.metrics["mAP"], 4),
                        "gain": round(result.metrics["mAP"] - plain, 4),
                        "images_per_second": round(rate, 1),
                        "times": round(speeds[0] / rate, 2),
                        "image_size": run.config.image_size,
                        "test_images": len(result.scores.rows),
                        "epochs": run.config.epochs,
                        "labelwise_commit": result.conditions["labelwise_commit"],
                    }
                )
                show(lines[-1])
            keep(args.csv, lines)


if __name__ == "__main__":
    main()
