"""Converts Arrow columns of any writer to the few types that label tables are read from."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from labelwise.errors import LabelwiseError

IMAGE_FIELDS = frozenset({"bytes", "path"})
"""Fields of the struct that Hugging Face `datasets` writes for an image."""


def is_text_type(kind: pa.DataType) -> bool:
    """Whether a column holds text, in any of Arrow's types."""
    if pa.types.is_dictionary(kind):
        return is_text_type(kind.value_type)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def is_bytes(kind: pa.DataType) -> bool:
    """Whether a column holds bytes, in any of Arrow's types."""
    return (
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def is_list(kind: pa.DataType) -> bool:
    """Whether a column holds lists, in any of Arrow's types."""
    return (
        pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_fixed_size_list(kind)
        or pa.types.is_list_view(kind)
        or pa.types.is_large_list_view(kind)
    )


def is_image_struct(kind: pa.DataType) -> bool:
    """Whether a column holds images as `datasets` writes them: bytes, a path, or both."""
    names = {kind.field(i).name for i in range(kind.num_fields)} if pa.types.is_struct(kind) else set()
    return bool(names) and names <= IMAGE_FIELDS


def plain_columns(table: pa.Table) -> pa.Table:
    """The same table with text as `string`, bytes as `large_binary`, lists as `list` of plain cells.

    Dictionaries, views, fixed sizes, extension types, columns of nulls, and decimals become their plain values. Other
    types are unchanged.
    """
    columns = [_plain_column(column) for column in table.columns]
    return pa.table(columns, table.column_names).replace_schema_metadata(table.schema.metadata)


def _plain_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of any writer as one of the plain types."""
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        chunks = [chunk.storage for chunk in column.chunks]
        return _plain_column(pa.chunked_array(chunks, kind.storage_type))
    plain_type = _plain_type(kind)
    if plain_type == kind:
        return column
    if pa.types.is_dictionary(kind):
        return _plain_column(column.cast(kind.value_type))
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        # A cast in pyarrow 26.0.1 omits the last offset of such lists.
        return pa.chunked_array([pa.array(column.to_pylist(), plain_type)])
    return column.cast(plain_type)


def _plain_type(kind: pa.DataType) -> pa.DataType:
    """The type that cells of a type become."""
    if pa.types.is_null(kind) or is_text_type(kind):
        return pa.string()
    if is_bytes(kind):
        return pa.large_binary()
    if is_list(kind):
        return pa.list_(_plain_type(kind.value_type))
    if pa.types.is_decimal(kind):
        return pa.float64()
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_dictionary(kind):
        return _plain_type(kind.value_type)
    return kind


def one_array(column: pa.ChunkedArray) -> pa.Array:
    """One array of the cells of a plain column; text is stripped."""
    array, is_text = column.combine_chunks(), is_text_type(column.type)
    if isinstance(array, pa.ChunkedArray):  # more text than one array of 32-bit offsets holds
        array = pa.concat_arrays([c.cast(pa.large_string()) if is_text else c for c in array.chunks])
    return pc.utf8_trim_whitespace(array) if is_text else array


def image_cells(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Bytes or paths of a column of image structs: the bytes if every row has them, else the paths.

    Raises:
        LabelwiseError: some rows have only bytes and others only a path, or neither.
    """
    fields = {column.type.field(i).name: i for i in range(column.type.num_fields)}
    columns = {key: _plain_column(pc.struct_field(column, [index])) for key, index in fields.items()}
    for key in ("bytes", "path"):
        if key in columns and not columns[key].null_count:
            return columns[key]
    missing = min(cells.null_count for cells in columns.values())
    raise LabelwiseError(
        f"column {name!r} of images with {missing:,} rows that lack the bytes or path of others",
        "bytes in every row, or a path in every row",
        "complete the rows",
    )
