"""A box on the photograph of a search: does it find the kind of the object in it?

Run: python studies/box_search.py RUN --data voc:VOC --split test [--csv results/box-search.csv] [--add]

Questions, on photographs of VOC2007 with the boxes, poses and truncation of its XML files (objects that are marked as
difficult are left out): `one of several`, an object of a photograph that shows several of its label with different
values of a trait; `the only one`, one that is the only one of its label. Ranked are the photographs that show a single
object of the label; those with the same value are right, and `chance` is their share. At most `--questions` of each
label and trait.

Ways: `photograph`, the feature that a collection stores; `box`, that of the object's box, see
`labelwise.collection.boxes`; `cut out`, that of the photograph cut to the box before it is resized. `label` and
`appearance` compare one part. `named`: the share of objects in photographs with several labels whose label is the most
probable one.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

import labelwise as lw
from kept import keep, show
from kind_questions import Thing, voc_things
from labelwise.collection.boxes import Box
from labelwise.collection.features import Embedder
from labelwise.metrics.functional import average_precision

WAYS = ("photograph", "box", "cut out")
PARTS = ("stored", "label", "appearance")
LEAST = 40


class Looks:
    """Features and probabilities of photographs and of boxes, computed once."""

    def __init__(self, run: Path, files: list[str]) -> None:
        self.by = Embedder(lw.load(run))
        self.files, self._kept = files, dict[Any, tuple[np.ndarray, np.ndarray]]()

    def of(self, way: str, thing: Thing) -> tuple[np.ndarray, np.ndarray]:
        """`[L, D]` features and `[L]` probabilities."""
        key = (way, thing.image, None if way == "photograph" else thing.box)
        if key not in self._kept:
            transform = self.by.predictor.transform
            pixels = transform.decode(self.files[thing.image])
            if way == "cut out":
                pixels = cut(pixels, thing.box)
            result = self.by(transform(pixels)[None], box=thing.box if way == "box" else None)
            self._kept[key] = result.features[0], result.scores[0]
        return self._kept[key]


def cut(pixels: Any, box: Box) -> Any:
    """`[3, H, W]` pixels of a box, at least one."""
    height, width = pixels.shape[1:]
    top, left = int(box[1] * height), int(box[0] * width)
    bottom, right = max(top + 1, round(box[3] * height)), max(left + 1, round(box[2] * width))
    return pixels[:, top:bottom, left:right].contiguous()


def part_of(features: np.ndarray, part: str, looks: int) -> np.ndarray:
    """Rows of unit length of one part of the features."""
    x, split = features.astype(np.float32), features.shape[1] - looks
    x = {"label": x[:, :split], "appearance": x[:, split:]}.get(part, x)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)


def asked(things: list[Thing], trait: str, kind: str, most: int, rng: np.random.Generator) -> list[Thing]:
    """The questions of a label."""
    own = [t for t in things if trait in t.traits and not t.difficult]
    if kind == "the only one":
        found = [t for t in own if t.several == 1]
    else:
        values: dict[int, set[int]] = {}
        for t in own:
            values.setdefault(t.image, set()).add(t.traits[trait])
        found = [t for t in own if len(values[t.image]) > 1]
    return [found[i] for i in sorted(rng.permutation(len(found))[:most])]


def interval(values: np.ndarray, images: np.ndarray, draws: int = 1000) -> tuple[float, float]:
    """Of the mean, at 95 %, over images."""
    rng, unique = np.random.default_rng(0), np.unique(images)
    rows = [np.flatnonzero(images == i) for i in unique]
    resampled = (rng.integers(len(rows), size=len(rows)) for _ in range(draws))
    means = [values[np.concatenate([rows[i] for i in chosen])].mean() for chosen in resampled]
    return float(np.percentile(means, 2.5)), float(np.percentile(means, 97.5))


def percent(mean: str, low: str, high: str, values: np.ndarray, images: np.ndarray) -> dict[str, float]:
    """The mean of values by its name, with its interval over images by theirs."""
    figures = values.mean(), *interval(values, images)
    return {name: round(100 * float(x), 2) for name, x in zip((mean, low, high), figures, strict=True)}


def main() -> None:
    """Prints the table, and writes it as CSV with --csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--data", default="voc:../shared/data/voc2007")
    parser.add_argument("--split", default="test")
    parser.add_argument("--questions", type=int, default=60)
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--add", action="store_true", help="keep the rows of other splits in the file")
    args = parser.parse_args()
    folder = Path(args.data.partition(":")[2])
    rows = lw.read(args.data).split(args.split)
    ids = [rows.image_id(i) for i in range(len(rows))]
    looks = Looks(args.run, [str(rows.encoded(i)) for i in range(len(rows))])
    names, width = list(looks.by.predictor.labels.names), looks.by.look_dim
    things: dict[str, list[Thing]] = {}
    for thing in voc_things(folder, ids):
        things.setdefault(thing.name, []).append(thing)
    rng, found = np.random.default_rng(0), dict[tuple[str, ...], list[tuple[int, float]]]()
    for name, own in sorted(things.items()):
        j = names.index(name)
        for trait in ("pose", "truncation"):
            singles = [t for t in own if t.several == 1 and trait in t.traits and not t.difficult]
            value = np.array([t.traits[trait] for t in singles])
            if len(singles) < LEAST or len(set(value.tolist())) < 2:
                continue
            stored = np.array([looks.of("photograph", t)[0][j] for t in singles])
            at = np.array([t.image for t in singles])
            for kind in ("one of several", "the only one"):
                for t in asked(own, trait, kind, args.questions, rng):
                    others = at != t.image
                    right = (value == t.traits[trait])[others, None]
                    if right.all() or not right.any():
                        continue
                    for way, part in product(WAYS, PARTS):
                        own_part = part_of(looks.of(way, t)[0][j][None], part, width)
                        likeness = part_of(stored, part, width)[others] @ own_part.T
                        ap = float(average_precision(likeness, right)[0])
                        found.setdefault((kind, trait, way, part), []).append((t.image, ap))
                    found.setdefault((kind, trait, "chance", ""), []).append((t.image, float(right.mean())))
        print(f"{name} asked", flush=True)
    shown = {i: {t.name for own in things.values() for t in own if t.image == i} for i in range(len(ids))}
    several = [t for own in things.values() for t in own if len(shown[t.image]) > 1 and not t.difficult]
    for i in rng.permutation(len(several))[: 10 * args.questions]:
        for way in WAYS:
            scores = looks.of(way, several[i])[1]
            hit = float(names[int(scores.argmax())] == several[i].name)
            found.setdefault(("named", "", way, ""), []).append((several[i].image, hit))
    lines = []
    for (kind, trait, way, part), values in found.items():
        image, value = (np.array(column) for column in zip(*values, strict=True))
        line = {"split": args.split, "question": kind, "trait": trait, "way": way, "part": part}
        line |= {"questions": len(value), **percent("mean", "low", "high", value, image)}
        plain = found.get((kind, trait, "photograph", part))
        if plain is not None and way != "photograph":
            more = value - np.array([v for _, v in plain])
            line |= percent("over", "over_low", "over_high", more, image)
        lines.append(line)
        show(lines[-1])
    keep(args.csv, lines, ("split",) if args.add else ())


if __name__ == "__main__":
    main()
