"""The rules of a plain table: which column is the image, the split, the group, the labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelwise.data.dataset import Dataset
from labelwise.data.readers.cells import indicator, named_labels, plain, state, states
from labelwise.data.readers.files import find_root, image_folder, keep_existing
from labelwise.data.readers.repeated import merge_repeated
from labelwise.data.source import Source
from labelwise.data.table import hard_cells
from labelwise.errors import LabelwiseError
from labelwise.types import LabelSet

IMAGE_COLUMNS = ("image", "path", "file", "filename", "image_path", "file_name", "img")
NAMES_COLUMNS = ("labels", "tags", "label", "tag")
OPTIONS = frozenset({"images", "separator", "blank", "ignore", "unknown", "duplicates", "missing"})
SPLIT_ALIASES = {"training": "train", "validation": "val", "valid": "val", "dev": "val", "testing": "test"}


def dataset_of(table: pa.Table, source: Source, folder: Path, row_name: Callable[[int], str]) -> Dataset:
    """The data set of a table with an image column and label columns, or one column of label names.

    Args:
        table: the columns, of any types.
        source: its options choose the separator, the meaning of blanks, and what to do with losses.
        folder: that of the table; image names are relative to it, or to its `images`, unless `images=DIR`.
        row_name: how to name a row in a message.

    Raises:
        LabelwiseError: for an empty table, columns or cells of another kind, repeated or missing images.
    """
    notes: list[str] = []
    table = _wanted(table, source, notes)
    if not table.num_rows:
        raise LabelwiseError(
            f"{source.path} without rows", "a header and one row per image", "check the file"
        )
    image, bytes_ = _image_column(table, source)
    lower = {name.lower(): name for name in table.column_names}
    split, group = lower.get("split"), lower.get("group")
    rest = [name for name in table.column_names if name not in (image, split, group)]
    names_column = next((n for n in rest if n.lower() in NAMES_COLUMNS and not _is_states(table[n])), None)
    if names_column:
        labels, values, known = _from_names(table, names_column, rest, source, notes)
    else:
        labels, values, known = _from_columns(table, rest, source, row_name)
        notes += _mixed_conventions(labels, values, known)
    codes, names = split_codes(table[split], notes) if split else (None, ())
    images, root = (
        (_bytes(table[image]), None) if bytes_ else _paths(table[image], source, folder, row_name, notes)
    )
    data = Dataset(
        labels=LabelSet(labels),
        images=images,
        root=root,
        values=values,
        known=known,
        split_of=codes,
        split_names=names,
        group=group_codes(table[group], notes) if group else None,
        notes=tuple(notes),
        rows_in_source=table.num_rows,
    )
    return keep_existing(merge_repeated(data, source, row_name), source)


def _wanted(table: pa.Table, source: Source, notes: list[str]) -> pa.Table:
    names = [name.strip() for name in table.column_names]
    if names and not names[0] and table.num_columns > 1 and _counts(table.column(0)):
        notes.append("The first column has no name and only counts the rows: it was left out.")
        table, names = table.remove_column(0), names[1:]
    for name in names:
        if not name or names.count(name) > 1:
            given = f"column {name!r} twice" if name else f"column {names.index(name) + 1} without a name"
            raise LabelwiseError(f"{source.path}: {given}", "distinct column names", "name the columns apart")
    table = table.rename_columns(names)
    ignored = source.names("ignore")
    for name in ignored:
        if name not in names:
            raise LabelwiseError(
                f"ignore={name}", f"columns of {source.path}: {', '.join(names[:12])}", "correct the option"
            )
    return table.drop_columns(ignored) if ignored else table


def _counts(column: pa.ChunkedArray) -> bool:
    try:
        numbers = plain(column).cast(pa.int64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return False
    if numbers.null_count:
        return False
    return any(np.array_equal(numbers, np.arange(start, start + len(numbers))) for start in (0, 1))


def _image_column(table: pa.Table, source: Source) -> tuple[str, bool]:
    for name in table.column_names:
        if pa.types.is_binary(table[name].type) or pa.types.is_large_binary(table[name].type):
            return name, True
    lower = {name.lower(): name for name in reversed(table.column_names)}
    named = next((lower[name] for name in IMAGE_COLUMNS if name in lower), None)
    image = named or table.column_names[0]
    kind = table[image].type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not pa.types.is_string(kind) or (named is None and _is_states(table[image])):
        raise LabelwiseError(
            f"{source.path} without an image column; its columns are {', '.join(table.column_names[:12])}",
            "a column called image, path, file or filename, or names of images in the first column",
            "name the column",
        )
    return image, False


def _is_states(column: pa.ChunkedArray) -> bool:
    try:
        cells = plain(column).unique().to_pylist()
        return not any(isinstance(cell, list) for cell in cells) and all(
            np.isnan(state(cell)) or state(cell) in (0, 1) for cell in cells
        )
    except (ValueError, TypeError, pa.ArrowNotImplementedError):
        return False


def _from_names(
    table: pa.Table, column: str, rest: list[str], source: Source, notes: list[str]
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    others = [name for name in rest if name != column]
    if others:
        raise LabelwiseError(
            f"column {others[0]!r} beside the column {column!r} of label names",
            "image, split, group and one column of names",
            f"leave it out with ?ignore={','.join(others)}",
        )
    named, separator = named_labels(table[column], source.options.get("separator"))
    names, values = indicator(named)
    if not names:
        raise LabelwiseError(f"column {column!r} without any label", "label names in it", "check the column")
    known = np.ones(values.shape, bool)
    blank = values.sum(1) == 0
    unknown = source.choice("blank", ("negative", "unknown")) == "unknown"
    if unknown:
        known[blank] = False
    how = f"separated by {separator!r}" if separator else "one in each cell, as no separator was found"
    if not pa.types.is_string(plain(table[column]).type):
        how = "from lists"
    notes.append(f"Labels are names in the column {column!r}, {how}; a label that is absent is negative.")
    if blank.any():
        notes.append(f"{int(blank.sum()):,} blank cells are {'all-unknown' if unknown else 'all-negative'}.")
    return names, values, known


def _from_columns(
    table: pa.Table, rest: list[str], source: Source, row_name: Callable[[int], str]
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    if not rest:
        raise LabelwiseError(
            f"{source.path} without label columns; its columns are {', '.join(table.column_names)}",
            "one 0/1/blank column per label, or a column `labels` of names",
            "add the labels",
        )
    unknown = source.names("unknown")
    hard = None if unknown else hard_cells(table.select(rest))
    if hard is not None:
        return tuple(rest), *hard
    values = np.empty((table.num_rows, len(rest)), np.float32)
    for j, name in enumerate(rest):
        values[:, j] = states(table[name], name, row_name, unknown)
    known = ~np.isnan(values)
    values = np.where(known, values, np.float32(0))
    return tuple(rest), hardened(values), known


def _mixed_conventions(labels: tuple[str, ...], values: np.ndarray, known: np.ndarray) -> list[str]:
    """A sentence on columns of 1 and unknown beside others that hold 0: -1 or a blank may mean absent there."""
    absent, present = (known & (values < 0.5)).any(0), (known & (values >= 0.5)).any(0)
    odd = [labels[j] for j in np.flatnonzero(present & ~absent & ~known.all(0))]
    if not odd or not absent.any():
        return []
    few = ", ".join(odd[:5]) + (", ..." if len(odd) > 5 else "")
    told = f"{few}: 1 and unknown, but never 0 as in other columns; if what was read as unknown means absent there,"
    return [f"{told} write 0."]


def hardened(values: np.ndarray) -> np.ndarray:
    """The values as uint8 when all are 0 or 1, else as float32."""
    return values.astype(np.uint8) if ((values == 0) | (values == 1)).all() else values.astype(np.float32)


def _paths(
    column: pa.ChunkedArray, source: Source, folder: Path, row_name: Callable[[int], str], notes: list[str]
) -> tuple[pa.Array, Path]:
    names = plain(column).cast(pa.string()).fill_null("")
    blank = pc.index(names, "").as_py()
    if blank >= 0:
        raise LabelwiseError(f"{row_name(blank)} without an image", "an image name", "complete the row")
    if "images" in source.options:
        return names, image_folder(source.options["images"])
    root = find_root(names[:1].to_pylist(), [folder, folder / "images"])
    if root != folder:
        notes.append("Images are in the folder `images` beside the table.")
    return names, root


def _bytes(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if column.null_count:
        raise LabelwiseError(
            f"{column.null_count:,} rows without image bytes", "bytes in each", "complete the rows"
        )
    return column.cast(pa.large_binary())


def split_codes(column: pa.ChunkedArray, notes: list[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Codes and names of a split column; usual other spellings become train, val and test, blanks -1.

    Args:
        column: the split of each row.
        notes: takes a sentence for each decision.
    """
    coded = plain(column).dictionary_encode()
    texts = [*("" if cell is None else str(cell).strip() for cell in coded.dictionary.to_pylist()), ""]
    index = coded.indices.fill_null(len(texts) - 1).to_numpy(zero_copy_only=False)
    have = set(texts) - {""}
    alias = {text: SPLIT_ALIASES.get(text.lower(), text.lower()) for text in have}
    alias = {text: name if name in ("train", "val", "test") else text for text, name in alias.items()}
    changed = sorted(text for text, name in alias.items() if text != name)
    if changed:
        notes.append("Splits renamed: " + ", ".join(f"{text} is {alias[text]}" for text in changed) + ".")
    usual = {"train": 0, "val": 1, "test": 2}
    names = tuple(sorted(set(alias.values()), key=lambda name: (usual.get(name, 3), name)))
    code = {"": -1, **{text: names.index(name) for text, name in alias.items()}}
    codes = np.array([code[text] for text in texts], np.int16)[index]
    if (codes < 0).any():
        notes.append(f"{int((codes < 0).sum()):,} rows are in no split.")
    return codes, names


def group_codes(column: pa.ChunkedArray, notes: list[str]) -> np.ndarray:
    """`[N]` int64 codes of a group column; a blank cell is a group of its own."""
    coded = plain(column).dictionary_encode()
    blank = coded.indices.is_null().to_numpy(zero_copy_only=False)
    texts = [str(cell).strip() for cell in coded.dictionary.to_pylist()]
    codes = coded.indices.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    blank = blank | np.isin(codes, [i for i, text in enumerate(texts) if text in ("", "nan")])
    if blank.any():
        notes.append(f"{int(blank.sum()):,} rows without a group stand each for themselves.")
    codes[blank] = len(texts) + np.arange(int(blank.sum()))
    return np.unique(codes, return_inverse=True)[1].astype(np.int64).reshape(-1)
