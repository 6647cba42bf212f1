"""What a run loses on a sub-dataset that its training has not seen, by region of the body, and whether it notices.

Run: python studies/left_out.py STUDY [--csv results/peta-left-out.csv]

STUDY is a folder that `labelwise sweep` wrote from recipes/attributes/peta-leave-out.yaml, with the runs `all-seed0`
and `without-NAME-seed0`; `labelwise familiarity` was called for each.

Figures are in [0, 1], on the test images of the sub-dataset, over the labels of the region with at least 10 positives
and 10 negatives there. `drop` is what the run without the sub-dataset loses to the run of all; `low` and `high` are the
middle 95 % of 1,000 samples of persons. `AUROC` tells the images of the sub-dataset from test images of the others by
the score of `labelwise familiarity`, for both runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.metrics import roc_auc_score

from kept import keep, show
from labelwise.collection.features import Embedder
from labelwise.data import read
from labelwise.data.readers.attributes import REGIONS
from labelwise.evaluation.protocols import ATTRIBUTE_CONVENTIONS
from labelwise.evaluation.scores import StoredScores
from labelwise.inference import load
from labelwise.inference.familiarity import Familiarity, distances
from labelwise.inference.prediction import LEVEL
from labelwise.metrics.bootstrap import bootstrap_attributes, bootstrap_counts, bootstrap_map, interval
from labelwise.runs.run import Run
from unfamiliar import measured

FEWEST = 10
"""Positives, and negatives, of a label that is judged."""


def figures(scores: StoredScores, columns: np.ndarray, counts: np.ndarray) -> dict[str, np.ndarray]:
    """mAP and mean accuracy at .5 over some labels, first of all images and then of each resample."""
    y, known, logits = scores.values[:, columns] >= 0.5, scores.known[:, columns], scores.logits[:, columns]
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    every = np.concatenate([np.ones((len(y), 1), np.int32), counts], 1)
    at = ATTRIBUTE_CONVENTIONS["par-mean.v1"][0]
    mean_accuracy = bootstrap_attributes(p > at, y.astype(np.uint8), known, every)["mA"]
    return {"mAP": bootstrap_map(logits, y, known, every), "mA": mean_accuracy}


def drops(unseen: Run, seen: Run, name: str) -> Iterator[dict[str, Any]]:
    """A row per region and figure: both runs on the test images of the sub-dataset that one has not seen."""
    out, every = (StoredScores.read(run.path / "scores" / "test.npz") for run in (unseen, seen))
    place = {image: i for i, image in enumerate(every.ids)}
    rows = np.array([place[image] for image in out.ids])
    same = StoredScores(out.ids, every.logits[rows], every.values[rows], every.known[rows])
    counts = bootstrap_counts(len(out.ids), group=out.group)
    persons = len(out.ids) if out.group is None else len(np.unique(out.group))
    positives, known = (out.known & (out.values >= 0.5)).sum(0), out.known.sum(0)
    is_judged = (positives >= FEWEST) & (known - positives >= FEWEST)
    for region in ("all", *REGIONS):
        labels = unseen.labels.names if region == "all" else unseen.labels.groups[region].labels
        columns = np.array(
            [j for j, label in enumerate(unseen.labels.names) if label in labels and is_judged[j]]
        )
        if not len(columns):
            continue
        without, whole = (figures(scores, columns, counts) for scores in (out, same))
        for figure in ("mAP", "mA"):
            drop = whole[figure] - without[figure]
            ends = interval(drop[1:])
            row = {"left_out": name, "region": region, "labels": len(columns), "images": len(out.ids)}
            row |= {"persons": persons, "figure": figure, "seen": f"{whole[figure][0]:.4f}"}
            row |= {"unseen": f"{without[figure][0]:.4f}", "drop": f"{drop[0]:.4f}"}
            yield row | {"low": f"{ends['low']:.4f}", "high": f"{ends['high']:.4f}"}


def pictures(files: list[Path], count: int) -> Iterator[Image.Image]:
    """A random sample of image files."""
    for i in np.random.default_rng(0).permutation(len(files))[:count]:
        yield Image.open(files[i]).convert("RGB")


def noticed(run: Run, name: str, count: int) -> dict[str, Any]:
    """How well a run tells images of a sub-dataset from the others, and the share it calls unfamiliar of each."""
    source = run.config.data.source.partition("?")[0]
    rows = read(source).split("test")
    files = [Path(str(rows.encoded(i))) for i in range(len(rows))]
    embedder, familiar = Embedder(load(run.path)), Familiarity.of_run(run.path)
    parts = [[f for f in files if (f.parent.name.lower() == name) is inside] for inside in (True, False)]
    features = [measured(embedder, pictures(part, count))["whole"] for part in parts]
    far = [distances(part.astype(np.float32), familiar.images, 5) for part in features]
    truth = np.repeat([1, 0], [len(part) for part in far])
    called = [float((familiar.of_images(part) <= LEVEL).mean()) for part in features]
    row = {"left_out": name, "run": run.path.name, "figure": "AUROC", "images": len(far[0])}
    area = float(roc_auc_score(truth, np.concatenate(far)))
    return row | {"value": f"{area:.4f}", "called": f"{called[0]:.4f}", "others_called": f"{called[1]:.4f}"}


def main() -> None:
    """Prints a line per figure, and writes them as CSV with --csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--count", type=int, default=300, help="images of each side, for AUROC")
    parser.add_argument("--csv", default="")
    args = parser.parse_args()
    seen, lines = Run.open(args.study / "all-seed0"), list[dict[str, Any]]()
    for folder in sorted(args.study.glob("without-*-seed0")):
        name, unseen = folder.name.split("-")[1], Run.open(folder)
        of_run = [*drops(unseen, seen, name), *(noticed(run, name, args.count) for run in (unseen, seen))]
        for row in of_run:
            show(row)
        lines += of_run
    keep(args.csv, lines)


if __name__ == "__main__":
    main()
