"""Where the tables of a collection are: a folder of LanceDB, PostgreSQL with pgvector, or Qdrant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import pyarrow as pa

from labelwise.collection.schema import Identity
from labelwise.collection.where import Condition
from labelwise.errors import LabelwiseError
from labelwise.lazy import require_package

IMAGES, FEATURES = "images", "features"
NAME = "labelwise"
"""Name of a collection on a server if its address has none."""


@runtime_checkable
class Store(Protocol):
    """The tables `images` and `features` of a collection, see `labelwise.collection.schema`.

    `path` is its address without passwords, `identity` its record, and `finished` the number of images all of whose
    rows are stored: images `0 <= i < finished`. Rows of other images, of a call that is running or was stopped, are
    never returned. Every method raises `LabelwiseError` for damaged tables and for a server that does not answer.
    """

    path: Path | str
    identity: Identity
    finished: int

    def rows(
        self,
        table: str,
        columns: Sequence[str],
        label: str | None = None,
        where: Condition | None = None,
        images: Sequence[int] | None = None,
    ) -> pa.Table:
        """Columns of rows in any order: of a label, of images that fit a condition, of images with these numbers."""
        ...

    def counts(self) -> Mapping[str, int]:
        """Number of features of each label that has any."""
        ...

    def nearest(
        self,
        label: str,
        vector: np.ndarray,
        where: Condition | None,
        columns: Sequence[str],
        top: int,
        exact: bool,
    ) -> pa.Table:
        """Rows of a label with the largest cosine to a vector `[D]`, that first, in the column `similarity`."""
        ...

    def add(self, images: pa.Table, features: pa.Table) -> None:
        """Adds the rows of a part; its images follow those before."""
        ...

    def finish(self) -> None:
        """Builds the indexes that are missing."""
        ...


Address: TypeAlias = str | Path

_SERVERS = {
    "pgvector": ("labelwise.collection.pgvector_store", "PgvectorStore", ("psycopg", "pgvector")),
    "qdrant": ("labelwise.collection.qdrant_store", "QdrantStore", ("qdrant_client",)),
}


def server(address: Address) -> str | None:
    """`pgvector` or `qdrant` for the address of a server; `None` for a folder."""
    kind, colon, _ = str(address).partition(":")
    return kind if colon and kind in _SERVERS else None


def split_name(address: str) -> tuple[str, str]:
    """The address of a server, and the name of the collection after `#`.

    >>> split_name("http://localhost:6333#bags")
    ('http://localhost:6333', 'bags')

    Raises:
        LabelwiseError: a name of other signs than letters, digits and `_`, or of more than 40.
    """
    location, _, name = address.partition("#")
    name = name or NAME
    if not (name.isascii() and name.isidentifier() and len(name) <= 40):
        # The text is not shown: it may be a part of a password.
        raise LabelwiseError(
            "a store whose address ends in # and no name of a collection",
            "a name of at most 40 letters, digits and _, such as #bags",
            "correct it, or write # in a password as %23",
        )
    return location, name


def require_packages(address: Address) -> None:
    """Raises an error if a package that a store requires is not installed."""
    kind = server(address)
    if kind is None:
        from labelwise.collection.store import engine

        engine()
        return
    for package in _SERVERS[kind][2]:
        require_package(package, f"a store {kind} without {package}", kind)


def open_store(address: Address) -> Store:
    """The tables of an existing collection.

    Args:
        address: a folder, `pgvector:DSN` or `qdrant:URL`, the latter two with `#NAME` if it is not `labelwise`.

    Raises:
        LabelwiseError: no collection, a damaged one, one of another format, or a server that does not answer.
    """
    require_packages(address)
    return _store_class(address).open(_location(address))


@contextmanager
def created(address: Address, identity: Identity) -> Iterator[Store]:
    """The tables to write to: new and empty, or those that are there, without rows of a stopped part.

    Raises:
        LabelwiseError: as `open_store`; or a collection of another run, or one to which another process writes.
    """
    require_packages(address)
    writing: AbstractContextManager[Store] = _store_class(address).writing(_location(address), identity)
    with writing as store:
        yield store


def _store_class(address: Address) -> Any:
    """The class of the store at an address."""
    kind = server(address)
    if kind is None:
        from labelwise.collection.store import FolderStore

        return FolderStore
    module, name, _ = _SERVERS[kind]
    return getattr(import_module(module), name)


def _location(address: Address) -> Any:
    """A folder as a path, or the address of a server without its kind."""
    return Path(address) if server(address) is None else str(address).partition(":")[2]


def refuse_other(stored: Identity, new: Identity, path: Address) -> None:
    """Raises an error if a collection was begun with another run or with other options."""
    differing = [
        name
        for name, is_equal in (
            ("model, with other weights, settings, labels or thresholds", stored.model == new.model),
            ("--labels", stored.stored == new.stored),
            ("--all", stored.every == new.every),
            ("--feature", stored.feature == new.feature),
        )
        if not is_equal
    ]
    if differing:
        raise LabelwiseError(
            f"{path}, a collection of another {' and '.join(differing)}",
            f"the run and options that it was begun with ({stored.run})",
            "give the same, or choose another --out",
        )


def no_collection(path: Address) -> LabelwiseError:
    """The error for an address without a collection."""
    return LabelwiseError(
        f"{path}, which is no collection", "what `labelwise embed` wrote", "check the path, or embed first"
    )


def other_columns(path: Address) -> LabelwiseError:
    """The error for tables that do not fit their record."""
    return LabelwiseError(
        f"{path}, whose tables have other columns than its record says",
        "tables as `labelwise embed` writes them",
        "embed again into a new collection",
    )


def arrow_table(rows: Sequence[Sequence[Any]], schema: pa.Schema) -> pa.Table:
    """Rows of Python values, vectors as lists or arrays, as a table."""
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    return pa.Table.from_arrays(
        [_column(values, field.type) for values, field in zip(columns, schema, strict=True)], schema=schema
    )


def _column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Python values, or vectors, as a column of a type."""
    if not pa.types.is_fixed_size_list(kind):
        return pa.array(values, kind)
    flat = np.asarray(values, kind.value_type.to_pandas_dtype()).reshape(-1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), kind.list_size)


def selected(schema: pa.Schema, columns: Sequence[str]) -> pa.Schema:
    """The fields of a schema by name, without its metadata."""
    return pa.schema([schema.field(name) for name in columns])


def row_batches(table: pa.Table, limit: int) -> Iterator[dict[str, list[Any]]]:
    """Rows of a table as lists by column, vectors as arrays, at most so many at a time."""
    for batch in table.to_batches(limit):
        lists = {}
        for field, column in zip(batch.schema, batch.columns, strict=True):
            if pa.types.is_fixed_size_list(field.type):
                lists[field.name] = list(np.asarray(column.flatten()).reshape(len(batch), -1))
            else:
                lists[field.name] = column.to_pylist()
        yield lists
