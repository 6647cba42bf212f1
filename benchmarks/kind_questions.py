"""Questions of `kinds.py`: images with a label, and a trait of it that no training label names."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from labelwise.data.dataset import Dataset

COLOURS = ("Black", "Blue", "Brown", "Green", "Grey", "Orange", "Pink", "Purple", "Red", "White", "Yellow")
STRIPES = {"hair": (0, 0.18), "upperBody": (0.15, 0.5), "lowerBody": (0.5, 0.9), "footwear": (0.85, 1)}
LABELS = (
    *("upperBodyCasual", "upperBodyFormal", "upperBodyOther"),
    *("lowerBodyCasual", "lowerBodyFormal", "lowerBodyJeans", "lowerBodyTrousers"),
    *("footwearLeatherShoes", "footwearShoes", "footwearSneaker", "hairLong"),
)
POSES = ("Frontal", "Left", "Rear", "Right")


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
