"""The LanceDB tables of a collection on disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa
from filelock import FileLock, Timeout

from labelwise.collection.schema import Identity, feature_schema, image_schema
from labelwise.errors import LabelwiseError, first_line

IMAGES, FEATURES = "images", "features"
INDEXED = 100_000
"""Features from which a search uses an index; below, all features of the label are compared."""
PARTITION = 4096
"""Features per partition of the index."""


def engine() -> Any:
    """The module `lancedb`, without its warnings on standard error.

    Raises:
        LabelwiseError: it is not installed.
    """
    if find_spec("lancedb") is None:
        raise LabelwiseError(
            "a collection without lancedb", "the package lancedb", "run: pip install 'labelwise[search]'"
        )
    os.environ.setdefault("LANCEDB_LOG", "error")
    import lancedb

    return lancedb


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns the engine's errors on a damaged or absent table into one line."""
    try:
        yield
    except LabelwiseError:
        raise
    except (RuntimeError, ValueError, OSError) as error:
        raise LabelwiseError(
            f"{path}, whose tables cannot be read ({first_line(error)[:300]})",
            "an undamaged collection that `labelwise embed` wrote",
            "embed again into a new folder, or restore a copy",
        ) from None


class Tables:
    """The tables `images` and `features`.

    The rows of a part are added to `features` first, and those of `images` complete it: features of images that are
    not in `images` belong to a stopped call.

    Args:
        path: folder of the collection.
        images, features: LanceDB's tables.
        identity: the record of the collection.
    """

    def __init__(self, path: Path, images: Any, features: Any, identity: Identity) -> None:
        self.path, self.images, self.features, self.identity = path, images, features, identity

    @classmethod
    def open(cls, path: Path) -> Tables:
        """The tables of an existing collection.

        Raises:
            LabelwiseError: no collection, a damaged one, one of another format, or no lancedb.
        """
        lancedb = engine()
        if not (path / f"{IMAGES}.lance").is_dir() or not (path / f"{FEATURES}.lance").is_dir():
            raise LabelwiseError(
                f"{path}, which is no collection",
                "the folder that `labelwise embed --out` wrote",
                "check the path",
            )
        with reading(path):
            base = lancedb.connect(path)
            images, features = base.open_table(IMAGES), base.open_table(FEATURES)
            identity = Identity.from_schema(images.schema, path)
            expected = image_schema(identity), feature_schema(identity)
            if not (images.schema.equals(expected[0]) and features.schema.equals(expected[1])):
                raise LabelwiseError(
                    f"{path}, whose tables have other columns than its record says",
                    "tables as `labelwise embed` writes them",
                    "embed again into a new folder",
                )
            return cls(path, images, features, identity)

    @classmethod
    def create(cls, path: Path, identity: Identity) -> Tables:
        """The tables of a new collection, empty; or those of the collection there, with rows of a stopped part removed.

        Raises:
            LabelwiseError: another collection or something else is there.
        """
        base = engine().connect(path)
        # `images` is created last, so that a collection that was stopped here begins again.
        if not (path / f"{IMAGES}.lance").is_dir():
            features = base.create_table(FEATURES, schema=feature_schema(identity), mode="overwrite")
            images = base.create_table(IMAGES, schema=image_schema(identity), mode="overwrite")
            return cls(path, images, features, identity)
        tables = cls.open(path)
        _refuse_other(tables.identity, identity, path)
        with reading(path):
            tables.features.delete(f"image >= {tables.images.count_rows()}")
        return tables

    def add(self, images: pa.Table, features: pa.Table) -> None:
        """Adds the rows of a part."""
        if len(features):
            self.features.add(features)
        self.images.add(images)

    def finish(self) -> None:
        """Joins the files of a large collection, and indexes its labels and features."""
        from lancedb.index import Bitmap, IvfSq, LabelList

        rows = self.features.count_rows()
        if rows < INDEXED or self._unindexed() == 0:
            return
        self.features.optimize()
        self.features.create_index("label", config=Bitmap())
        self.features.create_index("labels", config=LabelList())
        parts = max(1, rows // PARTITION)
        self.features.create_index("feature", config=IvfSq(distance_type="cosine", num_partitions=parts))

    def _unindexed(self) -> int | None:
        statistics = self.features.index_stats("feature_idx")
        return None if statistics is None else statistics.num_unindexed_rows


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Refuses a second process that writes to the same collection.

    Raises:
        LabelwiseError: a process writes already, or the folder holds something else.
    """
    held = {f"{IMAGES}.lance", f"{FEATURES}.lance", ".lock"}
    if path.exists() and (not path.is_dir() or any(entry.name not in held for entry in path.iterdir())):
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


def _refuse_other(there: Identity, new: Identity, path: Path) -> None:
    differing = [
        name
        for name, same in (
            ("model, with other weights, settings, labels or thresholds", there.model == new.model),
            ("--labels", there.stored == new.stored),
            ("--all", there.every == new.every),
            ("--feature", there.feature == new.feature),
        )
        if not same
    ]
    if differing:
        raise LabelwiseError(
            f"{path}, a collection of another {' and '.join(differing)}",
            f"the run and options that it was begun with ({there.run})",
            "give the same, or choose another --out",
        )
