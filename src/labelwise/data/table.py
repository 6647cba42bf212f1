"""The canonical table: a data set in one Parquet file, without loss."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, UInt8
from pyarrow import parquet

from labelwise.data.dataset import BOX_TYPE, Dataset
from labelwise.data.wholefile import refuse_missing_folder, whole_file
from labelwise.errors import LabelwiseError, first_line
from labelwise.types import LabelSet, is_text

METADATA_KEY = b"labelwise"
SIDES = ("x0", "y0", "x1", "y1")
FORMAT = 1
_BLOCK = 16384  # rows at once: a block of one byte per cell fits into the CPU cache
RESERVED = frozenset({"image", "image_bytes", "split", "group", "boxes"})


def column_of(label: str) -> str:
    """Column of a label: its name, with the prefix `label:` for the name of a reserved column.

    >>> column_of("dog"), column_of("group")
    ('dog', 'label:group')
    """
    return f"label:{label}" if label in RESERVED or label.startswith("label:") else label


def write_table(data: Dataset, file: Path, embed_images: bool = False) -> None:
    """Writes a data set so that reading it returns the same rows, unknowns, splits, groups and boxes.

    The columns are `image` (or `image_bytes`), `split`, `group`, one nullable column per label (null is
    unknown) and `boxes`. The file is written atomically.

    Args:
        data: the rows.
        file: to write; an existing file is replaced.
        embed_images: store the encoded images in the table.

    Raises:
        LabelwiseError: when the folder is missing or an image to embed cannot be read.
    """
    file = Path(file)
    refuse_missing_folder(file)
    embed = embed_images or data.embedded
    schema = _schema(data, embed, file)
    with whole_file(file) as temporary, parquet.ParquetWriter(temporary, schema) as writer:
        for start, stop in _blocks(len(data), 256 if embed else 65536):
            writer.write_table(_block(data, schema, embed, start, stop))


def _blocks(rows: int, size: int) -> Iterator[tuple[int, int]]:
    """Start and end of each block of rows; one empty block without rows."""
    for start in range(0, max(rows, 1), size):
        yield start, min(start + size, rows)


def _schema(data: Dataset, embed: bool, file: Path) -> pa.Schema:
    """Columns of the canonical table, with what describes the data set in the metadata."""
    fields = [pa.field("image_bytes", pa.large_binary()) if embed else pa.field("image", pa.string())]
    if data.split_of is not None:
        fields.append(pa.field("split", pa.string()))
    if data.group is not None:
        fields.append(pa.field("group", pa.int64()))
    cell_type = pa.uint8() if data.values.dtype == np.uint8 else pa.float32()
    fields += [pa.field(column_of(label), cell_type) for label in data.labels]
    if data.boxes is not None:
        fields.append(pa.field("boxes", BOX_TYPE))
    metadata = {
        "format": FORMAT,
        "labels": list(data.labels.names),
        "groups": data.labels.to_json()["groups"],
        "rules": data.labels.rules.to_json(),
        "splits": list(data.split_names),
        "root": None if embed else _written_root(data.root, file),
        "notes": [*data.notes, *_note_of_absent(data, embed)],
        "source": data.source,
    }
    return pa.schema(fields, metadata={METADATA_KEY: json.dumps(metadata).encode()})


def _note_of_absent(data: Dataset, embed: bool) -> list[str]:
    """A sentence on images of a store that could not be packed, which have rows without bytes."""
    absent = [i for i in range(len(data)) if embed and data.absent(i)]
    if not absent:
        return []
    names = ", ".join(data.image_id(i) for i in absent[:3]) + (", ..." if len(absent) > 3 else "")
    return [f"{len(absent):,} images have no bytes in this table, as the store had none: {names}."]


def _written_root(root: Path | None, file: Path) -> str | None:
    """The root as it is stored: relative to the table's folder where it is inside it."""
    if root is None:
        return None
    root, folder = Path(root).absolute(), file.absolute().parent
    return os.path.relpath(root, folder) if root.is_relative_to(folder) else str(root)


def _block(data: Dataset, schema: pa.Schema, embed: bool, start: int, stop: int) -> pa.Table:
    """The rows from `start` to `stop` in the columns of the schema."""
    rows = slice(start, stop)
    columns: list[pa.Array | pa.ChunkedArray] = []
    if not embed or data.holds_bytes:
        columns.append(data.images[start:stop].cast(schema.field(0).type))
    else:
        columns.append(pa.array([image_content(data, i) for i in range(start, stop)], pa.large_binary()))
    columns += columns_of_rows(data, rows)
    if data.boxes is not None:
        columns.append(data.boxes[start:stop].cast(BOX_TYPE))
    return pa.Table.from_arrays(columns, schema=schema)


def columns_of_rows(data: Dataset, rows: slice) -> list[pa.Array]:
    """Columns of some rows: the split and the group if there are any, then each label, null where unknown."""
    columns = []
    if data.split_of is not None:
        names = np.array([*data.split_names, None], object)
        columns.append(pa.array(names[data.split_of[rows]], pa.string()))
    if data.group is not None:
        columns.append(pa.array(data.group[rows]))
    for j in range(len(data.labels)):
        columns.append(pa.array(data.values[rows, j], mask=~data.known[rows, j]))
    return columns


def image_content(data: Dataset, row: int) -> bytes:
    """The encoded image of a row; raises `LabelwiseError` for an unreadable file."""
    if data.absent(row):
        return b""
    file = data.encoded(row)
    try:
        return file if isinstance(file, bytes) else file.read_bytes()
    except OSError as error:
        raise LabelwiseError(
            f"image {data.image_id(row)}: {error.strerror}", "a file that can be read", "restore it"
        ) from None


def dataset_from_table(table: pa.Table, file: Path, root: Path | None = None) -> Dataset:
    """The data set that `write_table` wrote.

    Args:
        table: with the metadata under `labelwise`.
        file: of the table; a relative root starts from its folder.
        root: folder of the images, instead of the stored one.

    Raises:
        LabelwiseError: a newer format, a missing column of the metadata, or invalid cells.
    """
    try:
        return _validated(_parsed(table, file, root), file)
    except LabelwiseError:
        raise
    except (pa.ArrowException, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise LabelwiseError(
            f"{file} ({type(error).__name__}: {first_line(error)})",
            "the table that `labelwise data import` wrote",
            "import the data again",
        ) from None


def _validated(data: Dataset, file: Path) -> Dataset:
    """Refuses invalid label states and boxes, which a table of another program may contain."""
    fault = None
    if data.images.null_count:
        fault = f"{data.images.null_count:,} rows without an image"
    elif data.values.dtype == np.float32 and not ((data.values >= 0) & (data.values <= 1)).all():
        fault = "label states outside [0, 1]"
    elif data.values.dtype == np.uint8 and data.values.size and data.values.max() > 1:
        fault = f"the label state {data.values.max()}"
    elif not all(isinstance(text, str) and is_text(text) for text in (*data.notes, *data.split_names)):
        fault = "notes or splits that are not text"
    elif data.boxes is not None:
        boxes = pc.list_flatten(data.boxes)
        sides = np.stack([pc.struct_field(boxes, side).to_numpy(zero_copy_only=False) for side in SIDES])
        labels = pc.struct_field(boxes, "label").fill_null(-1).to_numpy(zero_copy_only=False)
        if not ((sides >= 0) & (sides <= 1)).all() or ((labels < 0) | (labels >= len(data.labels))).any():
            fault = "boxes outside the image or of no label"
    if fault is None:
        return data
    raise LabelwiseError(f"{file} with {fault}", "label states in [0, 1]", "import the data again")


def _parsed(table: pa.Table, file: Path, root: Path | None) -> Dataset:
    """The data set of a canonical table, from its metadata and columns."""
    metadata = json.loads(table.schema.metadata[METADATA_KEY])
    if metadata.get("format") != FORMAT:
        raise LabelwiseError(
            f"{file} in table format {metadata.get('format')}", f"format {FORMAT}", "update labelwise"
        )
    content = {"names": metadata["labels"], "groups": metadata["groups"], **metadata.get("rules", {})}
    labels = LabelSet.from_json(content)
    embedded = "image_bytes" in table.column_names
    names = ["image_bytes" if embedded else "image", *map(column_of, labels)]
    for name in names:
        if name not in table.column_names:
            raise LabelwiseError(
                f"{file} without the column {name!r}", "all columns", "import the data again"
            )
    values, known = hard_cells(table.select(names[1:])) or _soft_cells(table, names[1:])
    if root is None and metadata["root"] is not None:
        root = Path(os.path.normpath(file.parent / metadata["root"]))
    splits = tuple(metadata["splits"])
    present = set(table.column_names)
    images = table[names[0]]
    return Dataset(
        labels=labels,
        images=images.cast(pa.large_binary()) if embedded else images.combine_chunks(),
        root=root,
        values=values,
        known=known,
        split_of=_split_codes(table["split"], splits) if "split" in present else None,
        split_names=splits if "split" in present else (),
        group=table["group"].to_numpy().astype(np.int64) if "group" in present else None,
        boxes=table["boxes"].combine_chunks().cast(BOX_TYPE) if "boxes" in present else None,
        notes=tuple(metadata["notes"]),
        rows_in_source=table.num_rows,
    )


def hard_cells(columns: pa.Table) -> tuple[UInt8[np.ndarray, "N L"], Bool[np.ndarray, "N L"]] | None:
    """Values and the mask of known cells of integer columns with only 0, 1 and null.

    Returns:
        `values [N, L]`, 0 where not known, and `known [N, L]`; `None` for another type of column or cell.
    """
    if not all(pa.types.is_integer(kind) or pa.types.is_boolean(kind) for kind in columns.schema.types):
        return None
    values = np.empty((columns.num_rows, columns.num_columns), np.uint8)
    known = np.ones(values.shape, bool)
    start = 0
    for batch in columns.to_batches(max_chunksize=_BLOCK):
        rows = slice(start, start := start + batch.num_rows)
        for j, array in enumerate(batch.columns):
            states, valid = _states_of(array)
            if states.max(initial=0) > 1:
                return None
            values[rows, j] = states
            if valid is not None:
                known[rows, j] = valid
    return values, known


def _states_of(array: pa.Array) -> tuple[UInt8[np.ndarray, " N"], Bool[np.ndarray, " N"] | None]:
    """Numbers, with 0 for null and 2 for those outside a byte, and a mask of those that are not null, read in place."""
    if not pa.types.is_uint8(array.type):
        byte = array.cast(pa.uint8(), safe=False)
        array = pc.if_else(pc.equal(byte.cast(array.type, safe=False), array), byte, pa.scalar(2, pa.uint8()))
    span = slice(array.offset, array.offset + len(array))
    bits, content = array.buffers()
    states = np.frombuffer(content, np.uint8)[span]
    if not array.null_count:
        return states, None
    valid = np.unpackbits(np.frombuffer(bits, np.uint8), count=span.stop, bitorder="little")[span]
    return states * valid, valid.view(bool)


def _soft_cells(table: pa.Table, columns: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Values and the mask of known cells of columns of any numbers."""
    values = np.zeros((table.num_rows, len(columns)), np.float32)
    known = np.zeros(values.shape, bool)
    for j, name in enumerate(columns):
        known[:, j] = table[name].is_valid().to_numpy()
        values[:, j] = table[name].fill_null(0).to_numpy()
    return values, known


def _split_codes(column: pa.ChunkedArray, names: tuple[str, ...]) -> np.ndarray:
    """The code of each row's split, -1 for a row in none."""
    code_of = {name: i for i, name in enumerate(names)}
    coded = column.combine_chunks().dictionary_encode()
    code_table = np.array([*(code_of[name] for name in coded.dictionary.to_pylist()), -1], np.int16)
    return code_table[coded.indices.fill_null(len(code_table) - 1).to_numpy(zero_copy_only=False)]
