"""Which kind: how well features of a label find images in which it looks alike.

Run: python studies/kinds.py peta:DIR RUN... --split test --csv results/kinds.csv
     python studies/kinds.py voc:DIR RUN... --split test --csv results/kinds.csv --add

A question is an image that has a label; those of the others that have it too are ordered by a feature. Relevant are
images with the same value of a trait that no training label names: the colour of that part of the body (PETA, from
labels_all106.csv, images with one colour of it; never pictures of the same person), or the pose and the truncation of
the object (VOC, images with one object of the label). Labels need 500 such images in val (PETA, all of val) or 40 in
the split (VOC); of each, `--questions` are drawn. `ap` is the mean average precision over the questions of a label,
then over labels, then over seeds; the interval resamples people, or images, 1,000 times.

The runs of results/kinds.csv were trained on a sample of PETA: the people of train and of val in the order of
`numpy.random.default_rng(0).permutation`, drawn one split after the other, up to 2,500 and 1,800 images; test is whole.

RUNs are trained on the maps of one frozen backbone. Their evidence, features and scores are computed from stored maps.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import numpy as np

from kept import keep, show
from kind_features import STRIPE, WHOLE, Feature, cells, fixed_features, head_features, seen, unit
from kind_questions import Task, by_chance, peta_tasks, voc_tasks
from labelwise.data import read
from labelwise.data.splits import ensure_splits
from labelwise.metrics import functional as F
from labelwise.metrics.bootstrap import bootstrap_counts, interval
from labelwise.runs.run import Run


def judged(tasks: list[Task], feature: Feature | None, order: np.ndarray | None = None) -> list[np.ndarray]:
    """Average precision of every question of every task, by cosine or by one order for all questions."""
    values, labels = [], sorted({t.label for t in tasks})
    for t in tasks:
        relevant, others = t.pairs()
        if feature is not None:
            x = unit(feature(labels.index(t.label), t))
            likeness = x @ x[t.asked].T
        elif order is not None:
            likeness = np.repeat(order[t.rows, t.label][:, None], len(t.asked), 1)
        else:
            values.append(by_chance(relevant, others))
            continue
        values.append(F.average_precision(likeness.astype(np.float64), relevant, others))
    return values


def summary(
    tasks: list[Task], values: list[list[np.ndarray]], base: dict[str, list[np.ndarray]]
) -> list[dict[str, Any]]:
    """Lines of one feature: each group of labels, and all.

    Args:
        tasks: the questions.
        values: of each seed and task.
        base: features to compare with, by name.
    """
    mean = [np.mean(seeds, 0) for seeds in zip(*values, strict=True)]
    people = np.concatenate([t.person[t.asked] for t in tasks])
    counts = bootstrap_counts(len(people), group=people).astype(np.float32)
    starts = np.cumsum([0, *(len(t.asked) for t in tasks)])
    lines = []

    def resampled(of: list[np.ndarray], chosen: list[int]) -> np.ndarray:
        own = [counts[starts[k] : starts[k + 1]] for k in chosen]
        means = [(of[k] @ c) / np.maximum(c.sum(0), 1e-9) for k, c in zip(chosen, own, strict=True)]
        return np.mean(means, 0)

    groups = list(dict.fromkeys(t.group for t in tasks))
    plain = [g for g in groups if "," not in g]
    for group in [*groups, "mean"]:
        shown = plain if group == "mean" else [group]
        chosen = [k for k, t in enumerate(tasks) if t.group in shown]
        seeds = [float(np.mean([seed[k].mean() for k in chosen])) for seed in values]
        bounds = interval(resampled(mean, chosen))
        line: dict[str, Any] = {
            "group": group,
            "labels": len(chosen),
            "questions": sum(len(tasks[k].asked) for k in chosen),
            "seeds": len(values),
            "ap": round(float(np.mean(seeds)), 4),
            "sd": round(float(np.std(seeds, ddof=1)), 4) if len(seeds) > 1 else "",
            "low": round(bounds["low"], 4),
            "high": round(bounds["high"], 4),
        }
        for name, other in base.items():
            gap = [a - b for a, b in zip(mean, other, strict=True)]
            spread = interval(resampled(gap, chosen))
            line[f"over_{name}"] = round(float(np.mean([gap[k].mean() for k in chosen])), 4)
            line |= {f"over_{name}_{side}": round(spread[side], 4) for side in ("low", "high")}
        lines.append(line)
    return lines


def main() -> None:
    """Prints a line per feature and writes a row per feature and group as CSV with --csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("source", help="peta:DIR or voc:DIR")
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--questions", type=int, default=150, help="questions per label")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--add", action="store_true", help="keep the rows of other sets and splits in --csv")
    args = parser.parse_args()
    kind, _, path = args.source.partition(":")
    runs = [Run.open(path) for path in args.runs]
    rows = ensure_splits(read(args.source), seed=0).split(args.split)
    tasks = {"peta": peta_tasks, "voc": voc_tasks}[kind](rows, Path(path), args.questions)
    labels = sorted({t.label for t in tasks})
    found: dict[tuple[str, str], list[list[np.ndarray]]] = {("chance", ""): [judged(tasks, None)]}
    early = shares = None
    for run in runs:
        head = re.sub(r"-seed\d+$", "", run.path.name)
        outputs = seen(run, rows, labels)
        if early is None or shares is None:
            early, shares = cells(run, rows, tuple(2 * side for side in outputs.maps.shape[2:]))
            for name, feature in fixed_features(outputs, early, shares, run, tasks):
                found[name, ""] = [judged(tasks, feature)]
        for name, feature in head_features(outputs, early, shares, run):
            found.setdefault((name, head), []).append(judged(tasks, feature))
        found.setdefault(("by the label's score", head), []).append(judged(tasks, None, outputs.scores))
        print(f"{run.path} judged", flush=True)
    base = {"whole": found[WHOLE, ""][0]}
    stripes = [name for name, _ in found if name.endswith(STRIPE)]
    if stripes:
        best = max(stripes, key=lambda name: float(np.mean([v.mean() for v in found[name, ""][0]])))
        print(f"best stripe: {best}")
        base |= {"stripe": found[STRIPE, ""][0], "best_stripe": found[best, ""][0]}
    lines = []
    for (name, head), values in found.items():
        about = {"set": kind, "split": args.split, "feature": name, "head": head}
        lines += [about | line for line in summary(tasks, values, base)]
        show(lines[-1])
    keep(args.csv, lines, ("set", "split") if args.add else ())


if __name__ == "__main__":
    main()
