"""Tables of which each file is a split, as one table with a column of splits."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from labelwise.data.readers.arrow import is_text, plain_columns
from labelwise.data.readers.name_doubts import few
from labelwise.data.readers.roles import SPLIT, key, roles_of
from labelwise.data.readers.several import files_with_splits, named_by
from labelwise.data.source import Source, listed
from labelwise.errors import LabelwiseError


class TableFile(NamedTuple):
    """What one file holds.

    Args:
        table: its columns.
        row_name: how a message names a row.
        notes: a sentence for each decision.
    """

    table: pa.Table
    row_name: Callable[[int], str]
    notes: tuple[str, ...] = ()


def table_of_files(
    source: Source, what: str, read_file: Callable[[Path], TableFile]
) -> tuple[TableFile, Path]:
    """The table of a source `FILE` or `FILE,FILE`, and the folder that its image names are relative to.

    Several files become one table, in their order, with a column `split`.

    Args:
        source: its path names the files; its options name columns.
        what: kind of file, for messages.
        read_file: reads one.

    Raises:
        LabelwiseError: a file that is not there or of no split, columns that differ, or splits in a column too.
    """
    files = files_with_splits(source, what)
    if len(files) == 1:
        return read_file(files[0][0]), files[0][0].parent
    parts = []
    for file, _ in files:
        with named_by(file.name):
            parts.append(read_file(file))
    _refuse_other_columns(parts, files)
    folder = Path(os.path.commonpath([file.absolute().parent for file, _ in files]))
    tables = []
    for part, (file, split) in zip(parts, files, strict=True):
        table = _with_folder(
            plain_columns(part.table), source, os.path.relpath(file.absolute().parent, folder)
        )
        tables.append(table.append_column("split", pa.array([split] * table.num_rows, pa.string())))
    starts = [0, *accumulate(table.num_rows for table in tables)]

    def row_name(row: int) -> str:
        place = bisect_right(starts, row) - 1
        return f"{files[place][0].name}, {parts[place].row_name(row - starts[place])}"

    notes = dict.fromkeys(note for part in parts for note in part.notes)
    return TableFile(_concatenated(tables), row_name, tuple(notes)), folder


def _refuse_other_columns(parts: Sequence[TableFile], files: Sequence[tuple[Path, str]]) -> None:
    first, name = parts[0].table.column_names, files[0][0].name
    told = [column for column in first if key(column) in SPLIT]
    if told:
        raise LabelwiseError(
            f"a column {told[0]!r} in several files",
            "splits by files or by rows",
            f"add ?ignore={listed(told[:1])}, or join the files to one",
        )
    for part, (file, _) in zip(parts, files, strict=True):
        lacking = [column for column in first if column not in part.table.column_names]
        added = [column for column in part.table.column_names if column not in first]
        if lacking or added:
            differences = [f"lacks {few(lacking)}"] * bool(lacking) + [f"also has {few(added)}"] * bool(added)
            raise LabelwiseError(
                f"{file.name} with other columns than {name}: it {' and '.join(differences)}",
                "the same columns in every file",
                "add the columns, with blank cells where nobody looked, or leave the file out",
            )


def _with_folder(table: pa.Table, source: Source, start: str) -> pa.Table:
    """The table with image names under the folder that all files share."""
    ignored = [name for name in source.names("ignore") if name in table.column_names]
    image = roles_of(table.drop_columns(ignored), source).image
    if start == "." or "images" in source.options or not is_text(table[image].type):
        return table
    names = table[image].cast(pa.string())
    absolute = pc.match_substring_regex(names, r"^(/|[A-Za-z]:[/\\]|[A-Za-z0-9]+://)")
    under = pc.binary_join_element_wise(start.replace(os.sep, "/"), names, "/")
    return table.set_column(table.column_names.index(image), image, pc.if_else(absolute, names, under))


def _concatenated(tables: Sequence[pa.Table]) -> pa.Table:
    """The rows of all; a column that is text in one file and numbers in another is text."""
    columns = tables[0].column_names
    mixed = {name for name in columns if len({is_text(t[name].type) for t in tables}) > 1}
    alike = [
        t.select(columns).cast(pa.schema([(n, pa.string() if n in mixed else t[n].type) for n in columns]))
        for t in tables
    ]
    return pa.concat_tables(alike, promote_options="permissive")
