"""The tables of a collection in PostgreSQL with the extension pgvector."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import RLock
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
from pgvector import HalfVector
from pgvector.psycopg import register_vector
from psycopg import conninfo

from labelwise.collection.backends import (
    FEATURES,
    IMAGES,
    arrow_table,
    no_collection,
    other_columns,
    refuse_other,
    row_batches,
    selected,
    split_name,
)
from labelwise.collection.pgvector_columns import column_type, plain_rows, plain_value, shown_dsn
from labelwise.collection.schema import KEY, Identity, feature_schema, image_schema
from labelwise.collection.where import Condition, quoted, sql
from labelwise.errors import LabelwiseError, first_line

INDEXED = 10_000
"""Features of a label from which it has an index; below, all of them are compared."""
LEAST_VERSION = (0, 8)
"""Of the extension: the first that searches on until enough rows fit a condition."""
WIDEST = 4000
"""Width of a feature up to which pgvector indexes `halfvec`."""
CANDIDATES = 200
"""Candidates that the index considers for a search (`hnsw.ef_search`)."""
_ROWS_AT_ONCE = 4096
_KEYS = {IMAGES: "image", FEATURES: "label, image"}


class PgvectorStore:
    """The `Store` of a schema of a PostgreSQL database. A part is added in one transaction.

    Args:
        dsn: as libpq takes it.
        name: of the schema.
    """

    def __init__(self, dsn: str, name: str) -> None:
        self._dsn, self._name, self.path = dsn, f'"{name}"', shown_dsn(dsn, name)
        self._lock = RLock()
        self._connection: psycopg.Connection[Any] | None = None
        self.finished = 0

    @classmethod
    def open(cls, address: str) -> PgvectorStore:
        """The tables of an existing collection.

        Raises:
            LabelwiseError: no collection, a damaged one, one of another format, or a server that does not answer.
        """
        store = cls(*split_name(address))
        if not store._read_record():
            raise no_collection(store.path)
        return store

    @classmethod
    @contextmanager
    def writing(cls, address: str, identity: Identity) -> Iterator[PgvectorStore]:
        """The tables to write to, new or there, while no other process writes to them.

        Raises:
            LabelwiseError: as `open`; a collection of another run; or a process that writes already.
        """
        store = cls(*split_name(address))
        with store._guarded() as connection:
            (is_free,) = connection.execute(
                "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [f"labelwise {store._name}"]
            ).fetchone() or (False,)
        if not is_free:
            raise LabelwiseError(
                f"{store.path}, to which another process writes",
                "one writer at a time",
                "wait until it ends",
            )
        try:
            if store._read_record():
                refuse_other(store.identity, identity, store.path)
            else:
                store._create(identity)
            yield store
        finally:
            if store._connection is not None:
                store._connection.close()

    def rows(
        self,
        table: str,
        columns: Sequence[str],
        label: str | None = None,
        where: Condition | None = None,
        images: Sequence[int] | None = None,
    ) -> pa.Table:
        """Columns of rows, see `Store`."""
        query = f"SELECT {', '.join(columns)} FROM {self._name}.{table} WHERE {self._filter(label, where)}"
        if images is not None:
            query += f" AND image = ANY(ARRAY[{', '.join(map(str, images))}]::bigint[])"
        with self._guarded() as connection:
            fetched = connection.cursor(binary=True).execute(query.encode()).fetchall()
        return arrow_table(plain_rows(fetched), selected(self._schemas[table], columns))

    def counts(self) -> Mapping[str, int]:
        """Number of features of each label."""
        query = f"SELECT label, count(*) FROM {self._name}.{FEATURES} WHERE {self._filter()} GROUP BY label"
        with self._guarded() as connection:
            return dict(connection.execute(query.encode()).fetchall())

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
        distance = f"(feature <=> '{HalfVector(vector).to_text()}'::halfvec({self.identity.dim}))"
        # The label is a literal: a parameter would hide that an index of this label alone fits.
        query = (
            f"SELECT (1 - {distance})::real, {', '.join(columns)} FROM {self._name}.{FEATURES} "
            f"WHERE {self._filter(label, where)} ORDER BY {distance} LIMIT {top}"
        )
        with self._guarded() as connection, connection.transaction():
            if exact:
                connection.execute("SET LOCAL enable_indexscan = off")
            else:
                connection.execute("SET LOCAL hnsw.iterative_scan = strict_order")
                connection.execute(
                    f"SET LOCAL hnsw.ef_search = {min(1000, max(CANDIDATES, 2 * top))}".encode()
                )
            fetched = connection.cursor(binary=True).execute(query.encode()).fetchall()
        similarity = pa.field("similarity", pa.float32())
        fields = selected(self._schemas[FEATURES], columns)
        return arrow_table(plain_rows(fetched), pa.schema([similarity, *fields]))

    def add(self, images: pa.Table, features: pa.Table) -> None:
        """Adds the rows of a part."""
        with self._guarded() as connection, connection.transaction(), connection.cursor() as cursor:
            for table, rows in ((FEATURES, features), (IMAGES, images)):
                names = ", ".join(rows.column_names)
                statement = f"COPY {self._name}.{table} ({names}) FROM STDIN (FORMAT BINARY)"
                with cursor.copy(statement.encode()) as copy:
                    types = [column_type(field) for field in rows.schema]
                    copy.set_types([kind.partition("(")[0] for kind in types])
                    for batch in row_batches(rows, _ROWS_AT_ONCE):
                        lists = [
                            map(HalfVector if kind.startswith("halfvec") else plain_value, batch[name])
                            for name, kind in zip(rows.column_names, types, strict=True)
                        ]
                        for row in zip(*lists, strict=True):
                            copy.write_row(row)
        self.finished += len(images)

    def finish(self) -> None:
        """Indexes the features of each label that has many."""
        counts = self.counts()
        with self._guarded() as connection:
            connection.execute("SET maintenance_work_mem = '256MB'")
            for column, label in enumerate(self.identity.labels):
                if counts.get(label, 0) >= INDEXED and self.identity.dim <= WIDEST:
                    index = (
                        f"CREATE INDEX IF NOT EXISTS features_of_{column} ON {self._name}.{FEATURES} "
                        f"USING hnsw (feature halfvec_cosine_ops) WHERE label = {quoted(label)}"
                    )
                    connection.execute(index.encode())
            connection.execute(f"ANALYZE {self._name}.{FEATURES}".encode())

    def _filter(self, label: str | None = None, where: Condition | None = None) -> str:
        """The filter of finished rows in SQL."""
        parts = [f"image < {self.finished}"]
        if label is not None:
            parts.append(f"label = {quoted(label)}")
        if where is not None:
            parts.append(sql(where, "(labels @> ARRAY[{}])".format))
        return " AND ".join(parts)

    def _read_record(self) -> bool:
        """Reads the record and the number of images; `False` if there is no collection."""
        with self._guarded() as connection:
            (exists,) = connection.execute(
                "SELECT to_regclass(%s) IS NOT NULL", [f"{self._name}.record"]
            ).fetchone() or (False,)
            if not exists:
                return False
            fetched = connection.execute(f"SELECT record FROM {self._name}.record".encode()).fetchone()
            self._describe(Identity.from_schema(pa.schema([], {KEY: (fetched or [""])[0]}), self.path))
            for table, schema in self._schemas.items():
                types = connection.execute(
                    "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
                    "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
                    [f"{self._name}.{table}"],
                ).fetchall()
                if dict(types) != {field.name: column_type(field) for field in schema}:
                    raise other_columns(self.path)
            register_vector(connection)
            count = connection.execute(f"SELECT max(image) + 1 FROM {self._name}.{IMAGES}".encode())
            self.finished = (count.fetchone() or [0])[0] or 0
        return True

    def _create(self, identity: Identity) -> None:
        """Create the schema, its tables and the record of the run, in one transaction."""
        self._describe(identity)
        with self._guarded() as connection:
            with connection.transaction():
                connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
                version = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
                (text,) = version.fetchone() or ("0.0",)
                if tuple(int(number) for number in text.split(".")[:2]) < LEAST_VERSION:
                    least = ".".join(map(str, LEAST_VERSION))
                    raise LabelwiseError(
                        f"{self.path} with pgvector {text}",
                        f"pgvector {least} or newer",
                        "install it and run in the database: ALTER EXTENSION vector UPDATE",
                    )
                connection.execute(f"CREATE SCHEMA IF NOT EXISTS {self._name}".encode())
                for table, schema in self._schemas.items():
                    columns = ", ".join(f"{field.name} {column_type(field)}" for field in schema)
                    key = f"PRIMARY KEY ({_KEYS[table]})"
                    connection.execute(f"CREATE TABLE {self._name}.{table} ({columns}, {key})".encode())
                connection.execute(f"CREATE TABLE {self._name}.record (record text NOT NULL)".encode())
                connection.execute(
                    f"INSERT INTO {self._name}.record VALUES (%s)".encode(), [identity.to_json()]
                )
            register_vector(connection)

    def _describe(self, identity: Identity) -> None:
        self.identity = identity
        self._schemas = {IMAGES: image_schema(identity), FEATURES: feature_schema(identity)}

    @contextmanager
    def _guarded(self) -> Iterator[psycopg.Connection[Any]]:
        """The connection; its errors become one line."""
        try:
            with self._lock:
                yield self._open_connection()
        except psycopg.Error as error:
            secret = conninfo.conninfo_to_dict(self._dsn).get("password")
            reason = first_line(error).replace(str(secret), "***") if secret else first_line(error)
            if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
                raise LabelwiseError(
                    f"{self.path}, a server that does not answer ({reason[:300]})",
                    "a running PostgreSQL that accepts this user",
                    "start it or correct the address, and give the same command again; finished parts are kept",
                ) from None
            raise LabelwiseError(
                f"{self.path}, whose tables cannot be used ({reason[:300]})",
                "an undamaged collection that `labelwise embed` wrote, and its rights",
                "choose another #NAME, or restore a copy",
            ) from None

    def _open_connection(self) -> psycopg.Connection[Any]:
        """The connection; a new one if the server closed it."""
        if self._connection is None or self._connection.closed:
            was_open = self._connection is not None
            defaults: dict[str, Any] = {"connect_timeout": 10, "application_name": "labelwise"}
            settings = conninfo.make_conninfo("", **{**defaults, **conninfo.conninfo_to_dict(self._dsn)})
            self._connection = psycopg.connect(settings, autocommit=True, prepare_threshold=None)
            if was_open:
                register_vector(self._connection)
        return self._connection
