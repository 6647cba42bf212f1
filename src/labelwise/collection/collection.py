"""A collection that is open for reading."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float16

from labelwise.collection.backends import FEATURES, IMAGES, Address, Store, open_store
from labelwise.collection.queries import APPEARANCE, ORDERS, SCORE, Query, combined, open_embedder, queries_of
from labelwise.collection.store import FolderStore
from labelwise.collection.where import Condition, parse_condition
from labelwise.errors import LabelwiseError

if TYPE_CHECKING:
    from labelwise.inference.inputs import Image

SHOWN = ("image", "path", "score", "selected", "labels", "box", "digest")


class Collection:
    """Stored label features of images; any number of processes may read it, also while one adds images.

    Use `Collection.open(path)`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.path, self.identity = store.path, store.identity
        self._images = store.finished
        self._embedders: dict[str, Any] = {}

    @classmethod
    def open(cls, path: Address) -> Collection:
        """Opens a collection for reading.

        Args:
            path: its folder, `pgvector:DSN` or `qdrant:URL`.

        Raises:
            LabelwiseError: no collection, a damaged one, one of another format, a server that does not answer, or a
                package that is missing.
        """
        return cls(open_store(path))

    def __len__(self) -> int:
        return self._images

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels whose features are stored."""
        return self.identity.stored

    def counts(self) -> dict[str, int]:
        """Number of stored features of each label."""
        counts = self._store.counts()
        return {name: counts.get(name, 0) for name in self.labels}

    def images(self, columns: Sequence[str] = ("image", "path", "labels", "error")) -> pa.Table:
        """Columns of the table of images, see `image_schema`."""
        return self._store.rows(IMAGES, columns)

    def whole(self, numbers: np.ndarray) -> Float16[np.ndarray, "n C"]:
        """Whole-image features of images, given by ascending numbers."""
        dim = self.identity.whole_dim
        if not len(numbers):
            return np.zeros((0, dim), np.float16)
        # Most rows are read faster whole than by their numbers.
        subset = None if len(numbers) > self._images // 4 else numbers.tolist()
        rows = self._store.rows(IMAGES, ["image", "whole"], images=subset).sort_by("image")
        vectors = vectors_of_column(rows["whole"], dim)
        return vectors[numbers] if subset is None else vectors

    def features(self, label: str, columns: Sequence[str] = (*SHOWN, "feature")) -> pa.Table:
        """Columns of the rows of a label, by image number, see `feature_schema`.

        Raises:
            LabelwiseError: a label that is not stored.
        """
        self._check_label(label)
        names = list(dict.fromkeys(["image", *columns]))
        return self._store.rows(FEATURES, names, label).sort_by("image").select(list(columns))

    def queries(
        self, label: str, images: Image | Iterable[Image], run: str | Path | None = None, box: Any = None
    ) -> list[Query]:
        """A label's features in photographs, or in boxes of them, computed with the run of the collection.

        Args:
            label: a label of the run.
            images: as `Predictor.predict` takes them.
            run: the run, if it is no longer where the collection was made.
            box: `(x0, y0, x1, y1)` of one photograph in shares of its width and height; or a list of them, `None` for a
                whole photograph.

        Raises:
            LabelwiseError: another run, an unreadable image, an unknown label, or a box that cannot be used.
        """
        self._check_label(label)
        key = str(run)
        if key not in self._embedders:
            self._embedders[key] = open_embedder(self.identity, run, self.path)
        return queries_of(self._embedders[key], images, label, box)

    def search(
        self,
        label: str,
        images: Image | Iterable[Image | Query] = (),
        *,
        negatives: Image | Iterable[Image | Query] = (),
        box: Any = None,
        top: int = 20,
        where: str | None = None,
        by: str = "feature",
        exact: bool = False,
        run: str | Path | None = None,
        say: Callable[[str], None] = lambda note: None,
    ) -> pa.Table:
        """Images of a label, by likeness to photographs or by the label's score.

        Args:
            label: the label that is compared.
            images: photographs to be like; or `Query` objects of `queries`.
            negatives: photographs to be unlike.
            box: of the photographs to be like, as `queries`.
            top: number of results.
            where: condition on other labels, see `labelwise.collection.where.parse_condition`.
            by: `feature`; `label` or `appearance` for one part of it; or `score` for the label's probability, highest
                first, which needs no photograph.
            exact: compare every feature of the label, without the index.
            run: as `queries`.
            say: called with each note, for example that a photograph does not show the label.

        Returns:
            a row for each image with `similarity` (cosine, null by score), `score`, the box of the evidence and the
            other labels. Files equal to a photograph of the search are left out.

        Raises:
            LabelwiseError: as `queries`, or a condition that cannot be read.
        """
        self._check_label(label)
        if by not in ORDERS:
            raise LabelwiseError(f"order {by!r}", f"one of {', '.join(ORDERS)}", "correct it")
        look_dim = self.identity.look_dim
        if by == APPEARANCE and not look_dim:
            raise LabelwiseError(
                f"order {by} in {self.path}, which stores no appearance",
                "a collection with it",
                "embed again with --feature joined into a new folder",
            )
        if by == SCORE:
            return self._by_score(label, where, top)
        positive = self._as_queries(label, images, run, box)
        negative = self._as_queries(label, negatives, run)
        for query in (q for q in (*positive, *negative) if not q.selected):
            say(f"{query.path or 'a photograph'} is not selected as {label} (score {query.score:.2f})")
        positive = [query.part(by, look_dim) for query in positive]
        negative = [query.part(by, look_dim) for query in negative]
        # Parts have the same length in every stored feature, so that a part's cosine is in proportion to the whole's.
        length = float(np.linalg.norm(positive[0].feature)) if positive else 1.0
        digests = sorted({query.digest for query in (*positive, *negative) if query.digest})
        vector = combined(_stacked(positive, self.identity.dim), _stacked(negative, self.identity.dim))
        limit = top + len(digests)
        while True:
            hits = self.nearest(label, vector, where, limit, exact)
            different = hits.filter(pc.invert(pc.is_in(hits["digest"], pa.array(digests, pa.string()))))
            if len(different) >= top or len(hits) < limit:
                return _with_ranks(_scaled(different.slice(0, top), length))
            limit *= 2  # the collection holds several copies of a photograph

    def nearest(
        self,
        label: str,
        vector: np.ndarray,
        where: str | Condition | None = None,
        top: int = 20,
        exact: bool = False,
        columns: Sequence[str] = SHOWN,
    ) -> pa.Table:
        """Rows of a label with the largest cosine to a vector `[D]`, and that cosine as `similarity`.

        Args:
            label: a stored label.
            vector: of the label's features.
            where: as `search`.
            top: number of rows.
            exact: compare every feature of the label.
            columns: of the rows.
        """
        return self._store.nearest(label, vector, self._condition(where), columns, top, exact)

    def scores(self, label: str, where: str | Condition | None = None) -> pa.Table:
        """`image` and `score` of all rows of a label, the highest score first.

        Args:
            label: a stored label.
            where: as `search`.
        """
        self._check_label(label)
        rows = self._store.rows(FEATURES, ["image", "score"], label, self._condition(where))
        return rows.sort_by([("score", "descending"), ("image", "ascending")])

    def rows(self, images: Sequence[int], label: str | None, columns: Sequence[str]) -> pa.Table:
        """Columns of some images in the order of their numbers, of a label's rows or of the table of images.

        An image without a row of the label is left out.
        """
        table = IMAGES if label is None else FEATURES
        numbers = [number for number in sorted(set(images)) if 0 <= number < len(self)]
        names = list(dict.fromkeys(["image", *columns]))
        return self._store.rows(table, names, label, images=numbers).sort_by("image").select(names)

    def count(self, label: str | None, where: str | Condition | None = None) -> int:
        """Number of rows of a label, or of readable images, that fit a condition; of a folder."""
        return self._folder().count(label, self._condition(where))

    def readable(
        self, where: str | Condition | None, first: int, count: int, columns: Sequence[str]
    ) -> pa.Table:
        """`count` readable images that fit a condition, in their order, without the first `first`; of a folder."""
        return self._folder().readable(self._condition(where), first, count, columns)

    def latest(self) -> Collection:
        """The collection with the images that were added since it was opened; itself if there are none; of a folder."""
        return Collection.open(self.path) if self._folder().changed() else self

    def _folder(self) -> FolderStore:
        if not isinstance(self._store, FolderStore):
            raise LabelwiseError(f"{self.path}, a collection on a server", "a folder", "embed into a folder")
        return self._store

    def _condition(self, where: str | Condition | None) -> Condition | None:
        if isinstance(where, str):
            return parse_condition(where, self.identity.labels) if where else None
        return where

    def _by_score(self, label: str, where: str | None, top: int) -> pa.Table:
        """The results of highest probability, without a similarity."""
        numbers = self.scores(label, where)["image"].slice(0, top).to_pylist()
        order = [("score", "descending"), ("image", "ascending")]
        rows = self.rows(numbers, label, SHOWN).sort_by(order)
        return _with_ranks(rows.add_column(0, "similarity", pa.nulls(len(rows), pa.float32())))

    def _as_queries(self, label: str, images: Any, run: str | Path | None, box: Any = None) -> list[Query]:
        """The queries of photographs, or queries as they are."""
        images = list(images) if isinstance(images, list | tuple) else images
        if isinstance(images, list) and all(isinstance(item, Query) for item in images):
            if box is not None and images:
                raise LabelwiseError(
                    "a box with queries that are computed", "photographs", "give it to `queries`"
                )
            return images
        return self.queries(label, images, run, box)

    def _check_label(self, label: str) -> None:
        """Raises an error unless features of the label are stored."""
        if label not in self.identity.labels:
            raise LabelwiseError(
                f"label {label!r}, which the run of {self.path} does not have",
                f"one of {', '.join(self.labels[:8])}",
                "correct the name",
            )
        if label not in self.labels:
            raise LabelwiseError(
                f"label {label!r}, of which {self.path} stores no features",
                f"one of {', '.join(self.labels[:8])}",
                "embed again with this label into a new folder",
            )


def _stacked(queries: Sequence[Query], dim: int) -> np.ndarray:
    return np.array([query.feature for query in queries], np.float32).reshape(-1, dim)


def _scaled(rows: pa.Table, length: float) -> pa.Table:
    """Rows with the cosine of a part of the features, which has this length."""
    cosine = pc.divide(rows["similarity"], pa.scalar(max(length, 1e-12), pa.float32()))
    return rows.set_column(0, "similarity", cosine)


def _with_ranks(rows: pa.Table) -> pa.Table:
    return rows.add_column(0, "rank", pa.array(range(1, len(rows) + 1), pa.int32()))


def vectors_of_column(column: pa.ChunkedArray, dim: int) -> Float16[np.ndarray, "n d"]:
    """A column of vectors as an array."""
    flat = column.combine_chunks().flatten()
    return np.asarray(flat).reshape(-1, dim)
