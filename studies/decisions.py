"""Gains of tuned decisions and calibration on test, from the stored scores of finished runs.

Decisions are fitted on each run's val scores only. Runs with equal settings are averaged over their seeds; the
interval of the gain is over 1,000 paired bootstrap samples of the test images.

Run: python studies/decisions.py RUN... [--csv FILE]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from kept import keep, show
from labelwise.decisions import Decisions, tune
from labelwise.evaluation import StoredScores
from labelwise.metrics import functional as F
from labelwise.metrics.bootstrap import bootstrap_counts, bootstrap_macro_f1, interval
from labelwise.runs import Run

CALIBRATIONS = ("platt", "temperature")


def evaluate(run: Run, calibration: str) -> tuple[dict[str, float], np.ndarray]:
    """Metrics of one run on test, and the gain in macro F1 of each bootstrap sample of its images."""
    val, test = (StoredScores.read(run.path / "scores" / f"{name}.npz") for name in ("val", "test"))
    val_targets = (val.values >= 0.5).astype(np.uint8)
    tuning = tune(val.logits, val_targets, val.known, run.labels, calibration=calibration)
    y, k = (test.values >= 0.5).astype(np.uint8), test.known
    plain = Decisions.plain(run.labels).probabilities(test.logits)
    p = tuning.decisions.probabilities(test.logits)
    selected = tuning.decisions.select(p)

    def macro(called: np.ndarray, truth: np.ndarray, known: np.ndarray) -> float:
        return F.threshold_metrics(called.astype(np.float32), truth, known)["CF1_macro"]

    counts = bootstrap_counts(len(y))
    gains = bootstrap_macro_f1(selected, y, k, counts) - bootstrap_macro_f1(plain >= 0.5, y, k, counts)
    own = tuning.decisions.select(tuning.decisions.probabilities(val.logits))
    figures = {
        "macro_F1_half": macro(plain >= 0.5, y, k),
        "macro_F1_tuned": macro(selected, y, k),
        "ECE_before": F.calibration_metrics(plain, y, k)["ECE"],
        "ECE_after": F.calibration_metrics(p, y, k)["ECE"],
        "mAP": F.mean_average_precision(plain, y, k),
        "mAP_difference": abs(F.mean_average_precision(p, y, k) - F.mean_average_precision(plain, y, k)),
        "val_macro_F1_own": macro(own, val_targets, val.known),
        "val_macro_F1_folds": macro(tuning.selected, val_targets, val.known),
    }
    return figures, gains


def rows_of(runs: list[Run]) -> list[dict[str, Any]]:
    """A row for each calibration of runs that differ only in the seed."""
    c, rows = runs[0].config, []
    for calibration in CALIBRATIONS:
        results = [evaluate(run, calibration) for run in runs]
        means = {name: float(np.mean([figures[name] for figures, _ in results])) for name in results[0][0]}
        ends = interval(np.mean([gains for _, gains in results], axis=0))
        each = [f["macro_F1_tuned"] - f["macro_F1_half"] for f, _ in results]
        rows.append(
            {
                "method": c.method,
                "loss": c.loss["name"],
                "known_proportion": c.data.known_proportion,
                "calibration": calibration,
                "seeds": len(runs),
                **{
                    name: f"{value:.3g}" if "difference" in name else f"{value:.4f}"
                    for name, value in means.items()
                },
                "gain": f"{np.mean(each):.4f}",
                "gain_low": f"{ends['low']:.4f}",
                "gain_high": f"{ends['high']:.4f}",
                "gain_sd": f"{np.std(each, ddof=1):.4f}" if len(each) > 1 else "",
                "data": Path(c.data.source).name,
                "backbone": c.backbone.name,
                "frozen": c.backbone.freeze,
                "image_size": c.image_size,
                "epochs": c.epochs,
                "val_images": len(StoredScores.read(runs[0].path / "scores" / "val.npz").ids),
                "test_images": len(StoredScores.read(runs[0].path / "scores" / "test.npz").ids),
            }
        )
    return rows


def main() -> None:
    """Prints the results and writes them as CSV with --csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    groups: dict[tuple[Any, ...], list[Run]] = {}
    for path in args.runs:
        run = Run.open(path)
        c = run.config
        groups.setdefault((c.method, c.loss["name"], c.data.known_proportion), []).append(run)
    rows = [row for runs in groups.values() for row in rows_of(runs)]
    for row in rows:
        show(row)
    keep(args.csv, rows)


if __name__ == "__main__":
    main()
