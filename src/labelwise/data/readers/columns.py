"""Data sets from plain tables: images, splits and groups by column, and labels as states or as names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelwise.data.dataset import Dataset
from labelwise.data.readers.arrow import image_cells, is_bytes, is_image_struct, one_array, plain_columns
from labelwise.data.readers.cells import is_blank, same, text_of
from labelwise.data.readers.files import keep_existing
from labelwise.data.readers.locate import locate
from labelwise.data.readers.name_doubts import OF_NAMES
from labelwise.data.readers.nameless import wanted_columns
from labelwise.data.readers.names import NameRows, named_rows, nothing_word
from labelwise.data.readers.repeated import merge_repeated
from labelwise.data.readers.roles import SPLIT, Roles, key, roles_of
from labelwise.data.readers.split_cells import group_codes, split_cells, split_codes
from labelwise.data.readers.split_columns import joined_splits
from labelwise.data.readers.states import Column, state_matrix
from labelwise.data.source import Source, joined_values
from labelwise.errors import LabelwiseError
from labelwise.types import Group, LabelSet

_OPTIONS = "images image labels classes split group separator blank none absent present unknown ignore"
OPTIONS = frozenset([*_OPTIONS.split(), "duplicates", "missing"])


def dataset_of(
    table: pa.Table,
    source: Source,
    folder: Path,
    row_name: Callable[[int], str],
    label_names: Mapping[str, Sequence[str]] | None = None,
) -> Dataset:
    """The data set of a table with an image column and label columns, or columns of label names.

    Args:
        table: the columns, of any types.
        source: its options name columns, define the meaning of cells, and decide about losses.
        folder: of the table; image names are relative to it or to a folder below it, unless `images=DIR` is given.
        row_name: returns the name of a row for messages.
        label_names: for columns of names, all names in their order if the file lists them.

    Raises:
        LabelwiseError: for an empty table, columns or cells of another kind, repeated or missing images, or options
            without effect.
    """
    notes: list[str] = []
    table = wanted_columns(plain_columns(table), source, notes)
    if not table.num_rows:
        raise LabelwiseError(
            f"{source.path} without rows", "a header and one row per image", "check the file"
        )
    table = joined_splits(table, source, notes)
    roles = roles_of(table, source)
    if roles.left_out:
        notes.append(f"Columns that are no labels were left out: {', '.join(roles.left_out[:12])}.")
    labels, values, known, groups = _labels(table, roles, source, row_name, notes, label_names or {})
    codes: np.ndarray | None = None
    names: tuple[str, ...] = ()
    if roles.split:
        if key(roles.split) not in SPLIT and "split" not in source.options:
            notes.append(f"The column {roles.split!r} holds names of splits, and is read as the split.")
        codes, names = split_codes(split_cells(table[roles.split], roles.split, notes), notes)
    images, root = _images(table[roles.image], roles.image, source, folder, row_name, notes)
    data = Dataset(
        labels=LabelSet(labels, groups),
        images=images,
        root=root,
        values=values,
        known=known,
        split_of=codes,
        split_names=names,
        group=group_codes(table[roles.group], notes) if roles.group else None,
        notes=tuple(notes),
        rows_in_source=table.num_rows,
    )
    return keep_existing(merge_repeated(data, source, row_name), source)


_Labels = tuple[tuple[str, ...], np.ndarray, np.ndarray, dict[str, Group]]


def _labels(
    table: pa.Table,
    roles: Roles,
    source: Source,
    row_name: Callable[[int], str],
    notes: list[str],
    label_names: Mapping[str, Sequence[str]],
) -> _Labels:
    """Labels from columns of names, columns of states, or both."""
    unknown = source.names("unknown")
    source = _for_other_columns(table, roles, source)
    if roles.names:
        source.refuse_unused(("absent", "present"), "columns of label states")
        rows = [named_rows(table[name], name, source, row_name, name in label_names) for name in roles.names]
        names, values, known = _from_names(rows, roles.names, source, notes, label_names)
    else:
        source.refuse_unused(("separator", "none"), "a column of label names")
        names, values = (), np.zeros((table.num_rows, 0), np.uint8)
        known = values.astype(bool)
        if roles.states:
            values, known = state_matrix(table, roles.states, source, row_name, notes)
            names = roles.states
        else:
            source.refuse_unused(
                ("absent", "present", "blank", "unknown"), "columns of label states or names"
            )
    groups = {}
    for name in roles.classes:
        classes, states, is_known = _labels_of_classes(table[name], name, unknown)
        groups[name] = Group(classes, exclusive=True)
        names, values = (*names, *classes), np.concatenate([values, states], 1)
        known = np.concatenate([known, np.repeat(is_known[:, None], len(classes), 1)], 1)
        listed = ", ".join(classes[:6])
        notes.append(f"Values of the column {name!r} are labels of an exclusive group: {listed}.")
    if not names:
        raise LabelwiseError(
            f"{source.path} without label columns; its columns are {', '.join(table.column_names)}",
            "one 0/1/blank column per label, or a column `labels` of names",
            "add the labels",
        )
    return names, values, known, groups


def _for_other_columns(table: pa.Table, roles: Roles, source: Source) -> Source:
    """The source for other columns than `classes`: without texts for unknown that only occur in those."""
    given = source.names("unknown")
    if not given or not roles.classes:
        return source
    classes = [cell for name in roles.classes for cell in Column.of(name, table[name]).present()]
    states = [cell for name in roles.states for cell in Column.of(name, table[name]).present()]
    others = [e for e in given if any(same(c, e) for c in states) or not any(same(c, e) for c in classes)]
    if others == given:
        return source
    options = {name: value for name, value in source.options.items() if name != "unknown"}
    return replace(source, options={**options, **({"unknown": joined_values(others)} if others else {})})


def _labels_of_classes(
    column: pa.ChunkedArray, name: str, unknown: Sequence[str]
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Labels, values `[N, L]` and whether a row is known `[N]`, of a column with one class name in each cell.

    Raises:
        LabelwiseError: no class, or more than 1000.
    """
    coded = Column.of(name, column)
    unknown_cells = [is_blank(cell) or any(same(cell, entry) for entry in unknown) for cell in coded.cells]
    occurring = zip(coded.cells, unknown_cells, coded.counts, strict=True)
    classes = sorted({text_of(cell) for cell, is_unknown, count in occurring if count and not is_unknown})
    if not classes or len(classes) > 1000:
        raise LabelwiseError(
            f"classes={name} with {len(classes):,} different cells",
            "one of a few class names in each cell",
            "check the column",
        )
    position = {text: j for j, text in enumerate(classes)}
    matrix = np.zeros((len(coded.cells), len(classes)), np.uint8)
    is_known = ~np.array(unknown_cells, bool)
    for i, cell in enumerate(coded.cells):
        if is_known[i] and coded.counts[i]:
            matrix[i, position[text_of(cell)]] = 1
    return tuple(f"{name}: {text}" for text in classes), matrix[coded.codes], is_known[coded.codes]


def _from_names(
    parts: Sequence[NameRows],
    columns: Sequence[str],
    source: Source,
    notes: list[str],
    label_names: Mapping[str, Sequence[str]],
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """The labels, values and known cells, `[N, L]` each, of columns of names."""
    rows = _joined(parts)
    rows, unclear, unnamed = unknown_rows(rows, source)
    blank = ~rows.known & ~unclear
    earlier = set(rows.names)
    rows = nothing_word(rows, source, notes)
    removed = earlier - set(rows.names)  # the name for "no label" is not a label, even if the file lists it
    listed = dict.fromkeys(n for column in columns for n in label_names.get(column, ()))
    stated = tuple(name for name in listed if name not in removed)
    names = (*stated, *(n for n in rows.names if n not in stated))
    if not names:
        raise LabelwiseError(
            f"column {columns[0]!r} without any label", "label names in it", "check the column"
        )
    values = np.zeros((len(rows.known), len(names)), np.uint8)
    values[:, [names.index(name) for name in rows.names]] = rows.matrix()
    known = np.ones(values.shape, bool)
    default = "unknown" if rows.answers else "negative"
    state = source.choice("blank", (default, "unknown", "negative"))
    if "blank" in source.options and not blank.any():
        raise LabelwiseError(
            f"blank={state} in {str(source)!r}, which has no blank label cell",
            "blank cells",
            "leave the option out",
        )
    if state == "unknown":
        known[blank] = False
    known[unclear] = values[unclear] > 0
    columns_text = f"the column {columns[0]!r}" if len(columns) == 1 else f"the columns {', '.join(columns)}"
    notes.append(f"{OF_NAMES} {columns_text}, {rows.how}; a label that is absent is negative.")
    if blank.any():
        notes.append(f"{int(blank.sum()):,} blank cells are all-{state}.")
    if unclear.any():
        notes.append(
            f"{int(unclear.sum()):,} rows leave labels open, by null or a text for unknown: labels that they do not "
            f"name are unknown ({unnamed:,} name nothing)."
        )
    return names, values, known


def _joined(parts: Sequence[NameRows]) -> NameRows:
    """The rows of several columns of names as those of one."""
    if len(parts) == 1:
        return parts[0]
    names = tuple(sorted({name for part in parts for name in part.names}))
    columns = [np.array([names.index(n) for n in part.names], np.int64)[part.columns] for part in parts]
    known = np.any([part.known for part in parts], 0)
    rows = np.concatenate([part.rows for part in parts])
    return NameRows(names, rows, np.concatenate(columns), known, parts[0].how)


def unknown_rows(rows: NameRows, source: Source) -> tuple[NameRows, np.ndarray, int]:
    """The rows without texts for unknown, which rows had one `[N]`, and how many of these name nothing else.

    Raises:
        LabelwiseError: an entry of the option `unknown` that no cell holds.
    """
    unclear = np.zeros(len(rows.known), bool)
    all_names = rows.names
    for entry in source.names("unknown"):
        matches = [name for name in rows.names if same(name, entry)]
        if not any(same(name, entry) for name in all_names):
            raise LabelwiseError(
                f"unknown={entry} in {str(source)!r}, which is the text of no label cell",
                f"texts that occur: {', '.join(rows.names[:8])}",
                "correct the option or leave it out",
            )
        for name in matches:
            unclear[rows.rows[rows.columns == rows.names.index(name)]] = True
            rows = rows.without(name)
    has_name = np.zeros(len(unclear), bool)
    has_name[rows.rows] = True
    return rows, unclear, int((unclear & ~has_name).sum())


def _images(
    column: pa.ChunkedArray,
    name: str,
    source: Source,
    folder: Path,
    row_name: Callable[[int], str],
    notes: list[str],
) -> tuple[pa.Array | pa.ChunkedArray, Path | None]:
    """Encoded images, or paths and their base folder."""
    if is_image_struct(column.type):
        column = image_cells(column, name)
    if is_bytes(column.type):
        if column.null_count:
            raise LabelwiseError(
                f"{column.null_count:,} rows without image bytes", "bytes in each", "complete the rows"
            )
        return column.cast(pa.large_binary()), None
    if pa.types.is_struct(column.type) or pa.types.is_list(column.type):
        raise LabelwiseError(
            f"column {name!r} of type {column.type}",
            "image names, or image files as bytes",
            "name another with ?image=",
        )
    names = one_array(column).cast(pa.string()).fill_null("")
    blank = pc.index(names, "").as_py()
    if blank >= 0:
        raise LabelwiseError(f"{row_name(blank)} without an image", "an image name", "complete the row")
    return locate(names, source, [folder, folder / "images"], notes)
