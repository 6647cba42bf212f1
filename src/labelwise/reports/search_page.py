"""The page of a search in a collection."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from labelwise.collection.queries import Query
from labelwise.reports.report import page, write_page
from labelwise.reports.tiles import photo_tile, result_tile


def write_search(
    out: Path,
    results: pa.Table,
    collection: str | Path,
    label: str,
    *,
    by: str = "feature",
    where: str | None = None,
    images: int = 0,
    queries: Sequence[Query] = (),
    negatives: Sequence[Query] = (),
    notes: Sequence[str] = (),
) -> None:
    """Writes the results as one file without external resources and without a script.

    Args:
        out: the file.
        results: rows of `Collection.search`.
        collection: path of the collection, without passwords.
        label: the label that was compared.
        by: order of the results.
        where: condition of the search.
        images: images in the collection.
        queries, negatives: the photographs of the search.
        notes: to the user.
    """
    rows = results.to_pylist()
    order_text = (
        f"In order of the cosine of the feature of {label}. The frame shows where the model saw it."
        if by != "score"
        else f"In order of the probability of {label}. The frame shows where the model saw it."
    )
    facts = [("Images", f"{images:,}"), ("Order", by), ("Results", f"{len(rows):,}")]
    text = page(
        "search.html.j2",
        title=f"{label} in {Path(collection).name}",
        collection=os.fspath(collection),
        label=label,
        what="like these photographs" if by != "score" else "by score",
        facts=[*facts, *([("Condition", where)] if where else [])],
        notes=list(notes),
        queries=[
            (title, [_query_tile(query) for query in photographs])
            for title, photographs in (("Photographs", queries), ("Unlike", negatives))
            if photographs
        ],
        lead=order_text,
        tiles=[result_tile(row, label) for row in rows],
    )
    write_page(out, text)


def _query_tile(query: Query) -> dict[str, Any]:
    """A photograph of the search with the drawn box, or with that of the evidence."""
    lines = [f"score {query.score:.2f}" + (" in the box" if query.marked else "")]
    return photo_tile(query.path, lines, box=query.marked or query.box)
