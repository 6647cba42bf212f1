"""Which kind: how well features of a label find images in which it looks alike.

Run: python benchmarks/kinds.py peta:DIR RUN... --split test --csv results/kinds.csv
     python benchmarks/kinds.py voc:DIR RUN... --split test --csv results/kinds.csv --add

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
import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import torch
from accelerate import Accelerator
from kept import keep
from torch.nn.functional import adaptive_avg_pool2d

from labelwise.backbones import TimmBackbone
from labelwise.collection.appearance import body_regions, colours, early_stage, places
from labelwise.collection.features import HEAD_WEIGHTS
from labelwise.data import read
from labelwise.data.dataset import Dataset
from labelwise.data.loading import eval_loader
from labelwise.data.splits import ensure_splits
from labelwise.data.transforms import build_transform
from labelwise.engines.frozen_engine import use_engine
from labelwise.metrics import functional as F
from labelwise.metrics.bootstrap import bootstrap_counts, interval
from labelwise.runs.run import Run
from labelwise.training.loaders import Loaders
from labelwise.training.progress import ProgressBar

COLOURS = ("Black", "Blue", "Brown", "Green", "Grey", "Orange", "Pink", "Purple", "Red", "White", "Yellow")
STRIPES = {"hair": (0, 0.18), "upperBody": (0.15, 0.5), "lowerBody": (0.5, 0.9), "footwear": (0.85, 1)}
LABELS = (
    *("upperBodyCasual", "upperBodyFormal", "upperBodyOther"),
    *("lowerBodyCasual", "lowerBodyFormal", "lowerBodyJeans", "lowerBodyTrousers"),
    *("footwearLeatherShoes", "footwearShoes", "footwearSneaker", "hairLong"),
)
POSES = ("Frontal", "Left", "Rear", "Right")
WHOLE, STRIPE = "whole image", "stripe"


@dataclass(frozen=True)
class Task:
    """Questions about one label.

    Args:
        name: label, or label and trait.
        group: of the table.
        label: its number.
        rows: images of the split that have it.
        trait: `[rows]` its value.
        person: `[rows]` who is shown; images of one person are never compared.
        asked: positions in `rows` of the questions.
    """

    name: str
    group: str
    label: int
    rows: np.ndarray
    trait: np.ndarray
    person: np.ndarray
    asked: np.ndarray

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """`[rows, questions]`: which images are relevant, and which are compared."""
        others = self.person[:, None] != self.person[self.asked]
        return (self.trait[:, None] == self.trait[self.asked]) & others, others


def task(
    name: str, group: str, label: int, rows: np.ndarray, trait: np.ndarray, person: np.ndarray, most: int
) -> Task:
    """A task with at most `most` questions, each with a relevant image."""
    relevant = (trait[:, None] == trait) & (person[:, None] != person)
    asked = np.flatnonzero(relevant.any(1))
    asked = np.sort(np.random.default_rng(0).permutation(asked)[:most])
    return Task(name, group, label, rows, trait, person, asked)


def peta_tasks(rows: Dataset, folder: Path, most: int) -> list[Task]:
    """Colours of parts of the body."""
    with open(folder / "labels_all106.csv", newline="", encoding="utf-8") as file:
        tags = {row["image"]: row for row in csv.DictReader(file)}
    own = [tags["images/" + rows.image_id(i).rpartition("images/")[2]] for i in range(len(rows))]
    assert rows.group is not None, "people are needed"
    tasks = []
    for name in LABELS:
        label, part = rows.labels.names.index(name), next(p for p in STRIPES if name.startswith(p))
        colour = np.array([[row.get(part + c) == "1" for c in COLOURS] for row in own])
        shown = np.flatnonzero((colour.sum(1) == 1) & rows.positive[:, label])
        tasks.append(task(name, part, label, shown, colour[shown].argmax(1), rows.group[shown], most))
    return tasks


def voc_tasks(rows: Dataset, folder: Path, most: int) -> list[Task]:
    """Pose and truncation of the one object of a label."""
    shown: dict[tuple[str, str], list[tuple[int, int, int, float]]] = {}
    for i in range(len(rows)):
        tree = ElementTree.parse(folder / "Annotations" / f"{Path(rows.image_id(i)).stem}.xml").getroot()
        area = float(tree.findtext("size/width", "1")) * float(tree.findtext("size/height", "1"))
        objects = tree.findall("object")
        names = [o.findtext("name", "") for o in objects]
        for o, name in zip(objects, names, strict=True):
            if names.count(name) > 1 or o.findtext("difficult") == "1":
                continue
            x0, y0, x1, y1 = (float(o.findtext(f"bndbox/{k}", "0")) for k in ("xmin", "ymin", "xmax", "ymax"))
            share, pose = (x1 - x0) * (y1 - y0) / area, o.findtext("pose", "")
            cut = int(o.findtext("truncated", "0"))
            shown.setdefault((name, "truncation"), []).append((i, cut, len(objects), share))
            if pose in POSES:
                shown.setdefault((name, "pose"), []).append((i, POSES.index(pose), len(objects), share))
    tasks = []
    for (name, trait), found in sorted(shown.items()):
        if len(found) < 40 or len({value for _, value, _, _ in found}) < 2:
            continue
        at, value, number, share = (np.array(column) for column in zip(*found, strict=True))
        label = rows.labels.names.index(name)
        whole = task(f"{name} {trait}", trait, label, at, value, at, most)
        tasks.append(whole)
        for kind, chosen in (("3 objects or more", number >= 3), ("object under 10 %", share < 0.1)):
            asked = whole.asked[chosen[whole.asked]]
            if len(asked):
                group = f"{trait}, {kind}"
                tasks.append(Task(f"{name} {group}", group, label, at, value, at, asked))
    return tasks


@dataclass
class Seen:
    """Outputs of a run on a split, and means over places weighted by its evidence.

    Args:
        features: `[N, L, D]`.
        scores: `[N, L]`.
        maps: `[N, L, h, w]`.
        last: `[N, L, C]`, the backbone's last map weighted by the evidence.
        whole: `[N, C]`, its mean.
        rows: `[N, C, h]`, its mean over columns.
    """

    features: np.ndarray
    scores: np.ndarray
    maps: np.ndarray
    last: np.ndarray
    whole: np.ndarray
    rows: np.ndarray


@torch.no_grad()
def seen(run: Run, rows: Dataset, labels: list[int]) -> Seen:
    """Outputs of a run for some labels, from stored maps."""
    model, watch, accelerator = run.model().eval(), ProgressBar(quiet=True), Accelerator(cpu=True)
    use_engine(model.backbone, run.config, len(rows), torch.device("cpu"), watch.say)
    loaders = Loaders(run.config, model.backbone, accelerator, watch)
    parts: list[tuple[torch.Tensor, ...]] = []
    for batch in loaders.rows(rows):
        output, x = model(batch.images, want_maps=True, is_map=True), batch.images
        maps = output.maps[:, labels]
        last = torch.einsum("blhw,bchw->blc", maps, x)
        own = output.features[:, labels], output.logits, maps, last, x.mean((2, 3)), x.mean(3)
        parts.append((batch.index, *(part.half() for part in own)))
    loaders.close()
    index, *columns = (torch.cat(column) for column in zip(*parts, strict=True))
    return Seen(*(column[index.argsort()].numpy() for column in columns))


@torch.no_grad()
def cells(run: Run, rows: Dataset, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The early map and the colours on a grid: `[N, C, h, w]` and `[N, 64, h, w]` float16."""
    c = run.config
    whole = TimmBackbone(c.backbone.name, weights="none", image_size=c.image_size)
    chosen = early_stage(whole.net)
    assert chosen is not None, "a backbone with an early stage"
    number = next(
        i for i, s in enumerate(whole.net.feature_info) if whole.net.get_submodule(s["module"]) is chosen[0]
    )
    early = TimmBackbone(c.backbone.name, c.backbone.weights, c.image_size, freeze=True, stage=number)
    use_engine(early, c, len(rows), torch.device("cpu"), print)
    grid = [np.zeros((len(rows), n, *size), np.float16) for n in (chosen[1], 64)]
    for batch in eval_loader(rows, build_transform(c.one_view(), train=False), batch_size=32, workers=0):
        index = batch.index.numpy()
        grid[0][index] = adaptive_avg_pool2d(early(batch.images), size).half().numpy()
        grid[1][index] = colours(batch.images, size).half().numpy()
    return grid[0], grid[1]


def unit(x: np.ndarray) -> np.ndarray:
    """Rows of unit length, float32."""
    x = x.astype(np.float32)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)


Feature = Callable[[int, Task], np.ndarray]
"""`[rows, D]` of a task, given its label's position among those that are judged."""


def pooled(grid: np.ndarray, weights: Callable[[int, Task], np.ndarray]) -> Feature:
    """Means over the cells of a grid, with weights `[rows or 1, h, w]`."""

    def feature(j: int, t: Task) -> np.ndarray:
        w = weights(j, t).astype(np.float32)
        x, w = grid[t.rows].astype(np.float32), np.broadcast_to(w, (len(t.rows), *w.shape[1:]))
        return np.matmul(x.reshape(*x.shape[:2], -1), w.reshape(len(w), -1, 1))[..., 0]

    return feature


def joined(*parts: Feature) -> Feature:
    """Parts of unit length, side by side."""
    return lambda j, t: np.concatenate([unit(part(j, t)) for part in parts], 1)


def roots(part: Feature) -> Feature:
    """The square root of shares."""
    return lambda j, t: np.sqrt(np.maximum(part(j, t), 0))


def weighted(part: Feature, factor: float) -> Feature:
    """A part of length `factor`, beside others of unit length; see `both`."""
    return lambda j, t: factor * unit(part(j, t))


def both(head: Feature, looks: Feature) -> Feature:
    """The head's feature beside the appearance."""
    return lambda j, t: np.concatenate([head(j, t), looks(j, t)], 1)


def looks_of(
    early: np.ndarray, shares: np.ndarray, weights: Callable[[int, Task], np.ndarray]
) -> dict[str, Feature]:
    """The early stage, the colours and both, pooled with weights."""
    stage, colour = pooled(early, weights), roots(pooled(shares, weights))
    return {"early stage": stage, "colours": colour, "early stage and colours": joined(stage, colour)}


def fixed_features(
    one: Seen, early: np.ndarray, shares: np.ndarray, run: Run, tasks: list[Task]
) -> Iterator[tuple[str, Feature]]:
    """Features that need no head."""
    size = early.shape[2:]
    yield WHOLE, lambda j, t: one.whole[t.rows]
    yield f"{WHOLE}, centred", lambda j, t: one.whole[t.rows] - one.whole.astype(np.float32).mean(0)
    even = np.full((1, *size), 1 / (size[0] * size[1]), np.float32)
    for name, feature in looks_of(early, shares, lambda j, t: even).items():
        yield f"{name}, whole image", feature
    regions = body_regions(run.labels)
    if not regions:
        return

    def stripe(t: Task, count: int) -> np.ndarray:
        low, high = STRIPES[t.group]
        edges = np.clip(np.arange(count + 1) / count, low, high)
        return np.diff(edges) / (high - low)

    yield STRIPE, lambda j, t: one.rows[t.rows].astype(np.float32) @ stripe(t, one.rows.shape[2])
    for name, feature in looks_of(
        early, shares, lambda j, t: np.tile(stripe(t, size[0])[None, :, None] / size[1], (1, 1, size[1]))
    ).items():
        yield f"{name}, stripe", feature
    blank = torch.zeros(1, len(run.labels), size[0] // 2, size[1] // 2)
    fixed = places(blank, regions)[0].numpy()
    for name, feature in looks_of(early, shares, lambda j, t: fixed[t.label][None]).items():
        yield f"{name}, region", feature


def head_features(s: Seen, early: np.ndarray, shares: np.ndarray, run: Run) -> Iterator[tuple[str, Feature]]:
    """Features that depend on a head."""
    regions = body_regions(run.labels)

    def evidence(j: int, t: Task) -> np.ndarray:
        return s.maps[t.rows, j].astype(np.float32).repeat(2, 1).repeat(2, 2) / 4

    def own(j: int, t: Task) -> np.ndarray:
        if t.label not in regions:
            return evidence(j, t)
        blank = torch.zeros(1, 1, *s.maps.shape[2:])
        return places(blank, {0: regions[t.label]})[:, 0].numpy()

    label = lambda j, t: s.features[t.rows, j]  # noqa: E731
    yield "label feature", label
    yield "label feature, centred", lambda j, t: (x := s.features[t.rows, j].astype(np.float32)) - x.mean(0)
    yield "all scores", lambda j, t: s.scores[t.rows]
    yield "last map, evidence", lambda j, t: s.last[t.rows, j]
    for name, feature in looks_of(early, shares, evidence).items():
        yield f"{name}, evidence", feature
    looks = looks_of(early, shares, own)["early stage and colours"]
    usual = HEAD_WEIGHTS[bool(regions)]
    for factor in (0.25, 0.5, 1.0, 2.0):
        name = "stored" if factor == usual else f"stored, head weight {factor:g}"
        yield name, both(weighted(label, factor), looks)


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
            values.append(relevant.sum(0) / others.sum(0))
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
        drawn = [
            (of[k] @ counts[starts[k] : starts[k + 1]])
            / np.maximum(counts[starts[k] : starts[k + 1]].sum(0), 1e-9)
            for k in chosen
        ]
        return np.mean(drawn, 0)

    groups = list(dict.fromkeys(t.group for t in tasks))
    plain = [g for g in groups if "," not in g]
    for group in [*groups, "mean"]:
        chosen = [
            k for k, t in enumerate(tasks) if t.group == group or (group == "mean" and t.group in plain)
        ]
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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
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
        own = [
            {"set": kind, "split": args.split, "feature": name, "head": head, **line}
            for line in summary(tasks, values, base)
        ]
        lines += own
        print("  ".join(f"{k} {v}" for k, v in own[-1].items()), flush=True)
    if args.csv:
        other: list[dict[str, Any]] = []
        if args.add and args.csv.is_file():
            with open(args.csv, newline="", encoding="utf-8") as file:
                other = [
                    row for row in csv.DictReader(file) if (row["set"], row["split"]) != (kind, args.split)
                ]
        both_sets = [*other, *lines]
        keep(args.csv, both_sets, list(dict.fromkeys(key for row in both_sets for key in row)))


if __name__ == "__main__":
    main()
