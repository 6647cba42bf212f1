"""Image retrieval by label features, and calibration of the scores.

Run: python studies/retrieval.py RUN... [--split test] [--csv results/retrieval.csv]

Every known positive of a label is a query for other images by the cosine of that label's feature; images with the
label are relevant. `retrieval` is the mean average precision over the queries of each label, then over labels.
`ranking` is the mAP of the run's own scores. `calibration` is the mean error per label of the plain sigmoid, in 15
bins. Runs with the same frozen backbone share its stored maps.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch.nn.functional import normalize

from kept import keep, show
from labelwise.data import Dataset, read
from labelwise.data.splits import ensure_splits
from labelwise.metrics import functional as F
from labelwise.runs.run import Run
from labelwise.training.loaders import Loaders
from labelwise.training.progress import ProgressBar


def by_feature(features: torch.Tensor, positive: np.ndarray, known: np.ndarray) -> float:
    """Mean over labels of the mean average precision of their queries.

    Args:
        features: `[N, L, D]`.
        positive, known: `[N, L]` bool.
    """
    values = []
    for j in range(positive.shape[1]):
        rows = np.flatnonzero(known[:, j])
        queries = np.flatnonzero(positive[rows, j])
        if len(queries) < 2:
            continue
        unit = normalize(features[rows, j], dim=1)
        others = np.ones((len(rows), len(queries)), bool)
        others[queries, np.arange(len(queries))] = False
        relevant = np.repeat(positive[rows, j][:, None], len(queries), axis=1)
        values.append(F.average_precision((unit @ unit[queries].T).numpy(), relevant, others).mean())
    return float(np.mean(values))


def data_of(run: Run) -> Dataset:
    """The data of a run with its splits."""
    return ensure_splits(read(run.config.data.source), seed=run.config.seed)


@torch.no_grad()
def evaluate(run: Run, split: str, accelerator: Accelerator, watch: ProgressBar) -> dict[str, Any]:
    """Metrics of one run on a split of its own data."""
    rows = data_of(run).split(split)
    model = run.model().eval()
    loaders = Loaders(run.config, model.backbone, accelerator, watch)
    features, logits, index = [], [], []
    for batch in loaders.evaluation(rows):
        output = model(batch.images, is_map=run.config.backbone.freeze)
        features.append(output.features)
        logits.append(output.logits)
        index.append(batch.index)
    loaders.close()
    rows, scores = rows.take(torch.cat(index).numpy()), torch.cat(logits)
    errors = F.calibration_error(scores.sigmoid().numpy(), rows.positive, rows.known)
    return {
        "retrieval": by_feature(torch.cat(features), rows.positive, rows.known),
        "ranking": F.mean_average_precision(scores.numpy(), rows.positive, rows.known),
        "calibration": float(np.nanmean(errors)),
    }


def main() -> None:
    """Prints a line per run and writes them as CSV with --csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    accelerator, watch, lines = Accelerator(cpu=True), ProgressBar(quiet=True), []
    for path in args.runs:
        run = Run.open(path)
        lines.append(
            {
                "row": re.sub(r"-seed\d+$", "", path.name),
                "method": run.config.method,
                "discriminative": run.config.terms().get("discriminative", {}).get("weight", ""),
                "seed": run.config.seed,
                **{k: round(v, 4) for k, v in evaluate(run, args.split, accelerator, watch).items()},
                "images": len(data_of(run).split("train")),
                "image_size": run.config.image_size,
                "split": args.split,
            }
        )
        show(lines[-1])
    keep(args.csv, lines)


if __name__ == "__main__":
    main()
