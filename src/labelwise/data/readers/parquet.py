"""Parquet: the canonical table, or a plain table by the rules of CSV."""

from __future__ import annotations

import pyarrow as pa
from pyarrow import parquet

from labelwise.data.dataset import Dataset
from labelwise.data.readers.columns import OPTIONS as COLUMN_OPTIONS
from labelwise.data.readers.columns import dataset_of
from labelwise.data.readers.files import image_folder, keep_existing, source_file
from labelwise.data.source import Source
from labelwise.data.table import METADATA_KEY, dataset_from_table
from labelwise.errors import LabelwiseError

FORM = "parquet:FILE[?images=DIR]"
MEANING = "the table that `labelwise data import` writes, or a plain one with the columns of a CSV"
OPTIONS = COLUMN_OPTIONS


def read(source: Source) -> Dataset:
    """Reads a Parquet file; see `dataset_from_table` and, for a plain one, `dataset_of`.

    Raises:
        LabelwiseError: for a file that is not Parquet, or what these refuse.
    """
    file = source_file(source, "a Parquet file")
    try:
        table = parquet.read_table(file, memory_map=True)
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).splitlines()[0]
        raise LabelwiseError(f"{file}: {reason}", "a complete Parquet file", "write it again") from None
    if METADATA_KEY not in (table.schema.metadata or {}):
        return dataset_of(table, source, file.parent, lambda row: f"row {row + 1}")
    extra = sorted(set(source.options) - {"images", "missing"})
    if extra:
        raise LabelwiseError(
            f"option {extra[0]!r} for {file}",
            "images or missing, as the table is canonical",
            "remove the option",
        )
    images = source.options.get("images")
    return keep_existing(dataset_from_table(table, file, image_folder(images) if images else None), source)
