"""Photographs with evidence maps overlaid, small enough to be embedded in the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from labelwise.data.decode import decode_image
from labelwise.data.pixels import BITS
from labelwise.errors import LabelwiseError
from labelwise.inference.overlays import tint
from labelwise.inference.predictor import Predictor
from labelwise.reports.record import RunRecord
from labelwise.reports.tallies import Pick

LONGEST = 256


@runtime_checkable
class EvidenceSource(Protocol):
    """Returns evidence maps of labels, such as a predictor."""

    def evidence(self, images: list[Any], label_indices: list[int]) -> list[np.ndarray]:
        """One `[h, w]` map for each pair of image and label."""


@runtime_checkable
class ImageSource(Protocol):
    """The photographs of a split, such as a data set."""

    def __len__(self) -> int: ...

    def image_id(self, row: int) -> str:
        """The image id that the scores use."""

    def encoded(self, row: int) -> Path | bytes:
        """The image file, or its bytes."""

    def boxes_of(self, row: int) -> list[tuple[int, float, float, float, float]]:
        """(label, x0, y0, x1, y1) as fractions of the image."""


@dataclass(frozen=True)
class Tile:
    """One photograph of the gallery.

    Args:
        photo: JPEG as a data URI.
        overlay: the tinted map as a PNG data URI, scaled to the photo by the page.
        size: width and height of the photo in pixels.
        label: the label in question.
        score: its probability.
        threshold: its threshold.
        others: names of the other labels that are true of the image.
        image: the image's id.
        boxes: (left, top, width, height) of the label's boxes, in percent.
        unfamiliar: whether the model has seen nothing like the image; false for a run without `labelwise familiarity`.
    """

    photo: str
    overlay: str
    size: tuple[int, int]
    label: str
    score: float
    threshold: float
    others: tuple[str, ...]
    image: str
    boxes: tuple[tuple[float, float, float, float], ...]
    unfamiliar: bool = False


def make_tiles(
    run: RunRecord, split: str, picks: Sequence[Pick], predictor: EvidenceSource, images: ImageSource
) -> list[Tile]:
    """A tile for each pick with a readable image; the others are left out.

    Raises:
        LabelwiseError: an id of the scores is not among the images.
    """
    ids = [str(run.scores[split].ids[pick.row]) for pick in picks]
    rows = _rows_of(ids, images)
    readable, bits = [], run.config.get("augment", {}).get("bits", BITS)
    for pick, image in zip(picks, ids, strict=True):
        try:
            decoded = decode_image(images.encoded(rows[image]), shrink_to=LONGEST, bits=bits)
        except (LabelwiseError, OSError):
            continue
        readable.append((pick, image, decoded))
    encoded = [images.encoded(rows[image]) for _, image, _ in readable]
    maps = predictor.evidence(encoded, [pick.label for pick, _, _ in readable]) if readable else []
    tiles = [
        _tile(run, split, pick, image, thumbnail(decoded), np.asarray(evidence), images.boxes_of(rows[image]))
        for (pick, image, decoded), evidence in zip(readable, maps, strict=True)
    ]
    if not isinstance(predictor, Predictor) or predictor.familiarity is None:
        return tiles
    predictions = predictor.predict(encoded)
    return [replace(tile, unfamiliar=p.unfamiliar) for tile, p in zip(tiles, predictions, strict=True)]


def thumbnail(image: UInt8[torch.Tensor, "3 H W"]) -> Image.Image:
    """The image with its longest side at most 256 px."""
    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    picture.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    return picture


def data_uri(image: Image.Image, form: str) -> str:
    """The image as a `data:` address, JPEG or PNG."""
    stream = io.BytesIO()
    image.save(stream, form, quality=80, optimize=True)
    return f"data:image/{form.lower()};base64,{base64.b64encode(stream.getvalue()).decode()}"


def _rows_of(ids: Sequence[str], images: ImageSource) -> dict[str, int]:
    """The row of each of these images."""
    id_set = set(ids)
    rows = {name: row for row in range(len(images)) if (name := images.image_id(row)) in id_set}
    missing = sorted(id_set - set(rows))
    if missing:
        raise LabelwiseError(
            f"image {missing[0]!r} of the scores is not in the data set",
            "the split that was evaluated",
            "give the data of that split, or evaluate again",
        )
    return rows


def _tile(
    run: RunRecord,
    split: str,
    pick: Pick,
    image: str,
    photo: Image.Image,
    evidence: np.ndarray,
    boxes: Sequence[tuple[int, float, float, float, float]],
) -> Tile:
    scores = run.scores[split]
    true = np.flatnonzero(scores.true[pick.row] & scores.known[pick.row])
    label_boxes = [box for box in boxes if box[0] == pick.label]
    return Tile(
        photo=data_uri(photo, "JPEG"),
        overlay=data_uri(tint(evidence.astype(np.float32)), "PNG"),
        size=photo.size,
        label=run.names[pick.label],
        score=float(scores.probabilities[pick.row, pick.label]),
        threshold=float(run.thresholds[pick.label]),
        others=tuple(run.names[i] for i in true if i != pick.label),
        image=image,
        boxes=tuple(
            (100 * x0, 100 * y0, 100 * (x1 - x0), 100 * (y1 - y0)) for _, x0, y0, x1, y1 in label_boxes
        ),
    )
