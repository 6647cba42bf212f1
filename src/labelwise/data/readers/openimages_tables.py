"""Label and image tables of Open Images, read by columns: millions of rows in seconds."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float32, Int
from pyarrow import csv as arrow_csv

from labelwise.errors import LabelwiseError, first_line

_CODED = pa.dictionary(pa.int32(), pa.string())
_LABEL_TYPES = {"ImageID": _CODED, "LabelName": _CODED, "Source": _CODED, "Confidence": pa.float32()}
_INFO_TYPES = {"ImageID": pa.string(), "Subset": pa.string(), "Rotation": pa.string()}


@dataclass(frozen=True)
class LabelTable:
    """Rows of the label tables of one split.

    Args:
        image: `[R]` numbers of images.
        images: their ids.
        label: `[R]` numbers of labels.
        labels: their ids.
        confidence: `[R]` in [0, 1].
        machine: `[R]`; whether a classifier gave the row, not a person.
    """

    image: Int[np.ndarray, " R"]
    images: pa.Array
    label: Int[np.ndarray, " R"]
    labels: pa.Array
    confidence: Float32[np.ndarray, " R"]
    machine: Bool[np.ndarray, " R"]


def label_table(files: Sequence[Path]) -> LabelTable:
    """The rows of label tables, one file after the other.

    Raises:
        LabelwiseError: for rows of another form, by file and line.
    """
    parts = [_table(file, _LABEL_TYPES) for file in files]
    for file, part in zip(files, parts, strict=True):
        _check(file, part)
    image, images = _codes([part["ImageID"] for part in parts])
    label, labels = _codes([part["LabelName"] for part in parts])
    confidence = np.concatenate([part["Confidence"].to_numpy() for part in parts])
    machine = np.concatenate([_by_machine(part) for part in parts])
    machine |= (confidence > 0) & (confidence < 1)
    return LabelTable(image, images, label, labels, confidence, machine)


def info_table(file: Path) -> pa.Table:
    """Columns `ImageID`, `Subset` and `Rotation` of an image table, as text; those that it lacks are missing."""
    return _table(file, _INFO_TYPES)


def _table(file: Path, types: dict[str, pa.DataType]) -> pa.Table:
    with file.open(encoding="utf-8-sig", errors="replace", newline="") as opened:
        header = [cell.strip() for cell in next(csv.reader(opened), [])]
    if len(set(header)) < len(header):
        raise LabelwiseError(f"{file}: a column twice", "distinct columns", "correct the header")
    for threads in (True, False):  # one thread counts the rows, for the message
        try:
            return arrow_csv.read_csv(
                file,
                read_options=arrow_csv.ReadOptions(use_threads=threads, column_names=header, skip_rows=1),
                parse_options=arrow_csv.ParseOptions(newlines_in_values=len(header) > len(types)),
                convert_options=arrow_csv.ConvertOptions(
                    column_types=types,
                    include_columns=[name for name in header if name in types],
                    strings_can_be_null=False,
                    null_values=[""],
                ),
            )
        except (pa.ArrowException, OSError) as error:
            wrong = error
    place = _bad_confidence(file, header) if "Confidence" in types else ""
    raise LabelwiseError(
        place or f"{file} ({first_line(wrong)})",
        f"a row with {', '.join(header)}; Confidence from 0 to 1"
        if place
        else "a header and rows of its length",
        "correct the file",
    )


def _bad_confidence(file: Path, header: Sequence[str]) -> str:
    """Where the first row stands whose Confidence is no number, or nothing."""
    column = header.index("Confidence")
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            reader = csv.reader(opened)
            next(reader)
            for row in reader:
                try:
                    if row and len(row) == len(header) and row[column]:
                        float(row[column])
                except ValueError:
                    return f"{file}, line {reader.line_num}: Confidence {row[column][:40]!r}"
    except (UnicodeDecodeError, csv.Error):
        pass
    return ""


def _check(file: Path, table: pa.Table) -> None:
    if not table.num_rows:
        raise LabelwiseError(f"{file} without rows", "a row for each label of an image", "check the file")
    confidence = table["Confidence"]
    for what, wrong in (
        ("without a Confidence", pc.is_null(confidence, nan_is_null=True)),
        ("with a Confidence outside 0 to 1", pc.or_(pc.less(confidence, 0), pc.greater(confidence, 1))),
        *((f"without {name}", pc.equal(table[name], "")) for name in ("ImageID", "LabelName")),
    ):
        row = pc.index(wrong, True).as_py()
        if row >= 0:
            raise LabelwiseError(
                f"{file}, row {row + 2} {what}",
                "ImageID, LabelName and a Confidence from 0 to 1",
                "correct the row",
            )


def _codes(columns: Sequence[pa.ChunkedArray]) -> tuple[Int[np.ndarray, " R"], pa.Array]:
    whole = pa.chunked_array([chunk for column in columns for chunk in column.chunks]).unify_dictionaries()
    codes = np.concatenate([chunk.indices.to_numpy(zero_copy_only=False) for chunk in whole.chunks])
    return codes, whole.chunk(0).dictionary


def _by_machine(table: pa.Table) -> Bool[np.ndarray, " R"]:
    if "Source" not in table.column_names:
        return np.zeros(table.num_rows, bool)
    return pc.equal(table["Source"], "machine").to_numpy()
