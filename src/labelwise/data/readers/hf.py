"""Data sets in the forms of Hugging Face's `datasets`: saved to disk, as on the Hub, or as an image folder."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelwise.data.archives import images_in_streams, mapped_stream
from labelwise.data.dataset import Dataset
from labelwise.data.imagefiles import walk
from labelwise.data.readers.arrow import is_bytes, is_image_struct
from labelwise.data.readers.columns import OPTIONS as COLUMN_OPTIONS
from labelwise.data.readers.files import source_folder
from labelwise.data.readers.hf_card import features_of_card, header_of
from labelwise.data.readers.hf_images import METADATA, metadata_table, names_files, splits_of_images, unlisted
from labelwise.data.readers.huggingface import decoded_names, features_of
from labelwise.data.readers.named import dataset_of_names, in_store
from labelwise.data.readers.parquet import table_in
from labelwise.data.readers.shards import by_split, files_below, split_of_name
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError, first_line

FORM = "hf:DIR"
MEANING = (
    "a data set of Hugging Face: saved to disk, Parquet shards as on the Hub, or images with metadata.jsonl"
)
OPTIONS = COLUMN_OPTIONS
STATE, INFO, SPLITS = "state.json", "dataset_info.json", "dataset_dict.json"


@dataclass(frozen=True)
class FileRows:
    """The rows of one file.

    Args:
        file: relative to the data set's folder.
        table: its rows, with names in place of class numbers.
        split: empty if unknown.
        class_names: all names of each column of classes.
    """

    file: str
    table: pa.Table
    split: str = ""
    class_names: Mapping[str, Sequence[str]] | None = None


def recognises(path: Path) -> bool:
    """Whether a path is a folder of one of the forms that only `datasets` writes or reads."""
    if not path.is_dir():
        return False
    if (path / SPLITS).is_file() or (path / STATE).is_file():
        return "_data_files" in _read_json(path / STATE) or "splits" in _read_json(path / SPLITS)
    if (header := header_of(path)).get("dataset_info") or header.get("configs"):
        return any(name.endswith(".parquet") for listing in walk(path, glance=True) for name in listing.files)
    bases = [path, *(f for f in sorted(path.iterdir()) if f.is_dir() and split_of_name(f.name))]
    if any(names_files(base / name) for base in bases for name in METADATA):
        return True
    return any(next(base.glob("*-[0-9]*-of-[0-9]*.parquet"), None) for base in (path, path / "data"))


def read(source: Source) -> Dataset:
    """Reads a folder; images stored as bytes in Arrow files stay on disk until they are decoded.

    Raises:
        LabelwiseError: a folder of another kind, truncated files, classes without names, or an error of
            `columns.dataset_of`.
    """
    folder = source_folder(source, "a folder on this disk, such as one that `hf download` makes")
    if (folder / SPLITS).is_file() or (folder / STATE).is_file():
        return _joined(_saved(folder), folder, source)
    files = next(walk(folder)).files
    arrow = [name for name in files if name.endswith(".arrow") and not name.startswith("cache-")]
    if arrow:
        parts = [(name, split) for split, names in by_split(arrow, str(folder)).items() for name in names]
        return _joined(_arrow_parts(folder, folder, parts), folder, source)
    metadata = [file for file in files_below(folder, *METADATA) if os.path.basename(file) in METADATA]
    if metadata:
        return _images(folder, metadata, source)
    return _joined(_parquet_parts(folder), folder, source)


def _saved(folder: Path) -> list[FileRows]:
    """Parts of a folder of `Dataset.save_to_disk` or `DatasetDict.save_to_disk`."""
    if not (folder / SPLITS).is_file():
        return _saved_split(folder, folder, "")
    names = _read_json(folder / SPLITS).get("splits")
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names) or not names:
        raise LabelwiseError(f"{folder / SPLITS} without splits", "a list of their names", "save it again")
    return [part for name in names for part in _saved_split(folder, folder / name, name)]


def _saved_split(folder: Path, split_folder: Path, split: str) -> list[FileRows]:
    """The parts of a folder of `Dataset.save_to_disk`, which is one split."""
    state = _read_json(split_folder / STATE)
    if state.get("_indices_data_files"):
        raise LabelwiseError(
            f"{split_folder}, saved with its rows chosen by a second file (datasets before 1.6)",
            "a data set with all rows in its own files",
            "save it again with a newer version",
        )
    listed = [entry.get("filename") for entry in state.get("_data_files") or () if isinstance(entry, dict)]
    files = [file for file in listed if isinstance(file, str)]
    if not files:
        raise LabelwiseError(
            f"{split_folder} without {STATE} that lists its files",
            "a folder that Dataset.save_to_disk wrote",
            "save or copy it again",
        )
    return _arrow_parts(folder, split_folder, [(file, split) for file in files])


def _arrow_parts(folder: Path, inner: Path, files: Iterable[tuple[str, str]]) -> list[FileRows]:
    """The rows of Arrow files, each given by its name in the folder `inner` and its split."""
    info_features = _read_json(inner / INFO).get("features")
    parts = []
    for file, split in files:
        table = mapped_stream(inner / file)
        features = features_of(table.schema) or info_features
        if not isinstance(features, dict) or not features:
            raise LabelwiseError(
                f"{inner} without features: neither {INFO} nor {file} has them",
                "a folder that Dataset.save_to_disk wrote",
                "save or copy it again",
            )
        parts.append(_rows(os.path.relpath(inner / file, folder), table, split, features))
    return parts


def _rows(file: str, table: pa.Table, split: str, features: Mapping[str, Any]) -> FileRows:
    """The rows of a file with names in place of class numbers; an error names the file."""
    try:
        table, class_names = decoded_names(table, features)
    except LabelwiseError as error:
        raise LabelwiseError(f"{file}: {error.given}", error.expected, error.todo) from None
    return FileRows(file, table, split, class_names)


def _parquet_parts(folder: Path) -> list[FileRows]:
    """The Parquet files of the one configuration in a folder, with their splits."""
    files = files_below(folder, ".parquet")
    if not files:
        raise LabelwiseError(
            f"{str(folder)!r} without {SPLITS}, {STATE}, Parquet files or {METADATA[0]}",
            "a folder that save_to_disk wrote, a repository of the Hub, or images with their metadata",
            _other_files(folder)
            or "check the path, or read label folders by folder:DIR and tar files by webdataset:DIR",
        )
    bases = sorted({_configuration(file) for file in files})
    if len(bases) > 1:
        top = ",".join(str(folder / file) for file in files if not _configuration(file))
        advice = f", those beside the folders by parquet:{top}" if top else ", or one file by parquet:FILE"
        raise LabelwiseError(
            f"{folder} with Parquet files in several folders: {', '.join(base or '.' for base in bases[:8])}",
            "the files of one data set",
            f"name one of them, such as hf:{folder / bases[-1]}{advice}",
        )
    header = header_of(folder) or header_of(folder.parent)
    card = features_of_card(header, bases[0] or folder.name)
    parts = []
    for split, names in by_split(files, str(folder)).items():
        for name in names:
            table = table_in(folder / name)
            parts.append(_rows(name, table, split, features_of(table.schema) or card))
    return parts


def _other_files(folder: Path) -> str:
    """Advice on how to read the tables of another kind in a folder; empty if there are none."""
    for kind, suffix in (("csv", ".csv"), ("csv", ".tsv"), ("jsonl", ".jsonl"), ("jsonl", ".json")):
        if files := files_below(folder, suffix):
            return f"name the tables themselves, such as {kind}:{folder / files[0]}"
    return ""


def _configuration(file: str) -> str:
    """The folder of a shard, without trailing folders named after a split."""
    folders = file.split("/")[:-1]
    while folders and split_of_name(folders[-1]):
        folders.pop()
    return "/".join(folders)


def _images(folder: Path, files: Sequence[str], source: Source) -> Dataset:
    """The data set of images that metadata files name."""
    tables = [metadata_table(folder, file) for file in files]
    parts = [
        _rows(file, table, "", features_of(table.schema)) for file, table in zip(files, tables, strict=True)
    ]
    listed = pa.chunked_array([chunk for part in parts for chunk in part.table["image"].chunks])
    data = _joined(parts, folder, source, splits_of_images(listed))
    return data.with_notes(*unlisted(data))


def _joined(
    parts: Sequence[FileRows], folder: Path, source: Source, splits: pa.Array | None = None
) -> Dataset:
    """One data set of all parts; `splits`, one per row, replace those of the parts."""
    try:
        table = pa.concat_tables([part.table for part in parts], promote_options="permissive")
    except pa.ArrowException as error:
        listed = ", ".join(part.file for part in parts[:4])
        raise LabelwiseError(
            f"{folder}: columns of different kinds in {listed} ({first_line(error)})",
            "the same columns in every file",
            "write them again with equal columns",
        ) from None
    lengths = [part.table.num_rows for part in parts]
    if splits is None:
        texts = pa.array([part.split or None for part in parts], pa.string())
        splits = texts.take(pa.array(np.repeat(np.arange(len(parts)), lengths)))
    class_names: dict[str, tuple[str, ...]] = {}
    for part in parts:
        for column, names in (part.class_names or {}).items():
            class_names[column] = tuple(dict.fromkeys([*class_names.get(column, ()), *names]))
    stored = None
    embedded = _embedded(table, source) if all(part.file.endswith(".arrow") for part in parts) else None
    store = None if embedded is None else images_in_streams([folder / part.file for part in parts], embedded)
    if embedded is not None and store is not None:
        stored = _image_names(table[embedded], splits), store
        table = table.set_column(table.column_names.index(embedded), embedded, in_store(table.num_rows))
    notes: list[str] = []
    table = _with_splits(table, splits, notes)
    starts = np.cumsum([0, *lengths])

    def row_name(row: int) -> str:
        index = int(np.searchsorted(starts, row, "right")) - 1
        return f"row {row - starts[index] + 1} of {parts[index].file}"

    return dataset_of_names(table, class_names, source, folder, row_name, stored).with_notes(*notes)


def _with_splits(table: pa.Table, splits: pa.Array, notes: list[str]) -> pa.Table:
    """The table with a column `split`; its own column is kept if files and folders name no splits."""
    if splits.null_count == len(splits):
        return table
    own_columns = [name for name in table.column_names if name.lower() == "split"]
    if own_columns:
        notes.append(f"The column {own_columns[0]!r} was left out: the files and folders name the splits.")
    return table.drop_columns(own_columns).append_column("split", splits)


def _embedded(table: pa.Table, source: Source) -> str | None:
    """The column of images with bytes in each row, if there is one."""
    for name in source.names("image") or table.column_names:
        column = table[name] if name in table.column_names else pa.chunked_array([[]])
        if is_bytes(column.type) and not column.null_count:
            return name
        if is_image_struct(column.type) and "bytes" in {field.name for field in column.type}:
            return name if not pc.struct_field(column, "bytes").null_count else None
    return None


def _image_names(column: pa.ChunkedArray, splits: pa.Array) -> pa.Array:
    """A name for each embedded image: its split and path if these are distinct, else its row."""
    if pa.types.is_struct(column.type):
        paths = pc.struct_field(column, "path").combine_chunks()
        if splits.null_count == 0:
            paths = pc.binary_join_element_wise(splits, paths, "/")
        if paths.null_count == 0 and pc.count_distinct(paths).as_py() == len(paths):
            return paths.cast(pa.string())
    return pa.array([f"row {row}" for row in range(len(column))], pa.string())


def _read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file; empty if there is none."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
