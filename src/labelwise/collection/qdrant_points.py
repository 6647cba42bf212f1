"""Points and filters of Qdrant for the rows and conditions of a collection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
from qdrant_client import models

from labelwise.collection.backends import row_batches
from labelwise.collection.where import Condition, Has, Joined, Score

_POINTS_AT_ONCE = 256
_SIGNS = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}


def points_of(rows: pa.Table, vector: str, labels: Sequence[str]) -> Iterator[list[models.PointStruct]]:
    """The points of rows, at most 256 at a time.

    The number of a point is that of its image, of a feature `image * L + label`. A filter reaches the value of a key,
    but not of a place in a list, so the payload has a key for each score. The zeros of an unreadable image have no
    direction, and are left out.

    Args:
        rows: of `images` or `features`.
        vector: the column that becomes the vector.
        labels: in label order.
    """
    columns = {label: column for column, label in enumerate(labels)}
    for batch in row_batches(rows, _POINTS_AT_ONCE):
        points = []
        for values in zip(*batch.values(), strict=True):
            row = dict(zip(batch, values, strict=True))
            values_of_vector = row.pop(vector).astype(np.float32).tolist()
            row = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in row.items()}
            row["scores"] = {f"p{i}": score for i, score in enumerate(row["scores"])}
            number = row["image"]
            if "label" in row:
                number = number * len(columns) + columns[row["label"]]
            vectors = {vector: values_of_vector} if any(values_of_vector) else {}
            points.append(models.PointStruct(id=number, vector=vectors, payload=row))
        yield points


def filter_of(condition: Condition) -> models.Condition:
    """The filter of a condition."""
    if isinstance(condition, Has):
        return models.FieldCondition(key="labels", match=models.MatchValue(value=condition.label))
    if isinstance(condition, Score):
        return in_range(f"scores.p{condition.place}", **{_SIGNS[condition.sign]: condition.bound})
    if isinstance(condition, Joined):
        parts = [filter_of(part) for part in condition.parts]
        return models.Filter(must=parts) if condition.word == "and" else models.Filter(should=parts)
    return models.Filter(must_not=[filter_of(condition.part)])


def in_range(key: str, **bounds: float) -> models.FieldCondition:
    """The filter of a number: `lt`, `lte`, `gt`, `gte`."""
    return models.FieldCondition(key=key, range=models.Range(**bounds))


def shown_url(url: str) -> str:
    """The address without user and password.

    >>> shown_url("https://me:secret@localhost:6333/qdrant")
    'https://localhost:6333/qdrant'
    """
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
