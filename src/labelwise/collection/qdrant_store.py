"""The tables of a collection in Qdrant: a server, or a folder of the client's local mode."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException

from labelwise.collection.backends import (
    FEATURES,
    IMAGES,
    arrow_table,
    no_collection,
    other_columns,
    refuse_other,
    selected,
    split_name,
)
from labelwise.collection.qdrant_points import filter_of, in_range, points_of, shown_url
from labelwise.collection.schema import KEY, Identity, feature_schema, image_schema
from labelwise.collection.where import Condition
from labelwise.errors import LabelwiseError, first_line

VECTORS = {IMAGES: "whole", FEATURES: "feature"}
"""The vector of each table; all other columns are the payload of a point."""
CANDIDATES = 200
"""Candidates that the index considers for a search (`hnsw_ef`)."""
_POINTS_AT_ONCE, _TIMEOUT_SECONDS = 1024, 60


class QdrantStore:
    """The `Store` of two collections of Qdrant, `NAME_images` and `NAME_features`.

    The points of a part are added to `features` first, then those of `images` in their order. The number of a point is
    that of its image, of a feature `image * L + label`, so a repeated part replaces its points. Qdrant has no lock: a
    second writer is not noticed.

    Args:
        url: of a server; or a folder.
        name: of the collection.
    """

    def __init__(self, url: str, name: str) -> None:
        self._url, self.finished = url, 0
        self._names = {table: f"{name}_{table}" for table in (IMAGES, FEATURES)}
        self._remote = "://" in url
        self.path = f"qdrant:{shown_url(url) if self._remote else url}#{name}"

    @classmethod
    def open(cls, address: str) -> QdrantStore:
        """The tables of an existing collection.

        Raises:
            LabelwiseError: no collection, a damaged one, one of another format, or a server that does not answer.
        """
        store = cls(*split_name(address))
        if not store._remote and not (Path(store._url) / "meta.json").is_file():
            raise no_collection(store.path)
        store._connect()
        if not store._read_record():
            raise no_collection(store.path)
        return store

    @classmethod
    @contextmanager
    def writing(cls, address: str, identity: Identity) -> Iterator[QdrantStore]:
        """The tables to write to: new, or those that are there without points of a stopped part.

        Raises:
            LabelwiseError: as `open`, or a collection of another run.
        """
        store = cls(*split_name(address))
        store._connect()
        try:
            if store._read_record():
                refuse_other(store.identity, identity, store.path)
                with store._guarded():
                    unfinished = models.Filter(must=[in_range("image", gte=store.finished)])
                    for name in store._names.values():
                        store._client.delete(name, models.FilterSelector(filter=unfinished))
            else:
                store._create(identity)
            yield store
        finally:
            store._client.close()

    def rows(
        self,
        table: str,
        columns: Sequence[str],
        label: str | None = None,
        where: Condition | None = None,
        images: Sequence[int] | None = None,
    ) -> pa.Table:
        """Columns of rows, see `Store`."""
        conditions = self._filter(label, where)
        if images is not None:
            conditions.append(models.FieldCondition(key="image", match=models.MatchAny(any=list(images))))
        fetched: list[list[Any]] = []
        offset = None
        with self._guarded():
            while True:
                points, offset = self._client.scroll(
                    self._names[table],
                    models.Filter(must=conditions),
                    limit=_POINTS_AT_ONCE,
                    offset=offset,
                    **self._requested(table, columns),
                )
                fetched += [self._row(table, point, columns) for point in points]
                if offset is None:
                    return arrow_table(fetched, selected(self._schemas[table], columns))

    def counts(self) -> Mapping[str, int]:
        """Number of features of each label."""
        name = self._names[FEATURES]
        with self._guarded():
            return {
                label: self._client.count(name, models.Filter(must=self._filter(label))).count
                for label in self.identity.stored
            }

    def nearest(
        self,
        label: str,
        vector: np.ndarray,
        where: Condition | None,
        columns: Sequence[str],
        top: int,
        exact: bool,
    ) -> pa.Table:
        """The nearest rows of a label, see `Store`; the local mode is always exact."""
        search_params = models.SearchParams(exact=exact, hnsw_ef=max(CANDIDATES, 2 * top))
        with self._guarded():
            points = self._client.query_points(
                self._names[FEATURES],
                np.asarray(vector, np.float32).tolist(),
                using=VECTORS[FEATURES],
                query_filter=models.Filter(must=self._filter(label, where)),
                search_params=search_params if self._remote else None,
                limit=top,
                **self._requested(FEATURES, columns),
            ).points
        fields = pa.schema(
            [pa.field("similarity", pa.float32()), *selected(self._schemas[FEATURES], columns)]
        )
        return arrow_table([[p.score, *self._row(FEATURES, p, columns)] for p in points], fields)

    def add(self, images: pa.Table, features: pa.Table) -> None:
        """Adds the rows of a part."""
        with self._guarded():
            self._upsert(FEATURES, features)
            self._upsert(IMAGES, images.sort_by("image"))
        self.finished += len(images)

    def finish(self) -> None:
        """Nothing: Qdrant indexes by itself."""

    def _upsert(self, table: str, rows: pa.Table) -> None:
        for points in points_of(rows, VECTORS[table], self.identity.labels):
            self._client.upsert(self._names[table], points, wait=True)

    def _row(self, table: str, point: Any, columns: Sequence[str]) -> list[Any]:
        """The values of columns of a point."""
        payload, vector = point.payload or {}, VECTORS[table]
        row = []
        for name in columns:
            if name == vector:
                width = self._schemas[table].field(name).type.list_size
                row.append((point.vector or {}).get(name) or [0.0] * width)
            elif name == "scores":
                row.append([payload[name][f"p{i}"] for i in range(len(self.identity.labels))])
            else:
                row.append(payload[name])
        return row

    def _requested(self, table: str, columns: Sequence[str]) -> dict[str, Any]:
        """The client's options that request only these columns."""
        vector = VECTORS[table]
        payload = [name for name in columns if name != vector]
        return {"with_payload": payload, "with_vectors": [vector] if vector in columns else False}

    def _filter(self, label: str | None = None, where: Condition | None = None) -> list[Any]:
        """The filters of finished rows."""
        parts: list[Any] = [in_range("image", lt=self.finished)]
        if label is not None:
            parts.append(models.FieldCondition(key="label", match=models.MatchValue(value=label)))
        if where is not None:
            parts.append(filter_of(where))
        return parts

    def _connect(self) -> None:
        with self._guarded():
            if self._remote:
                key = os.environ.get("QDRANT_API_KEY")
                self._client = QdrantClient(
                    self._url, api_key=key, timeout=_TIMEOUT_SECONDS, check_compatibility=False
                )
            else:
                # A server answers its page from several threads.
                self._client = QdrantClient(path=self._url, force_disable_check_same_thread=True)

    def _read_record(self) -> bool:
        """Reads the record and the number of images; `False` if there is no collection."""
        with self._guarded():
            if not self._client.collection_exists(self._names[IMAGES]):
                return False
            record = self._client.get_collection(self._names[IMAGES]).config.metadata or {}
            text = str(record.get(KEY, ""))
            self._describe(Identity.from_schema(pa.schema([], {KEY: text}), self.path))
            for table, width in self._widths().items():
                if not self._client.collection_exists(self._names[table]):
                    raise other_columns(self.path)
                vectors = self._client.get_collection(self._names[table]).config.params.vectors
                params = vectors.get(VECTORS[table]) if isinstance(vectors, dict) else None
                if params is None or params.size != width:
                    raise other_columns(self.path)
            self.finished = self._client.count(self._names[IMAGES], exact=True).count
        return True

    def _create(self, identity: Identity) -> None:
        """Create the collections of features and images, with the record of the run."""
        self._describe(identity)
        # `images` is created last, so that a collection that was stopped here begins again.
        with self._guarded():
            if self._client.collection_exists(self._names[FEATURES]):
                self._client.delete_collection(self._names[FEATURES])
            for table in (FEATURES, IMAGES):
                vector = models.VectorParams(
                    size=self._widths()[table],
                    distance=models.Distance.COSINE,
                    datatype=models.Datatype.FLOAT16,
                    on_disk=True,
                )
                self._client.create_collection(
                    self._names[table],
                    {VECTORS[table]: vector},
                    metadata={KEY: identity.to_json()} if table == IMAGES else None,
                )
                keys = {"image": models.PayloadSchemaType.INTEGER, "labels": models.PayloadSchemaType.KEYWORD}
                if table == FEATURES:
                    keys["label"] = models.PayloadSchemaType.KEYWORD
                for key, kind in keys.items() if self._remote else ():
                    self._client.create_payload_index(self._names[table], key, kind)

    def _describe(self, identity: Identity) -> None:
        self.identity = identity
        self._schemas = {IMAGES: image_schema(identity), FEATURES: feature_schema(identity)}

    def _widths(self) -> dict[str, int]:
        """Width of the vectors of each table."""
        return {t: schema.field(VECTORS[t]).type.list_size for t, schema in self._schemas.items()}

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Turns errors of the client into one line."""
        try:
            yield
        except LabelwiseError:
            raise
        except ResponseHandlingException as error:
            raise LabelwiseError(
                f"{self.path}, a server that does not answer ({first_line(error)[:300]})",
                "a running Qdrant",
                "start it or correct the address, and give the same command again; finished images are kept",
            ) from None
        except (ApiException, RuntimeError, ValueError, LookupError, OSError, sqlite3.Error) as error:
            raise LabelwiseError(
                f"{self.path}, which cannot be used ({first_line(error)[:300]})",
                "an undamaged collection that `labelwise embed` wrote, used by one process if it is a folder",
                "wait for the other process, choose another #NAME, or restore a copy",
            ) from None
