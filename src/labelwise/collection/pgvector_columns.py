"""Columns, values and addresses of PostgreSQL for the rows of a collection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import numpy as np
import psycopg
import pyarrow as pa
from pgvector import HalfVector
from psycopg import conninfo

from labelwise.errors import LabelwiseError


def shown_dsn(dsn: str, name: str) -> str:
    """The address without its password.

    >>> shown_dsn("postgresql://me:secret@localhost/photos", "bags")
    'pgvector:postgresql://me@localhost/photos#bags'
    """
    try:
        options = {key: str(value) for key, value in conninfo.conninfo_to_dict(dsn).items()}
        if not options.get("port", "0").replace(",", "").isdigit():
            raise psycopg.ProgrammingError("a password without @HOST is read as a port")
    except psycopg.Error:
        # The reason would quote the address.
        raise LabelwiseError(
            "a store pgvector with an address that cannot be read",
            "pgvector:postgresql://USER@HOST/DATABASE",
            "correct it; a password may stand in PGPASSWORD or .pgpass",
        ) from None
    host, port = options.get("host", ""), options.get("port")
    user = f"{quote(options['user'])}@" if "user" in options else ""
    location = ("" if host.startswith("/") else host) + (f":{port}" if port else "")
    socket = f"?host={host}" if host.startswith("/") else ""
    return f"pgvector:postgresql://{user}{location}/{options.get('dbname', '')}{socket}#{name}"


def column_type(field: pa.Field) -> str:
    """The type of a column in PostgreSQL; of `scores`, single values are compared, so it is an array."""
    kind = field.type
    if pa.types.is_fixed_size_list(kind):
        is_vector = pa.types.is_float16(kind.value_type) and field.name != "scores"
        return f"halfvec({kind.list_size})" if is_vector else "real[]"
    types = {
        pa.int64(): "bigint",
        pa.int32(): "integer",
        pa.string(): "text",
        pa.list_(pa.string()): "text[]",
        pa.float32(): "real",
        pa.bool_(): "boolean",
    }
    return types[kind]


def plain_value(value: Any) -> Any:
    """A value as psycopg takes it."""
    return value.tolist() if isinstance(value, np.ndarray) else value


def plain_rows(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Rows with vectors as arrays."""
    return [[v.to_numpy() if isinstance(v, HalfVector) else v for v in row] for row in rows]
