"""Parquet: the canonical table, or a plain table by the rules of CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from labelwise.data.dataset import Dataset
from labelwise.data.readers.columns import OPTIONS as COLUMN_OPTIONS
from labelwise.data.readers.files import image_folder, keep_existing
from labelwise.data.readers.huggingface import decoded_names
from labelwise.data.readers.named import dataset_of_names
from labelwise.data.readers.split_tables import TableFile, table_of_files
from labelwise.data.source import Source
from labelwise.data.table import METADATA_KEY, dataset_from_table
from labelwise.errors import LabelwiseError, first_line

FORM = "parquet:FILE[,FILE][?images=DIR]"
MEANING = "the table that `labelwise data import` writes, or a plain one with the columns of a CSV"
OPTIONS = COLUMN_OPTIONS
_BLOCK = 65536  # rows at once
MOST_ROWS, MOST_CELLS = 200_000_000, 1 << 33


def read(source: Source) -> Dataset:
    """Reads a Parquet file; see `dataset_from_table` and, for a plain one, `dataset_of_names`.

    Raises:
        LabelwiseError: a file that is not Parquet, or an error of these functions.
    """
    if Path(source.path).is_file() and _is_canonical(Path(source.path)):
        return _canonical(Path(source.path), source)
    all_names: dict[str, Sequence[str]] = {}

    def table_file(file: Path) -> TableFile:
        if _is_canonical(file):
            raise LabelwiseError(
                "a table that labelwise wrote, as one of several files",
                "such a table alone, since it holds its splits",
                "name one file",
            )
        with _unsupported_types(str(file)):
            table, names = decoded_names(table_in(file))
        for column, column_names in names.items():
            if all_names.setdefault(column, column_names) != column_names:
                raise LabelwiseError(
                    f"other names of {column!r} than in the files before it",
                    "the same names in the same order",
                    "write the files with one set of features",
                )
        return TableFile(table, lambda row: f"row {row + 1}")

    (table, row_name, _), folder = table_of_files(source, "a Parquet file", table_file)
    with _unsupported_types(source.path):
        return dataset_of_names(table, all_names, source, folder, row_name)


def _is_canonical(file: Path) -> bool:
    try:
        return METADATA_KEY in (parquet.read_schema(file).metadata or {})
    except (pa.ArrowException, OSError):
        return False


def _canonical(file: Path, source: Source) -> Dataset:
    """The data set of a table that `write_table` wrote."""
    unsupported = sorted(set(source.options) - {"images", "missing"})
    if unsupported:
        raise LabelwiseError(
            f"option {unsupported[0]!r} for {file}",
            "images or missing, as the table is canonical",
            "remove the option",
        )
    images = source.options.get("images")
    data = dataset_from_table(table_in(file), file, image_folder(images) if images else None)
    return keep_existing(data, source)


def _table(file: Path) -> pa.Table:
    """The table, with wide integer columns of 0, 1 and null stored as bytes, which saves memory for many labels."""
    with parquet.ParquetFile(file, memory_map=True, pre_buffer=False) as reader:
        schema = reader.schema_arrow
        if not any(_is_wide(kind) for kind in schema.types):
            return reader.read()
        blocks = reader.iter_batches(batch_size=_BLOCK)
        batches = [[_narrow(array) for array in block.columns] for block in blocks]
    if not batches:
        return schema.empty_table()
    columns = []
    for j, kind in enumerate(schema.types):
        arrays = [arrays_of_batch[j] for arrays_of_batch in batches]
        are_alike = len({array.type for array in arrays}) == 1
        columns.append(pa.chunked_array(arrays if are_alike else [array.cast(kind) for array in arrays]))
    return pa.table(columns, schema.names).replace_schema_metadata(schema.metadata)


def _is_wide(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) and kind.bit_width > 8


def _narrow(array: pa.Array) -> pa.Array:
    """A wide integer array with only 0, 1 and null as bytes; other arrays are unchanged."""
    if not _is_wide(array.type):
        return array
    extremes = pc.min_max(array).as_py()
    return array.cast(pa.uint8()) if all(extreme in (0, 1, None) for extreme in extremes.values()) else array


def table_in(file: Path) -> pa.Table:
    """The table of a Parquet file.

    Raises:
        LabelwiseError: an incomplete file, or more rows or cells than memory could hold.
    """
    try:
        _refuse_bomb(file)
        return _table(file)
    except LabelwiseError:
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise LabelwiseError(
            f"{file}: {first_line(error)}", "a complete Parquet file", "write it again"
        ) from None


@contextmanager
def _unsupported_types(name: str) -> Iterator[None]:
    """Turns errors on columns of unsupported types into a `LabelwiseError`."""
    try:
        yield
    except LabelwiseError:
        raise
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise LabelwiseError(
            f"{name} ({first_line(error)})",
            "columns of text and numbers",
            "leave others out with ?ignore=NAME",
        ) from None


def _refuse_bomb(file: Path) -> None:
    """Refuses too many rows before they are read: a repeated value takes a few bytes for any number of rows."""
    metadata = parquet.read_metadata(file)
    if metadata.num_rows > MOST_ROWS or metadata.num_rows * metadata.num_columns > MOST_CELLS:
        raise LabelwiseError(
            f"{file} of {metadata.num_rows:,} rows and {metadata.num_columns:,} columns",
            f"at most {MOST_ROWS:,} rows and {MOST_CELLS:,} cells",
            "split the file",
        )
