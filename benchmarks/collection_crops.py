"""The collection of `collection_page.py`: crops of the photographs of another one, with their features."""

from __future__ import annotations

import hashlib
import io
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from collection_search import vectors
from labelwise.collection import Collection
from labelwise.collection.collection import vectors_of_column
from labelwise.collection.schema import feature_schema, image_schema
from labelwise.collection.store import FolderStore

PART, BLOCK = 4096, 400
COLUMNS = ("image", "path", "width", "height", "digest", "labels", "row")


@lru_cache(BLOCK)
def opened(path: str) -> Image.Image:
    """A photograph of at most 256 px."""
    with Image.open(path) as file:
        photo = file.convert("RGB")
    photo.thumbnail((256, 256))
    return photo


def crop(
    photo: Image.Image, rng: np.random.Generator
) -> tuple[bytes, tuple[float, ...], bool, tuple[int, int]]:
    """A crop as a JPEG file, its sides as fractions of the photograph, whether it is mirrored, and its size."""
    width, height = rng.uniform(0.6, 1, 2)
    x, y = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
    sides = x, y, x + width, y + height
    cut = photo.crop(tuple(round(side * photo.size[i % 2]) for i, side in enumerate(sides)))
    mirrored = bool(rng.random() < 0.5)
    if mirrored:
        cut = cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    out = io.BytesIO()
    cut.save(out, "JPEG", quality=80)
    return out.getvalue(), sides, mirrored, cut.size


def moved(box: list[float], sides: tuple[float, ...], mirrored: bool) -> list[float]:
    """A box of the photograph in its crop."""
    x0, y0, x1, y1 = sides
    left, right = ((np.clip(box[i], x0, x1) - x0) / (x1 - x0) for i in (0, 2))
    top, bottom = ((np.clip(box[i], y0, y1) - y0) / (y1 - y0) for i in (1, 3))
    return [1 - right, top, 1 - left, bottom] if mirrored else [left, top, right, bottom]


def make(base: Path, work: Path, count: int) -> None:
    """Writes the crops and their collection."""
    source, rng = Collection.open(base), np.random.default_rng(3)
    identity = source.identity
    photos = source.images(("image", "path", "labels", "scores", "error", "whole")).sort_by("image")
    rows = [row for row in photos.select(["path", "labels"]).to_pylist() if row["labels"]]
    kept = [i for i, labels in enumerate(photos["labels"].to_pylist()) if labels]
    scores, whole = (
        vectors_of_column(photos[c], d)[kept]
        for c, d in (("scores", len(identity.labels)), ("whole", identity.whole_dim))
    )
    place = {number: i for i, number in enumerate(np.asarray(photos["image"])[kept].tolist())}
    own: dict[int, list[tuple[str, float, list[float], int]]] = {i: [] for i in range(len(rows))}
    features: dict[str, np.ndarray] = {}
    for label in identity.stored:
        table = source.features(label)
        features[label] = vectors_of_column(table["feature"], identity.dim).astype(np.float32)
        for j, (image, score, box) in enumerate(
            zip(*(table[c].to_pylist() for c in ("image", "score", "box")), strict=True)
        ):
            own[place[image]].append((label, score, box, j))
    tables = FolderStore.create(work / "collection", identity)
    copies = -(-count // len(rows))
    part: dict[str, list[Any]] = {}
    cells: list[tuple[int, str, float, list[float], np.ndarray]] = []
    # Crops of one photograph do not follow one another.
    order = (
        (i, k)
        for first in range(0, len(rows), BLOCK)
        for k in range(copies)
        for i in range(len(rows))[first : first + BLOCK]
    )
    for number, (i, k) in enumerate(islice(order, count)):
        content, sides, mirrored, size = crop(opened(rows[i]["path"]), rng)
        path = work / "photographs" / f"{i // 100:03}" / f"{Path(rows[i]['path']).stem}-{k:02}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        values = (number, str(path), *size, digest, rows[i]["labels"], i)
        for name, value in zip(COLUMNS, values, strict=True):
            part.setdefault(name, []).append(value)
        for label, score, box, j in own[i]:
            others, mix = features[label], rng.uniform(0, 0.5)
            feature = (1 - mix) * others[j] + mix * others[rng.integers(len(others))]
            feature /= np.linalg.norm(feature)
            box = moved(box, sides, mirrored)
            cells.append((len(part["row"]) - 1, label, score * rng.uniform(0.9, 1), box, feature))
        if len(part["row"]) == PART or number + 1 == count:
            tables.add(*arrow(part, cells, scores, whole, identity))
            part, cells = {}, []
            print(f"{number + 1:,} of {count:,} photographs", flush=True)
    tables.finish()


def arrow(
    part: dict[str, list[Any]], cells: list[Any], scores: np.ndarray, whole: np.ndarray, identity: Any
) -> tuple[pa.Table, pa.Table]:
    """The rows of a part as tables."""
    at = part.pop("row")
    base = {**part, "scores": vectors(scores[at].astype(np.float16))}
    more = {"error": pa.nulls(len(at), pa.string()), "whole": vectors(whole[at].astype(np.float16))}
    images = pa.table(base | more, image_schema(identity))
    row, labels, values, boxes, features = zip(*sorted(cells, key=lambda cell: cell[1]), strict=True)
    repeated = images.select(list(base)).take(pa.array(row))
    own = {
        "label": list(labels),
        "score": list(values),
        "selected": [True] * len(row),
        "box": vectors(np.array(boxes, np.float32)),
        "feature": vectors(np.array(features, np.float16)),
    }
    columns = dict(zip(base, repeated.columns, strict=True)) | own
    return images, pa.table(columns, feature_schema(identity))
