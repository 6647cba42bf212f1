"""Tables with one file per split, as one table with a column of splits."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from labelwise.data.readers.arrow import is_text_type, plain_columns
from labelwise.data.readers.name_doubts import few
from labelwise.data.readers.roles import SPLIT, key, roles_of
from labelwise.data.readers.several import files_with_splits, named_by
from labelwise.data.source import Source, as_option
from labelwise.errors import LabelwiseError


class TableFile(NamedTuple):
    """The content of one file.

    Args:
        table: its columns.
        row_name: returns the name of a row for messages.
        notes: a sentence for each decision.
    """

    table: pa.Table
    row_name: Callable[[int], str]
    notes: tuple[str, ...] = ()


def table_of_files(
    source: Source, what: str, read_file: Callable[[Path], TableFile]
) -> tuple[TableFile, Path]:
    """The table of a source `FILE` or `FILE,FILE`, and the base folder of its image names.

    Several files become one table, in their order, with a column `split`.

    Args:
        source: its path lists the files; its options name columns.
        what: kind of file, for messages.
        read_file: reads one file.

    Raises:
        LabelwiseError: a missing file, a file without a split, columns that differ, or splits also in a column.
    """
    files = files_with_splits(source, what)
    if len(files) == 1:
        return read_file(files[0][0]), files[0][0].parent
    parts = []
    for file, split in files:
        with named_by(file.name):
            parts.append(SplitTable(file, split, file.name, read_file(file)))
    _refuse_splits(parts, source)
    _refuse_other_columns(parts)
    return table_of_splits(parts, source)


class SplitTable(NamedTuple):
    """One of several tables, with its file, its split and its name in messages."""

    file: Path
    split: str
    called: str
    content: TableFile


def table_of_splits(parts: Sequence[SplitTable], source: Source) -> tuple[TableFile, Path]:
    """The rows of several tables with a column of their splits, and the base folder of the image names.

    A column that some tables lack is blank there. Relative image names become relative to the common folder of all
    files.

    Raises:
        LabelwiseError: a table with its own splits, a column twice, or no image column.
    """
    _refuse_splits(parts, source)
    for part in parts:
        _refuse_repeated(part)
    folder = Path(os.path.commonpath([part.file.absolute().parent for part in parts]))
    tables = []
    for part in parts:
        subfolder = os.path.relpath(part.file.absolute().parent, folder)
        tables.append(_with_folder(plain_columns(part.content.table), source, subfolder))
    tables = _completed(tables)
    column = next(name for name in SPLIT if name not in tables[0].column_names)
    tables = [
        table.append_column(column, pa.array([part.split] * table.num_rows, pa.string()))
        for part, table in zip(parts, tables, strict=True)
    ]
    starts = [0, *accumulate(table.num_rows for table in tables)]

    def row_name(row: int) -> str:
        index = bisect_right(starts, row) - 1
        return f"{parts[index].called}, {parts[index].content.row_name(row - starts[index])}"

    notes = dict.fromkeys(note for part in parts for note in part.content.notes)
    return TableFile(_concatenated(tables), row_name, tuple(notes)), folder


def _completed(tables: Sequence[pa.Table]) -> list[pa.Table]:
    """The tables with blank columns for those of other tables."""
    kinds: dict[str, pa.DataType] = {}
    for table in tables:
        for field in table.schema:
            kinds.setdefault(field.name, field.type)
    completed = []
    for table in tables:
        for name in kinds.keys() - set(table.column_names):
            table = table.append_column(name, pa.nulls(table.num_rows, kinds[name]))
        completed.append(table.select(list(kinds)))
    return completed


def _refuse_repeated(part: SplitTable) -> None:
    """Raises `LabelwiseError` for a table with a column twice."""
    name, count = Counter(part.content.table.column_names).most_common(1)[0]
    if count > 1:
        fault = f"column {name!r} twice" if name.strip() else f"{count} columns without a name"
        raise LabelwiseError(
            f"{part.called}: {fault}", "a first line of distinct column names", "rename the columns"
        )


def _refuse_splits(parts: Sequence[SplitTable], source: Source) -> None:
    """Raises `LabelwiseError` for tables that have a column of splits too."""
    names = [name for part in parts for name in part.content.table.column_names]
    split_columns = [name for name in names if key(name) in SPLIT and name not in source.names("ignore")]
    if split_columns:
        raise LabelwiseError(
            f"a column {split_columns[0]!r} in several files",
            "splits by files or by rows",
            f"add ?ignore={as_option(split_columns[:1])}, or join the files to one",
        )


def _refuse_other_columns(parts: Sequence[SplitTable]) -> None:
    """Raises `LabelwiseError` for a table whose columns differ from those of the first."""
    expected, name = parts[0].content.table.column_names, parts[0].called
    for file, _, _, content in parts:
        lacking = [column for column in expected if column not in content.table.column_names]
        added = [column for column in content.table.column_names if column not in expected]
        if lacking or added:
            differences = [f"lacks {few(lacking)}"] * bool(lacking) + [f"also has {few(added)}"] * bool(added)
            raise LabelwiseError(
                f"{file.name} with other columns than {name}: it {' and '.join(differences)}",
                "the same columns in every file",
                "add the columns, with blank cells for unknown, or leave the file out",
            )


def _with_folder(table: pa.Table, source: Source, subfolder: str) -> pa.Table:
    """The table with image names relative to the common folder of all files."""
    ignored = [name for name in source.names("ignore") if name in table.column_names]
    image = roles_of(table.drop_columns(ignored), source).image
    if subfolder == "." or "images" in source.options or not is_text_type(table[image].type):
        return table
    names = table[image].cast(pa.string())
    absolute = pc.match_substring_regex(names, r"^(/|[A-Za-z]:[/\\]|[A-Za-z0-9]+://)")
    in_folder = pc.binary_join_element_wise(subfolder.replace(os.sep, "/"), names, "/")
    return table.set_column(table.column_names.index(image), image, pc.if_else(absolute, names, in_folder))


def _concatenated(tables: Sequence[pa.Table]) -> pa.Table:
    """The rows of all tables; a column of text in one file and numbers in another becomes text."""
    columns = tables[0].column_names
    mixed = {name for name in columns if len({is_text_type(t[name].type) for t in tables}) > 1}
    alike = [
        t.select(columns).cast(pa.schema([(n, pa.string() if n in mixed else t[n].type) for n in columns]))
        for t in tables
    ]
    return pa.concat_tables(alike, promote_options="permissive")
