"""JSON lines: an image, and a list of label names, an object of label states, or a key a label."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from labelwise.data.dataset import Dataset
from labelwise.data.imagefiles import is_image_name
from labelwise.data.readers.columns import OPTIONS as COLUMN_OPTIONS
from labelwise.data.readers.lines import first_object, json_lines
from labelwise.data.readers.named import dataset_of_names
from labelwise.data.readers.roles import IMAGE, NAMES, key
from labelwise.data.readers.several import files_with_splits
from labelwise.data.source import Source, listed
from labelwise.errors import LabelwiseError

FORM = "jsonl:FILE[,FILE][?image=KEY&labels=KEY&ignore=KEYS]"
MEANING = "JSON lines: an image, and names in a list, an object of 1, 0 and null, or a key a label"
OPTIONS = COLUMN_OPTIONS
UNANSWERED = "no answer"
"""Stands for null in a key of names that are text; where the names hold it, it is lengthened."""
_OTHER_TOOLS = frozenset({"source-ref", "imageGcsUri", "dataItemResourceLabels"})


def recognises(path: Path) -> bool:
    """Whether a file's first line is an object that names an image file."""
    if not path.is_file():
        return False
    first = first_object(path)
    images = [value for name, value in first.items() if key(name) in IMAGE and isinstance(value, str)]
    return not first.keys() & _OTHER_TOOLS and any(is_image_name(value.partition("?")[0]) for value in images)


@dataclass(frozen=True)
class Rows:
    """The objects of the lines.

    Args:
        content: of each line.
        places: where each stands, for messages.
        splits: of each line, by the name of its file; empty texts where it tells none.
        starts: folder of each line's file, relative to `folder`.
        folder: that image names are relative to.
    """

    content: Sequence[Mapping[str, Any]]
    places: Sequence[str]
    splits: Sequence[str]
    starts: Sequence[str]
    folder: Path


def read(source: Source) -> Dataset:
    """Reads JSON lines by the rules of a table; null and a key that a line lacks are unknown.

    Raises:
        LabelwiseError: for a line of another form, by its number, or what `dataset_of_names` refuses.
    """
    rows = _rows(source)
    names = list(dict.fromkeys(name for row in rows.content for name in row))
    ignored = set(source.names("ignore"))
    chosen = source.names("labels")
    columns: dict[str, pa.Array] = {}
    expanded: list[str] = []
    for name in names:
        values = [row.get(name) for row in rows.content]
        labels = name in chosen or (not chosen and key(name) in NAMES)
        if name not in ignored and labels and any(isinstance(value, dict) for value in values):
            more = _states(values, name, rows.places)
            columns |= {label: _column(cells, label, rows.places) for label, cells in more.items()}
            expanded += more
            continue
        if name not in ignored and labels and any(isinstance(value, str) for value in values):
            values, source = _without_null(values, source)
        columns[name] = _column(values, name, rows.places)
    if expanded:
        source = source.with_option("labels", listed(expanded))
    table = pa.table(_placed(columns, rows, source))
    if any(rows.splits):
        if any(key(name) == "split" for name in columns):
            raise LabelwiseError(
                f"a key split in {source.path}, whose files have names of splits",
                "splits by files or by lines",
                "add ignore=split",
            )
        table = table.append_column("split", pa.array([split or None for split in rows.splits], pa.string()))
    return dataset_of_names(table, {}, source, rows.folder, rows.places.__getitem__)


def _rows(source: Source) -> Rows:
    files = files_with_splits(source, "a file of JSON lines")
    several = len(files) > 1
    folder = files[0][0].parent
    if several:
        folder = Path(os.path.commonpath([file.absolute().parent for file, _ in files]))
    content, places, splits, starts = [], [], [], []
    for file, split in files:
        start = os.path.relpath(file.absolute().parent, folder.absolute())
        for line in json_lines(file):
            content.append(line.content)
            places.append(f"{file.name}, line {line.number}" if several else f"line {line.number}")
            splits.append(split)
            starts.append("" if start == "." else start)
    return Rows(content, places, splits, starts, folder)


def _placed(columns: dict[str, pa.Array], rows: Rows, source: Source) -> dict[str, pa.Array]:
    """The columns with names of images under the folder of their own file."""
    if not any(rows.starts) or "images" in source.options:
        return columns
    chosen = source.names("image") or [name for name in columns if key(name) in IMAGE]
    for name in chosen:
        if name in columns and pa.types.is_string(columns[name].type):
            paths = [
                path if path is None or os.path.isabs(path) or "://" in path else os.path.join(start, path)
                for start, path in zip(rows.starts, columns[name].to_pylist(), strict=True)
            ]
            columns[name] = pa.array(paths, pa.string())
    return columns


def _states(values: Sequence[Any], name: str, places: Sequence[str]) -> dict[str, list[Any]]:
    """The objects of a key as a column a label; a label that an object lacks is null."""
    labels: dict[str, list[Any]] = {}
    for row, (value, place) in enumerate(zip(values, places, strict=True)):
        if value is not None and not isinstance(value, dict):
            raise _another(place, name, value, "an object of labels, as in other lines")
        for label, cell in (value or {}).items():
            if isinstance(cell, list | dict):
                raise _another(place, f"{name}.{label}", cell, "1, 0, true, false, a share between, or null")
            labels.setdefault(label.strip(), [None] * len(values))[row] = cell
    return labels


def _without_null(values: Sequence[Any], source: Source) -> tuple[list[Any], Source]:
    """Texts with a word in place of null, and the source that says that the word stands for unknown."""
    if not any(value is None for value in values) or any(isinstance(value, list) for value in values):
        return list(values), source
    word = UNANSWERED
    while word in values:
        word += "_"
    unknown = ",".join([*filter(None, [source.options.get("unknown")]), word])
    return [word if value is None else value for value in values], source.with_option("unknown", unknown)


def _column(values: Sequence[Any], name: str, places: Sequence[str]) -> pa.Array:
    """JSON values as one column: numbers, texts, or lists of texts; what is neither is written as text."""
    cells = [int(value) if isinstance(value, bool) else value for value in values]
    kinds = {type(value) for value in cells} - {type(None)}
    if kinds <= {int} and all(value is None or abs(value) < 1 << 62 for value in cells):
        return pa.array(cells, pa.int64())
    if kinds <= {int, float} and all(value is None or math.isfinite(value) for value in cells):
        return pa.array([None if value is None else float(value) for value in cells], pa.float64())
    if list in kinds and kinds <= {list, str}:
        return _lists(cells, name, places)
    return pa.array([None if value is None else _text(value) for value in cells], pa.string())


def _lists(values: Sequence[Any], name: str, places: Sequence[str]) -> pa.Array:
    items = [item for value in values if isinstance(value, list) for item in value]
    if items and all(isinstance(item, int) and not isinstance(item, bool) for item in items):
        if not any(isinstance(value, str) for value in values):
            return pa.array(values, pa.list_(pa.int64()))
    lists: list[list[str] | None] = []
    for value, place in zip(values, places, strict=True):
        parts = [value] if isinstance(value, str) else value
        if any(not isinstance(p, str | int) or isinstance(p, bool) for p in parts or ()):
            raise _another(place, name, value, "a list of label names, one name, or null")
        lists.append(None if parts is None else [str(part) for part in parts])
    return pa.array(lists, pa.list_(pa.string()))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _another(place: str, name: str, value: Any, expected: str) -> LabelwiseError:
    return LabelwiseError(f"{place}: {name!r} is {value!r}"[:200], expected, "correct the line")
