"""Hugging Face `datasets`: Parquet shards in the folder `data`, with the features in their schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from labelwise.data.dataset import Dataset
from labelwise.data.readers.name_doubts import few
from labelwise.data.readers.names import NOTHING
from labelwise.data.readers.roles import GROUP, SPLIT, SPLIT_FLAGS, key
from labelwise.data.source import Source
from labelwise.data.table import image_content
from labelwise.data.wholefile import whole_folder
from labelwise.data.writers.images import absolute_paths, common_root, names_from
from labelwise.data.writers.job import Job, Written, lost_parts, parts_by_split, refuse_shares, refuse_split
from labelwise.errors import LabelwiseError

MEANING = (
    "a folder for `datasets.load_dataset`: Parquet shards per split, with images inside and names of labels"
)
SUFFIXES = ("",)
IMAGES = ("embed", "paths")
OPTIONS = frozenset[str]()
SHARD_BYTES = 500 << 20
"""Bytes of images after which a new file starts."""
BLOCK_BYTES, BLOCK_ROWS = 16 << 20, 1000
"""Size of a block, which is held in memory and becomes a row group."""
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write(job: Job) -> Written:
    """Writes `OUT/data/SPLIT-00000-of-0000N.parquet`; a data set without splits is `train`, and `val` is `validation`.

    If the labels of each image are all known or all unknown, `labels` is a list of the present ones, null for unknown.
    Otherwise each label is a column of true, false and null for unknown. `group` is a separate column.

    Raises:
        LabelwiseError: shares, a split with a name that `datasets` refuses, or an unreadable image.
    """
    data = job.data
    refuse_shares(data, "datasets")
    parts = [(_split_name(split), rows) for split, rows in parts_by_split(data)]
    if len({split for split, _ in parts}) < len(parts):
        raise LabelwiseError("splits called val and validation", "one of them", "rename a split")
    table = Rows(job)
    with whole_folder(job.out) as folder:
        (folder / "data").mkdir()
        files = [file for split, rows in parts for file in _write_split(folder / "data", split, rows, table)]
    notes = [*lost_parts(data, "the shards", "boxes", "sets"), *table.notes()]
    if data.split_of is None:
        notes.append("A data set without splits is called train.")
    if "val" in data.splits():
        notes.append("The split val is called validation, as in other data sets of the Hub.")
    # Here `no finding` is a label, which a reader of lists of names would treat as the absence of all.
    has_nothing = table.listed and any(name.casefold().replace("_", " ") in NOTHING for name in data.labels)
    source = Source("hf", str(job.out), {"none": ""} if has_nothing else {})
    return Written(job.out, tuple(f"data/{file}" for file in files), tuple(notes), source)


def _split_name(split: str) -> str:
    """The split as `datasets` calls it; raises `LabelwiseError` for a name that it refuses."""
    refuse_split(split, r"\w+(\.\w+)*", "letters, digits and _, as `datasets` requires")
    return {"": "train", "val": "validation"}.get(split, split)


def _write_split(folder: Path, split: str, rows: np.ndarray, table: Rows) -> list[str]:
    """Writes the files of a split, numbered and with their count; returns their names."""
    writer, temporary, size = None, list[Path](), 0
    try:
        for block, count in table.blocks(rows):
            if writer is None or size >= SHARD_BYTES:
                if writer is not None:
                    writer.close()
                temporary.append(folder / f"{split}-{len(temporary):05}.part")
                writer, size = parquet.ParquetWriter(temporary[-1], table.schema, use_dictionary=False), 0
            writer.write_table(block)
            size += count
    finally:
        if writer is not None:
            writer.close()
    files = [f"{split}-{number:05}-of-{len(temporary):05}.parquet" for number in range(len(temporary))]
    for path, file in zip(temporary, files, strict=True):
        path.rename(folder / file)
    return files


class Rows:
    """The rows of a data set as tables of `datasets`.

    Args:
        job: its data set has hard labels.
    """

    def __init__(self, job: Job) -> None:
        self._job, self._data, self._embed = job, job.data, job.images == "embed"
        self._done, self._positive = 0, job.data.positive
        self._names: Sequence[str | None]
        if job.data.embedded and self._embed:
            ids = None if job.data.holds_bytes else job.data.images.to_pylist()
            self._names = ids or [None] * len(job.data)
        else:
            paths = absolute_paths(job)
            self._names = names_from(paths, common_root(job, paths)) if self._embed else paths
        known = job.data.known
        self.listed = bool((known.all(1) | ~known.any(1)).all())
        names = list(job.data.labels)
        self._columns = [] if self.listed else [_column(name) for name in names]
        fields = [pa.field("image", IMAGE)]
        features: dict[str, Any] = {"image": {"_type": "Image"}}
        if self.listed:
            fields.append(pa.field("labels", pa.list_(pa.int64())))
            # The type of lists up to version 3, which later versions read too.
            features["labels"] = {"feature": {"names": names, "_type": "ClassLabel"}, "_type": "Sequence"}
        for column in self._columns:
            fields.append(pa.field(column, pa.bool_()))
            features[column] = {"dtype": "bool", "_type": "Value"}
        if job.data.group is not None:
            fields.append(pa.field("group", pa.int64()))
            features["group"] = {"dtype": "int64", "_type": "Value"}
        metadata = json.dumps({"info": {"features": features}})
        self.schema = pa.schema(fields, metadata={"huggingface": metadata})

    def blocks(self, rows: np.ndarray) -> Iterator[tuple[pa.Table, int]]:
        """Tables of a few rows each, with the number of bytes of their images."""
        block, images, size = list[int](), list[dict[str, Any]](), 0
        for row in rows.tolist():
            content = image_content(self._data, row) if self._embed else None
            block.append(row)
            images.append({"bytes": content, "path": self._names[row]})
            size += len(content or b"")
            if size >= BLOCK_BYTES or len(block) >= BLOCK_ROWS:
                yield self._table(block, images), size
                block, images, size = [], [], 0
        if block:
            yield self._table(block, images), size

    def notes(self) -> list[str]:
        """Sentences on the columns."""
        pairs = zip(self._columns, self._data.labels, strict=False)
        renamed = [f"{column} is {name}" for column, name in pairs if column != name]
        notes = [f"Columns of labels with reserved names: {few(renamed)}."] if renamed else []
        if not self.listed:
            notes.append(
                "Each label is a column of true, false and null for unknown, as a list of labels cannot store unknown."
            )
        if not self._embed:
            notes.append("Images are stored as their paths on this machine.")
        return notes

    def _table(self, rows: Sequence[int], images: list[dict[str, Any]]) -> pa.Table:
        """The table of some rows with their images."""
        self._done += len(rows)
        self._job.tick(self._done)
        data: Dataset = self._data
        columns: list[pa.Array] = [pa.array(images, IMAGE)]
        if self.listed:
            labelled = np.flatnonzero(data.known[rows].any(1)).tolist()
            lists: list[list[int] | None] = [None] * len(rows)
            for index in labelled:
                lists[index] = np.flatnonzero(self._positive[rows[index]]).tolist()
            columns.append(pa.array(lists, pa.list_(pa.int64())))
        for j in range(len(self._columns)):
            columns.append(pa.array(data.values[rows, j] > 0, mask=~data.known[rows, j]))
        if data.group is not None:
            columns.append(pa.array(data.group[rows]))
        return pa.Table.from_arrays(columns, schema=self.schema)


def _column(label: str) -> str:
    """Column of a label, with the prefix `label:` if readers would treat it as an image, a split or a group."""
    reserved = label in ("image", "group") or key(label) in (*SPLIT, *GROUP, *SPLIT_FLAGS)
    reserved = reserved or label.casefold().startswith(("label:", "unnamed:"))
    return f"label:{label}" if reserved else label
