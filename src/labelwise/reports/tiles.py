"""Photographs of a collection as tiles of a page."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from labelwise.data.decode import decode_image
from labelwise.errors import LabelwiseError
from labelwise.inference.overlays import tint
from labelwise.reports.pictures import LONGEST, data_uri, thumbnail


def photo_tile(
    path: str,
    lines: Sequence[str],
    *,
    title: str = "",
    box: Sequence[float] | None = None,
    overlays: Sequence[tuple[str, np.ndarray]] = (),
    source: Path | bytes | None = None,
) -> dict[str, Any]:
    """A tile with a photograph, for the macro of `tiles.html.j2`; one that cannot be read has no picture.

    Args:
        path: of the image file, or its id.
        lines: texts below the picture.
        title: first text, in bold.
        box: `(x0, y0, x1, y1)` in fractions of the photograph.
        overlays: a name and an evidence map `[h, w]` for each picture; without any, one plain picture.
        source: the image, if `path` is only its id.
    """
    tile: dict[str, Any] = {"name": os.path.basename(path), "title": title, "lines": list(lines)}
    try:
        photo = thumbnail(decode_image(path if source is None else source, shrink_to=LONGEST))
    except (LabelwiseError, OSError):
        return {**tile, "photo": None, "overlays": []}
    box_percent = None
    if box is not None:
        x0, y0, x1, y1 = (100 * edge for edge in box)
        box_percent = (x0, y0, x1 - x0, y1 - y0)
    return {
        **tile,
        "photo": data_uri(photo, "JPEG"),
        "size": photo.size,
        "box": box_percent,
        "overlays": [(name, data_uri(tint(evidence), "PNG")) for name, evidence in overlays],
    }


def result_tile(row: Mapping[str, Any], label: str) -> dict[str, Any]:
    """The tile of a row of `Collection.search` by a label."""
    others = [name for name in row["labels"] if name != label]
    similarity = "" if row.get("similarity") is None else f"similarity {row['similarity']:.3f}"
    lines = [similarity, f"score {row['score']:.2f}", ", ".join(others[:5])]
    title = f"{row['rank']}." if row.get("rank") else ""
    return photo_tile(row["path"], [line for line in lines if line], title=title, box=row["box"])
