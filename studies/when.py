"""Gain of a method over its control by object size and by number of labels in the image.

Run: python studies/when.py FOLDER [--rows dlfl=dlfl-uniform] [--csv results/voc-when-448.csv]

FOLDER holds runs named ROW-seed0 and so on, all evaluated on the test split of `--data`, which has boxes. A group by
size has the positives with boxes that cover that share of the image, and all negatives; a group by number has the
images with that number of labels. A difference is that of mAP, mean over the seeds of both, with a 95 % interval over
paired bootstrap samples of the images.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from differences import score_files
from kept import keep, show
from labelwise.data import read
from labelwise.data.splits import ensure_splits
from labelwise.evaluation.scores import StoredScores
from labelwise.metrics.bootstrap import bootstrap_counts, bootstrap_map
from labelwise.metrics.boxes import group_cases

SIZES = (0.0, 0.05, 0.15, 0.4, 1.0)
NUMBERS = (1, 2, 3)


def groups(areas: np.ndarray, scores: StoredScores) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """Criterion, name, known cells and positives of each group, the latter two `[N, L]` bool."""
    positive = scores.known & (scores.values > 0)
    for low, high in itertools.pairwise(SIZES):
        own = positive & (areas > low) & (areas <= high)
        yield "size", f"{low:.0%} to {high:.0%}", scores.known & (~positive | own), own
    count = positive.sum(1)
    for number in NUMBERS:
        last = number == NUMBERS[-1]
        rows = (count >= number) if last else (count == number)
        known = scores.known & rows[:, None]
        yield "labels", f"{number} or more" if last else str(number), known, positive & known
    yield "all", "all", scores.known, positive


def main() -> None:
    """Prints a line per group and writes them as CSV with --csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", nargs="+", default=["dlfl=dlfl-uniform", "dlfl=baseline-mlp"])
    parser.add_argument("--data", default="voc:../shared/data/voc2007")
    parser.add_argument("--number", type=int, default=500, help="number of bootstrap samples")
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    rows, files, lines = ensure_splits(read(args.data)).split("test"), score_files(args.folder), []
    areas = np.zeros((len(rows), len(rows.labels)))
    for case in group_cases([rows.boxes_of(i) for i in range(len(rows))], len(rows.labels)):
        areas[case.image, case.label] = case.area
    row_of_image = {rows.image_id(i): i for i in range(len(rows))}
    for row, control in (pair.split("=") for pair in args.rows):
        cells = sorted(files[row].keys() & files[control].keys())
        pairs = [(StoredScores.read(files[row][c]), StoredScores.read(files[control][c])) for c in cells]
        first = pairs[0][0]
        counts = bootstrap_counts(len(first.ids), args.number)
        counts = np.concatenate((np.ones((len(counts), 1), np.int32), counts), axis=1)
        own = areas[[row_of_image[name] for name in first.ids]]
        for by, name, known, positive in groups(own, first):
            ours, theirs = (
                np.array([bootstrap_map(s.logits, s.values, known, counts) for s in side])
                for side in zip(*pairs, strict=True)
            )
            gaps = ours - theirs
            each = np.mean(gaps, axis=0)
            low, high = np.nanquantile(each[1:], (0.025, 0.975))
            lines.append(
                {
                    "row": row,
                    "against": control,
                    "by": by,
                    "group": name,
                    "positives": int(positive.sum()),
                    "labels": int(positive.any(0).sum()),
                    "control_mAP": round(float(theirs[:, 0].mean()), 6),
                    "difference": round(float(each[0]), 6),
                    "low": round(float(low), 6),
                    "high": round(float(high), 6),
                    "sd": round(float(np.std(gaps[:, 0], ddof=1)), 6) if len(gaps) > 1 else math.nan,
                    "seeds": len(gaps),
                }
            )
            show(lines[-1])
    keep(args.csv, lines)


if __name__ == "__main__":
    main()
