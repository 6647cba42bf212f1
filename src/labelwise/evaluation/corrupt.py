"""Corrupted photographs: a run's metrics under noise, blur, JPEG, erasing and low resolution."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Generator, Tensor
from torchvision.transforms import InterpolationMode, v2

from labelwise.data.dataset import Dataset
from labelwise.data.loading import eval_loader
from labelwise.data.sheet import laid, parts
from labelwise.data.transforms import MID_GREY, ImageTransform, build_transform
from labelwise.errors import LabelwiseError
from labelwise.evaluation.scores import Scores, collect
from labelwise.metrics import functional as F
from labelwise.runs.run import Run

Picture = UInt8[Tensor, "3 h w"]
STRENGTHS = (1, 2, 3, 4, 5)
REFERENCE = 224
"""Side in pixels for which the strengths of blur are defined; other sizes scale them."""

LEVELS: Mapping[str, tuple[float, ...]] = {
    "noise": (0.04, 0.08, 0.12, 0.18, 0.26),
    "blur": (0.6, 1.2, 2.0, 3.0, 4.5),
    "jpeg": (25, 18, 12, 8, 5),
    "erasing": (0.05, 0.1, 0.2, 0.3, 0.4),
    "low-resolution": (1.5, 2.0, 3.0, 4.0, 6.0),
}
"""Parameter of each strength from 1 to 5: standard deviation of Gaussian noise as a share of white; standard deviation
of Gaussian blur in pixels at 224 px; JPEG quality; share of the picture under one grey square; factor by which both
sides are reduced before they are enlarged again."""


def corrupt(image: Picture, kind: str, strength: int, draws: Generator) -> Picture:
    """Returns one picture corrupted.

    Args:
        image: `[3, h, w]` uint8, at the size that the model reads.
        kind: one of `LEVELS`.
        strength: from 1, mild, to 5.
        draws: random generator of noise and erasing.

    Raises:
        LabelwiseError: unknown kind or strength.

    >>> grey = torch.full((3, 32, 32), 90, dtype=torch.uint8)
    >>> corrupt(grey, "erasing", 5, Generator().manual_seed(0)).unique().tolist()
    [90, 128]
    """
    if kind not in LEVELS:
        raise LabelwiseError(f"corruption {kind!r}", f"one of {', '.join(LEVELS)}", "correct the name")
    if strength not in STRENGTHS:
        raise LabelwiseError(f"strength {strength}", "a whole number from 1 to 5", "correct the strength")
    return _CORRUPTIONS[kind](image, LEVELS[kind][strength - 1], draws)


class Corruption:
    """The evaluation transform, then a corruption that takes its random seed from the picture's content.

    The result for a picture does not depend on the order of the images or the number of workers.

    Args:
        transform: from a decoded image to the model's size.
        kind: one of `LEVELS`; empty for the picture as it is.
        strength: from 1 to 5.
        seed: random seed.
    """

    def __init__(self, transform: ImageTransform, kind: str = "", strength: int = 1, seed: int = 0) -> None:
        self.transform, self.kind, self.strength, self.seed = transform, kind, strength, seed

    def __call__(self, image: UInt8[Tensor, "3 H W"]) -> Picture:
        picture = self.transform(image)
        if not self.kind:
            return picture
        sizes = self.transform.config.sizes
        if len(sizes) > 1:
            return laid([self._corrupted(view) for view in parts(picture, sizes)])
        return self._corrupted(picture)

    def _corrupted(self, picture: Picture) -> Picture:
        key = f"{self.seed} {self.kind} {self.strength}".encode()
        digest = hashlib.blake2b(picture.contiguous().numpy().tobytes(), digest_size=7, key=key).digest()
        draws = Generator().manual_seed(int.from_bytes(digest, "little"))
        return corrupt(picture, self.kind, self.strength, draws)


@dataclass(frozen=True)
class CorruptionRow:
    """Metrics under one corruption; `kept` is the share of the clean mAP, `AP` is by label."""

    kind: str
    strength: int
    mAP: float  # noqa: N815 - the field's own name
    CF1: float
    OF1: float
    kept: float
    AP: Mapping[str, float]


@dataclass(frozen=True)
class Robustness:
    """The result of `corruption_table`.

    Args:
        clean: mAP, CF1 and OF1 of the uncorrupted pictures.
        clean_AP: average precision of each label that has one, on the uncorrupted pictures.
        without: labels that have no average precision, each with what it lacks.
        rows: one per kind and strength.
        scores: of the uncorrupted pictures.
        images: number of evaluated pictures.
    """

    clean: Mapping[str, float]
    clean_AP: Mapping[str, float]  # noqa: N815 - the field's own name
    without: Mapping[str, str]
    rows: tuple[CorruptionRow, ...]
    scores: Scores
    images: int

    def to_json(self) -> dict[str, Any]:
        """JSON data: the rules, the clean metrics, a row per corruption and the means per kind."""
        return {
            "protocol": {
                "name": "corruption.v1",
                "applied": "after resizing to the model's size; noise and erasing drawn from each picture's content",
                "levels": {kind: list(values) for kind, values in LEVELS.items()},
                "blur": f"standard deviation in pixels at {REFERENCE} px",
                "threshold": "logit >= 0",
            },
            "images": self.images,
            "clean": dict(self.clean),
            "AP": dict(self.clean_AP),
            "labels_without_AP": dict(self.without),
            "corrupted": [vars(row) for row in self.rows],
            "mean": {kind: self.mean(kind) for kind in dict.fromkeys(row.kind for row in self.rows)},
        }

    def mean(self, kind: str) -> float:
        """Mean mAP of a kind over its strengths."""
        values = [row.mAP for row in self.rows if row.kind == kind]
        return sum(values) / len(values)


def corruption_table(
    run: Run,
    rows: Dataset,
    kinds: Sequence[str] = tuple(LEVELS),
    *,
    seed: int = 0,
    batch_size: int = 32,
    workers: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> Robustness:
    """Evaluates a run on pictures corrupted in each kind and strength; images are decoded, stored maps are not used.

    Args:
        run: with weights.
        rows: the images, with the run's labels in its order.
        kinds: names in `LEVELS`.
        progress: called with one line per row.

    Raises:
        LabelwiseError: unknown kind, no readable image, or no label with a known positive and a known negative.
    """
    for kind in kinds:
        if kind not in LEVELS:
            raise LabelwiseError(f"corruption {kind!r}", f"one of {', '.join(LEVELS)}", "correct the name")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = run.model().to(device)
    clean_transform = build_transform(run.config.transform(), train=False)

    def scores_under(transform: Corruption) -> tuple[Scores, dict[str, float], dict[str, float]]:
        loader = eval_loader(rows, transform, batch_size=batch_size, workers=workers)
        try:
            scores = collect(model, loader, rows, device)
        finally:
            loader.close()
        by_label = F.average_precision(scores.logits, scores.hard, scores.known)
        judged = {
            name: float(value)
            for name, value in zip(rows.labels.names, by_label, strict=True)
            if np.isfinite(value)
        }
        return scores, _figures(scores), judged

    scores, clean, clean_by_label = scores_under(Corruption(clean_transform))
    without = F.without_average_precision(scores.hard, scores.known)
    if len(without) == len(rows.labels):
        raise LabelwiseError(
            f"{len(rows):,} images of {rows.source} in which no label has both a known positive and a known negative",
            "at least one such label, for there is no mAP without",
            "judge on other images, or write 0 where a label is absent",
        )
    progress(f"clean: mAP {clean['mAP']:.4f}")
    results = []
    for kind, strength in _kinds_and_strengths(kinds):
        _, figures, by_label = scores_under(Corruption(clean_transform, kind, strength, seed))
        kept = figures["mAP"] / clean["mAP"]
        results.append(CorruptionRow(kind, strength, **figures, kept=kept, AP=by_label))
        progress(f"{kind} {strength}: mAP {figures['mAP']:.4f}")
    names = {rows.labels.names[j]: why for j, why in without.items()}
    return Robustness(clean, clean_by_label, names, tuple(results), scores, len(scores.rows))


def _kinds_and_strengths(kinds: Sequence[str]) -> Iterator[tuple[str, int]]:
    return ((kind, strength) for kind in kinds for strength in STRENGTHS)


def _figures(scores: Scores) -> dict[str, float]:
    """mAP, and CF1 and OF1 at logit 0."""
    z, y, k = scores.logits, scores.hard, scores.known
    metrics = F.threshold_metrics(z, y, k, threshold=0.0)
    return {"mAP": float(F.mean_average_precision(z, y, k)), "CF1": metrics["CF1"], "OF1": metrics["OF1"]}


def _noise(image: Tensor, deviation: float, draws: Generator) -> Tensor:
    noise = torch.randn(image.shape, generator=draws) * (255 * deviation)
    return (image + noise).round().clamp(0, 255).to(torch.uint8)


def _blur(image: Tensor, deviation: float, draws: Generator) -> Tensor:
    sigma = deviation * min(image.shape[-2:]) / REFERENCE
    # The kernel covers three deviations on each side and must fit into the picture.
    side = min(2 * max(1, round(3 * sigma)) + 1, (min(image.shape[-2:]) - 1) // 2 * 2 + 1)
    return v2.functional.gaussian_blur(image, [side, side], [sigma, sigma])


def _jpeg(image: Tensor, quality: float, draws: Generator) -> Tensor:
    return v2.functional.jpeg(image.contiguous(), int(quality))


def _erasing(image: Tensor, share: float, draws: Generator) -> Tensor:
    height, width = image.shape[-2:]
    rows, columns = (max(1, round(side * share**0.5)) for side in (height, width))
    top = int(torch.randint(height - rows + 1, (), generator=draws))
    left = int(torch.randint(width - columns + 1, (), generator=draws))
    grey = torch.full((3, rows, columns), MID_GREY, dtype=torch.uint8)
    return v2.functional.erase(image, top, left, rows, columns, grey)


def _low_resolution(image: Tensor, factor: float, draws: Generator) -> Tensor:
    size = list(image.shape[-2:])
    small = [max(1, round(side / factor)) for side in size]
    shrunk = v2.functional.resize(image, small, antialias=True)
    return v2.functional.resize(shrunk, size, interpolation=InterpolationMode.BILINEAR, antialias=True)


_CORRUPTIONS: Mapping[str, Callable[[Tensor, float, Generator], Tensor]] = {
    "noise": _noise,
    "blur": _blur,
    "jpeg": _jpeg,
    "erasing": _erasing,
    "low-resolution": _low_resolution,
}
