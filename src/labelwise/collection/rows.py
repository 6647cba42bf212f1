"""The rows of a batch of images: files opened, features computed, columns of both tables."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from labelwise.collection.boxes import Box
from labelwise.collection.features import Embedder, evidence_box
from labelwise.collection.graphs import GraphEmbedder
from labelwise.collection.schema import Identity, feature_schema, image_schema
from labelwise.data.decode import UnreadableImage, image_size
from labelwise.data.fixed import Transform, shown_part
from labelwise.inference.shared import shared

Batch: TypeAlias = tuple[pa.RecordBatch, pa.RecordBatch]
"""Rows of `images` and of `features`."""


def path_text(path: str) -> str:
    """An absolute path as text; bytes that are not UTF-8 are escaped."""
    return os.fsencode(os.path.abspath(path)).decode("utf-8", "backslashreplace")


class Photo(NamedTuple):
    """An opened image file, or the reason why it cannot be read."""

    path: str
    pixels: Tensor | None
    error: str | None
    size: tuple[int, int]
    digest: str
    shown: Box


class PhotoDataset(torch.utils.data.Dataset):
    """Images with the size and digest of their files."""

    def __init__(self, paths: Sequence[str], transform: Transform) -> None:
        self._paths, self._transform = shared(paths), transform

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, i: int) -> Photo:
        return photo_at(str(self._paths[i]), self._transform)


def photo_at(path: str, transform: Transform) -> Photo:
    """The model's input for the image at a path, or the reason why it cannot be read."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        return Photo(path, None, f"{path} ({error.strerror})", (0, 0), "", (0.0, 0.0, 1.0, 1.0))
    return photo_of(path, content, transform)


def photo_of(path: str, content: bytes, transform: Transform) -> Photo:
    """The model's input for an image file, or the reason why it cannot be read."""
    digest = hashlib.sha256(content).hexdigest()
    try:
        width, height = image_size(content)
        pixels = transform(transform.decode(content))
    except UnreadableImage as error:
        return Photo(path, None, str(error), (0, 0), digest, (0.0, 0.0, 1.0, 1.0))
    return Photo(path, pixels, None, (width, height), digest, shown_part(transform.config, height, width))


def of_batch(
    embedder: Embedder | GraphEmbedder, identity: Identity, batch: Sequence[Photo], first: int
) -> Batch:
    """Rows of both tables for a batch whose first image has the number `first`."""
    names, stored = identity.labels, [identity.labels.index(name) for name in identity.stored]
    scores = np.zeros((len(batch), len(names)), np.float16)
    whole = np.zeros((len(batch), identity.whole_dim), np.float16)
    selected: list[list[str]] = [[] for _ in batch]
    cells: list[tuple[int, int, float, bool, Box]] = []  # image, label, score, selected, box
    features: list[np.ndarray] = []
    readable = [i for i, photo in enumerate(batch) if photo.pixels is not None]
    if readable:
        result = embedder(torch.stack([pixels for photo in batch if (pixels := photo.pixels) is not None]))
        assert result.maps is not None, "label features need maps for their boxes"
        for row, i in enumerate(readable):
            p, chosen = result.scores[row], result.chosen[row]
            scores[i], whole[i] = p, result.whole[row]
            selected[i] = [names[j] for j in np.argsort(-p, kind="stable") if chosen[j]]
            for j in stored:
                if identity.every or chosen[j]:
                    box = evidence_box(result.maps[row, j], batch[i].shown)
                    cells.append((i, j, float(p[j]), bool(chosen[j]), box))
                    features.append(result.features[row, j])
    image_columns = {
        "image": np.arange(first, first + len(batch)),
        "path": [path_text(photo.path) for photo in batch],
        "width": [photo.size[0] for photo in batch],
        "height": [photo.size[1] for photo in batch],
        "digest": [photo.digest for photo in batch],
        "labels": selected,
        "scores": _vector_column(scores),
    }
    images = _record_batch(
        {**image_columns, "error": [photo.error for photo in batch], "whole": _vector_column(whole)},
        image_schema(identity),
    )
    rows = pa.array([i for i, *_ in cells], pa.int64())
    repeated = images.select(list(image_columns)).take(rows)
    label_columns = {
        "label": [names[j] for _, j, *_ in cells],
        "score": [score for _, _, score, _, _ in cells],
        "selected": [chosen for *_, chosen, _ in cells],
        "box": _vector_column(np.array([box for *_, box in cells], np.float32).reshape(len(cells), 4)),
        "feature": _vector_column(np.array(features, np.float16).reshape(len(cells), identity.dim)),
    }
    columns = dict(zip(image_columns, repeated.columns, strict=True)) | label_columns
    return images, _record_batch(columns, feature_schema(identity))


def _vector_column(values: np.ndarray) -> pa.Array:
    """`[n, d]` as a column of vectors."""
    return pa.FixedSizeListArray.from_arrays(
        pa.array(np.ascontiguousarray(values).reshape(-1)), values.shape[1]
    )


def _record_batch(columns: dict[str, object], schema: pa.Schema) -> pa.RecordBatch:
    arrays = [
        value if isinstance(value, pa.Array) else pa.array(value, schema.field(name).type)
        for name, value in columns.items()
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
