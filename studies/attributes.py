"""Figures of pedestrian attributes of the runs of a study, with intervals over persons.

Run: python studies/attributes.py STUDY [--csv results/peta-attributes.csv] [--parts ROW --parts-csv FILE]

STUDY is a folder that `labelwise sweep` wrote, with runs ROW-seedN on the same test images. Only their stored test
scores are read. `mAP` and, from p > 0.5 by the plain sigmoid, `mA`, `accuracy`, `precision`, `recall`, `F1` (of the
means) are as in the protocols; `F1_instance` is from p > 0.45; `tuned_mA` and `tuned_F1_instance` are by the run's own
decisions, fitted on val. Each figure is a mean over seeds, `sd` the deviation between them. `low` and `high` are the
middle 95 % of 1,000 samples of persons, drawn once for all runs; differences to another row are paired by them and by
seeds. An interval over persons does not cover the deviation between seeds.

Rows of known shares, such as `dsrb-known0.1`, are also compared with their trunk at the same share.

`--parts ROW` writes where the first seed of a row fails, and for whom: the figures of `labelwise evaluate --by`.
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kept import keep
from labelwise.data import read
from labelwise.evaluation.parts import excluded, heights_of, part_figures, parts_of
from labelwise.evaluation.protocols import ATTRIBUTE_CONVENTIONS
from labelwise.evaluation.scores import StoredScores
from labelwise.metrics.bootstrap import bootstrap_attributes, bootstrap_counts, bootstrap_map, interval
from labelwise.runs.run import Run

AGAINST = ("baseline-mlp", "baseline-stripes", "stripes-mlp", "baseline-gap")
TRUNKS = {"dsrb": "ssgrl", "sst": "ssgrl", "dlfl-blending": "dlfl"}
WAYS = ("folder", "height", "label:personalMale", "group:age")
COMPARED = ("mAP", "mA", "tuned_mA", "F1_instance")
Draws = dict[str, np.ndarray]


def draws_of(run: Run, counts: np.ndarray) -> Draws:
    """Each figure of a run, first of all images and then of each resample."""
    s = StoredScores.read(run.path / "scores" / "test.npz")
    y, decisions = s.values >= 0.5, run.decisions()
    y = y.astype(np.uint8)
    p = 1 / (1 + np.exp(-s.logits.astype(np.float64)))
    every = np.concatenate([np.ones((len(y), 1), np.int32), counts], 1)
    mean, instance = (ATTRIBUTE_CONVENTIONS[name][0] for name in ("par-mean.v1", "par-inst.v1"))
    own = bootstrap_attributes(decisions.select(decisions.probabilities(s.logits)), y, s.known, every)
    return {
        "mAP": bootstrap_map(s.logits, y, s.known, every),
        **bootstrap_attributes(p > mean, y, s.known, every),
        "F1_instance": bootstrap_attributes(p > instance, y, s.known, every)["F1_instance"],
        "tuned_mA": own["mA"],
        "tuned_F1_instance": own["F1_instance"],
    }


def line(row: str, against: str, figure: str, seeds: list[np.ndarray], persons: int) -> dict[str, Any]:
    """A row of the table from the draws of each seed."""
    ends = interval(np.mean(seeds, axis=0)[1:])
    values = [float(draws[0]) for draws in seeds]
    return {
        "row": row,
        "against": against,
        "figure": figure,
        "value": f"{statistics.fmean(values):.5f}",
        "low": f"{ends['low']:.5f}",
        "high": f"{ends['high']:.5f}",
        "sd": f"{statistics.stdev(values):.5f}" if len(values) > 1 else "",
        "seeds": len(values),
        "persons": persons,
    }


def table(study: Path) -> list[dict[str, Any]]:
    """The figures of each row of a study, then its differences."""
    folders = sorted(path.parent for path in study.glob("*-seed*/results.json"))
    first = StoredScores.read(folders[0] / "scores" / "test.npz")
    counts = bootstrap_counts(len(first.ids), group=first.group)
    persons = len(first.ids) if first.group is None else len(np.unique(first.group))
    found: dict[str, dict[int, Draws]] = defaultdict(dict)
    for folder in folders:
        row, _, seed = folder.name.rpartition("-seed")
        if not np.array_equal(StoredScores.read(folder / "scores" / "test.npz").ids, first.ids):
            raise SystemExit(f"{folder}: other test images than {folders[0]}")
        found[row][int(seed)] = draws_of(Run.open(folder), counts)
        print(folder.name, {key: round(float(value[0]), 4) for key, value in found[row][int(seed)].items()})
    rows = [
        line(row, "", figure, [seeds[seed][figure] for seed in sorted(seeds)], persons)
        for row, seeds in found.items()
        for figure in next(iter(seeds.values()))
    ]
    for row, seeds in found.items():
        plain = row.partition("-regions")[0].removesuffix("-disc")
        name, known, share = row.partition("-known")
        trunk = f"{TRUNKS.get(name, name)}{known}{share}"
        for other in (f"{row}-uniform", plain, *([trunk] if known else []), *AGAINST):
            if other == row or other not in found:
                continue
            both = sorted(set(seeds) & set(found[other]))
            for figure in COMPARED if both else ():
                gaps = [seeds[s][figure] - found[other][s][figure] for s in both]
                rows.append(line(row, other, figure, gaps, persons))
    return rows


def parts(run: Run) -> list[dict[str, Any]]:
    """The figures of a run for each part of the test images, as `labelwise evaluate --by` returns them."""
    s, decisions = StoredScores.read(run.path / "scores" / "test.npz"), run.decisions()
    p = decisions.probabilities(s.logits)
    rows = read(run.config.data.source).split("test")
    place = {name: i for i, name in enumerate(rows.image_ids(np.arange(len(rows))))}
    ids = [str(name) for name in s.ids]
    heights = partial(heights_of, rows.take([place[name] for name in ids]))
    lines = []
    for way in WAYS:
        masks = parts_of(way, ids, run.labels, s.known & (s.values >= 0.5), s.known, heights)
        of_part = part_figures(s, p, decisions.select(p), run.labels, masks, excluded(way, run.labels))
        for name, figures in of_part.items():
            ends = {**figures["intervals"], **figures.get("recall_intervals", {})}
            cells: dict[str, Any] = {"by": way, "part": name}
            cells |= {"images": int(figures["images"]), "persons": int(figures["units"])}
            for key in ("mAP", "mA", "F1_instance", "label_recall", "gap"):
                low, high = (ends.get(key, {}).get(side) for side in ("low", "high"))
                cells |= {key: figures[key], f"{key}_low": low, f"{key}_high": high}
            widest = figures["widest"] or {}
            cells |= {"ECE": figures["ECE"], "labels": int(figures["judged"]), "widest": widest.get("label")}
            cells |= {key: widest.get(key) for key in ("recall", "rest")}
            lines.append({k: round(v, 5) if isinstance(v, float) else v for k, v in cells.items()})
    return lines


def main() -> None:
    """Print the figures of each run, and write those of the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--csv", default="")
    parser.add_argument("--parts", default="", metavar="ROW")
    parser.add_argument("--parts-csv", default="results/peta-parts.csv")
    given = parser.parse_args()
    keep(given.csv, table(given.study))
    if given.parts:
        run = Run.open(min(given.study.glob(f"{given.parts}-seed*")))
        print(run.path.name)
        keep(given.parts_csv, parts(run))


if __name__ == "__main__":
    main()
