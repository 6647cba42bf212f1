"""Searches in a collection for the page and its API."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float32, Int64

from labelwise.collection import Collection
from labelwise.collection.boxes import Box
from labelwise.collection.queries import Query, combined, open_embedder
from labelwise.serving.kept_pictures import KeptPictures
from labelwise.serving.limits import Refused
from labelwise.serving.query_photos import Photograph, Photographs
from labelwise.serving.recent import Recent
from labelwise.serving.search_request import SearchRequest

PAGE = 48
"""Results on a page."""
NEAR, MOST = 240, 1000
"""Results by likeness that are searched for the first pages, and for the others; so many are listed."""
EXACT = 10_000
"""Features up to which all are compared, without the index."""
FRESH = 2.0
"""Seconds between two looks for images that another process added."""
_IMAGE = ("image", "path", "digest", "width", "height", "labels")
_ROW = (*_IMAGE, "score", "box")


@dataclass(frozen=True)
class Ranking:
    """Images in the order of a search.

    Args:
        total: number of images that fit.
        listed: number of images that are listed.
        images: their numbers, as far as they were searched; `None` for the order of the collection.
        similarity: cosine of each; `None` in an order without photographs.
    """

    total: int
    listed: int
    images: Int64[np.ndarray, " n"] | None = None
    similarity: Float32[np.ndarray, " n"] | None = None


class Searches:
    """A collection that is searched by several threads; images that another process adds appear in it.

    Args:
        path: of the collection.
        run: the run that made it.
        kept: thumbnails and uploaded photographs.
        pixels: largest number of pixels of a photograph.

    Raises:
        LabelwiseError: no collection, a damaged one, or one of another run.
    """

    def __init__(self, path: Path, run: str | Path, kept: KeptPictures, pixels: int) -> None:
        collection = Collection.open(path)
        self.run = run
        self.photographs = Photographs(open_embedder(collection.identity, run, path), kept, pixels)
        self._state, self._last_look = (0, collection), time.monotonic()
        self._reopening = threading.Lock()
        self._rankings: Recent[Ranking] = Recent(128)
        self._counts: Recent[dict[str, int]] = Recent(1)

    @property
    def collection(self) -> Collection:
        """The collection with all parts that another process completed."""
        return self._latest()[1]

    def _latest(self) -> tuple[int, Collection]:
        """The collection, and how often it was opened again."""
        if time.monotonic() - self._last_look > FRESH and self._reopening.acquire(blocking=False):
            try:
                generation, collection = self._state
                latest = collection.latest()
                self._state = (generation + (latest is not collection), latest)
                self._last_look = time.monotonic()
            finally:
                self._reopening.release()
        return self._state

    def describe(self) -> dict[str, Any]:
        """The collection, and the number of photographs with each label, the most frequent first."""
        generation, collection = self._latest()
        counts = self._counts.of(generation, collection.counts)
        labels = [{"name": name, "photographs": count} for name, count in counts.items()]
        return {
            "name": Path(collection.path).resolve().name,
            "images": len(collection),
            "labels": sorted(labels, key=lambda label: -label["photographs"]),
            "one_feature": collection.identity.one_feature,
            "takes_boxes": self.photographs.takes_boxes,
        }

    def scores(self, images: Sequence[int], label: str) -> dict[str, float]:
        """Path -> probability of a label of images.

        Raises:
            Refused: 404, an unknown label.
            LabelwiseError: the collection cannot be read.
        """
        collection = self.collection
        _check_labels(SearchRequest(present=(label,)), collection)
        column = collection.identity.labels.index(label)
        rows = collection.rows(images, None, ("path", "scores")).to_pylist()
        return {row["path"]: float(row["scores"][column]) for row in rows}

    def results(self, search: SearchRequest, page: int) -> dict[str, Any]:
        """A page of results, with the photographs of the search.

        Raises:
            Refused: 404, an unknown label or photograph.
            LabelwiseError: the collection or a photograph of the search cannot be read.
        """
        generation, collection = self._latest()
        _check_labels(search, collection)
        boxes = dict(search.boxes)
        like, unlike = (
            [self._photograph(collection, identifier, boxes.pop(identifier, None)) for identifier in ids]
            for ids in (search.like, search.unlike)
        )
        if boxes:
            raise Refused(
                422,
                f"a box of photograph {next(iter(boxes))}",
                "a photograph of the search",
                "leave the box out",
            )
        label = search.label or _likeliest_label(like, collection.labels)
        queries: list[list[Query]] = [[], []]
        if label is not None:
            queries = [
                [self.photographs.query(collection, p, label) for p in side] for side in (like, unlike)
            ]
        by_feature = bool(queries[0]) and search.by == "feature"
        depth = NEAR if PAGE * page <= NEAR else MOST
        ranking = self._rankings.of(
            (generation, label, by_feature and depth, search),
            lambda: _ranking(
                collection,
                label,
                search,
                queries if by_feature else None,
                depth,
                lambda: self._counts.of(generation, collection.counts),
            ),
        )
        pages = max(1, -(-ranking.listed // PAGE))
        page = min(page, pages)
        rows = _result_rows(collection, label, search, ranking, PAGE * (page - 1))
        self.photographs.begin_thumbnails([row for row, _ in rows])
        return {
            "label": label,
            "order": "collection" if label is None else "feature" if by_feature else "score",
            "total": ranking.total,
            "listed": ranking.listed,
            "page": page,
            "pages": pages,
            "like": _query_photographs(like, queries[0]),
            "unlike": _query_photographs(unlike, queries[1]),
            "results": [_result(*row) for row in rows],
        }

    def _photograph(self, collection: Collection, identifier: str, box: Box | None) -> Photograph:
        photograph = self.photographs.find(collection, identifier)
        return photograph if box is None else self.photographs.boxed(photograph, box)


def _check_labels(search: SearchRequest, collection: Collection) -> None:
    """Refuses a search with an unknown label, or by one whose features are not stored."""
    known, stored = collection.identity.labels, collection.labels
    named = [(name, known) for name in (*search.present, *search.absent)]
    for name, names in [*named, *([(search.label, stored)] if search.label else [])]:
        if name not in names:
            raise Refused(
                404, f"label {name[:80]!r}", f"one of {', '.join(names[:8])}", "choose one of the list"
            )


def _likeliest_label(photographs: Sequence[Photograph], stored: Sequence[str]) -> str | None:
    """The most probable stored label of the first photograph."""
    names = [name for photograph in photographs[:1] for name, *_ in photograph.labels if name in stored]
    return names[0] if names else None


def _ranking(
    collection: Collection,
    label: str | None,
    search: SearchRequest,
    queries: list[list[Query]] | None,
    depth: int,
    counts: Callable[[], Mapping[str, int]],
) -> Ranking:
    """The images of a search in their order, at most `MOST` of them."""
    condition = search.condition(label, collection.identity.labels)
    if label is None:
        total = collection.count(None, condition)
        return Ranking(total, total)
    if queries is None:
        images = collection.scores(label, condition)["image"]
        return Ranking(len(images), len(images), np.asarray(images))
    like, unlike = (
        np.array([query.feature for query in side], np.float32).reshape(-1, collection.identity.dim)
        for side in queries
    )
    digests = pa.array({query.digest for side in queries for query in side}, pa.string())
    total = counts().get(label, 0) if condition is None else collection.count(label, condition)
    hits = collection.nearest(
        label,
        combined(like, unlike),
        condition,
        depth + len(digests),
        exact=total <= EXACT,
        columns=("image", "digest"),
    )
    different = hits.filter(pc.invert(pc.is_in(hits["digest"], digests)))
    # The photographs of the search are the most similar ones, so that they are among the hits.
    total -= len(hits) - len(different)
    listed = min(total, MOST) if len(hits) == depth + len(digests) else len(different)
    different = different.slice(0, listed)
    return Ranking(total, listed, np.asarray(different["image"]), np.asarray(different["similarity"]))


def _result_rows(
    collection: Collection, label: str | None, search: SearchRequest, ranking: Ranking, first: int
) -> list[tuple[dict[str, Any], float | None]]:
    """Rows of a page of results, and their likeness."""
    if ranking.images is None:
        condition = search.condition(label, collection.identity.labels)
        return [(row, None) for row in collection.readable(condition, first, PAGE, _IMAGE).to_pylist()]
    numbers = ranking.images[first : first + PAGE].tolist()
    cosines = ranking.similarity
    similarity = [None] * len(numbers) if cosines is None else cosines[first : first + PAGE].tolist()
    rows = {row["image"]: row for row in collection.rows(numbers, label, _ROW).to_pylist()}
    return [
        (rows[number], cosine) for number, cosine in zip(numbers, similarity, strict=True) if number in rows
    ]


def _result(row: dict[str, Any], similarity: float | None) -> dict[str, Any]:
    """An image of the collection as JSON data."""
    return {
        "id": str(row["image"]),
        "name": os.path.basename(row["path"]),
        "path": row["path"],
        "version": row["digest"][:16],
        "width": row["width"],
        "height": row["height"],
        "labels": row["labels"],
        "score": row.get("score"),
        "box": row.get("box"),
        "similarity": similarity,
    }


def _query_photographs(photographs: Sequence[Photograph], queries: Sequence[Query]) -> list[dict[str, Any]]:
    """The photographs of a search with where the model sees the label."""
    answers = [photograph.to_json() for photograph in photographs]
    for answer, query in zip(answers, queries, strict=False):
        answer |= {"box": list(query.box), "score": query.score, "selected": query.selected}
    return answers
