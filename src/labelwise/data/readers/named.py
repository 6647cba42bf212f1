"""Tables with a separate list of label names, or with images in an archive."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelwise.data.archives import ImageStore
from labelwise.data.dataset import Dataset
from labelwise.data.readers.arrow import is_image_struct, is_list, is_text_type, one_array, plain_columns
from labelwise.data.readers.columns import dataset_of
from labelwise.data.readers.huggingface import with_fields
from labelwise.data.readers.roles import fields_of_names, roles_of
from labelwise.data.readers.states import is_states
from labelwise.data.source import Source, as_option, joined_values
from labelwise.errors import LabelwiseError


def dataset_of_names(
    table: pa.Table,
    every: Mapping[str, Sequence[str]],
    source: Source,
    folder: Path,
    row_name: Callable[[int], str],
    stored: tuple[pa.Array, ImageStore] | None = None,
) -> Dataset:
    """The data set of a table, with a label for each listed name, also for one without a positive.

    For a null list of names, or a null class, all labels are unknown; for an empty list they are absent. Names of
    classes are never split at marks. If names are listed for one column, it is the column of the labels.

    Args:
        table: as for `columns.dataset_of`; its column of images is `in_store` if `stored` holds them.
        every: all names of a column of names, in their order.
        source, folder, row_name: as for `columns.dataset_of`.
        stored: name of each row's image and the store that holds the images.

    Raises:
        LabelwiseError: as `columns.dataset_of`.
    """
    table, source = _with_named_fields(table, source)
    table, source, notes = _with_state_fields(table, source)
    structs = [n for n in table.column_names if pa.types.is_struct(table[n].type)]
    fields = {name: fields_of_names(table[name].type, name) for name in structs}
    table = plain_columns(table)
    considered = table.drop_columns([name for name in source.names("ignore") if name in table.column_names])
    roles = roles_of(considered, source)
    names = roles.names
    for name in (*names, *roles.states):
        if fields.get(name):
            raise LabelwiseError(
                f"{source.path}: column {name!r} of objects, of which {fields[name][0]!r} may hold names of labels",
                "a column of names, or one column per label",
                f"add ?labels={as_option(fields[name][:1])} for the names, "
                f"or ?ignore={as_option([name])} without them",
            )
    listed = [name for name in every if name in considered.column_names and not is_states(considered[name])]
    if not names and len(listed) == 1 and not {"labels", "classes"} & source.options.keys():
        names, source = (listed[0],), source.with_option("labels", joined_values(listed))
    for name in names:
        column = table[name]
        if name in every and is_text_type(column.type):
            column = _lists_of_one(column)
        if is_list(column.type) and column.null_count and _are_names(column):
            column, source = _with_null_text(column.cast(pa.list_(pa.string())), source)
            notes = (*notes, "Labels that are null are unknown.")
        table = table.set_column(table.column_names.index(name), name, column)
    data = dataset_of(table, source, folder, row_name, every).with_notes(*notes)
    return data if stored is None else replace(data, images=stored[0], store=stored[1])


def _with_named_fields(table: pa.Table, source: Source) -> tuple[pa.Table, Source]:
    """The table with structs as columns if an option names one of their fields, such as `labels=objects.category`.

    If a struct's fields are columns already, `ignore` still accepts the struct's name for all of them.
    """
    options = ("labels", "classes", "image", "split", "group")
    named = {name for option in options for name in source.names(option)}
    structs = {name.partition(".")[0] for name in named - set(table.column_names) if "." in name}
    table = with_fields(table, structs & set(table.column_names))
    columns, ignored = table.column_names, source.names("ignore")
    fields = {name: [c for c in columns if c.startswith(f"{name}.")] for name in ignored}
    if any(fields[name] for name in ignored if name not in columns):
        every = [c for name in ignored for c in ([name] if name in columns else fields[name] or [name])]
        source = source.with_option("ignore", joined_values(every))
    return table, source


def _with_state_fields(table: pa.Table, source: Source) -> tuple[pa.Table, Source, tuple[str, ...]]:
    """The table with objects of label states, `{"cat": 1, "dog": 0}`, as one column per label; null is unknown."""
    ignored = source.names("ignore")
    objects = [
        name for name in table.column_names if name not in ignored and _holds_states(table[name], name)
    ]
    if not objects:
        return table, source, ()
    used = set(table.column_names) - set(objects)
    labels: dict[str, str] = {}
    for name in objects:
        for field in table[name].type:
            labels[f"{name}.{field.name}"] = f"{name}.{field.name}" if field.name in used else field.name
            used.add(field.name)
    table = with_fields(table, objects)
    table = table.rename_columns([labels.get(name, name) for name in table.column_names])
    if "labels" in source.options:
        inner = {name: [new for old, new in labels.items() if old.startswith(f"{name}.")] for name in objects}
        wanted = [label for name in source.names("labels") for label in inner.get(name, [name])]
        source = source.with_option("labels", joined_values(wanted))
    note = f"Fields of {', '.join(map(repr, objects))} are labels: {', '.join([*labels.values()][:8])}."
    return table, source, (note,)


def _holds_states(column: pa.ChunkedArray, name: str) -> bool:
    """Whether a column holds objects with numbers or true and false in all fields, which are states of labels."""
    kind = column.type
    if not pa.types.is_struct(kind) or not kind.num_fields or is_image_struct(kind):
        return False
    checks = (pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating, pa.types.is_null)
    if not all(any(check(field.type) for check in checks) for field in kind):
        return False
    fields = plain_columns(with_fields(pa.table({name: column}), [name])).columns
    filled = [field for field in fields if field.null_count < len(field)]
    return bool(filled) and all(map(is_states, filled))


def in_store(rows: int) -> pa.Array:
    """A placeholder column for images that are in a store."""
    return pa.array([b""] * rows, pa.large_binary())


def _lists_of_one(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts as lists of one, so that marks in them do not separate names; null stays null."""
    array = one_array(column)
    valid = array.is_valid().to_numpy(zero_copy_only=False)
    ends = pa.array(np.concatenate([[0], np.cumsum(valid)]), pa.int32())
    return pa.chunked_array(
        [pa.ListArray.from_arrays(ends, array.drop_null().cast(pa.string()), mask=pa.array(~valid))]
    )


def _are_names(column: pa.ChunkedArray) -> bool:
    """Whether lists hold names or numbers of labels, rather than 0 or 1 for each label."""
    kind = column.type.value_type
    return pa.types.is_string(kind) or (
        pa.types.is_integer(kind) and not set(pc.unique(pc.list_flatten(column)).to_pylist()) <= {0, 1}
    )


def _with_null_text(column: pa.ChunkedArray, source: Source) -> tuple[pa.ChunkedArray, Source]:
    """The column with a text in place of nulls, and the source with that text in its option `unknown`."""
    names = set(pc.unique(pc.list_flatten(column)).to_pylist())
    text = "no answer"
    while text in names:
        text += "_"
    filled = pc.if_else(pc.is_null(column), pa.scalar([text], column.type), column)
    given = source.options.get("unknown")
    return filled, source.with_option("unknown", f"{given},{text}" if given else text)
