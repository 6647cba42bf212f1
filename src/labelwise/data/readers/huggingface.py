"""Features of a table's columns by Hugging Face's `datasets`: the names of classes that are stored as numbers."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int64

from labelwise.data.readers.arrow import is_list, one_array
from labelwise.errors import LabelwiseError

METADATA_KEY = b"huggingface"
_LISTS = ("Sequence", "List", "LargeList")


def features_of(schema: pa.Schema) -> dict[str, Any]:
    """The features of each column, from the schema's metadata; empty if there are none.

    >>> features_of(pa.schema([("a", pa.int64())]))
    {}
    """
    try:
        metadata = json.loads((schema.metadata or {})[METADATA_KEY])
        features = metadata["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return features if isinstance(features, dict) else {}


def names_of_classes(feature: Any) -> list[str] | None:
    """Names of the classes behind a column's whole numbers, in their order; `None` for any other column.

    Args:
        feature: of one column, as `datasets` 1 to 5 write it: a `ClassLabel`, or a list of them.

    >>> names_of_classes({"feature": {"names": ["cat", "dog"], "_type": "ClassLabel"}, "_type": "Sequence"})
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
    return [name.strip() for name in names] or None


def decoded_names(
    table: pa.Table, features: Mapping[str, Any] | None = None
) -> tuple[pa.Table, dict[str, tuple[str, ...]]]:
    """The table with names in place of class numbers, and all names of each such column.

    A list of numbers becomes a list of names, a single number becomes text. -1 means no label: the cell becomes null,
    in a list the entry is removed. A struct with class numbers inside, such as that of boxes, becomes a column for
    each of its fields, `objects.category`.

    Args:
        table: with `features` in its schema's metadata.
        features: used instead of these, if given.

    Raises:
        LabelwiseError: a number without a name, classes that are not whole numbers, or a column twice.
    """
    repeated = next((name for name in table.column_names if table.column_names.count(name) > 1), None)
    if repeated is not None:
        raise LabelwiseError(f"column {repeated!r} twice", "distinct column names", "rename one of them")
    features = features_of(table.schema) if features is None else features
    table, features = _flattened(table, features)
    class_names: dict[str, tuple[str, ...]] = {}
    for index, name in enumerate(table.column_names):
        names, kind = names_of_classes(features.get(name)), table[name].type
        numbers = kind.value_type if is_list(kind) else kind
        if names is None or not (pa.types.is_integer(numbers) or pa.types.is_floating(numbers)):
            continue
        decoded = (_lists_of_names if is_list(kind) else _single_names)(table[name], names, name)
        table = table.set_column(index, name, decoded)
        class_names[name] = tuple(names)
    return table, class_names


def _single_names(column: pa.ChunkedArray, names: Sequence[str], title: str) -> pa.Array:
    """A column of class numbers as one of names."""
    codes = _codes(one_array(column), names, title, np.arange(len(column)))
    return pa.array(names, pa.string()).take(pa.array(codes, mask=codes < 0))


def _lists_of_names(column: pa.ChunkedArray, names: Sequence[str], title: str) -> pa.Array:
    """A column of lists of class numbers as one of lists of names."""
    array = one_array(column.cast(pa.large_list(column.type.value_type)))
    row = pc.list_parent_indices(array).to_numpy(zero_copy_only=False)
    codes = _codes(pc.list_flatten(array), names, title, row)
    count = np.bincount(row[codes >= 0], minlength=len(array))
    length = pc.list_value_length(array).fill_null(-1).to_numpy(zero_copy_only=False)
    texts = pa.array(names, pa.string()).take(pa.array(codes[codes >= 0]))
    return _list_array(np.concatenate([[0], np.cumsum(count)]), texts, (count == 0) & (length != 0))


def _codes(numbers: pa.Array, names: Sequence[str], title: str, row: np.ndarray) -> Int64[np.ndarray, " M"]:
    """Class numbers, -1 for none; raises for a number without a name."""
    try:
        codes = numbers.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        raise LabelwiseError(
            f"column {title!r} of classes with numbers that are not whole", "class numbers", "write it again"
        ) from None
    invalid = np.flatnonzero((codes < -1) | (codes >= len(names)))
    if len(invalid):
        raise LabelwiseError(
            f"class {codes[invalid[0]]} in row {row[invalid[0]] + 1} of the column {title!r}",
            f"0 to {len(names) - 1}, as the features name {len(names):,} classes, or -1 for none",
            "correct the number or the features",
        )
    return codes


def _flattened(table: pa.Table, features: Mapping[str, Any]) -> tuple[pa.Table, dict[str, Any]]:
    """Structs with class numbers inside, expanded to one column per field."""
    inner_of = {name: _inner_features(features.get(name)) for name in table.column_names}
    expanded = [
        n for n, fields in inner_of.items() if any(names_of_classes(f) is not None for f in fields.values())
    ]
    of_fields = {f"{name}.{field}": kind for name in expanded for field, kind in inner_of[name].items()}
    return with_fields(table, expanded), {**features, **of_fields}


def with_fields(table: pa.Table, wanted: Collection[str]) -> pa.Table:
    """The table with some columns of structs, or of lists of structs, as one column per field: `objects.category`.

    A field of lists of structs is a column of lists. Columns of other kinds are unchanged.
    """
    names, columns = [], []
    for name in table.column_names:
        column = table[name]
        kind = column.type.value_type if is_list(column.type) else column.type
        fields = [kind.field(i).name for i in range(kind.num_fields)] if pa.types.is_struct(kind) else []
        if name in wanted and fields:
            names += [f"{name}.{field}" for field in fields]
            columns += [_field_column(column, field) for field in fields]
        else:
            names.append(name)
            columns.append(column)
    return pa.table(columns, names).replace_schema_metadata(table.schema.metadata)


def _inner_features(feature: Any) -> Mapping[str, Any]:
    """The features inside a struct or a list of structs; of the latter each field is a list."""
    if isinstance(feature, dict) and feature.get("_type") in _LISTS:
        feature = [feature.get("feature")]
    if isinstance(feature, list) and len(feature) == 1 and isinstance(feature[0], dict):
        return {name: [inner] for name, inner in feature[0].items()}
    return feature if isinstance(feature, dict) and "_type" not in feature else {}


def _field_column(column: pa.ChunkedArray, field: str) -> pa.ChunkedArray | pa.Array:
    """One field of a column of structs, or of lists of structs as a column of lists."""
    if pa.types.is_struct(column.type):
        return pc.struct_field(column, field)
    array = one_array(column.cast(pa.large_list(column.type.value_type)))
    length = pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False)
    missing = array.is_null().to_numpy(zero_copy_only=False)
    return _list_array(
        np.concatenate([[0], np.cumsum(length)]), pc.struct_field(pc.list_flatten(array), field), missing
    )


def _list_array(ends: np.ndarray, values: pa.Array, missing: np.ndarray) -> pa.Array:
    """Lists of the values between consecutive ends; null where `missing`."""
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), values, mask=pa.array(missing))
