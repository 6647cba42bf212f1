"""Whether the evidence of an attribute lies in its part of the body: the pointing game against stripes of the image.

Run: python studies/body_regions.py RUN... [--images 0] [--csv results/body-regions.csv]

Each RUN is trained on `peta:`. The stripe of an attribute is that of the table `STRIPES` of
src/labelwise/extractors/regions.py, with which `baseline-stripes` pools too; attributes of bags and of the person have
none and are left out. Counted are the attributes that the run's decisions select and that are true, on test images:
the share of them for which the highest pixel of the map, enlarged to the image, lies in the stripe. Rows of `all` have
the share of all such attributes and the mean over attributes; `chance` is the height of the stripe, the share of a
random place. Maps of `baseline-stripes` cannot leave their stripe, but for the cell that its edge cuts.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from kept import keep
from labelwise.data import read
from labelwise.engines.frozen_engine import use_engine
from labelwise.extractors.stripes import stripes_of
from labelwise.metrics.localisation import pointing
from labelwise.runs.run import Run
from labelwise.training.loaders import Loaders
from labelwise.training.progress import ProgressBar


def hits_of(runs: Sequence[Run], images: int) -> tuple[list[np.ndarray], int]:
    """Hits and misses `[2, L]` of each run, and the number of images; from stored maps of the first."""
    first = runs[0]
    rows = read(first.config.data.source).split("test")
    chosen = np.ones(len(rows), bool)
    if images and images < len(rows):
        chosen[np.random.default_rng(0).permutation(len(rows))[images:]] = False
    models = [run.model().eval() for run in runs]
    watch = ProgressBar(quiet=True)
    use_engine(models[0].backbone, first.config, len(rows), torch.device("cpu"), print)
    loaders = Loaders(first.config, models[0].backbone, Accelerator(cpu=True), watch)
    size = first.config.transform().size
    stripes = stripes_of(first.labels)
    box_of = {first.labels.index(name): (0.0, top, 1.0, bottom) for name, (top, bottom) in stripes.items()}
    counts = [np.zeros((2, len(first.labels))) for _ in runs]
    with torch.inference_mode():
        for batch in loaders.evaluation(rows):
            wanted = torch.from_numpy(chosen[batch.index.numpy()])
            seen, targets = batch.images[wanted].float(), batch.targets[wanted]
            true = ((targets.values >= 0.5) & targets.known).numpy()
            for run, model, count in zip(runs, models, counts, strict=True):
                out = model(seen, want_maps=True, is_map=True)
                decisions = run.decisions()
                picked = true & decisions.select(decisions.probabilities(out.logits.numpy()))
                boxes = [[(j, *box_of[j]) for j in np.flatnonzero(row) if j in box_of] for row in picked]
                count += np.stack(pointing(out.maps, boxes, [size] * len(boxes)))
    loaders.close()
    return counts, int(chosen.sum())


def shared(runs: Sequence[Run]) -> None:
    """Refuse runs that do not see the same maps: each has the same frozen backbone, images and labels."""

    def key(run: Run) -> tuple[Any, ...]:
        c = run.config
        return c.data.source, run.labels.names, c.backbone.name, c.backbone.weights, c.transform().size

    if len({key(run) for run in runs}) > 1 or not all(run.config.backbone.freeze for run in runs):
        raise SystemExit("runs with different or trained backbones: name those of one frozen study")


def table(run: Run, count: np.ndarray, images: int) -> list[dict[str, Any]]:
    """A row per attribute with a stripe, then that of all."""
    rows = []
    for name, (top, bottom) in stripes_of(run.labels).items():
        hits, misses = count[:, run.labels.index(name)]
        rows.append((name, f"{top:.3f} to {bottom:.3f}", bottom - top, hits, hits + misses))
    judged = [row for row in rows if row[4]]
    total = sum(row[4] for row in judged)
    chance = sum(row[2] * row[4] for row in judged) / total
    mean = sum(row[3] / row[4] for row in judged) / len(judged)
    common = {"run": run.path.name, "method": run.config.method, "seed": run.config.seed, "images": images}
    return [
        {
            **common,
            "attribute": name,
            "stripe": where,
            "chance": f"{by_chance:.4f}",
            "selected_and_true": int(of),
            "in_stripe": f"{hit / of:.4f}" if of else "",
            "mean_over_attributes": average,
        }
        for name, where, by_chance, hit, of, average in (
            *((*row, "") for row in rows),
            ("all", "", chance, sum(row[3] for row in judged), total, f"{mean:.4f}"),
        )
    ]


def main() -> None:
    """Print the shares of all attributes, and write those of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--images", type=int, default=0, help="random sample of the test images; 0 for all")
    parser.add_argument("--csv", default="")
    given = parser.parse_args()
    runs = [Run.open(path) for path in given.runs]
    shared(runs)
    counts, images = hits_of(runs, given.images)
    rows = [row for run, count in zip(runs, counts, strict=True) for row in table(run, count, images)]
    for row in rows:
        if row["attribute"] == "all":
            print(row)
    keep(given.csv, rows)


if __name__ == "__main__":
    main()
