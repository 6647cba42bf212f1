"""The same person's bag: does the feature of a carried thing find other pictures of the person who carries it?

Run: python studies/same_person.py peta:DIR RUN... [--csv results/same-person.csv]

A question is a test picture that has a label of `LABELS`, of a person with another picture that has it. The other
pictures of the same sub-dataset that have the label are ordered by a feature; those of the same person are relevant.
In VIPeR, GRID and PRID a person has two pictures, by two cameras; in TownCentre they are of one walk.
`ap` is the mean average precision over the questions of a sub-dataset, `first` the share of them whose nearest picture
is of the same person; both are means over seeds. Intervals resample persons 1,000 times. Nothing is chosen here.

RUNs are trained on the maps of one frozen backbone. Their features and scores are computed from stored maps.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from kept import keep, show
from kind_features import WHOLE, Feature, cells, fixed_features, head_features, seen, unit
from kind_questions import Task, by_chance
from labelwise.data import read
from labelwise.data.dataset import Dataset
from labelwise.metrics import functional as F
from labelwise.metrics.bootstrap import bootstrap_counts, interval
from labelwise.runs.run import Run

LABELS = ("carryingBackpack", "carryingMessengerBag", "carryingPlasticBags", "carryingOther", "accessoryHat")
SHOWN = (
    *(WHOLE, f"{WHOLE}, centred", "early stage and colours, whole image"),
    *("label feature", "label feature, centred", "all scores", "stored"),
)
LEAST = 10
"""Persons that a label needs in a sub-dataset."""


def questions(rows: Dataset) -> list[Task]:
    """A task per sub-dataset and label."""
    assert rows.group is not None, "persons are needed"
    subsets = np.array([PurePosixPath(name).parent.name for name in rows.image_ids(np.arange(len(rows)))])
    tasks = []
    for subset in np.unique(subsets):
        for name in LABELS:
            label = rows.labels.names.index(name)
            having = np.flatnonzero((subsets == subset) & rows.positive[:, label])
            _, person, pictures = np.unique(rows.group[having], return_inverse=True, return_counts=True)
            asked = np.flatnonzero(pictures[person] > 1)
            if len(np.unique(person[asked])) >= LEAST:
                tasks.append(Task(name, str(subset), label, having, person, rows.group[having], asked))
    return tasks


def judged(tasks: list[Task], feature: Feature | None) -> list[np.ndarray]:
    """`[2, questions]` of each task: average precision by cosine, and whether the first picture is relevant.

    Without a feature it is the expectation of a random order.
    """
    found, labels = [], sorted({t.label for t in tasks})
    for t in tasks:
        same = t.person[:, None] == t.person[t.asked]
        others = np.arange(len(t.rows))[:, None] != t.asked
        relevant = same & others
        if feature is None:
            found.append(np.stack([by_chance(relevant, others), relevant.sum(0) / others.sum(0)]))
            continue
        x = unit(feature(labels.index(t.label), t))
        likeness = (x @ x[t.asked].T).astype(np.float64)
        nearest = np.where(others, likeness, -np.inf).argmax(0)
        first = relevant[nearest, np.arange(len(t.asked))]
        found.append(np.stack([F.average_precision(likeness, relevant, others), first]))
    return found


def summary(
    tasks: list[Task], seeds: list[list[np.ndarray]], whole: list[np.ndarray]
) -> list[dict[str, Any]]:
    """A line per sub-dataset: figures of a feature, and its gap to the whole image."""
    lines = []
    for subset in dict.fromkeys(t.group for t in tasks):
        own = [k for k, t in enumerate(tasks) if t.group == subset]
        persons = np.concatenate([tasks[k].person[tasks[k].asked] for k in own])
        counts = bootstrap_counts(len(persons), group=persons).astype(np.float64)
        values = np.mean([np.concatenate([seed[k] for k in own], 1) for seed in seeds], 0)
        gap = values - np.concatenate([whole[k] for k in own], 1)
        line: dict[str, Any] = {"subset": subset, "labels": len(own), "questions": len(persons)}
        line |= {"persons": len(np.unique(persons)), "seeds": len(seeds)}
        for i, figure in enumerate(("ap", "first")):
            for name, of in ((figure, values[i]), (f"{figure}_over_whole", gap[i])):
                ends = interval((of @ counts) / counts.sum(0))
                line[name] = round(float(of.mean()), 4)
                line |= {f"{name}_{side}": round(ends[side], 4) for side in ("low", "high")}
        lines.append(line)
    return lines


def main() -> None:
    """Prints a line per feature and sub-dataset, and writes a row for each as CSV with --csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("source", help="peta:DIR")
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    rows = read(args.source).split("test")
    tasks = questions(rows)
    labels = sorted({t.label for t in tasks})
    found: dict[tuple[str, str], list[list[np.ndarray]]] = {("chance", ""): [judged(tasks, None)]}
    grids = None
    for run in map(Run.open, args.runs):
        head, outputs = re.sub(r"-seed\d+$", "", run.path.name), seen(run, rows, labels)
        if grids is None:
            grids = cells(run, rows, tuple(2 * side for side in outputs.maps.shape[2:]))
            for name, feature in fixed_features(outputs, *grids, run, tasks):
                if name in SHOWN:
                    found[name, ""] = [judged(tasks, feature)]
        for name, feature in head_features(outputs, *grids, run):
            if name in SHOWN:
                found.setdefault((name, head), []).append(judged(tasks, feature))
        print(f"{run.path} judged", flush=True)
    lines = []
    for (name, head), seeds in found.items():
        for line in summary(tasks, seeds, found[WHOLE, ""][0]):
            lines.append({"feature": name, "head": head, **line})
            show(lines[-1])
    keep(args.csv, lines)


if __name__ == "__main__":
    main()
