"""Questions of `kinds.py`: images with a label, and a trait of it that no training label names."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
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
class Thing:
    """An object on a photograph of VOC.

    Args:
        image: number of the photograph.
        name: label.
        corners: left, top, right and bottom, pixels from 1.
        size: width and height of the photograph.
        traits: `truncation` 0 or 1, and `pose`, a position in `POSES`, if it is one of them.
        several: objects of its label on the photograph, itself among them.
        objects: all objects on the photograph.
        difficult: whether it is marked so.
    """

    image: int
    name: str
    corners: tuple[float, float, float, float]
    size: tuple[float, float]
    traits: dict[str, int]
    several: int
    objects: int
    difficult: bool

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Its sides as shares of those of the photograph."""
        (x0, y0, x1, y1), (width, height) = self.corners, self.size
        return max(0, x0 - 1) / width, max(0, y0 - 1) / height, min(1, x1 / width), min(1, y1 / height)


def voc_things(folder: Path, ids: Iterable[str]) -> Iterator[Thing]:
    """The objects of photographs, by their XML files."""
    for i, image in enumerate(ids):
        tree = ElementTree.parse(folder / "Annotations" / f"{Path(image).stem}.xml").getroot()
        width, height = (float(tree.findtext(f"size/{side}", "1")) for side in ("width", "height"))
        objects = tree.findall("object")
        names = [o.findtext("name", "") for o in objects]
        for o, name in zip(objects, names, strict=True):
            x0, y0, x1, y1 = (float(o.findtext(f"bndbox/{k}", "0")) for k in ("xmin", "ymin", "xmax", "ymax"))
            traits = {"truncation": int(o.findtext("truncated", "0"))}
            if (pose := o.findtext("pose", "")) in POSES:
                traits["pose"] = POSES.index(pose)
            counts = names.count(name), len(objects)
            difficult = o.findtext("difficult") == "1"
            yield Thing(i, name, (x0, y0, x1, y1), (width, height), traits, *counts, difficult)


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


def by_chance(relevant: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The expected average precision of a random order, of each question.

    Of `n` images `r` are relevant. The one at place `k` has on average `1 + (k - 1) (r - 1) / (n - 1)` relevant ones
    up to itself.
    """
    n, r = others.sum(0), relevant.sum(0)
    harmonic = np.array([(1 / np.arange(1, count + 1)).sum() for count in n])
    return np.asarray((harmonic + (r - 1) / (n - 1) * (n - harmonic)) / n)


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
    for thing in voc_things(folder, (rows.image_id(i) for i in range(len(rows)))):
        if thing.several > 1 or thing.difficult:
            continue
        x0, y0, x1, y1 = thing.corners
        share = (x1 - x0) * (y1 - y0) / (thing.size[0] * thing.size[1])
        for trait, value in thing.traits.items():
            shown.setdefault((thing.name, trait), []).append((thing.image, value, thing.objects, share))
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
