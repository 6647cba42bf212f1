"""CSV: image, split, group, and a column of 1, 0 and blank for each label."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
from pyarrow import csv

from labelwise.data.dataset import Dataset
from labelwise.data.imagefiles import is_image_name
from labelwise.data.readers.name_doubts import few
from labelwise.data.readers.roles import GROUP, SPLIT, SPLIT_FLAGS, key
from labelwise.data.readers.split_cells import split_codes
from labelwise.data.source import Source
from labelwise.data.table import columns_of_rows
from labelwise.data.wholefile import whole_file
from labelwise.data.writers.images import absolute_paths, copies_beside, names_from
from labelwise.data.writers.job import Job, Written, lost_parts
from labelwise.errors import LabelwiseError

MEANING = "one row per image: image, split, group, and 1, 0 or blank for each label"
SUFFIXES = (".csv",)
IMAGES = ("paths", "copy")
OPTIONS = frozenset[str]()
_BLOCK = 65536  # rows at once
_SPECIAL = frozenset(',;\t|"\r\n')


def write(job: Job) -> Written:
    """Writes a table that `csv:` reads back without loss: blank is unknown, shares are numbers.

    Names of images are relative to the folder of the file for those below it, else absolute.

    Raises:
        LabelwiseError: no rows, a label with a column that would be read as another role, images inside the data set
            without `copy`, or an image in two rows.
    """
    refuse_labels(job.data)
    notes = [*lost_parts(job.data, "the CSV", "boxes", "sets"), *_split_notes(job.data)]
    with ExitStack() as stack:
        temporary = stack.enter_context(whole_file(job.out))
        if job.images == "copy":
            folder, copies = copies_beside(job, stack)
            names = [f"{folder.name}/{name}" for name in copies]
            notes.append(f"Copies of the images are in {folder.name}.")
        else:
            names = names_from(absolute_paths(job), job.out.parent)
        _refuse_trimmed(names)
        with open(temporary, "wb") as stream:
            _write_rows(stream, job.data, names)
    return Written(job.out, (job.out.name,), tuple(notes), Source("csv", str(job.out)))


def refuse_labels(data: Dataset) -> None:
    """Raises `LabelwiseError` for a label that cannot be a column of a CSV, or a table without rows."""
    if not len(data):
        raise LabelwiseError("a data set without images", "at least one image", "check the SOURCE")
    columns = _columns(data)
    blank = np.logical_not(data.known.any(axis=0)).tolist()
    for column, name in enumerate(data.labels):
        reason = None
        if name != name.strip():
            reason = "blanks around its name"
        elif name in columns:
            reason = "the name of another column"
        elif _is_role(name, columns):
            reason = "the name of a column of splits or groups of rows"
        elif key(name) in SPLIT_FLAGS:
            reason = "the name of a column that marks a split"
        elif is_image_name(name):
            reason = "the name of an image file"
        elif set(name) & set("\r\n\x00"):
            reason = "a line break or zero byte in its name"
        elif blank[column] and name.casefold().startswith("unnamed:"):
            reason = "the name of an unnamed column, and no known value"
        if reason:
            raise LabelwiseError(
                f"label {name!r}, with {reason}", "a label that a CSV column can have", "write .parquet"
            )


def _is_role(name: str, columns: Sequence[str]) -> bool:
    """Whether a reader may take a column of this name for the split or the group rather than for a label."""
    roles = (("split", SPLIT), ("group", GROUP))
    return any(key(name) in names and role not in columns for role, names in roles)


def _columns(data: Dataset) -> list[str]:
    """The columns before the labels."""
    extra = [name for name, values in (("split", data.split_of), ("group", data.group)) if values is not None]
    return ["image", *extra]


def _refuse_trimmed(names: Sequence[str]) -> None:
    """Raises `LabelwiseError` for an image name with outer blanks, which a reader would remove."""
    padded = next((name for name in names if name != name.strip()), None)
    if padded is not None:
        raise LabelwiseError(
            f"image {padded!r}, with blanks around its name", "a name of a CSV cell", "rename the file"
        )


def _split_notes(data: Dataset) -> list[str]:
    """Sentences on splits that are renamed or lost when the table is read."""
    if data.split_of is None:
        return []
    counts = data.splits()
    empty = [name for name, count in counts.items() if not count]
    notes = [f"Splits without images are left out: {few(empty)}."] if empty else []
    for name in counts:
        if name not in empty:
            parsed = split_codes(pa.chunked_array([[name]], pa.string()), [])[1]
            if parsed != (name,):
                notes.append(f"The split {name!r} is read back as {parsed[0] if parsed else 'no split'!r}.")
    return notes


def _write_rows(stream: BinaryIO, data: Dataset, names: Sequence[str]) -> None:
    """Write the header and all rows, block by block."""
    columns = [*_columns(data), *data.labels]
    stream.write((",".join(map(_quoted, columns)) + "\n").encode())
    dtype = pa.uint8() if data.values.dtype == np.uint8 else pa.float32()
    types = {"image": pa.string(), "split": pa.string(), "group": pa.int64()}
    numbers = range(len(columns))  # columns by number, as labels may have any name
    schema = pa.schema([(str(i), types[columns[i]] if i < len(_columns(data)) else dtype) for i in numbers])
    needs_no_quotes = not any(_SPECIAL & set(text) for text in (*names, *data.split_names))
    options = csv.WriteOptions(include_header=False, quoting_style="none" if needs_no_quotes else "needed")
    with csv.CSVWriter(stream, schema, write_options=options) as writer:
        for start in range(0, len(data), _BLOCK):
            block = slice(start, start + _BLOCK)
            cells = [pa.array(names[block], pa.string()), *columns_of_rows(data, block)]
            writer.write_table(pa.Table.from_arrays(cells, schema=schema))


def _quoted(name: str) -> str:
    """A cell of the header, in quotes if it has a character that could be read as the delimiter."""
    return '"' + name.replace('"', '""') + '"' if _SPECIAL & set(name) else name


def write_csv(data: Dataset, out: Path) -> None:
    """Writes a data set as a CSV file with paths of its images; see `write`."""
    if data.embedded:
        raise LabelwiseError("images inside the table", "content that a CSV can hold", "write .parquet")
    write(Job(data, out))
