"""CSV: one 0/1/blank column per label, or one column of label names."""

from __future__ import annotations

import csv
import functools
import io
import re
from array import array
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from labelwise.data.dataset import Dataset
from labelwise.data.imagefiles import is_image_name
from labelwise.data.readers.columns import OPTIONS as COLUMN_OPTIONS
from labelwise.data.readers.columns import dataset_of
from labelwise.data.readers.exports import refuse_archive
from labelwise.data.readers.roles import IMAGE, is_text_column, key
from labelwise.data.readers.split_tables import TableFile, table_of_files
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError, first_line

FORM = "csv:FILE[,FILE][?images=DIR&separator=;]"
MEANING = (
    "a table with an image column and a 0/1/blank column per label, or a column `labels` of names; several files are "
    "splits by their names"
)
OPTIONS = COLUMN_OPTIONS
_FIRST_BYTES = 1 << 20  # bytes that hold the header and the first rows
_DELIMITER_LINE = re.compile(r"\ufeff?sep=(.)\s*\r?\n", re.IGNORECASE)
"""The line that Excel writes before the header to name the delimiter."""


def read(source: Source) -> Dataset:
    """Reads a CSV; encoding and delimiter are detected, and messages on cells contain their row.

    Rows are numbered like lines in a text editor: the header is in row 1.

    Raises:
        LabelwiseError: for an empty file, ragged rows, or an error of `dataset_of`.
    """
    (table, row_name, notes), folder = table_of_files(source, "a CSV file", table_file)
    return dataset_of(table, source, folder, row_name).with_notes(*notes)


def table_file(file: Path) -> TableFile:
    """The table of one file; one of the common form is parsed faster."""
    refuse_archive(file, "a table as text")
    table, note = _plain_table(file), ""
    if table is None:
        text, note = decode_text(file)
        body, delimiter = _body_and_delimiter(text)
        if text.startswith("#") and len(body) < len(text):
            note = f"{note} Lines at the start with # were left out.".strip()
        table, row_note = _table(file, body, delimiter)
        note = f"{note} {row_note}".strip()
    _refuse_headerless(file, table)

    @functools.cache  # a message may name a row of each of many columns
    def lines() -> Sequence[int]:
        return _line_numbers(decode_text(file)[0])

    def row_name(row: int) -> str:
        return f"row {lines()[row + 1] if row + 1 < len(lines()) else row + 2}"

    return TableFile(table, row_name, (note,) if note else ())


def _line_numbers(text: str) -> Sequence[int]:
    """The line at which each row ends, from the header to the first invalid cell."""
    body, delimiter = _body_and_delimiter(text)
    skipped = text[: len(text) - len(body)].count("\n")
    reader = csv.reader(io.StringIO(body, newline=""), delimiter=delimiter)
    numbers = array("q")
    with suppress(csv.Error):
        numbers.extend(reader.line_num + skipped for cells in reader if cells)
    return numbers


def _plain_table(file: Path) -> pa.Table | None:
    """The table of a file with cells of 0, 1 and blank beside columns of text; `None` for other files and for faults.

    These cells are converted as they are parsed: uint8, null for blank. The first rows decide which columns hold them.
    """
    quotes = zeros = 0
    with file.open("rb") as stream:
        head = block = stream.read(_FIRST_BYTES)
        while block:
            quotes, zeros = quotes + block.count(b'"'), zeros + block.count(b"\0")
            block = stream.read(_FIRST_BYTES)
    try:
        header = head[: head.find(b"\n") + 1].decode("utf-8-sig")
        names = next(csv.reader([header], delimiter=_delimiter(header)), [])
    except (UnicodeDecodeError, csv.Error):  # the general parser reports the fault
        return None
    unusual = quotes % 2 or zeros or not header.strip() or _DELIMITER_LINE.match(header) or header[0] == "#"
    if unusual or not 1 < len(names) == len(set(names)):
        return None
    texts = frozenset({names[0], *(name for name in names if is_text_column(name))})
    states = pa.array(["0", "1", ""])

    def parsed(content: pa.NativeFile, binary: Collection[str] = ()) -> pa.Table:
        return arrow_csv.read_csv(
            content,
            arrow_csv.ReadOptions(use_threads=False, column_names=names, skip_rows=1),
            arrow_csv.ParseOptions(delimiter=_delimiter(header), newlines_in_values=quotes > 0),
            arrow_csv.ConvertOptions(
                column_types={name: pa.bool_() if name in binary else pa.string() for name in names},
                true_values=["1"],
                false_values=["0"],
                null_values=[""],
                strings_can_be_null=False,
            ),
        )

    try:
        first_rows = parsed(pa.BufferReader(head[: head.rfind(b"\n") + 1]))
        binary = {n for n in set(names) - texts if pc.all(pc.is_in(first_rows[n], value_set=states)).as_py()}
        with pa.OSFile(str(file)) as content:
            table = parsed(content, binary)
    except pa.ArrowInvalid:
        return None
    return table.cast(pa.schema([(n, pa.uint8() if n in binary else pa.string()) for n in names]))


def decode_text(file: Path) -> tuple[str, str]:
    """Text of a file, and a note on its encoding if that is not UTF-8."""
    raw = file.read_bytes()
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        try:
            return raw.decode("utf-16"), "The file is in UTF-16."
        except UnicodeDecodeError as error:
            raise LabelwiseError(
                f"{file}, in UTF-16 by its first bytes ({first_line(error)})",
                "a text table",
                "save it in UTF-8",
            ) from None
    for encoding in ("utf-8-sig", "cp1252", "latin-1"):
        try:
            note = "" if encoding == "utf-8-sig" else f"The file is not UTF-8: it was read as {encoding}."
            return raw.decode(encoding), note
        except UnicodeDecodeError:
            continue
    raise AssertionError("latin-1 decodes every byte")


def _body_and_delimiter(text: str) -> tuple[str, str]:
    """The table in a text, without comments and the line that names the delimiter, and the delimiter."""
    match = _DELIMITER_LINE.match(text)
    if match:
        return text[match.end() :], match[1]
    body = _without_comments(text)
    return body, _delimiter(body)


def _without_comments(text: str) -> str:
    """The text without leading lines that begin with # and have another number of cells than the next line."""
    while text.startswith("#"):
        line, _, rest = text.partition("\n")
        after = rest.partition("\n")[0]
        mark = _delimiter(after)
        if not after.strip() or (not after.startswith("#") and line.count(mark) == after.count(mark)):
            break
        text = rest
    return text


def _refuse_headerless(file: Path, table: pa.Table) -> None:
    """Raises for a first line that is a title, or that is not a header: an image name, or no letter at all."""
    names = [name.strip() for name in table.column_names]
    if names[0] and len(names) > 2 and not any(names[1:]) and any(map(_is_filled, table.columns[1:])):
        raise LabelwiseError(
            f"{file}: a first line of {names[0]!r} alone, which is a title",
            "the names of the columns in the first line",
            "remove the lines above them",
        )
    row = any(is_image_name(name) for name in names) or not any(c.isalpha() for name in names for c in name)
    if row and any(names):
        raise LabelwiseError(
            f"{file}: a first line that is no header: {', '.join(names[:5])}",
            "the names of the columns in the first line, such as image,dog,cat",
            "add a line with them; a file of image,label,label without a header is read by vertex:FILE",
        )


def _is_filled(column: pa.ChunkedArray, rows: int = 20) -> bool:
    """Whether one of a column's first cells is not blank."""
    return any(cell.strip() for cell in column[:rows].to_pylist())


def _delimiter(text: str) -> str:
    """The mark that separates the cells of the header."""
    header = next((line for line in text.splitlines() if line.strip()), "")
    header = re.sub(r'"[^"]*"', "", header)
    likely = max(",;\t|", key=lambda mark: (header.count(mark), mark == ","))
    return " " if likely not in header and _separated_by_blanks(text) else likely


def _separated_by_blanks(text: str) -> bool:
    """Whether the first lines have equal numbers of single blanks, as written by `to_csv(sep=" ")`."""
    rows = [re.sub(r'"[^"]*"', "", line) for line in text[:_FIRST_BYTES].splitlines()[:20] if line.strip()]
    return len(rows) > 1 and " " in rows[0].strip() and len({line.strip().count(" ") for line in rows}) == 1


def _header(file: Path, text: str, delimiter: str) -> list[str]:
    """The first row; raises for an unclosed quote, which would join the rows after it into one cell."""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict='"' in text)
    try:
        header = next(row for row in rows if row)
        if '"' in text:
            for _ in rows:
                pass
    except csv.Error as error:
        raise LabelwiseError(
            f"{file}, line {rows.line_num}: {error}",
            "cells in whole pairs of quotes, each of less than 131,072 characters",
            "correct the quotes",
        ) from None
    return header


def _table(file: Path, text: str, delimiter: str) -> tuple[pa.Table, str]:
    """The columns as text, and a note if the rows have one cell more than the header."""
    if not text.strip():
        raise LabelwiseError(f"{file}, an empty file", "a header and one row per image", "check the file")
    if 3 * text.count("\x00") > len(text):
        raise LabelwiseError(
            f"{file}, likely UTF-16 without a byte-order mark", "a text table in UTF-8", "save it as UTF-8"
        )
    if "\x00" in text:
        raise LabelwiseError(f"{file}, a file with zero bytes", "a text table", "check the file")
    header = _header(file, text, delimiter)
    # The last line may lack its line end, which the block parser requires.
    body = (text.lstrip("\r\n") + "\n").encode()
    table, ragged = _rows(file, body, delimiter, len(header))
    if not ragged:
        return table.rename_columns(header), ""
    if not len(table) and all(row.actual_columns == len(header) + 1 for row in ragged):
        longer = _longer_rows(_rows(file, body, delimiter, len(header) + 1)[0], header)
        if longer:
            return longer
    row = ragged[0]
    raise LabelwiseError(
        f"{file}: {len(ragged):,} rows of another length, the first with {row.actual_columns} cells: "
        f"{row.text[:60]!r}",
        f"{row.expected_columns} cells in every row, as in the header",
        "quote cells that hold the delimiter, or complete the rows",
    )


def _rows(file: Path, body: bytes, delimiter: str, width: int) -> tuple[pa.Table, list[arrow_csv.InvalidRow]]:
    """The rows of `width` cells below the header, and those of another length."""
    ragged: list[arrow_csv.InvalidRow] = []

    def note_ragged(row: arrow_csv.InvalidRow) -> str:
        ragged.append(row)
        return "skip"

    names = [str(i) for i in range(width)]
    try:
        table = arrow_csv.read_csv(
            io.BytesIO(body),
            arrow_csv.ReadOptions(
                use_threads=False,
                block_size=max(1 << 20, min(len(body) + 1, 1 << 30)),
                column_names=names,
                skip_rows_after_names=1,
            ),
            arrow_csv.ParseOptions(
                delimiter=delimiter, newlines_in_values=True, invalid_row_handler=note_ragged
            ),
            arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
    except (pa.ArrowException, OverflowError) as error:
        raise LabelwiseError(
            f"{file} ({first_line(error)})", "a header and one row per image", "check the file"
        ) from None
    return table, ragged


def _longer_rows(table: pa.Table, header: list[str]) -> tuple[pa.Table, str] | None:
    """Rows with one cell more than the header: a delimiter at their end, or row names first, as R writes them."""
    if not _is_filled(table.columns[-1], len(table)):
        note = "Every row ends with a delimiter that the header lacks."
        return table.drop_columns(table.column_names[-1:]).rename_columns(header), note
    names = table.columns[0].to_pylist()
    counted = names == [str(i + 1) for i in range(len(names))]
    if counted or (all(map(is_image_name, names)) and not any(key(name) in IMAGE for name in header)):
        note = "The first cell of each row is its name, without a column in the header."
        return table.rename_columns(["", *header]), note
    return None
