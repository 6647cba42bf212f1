"""How well a run tells images unlike its training images from others, by several scores.

Run: python studies/unfamiliar.py --run RUN [--shared ../shared/data] [--csv results/unfamiliar.csv]

RUN is trained on VOC2007, and `labelwise familiarity RUN` was called.

The familiar images are a sample of its test split, `--count` images; every set has as many. The score was chosen by the
sets `choose`, with the val split as familiar images: pedestrians of PETA, and val photographs cut into 4 x 4 tiles in
random order. The sets `report` are natural scenes of MIML, drawn posters (coloured ground, shapes, lines of letters),
noise (uniform per pixel, half of it smoothed), and scanned digits of scikit-learn, enlarged. Figures are areas under
the ROC curve, unfamiliar against familiar, and the share that is called unfamiliar, at a p-value of 1 %.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from kept import keep, show
from labelwise.collection.features import Embedder
from labelwise.collection.few import Space
from labelwise.data import read
from labelwise.data.splits import ensure_splits
from labelwise.inference import load
from labelwise.inference.familiarity import Familiarity, distances
from labelwise.inference.inputs import decode_upright
from labelwise.inference.prediction import LEVEL

SIDE = 256
CHOSEN = "distance, fifth nearest"
"""The score of `labelwise familiarity`."""


def photographs(files: Sequence[Path], count: int, seed: int) -> Iterator[Image.Image]:
    """A random sample of image files."""
    for i in np.random.default_rng(seed).permutation(len(files))[:count]:
        yield Image.open(files[i]).convert("RGB")


def voc(shared: Path, split: str) -> list[Path]:
    """The photographs of a split of VOC2007."""
    rows = ensure_splits(read(f"voc:{shared / 'voc2007'}"), seed=0).split(split)
    return [Path(str(rows.encoded(i))) for i in range(len(rows))]


def shuffled(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A photograph cut into 4 x 4 tiles in random order."""
    pixels = np.asarray(image.resize((SIDE, SIDE)))
    tiles = pixels.reshape(4, SIDE // 4, 4, SIDE // 4, 3).swapaxes(1, 2).reshape(16, SIDE // 4, SIDE // 4, 3)
    tiles = tiles[rng.permutation(16)].reshape(4, 4, SIDE // 4, SIDE // 4, 3)
    return Image.fromarray(tiles.swapaxes(1, 2).reshape(SIDE, SIDE, 3))


def poster(rng: np.random.Generator) -> Image.Image:
    """A coloured ground with shapes and lines of letters."""

    def colour() -> tuple[int, ...]:
        return tuple(rng.integers(0, 256, 3).tolist())

    image = Image.new("RGB", (SIDE, SIDE), colour())
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(1, 5))):
        x0, y0 = rng.integers(0, SIDE, 2).tolist()
        width, height = rng.integers(20, 160, 2).tolist()
        shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        shape((x0, y0, x0 + width, y0 + height), fill=colour())
    top = int(rng.integers(0, 40))
    while top < SIDE - 20:
        size = int(rng.integers(12, 48))
        text = "".join(rng.choice(list("ABCDEFGHIKLMNOPRSTUVWYZ abcdefghiklmnoprstuvwyz"), 14))
        draw.text((int(rng.integers(0, 60)), top), text, fill=colour(), font_size=size)
        top += size + int(rng.integers(4, 50))
    return image


def noise(rng: np.random.Generator) -> Image.Image:
    """Uniform noise per pixel, in half of the images smoothed and stretched."""
    image = Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8))
    if rng.random() < 0.5:
        smooth = np.asarray(image.filter(ImageFilter.GaussianBlur(float(rng.uniform(2, 12)))), np.float32)
        low, high = smooth.min(), smooth.max()
        image = Image.fromarray(((smooth - low) / (high - low) * 255).astype(np.uint8))
    return image


def digits(count: int, seed: int) -> Iterator[Image.Image]:
    """Scanned digits of 8 x 8 pixels, enlarged."""
    scans = load_digits().images / 16
    for i in np.random.default_rng(seed).permutation(len(scans))[:count]:
        grey = Image.fromarray((255 * (1 - scans[i])).astype(np.uint8))
        yield grey.resize((SIDE, SIDE), Image.Resampling.BICUBIC).convert("RGB")


def sets(shared: Path, count: int, seed: int) -> dict[str, Callable[[], Iterator[Image.Image]]]:
    """The images of each set."""

    def made(make: Callable[[np.random.Generator], Image.Image]) -> Iterator[Image.Image]:
        rng = np.random.default_rng(seed)
        return (make(rng) for _ in range(count))

    def tiles() -> Iterator[Image.Image]:
        rng = np.random.default_rng(seed)
        return (shuffled(image, rng) for image in photographs(voc(shared, "val"), count, seed))

    def folder(place: str) -> Iterator[Image.Image]:
        return photographs(sorted((shared / place).rglob("*.jpg")), count, seed)

    return {
        "val": lambda: photographs(voc(shared, "val"), count, seed),
        "test": lambda: photographs(voc(shared, "test"), count, seed),
        "pedestrians": lambda: folder("peta/images"),
        "shuffled tiles": tiles,
        "scenes": lambda: folder("miml-scenes/images"),
        "posters": lambda: made(poster),
        "noise": lambda: made(noise),
        "digits": lambda: digits(count, seed),
    }


def measured(embedder: Embedder, images: Iterator[Image.Image]) -> dict[str, np.ndarray]:
    """Whole-image features, label features, selected labels and logits of images."""
    transform, parts = embedder.predictor.transform, []
    while batch := [transform(decode_upright(image, transform, [])) for image in islice(images, 32)]:
        pixels = torch.stack(batch)
        result = embedder(pixels, maps=False)
        logits = embedder.predictor.engine(pixels)[0]
        parts.append((result.whole, result.features, result.chosen, result.scores, logits))
    arrays = (np.concatenate(part) for part in zip(*parts, strict=True))
    return dict(zip(("whole", "features", "chosen", "scores", "logits"), arrays, strict=True))


def mahalanobis(features: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Distance to the training mean under the training covariance, with a tenth of its mean variance added."""
    space = Space(known, 0.1)
    return np.square(space(features)).sum(1)


def scores_of(held: Familiarity, images: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Scores that are larger for images that are less familiar.

    `label distance` is the mean distance of the selected labels, or of the most probable one if none is selected;
    `energy` is minus the sum over labels of `log(1 + exp(logit))` (Wang et al. 2021, JointEnergy).
    """
    whole = images["whole"].astype(np.float32)
    rows, chosen = np.arange(len(whole)), images["chosen"].copy()
    chosen[rows, images["scores"].argmax(1)] |= ~chosen.any(1)
    of_labels = np.full(chosen.shape, np.nan)
    for j in range(chosen.shape[1]):
        known = held.features[held.labels == j]
        own = np.flatnonzero(chosen[:, j])
        if len(known) and len(own):
            of_labels[own, j] = distances(images["features"][own, j], known)
    return {
        "distance, nearest": distances(whole, held.images, 1),
        "distance, fifth nearest": distances(whole, held.images, 5),
        "distance, 50th nearest": distances(whole, held.images, 50),
        "Mahalanobis": mahalanobis(whole, held.images),
        "label distance": np.nanmean(of_labels, 1),
        "maximum probability": -images["scores"].max(1),
        "energy": -np.logaddexp(0, images["logits"].astype(np.float64)).sum(1),
    }


def main() -> None:
    """Prints a line per set and score, and writes them as CSV with --csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="a run for which familiarity was fitted")
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    embedder, held = Embedder(load(args.run)), Familiarity.of_run(args.run)
    images = {
        name: measured(embedder, make()) for name, make in sets(args.shared, args.count, args.seed).items()
    }
    scores = {name: scores_of(held, of_set) for name, of_set in images.items()}
    lines: list[dict[str, Any]] = []
    for name in ("pedestrians", "shuffled tiles", "scenes", "posters", "noise", "digits"):
        kind, familiar = (
            ("choose", "val") if name in ("pedestrians", "shuffled tiles") else ("report", "test")
        )
        flagged = held.of_images(images[name]["whole"]) <= LEVEL
        for score, values in scores[name].items():
            against = scores[familiar][score]
            truth = np.r_[np.zeros(len(against)), np.ones(len(values))]
            area = roc_auc_score(truth, np.r_[against, values])
            share = float(flagged.mean()) if score == CHOSEN else ""
            lines.append({"set": name, "kind": kind, "score": score, "AUROC": area, "flagged": share})
            lines[-1] |= {"images": len(values), "familiar": familiar, "seed": args.seed}
            show(lines[-1])
    flagged = float((held.of_images(images["test"]["whole"]) <= LEVEL).mean())
    print(f"flagged among test photographs {flagged:.4f}")
    lines.append({"set": "test", "kind": "report", "score": CHOSEN, "AUROC": "", "flagged": flagged})
    lines[-1] |= {"images": len(images["test"]["whole"]), "familiar": "test", "seed": args.seed}
    keep(args.csv, lines)


if __name__ == "__main__":
    main()
