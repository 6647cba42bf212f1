"""Hugging Face image folders: images, and files `metadata.jsonl`, `.csv` or `.parquet` that name them."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv
from pyarrow import json as arrow_json
from pyarrow import parquet

from labelwise.data.dataset import Dataset
from labelwise.data.readers.locate import image_files
from labelwise.data.readers.shards import split_of_name
from labelwise.errors import LabelwiseError, first_line

METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
FILE_NAME = "file_name"
_LONGEST_LINE = 1 << 27  # bytes


def names_files(path: Path) -> bool:
    """Whether a metadata file exists and has a column of files: other data sets use the same file names."""
    try:
        if path.suffix == ".parquet":
            names = parquet.read_schema(path).names
        else:
            with path.open(encoding="utf-8-sig") as stream:
                line = stream.readline(1 << 16)
            content = json.loads(line) if path.suffix == ".jsonl" else next(csv.reader([line]), [])
            names = list(content) if isinstance(content, dict | list) else []
    except (OSError, ValueError, csv.Error, pa.ArrowException):
        return False
    return any(_is_file_name(name) for name in names)


def _is_file_name(name: str) -> bool:
    return name == FILE_NAME or name.endswith(f"_{FILE_NAME}")


def metadata_table(folder: Path, file: str) -> pa.Table:
    """The rows of a metadata file; its column of files is called `image` and is relative to the folder.

    Raises:
        LabelwiseError: a file that cannot be read, without rows, or without file names.
    """
    path = folder / file
    try:
        table = _READERS[path.suffix](path)
    except (pa.ArrowException, OSError) as error:
        raise LabelwiseError(
            f"{path} ({first_line(error)})", "one row or JSON object per image", "correct the file"
        ) from None
    column = _file_column(table, path)
    names = table[column].cast(pa.string())
    row = pc.index(pc.equal(pc.fill_null(names, ""), ""), True).as_py()
    if row >= 0:
        raise LabelwiseError(
            f"{path}: row {row + 1} without {column}", "the name of an image file", "complete the row"
        )
    folder_name = os.path.dirname(file)
    if folder_name:
        names = pc.binary_join_element_wise(folder_name, names, "/")
    return table.set_column(table.column_names.index(column), "image", names)


def _json_table(path: Path) -> pa.Table:
    block = min(path.stat().st_size + 1, _LONGEST_LINE)
    return arrow_json.read_json(path, read_options=arrow_json.ReadOptions(block_size=max(block, 1 << 20)))


def _csv_table(path: Path) -> pa.Table:
    with path.open("rb") as stream:
        names = arrow_csv.open_csv(stream).schema.names
    texts = arrow_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
    return arrow_csv.read_csv(
        path, parse_options=arrow_csv.ParseOptions(newlines_in_values=True), convert_options=texts
    )


_READERS = {".jsonl": _json_table, ".csv": _csv_table, ".parquet": parquet.read_table}


def _file_column(table: pa.Table, path: Path) -> str:
    """The name of the only column of file names; raises `LabelwiseError` without one, or without rows."""
    names = [name for name in table.column_names if _is_file_name(name)]
    names = [FILE_NAME] if FILE_NAME in names else names
    if len(names) != 1 or table.num_rows == 0:
        given = f"{path} with the columns {', '.join(table.column_names[:12]) or 'none'}"
        if table.num_rows == 0:
            given = f"{path} without rows"
        raise LabelwiseError(
            given, f"a row per image and a column {FILE_NAME}", "add it, with paths from the metadata file"
        )
    return names[0]


def splits_of_images(names: pa.ChunkedArray) -> pa.Array:
    """The split named by each image's folders, the nearest first; null if no folder names one."""
    folder = pc.replace_substring_regex(names, r"[^/]*$", "")
    coded = pc.dictionary_encode(folder).combine_chunks()
    coded = coded if isinstance(coded, pa.DictionaryArray) else coded.chunk(0)
    splits: list[str | None] = []
    for text in coded.dictionary.to_pylist():
        named_splits = (split_of_name(part) for part in reversed(text.split("/")))
        splits.append(next((split for split in named_splits if split), None))
    return pa.array(splits, pa.string()).take(coded.indices)


def unlisted(data: Dataset) -> list[str]:
    """A note on the image files in the data set's folder that no row names."""
    root = str(data.root)
    named = {os.path.normpath(os.path.join(root, name)) for name in data.images.to_pylist()}
    others = [f for f in image_files(Path(root)) if os.path.normpath(os.path.join(root, f)) not in named]
    if not others:
        return []
    return [f"{len(others):,} image files that the metadata does not name were left out: {others[0]}."]
