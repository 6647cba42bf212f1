"""CSV: one 0/1/blank column per label, or one column of label names."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pyarrow as pa
from pyarrow import csv as arrow_csv

from labelwise.data.dataset import Dataset
from labelwise.data.readers.columns import OPTIONS as COLUMN_OPTIONS
from labelwise.data.readers.columns import dataset_of
from labelwise.data.readers.files import source_file
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError

FORM = "csv:FILE[?images=DIR&separator=;]"
MEANING = "a table with an image column and a 0/1/blank column per label, or a column `labels` of names"
OPTIONS = COLUMN_OPTIONS


def read(source: Source) -> Dataset:
    """Reads a CSV; encoding and delimiter are found out, and every odd cell is named by its row.

    Rows are numbered as a text editor numbers lines: the header is in row 1.

    Raises:
        LabelwiseError: for an empty file, ragged rows, or what `dataset_of` refuses.
    """
    file = source_file(source, "a CSV file")
    text, note = decoded(file)
    delimiter = _delimiter(text)
    table = _table(file, text, delimiter)

    def row_name(row: int) -> str:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        filled = (reader.line_num for cells in reader if cells)
        return f"row {next(number for place, number in enumerate(filled) if place == row + 1)}"

    data = dataset_of(table, source, file.parent, row_name)
    return data.with_notes(note) if note else data


def decoded(file: Path) -> tuple[str, str]:
    """Text of a file and a sentence on its encoding where that is not UTF-8."""
    raw = file.read_bytes()
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return raw.decode("utf-16"), "The file is in UTF-16."
    for encoding in ("utf-8-sig", "cp1252", "latin-1"):
        try:
            note = "" if encoding == "utf-8-sig" else f"The file is not UTF-8: it was read as {encoding}."
            return raw.decode(encoding), note
        except UnicodeDecodeError:
            continue
    raise AssertionError("latin-1 decodes every byte")


def _delimiter(text: str) -> str:
    header = next((line for line in text.splitlines() if line.strip()), "")
    header = re.sub(r'"[^"]*"', "", header)
    return max(",;\t|", key=lambda mark: (header.count(mark), mark == ","))


def _table(file: Path, text: str, delimiter: str) -> pa.Table:
    if not text.strip():
        raise LabelwiseError(f"{file}, an empty file", "a header and one row per image", "check the file")
    if "\x00" in text:
        raise LabelwiseError(f"{file}, a file with zero bytes", "a text table", "check the file")
    ragged: list[arrow_csv.InvalidRow] = []

    def note_ragged(row: arrow_csv.InvalidRow) -> str:
        ragged.append(row)
        return "skip"

    header = next(row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row)
    table = arrow_csv.read_csv(
        io.BytesIO(text.lstrip("\r\n").encode()),
        read_options=arrow_csv.ReadOptions(
            use_threads=False,
            block_size=max(1 << 20, min(len(text) * 4 + 1, 1 << 30)),
            column_names=[str(i) for i in range(len(header))],
            skip_rows_after_names=1,
        ),
        parse_options=arrow_csv.ParseOptions(
            delimiter=delimiter, newlines_in_values=True, invalid_row_handler=note_ragged
        ),
        convert_options=arrow_csv.ConvertOptions(
            column_types={str(i): pa.string() for i in range(len(header))},
            strings_can_be_null=False,
        ),
    )
    if ragged:
        row = ragged[0]
        raise LabelwiseError(
            f"{file}: {len(ragged):,} rows of another length, the first with {row.actual_columns} cells: "
            f"{row.text[:60]!r}",
            f"{row.expected_columns} cells in every row, as in the header",
            "quote cells that hold the delimiter, or complete the rows",
        )
    return table.rename_columns(header)
