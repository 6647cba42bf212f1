"""Promised precision and recall floors against other images, over random splits of a run's val and test scores.

Calibration and thresholds are fitted on a random calibration set of the images that the run was not trained on, and
judged on the rest of them. These are a sample too: a true rate just above the floor is often measured below it. So
`promised_refuted` counts the labels whose rate on them is below the floor beyond noise (exact test, 5 %). `before` is
the same without the exact test: every label keeps its best-effort threshold.

Run: python studies/floors.py RUN [--splits 5] [--calibration 500,2000] [--csv results/floors.csv]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binom

from kept import keep, show
from labelwise.decisions import Objective, calibrate, tune
from labelwise.decisions.decisions import sigmoid
from labelwise.evaluation import StoredScores
from labelwise.evaluation.origin import code_version
from labelwise.runs import Run

OBJECTIVES = ("precision=0.8", "precision=0.9", "recall=0.8", "recall=0.9")


def pooled(run: Run) -> StoredScores:
    """The stored scores of val and test."""
    parts = [StoredScores.read(run.path / "scores" / f"{name}.npz") for name in ("val", "test")]
    names = ("ids", "logits", "values", "known")
    return StoredScores(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def counts(
    kind: str, called: np.ndarray, positive: np.ndarray, known: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Hits and trials of each label's precision or recall over known cells."""
    called, positive = called & known, positive & known
    return (called & positive).sum(0), (called if kind == "precision" else positive).sum(0)


def rates(kind: str, called: np.ndarray, positive: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Precision or recall of each label over known cells, NaN without a trial."""
    hits, trials = counts(kind, called, positive, known)
    return np.where(trials > 0, hits / np.maximum(trials, 1), np.nan)


def rows_of(run: Run, scores: StoredScores, objective: str, size: int, splits: int) -> list[dict[str, Any]]:
    """A row per split: labels promised, those whose floor holds on the other images, and the same for all labels."""
    aim, rows = Objective.parse(objective), []
    y, k, z = scores.values >= 0.5, scores.known.astype(bool), scores.logits.astype(np.float64)
    for split in range(splits):
        order = np.random.default_rng(split).permutation(len(z))
        own, rest = order[:size], order[size:]
        decisions = tune(z[own], y[own], k[own], run.labels, objective).decisions
        floors = decisions.floors
        assert floors is not None
        called = decisions.probabilities(z[rest]) >= decisions.thresholds
        reached = rates(aim.kind, called, y[rest], k[rest])
        recall = rates("recall", called, y[rest], k[rest])
        fit = calibrate(z[own], y[own], k[own])
        before = np.asarray(aim.thresholds(sigmoid(z[own] * fit.scale + fit.bias), y[own], k[own])[0])
        plain = rates(aim.kind, sigmoid(z[rest] * fit.scale + fit.bias) >= before, y[rest], k[rest])
        refuted = binom.cdf(*counts(aim.kind, called, y[rest], k[rest]), aim.floor) < 0.05
        holds, promised = reached >= aim.floor, floors.promised
        rows.append(
            {
                "objective": objective,
                "confidence": floors.confidence,
                "calibration_images": size,
                "other_images": len(rest),
                "split": split,
                "labels": len(promised),
                "promised": int(promised.sum()),
                "promised_that_hold": int((promised & holds).sum()),
                "promised_refuted": int((promised & refuted).sum()),
                "not_promised_that_hold": int((~promised & holds).sum()),
                "before_that_hold": int((plain >= aim.floor).sum()),
                "lowest_promised": f"{reached[promised].min():.4f}" if promised.any() else "",
                "mean_promised": f"{reached[promised].mean():.4f}" if promised.any() else "",
                "recall_promised": f"{recall[promised].mean():.4f}" if promised.any() else "",
            }
        )
    return rows


def with_conditions(run: Run, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with the settings of the run."""
    c = run.config
    about = {
        "method": c.method,
        "backbone": c.backbone.name,
        "frozen": c.backbone.freeze,
        "image_size": c.image_size,
        "data": Path(c.data.source).name,
        "seed": c.seed,
        "labelwise_commit": code_version(),
    }
    return [{**row, **about} for row in rows]


def main() -> None:
    """Prints the results and writes them as CSV with --csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--calibration", default="500,2000")
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    run = Run.open(args.run)
    scores, rows = pooled(run), []
    for objective in OBJECTIVES:
        for size in map(int, args.calibration.split(",")):
            of_size = rows_of(run, scores, objective, size, args.splits)
            summed = ("promised", "promised_that_hold", "promised_refuted", "before_that_hold", "labels")
            sums = {name: sum(row[name] for row in of_size) for name in summed}
            show({"objective": objective, "images": size, **sums})
            rows += of_size
    keep(args.csv, with_conditions(run, rows))


if __name__ == "__main__":
    main()
