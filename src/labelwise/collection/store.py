"""The LanceDB tables of a collection on disk."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from filelock import FileLock, Timeout

from labelwise.collection.backends import FEATURES, IMAGES, no_collection, other_columns, refuse_other
from labelwise.collection.schema import Identity, feature_schema, image_schema
from labelwise.collection.where import Condition, quoted, sql
from labelwise.errors import LabelwiseError, first_line
from labelwise.lazy import require_package

INDEXED = 100_000
"""Features from which a search uses an index; below, all features of the label are compared."""
PARTITION = 4096
"""Features per partition of the index."""
PROBES, REFINE = 12, 2
"""Partitions of the index that are searched, and multiples of the results that are compared exactly."""


def engine() -> Any:
    """The module `lancedb`, without its warnings on standard error.

    Raises:
        LabelwiseError: it is not installed.
    """
    require_package("lancedb", "a collection without lancedb", "search")
    os.environ.setdefault("LANCEDB_LOG", "error")
    import lancedb

    return lancedb


@contextmanager
def reading(path: Path, what: str = "read") -> Iterator[None]:
    """Turns the engine's errors on a damaged or absent table, or on one that cannot be written, into one line."""
    try:
        yield
    except LabelwiseError:
        raise
    except (RuntimeError, ValueError, OSError) as error:
        raise LabelwiseError(
            f"{path}, whose tables cannot be {what} ({first_line(error)[:300]})",
            "an undamaged collection that `labelwise embed` wrote, and space on its disk",
            "give the same command again, embed into a new folder, or restore a copy",
        ) from None


class FolderStore:
    """The tables `images` and `features`; the `Store` of a folder.

    The rows of a part are added to `features` first, and those of `images` complete it: features of images that are
    not in `images` belong to a stopped call.

    Args:
        path: folder of the collection.
        images, features: LanceDB's tables.
        identity: the record of the collection.
    """

    def __init__(self, path: Path, images: Any, features: Any, identity: Identity) -> None:
        self.path, self.images, self.features, self.identity = path, images, features, identity
        self.finished = images.count_rows()
        self._unfinished = bool(features.count_rows(f"image >= {self.finished}"))
        self._written = 0

    def changed(self) -> bool:
        """Whether a part was added after the tables were opened."""
        with reading(self.path):
            return _last_written(self.path) != self._written

    def count(self, label: str | None, where: Condition | None) -> int:
        """Number of rows of a label, or of readable images, that fit a condition."""
        with reading(self.path):
            if label is not None:
                return int(self.features.count_rows(self._filter(FEATURES, label, where)))
            return int(self.images.count_rows(self._readable(where)))

    def readable(self, where: Condition | None, first: int, count: int, columns: Sequence[str]) -> pa.Table:
        """`count` readable images that fit a condition, in the order of their numbers, without the first `first`."""
        with reading(self.path):
            query = self.images.search().where(self._readable(where)).limit(count).offset(first)
            return query.select(list(columns)).to_arrow()

    def _readable(self, where: Condition | None) -> str:
        """The filter of images that could be read and meet a condition."""
        return " AND ".join(part for part in ("error IS NULL", self._filter(IMAGES, None, where)) if part)

    @classmethod
    def open(cls, path: Path) -> FolderStore:
        """The tables of an existing collection.

        Raises:
            LabelwiseError: no collection, a damaged one, one of another format, or no lancedb.
        """
        lancedb = engine()
        if not (path / f"{IMAGES}.lance").is_dir() or not (path / f"{FEATURES}.lance").is_dir():
            raise no_collection(path)
        with reading(path):
            written, database = _last_written(path), lancedb.connect(path)
            images, features = database.open_table(IMAGES), database.open_table(FEATURES)
            identity = Identity.from_schema(images.schema, path)
            expected = image_schema(identity), feature_schema(identity)
            if not (images.schema.equals(expected[0]) and features.schema.equals(expected[1])):
                raise other_columns(path)
            tables = cls(path, images, features, identity)
            tables._written = written
            return tables

    @classmethod
    def create(cls, path: Path, identity: Identity) -> FolderStore:
        """The tables of a new collection, empty; or those of the collection there, with rows of a stopped part removed.

        Raises:
            LabelwiseError: another collection or something else is there.
        """
        database = engine().connect(path)
        # `images` is created last, so that a collection that was stopped here begins again.
        if not (path / f"{IMAGES}.lance").is_dir():
            features = database.create_table(FEATURES, schema=feature_schema(identity), mode="overwrite")
            images = database.create_table(IMAGES, schema=image_schema(identity), mode="overwrite")
            return cls(path, images, features, identity)
        tables = cls.open(path)
        refuse_other(tables.identity, identity, path)
        with reading(path):
            tables.features.delete(f"image >= {tables.finished}")
        return tables

    @classmethod
    @contextmanager
    def writing(cls, path: Path, identity: Identity) -> Iterator[FolderStore]:
        """The tables of `create`, while no other process writes to them."""
        with writing(path):
            yield cls.create(path, identity)

    def rows(
        self,
        table: str,
        columns: Sequence[str],
        label: str | None = None,
        where: Condition | None = None,
        images: Sequence[int] | None = None,
    ) -> pa.Table:
        """Columns of rows, see `Store`."""
        with reading(self.path):
            if images and table == IMAGES and label is None and where is None:
                # Images are stored in the order of their numbers.
                return self.images.take_offsets(list(images)).select(list(columns)).to_arrow()
            query = self._table(table).search().select(list(columns))
            condition = self._filter(table, label, where, images)
            return (query.where(condition) if condition else query).to_arrow()

    def counts(self) -> Mapping[str, int]:
        """Number of features of each label."""
        names = self.rows(FEATURES, ["label"])["label"]
        return {row["values"]: row["counts"] for row in pc.value_counts(names).to_pylist()}

    def nearest(
        self,
        label: str,
        vector: np.ndarray,
        where: Condition | None,
        columns: Sequence[str],
        top: int,
        exact: bool,
    ) -> pa.Table:
        """The nearest rows of a label, see `Store`."""
        with reading(self.path):
            query = self.features.search(vector, vector_column_name="feature").distance_type("cosine")
            query = query.where(self._filter(FEATURES, label, where), prefilter=True).limit(top)
            query = query.bypass_vector_index() if exact else query.nprobes(PROBES).refine_factor(REFINE)
            hits = query.select([*columns, "_distance"]).to_arrow()
        similarity = pc.subtract(pa.scalar(1.0, pa.float32()), hits["_distance"])
        return hits.drop_columns(["_distance"]).add_column(0, "similarity", similarity)

    def _table(self, name: str) -> Any:
        return self.images if name == IMAGES else self.features

    def _filter(
        self,
        table: str,
        label: str | None,
        where: Condition | None = None,
        images: Sequence[int] | None = None,
    ) -> str:
        """The filter of a table in Lance's SQL."""
        parts = [] if label is None else [f"label = {quoted(label)}"]
        if where is not None:
            parts.append(sql(where, "array_has_any(labels, [{}])".format))
        if images is not None:
            parts.append(f"image IN ({', '.join(map(str, images)) or '-1'})")
        if table == FEATURES and self._unfinished:
            parts.append(f"image < {self.finished}")
        return " AND ".join(parts)

    def add(self, images: pa.Table, features: pa.Table) -> None:
        """Adds the rows of a part."""
        with reading(self.path, "written"):
            if len(features):
                self.features.add(features)
            self.images.add(images)
        self.finished += len(images)

    def finish(self) -> None:
        """Joins the files of a large collection, and indexes its labels and features."""
        from lancedb.index import Bitmap, IvfSq, LabelList

        with reading(self.path, "indexed"):
            rows = self.features.count_rows()
            if rows < INDEXED or self._unindexed_rows() == 0:
                return
            self.features.optimize()
            self.features.create_index("label", config=Bitmap())
            self.features.create_index("labels", config=LabelList())
            partitions = max(1, rows // PARTITION)
            index = IvfSq(distance_type="cosine", num_partitions=partitions)
            self.features.create_index("feature", config=index)

    def _unindexed_rows(self) -> int | None:
        """Number of features that the index lacks; `None` without an index."""
        statistics = self.features.index_stats("feature_idx")
        return None if statistics is None else statistics.num_unindexed_rows


def _last_written(path: Path) -> int:
    """The time of the last version of `images`, which completes a part."""
    return os.stat(path / f"{IMAGES}.lance" / "_versions").st_mtime_ns


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Refuses a second process that writes to the same collection.

    Raises:
        LabelwiseError: a process writes already, or the folder holds something else.
    """
    allowed = {f"{IMAGES}.lance", f"{FEATURES}.lance", ".lock"}
    if path.exists() and (not path.is_dir() or any(entry.name not in allowed for entry in path.iterdir())):
        raise LabelwiseError(
            f"{path}, which holds something else", "a new folder, or a collection", "choose another --out"
        )
    path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise LabelwiseError(
            f"{path}, to which another process writes", "one writer at a time", "wait until it ends"
        ) from None
    try:
        yield
    finally:
        lock.release()
