"""A collection that is open for reading."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float16

from labelwise.collection.queries import Query, combined, open_embedder, queries_of
from labelwise.collection.store import Tables, reading
from labelwise.collection.where import filter_of
from labelwise.errors import LabelwiseError

if TYPE_CHECKING:
    from labelwise.serving.inputs import Image

PROBES, REFINE = 12, 2
"""Partitions of the index that are searched, and multiples of the results that are compared exactly."""
SHOWN = ("image", "path", "score", "selected", "labels", "box", "digest")


class Collection:
    """Stored label features of images; any number of processes may read it, also while one adds images.

    Args:
        tables: the tables on disk.

    Use `Collection.open(path)`.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.path, self.identity = tables.path, tables.identity
        self._images = tables.images.count_rows()
        unfinished = tables.features.count_rows(f"image >= {self._images}")
        self._finished = f"image < {self._images}" if unfinished else ""
        self._embedders: dict[str, Any] = {}

    @classmethod
    def open(cls, path: str | Path) -> Collection:
        """Opens a collection for reading.

        Raises:
            LabelwiseError: no collection, a damaged one, one of another format, or no lancedb.
        """
        tables = Tables.open(Path(path))
        with reading(Path(path)):
            return cls(tables)

    def __len__(self) -> int:
        return self._images

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels whose features are stored."""
        return self.identity.stored

    def counts(self) -> dict[str, int]:
        """Number of stored features of each label."""
        with reading(self.path):
            names = self._rows(self._tables.features, "", ["label"])["label"]
            counted = {row["values"]: row["counts"] for row in pc.value_counts(names).to_pylist()}
        return {name: counted.get(name, 0) for name in self.labels}

    def images(self, columns: Sequence[str] = ("image", "path", "labels", "error")) -> pa.Table:
        """Columns of the table of images, see `image_schema`."""
        with reading(self.path):
            return self._rows(self._tables.images, "", columns)

    def whole(self, numbers: np.ndarray) -> Float16[np.ndarray, "n C"]:
        """Whole-image features of images, given by ascending numbers."""
        dim = self.identity.whole_dim
        if not len(numbers):
            return np.zeros((0, dim), np.float16)
        with reading(self.path):
            if len(numbers) > self._images // 4:
                rows = self._rows(self._tables.images, "", ["image", "whole"]).sort_by("image")
                return matrix(rows["whole"], dim)[numbers]
            listed = ", ".join(map(str, numbers.tolist()))
            rows = self._rows(self._tables.images, f"image IN ({listed})", ["image", "whole"])
            return matrix(rows.sort_by("image")["whole"], dim)

    def features(self, label: str, columns: Sequence[str] = (*SHOWN, "feature")) -> pa.Table:
        """Columns of the rows of a label, by image number, see `feature_schema`.

        Raises:
            LabelwiseError: a label that is not stored.
        """
        self._check(label)
        with reading(self.path):
            return self._rows(self._tables.features, _is(label), columns).sort_by("image")

    def queries(
        self, label: str, images: Image | Iterable[Image], run: str | Path | None = None
    ) -> list[Query]:
        """A label's features in photographs, computed with the run of the collection.

        Args:
            label: a label of the run.
            images: as `Predictor.predict` takes them.
            run: the run, if it is no longer where the collection was made.

        Raises:
            LabelwiseError: another run, an unreadable image, or an unknown label.
        """
        self._check(label)
        key = str(run)
        if key not in self._embedders:
            self._embedders[key] = open_embedder(self.identity, run, self.path)
        return queries_of(self._embedders[key], images, label)

    def search(
        self,
        label: str,
        images: Image | Iterable[Image | Query] = (),
        *,
        negatives: Image | Iterable[Image | Query] = (),
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
            top: number of results.
            where: condition on other labels, see `filter_of`.
            by: `feature`, or `score` for the label's probability, highest first; this needs no photograph.
            exact: compare every feature of the label, without the index.
            run: as `queries`.
            say: called with each note, for example that a photograph does not show the label.

        Returns:
            a row for each image with `similarity` (cosine, null by score), `score`, the box of the evidence and the
            other labels. Files equal to a photograph of the search are left out.

        Raises:
            LabelwiseError: as `queries`, or a condition that cannot be read.
        """
        self._check(label)
        if by not in ("feature", "score"):
            raise LabelwiseError(f"order {by!r}", "feature or score", "correct it")
        condition = [_is(label), *([filter_of(where, self.identity.labels)] if where else [])]
        if by == "score":
            return self._by_score(label, condition, top)
        near, far = (self._as_queries(label, given, run) for given in (images, negatives))
        for query in (q for q in (*near, *far) if not q.selected):
            say(f"{query.path or 'a photograph'} is not selected as {label} (score {query.score:.2f})")
        digests = sorted({query.digest for query in (*near, *far) if query.digest})
        vector = combined(_stack(near, self.identity.dim), _stack(far, self.identity.dim))
        wanted = top + len(digests)
        while True:
            hits = self.nearest(label, vector, " AND ".join(condition[1:]), wanted, exact)
            others = hits.filter(pc.invert(pc.is_in(hits["digest"], pa.array(digests, pa.string()))))
            if len(others) >= top or len(hits) < wanted:
                return _ranked(others.slice(0, top))
            wanted *= 2  # the collection holds several copies of a photograph

    def nearest(
        self,
        label: str,
        vector: np.ndarray,
        condition: str = "",
        top: int = 20,
        exact: bool = False,
        columns: Sequence[str] = SHOWN,
    ) -> pa.Table:
        """Rows of a label with the largest cosine to a vector `[D]`, and that cosine as `similarity`.

        Args:
            label: a stored label.
            vector: of the label's features.
            condition: SQL filter on the columns.
            top: number of rows.
            exact: compare every feature of the label.
            columns: of the rows.
        """
        where = " AND ".join(part for part in (_is(label), self._finished, condition) if part)
        with reading(self.path):
            query = self._tables.features.search(vector, vector_column_name="feature")
            query = query.distance_type("cosine").where(where, prefilter=True).limit(top)
            query = query.bypass_vector_index() if exact else query.nprobes(PROBES).refine_factor(REFINE)
            hits = query.select([*columns, "_distance"]).to_arrow()
        likeness = pc.subtract(pa.scalar(1.0, pa.float32()), hits["_distance"])
        return hits.drop_columns(["_distance"]).add_column(0, "similarity", likeness)

    def scores(self, label: str, condition: str = "") -> pa.Table:
        """`image` and `score` of all rows of a label, the highest score first.

        Args:
            label: a stored label.
            condition: SQL filter on the columns.
        """
        self._check(label)
        where = " AND ".join(part for part in (_is(label), condition) if part)
        with reading(self.path):
            scores = self._rows(self._tables.features, where, ["image", "score"])
        return scores.sort_by([("score", "descending"), ("image", "ascending")])

    def rows(self, images: Sequence[int], label: str | None, columns: Sequence[str]) -> pa.Table:
        """Columns of some images in the order of their numbers, of a label's rows or of the table of images.

        An image without a row of the label is left out.
        """
        numbers = [number for number in sorted(set(images)) if 0 <= number < len(self)]
        columns = list(dict.fromkeys(["image", *columns]))
        with reading(self.path):
            if label is None and numbers:
                rows = self._tables.images.take_offsets(numbers).select(columns).to_arrow()
            else:
                where = f"image IN ({', '.join(map(str, numbers)) or '-1'})"
                table = self._tables.images if label is None else self._tables.features
                where += "" if label is None else f" AND {_is(label)}"
                rows = self._rows(table, where, columns)
        return rows.sort_by("image").select(columns)

    def count(self, label: str | None, condition: str = "") -> int:
        """Number of rows of a label, or of readable images, that fit an SQL filter on the columns."""
        table = self._tables.images if label is None else self._tables.features
        parts = ("error IS NULL",) if label is None else (_is(label), self._finished)
        with reading(self.path):
            return table.count_rows(" AND ".join(part for part in (*parts, condition) if part))

    def readable(self, condition: str, first: int, count: int, columns: Sequence[str]) -> pa.Table:
        """`count` readable images that fit an SQL filter, in the order of their numbers, without the first `first`."""
        where = " AND ".join(part for part in ("error IS NULL", condition) if part)
        with reading(self.path):
            query = self._tables.images.search().where(where).limit(count).offset(first)
            return query.select(list(columns)).to_arrow()

    def latest(self) -> Collection:
        """The collection with the images that were added since it was opened; itself if there are none."""
        with reading(self.path):
            return Collection.open(self.path) if self._tables.changed() else self

    def _by_score(self, label: str, condition: Sequence[str], top: int) -> pa.Table:
        best = self.scores(label, " AND ".join(condition[1:])).slice(0, top)["image"].to_pylist()
        rows = self.rows(best, label, SHOWN)
        rows = rows.sort_by([("score", "descending"), ("image", "ascending")])
        return _ranked(rows.add_column(0, "similarity", pa.nulls(len(rows), pa.float32())))

    def _as_queries(self, label: str, given: Any, run: str | Path | None) -> list[Query]:
        given = list(given) if isinstance(given, list | tuple) else given
        if isinstance(given, list) and all(isinstance(item, Query) for item in given):
            return given
        return self.queries(label, given, run)

    def _rows(self, table: Any, condition: str, columns: Sequence[str]) -> pa.Table:
        query = table.search()
        condition = " AND ".join(
            part for part in (condition, self._finished if table is self._tables.features else "") if part
        )
        if condition:
            query = query.where(condition)
        return query.select(list(columns)).to_arrow()

    def _check(self, label: str) -> None:
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


def _is(label: str) -> str:
    text = label.replace("'", "''")
    return f"label = '{text}'"


def _stack(queries: Sequence[Query], dim: int) -> np.ndarray:
    return np.array([query.feature for query in queries], np.float32).reshape(-1, dim)


def _ranked(rows: pa.Table) -> pa.Table:
    return rows.add_column(0, "rank", pa.array(range(1, len(rows) + 1), pa.int32()))


def matrix(column: pa.ChunkedArray, dim: int) -> Float16[np.ndarray, "n d"]:
    """A column of vectors as an array."""
    flat = column.combine_chunks().flatten()
    return np.asarray(flat).reshape(-1, dim)
