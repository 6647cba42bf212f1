"""What Hugging Face's `datasets` says of a table's columns: names of classes, and which column holds images."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int64

from labelwise.data.readers.columns import IMAGE_COLUMNS
from labelwise.errors import LabelwiseError

METADATA_KEY = b"huggingface"
_LISTS = ("Sequence", "List", "LargeList")
_MARKS = ";|,"  # between names in one cell of text


def features_of(schema: pa.Schema) -> dict[str, Any]:
    """The features of each column, from the schema's metadata; empty where there are none.

    >>> features_of(pa.schema([("a", pa.int64())]))
    {}
    """
    try:
        described = json.loads((schema.metadata or {})[METADATA_KEY])
        features = described["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return features if isinstance(features, dict) else {}


def class_names(feature: Any) -> list[str] | None:
    """Names of the classes that a column's whole numbers stand for, in their order; `None` for any other column.

    Args:
        feature: of one column, as `datasets` 1 to 5 write it: a `ClassLabel`, or a list of them.

    >>> class_names({"feature": {"names": ["cat", "dog"], "_type": "ClassLabel"}, "_type": "Sequence"})
    ['cat', 'dog']
    """
    if isinstance(feature, list) and len(feature) == 1:
        feature = feature[0]
    elif isinstance(feature, dict) and feature.get("_type") in _LISTS:
        feature = feature.get("feature")
    if not isinstance(feature, dict) or feature.get("_type", "ClassLabel") != "ClassLabel":
        return None
    names = feature.get("names")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    return names or None


def image_column(table: pa.Table) -> str | None:
    """Name of the column of images: a struct of `bytes` and `path`, or what the features call one.

    Raises:
        LabelwiseError: several such columns and none with a usual name.
    """
    features = features_of(table.schema)
    names = [
        field.name
        for field in table.schema
        if _is_image(field.type)
        or (isinstance(f := features.get(field.name), dict) and f.get("_type") == "Image")
    ]
    if len(names) <= 1:
        return names[0] if names else None
    lower = {name.lower(): name for name in names}
    usual = next((lower[name] for name in IMAGE_COLUMNS if name in lower), None)
    if usual is None:
        raise LabelwiseError(
            f"several columns of images: {', '.join(names)}",
            "one picture a row",
            f"leave others out, such as ?ignore={','.join(names[1:])}",
        )
    return usual


def _is_image(kind: pa.DataType) -> bool:
    if not pa.types.is_struct(kind):
        return False
    fields = {kind.field(i).name: kind.field(i).type for i in range(kind.num_fields)}
    content = fields.get("bytes", pa.int8())
    return "path" in fields and (pa.types.is_binary(content) or pa.types.is_large_binary(content))


def image_cells(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The images of a column of structs: their bytes where every row has them, their paths where none has.

    Raises:
        LabelwiseError: rows of both kinds, or without either.
    """
    if not pa.types.is_struct(column.type):
        return column
    content, path = pc.struct_field(column, "bytes"), pc.struct_field(column, "path")
    neither = pc.and_(pc.is_null(content), pc.is_null(path))
    if (row := pc.index(neither, True).as_py()) >= 0:
        raise LabelwiseError(
            f"row {row + 1} without an image", "bytes or a path in each row", "complete the rows"
        )
    if content.null_count == 0:
        return content
    if content.null_count < len(content):
        raise LabelwiseError(
            f"{content.null_count:,} images as paths beside {len(content) - content.null_count:,} embedded ones",
            "all of one kind",
            "embed them all, as Dataset.save_to_disk does",
        )
    return path


def decoded_names(
    table: pa.Table, features: Mapping[str, Any] | None = None
) -> tuple[pa.Table, dict[str, tuple[str, ...]]]:
    """The table with names in place of class numbers, and all names of each such column.

    A list of numbers becomes a list of names, a single number text (a list of one name where a name holds a mark
    that could part names). -1 is no label: the cell becomes null, in a list the entry goes. A struct with class
    numbers inside, such as that of boxes, becomes a column for each of its fields, `objects.category`.

    Args:
        table: with `features` in its schema's metadata.
        features: in place of those.

    Raises:
        LabelwiseError: a number that is outside the names, or a column of another type.
    """
    features = features_of(table.schema) if features is None else features
    table, features = _flattened(table, features)
    every: dict[str, tuple[str, ...]] = {}
    for place, name in enumerate(table.column_names):
        names, kind = class_names(features.get(name)), table[name].type
        numbers = kind.value_type if _is_list(kind) else kind
        if names is None or not (pa.types.is_integer(numbers) or pa.types.is_floating(numbers)):
            continue
        decoded = (_lists_of_names if _is_list(kind) else _single_names)(table[name], names, name)
        table = table.set_column(place, name, decoded)
        every[name] = tuple(names)
    return table, every


def _single_names(column: pa.ChunkedArray, names: Sequence[str], title: str) -> pa.Array:
    codes = _codes(_one(column), names, title, np.arange(len(column)))
    texts = pa.array(names, pa.string()).take(pa.array(codes, mask=codes < 0))
    if not any(mark in text for text in names for mark in _MARKS):
        return texts
    ends = np.concatenate([[0], np.cumsum(codes >= 0)])
    return _lists(ends, texts.drop_null(), codes < 0)


def _lists_of_names(column: pa.ChunkedArray, names: Sequence[str], title: str) -> pa.Array:
    array = _one(column.cast(pa.large_list(column.type.value_type)))
    row = pc.list_parent_indices(array).to_numpy(zero_copy_only=False)
    codes = _codes(pc.list_flatten(array), names, title, row)
    count = np.bincount(row[codes >= 0], minlength=len(array))
    length = pc.list_value_length(array).fill_null(-1).to_numpy(zero_copy_only=False)
    texts = pa.array(names, pa.string()).take(pa.array(codes[codes >= 0]))
    return _lists(np.concatenate([[0], np.cumsum(count)]), texts, (count == 0) & (length != 0))


def _codes(numbers: pa.Array, names: Sequence[str], title: str, row: np.ndarray) -> Int64[np.ndarray, " M"]:
    """Class numbers, -1 for none; refuses those that no name stands for."""
    try:
        codes = numbers.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        raise LabelwiseError(
            f"column {title!r} of classes with numbers that are not whole", "class numbers", "write it again"
        ) from None
    wrong = np.flatnonzero((codes < -1) | (codes >= len(names)))
    if len(wrong):
        raise LabelwiseError(
            f"class {codes[wrong[0]]} in row {row[wrong[0]] + 1} of the column {title!r}",
            f"0 to {len(names) - 1}, as the features name {len(names):,} classes, or -1 for none",
            "correct the number or the features",
        )
    return codes


def _flattened(table: pa.Table, features: Mapping[str, Any]) -> tuple[pa.Table, dict[str, Any]]:
    """Structs with class numbers inside as columns of their own."""
    names, columns, flat = [], [], {}
    for name in table.column_names:
        inner, column = _fields(features.get(name)), table[name]
        kind = column.type.value_type if _is_list(column.type) else column.type
        if not pa.types.is_struct(kind) or not any(class_names(f) is not None for f in inner.values()):
            names.append(name)
            columns.append(column)
            flat[name] = features.get(name)
            continue
        for place in range(kind.num_fields):
            field = kind.field(place).name
            names.append(f"{name}.{field}")
            columns.append(_field(column, field))
            flat[names[-1]] = inner.get(field)
    return pa.table(columns, names).replace_schema_metadata(table.schema.metadata), flat


def _fields(feature: Any) -> Mapping[str, Any]:
    """The features inside that of a struct or of a list of structs; of the latter each field is a list."""
    if isinstance(feature, dict) and feature.get("_type") in _LISTS:
        feature = [feature.get("feature")]
    if isinstance(feature, list) and len(feature) == 1 and isinstance(feature[0], dict):
        return {name: [inner] for name, inner in feature[0].items()}
    return feature if isinstance(feature, dict) and "_type" not in feature else {}


def _field(column: pa.ChunkedArray, field: str) -> pa.ChunkedArray | pa.Array:
    if pa.types.is_struct(column.type):
        return pc.struct_field(column, field)
    array = _one(column.cast(pa.large_list(column.type.value_type)))
    length = pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False)
    missing = array.is_null().to_numpy(zero_copy_only=False)
    return _lists(
        np.concatenate([[0], np.cumsum(length)]), pc.struct_field(pc.list_flatten(array), field), missing
    )


def _lists(ends: np.ndarray, values: pa.Array, missing: np.ndarray) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), values, mask=pa.array(missing))


def _one(column: pa.ChunkedArray) -> pa.Array:
    array = column.combine_chunks()
    return pa.concat_arrays(array.chunks) if isinstance(array, pa.ChunkedArray) else array


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
